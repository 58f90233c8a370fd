//! The journal: one entry per attempt that ended, and what is counted of them.
//!
//! An entry is never changed, except that a correction marks what it corrects. Reading it is for
//! people; the ledger's balances do not depend on it.

use std::sync::Arc;

use outcrop_core::Usage;
use outcrop_policy::Facet;
use outcrop_policy::ledger::{AccountKey, Amounts, Crossing, Entry, EntryState, Settled};
use serde::Serialize;

use crate::StoreError;
use crate::rows::{key_values, level_of, read_key};
use crate::session::{Row, Session, Value, Values};

/// Length of a slot of the pace: five minutes.
pub const PACE_SLOT_MS: i64 = outcrop_policy::ledger::burn::SLOT_MS;
/// Most rows that one question is answered with.
pub const ANSWER_ROWS_MAX: usize = 10_000;

/// An entry as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct JournalEntry {
    /// The attempt, how it ended, and who bears it.
    #[serde(flatten)]
    pub settled: Settled,
    /// For a correction: the attempt whose suspense it resolves.
    pub corrects: Option<Arc<str>>,
    /// For an entry in suspense that was resolved: the entry that says how.
    pub corrected_by: Option<Arc<str>>,
    /// For a correction: why.
    pub reason: Option<Arc<str>>,
    /// For a correction: by whom.
    pub by: Option<Arc<str>>,
    /// For a correction: HMAC-SHA-256 of its content under the store's secret, in hexadecimal.
    pub signature: Option<Arc<str>>,
}

/// Which entries are asked for, newest first.
#[derive(Debug, Clone, Default)]
pub struct EntryFilter {
    /// Only those in this state; entries in suspense that were resolved are left out.
    pub state: Option<EntryState>,
    /// Only those that cost more than was reserved for them.
    pub over_bound: bool,
    /// Only those with these values.
    pub facets: Vec<(Facet, String)>,
    /// Only those of this exchange or attempt.
    pub id: Option<String>,
    /// Admitted at or after, in milliseconds since the epoch.
    pub from_ms: Option<i64>,
    /// Admitted before, in milliseconds since the epoch.
    pub to_ms: Option<i64>,
    /// At most so many, up to `ANSWER_ROWS_MAX`.
    pub limit: usize,
}

/// By what costs are grouped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// By a facet. The journal does not know regions: they are empty.
    Facet(Facet),
    /// By the model's id at its path.
    Target,
    /// By the day in UTC, as milliseconds since the epoch.
    Day,
}

/// What one group cost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Attributed {
    /// The values it is grouped by, in the order asked for.
    pub group: Vec<String>,
    /// Attempts.
    pub attempts: i64,
    /// Known cost in nano-dollars.
    pub posted_nusd: i64,
    /// Upper bounds whose cost is not known, in nano-dollars.
    pub suspense_nusd: i64,
    /// The part of the known cost that is an estimate, in nano-dollars.
    pub estimated_nusd: i64,
    /// Input tokens, cached or not.
    pub input_tokens: i64,
    /// Output tokens.
    pub output_tokens: i64,
}

/// What was borne by one account's scope in five minutes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Pace {
    /// Beginning, in milliseconds since the epoch.
    pub slot_ms: i64,
    /// Posted, in units of the budget's dimension.
    pub posted: i64,
    /// Put into suspense, and not taken out again.
    pub suspense: i64,
}

/// A correction that is to be made.
#[derive(Debug, Clone)]
pub(crate) struct Correction {
    pub(crate) attempt: String,
    pub(crate) actual: Amounts,
    pub(crate) reason: String,
    pub(crate) by: String,
    pub(crate) signature: String,
}

const COLUMNS: &str = "attempt, state, at_ms, request_id, org, team, key_name, user_name, run, model, path, \
     target, operation, tool, upstream_request_id, price_version, input_tokens, output_tokens, \
     cache_read_tokens, cache_write_tokens, cache_write_1h_tokens, reasoning_tokens, bound_nusd, cost_nusd, estimated, lines, \
     corrects, corrected_by, reason, by_name, signature";
const ADD: &str = "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, \
     $19, $20, $21, $22, $23, $24, $25, $26, $27, $28, $29, $30, $31) ON CONFLICT (attempt) DO NOTHING";
/// As `Usage::input_total`.
const INPUT_TOTAL: &str = "COALESCE(input_tokens, 0) + COALESCE(cache_read_tokens, 0) + \
     CASE WHEN COALESCE(cache_write_tokens, 0) < COALESCE(cache_write_1h_tokens, 0) \
     THEN cache_write_1h_tokens ELSE COALESCE(cache_write_tokens, 0) END";
const PACE: &str = "INSERT INTO pace (budget, scope, slot_ms, posted, suspense) VALUES ($1, $2, $3, $4, $5) \
     ON CONFLICT (budget, scope, slot_ms) DO UPDATE SET posted = pace.posted + excluded.posted, \
     suspense = pace.suspense + excluded.suspense";

/// Which of these attempts the journal holds.
pub(crate) async fn known(
    session: &Session<'_>,
    attempts: impl Iterator<Item = &str>,
) -> Result<Vec<Arc<str>>, StoreError> {
    let sets = attempts.map(|attempt| vec![Value::from(attempt)]).collect();
    let rows = session.query_each("SELECT attempt FROM entry WHERE attempt = $1", sets).await?;
    rows.into_iter().map(|mut row| row.text()).collect()
}

/// Adds entries, and what they say of the pace.
pub(crate) async fn add(session: &Session<'_>, entries: &[Settled]) -> Result<(), StoreError> {
    let mut sets = Vec::new();
    for settled in entries {
        sets.push(values(settled, None)?);
    }
    session.run_each(&format!("INSERT INTO entry ({COLUMNS}) {ADD}"), sets).await?;
    let lines = entries.iter().flat_map(|settled| settled.lines.iter().map(move |line| (settled, line)));
    let paces = lines.map(|(settled, line)| match settled.state {
        EntryState::Posted => pace_values(&line.account, settled.entry.at_ms, line.amount, 0),
        EntryState::Suspense => pace_values(&line.account, settled.entry.at_ms, 0, line.amount),
    });
    session.run_each(PACE, paces.collect()).await?;
    Ok(())
}

/// Adds a correction: `posted` says what `suspended` came to be.
pub(crate) async fn correct(
    session: &Session<'_>,
    suspended: &Settled,
    posted: &Settled,
    correction: &Correction,
) -> Result<(), StoreError> {
    let sql = format!("INSERT INTO entry ({COLUMNS}) {ADD}");
    session.run(&sql, values(posted, Some(correction))?).await?;
    let mark = vec![Value::from(&*posted.attempt), Value::from(&*correction.attempt)];
    session.run("UPDATE entry SET corrected_by = $1 WHERE attempt = $2", mark).await?;
    let lines = suspended.lines.iter().zip(&posted.lines);
    let at_ms = suspended.entry.at_ms;
    let paces = lines
        .map(|(was, is)| pace_values(&is.account, at_ms, is.amount, was.amount.saturating_neg()))
        .collect();
    session.run_each(PACE, paces).await?;
    Ok(())
}

fn pace_values(account: &AccountKey, at_ms: i64, posted: i64, suspense: i64) -> Values {
    let slot_ms = at_ms.div_euclid(PACE_SLOT_MS).saturating_mul(PACE_SLOT_MS);
    let (budget, scope) = (Value::from(&account.budget), Value::from(&account.scope));
    vec![budget, scope, slot_ms.into(), posted.into(), suspense.into()]
}

/// One entry.
pub(crate) async fn entry(session: &Session<'_>, attempt: &str) -> Result<Option<JournalEntry>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM entry WHERE attempt = $1");
    let row = session.query(&sql, vec![attempt.into()]).await?.pop();
    row.map(|mut row| read(&mut row)).transpose()
}

/// Entries that a filter lets through.
pub(crate) async fn entries(
    session: &Session<'_>,
    filter: &EntryFilter,
) -> Result<Vec<JournalEntry>, StoreError> {
    let mut sql = format!("SELECT {COLUMNS} FROM entry WHERE at_ms >= $1 AND at_ms < $2");
    let mut values =
        vec![Value::Int(filter.from_ms.unwrap_or(i64::MIN)), Value::Int(filter.to_ms.unwrap_or(i64::MAX))];
    let mut also = |condition: &str, value: Value| {
        values.push(value);
        sql.push_str(" AND ");
        sql.push_str(&condition.replace('?', &format!("${}", values.len())));
    };
    if let Some(state) = filter.state {
        also("corrected_by IS NULL AND state = ?", state_word(state).into());
    }
    if filter.over_bound {
        also("cost_nusd > bound_nusd AND state = ?", state_word(EntryState::Posted).into());
    }
    for (facet, value) in &filter.facets {
        also(&format!("{} = ?", column(*facet)), Value::from(&**value));
    }
    if let Some(id) = &filter.id {
        also("? IN (attempt, request_id)", Value::from(&**id));
    }
    let limit = i64::try_from(filter.limit.min(ANSWER_ROWS_MAX)).unwrap_or(i64::MAX);
    also("TRUE ORDER BY at_ms DESC, attempt LIMIT ?", limit.into());
    session.query(&sql, values).await?.into_iter().map(|mut row| read(&mut row)).collect()
}

/// What groups of attempts cost that were admitted in a stretch of time.
pub(crate) async fn attribution(
    session: &Session<'_>,
    groups: &[Group],
    from_ms: i64,
    to_ms: i64,
) -> Result<Vec<Attributed>, StoreError> {
    let columns: Vec<String> = groups.iter().map(|group| format!("{}, ", group_column(*group))).collect();
    let numbers: Vec<String> = (1..=groups.len()).map(|n| n.to_string()).collect();
    let by = if groups.is_empty() { String::new() } else { format!("GROUP BY {}", numbers.join(", ")) };
    let sum = |of: &str| format!("CAST(COALESCE(SUM({of}), 0) AS BIGINT)");
    let sql = format!(
        "SELECT {}COUNT(*), {}, {}, {}, {}, {} FROM entry \
         WHERE at_ms >= $1 AND at_ms < $2 AND corrected_by IS NULL {by} LIMIT {ANSWER_ROWS_MAX}",
        columns.concat(),
        sum("CASE WHEN state = 'posted' THEN cost_nusd ELSE 0 END"),
        sum("CASE WHEN state = 'posted' THEN 0 ELSE cost_nusd END"),
        sum("CASE WHEN state = 'posted' AND estimated <> 0 THEN cost_nusd ELSE 0 END"),
        sum(INPUT_TOTAL),
        sum("output_tokens"),
    );
    let rows = session.query(&sql, vec![from_ms.into(), to_ms.into()]).await?;
    rows.into_iter().map(|mut row| read_attributed(&mut row, groups.len())).collect()
}

fn read_attributed(row: &mut Row, groups: usize) -> Result<Attributed, StoreError> {
    let group = (0..groups).map(|_| row.text().map(|text| text.to_string())).collect::<Result<_, _>>()?;
    Ok(Attributed {
        group,
        attempts: row.int()?,
        posted_nusd: row.int()?,
        suspense_nusd: row.int()?,
        estimated_nusd: row.int()?,
        input_tokens: row.int()?,
        output_tokens: row.int()?,
    })
}

/// Notes that thresholds were crossed; each is noted once.
pub(crate) async fn note(session: &Session<'_>, crossings: &[Crossing]) -> Result<(), StoreError> {
    let set = |crossing: &Crossing| {
        let mut values = key_values(&crossing.key);
        values.extend([crossing.level.label().into(), crossing.committed.into()]);
        values.extend([crossing.limit.into(), crossing.at_ms.into()]);
        values
    };
    let sql = "INSERT INTO crossing (budget, scope, start_ms, level, committed, limit_amount, at_ms) \
               VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING";
    session.run_each(sql, crossings.iter().map(set).collect()).await?;
    Ok(())
}

/// Thresholds that were crossed at or after a time, oldest first.
pub(crate) async fn crossings(session: &Session<'_>, since_ms: i64) -> Result<Vec<Crossing>, StoreError> {
    let sql = format!(
        "SELECT budget, scope, start_ms, level, committed, limit_amount, at_ms FROM crossing \
         WHERE at_ms >= $1 ORDER BY at_ms, budget, scope, start_ms, committed LIMIT {ANSWER_ROWS_MAX}"
    );
    let rows = session.query(&sql, vec![since_ms.into()]).await?;
    let read = |mut row: Row| {
        let key = read_key(&mut row)?;
        let (level, committed, limit, at_ms) = (level_of(&row.text()?)?, row.int()?, row.int()?, row.int()?);
        Ok(Crossing { key, level, committed, limit, at_ms })
    };
    rows.into_iter().map(read).collect()
}

/// The pace of a budget's scope, slot by slot; slots in which nothing happened are left out.
pub(crate) async fn pace(
    session: &Session<'_>,
    budget: &str,
    scope: &str,
    (from_ms, to_ms): (i64, i64),
) -> Result<Vec<Pace>, StoreError> {
    let sql = format!(
        "SELECT slot_ms, posted, suspense FROM pace WHERE budget = $1 AND scope = $2 AND slot_ms >= $3 \
         AND slot_ms < $4 ORDER BY slot_ms LIMIT {ANSWER_ROWS_MAX}"
    );
    let values = vec![budget.into(), scope.into(), from_ms.into(), to_ms.into()];
    let read = |mut row: Row| Ok(Pace { slot_ms: row.int()?, posted: row.int()?, suspense: row.int()? });
    session.query(&sql, values).await?.into_iter().map(read).collect()
}

fn group_column(group: Group) -> &'static str {
    match group {
        Group::Facet(Facet::Region) => "''",
        Group::Facet(facet) => column(facet),
        Group::Target => "target",
        Group::Day => "CAST(at_ms / 86400000 * 86400000 AS TEXT)",
    }
}

fn column(facet: Facet) -> &'static str {
    match facet {
        Facet::Org => "org",
        Facet::Team => "team",
        Facet::Key => "key_name",
        Facet::User => "user_name",
        Facet::Run => "run",
        Facet::Model => "model",
        Facet::Path => "path",
        Facet::Region => "''",
        Facet::Operation => "operation",
        Facet::Tool => "tool",
    }
}

fn state_word(state: EntryState) -> &'static str {
    match state {
        EntryState::Posted => "posted",
        EntryState::Suspense => "suspense",
    }
}

fn values(settled: &Settled, correction: Option<&Correction>) -> Result<Values, StoreError> {
    let Entry { usage, .. } = &settled.entry;
    let e = &settled.entry;
    let lines = serde_json::to_string(&settled.lines).map_err(|e| StoreError::Unreadable(e.to_string()))?;
    let tokens = |count: Option<u64>| Value::from(count.map(|n| i64::try_from(n).unwrap_or(i64::MAX)));
    let mut values: Values =
        vec![(&*settled.attempt).into(), state_word(settled.state).into(), e.at_ms.into()];
    values.push((&*e.request_id).into());
    values.extend([&e.org, &e.team, &e.key, &e.user, &e.run, &e.model, &e.path].map(Value::from));
    values.extend([&e.target, &e.operation, &e.tool].map(Value::from));
    values.extend([(&*e.upstream_request_id).into(), Value::from(&e.price_version)]);
    values.extend(
        [
            usage.input,
            usage.output,
            usage.cache_read,
            usage.cache_write,
            usage.cache_write_1h,
            usage.reasoning,
        ]
        .map(tokens),
    );
    values.extend([e.bound_nusd.into(), e.cost_nusd.into(), e.estimated.into(), (&*lines).into()]);
    let said = |of: fn(&Correction) -> &str| Value::from(correction.map(of));
    values.extend([said(|c| &c.attempt), Value::Null, said(|c| &c.reason), said(|c| &c.by)]);
    values.push(said(|c| &c.signature));
    Ok(values)
}

fn read(row: &mut Row) -> Result<JournalEntry, StoreError> {
    let attempt = row.text()?;
    let state = match &*row.text()? {
        "posted" => EntryState::Posted,
        "suspense" => EntryState::Suspense,
        other => return Err(StoreError::Unreadable(format!("an entry in the state `{other}`"))),
    };
    let entry = read_entry(row)?;
    let lines = serde_json::from_str(&row.text()?)
        .map_err(|e| StoreError::Unreadable(format!("the lines of attempt {attempt}: {e}")))?;
    Ok(JournalEntry {
        settled: Settled { attempt, state, entry, lines },
        corrects: row.optional_text()?,
        corrected_by: row.optional_text()?,
        reason: row.optional_text()?,
        by: row.optional_text()?,
        signature: row.optional_text()?,
    })
}

fn read_entry(row: &mut Row) -> Result<Entry, StoreError> {
    Ok(Entry {
        at_ms: row.int()?,
        request_id: row.text()?,
        org: row.text()?,
        team: row.text()?,
        key: row.text()?,
        user: row.text()?,
        run: row.text()?,
        model: row.text()?,
        path: row.text()?,
        target: row.text()?,
        operation: row.text()?,
        tool: row.text()?,
        upstream_request_id: row.text()?.to_string(),
        price_version: row.text()?,
        usage: read_usage(row)?,
        bound_nusd: row.int()?,
        cost_nusd: row.int()?,
        estimated: row.int()? != 0,
    })
}

fn read_usage(row: &mut Row) -> Result<Usage, StoreError> {
    let mut tokens = || Ok(row.optional_int()?.map(|n| u64::try_from(n).unwrap_or(0)));
    Ok(Usage {
        input: tokens()?,
        output: tokens()?,
        cache_read: tokens()?,
        cache_write: tokens()?,
        cache_write_1h: tokens()?,
        reasoning: tokens()?,
    })
}
