//! Statements on PostgreSQL: one connection with its prepared statements.

use std::collections::HashMap;

use futures_util::future::try_join_all;
use parking_lot::Mutex;
use tokio_postgres::types::{IsNull, ToSql, Type, private::BytesMut, to_sql_checked};
use tokio_postgres::{Client, Statement};

use super::{Row, Value, Values};
use crate::StoreError;

/// Prepared statements that are kept. Beyond that (many kinds of reports) all are prepared anew.
const STATEMENTS_MAX: usize = 128;

/// A connection.
pub(crate) struct Link {
    pub(crate) client: Client,
    // Held for one look-up or insertion.
    statements: Mutex<HashMap<String, Statement>>,
}

impl ToSql for Value {
    fn to_sql(
        &self,
        kind: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        match self {
            Value::Null | Value::Strange => Ok(IsNull::Yes),
            Value::Int(number) => number.to_sql(kind, out),
            Value::Text(text) => (&**text).to_sql(kind, out),
        }
    }

    fn accepts(kind: &Type) -> bool {
        *kind == Type::INT8 || *kind == Type::TEXT
    }

    to_sql_checked!();
}

fn row(found: &tokio_postgres::Row) -> Row {
    let cell = |at: usize, kind: &Type| match *kind {
        Type::INT8 => {
            found.try_get::<_, Option<i64>>(at).map(|number| number.map_or(Value::Null, Value::Int))
        }
        Type::TEXT => found
            .try_get::<_, Option<&str>>(at)
            .map(|text| text.map_or(Value::Null, |t| Value::Text(t.into()))),
        _ => Ok(Value::Strange),
    };
    let columns = found.columns().iter().enumerate();
    let cells: Vec<Value> =
        columns.map(|(at, column)| cell(at, column.type_()).unwrap_or(Value::Strange)).collect();
    Row(cells.into_iter())
}

impl Link {
    pub(crate) fn new(client: Client) -> Self {
        Self { client, statements: Mutex::default() }
    }

    async fn statement(&self, sql: &str) -> Result<Statement, StoreError> {
        let known = self.statements.lock().get(sql).cloned();
        if let Some(statement) = known {
            return Ok(statement);
        }
        let statement = self.client.prepare(sql).await.map_err(|e| failed(&e))?;
        let mut statements = self.statements.lock();
        if statements.len() >= STATEMENTS_MAX {
            statements.clear();
        }
        statements.insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }

    /// All are sent at once and answered in order.
    pub(super) async fn query_each(&self, sql: &str, sets: &[Values]) -> Result<Vec<Row>, StoreError> {
        if sets.is_empty() {
            return Ok(Vec::new());
        }
        let statement = &self.statement(sql).await?;
        let answers = sets.iter().map(|values| async move {
            let parameters: Vec<&(dyn ToSql + Sync)> =
                values.iter().map(|v| v as &(dyn ToSql + Sync)).collect();
            self.client.query(statement, &parameters).await
        });
        let answers = try_join_all(answers).await.map_err(|e| failed(&e))?;
        Ok(answers.iter().flatten().map(row).collect())
    }

    pub(super) async fn run_each(&self, sql: &str, sets: &[Values]) -> Result<u64, StoreError> {
        if sets.is_empty() {
            return Ok(0);
        }
        let statement = &self.statement(sql).await?;
        let answers = sets.iter().map(|values| async move {
            let parameters: Vec<&(dyn ToSql + Sync)> =
                values.iter().map(|v| v as &(dyn ToSql + Sync)).collect();
            self.client.execute(statement, &parameters).await
        });
        let answers = try_join_all(answers).await.map_err(|e| failed(&e))?;
        Ok(answers.into_iter().fold(0, u64::saturating_add))
    }

    pub(crate) async fn batch(&self, sql: &str) -> Result<(), StoreError> {
        self.client.batch_execute(sql).await.map_err(|e| failed(&e))
    }
}

/// An error of PostgreSQL, in words.
pub(crate) fn failed(error: &tokio_postgres::Error) -> StoreError {
    let cause = error.as_db_error().map(|db| db.message().to_owned());
    let below = || std::error::Error::source(error).map(ToString::to_string);
    let said = cause.or_else(below).unwrap_or_else(|| error.to_string());
    StoreError::Unavailable(format!("PostgreSQL says: {said}"))
}
