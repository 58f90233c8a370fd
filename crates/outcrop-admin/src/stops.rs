//! The emergency stop over the operator's API.
//!
//! It reads orders and passes them on; what they do is decided behind `Stopping`. A stop is in force
//! when its answer comes; whether it would survive the process stands in the answer.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use outcrop_policy::Scope;
use outcrop_policy::stops::Level;
use outcrop_store::Administrator;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::order::{Order, Ordered, in_time};
use crate::refusal::refuse;

/// Largest order in bytes.
const ORDER_BYTES_MAX: usize = 64 * 1024;

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

impl Order for StopOrder {
    fn by(&self) -> Option<&String> {
        self.by.as_ref()
    }
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

impl Order for ResumeOrder {
    fn by(&self) -> Option<&String> {
        self.by.as_ref()
    }
}

/// Why an order is not carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotDone {
    /// HTTP status.
    pub status: StatusCode,
    /// The cause and the way out.
    pub message: String,
}

impl NotDone {
    /// With this status, for this reason.
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }
}

/// Nobody orders what is not his: 403 for an administrator whose bounds do not cover the scope.
pub fn may_order(who: &Administrator, scope: &Scope) -> Result<(), NotDone> {
    if who.may_administer(scope) {
        return Ok(());
    }
    let own: Vec<String> = who.manages.iter().map(Scope::to_string).collect();
    let text = format!("{} manages {} only, and not {scope}.", who.name, own.join(", "));
    Err(NotDone::new(StatusCode::FORBIDDEN, text))
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

async fn list(State(stopping): Shared) -> Response {
    Json(stopping.list()).into_response()
}

async fn stop(State(stopping): Shared, Ordered { order, who }: Ordered<StopOrder>) -> Response {
    answer(stopping.stop(order, who).await)
}

async fn resume(State(stopping): Shared, Ordered { order, who }: Ordered<ResumeOrder>) -> Response {
    answer(stopping.resume(order, who).await)
}

pub(crate) fn answer(done: Result<Value, NotDone>) -> Response {
    match done {
        Ok(value) => Json(value).into_response(),
        Err(NotDone { status, message }) => refuse(status, &message),
    }
}
