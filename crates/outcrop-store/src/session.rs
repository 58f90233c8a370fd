//! A transaction under way, whichever engine runs it: statements go in, rows come out.
//!
//! Both engines speak the same SQL here, so that what is stored is written once. Parameters are
//! written `$1`, `$2` … in the order of their first use. The SQLite side never waits.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::StoreError;

mod postgres;
mod sqlite;

pub(crate) use postgres::{Link, failed as postgres_failed};
pub(crate) use sqlite::failed as sqlite_failed;

/// A parameter or a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    Null,
    Int(i64),
    Text(Arc<str>),
    /// Something this program never stores.
    Strange,
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl From<bool> for Value {
    fn from(truth: bool) -> Self {
        Self::Int(i64::from(truth))
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        // PostgreSQL has no zero character in a text.
        if text.contains('\0') { Self::Text(text.replace('\0', "").into()) } else { Self::Text(text.into()) }
    }
}

impl From<&Arc<str>> for Value {
    fn from(text: &Arc<str>) -> Self {
        if text.contains('\0') { Self::from(&**text) } else { Self::Text(Arc::clone(text)) }
    }
}

impl From<Option<i64>> for Value {
    fn from(number: Option<i64>) -> Self {
        number.map_or(Self::Null, Self::Int)
    }
}

impl From<Option<&str>> for Value {
    fn from(text: Option<&str>) -> Self {
        text.map_or(Self::Null, Self::from)
    }
}

/// The parameters of one statement.
pub(crate) type Values = Vec<Value>;

/// One row, read from left to right.
#[derive(Debug)]
pub(crate) struct Row(std::vec::IntoIter<Value>);

impl Row {
    pub(crate) fn text(&mut self) -> Result<Arc<str>, StoreError> {
        match self.0.next() {
            Some(Value::Text(text)) => Ok(text),
            Some(other) => Err(unreadable(&other, "a text")),
            None => Err(unreadable(&Value::Null, "one more column")),
        }
    }

    pub(crate) fn int(&mut self) -> Result<i64, StoreError> {
        self.optional_int()?.ok_or_else(|| unreadable(&Value::Null, "a number"))
    }

    pub(crate) fn optional_int(&mut self) -> Result<Option<i64>, StoreError> {
        match self.0.next() {
            Some(Value::Int(number)) => Ok(Some(number)),
            Some(Value::Null) => Ok(None),
            Some(other) => Err(unreadable(&other, "a number")),
            None => Err(unreadable(&Value::Null, "one more column")),
        }
    }

    pub(crate) fn optional_text(&mut self) -> Result<Option<Arc<str>>, StoreError> {
        match self.0.next() {
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(Value::Null) => Ok(None),
            Some(other) => Err(unreadable(&other, "a text")),
            None => Err(unreadable(&Value::Null, "one more column")),
        }
    }
}

fn unreadable(found: &Value, expected: &str) -> StoreError {
    StoreError::Unreadable(format!("expected {expected}, found {found:?}"))
}

/// Who uses a SQLite file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Company {
    /// This process has it to itself.
    Alone,
    /// Another process of this gateway as well, while the one takes over from the other.
    Another,
}

/// A transaction under way.
#[derive(Clone, Copy)]
pub(crate) enum Session<'a> {
    // The mutex only makes it shareable between threads; it is never contended.
    Sqlite(&'a Mutex<rusqlite::Connection>, Company),
    Postgres(&'a Link),
}

impl Session<'_> {
    /// The rows of one statement.
    pub(crate) async fn query(&self, sql: &str, values: Values) -> Result<Vec<Row>, StoreError> {
        self.query_each(sql, vec![values]).await
    }

    /// The rows of one statement for each set of parameters, one after the other.
    pub(crate) async fn query_each(&self, sql: &str, sets: Vec<Values>) -> Result<Vec<Row>, StoreError> {
        match self {
            Self::Sqlite(connection, _) => sqlite::query_each(&connection.lock(), sql, &sets),
            Self::Postgres(link) => link.query_each(sql, &sets).await,
        }
    }

    /// Runs one statement for each set of parameters; how many rows that changed.
    pub(crate) async fn run_each(&self, sql: &str, sets: Vec<Values>) -> Result<u64, StoreError> {
        match self {
            Self::Sqlite(connection, _) => sqlite::run_each(&connection.lock(), sql, &sets),
            Self::Postgres(link) => link.run_each(sql, &sets).await,
        }
    }

    /// Runs one statement; how many rows that changed.
    pub(crate) async fn run(&self, sql: &str, values: Values) -> Result<u64, StoreError> {
        self.run_each(sql, vec![values]).await
    }

    /// Whether other processes use the same store at the same time.
    pub(crate) fn is_shared(&self) -> bool {
        match self {
            Self::Sqlite(_, company) => *company == Company::Another,
            Self::Postgres(_) => true,
        }
    }

    /// Whether a transaction keeps all others from writing until it ends.
    pub(crate) fn has_one_writer(&self) -> bool {
        matches!(self, Self::Sqlite(..))
    }

    /// The clock that all replicas share; `wall_ms` where there is one process only.
    pub(crate) async fn shared_ms(&self, wall_ms: i64) -> Result<i64, StoreError> {
        match self {
            Self::Sqlite(..) => Ok(wall_ms),
            Self::Postgres(_) => {
                let sql = "SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)";
                let mut rows = self.query(sql, Values::new()).await?;
                rows.pop().map_or_else(|| Err(unreadable(&Value::Null, "the time")), |mut row| row.int())
            }
        }
    }
}
