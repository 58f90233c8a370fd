//! The allocator's transactions: load rows, let the ledger's rules change them, store them again.
//!
//! Each of these may be run twice and has its effect once, because an answer can be lost. Nothing here
//! is committed before the engine says so.

use std::collections::BTreeSet;
use std::sync::Arc;

use outcrop_core::Usage;
use outcrop_policy::ledger::{
    AccountKey, AccountRow, Amounts, Answer, Balance, EntryState, Recovered, Report, Rows, Settled, Teller,
};
use serde::Serialize;

use crate::StoreError;
use crate::journal::{self, Correction, JournalEntry};
use crate::rows;
use crate::session::{Session, Value};

/// A replica that was not heard of for so long does not share the limits any more. What it holds stays
/// counted.
pub const SILENT_AFTER_MS: i64 = 5_000;

/// What a replica says of itself with everything it says.
#[derive(Debug, Clone)]
pub(crate) struct Beat {
    pub(crate) replica: Arc<str>,
    /// Counts the beginnings of the replica: a predecessor that still runs is not heard any more.
    pub(crate) epoch: i64,
    pub(crate) wall_ms: i64,
    pub(crate) mono_ms: i64,
    pub(crate) boot: Arc<str>,
}

/// What a replica found when it began.
#[derive(Debug, Clone)]
pub(crate) struct Beginning {
    pub(crate) beat: Beat,
    pub(crate) settled: Arc<[Settled]>,
    pub(crate) complete: bool,
    pub(crate) name: String,
}

/// What a beginning has made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Begun {
    pub(crate) epoch: i64,
    /// Ledger time and time since the boot, as this replica last said in this same boot.
    pub(crate) own: Option<(i64, i64)>,
    /// The latest ledger time that any replica ever said.
    pub(crate) highest_ms: Option<i64>,
}

/// Which accounts are asked for.
#[derive(Debug, Clone, Default)]
pub struct AccountFilter {
    /// Only those of this budget.
    pub budget: Option<String>,
    /// Only those of this concrete scope.
    pub scope: Option<String>,
}

/// A replica as the store knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReplicaView {
    /// Its id.
    pub id: Arc<str>,
    /// How often it began.
    pub epoch: i64,
    /// When it was last heard of, in milliseconds since the epoch; 0 when it ended by itself.
    pub seen_ms: i64,
    /// Whether it is heard of.
    pub is_live: bool,
    /// Accounts on which it holds a lease.
    pub leases: i64,
}

/// Takes a report of a replica.
pub(crate) async fn report(
    session: &Session<'_>,
    beat: &Beat,
    report: &Report,
) -> Result<Answer, StoreError> {
    let shared_ms = session.shared_ms(beat.wall_ms).await?;
    hear(session, beat, report, shared_ms).await?;
    let replicas = live(session, &beat.replica, shared_ms).await?;
    let touched = Rows::touched(report);
    rows::lock(session, touched.iter().copied()).await?;
    let mut before = Rows::default();
    rows::load(session, touched.iter().copied(), &mut before).await?;
    let reaching = report.accounts.iter().filter_map(|a| Some((&a.key, a.terms.reach_ms?)));
    rows::load_beside(session, reaching, report.now_ms, &mut before).await?;
    let attempts = report.settled.iter().map(|settled| &*settled.attempt);
    before.known = journal::known(session, attempts).await?.into_iter().collect();
    let mut after = before.clone();
    let applied = after.apply(Teller { replica: &beat.replica, replicas }, report);
    rows::store(session, &before, &after).await?;
    journal::add(session, &applied.entries).await?;
    journal::note(session, &applied.answer.crossings).await?;
    Ok(applied.answer)
}

/// Notes that a replica was heard, or refuses to hear it: another process goes by its name, or it said
/// something later already. The latter happens when a connection was given up while its server still
/// worked; what it says then must not undo what was said since.
async fn hear(session: &Session<'_>, beat: &Beat, report: &Report, shared_ms: i64) -> Result<(), StoreError> {
    let sequence = i64::try_from(report.sequence).unwrap_or(i64::MAX);
    let sql = "UPDATE replica SET sequence = $1, seen_ms = $2, ledger_ms = $3, mono_ms = $4, boot = $5 \
               WHERE id = $6 AND epoch = $7 AND sequence <= $1";
    let values = vec![
        sequence.into(),
        shared_ms.into(),
        report.now_ms.into(),
        beat.mono_ms.into(),
        Value::from(&beat.boot),
        Value::from(&beat.replica),
        beat.epoch.into(),
    ];
    if session.run(sql, values).await? == 1 {
        return Ok(());
    }
    Err(StoreError::Refused(format!(
        "another process has begun as replica {}, or a later report of it was heard",
        beat.replica
    )))
}

/// How many replicas share the limits, this one included.
async fn live(session: &Session<'_>, replica: &str, shared_ms: i64) -> Result<usize, StoreError> {
    let sql = "SELECT COUNT(*) FROM replica WHERE seen_ms > $1 OR id = $2";
    let since = shared_ms.saturating_sub(SILENT_AFTER_MS);
    let mut rows = session.query(sql, vec![since.into(), replica.into()]).await?;
    let count = rows.pop().map_or(Ok(1), |mut row| row.int())?;
    Ok(usize::try_from(count).unwrap_or(1).max(1))
}

/// A replica begins: it takes its name, and what its predecessor held comes back or into suspense.
pub(crate) async fn begin(session: &Session<'_>, beginning: &Beginning) -> Result<Begun, StoreError> {
    let beat = &beginning.beat;
    let shared_ms = session.shared_ms(beat.wall_ms).await?;
    let epoch = take_name(session, beat, shared_ms).await?;
    let own = own_time(session, beat).await?;
    let highest_ms = highest(session).await?;
    let now_ms = highest_ms.unwrap_or(i64::MIN).max(beat.wall_ms);
    let log = Recovered {
        settled: &beginning.settled,
        complete: beginning.complete,
        beginning: &beginning.name,
        now_ms,
    };
    take_back(session, &beat.replica, &log).await?;
    // Where one process has the store to itself, a replica of another name is gone for good: its
    // dispatch log was lost.
    if !session.is_shared() {
        for other in others(session, &beat.replica).await? {
            let name = format!("{}:{other}", beginning.name);
            let log = Recovered { settled: &[], complete: false, beginning: &name, now_ms };
            take_back(session, &other, &log).await?;
            session.run("DELETE FROM replica WHERE id = $1", vec![Value::from(&other)]).await?;
        }
    }
    Ok(Begun { epoch, own, highest_ms })
}

async fn take_name(session: &Session<'_>, beat: &Beat, shared_ms: i64) -> Result<i64, StoreError> {
    let sql = "INSERT INTO replica (id, epoch, sequence, seen_ms, ledger_ms, mono_ms, boot) \
               VALUES ($1, 1, 0, $2, -9223372036854775807, 0, '') ON CONFLICT (id) DO UPDATE \
               SET epoch = replica.epoch + 1, sequence = 0, seen_ms = excluded.seen_ms";
    session.run(sql, vec![Value::from(&beat.replica), shared_ms.into()]).await?;
    let sql = "SELECT epoch FROM replica WHERE id = $1";
    let mut rows = session.query(sql, vec![Value::from(&beat.replica)]).await?;
    rows.pop()
        .map_or_else(|| Err(StoreError::Unreadable("the replica's row".to_owned())), |mut row| row.int())
}

async fn own_time(session: &Session<'_>, beat: &Beat) -> Result<Option<(i64, i64)>, StoreError> {
    let sql = "SELECT ledger_ms, mono_ms FROM replica WHERE id = $1 AND boot = $2 AND boot <> ''";
    let values = vec![Value::from(&beat.replica), Value::from(&beat.boot)];
    let row = session.query(sql, values).await?.pop();
    row.map(|mut row| Ok((row.int()?, row.int()?))).transpose()
}

async fn highest(session: &Session<'_>) -> Result<Option<i64>, StoreError> {
    let sql = "SELECT MAX(ledger_ms) FROM replica WHERE boot <> ''";
    let mut rows = session.query(sql, Vec::new()).await?;
    rows.pop().map_or(Ok(None), |mut row| row.optional_int())
}

async fn others(session: &Session<'_>, replica: &str) -> Result<Vec<Arc<str>>, StoreError> {
    let sql = "SELECT DISTINCT replica FROM lease WHERE replica <> $1 ORDER BY replica";
    let rows = session.query(sql, vec![replica.into()]).await?;
    rows.into_iter().map(|mut row| row.text()).collect()
}

/// Takes back all leases of a replica, and journals what its dispatch log says.
async fn take_back(session: &Session<'_>, replica: &Arc<str>, log: &Recovered<'_>) -> Result<(), StoreError> {
    let lines = log.settled.iter().flat_map(|settled| settled.lines.iter().map(|line| &line.account));
    let mut keys: BTreeSet<AccountKey> = lines.map(|key| AccountKey::clone(key)).collect();
    let mut held = Rows::default();
    rows::load_of(session, replica, &mut held).await?;
    keys.extend(held.accounts.into_keys());
    // Locked before they are loaded to be changed.
    rows::lock(session, keys.iter()).await?;
    let mut before = Rows::default();
    rows::load(session, keys.iter(), &mut before).await?;
    let attempts = log.settled.iter().map(|settled| &*settled.attempt);
    before.known = journal::known(session, attempts).await?.into_iter().collect();
    let mut after = before.clone();
    let entries = after.begin_anew(replica, log);
    rows::store(session, &before, &after).await?;
    journal::add(session, &entries).await
}

/// A replica has ended and does not share the limits any more.
pub(crate) async fn end(session: &Session<'_>, beat: &Beat) -> Result<(), StoreError> {
    let values = vec![Value::from(&beat.replica), beat.epoch.into()];
    session.run("UPDATE replica SET seen_ms = 0 WHERE id = $1 AND epoch = $2", values).await?;
    Ok(())
}

/// An operator says that a silent replica is gone: what it held goes into suspense. Should it come
/// back it is not heard any more.
pub(crate) async fn release(
    session: &Session<'_>,
    replica: &Arc<str>,
    by: &str,
    wall_ms: i64,
) -> Result<(), StoreError> {
    let shared_ms = session.shared_ms(wall_ms).await?;
    let sql = "UPDATE replica SET epoch = epoch + 1, seen_ms = 0 WHERE id = $1 AND seen_ms <= $2";
    let silent_since = shared_ms.saturating_sub(SILENT_AFTER_MS);
    if session.run(sql, vec![Value::from(replica), silent_since.into()]).await? == 0 {
        return Err(StoreError::Refused(format!("there is no replica {replica} that is silent")));
    }
    let rows = session.query("SELECT epoch FROM replica WHERE id = $1", vec![Value::from(replica)]).await?;
    let epoch = rows.into_iter().next().map_or(Ok(0), |mut row| row.int())?;
    let now_ms = highest(session).await?.unwrap_or(i64::MIN).max(wall_ms);
    let name = format!("released by {by}:{replica}:{epoch}");
    take_back(session, replica, &Recovered { settled: &[], complete: false, beginning: &name, now_ms }).await
}

/// Evidence has come for an attempt in suspense. The same evidence may come twice.
pub(crate) async fn resolve(
    session: &Session<'_>,
    correction: &Correction,
) -> Result<JournalEntry, StoreError> {
    let name = format!("correction:{}", correction.attempt);
    let suspended = suspended(session, &correction.attempt).await?;
    rows::lock(session, suspended.lines.iter().map(|line| &*line.account)).await?;
    // Whoever came first has marked it by the time the accounts are locked.
    if let Some(made) = journal::entry(session, &name).await? {
        return same(made, &correction.actual);
    }
    let mut before = Rows::default();
    rows::load(session, suspended.lines.iter().map(|line| &*line.account), &mut before).await?;
    let mut after = before.clone();
    let mut posted = after.resolve(&suspended, &correction.actual);
    posted.attempt = name.into();
    posted.entry.estimated = false;
    let tokens = |count: i64| u64::try_from(count).ok();
    let (input, output) = (tokens(correction.actual.input_tokens), tokens(correction.actual.output_tokens));
    posted.entry.usage = Usage { input, output, ..Usage::default() };
    rows::store(session, &before, &after).await?;
    journal::correct(session, &suspended, &posted, correction).await?;
    journal::entry(session, &posted.attempt)
        .await?
        .ok_or_else(|| StoreError::Unreadable("the correction that was just made".to_owned()))
}

async fn suspended(session: &Session<'_>, attempt: &str) -> Result<Settled, StoreError> {
    let found = journal::entry(session, attempt).await?;
    let known = found.ok_or_else(|| StoreError::Refused(format!("there is no attempt {attempt}")))?;
    if known.settled.state == EntryState::Suspense {
        return Ok(known.settled);
    }
    Err(StoreError::Refused(format!("attempt {attempt} is not in suspense: its cost is known")))
}

fn same(made: JournalEntry, actual: &Amounts) -> Result<JournalEntry, StoreError> {
    if made.settled.entry.cost_nusd == actual.nusd {
        return Ok(made);
    }
    Err(StoreError::Refused(format!(
        "it was resolved already, by {} with another cost",
        made.by.as_deref().unwrap_or("somebody")
    )))
}

/// The accounts in force at a time, and how each stands. Of a rolling window it is the latest bucket,
/// with all that still count beside it.
pub(crate) async fn accounts(
    session: &Session<'_>,
    filter: &AccountFilter,
    now_ms: i64,
) -> Result<Vec<(AccountRow, Balance)>, StoreError> {
    let (budget, scope) = (filter.budget.as_deref().unwrap_or(""), filter.scope.as_deref().unwrap_or(""));
    let rows = rows::load_counting(session, now_ms, budget, scope).await?;
    let is_current = |row: &&AccountRow| {
        let later = rows.accounts.range(row.key.clone()..).nth(1).map(|(key, _)| key);
        let is_last = later.is_none_or(|k| k.budget != row.key.budget || k.scope != row.key.scope);
        if row.terms.reach_ms.is_some() { is_last } else { row.key.start_ms <= now_ms }
    };
    let current = rows.accounts.values().filter(is_current).take(journal::ANSWER_ROWS_MAX);
    Ok(current.filter_map(|row| Some((row.clone(), rows.balance(&row.key, now_ms)?))).collect())
}

/// All replicas that ever began.
pub(crate) async fn replicas(session: &Session<'_>, wall_ms: i64) -> Result<Vec<ReplicaView>, StoreError> {
    let live_since = session.shared_ms(wall_ms).await?.saturating_sub(SILENT_AFTER_MS);
    let sql = "SELECT r.id, r.epoch, r.seen_ms, COUNT(l.replica) FROM replica r \
               LEFT JOIN lease l ON l.replica = r.id GROUP BY r.id, r.epoch, r.seen_ms ORDER BY r.id LIMIT 1000";
    let rows = session.query(sql, Vec::new()).await?;
    let read = |mut row: crate::session::Row| {
        let (id, epoch, seen_ms, leases) = (row.text()?, row.int()?, row.int()?, row.int()?);
        Ok(ReplicaView { id, epoch, seen_ms, is_live: seen_ms > live_since, leases })
    };
    rows.into_iter().map(read).collect()
}

/// Forgets what is older than the retention, a little at a time; how many rows went. What is in
/// suspense is never forgotten, nor is an account that still counts or that somebody holds.
pub(crate) async fn prune(session: &Session<'_>, before_ms: i64) -> Result<u64, StoreError> {
    const BATCH: i64 = 500;
    let each = [
        "DELETE FROM entry WHERE attempt IN (SELECT attempt FROM entry WHERE at_ms < $1 \
         AND (state = 'posted' OR corrected_by IS NOT NULL) LIMIT $2)",
        "DELETE FROM pace WHERE (budget, scope, slot_ms) IN (SELECT budget, scope, slot_ms FROM pace \
         WHERE slot_ms < $1 LIMIT $2)",
        "DELETE FROM crossing WHERE (budget, scope, start_ms, level) IN (SELECT budget, scope, start_ms, level \
         FROM crossing WHERE at_ms < $1 LIMIT $2)",
        "DELETE FROM account WHERE (budget, scope, start_ms) IN (SELECT a.budget, a.scope, a.start_ms \
         FROM account a WHERE a.end_ms < $1 - COALESCE(a.reach_ms, 0) AND a.suspense = 0 AND NOT EXISTS \
         (SELECT 1 FROM lease l WHERE l.budget = a.budget AND l.scope = a.scope \
         AND l.start_ms = a.start_ms) LIMIT $2)",
    ];
    let mut gone = 0_u64;
    for sql in each {
        gone = gone.saturating_add(session.run(sql, vec![before_ms.into(), BATCH.into()]).await?);
    }
    Ok(gone)
}
