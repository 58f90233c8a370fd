//! Keys over the operator's API: made, listed, revoked.

use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get};
use axum::{Extension, Json, Router};
use jiff::Timestamp;
use outcrop_store::keys::{DeskError, Wanted};
use outcrop_store::{Administrator, KeyDesk, StoreError};
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use crate::refusal::refuse;

/// Largest request in bytes.
const WANTED_BYTES_MAX: usize = 64 * 1024;

/// What the routes need.
#[derive(Clone)]
pub struct Keys {
    /// Where keys are made; `None` where none are asked for.
    pub desk: Option<KeyDesk>,
    /// Whether they outlive the process.
    pub is_kept: bool,
    /// The wall clock.
    pub now: fn() -> Timestamp,
}

/// The routes of keys.
pub fn keys(keys: Keys) -> Router {
    Router::new()
        .route("/admin/v1/keys", get(list).post(make))
        .route("/admin/v1/keys/{id}", delete(revoke))
        .layer(DefaultBodyLimit::max(WANTED_BYTES_MAX))
        .with_state(keys)
}

fn desk(keys: &Keys) -> Result<&KeyDesk, Box<Response>> {
    let open = "This gateway is open and asks for no keys; set `[auth] mode = \"keys\"` to use them.";
    keys.desk.as_ref().ok_or_else(|| Box::new(refuse(StatusCode::CONFLICT, open)))
}

async fn list(State(keys): State<Keys>, Extension(who): Extension<Administrator>) -> Response {
    let now = (keys.now)();
    match desk(&keys) {
        Ok(desk) => {
            Json(desk.list(&who).iter().map(|key| key.shown(now)).collect::<Vec<_>>()).into_response()
        }
        Err(refusal) => *refusal,
    }
}

async fn make(
    State(keys): State<Keys>,
    Extension(who): Extension<Administrator>,
    wanted: Result<Json<Wanted>, JsonRejection>,
) -> Response {
    let (desk, now) = match desk(&keys) {
        Ok(desk) => (desk, (keys.now)()),
        Err(refusal) => return *refusal,
    };
    let Json(wanted) = match wanted {
        Ok(wanted) => wanted,
        Err(rejection) => return refuse(StatusCode::BAD_REQUEST, &rejection.body_text()),
    };
    match desk.mint(&who, &wanted, now).await {
        Ok(minted) => {
            let secret = minted.pair_secret.as_ref().map(ExposeSecret::expose_secret);
            let mut shown = minted.record.shown(now);
            if let Value::Object(fields) = &mut shown {
                fields.insert("key".into(), minted.key.expose_secret().into());
                fields.insert("secret_access_key".into(), json!(secret));
                fields.insert("kept".into(), keys.is_kept.into());
            }
            (StatusCode::CREATED, Json(shown)).into_response()
        }
        Err(error) => refused(&error),
    }
}

async fn revoke(
    State(keys): State<Keys>,
    Extension(who): Extension<Administrator>,
    Path(id): Path<String>,
) -> Response {
    let (desk, now) = match desk(&keys) {
        Ok(desk) => (desk, (keys.now)()),
        Err(refusal) => return *refusal,
    };
    match desk.revoke(&who, &id, now).await {
        Ok(record) => Json(record.shown(now)).into_response(),
        Err(error) => refused(&error),
    }
}

fn refused(error: &DeskError) -> Response {
    let status = match error {
        DeskError::Invalid(_) => StatusCode::BAD_REQUEST,
        DeskError::Forbidden(_) => StatusCode::FORBIDDEN,
        DeskError::Unknown(_) => StatusCode::NOT_FOUND,
        DeskError::Store(StoreError::Unavailable(_) | StoreError::Unreadable(_) | StoreError::Refused(_)) => {
            StatusCode::SERVICE_UNAVAILABLE
        }
    };
    refuse(status, &error.to_string())
}
