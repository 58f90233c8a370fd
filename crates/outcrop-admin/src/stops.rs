//! The emergency stop over the operator's API.
//!
//! It reads orders and passes them on; what they do is decided behind `Stopping`. A stop is in force
//! when its answer comes; whether it would survive the process stands in the answer.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use outcrop_policy::Attribution;
use outcrop_policy::stops::Level;
use outcrop_store::Administrator;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::local::Door;
use crate::refusal::refuse;

/// Largest order in bytes.
const ORDER_BYTES_MAX: usize = 64 * 1024;
/// Longest time from the head of an order to its answer.
const ORDER_TIME_MAX: Duration = Duration::from_secs(12);

/// To stop.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct StopOrder {
    /// What; everything if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// How hard; `stop` if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<Level>,
    /// Why; callers see it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Who, at the operator's socket only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

/// To resume: one stop by its id, or all that were made for exactly one scope.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ResumeOrder {
    /// Which stop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Which scope; everything if both are left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// Whether requests are let in little by little.
    #[serde(default)]
    pub staged: bool,
    /// Who, at the operator's socket only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

/// Why an order is not carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotDone {
    /// HTTP status.
    pub status: StatusCode,
    /// The cause and the way out.
    pub message: String,
}

/// What comes of an order, later.
pub type Answering = Pin<Box<dyn Future<Output = Result<Value, NotDone>> + Send>>;

/// Who carries out orders.
pub trait Stopping: Send + Sync + 'static {
    /// The stops in force.
    fn list(&self) -> Value;
    /// Stops; in force when this returns, and the future tells whether it is durable.
    fn stop(&self, order: StopOrder, who: Administrator) -> Answering;
    /// Resumes, or asks for it.
    fn resume(&self, order: ResumeOrder, who: Administrator) -> Answering;
}

type Shared = State<Arc<dyn Stopping>>;

/// The routes of the emergency stop.
pub fn stops(stopping: Arc<dyn Stopping>) -> Router {
    Router::new()
        .route("/admin/v1/stop", get(list).post(stop))
        .route("/admin/v1/stops", get(list))
        .route("/admin/v1/resume", post(resume))
        .layer(DefaultBodyLimit::max(ORDER_BYTES_MAX))
        .layer(middleware::from_fn(in_time))
        .with_state(stopping)
}

pub(crate) async fn in_time(request: axum::extract::Request, next: Next) -> Response {
    match tokio::time::timeout(ORDER_TIME_MAX, next.run(request)).await {
        Ok(answer) => answer,
        Err(_) => refuse(StatusCode::REQUEST_TIMEOUT, "The order did not arrive whole in time."),
    }
}

/// Who gives the order: the socket's operator says his name himself, nobody else does.
pub(crate) fn named(mut who: Administrator, door: Door, said: Option<&String>) -> Administrator {
    if let (Door::Operator, Some(said)) = (door, said) {
        who.name = Attribution::value(said);
    }
    who
}

async fn list(State(stopping): Shared) -> Response {
    Json(stopping.list()).into_response()
}

async fn stop(
    State(stopping): Shared,
    Extension(who): Extension<Administrator>,
    Extension(door): Extension<Door>,
    order: Result<Json<StopOrder>, JsonRejection>,
) -> Response {
    match order {
        Ok(Json(order)) => {
            let who = named(who, door, order.by.as_ref());
            answer(stopping.stop(order, who).await)
        }
        Err(rejection) => refuse(StatusCode::BAD_REQUEST, &rejection.body_text()),
    }
}

async fn resume(
    State(stopping): Shared,
    Extension(who): Extension<Administrator>,
    Extension(door): Extension<Door>,
    order: Result<Json<ResumeOrder>, JsonRejection>,
) -> Response {
    match order {
        Ok(Json(order)) => {
            let who = named(who, door, order.by.as_ref());
            answer(stopping.resume(order, who).await)
        }
        Err(rejection) => refuse(StatusCode::BAD_REQUEST, &rejection.body_text()),
    }
}

pub(crate) fn answer(done: Result<Value, NotDone>) -> Response {
    match done {
        Ok(value) => Json(value).into_response(),
        Err(NotDone { status, message }) => refuse(status, &message),
    }
}
