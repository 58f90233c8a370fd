//! Accounts and leases as rows: what a transaction of the ledger loads, and what it stores again.
//!
//! No rule of the ledger stands here; those are `outcrop_policy::ledger::Rows`.

use std::collections::BTreeSet;
use std::sync::Arc;

use outcrop_policy::ledger::protocol::LEVELS;
use outcrop_policy::ledger::{AccountKey, AccountRow, Dimension, LeaseRow, Level, Rows, Terms};

use crate::StoreError;
use crate::session::{Row, Session, Value, Values};

/// All columns of an account, and of one of its leases if it has any.
macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT a.budget, a.scope, a.start_ms, a.end_ms, a.reach_ms, a.dimension, a.limit_amount, ",
            "a.carve_out, a.hard, a.posted, a.suspense, a.emergency, a.told, l.replica, l.granted, ",
            "l.granted_emergency, l.spent, l.spent_emergency, l.pending FROM account a LEFT JOIN lease l ",
            "ON l.budget = a.budget AND l.scope = a.scope AND l.start_ms = a.start_ms ",
            $rest
        )
    };
}

const BY_KEY: &str = select!("WHERE a.budget = $1 AND a.scope = $2 AND a.start_ms = $3 ORDER BY l.replica");
const BESIDE: &str = select!("WHERE a.budget = $1 AND a.scope = $2 AND a.end_ms > $3 ORDER BY l.replica");
const OF_REPLICA: &str = select!(
    "WHERE EXISTS (SELECT 1 FROM lease o WHERE o.budget = a.budget AND o.scope = a.scope \
     AND o.start_ms = a.start_ms AND o.replica = $1) ORDER BY a.budget, a.scope, a.start_ms, l.replica"
);
const COUNTING: &str = select!(
    "WHERE a.end_ms > $1 - COALESCE(a.reach_ms, 0) AND ($2 = '' OR a.budget = $2) \
     AND ($3 = '' OR a.scope = $3) ORDER BY a.budget, a.scope, a.start_ms, l.replica"
);

const STORE_ACCOUNT: &str = "INSERT INTO account (budget, scope, start_ms, end_ms, reach_ms, dimension, \
     limit_amount, carve_out, hard, posted, suspense, emergency, told) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) \
     ON CONFLICT (budget, scope, start_ms) DO UPDATE SET end_ms = excluded.end_ms, \
     reach_ms = excluded.reach_ms, dimension = excluded.dimension, limit_amount = excluded.limit_amount, \
     carve_out = excluded.carve_out, hard = excluded.hard, posted = excluded.posted, \
     suspense = excluded.suspense, emergency = excluded.emergency, told = excluded.told";
const STORE_LEASE: &str = "INSERT INTO lease (budget, scope, start_ms, replica, granted, granted_emergency, \
     spent, spent_emergency, pending) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) \
     ON CONFLICT (budget, scope, start_ms, replica) DO UPDATE SET granted = excluded.granted, \
     granted_emergency = excluded.granted_emergency, spent = excluded.spent, \
     spent_emergency = excluded.spent_emergency, pending = excluded.pending";
const END_LEASE: &str =
    "DELETE FROM lease WHERE budget = $1 AND scope = $2 AND start_ms = $3 AND replica = $4";

/// Makes sure that nobody else changes what the accounts of these budgets and scopes hold, new ones
/// included, until the transaction ends. Always in the same order, so that nobody waits in a circle.
pub(crate) async fn lock(
    session: &Session<'_>,
    keys: impl Iterator<Item = &AccountKey>,
) -> Result<(), StoreError> {
    if session.has_one_writer() {
        return Ok(());
    }
    let gates: BTreeSet<(&Arc<str>, &Arc<str>)> = keys.map(|key| (&key.budget, &key.scope)).collect();
    let sets =
        || gates.iter().map(|(budget, scope)| vec![Value::from(*budget), Value::from(*scope)]).collect();
    session
        .run_each("INSERT INTO gate (budget, scope) VALUES ($1, $2) ON CONFLICT DO NOTHING", sets())
        .await?;
    let sql = "SELECT budget FROM gate WHERE budget = $1 AND scope = $2 FOR UPDATE";
    session.query_each(sql, sets()).await?;
    Ok(())
}

/// Accounts by their keys.
pub(crate) async fn load(
    session: &Session<'_>,
    keys: impl Iterator<Item = &AccountKey>,
    rows: &mut Rows,
) -> Result<(), StoreError> {
    take(session.query_each(BY_KEY, keys.map(key_values).collect()).await?, rows)
}

/// The buckets of rolling windows that may still count at a time, beside accounts with a reach.
pub(crate) async fn load_beside(
    session: &Session<'_>,
    accounts: impl Iterator<Item = (&AccountKey, i64)>,
    now_ms: i64,
    rows: &mut Rows,
) -> Result<(), StoreError> {
    let set = |(key, reach): (&AccountKey, i64)| {
        vec![Value::from(&key.budget), Value::from(&key.scope), now_ms.saturating_sub(reach).into()]
    };
    take(session.query_each(BESIDE, accounts.map(set).collect()).await?, rows)
}

/// Every account on which a replica holds a lease.
pub(crate) async fn load_of(session: &Session<'_>, replica: &str, rows: &mut Rows) -> Result<(), StoreError> {
    take(session.query(OF_REPLICA, vec![replica.into()]).await?, rows)
}

/// Every account that counts at a time; an empty budget or scope means all of them.
pub(crate) async fn load_counting(
    session: &Session<'_>,
    now_ms: i64,
    budget: &str,
    scope: &str,
) -> Result<Rows, StoreError> {
    let mut rows = Rows::default();
    take(session.query(COUNTING, vec![now_ms.into(), budget.into(), scope.into()]).await?, &mut rows)?;
    Ok(rows)
}

/// Stores what has changed between two states of the same rows.
pub(crate) async fn store(session: &Session<'_>, before: &Rows, after: &Rows) -> Result<(), StoreError> {
    let (mut accounts, mut leases, mut ended) = (Vec::new(), Vec::new(), Vec::new());
    for (key, row) in &after.accounts {
        let old = before.accounts.get(key);
        if old == Some(row) {
            continue;
        }
        accounts.push(account_values(row));
        let was = old.map_or(&[][..], |old| &old.leases);
        let changed = row.leases.iter().filter(|lease| !was.contains(lease));
        leases.extend(changed.map(|lease| lease_values(key, lease)));
        let gone = was.iter().filter(|w| row.leases.iter().all(|lease| lease.replica != w.replica));
        ended.extend(gone.map(|lease| {
            let mut values = key_values(key);
            values.push(Value::from(&lease.replica));
            values
        }));
    }
    session.run_each(STORE_ACCOUNT, accounts).await?;
    session.run_each(STORE_LEASE, leases).await?;
    session.run_each(END_LEASE, ended).await?;
    Ok(())
}

pub(crate) fn key_values(key: &AccountKey) -> Values {
    vec![Value::from(&key.budget), Value::from(&key.scope), key.start_ms.into()]
}

pub(crate) fn read_key(row: &mut Row) -> Result<AccountKey, StoreError> {
    Ok(AccountKey { budget: row.text()?, scope: row.text()?, start_ms: row.int()? })
}

fn account_values(row: &AccountRow) -> Values {
    let mut values = key_values(&row.key);
    let Terms { end_ms, reach_ms, dimension, limit, carve_out, hard } = row.terms;
    values.extend([end_ms.into(), reach_ms.into(), dimension_word(dimension).into(), limit.into()]);
    values.extend([carve_out.into(), hard.into(), row.posted.into(), row.suspense.into()]);
    values.extend([row.emergency.into(), row.told.label().into()]);
    values
}

fn lease_values(key: &AccountKey, lease: &LeaseRow) -> Values {
    let mut values = key_values(key);
    values.push(Value::from(&lease.replica));
    values.extend([lease.granted, lease.spent].into_iter().flatten().map(Value::Int));
    values.push(lease.pending.into());
    values
}

fn take(found: Vec<Row>, rows: &mut Rows) -> Result<(), StoreError> {
    // What is loaded twice (a bucket is beside others) is loaded once.
    let before: BTreeSet<AccountKey> = rows.accounts.keys().cloned().collect();
    for mut row in found {
        let account = read_account(&mut row)?;
        if before.contains(&account.key) {
            continue;
        }
        let lease = read_lease(&mut row)?;
        let known = rows.accounts.entry(account.key.clone()).or_insert(account);
        if let Some(lease) = lease.filter(|new| known.leases.iter().all(|l| l.replica != new.replica)) {
            known.leases.push(lease);
        }
    }
    Ok(())
}

fn read_account(row: &mut Row) -> Result<AccountRow, StoreError> {
    let key = read_key(row)?;
    let terms = Terms {
        end_ms: row.int()?,
        reach_ms: row.optional_int()?,
        dimension: dimension_of(&row.text()?)?,
        limit: row.int()?,
        carve_out: row.int()?,
        hard: row.int()? != 0,
    };
    let mut account = AccountRow::new(key, terms);
    account.posted = row.int()?;
    account.suspense = row.int()?;
    account.emergency = row.int()?;
    account.told = level_of(&row.text()?)?;
    Ok(account)
}

fn read_lease(row: &mut Row) -> Result<Option<LeaseRow>, StoreError> {
    let Some(replica) = row.optional_text()? else { return Ok(None) };
    let granted = [row.int()?, row.int()?];
    let spent = [row.int()?, row.int()?];
    Ok(Some(LeaseRow { replica, granted, spent, pending: row.int()? }))
}

/// All dimensions with the words they are stored as.
const DIMENSIONS: [(Dimension, &str); 6] = [
    (Dimension::Usd, "usd"),
    (Dimension::Tokens, "tokens"),
    (Dimension::InputTokens, "input_tokens"),
    (Dimension::OutputTokens, "output_tokens"),
    (Dimension::Requests, "requests"),
    (Dimension::ToolCalls, "tool_calls"),
];

fn dimension_word(dimension: Dimension) -> &'static str {
    match dimension {
        Dimension::Usd => "usd",
        Dimension::Tokens => "tokens",
        Dimension::InputTokens => "input_tokens",
        Dimension::OutputTokens => "output_tokens",
        Dimension::Requests => "requests",
        Dimension::ToolCalls => "tool_calls",
    }
}

fn dimension_of(word: &str) -> Result<Dimension, StoreError> {
    let found = DIMENSIONS.into_iter().find(|(_, known)| *known == word);
    found
        .map(|(dimension, _)| dimension)
        .ok_or_else(|| StoreError::Unreadable(format!("a dimension `{word}`")))
}

pub(crate) fn level_of(word: &str) -> Result<Level, StoreError> {
    let levels = LEVELS.into_iter().map(|(level, _)| level).chain([Level::Calm]);
    let found = levels.into_iter().find(|level| level.label() == word);
    found.ok_or_else(|| StoreError::Unreadable(format!("a level `{word}`")))
}
