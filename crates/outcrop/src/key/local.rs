//! The same questions, answered from the store itself while no gateway runs.

use std::path::Path;

use http::{Method, StatusCode};
use outcrop_store::keys::{Administrator, DeskError, KeyDesk, Wanted};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use tokio_util::task::TaskTracker;

use crate::authority::Authority;
use crate::clock::wall;
use crate::config::{self, Keeping};
use crate::operator::OperatorError;
use crate::store;

/// Answers from the store that `file` names; `None` where there is no durable one.
pub(super) fn ask(
    file: &Path,
    method: &Method,
    path: &str,
    body: Option<&Value>,
) -> Option<Result<Value, OperatorError>> {
    let checked = config::load(file).ok().filter(|checked| checked.keeping != Keeping::Memory)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
    let answer = runtime.block_on(async {
        let tasks = TaskTracker::new();
        let opened = store::documents(&checked.store, &tasks).await;
        let (store, register) = opened.map_err(|error| refused(503, &error))?;
        let authority = Authority::establish(&checked, register).map_err(|error| refused(503, &error))?;
        let desk =
            authority.desk().ok_or_else(|| refused(409, &"this gateway is open and asks for no keys"))?;
        let answered = answer(&desk, method, path, body).await;
        store.close().await;
        answered
    });
    Some(answer)
}

async fn answer(
    desk: &KeyDesk,
    method: &Method,
    path: &str,
    body: Option<&Value>,
) -> Result<Value, OperatorError> {
    let (who, now) = (Administrator::of_the_machine("operator"), wall());
    let failed = |error: DeskError| match error {
        DeskError::Invalid(_) | DeskError::Unknown(_) => refused(400, &error),
        DeskError::Forbidden(_) => refused(403, &error),
        DeskError::Store(_) => refused(503, &error),
    };
    if *method == Method::DELETE {
        let id = path.rsplit('/').next().unwrap_or_default();
        return desk.revoke(&who, id, now).await.map(|record| record.shown(now)).map_err(failed);
    }
    let Some(body) = body else {
        return Ok(desk.list(&who).iter().map(|record| record.shown(now)).collect());
    };
    let wanted: Wanted = serde_json::from_value(body.clone()).map_err(|error| refused(400, &error))?;
    let minted = desk.mint(&who, &wanted, now).await.map_err(failed)?;
    let mut shown = minted.record.shown(now);
    shown["key"] = minted.key.expose_secret().into();
    shown["secret_access_key"] = json!(minted.pair_secret.as_ref().map(ExposeSecret::expose_secret));
    Ok(shown)
}

fn refused(status: u16, message: &dyn std::fmt::Display) -> OperatorError {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    OperatorError::Refused { status, message: message.to_string() }
}
