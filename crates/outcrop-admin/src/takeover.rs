//! A gateway that starts asks the one that runs for its sockets, at the operator's socket.

use std::path::PathBuf;
use std::sync::Arc;

use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::middleware;
use axum::response::Response;
use axum::routing::post;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};

use crate::order::in_time;
use crate::refusal::refuse;
use crate::stops::{Answering, answer};

/// Largest order in bytes.
const ORDER_BYTES_MAX: usize = 8 * 1024;

/// To hand over.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct TakeoverOrder {
    /// The unix socket where the one that starts waits for the sockets.
    pub meet: PathBuf,
}

/// Who hands over.
pub trait Successions: Send + Sync + 'static {
    /// Gives the sockets to whoever waits there, and ends when that one says that it serves.
    fn hand_over(&self, order: TakeoverOrder) -> Answering;
}

/// The route of the takeover.
pub fn takeover(successions: Arc<dyn Successions>) -> Router {
    Router::new()
        .route("/admin/v1/takeover", post(hand_over))
        .layer(DefaultBodyLimit::max(ORDER_BYTES_MAX))
        .layer(middleware::from_fn(in_time))
        .with_state(successions)
}

async fn hand_over(
    State(successions): State<Arc<dyn Successions>>,
    order: Result<Json<TakeoverOrder>, JsonRejection>,
) -> Response {
    match order {
        Ok(Json(order)) => answer(successions.hand_over(order).await),
        Err(rejection) => refuse(StatusCode::BAD_REQUEST, &rejection.body_text()),
    }
}
