//! An order of an operator as it arrives: whole, readable, in time, and with who gives it.

use std::time::Duration;

use axum::Json;
use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::Response;
use outcrop_policy::Attribution;
use outcrop_store::Administrator;
use serde::de::DeserializeOwned;

use crate::local::Door;
use crate::refusal::refuse;

/// Longest time from the head of an order to its answer.
const ORDER_TIME_MAX: Duration = Duration::from_secs(12);

/// What is ordered.
pub(crate) trait Order: DeserializeOwned {
    /// Who says that he gives it; believed at the operator's socket only.
    fn by(&self) -> Option<&String>;
}

/// An order, and who gives it.
pub(crate) struct Ordered<T> {
    pub(crate) order: T,
    pub(crate) who: Administrator,
}

impl<T: Order, S: Send + Sync> FromRequest<S> for Ordered<T> {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        let known = request.extensions();
        let (Some(mut who), Some(door)) =
            (known.get::<Administrator>().cloned(), known.get::<Door>().copied())
        else {
            return Err(refuse(StatusCode::UNAUTHORIZED, "It is not known who gives this order."));
        };
        let order = Json::<T>::from_request(request, state).await;
        let Json(order) = order.map_err(|e| refuse(StatusCode::BAD_REQUEST, &e.body_text()))?;
        if let (Door::Operator, Some(said)) = (door, order.by()) {
            who.name = Attribution::value(said);
        }
        Ok(Self { order, who })
    }
}

/// Ends what takes too long to arrive.
pub(crate) async fn in_time(request: Request, next: Next) -> Response {
    match tokio::time::timeout(ORDER_TIME_MAX, next.run(request)).await {
        Ok(answer) => answer,
        Err(_) => refuse(StatusCode::REQUEST_TIMEOUT, "The order did not arrive whole in time."),
    }
}
