//! What the gateway itself costs, over the operator's API.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::Value;

/// Who knows what the gateway costs.
pub trait Impact: Send + Sync + 'static {
    /// All of it: resources, stages, alarms, forecast.
    fn report(&self) -> Value;
}

type Shared = State<Arc<dyn Impact>>;

/// The route of the impact.
pub fn impact(impact: Arc<dyn Impact>) -> Router {
    Router::new().route("/admin/v1/impact", get(report)).with_state(impact)
}

async fn report(State(impact): Shared) -> Response {
    Json(impact.report()).into_response()
}
