//! The MCP endpoint: models and federated tools for MCP clients of both protocol eras.
//!
//! The official SDK speaks the protocol; these files say which tools there are, who may call them and
//! what a call becomes. `converse` goes through the same exchange as every other surface (I-11);
//! federated tools go to their server once and come back unchanged. The endpoint keeps no gateway and
//! no snapshot: each request brings its own.

mod converse;
mod endpoint;
mod federation;
mod keyed;
mod pieces;
mod places;
mod refusal;
mod server;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use outcrop_core::Dialect;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use endpoint::Endpoint;

use self::server::Asker;
use crate::authenticate::{Caller, authenticate};
use crate::body::Body;
use crate::clock::unix_now;
use crate::gateway::Gateway;
use crate::refuse::refuse;
use crate::settle::Record;

/// Longest federated call; a path's own limit is usually shorter.
const CALL_TIME_MAX: Duration = Duration::from_mins(10);
/// Where the endpoint is.
pub(crate) const PATH: &str = "/mcp";

/// Answers one HTTP request of an MCP client, once it is known who calls.
pub(crate) async fn serve(
    endpoint: &Endpoint,
    gateway: &Arc<Gateway>,
    request: Request<Incoming>,
) -> Response<Body> {
    let (head, body) = request.into_parts();
    let known = authenticate(&gateway.snapshot().auth, &head, unix_now())
        .and_then(|(caller, proof)| proof.without_body().map(|()| caller));
    match known {
        Ok(caller) => answer(endpoint, gateway, caller, Request::from_parts(head, body)).await,
        Err(failure) => {
            let record = Record::open(gateway, Dialect::Mcp, Instant::now(), unix_now());
            refuse(record, Dialect::Mcp, &failure)
        }
    }
}

/// Answers a known caller.
pub(crate) async fn answer(
    endpoint: &Endpoint,
    gateway: &Arc<Gateway>,
    caller: Caller,
    request: Request<Incoming>,
) -> Response<Body> {
    let session_end = CancellationToken::new();
    let asker = Asker { gateway: Arc::clone(gateway), caller, session_end };
    endpoint.handle(asker, request).await.map(Body::mcp)
}
