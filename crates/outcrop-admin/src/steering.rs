//! Routing over the operator's API: explain a decision, hold a target, turn a flag, read what is recommended.
//!
//! It reads questions and orders and passes them on; what they do is decided behind `Steering`. A flag is
//! in force, and durable where the register is, when its answer comes.

use std::sync::Arc;

use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::StatusCode;
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use outcrop_policy::health::Forced;
use outcrop_store::Administrator;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::order::{Order, Ordered, in_time};
use crate::refusal::refuse;
use crate::stops::{Answering, NotDone, answer};

/// Largest order in bytes.
const ORDER_BYTES_MAX: usize = 64 * 1024;

/// To hold a target in a state, or to let it go.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ForceOrder {
    /// The state; `null` lets it go. It has to be said.
    #[serde(deserialize_with = "said")]
    pub state: Option<Forced>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Who, at the operator's socket only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

impl Order for ForceOrder {
    fn by(&self) -> Option<&String> {
        self.by.as_ref()
    }
}

/// To turn a flag, or to let the file say again how it stands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct FlagOrder {
    /// `hedging`, `path:fra`, `model:sonnet`, `operation:background`, …
    pub flag: String,
    /// On or off; `null` takes back what was set. It has to be said.
    #[serde(deserialize_with = "said")]
    pub on: Option<bool>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Who, at the operator's socket only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

impl Order for FlagOrder {
    fn by(&self) -> Option<&String> {
        self.by.as_ref()
    }
}

/// A field that may be null but not left out: an empty order must not do anything.
fn said<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Option<T>, D::Error> {
    Option::deserialize(from)
}

/// Who carries out orders about routing.
pub trait Steering: Send + Sync + 'static {
    /// The decision for a described request.
    fn explain(&self, described: Value) -> Result<Value, NotDone>;
    /// Holds a target in a state.
    fn force(&self, target: &str, order: &ForceOrder, who: &Administrator) -> Result<Value, NotDone>;
    /// How the flags stand.
    fn flags(&self) -> Value;
    /// Turns a flag.
    fn turn(&self, order: FlagOrder, who: Administrator) -> Answering;
    /// What the optimizer proposes and has tried.
    fn recommendations(&self) -> Value;
}

type Shared = State<Arc<dyn Steering>>;

/// The routes of routing.
pub fn steering(steering: Arc<dyn Steering>) -> Router {
    Router::new()
        .route("/admin/v1/explain", post(explain))
        .route("/admin/v1/targets/{name}/force", post(force))
        .route("/admin/v1/flags", get(flags).post(turn))
        .route("/admin/v1/recommendations", get(recommendations))
        .layer(DefaultBodyLimit::max(ORDER_BYTES_MAX))
        .layer(middleware::from_fn(in_time))
        .with_state(steering)
}

async fn explain(State(steering): Shared, described: Result<Json<Value>, JsonRejection>) -> Response {
    match described {
        Ok(Json(described)) => answer(steering.explain(described)),
        Err(rejection) => refuse(StatusCode::BAD_REQUEST, &rejection.body_text()),
    }
}

async fn force(
    State(steering): Shared,
    Path(name): Path<String>,
    Ordered { order, who }: Ordered<ForceOrder>,
) -> Response {
    answer(steering.force(&name, &order, &who))
}

async fn flags(State(steering): Shared) -> Response {
    Json(steering.flags()).into_response()
}

async fn turn(State(steering): Shared, Ordered { order, who }: Ordered<FlagOrder>) -> Response {
    answer(steering.turn(order, who).await)
}

async fn recommendations(State(steering): Shared) -> Response {
    Json(steering.recommendations()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_order_does_nothing() {
        assert!(serde_json::from_str::<ForceOrder>("{}").is_err());
        assert!(serde_json::from_str::<FlagOrder>(r#"{"flag":"hedging"}"#).is_err());
        let release = serde_json::from_str::<ForceOrder>(r#"{"state":null}"#).unwrap();
        assert_eq!(release, ForceOrder::default());
    }
}
