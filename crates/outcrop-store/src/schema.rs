//! The tables, and how an older store becomes one of this version.

use refinery::error::{Error, Kind};
use refinery::{Migration, Runner};
use tokio_postgres::Client;

use crate::StoreError;

/// Brings a SQLite file to this version.
pub(crate) fn migrate_sqlite(connection: &mut rusqlite::Connection) -> Result<(), StoreError> {
    runner()?.run(connection).map(|_| ()).map_err(|e| refused(&e))
}

/// Whether a SQLite file is of this version; one that another process uses is not changed.
pub(crate) fn check_sqlite(connection: &mut rusqlite::Connection) -> Result<(), StoreError> {
    let runner = runner()?;
    let applied = runner.get_applied_migrations(connection).map_err(|e| refused(&e))?;
    if applied.len() == runner.get_migrations().len() {
        return Ok(());
    }
    Err(StoreError::Refused(
        "the gateway that runs keeps its tables as another version of Outcrop does; end it before this one \
         starts"
            .to_owned(),
    ))
}

/// Brings a PostgreSQL database to this version.
pub(crate) async fn migrate_postgres(client: &mut Client) -> Result<(), StoreError> {
    runner()?.run_async(client).await.map(|_| ()).map_err(|e| refused(&e))
}

fn runner() -> Result<Runner, StoreError> {
    let all = [
        Migration::unapplied("V1__ledger", include_str!("../migrations/V1__ledger.sql")),
        Migration::unapplied("V2__keyed_calls", include_str!("../migrations/V2__keyed_calls.sql")),
    ];
    let all = all.into_iter().collect::<Result<Vec<_>, _>>().map_err(|e| refused(&e))?;
    let runner = Runner::new(&all);
    Ok(runner.set_abort_missing(true).set_abort_divergent(true))
}

fn refused(error: &Error) -> StoreError {
    match error.kind() {
        Kind::MissingVersion(_) | Kind::DivergentVersion(..) => StoreError::Refused(
            "it was made by another version of Outcrop; use that one, or a later one".to_owned(),
        ),
        other => StoreError::Unavailable(format!("its tables cannot be made: {other}")),
    }
}
