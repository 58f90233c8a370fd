//! Statements on SQLite.

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, ToSql, params_from_iter};

use super::{Row, Value, Values};
use crate::StoreError;

impl ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Value::Null | Value::Strange => ValueRef::Null,
            Value::Int(number) => ValueRef::Integer(*number),
            Value::Text(text) => ValueRef::Text(text.as_bytes()),
        }))
    }
}

fn value(found: ValueRef<'_>) -> Value {
    match found {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => Value::Int(number),
        ValueRef::Text(bytes) => std::str::from_utf8(bytes).map_or(Value::Strange, |t| Value::Text(t.into())),
        ValueRef::Real(_) | ValueRef::Blob(_) => Value::Strange,
    }
}

pub(super) fn query_each(
    connection: &Connection,
    sql: &str,
    sets: &[Values],
) -> Result<Vec<Row>, StoreError> {
    let mut statement = connection.prepare_cached(sql).map_err(|e| failed(&e))?;
    let columns = statement.column_count();
    let mut found = Vec::new();
    for values in sets {
        let mut rows = statement.query(params_from_iter(values)).map_err(|e| failed(&e))?;
        while let Some(row) = rows.next().map_err(|e| failed(&e))? {
            let cells = (0..columns).map(|at| row.get_ref(at).map(value)).collect::<Result<Vec<_>, _>>();
            found.push(Row(cells.map_err(|e| failed(&e))?.into_iter()));
        }
    }
    Ok(found)
}

pub(super) fn run_each(connection: &Connection, sql: &str, sets: &[Values]) -> Result<u64, StoreError> {
    let mut statement = connection.prepare_cached(sql).map_err(|e| failed(&e))?;
    let mut changed = 0_u64;
    for values in sets {
        let rows = statement.execute(params_from_iter(values)).map_err(|e| failed(&e))?;
        changed = changed.saturating_add(rows as u64);
    }
    Ok(changed)
}

/// An error of SQLite, in words.
pub(crate) fn failed(error: &rusqlite::Error) -> StoreError {
    use rusqlite::ErrorCode::{DatabaseCorrupt, DiskFull, NotADatabase};
    match error.sqlite_error_code() {
        Some(DiskFull) => StoreError::Unavailable("the disk is full".to_owned()),
        Some(DatabaseCorrupt | NotADatabase) => StoreError::Unreadable(format!("SQLite says: {error}")),
        _ => StoreError::Unavailable(format!("SQLite says: {error}")),
    }
}
