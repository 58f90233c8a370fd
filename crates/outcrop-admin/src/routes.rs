//! The route table of the admin listener.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Json, Router, middleware};
use outcrop_policy::Wanted;
use serde::Deserialize;
use serde_json::json;

use crate::local::Door;
use crate::refusal::refuse;
use crate::view::View;
use crate::{access, exposition, local};

type Shared = State<Arc<dyn View>>;

/// Most decision records in one answer.
const DECISIONS_MAX: usize = 1000;

/// What `/` says until there is a dashboard.
const INDEX: &str = "Outcrop admin\n\n\
    /healthz                        alive\n\
    /readyz                         can serve\n\
    /metrics                        Prometheus text; OpenMetrics with Accept\n\
    /admin/v1/paths                 configured paths\n\
    /admin/v1/targets               targets and their health\n\
    /admin/v1/load                  requests served and waiting, memory\n\
    /admin/v1/impact                what the gateway itself takes: time by step, resources, alarms, forecast\n\
    /admin/v1/balance               what was spent, pending, unknown\n\
    /admin/v1/targets/{name}/force  POST holds a target serving or tripped, or lets it go\n\
    /admin/v1/decisions?limit=N     newest decision records (since, caller, model, operation, path, outcome)\n\
    /admin/v1/decisions/{id}        the record of one request (x-outcrop-request-id)\n\
    /admin/v1/explain               POST a described request: where it would go, without sending it\n\
    /admin/v1/flags                 switches, paths, models, operations: GET lists, POST turns one\n\
    /admin/v1/recommendations       what the optimizer proposes, and why\n\
    /admin/v1/keys                  keys: GET lists, POST makes one\n\
    /admin/v1/keys/{prefix}         DELETE revokes\n\
    /admin/v1/keyed                 keys of keyed tool calls; POST /admin/v1/keyed/clear lets one go\n\
    /admin/v1/budgets               budgets: GET shows (?budget=), PUT sets a limit\n\
    /admin/v1/spend?by=key,day      what was spent, by whom and for what\n\
    /admin/v1/alerts                crossed thresholds, budgets that burn too fast, alarms of the impact\n\
    /admin/v1/reconcile             POST evidence for what is in suspense\n\
    /admin/v1/clock/confirm         POST: the wall clock is right although it has run ahead\n\
    /admin/v1/takeover              POST hands the sockets over, at the operator's socket only\n\
    /admin/v1/stop                  emergency stops: GET lists, POST stops\n\
    /admin/v1/resume                POST resumes\n";

/// The admin listener's routes over `view` and what `more` adds, for requests that come in by `door`.
pub fn router(view: Arc<dyn View>, more: Router, door: Door) -> Router {
    let checked = middleware::from_fn_with_state(Arc::clone(&view), access::check);
    Router::new()
        .route("/", get(|| async { INDEX }))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/admin/v1/paths", get(|State(view): Shared| async move { Json(view.paths()) }))
        .route("/admin/v1/targets", get(|State(view): Shared| async move { Json(view.targets()) }))
        .route("/admin/v1/load", get(|State(view): Shared| async move { Json(view.load()) }))
        .route("/admin/v1/balance", get(|State(view): Shared| async move { Json(view.totals()) }))
        .route("/admin/v1/decisions", get(decisions))
        .route("/admin/v1/decisions/{request_id}", get(decision))
        .with_state(view)
        .merge(more)
        .fallback(unknown)
        .layer(checked)
        .layer(middleware::from_fn(local::only))
        .layer(Extension(door))
}

async fn readyz(State(view): Shared) -> Response {
    let readiness = view.readiness();
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(readiness)).into_response()
}

async fn metrics(State(view): Shared, headers: HeaderMap) -> Response {
    let text = view.open_metrics();
    let wants_open = headers
        .get(ACCEPT)
        .and_then(|v| v.to_str().ok())
        .is_some_and(|accept| accept.contains("application/openmetrics-text"));
    if wants_open {
        ([(CONTENT_TYPE, exposition::OPEN_METRICS)], text).into_response()
    } else {
        ([(CONTENT_TYPE, exposition::PROMETHEUS)], exposition::prometheus(&text)).into_response()
    }
}

/// Which records are asked for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    limit: Option<usize>,
    since: Option<String>,
    caller: Option<String>,
    model: Option<String>,
    operation: Option<String>,
    path: Option<String>,
    outcome: Option<String>,
}

async fn decisions(State(view): Shared, page: Result<Query<Page>, QueryRejection>) -> Response {
    let page = match page {
        Ok(Query(page)) => page,
        Err(rejection) => return refuse(StatusCode::BAD_REQUEST, &rejection.body_text()),
    };
    let since_ms = match page.since.as_deref().map(moment).transpose() {
        Ok(since_ms) => since_ms,
        Err(message) => return refuse(StatusCode::BAD_REQUEST, &message),
    };
    let Page { caller, model, operation, path, outcome, .. } = page;
    let wanted = Wanted { since_ms, caller, model, operation, path, outcome };
    let limit = page.limit.unwrap_or(100).min(DECISIONS_MAX);
    let records: Vec<_> = view.decisions(&wanted, limit).iter().map(|d| json!(**d)).collect();
    Json(records).into_response()
}

/// A moment in milliseconds since the Unix epoch: as such, or as RFC 3339.
fn moment(text: &str) -> Result<u64, String> {
    let timestamp = || text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_millisecond);
    let ms = text.parse().ok().or_else(|| timestamp().and_then(|ms| u64::try_from(ms).ok()));
    ms.ok_or_else(|| "`since` is a time like 2026-01-31T12:00:00Z, or milliseconds since 1970.".to_owned())
}

async fn decision(State(view): Shared, Path(request_id): Path<String>) -> Response {
    match view.decision(&request_id) {
        Some(decision) => Json(&*decision).into_response(),
        None => refuse(
            StatusCode::NOT_FOUND,
            "No record of this request: it is still running, too old, or was never seen here.",
        ),
    }
}

async fn unknown() -> Response {
    refuse(StatusCode::NOT_FOUND, "There is nothing here; GET / lists what is.")
}
