//! Calls of keyed tools over the operator's API: which keys are known, and which is let go.
//!
//! Clearing a key is the operator's word that its call may run again. Results are not shown: they are
//! their callers' own.

use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use outcrop_store::{Administrator, Store, StoreError};
use serde::Deserialize;
use serde_json::json;

use crate::order::in_time;
use crate::refusal::refuse;

/// Largest order in bytes.
const ORDER_BYTES_MAX: usize = 4 * 1024;

/// To let a key go.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ClearOrder {
    /// Name of the key's caller.
    caller: String,
    /// The idempotency key.
    key: String,
}

/// The routes of keyed calls.
pub fn keyed(store: Store) -> Router {
    Router::new()
        .route("/admin/v1/keyed", get(list))
        .route("/admin/v1/keyed/clear", post(clear))
        .layer(DefaultBodyLimit::max(ORDER_BYTES_MAX))
        .layer(middleware::from_fn(in_time))
        .with_state(store)
}

async fn list(State(store): State<Store>, Extension(who): Extension<Administrator>) -> Response {
    if let Some(refusal) = refused(&who) {
        return refusal;
    }
    match store.keyed_calls().await {
        Ok(calls) => {
            let shown = calls.iter().map(|call| {
                json!({
                    "caller": call.caller, "key": call.key, "tool": call.tool, "state": call.state,
                    "began_ms": call.began_ms, "expires_ms": call.expires_ms,
                })
            });
            Json(shown.collect::<Vec<_>>()).into_response()
        }
        Err(error) => failed(&error),
    }
}

async fn clear(
    State(store): State<Store>,
    Extension(who): Extension<Administrator>,
    order: Result<Json<ClearOrder>, JsonRejection>,
) -> Response {
    if let Some(refusal) = refused(&who) {
        return refusal;
    }
    let Json(order) = match order {
        Ok(order) => order,
        Err(error) => return refuse(StatusCode::BAD_REQUEST, &error.body_text()),
    };
    match store.clear_call(&order.caller, &order.key).await {
        Ok(true) => {
            tracing::warn!(caller = order.caller, by = &*who.name, "the key of a keyed call was cleared");
            Json(json!({"cleared": true})).into_response()
        }
        Ok(false) => {
            let text =
                "This caller has no such key, or its call is still running; GET /admin/v1/keyed lists them.";
            refuse(StatusCode::NOT_FOUND, text)
        }
        Err(error) => failed(&error),
    }
}

/// Keys of calls are of all teams.
fn refused(who: &Administrator) -> Option<Response> {
    let text = "Keyed calls are shown to and cleared by those who manage everything.";
    (!who.manages.is_empty()).then(|| refuse(StatusCode::FORBIDDEN, text))
}

fn failed(error: &StoreError) -> Response {
    refuse(StatusCode::SERVICE_UNAVAILABLE, &error.to_string())
}
