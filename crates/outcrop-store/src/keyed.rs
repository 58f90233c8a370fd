//! Calls of keyed tools: what each answered, or that nobody knows what it did.
//!
//! A call is written down before it leaves, so that a killed process cannot have run what nobody knows
//! of; a row that was begun and never ended has an unknown outcome. It runs nothing and decides no
//! arguments: what a fingerprint is made of is its caller's business. Invariant: a key that is here is
//! never begun a second time, and the table is bounded in rows and in bytes.

use std::sync::Arc;
use std::time::Duration;

use crate::StoreError;
use crate::session::{Row, Session};

/// How long a result is kept from the call's beginning, and an unknown outcome as well.
pub const KEPT_FOR: Duration = Duration::from_hours(24);
/// Largest result that is kept, in bytes.
pub const RESULT_BYTES_MAX: usize = 1024 * 1024;
/// Most rows and bytes of results, of all callers and of one.
const OF_ALL: (i64, i64) = (20_000, 128 * 1024 * 1024);
const OF_ONE: (i64, i64) = (5_000, 32 * 1024 * 1024);
/// Most rows that a beginning clears away.
const SWEPT_MAX: i64 = 100;
/// Most rows that are listed.
const LISTED_MAX: i64 = 1_000;

/// A call as its key and its arguments name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyedCall {
    /// Whose key it is: nobody finds a result under another one's key.
    pub caller: Arc<str>,
    /// The idempotency key.
    pub key: Arc<str>,
    /// The tool, with its path.
    pub tool: Arc<str>,
    /// Names tool and arguments: the same means the same call.
    pub fingerprint: Arc<str>,
    /// Names this try of the call among all there ever were: only what it has begun does it end.
    pub ticket: Arc<str>,
}

/// What is known of a call under its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Known {
    /// Nothing: it has been begun, and the one who asked is to run it.
    Begun,
    /// It runs.
    Running,
    /// It may have run, and nobody knows.
    Unknown,
    /// It ran, with this result.
    Kept(Arc<str>),
    /// It ran, and its result was too large to be kept.
    TooLarge,
    /// The key belongs to another tool or other arguments.
    Differs,
    /// As many calls are kept as may be.
    Full,
}

/// How a call ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallEnd {
    /// With a result.
    Result(Arc<str>),
    /// It may have run.
    Unknown,
    /// It did not run: its key is free again.
    NotRun,
}

/// A row, as an operator sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyedView {
    /// Whose key it is.
    pub caller: Arc<str>,
    /// The idempotency key.
    pub key: Arc<str>,
    /// The tool, with its path.
    pub tool: Arc<str>,
    /// `running`, `unknown`, `kept` or `too_large`.
    pub state: Arc<str>,
    /// When it began, in milliseconds since the epoch.
    pub began_ms: i64,
    /// When it is forgotten, in milliseconds since the epoch.
    pub expires_ms: i64,
}

/// A call that is to begin.
#[derive(Debug, Clone)]
pub(crate) struct Opening {
    pub(crate) call: KeyedCall,
    pub(crate) owner: Arc<str>,
    pub(crate) now_ms: i64,
    pub(crate) time_max: Duration,
}

/// A call that ended.
#[derive(Debug, Clone)]
pub(crate) struct Closing {
    pub(crate) call: KeyedCall,
    pub(crate) owner: Arc<str>,
    pub(crate) end: CallEnd,
}

/// Begins a call, unless its key is known.
pub(crate) async fn begin(session: &Session<'_>, opening: &Opening) -> Result<Known, StoreError> {
    let Opening { call, owner, now_ms, time_max } = opening;
    let now_ms = session.shared_ms(*now_ms).await?;
    sweep(session, now_ms).await?;
    let until_ms = now_ms.saturating_add(millis(*time_max));
    let expires_ms = until_ms.max(now_ms.saturating_add(millis(KEPT_FOR)));
    let sql = "INSERT INTO keyed_call (caller, call_key, tool, fingerprint, state, owner, began_ms, until_ms, \
               expires_ms, bytes) VALUES ($1, $2, $3, $4, 'running', $5, $6, $7, $8, 0) ON CONFLICT DO NOTHING";
    let values = vec![
        (&call.caller).into(),
        (&call.key).into(),
        (&call.tool).into(),
        (&call.fingerprint).into(),
        (&name_of(owner, call)).into(),
        now_ms.into(),
        until_ms.into(),
        expires_ms.into(),
    ];
    if session.run(sql, values).await? == 0 {
        return look(session, call, owner, now_ms).await;
    }
    if is_full(session, &call.caller).await? {
        remove(session, call, owner).await?;
        return Ok(Known::Full);
    }
    Ok(Known::Begun)
}

/// Ends a call, if it is still its owner's.
pub(crate) async fn end(session: &Session<'_>, closing: &Closing) -> Result<(), StoreError> {
    let Closing { call, owner, end } = closing;
    let (state, bytes, result) = match end {
        CallEnd::NotRun => return remove(session, call, owner).await,
        CallEnd::Unknown => ("unknown", 0, None),
        CallEnd::Result(result) if result.len() > RESULT_BYTES_MAX => ("too_large", 0, None),
        CallEnd::Result(result) => ("kept", i64::try_from(result.len()).unwrap_or(i64::MAX), Some(&**result)),
    };
    // A row that was taken for lost in the meantime takes the truth as well.
    let sql = "UPDATE keyed_call SET state = $1, bytes = $2, result = $3 WHERE caller = $4 AND call_key = $5 \
               AND owner = $6 AND fingerprint = $7 AND state IN ('running', 'unknown')";
    let values = vec![
        state.into(),
        bytes.into(),
        result.into(),
        (&call.caller).into(),
        (&call.key).into(),
        (&name_of(owner, call)).into(),
        (&call.fingerprint).into(),
    ];
    session.run(sql, values).await.map(|_| ())
}

/// Forgets a call that does not run.
pub(crate) async fn clear(
    session: &Session<'_>,
    (caller, key): (&str, &str),
    owner: &Arc<str>,
    now_ms: i64,
) -> Result<u64, StoreError> {
    let now_ms = session.shared_ms(now_ms).await?;
    let alone = i64::from(!session.is_shared());
    let sql = "DELETE FROM keyed_call WHERE caller = $1 AND call_key = $2 AND (state <> 'running' OR \
               until_ms < $3 OR (CAST($4 AS BIGINT) = 1 AND owner NOT LIKE $5))";
    session
        .run(
            sql,
            vec![caller.into(), key.into(), now_ms.into(), alone.into(), (&*format!("{owner}%")).into()],
        )
        .await
}

/// What is kept.
pub(crate) async fn list(session: &Session<'_>, now_ms: i64) -> Result<Vec<KeyedView>, StoreError> {
    let now_ms = session.shared_ms(now_ms).await?;
    let sql = "SELECT caller, call_key, tool, state, began_ms, expires_ms FROM keyed_call \
               WHERE expires_ms > $1 ORDER BY began_ms DESC LIMIT $2";
    let rows = session.query(sql, vec![now_ms.into(), LISTED_MAX.into()]).await?;
    let view = |mut row: Row| {
        Ok(KeyedView {
            caller: row.text()?,
            key: row.text()?,
            tool: row.text()?,
            state: row.text()?,
            began_ms: row.int()?,
            expires_ms: row.int()?,
        })
    };
    rows.into_iter().map(view).collect()
}

/// What is known of a call whose key is there.
async fn look(
    session: &Session<'_>,
    call: &KeyedCall,
    owner: &Arc<str>,
    now_ms: i64,
) -> Result<Known, StoreError> {
    let sql = "SELECT fingerprint, state, owner, until_ms, result FROM keyed_call \
               WHERE caller = $1 AND call_key = $2";
    let rows = session.query(sql, vec![(&call.caller).into(), (&call.key).into()]).await?;
    // Its call did not run after all, at this very moment: whoever asks comes again.
    let Some(mut row) = rows.into_iter().next() else { return Ok(Known::Running) };
    let (fingerprint, state) = (row.text()?, row.text()?);
    let (whose, until_ms, result) = (row.text()?, row.int()?, row.optional_text()?);
    if fingerprint != call.fingerprint {
        return Ok(Known::Differs);
    }
    match (&*state, result) {
        ("kept", Some(result)) => Ok(Known::Kept(result)),
        ("too_large", _) => Ok(Known::TooLarge),
        // Where one process has the store to itself, another owner is a process that has ended.
        ("running", _) if until_ms >= now_ms && (whose.starts_with(&**owner) || session.is_shared()) => {
            Ok(Known::Running)
        }
        // Whatever else stands there, it may have run.
        _ => Ok(Known::Unknown),
    }
}

/// Clears away what is expired, a batch at a time.
async fn sweep(session: &Session<'_>, now_ms: i64) -> Result<(), StoreError> {
    let sql = "DELETE FROM keyed_call WHERE (caller, call_key) IN \
               (SELECT caller, call_key FROM keyed_call WHERE expires_ms <= $1 LIMIT $2)";
    session.run(sql, vec![now_ms.into(), SWEPT_MAX.into()]).await.map(|_| ())
}

/// Whether there is more than may be, with the row that was just written.
async fn is_full(session: &Session<'_>, caller: &Arc<str>) -> Result<bool, StoreError> {
    let sql = "SELECT COUNT(*), CAST(COALESCE(SUM(bytes), 0) AS BIGINT), \
               CAST(COALESCE(SUM(CASE WHEN caller = $1 THEN 1 ELSE 0 END), 0) AS BIGINT), \
               CAST(COALESCE(SUM(CASE WHEN caller = $1 THEN bytes ELSE 0 END), 0) AS BIGINT) FROM keyed_call";
    let mut rows = session.query(sql, vec![caller.into()]).await?;
    let Some(mut row) = rows.pop() else { return Ok(true) };
    let (all, own) = ((row.int()?, row.int()?), (row.int()?, row.int()?));
    let exceeds = |(rows, bytes): (i64, i64), most: (i64, i64)| rows > most.0 || bytes >= most.1;
    Ok(exceeds(all, OF_ALL) || exceeds(own, OF_ONE))
}

async fn remove(session: &Session<'_>, call: &KeyedCall, owner: &Arc<str>) -> Result<(), StoreError> {
    let sql =
        "DELETE FROM keyed_call WHERE caller = $1 AND call_key = $2 AND owner = $3 AND state = 'running'";
    let name = name_of(owner, call);
    session.run(sql, vec![(&call.caller).into(), (&call.key).into(), (&name).into()]).await.map(|_| ())
}

/// Who runs a call: one try of it in one process.
fn name_of(owner: &Arc<str>, call: &KeyedCall) -> Arc<str> {
    format!("{owner}/{}", call.ticket).into()
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
