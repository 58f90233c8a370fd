//! Budgets over the operator's API: what is left, what is blocked and why, when it runs out.
//!
//! It reads questions and orders and passes them on; what they mean is decided behind `Budgeting`. A
//! change is durable when its answer comes.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{DefaultBodyLimit, Query, State};
use axum::http::StatusCode;
use axum::middleware;
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Extension, Router};
use outcrop_store::Administrator;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::order::{Order, Ordered, in_time};
use crate::refusal::refuse;
use crate::stops::{Answering, answer};

/// Largest order in bytes: a batch of an invocation log.
const ORDER_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Which budgets are asked for.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Which {
    /// The id of a budget, its scope, or the concrete scope of one of its accounts; all if left out.
    /// With it, the answer says what is in suspense and which thresholds were crossed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<String>,
}

/// To set a limit over that of the file.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct LimitOrder {
    /// Id or scope of a budget of the file.
    pub budget: String,
    /// The limit, as the file would write it; if left out, that of the file holds again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<String>,
    /// Who, at the operator's socket only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

impl Order for LimitOrder {
    fn by(&self) -> Option<&String> {
        self.by.as_ref()
    }
}

/// Evidence for what is in suspense: one attempt, a batch of an invocation log, or a replica that is gone.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ReconcileOrder {
    /// Id of an attempt in suspense.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<String>,
    /// What it has cost: `0.01 USD`. If left out, its tokens are priced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<String>,
    /// Its input tokens, cached or not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_tokens: Option<u64>,
    /// Its output tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<u64>,
    /// Records of a Bedrock model invocation log.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub log: Vec<Value>,
    /// Id of a replica that has ended without a word and never comes back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replica: Option<String>,
    /// Why this is so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Who, at the operator's socket only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

impl Order for ReconcileOrder {
    fn by(&self) -> Option<&String> {
        self.by.as_ref()
    }
}

/// Which spending is asked for, and how it is grouped.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SpendQuery {
    /// Of org, team, key, user, run, model, path, operation, tool, target, day, joined with commas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// First day or moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Last day, or the moment before which.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
}

/// Who knows the budgets.
pub trait Budgeting: Send + Sync + 'static {
    /// The budgets in force with their accounts.
    fn show(&self, which: Which, who: Administrator) -> Answering;
    /// Sets a limit.
    fn set(&self, order: LimitOrder, who: Administrator) -> Answering;
    /// Takes evidence.
    fn reconcile(&self, order: ReconcileOrder, who: Administrator) -> Answering;
    /// What was spent, by groups.
    fn spend(&self, query: SpendQuery, who: Administrator) -> Answering;
    /// What somebody should look at.
    fn alerts(&self, who: Administrator) -> Answering;
    /// Believes the wall clock.
    fn confirm_clock(&self, who: Administrator) -> Answering;
}

type Shared = State<Arc<dyn Budgeting>>;

/// The routes of budgets.
pub fn budgets(budgeting: Arc<dyn Budgeting>) -> Router {
    Router::new()
        .route("/admin/v1/budgets", get(show).put(set).post(set))
        .route("/admin/v1/spend", get(spend))
        .route("/admin/v1/alerts", get(alerts))
        .route("/admin/v1/reconcile", post(reconcile))
        .route("/admin/v1/clock/confirm", post(confirm_clock))
        .layer(DefaultBodyLimit::max(ORDER_BYTES_MAX))
        .layer(middleware::from_fn(in_time))
        .with_state(budgeting)
}

async fn show(
    State(budgeting): Shared,
    Extension(who): Extension<Administrator>,
    which: Result<Query<Which>, QueryRejection>,
) -> Response {
    match which {
        Ok(Query(which)) => answer(budgeting.show(which, who).await),
        Err(rejection) => refuse(StatusCode::BAD_REQUEST, &rejection.body_text()),
    }
}

async fn set(State(budgeting): Shared, Ordered { order, who }: Ordered<LimitOrder>) -> Response {
    answer(budgeting.set(order, who).await)
}

async fn reconcile(State(budgeting): Shared, Ordered { order, who }: Ordered<ReconcileOrder>) -> Response {
    answer(budgeting.reconcile(order, who).await)
}

async fn spend(
    State(budgeting): Shared,
    Extension(who): Extension<Administrator>,
    query: Result<Query<SpendQuery>, QueryRejection>,
) -> Response {
    match query {
        Ok(Query(query)) => answer(budgeting.spend(query, who).await),
        Err(rejection) => refuse(StatusCode::BAD_REQUEST, &rejection.body_text()),
    }
}

async fn alerts(State(budgeting): Shared, Extension(who): Extension<Administrator>) -> Response {
    answer(budgeting.alerts(who).await)
}

async fn confirm_clock(State(budgeting): Shared, Extension(who): Extension<Administrator>) -> Response {
    answer(budgeting.confirm_clock(who).await)
}
