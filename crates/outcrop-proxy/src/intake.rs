//! What is asked? The body within its limits, the envelope, and what the headers wish for.

use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderName, HeaderValue};
use hyper::body::Incoming;
use outcrop_core::Priority;
use outcrop_core::failure::{Code, Failure};
use outcrop_policy::Residency;
use outcrop_wire::{Envelope, Rejection, Route};

use crate::body;
use crate::gateway::Limits;
use crate::headers::{self, Wishes};

/// A request that asks a model, read and checked.
#[derive(Debug)]
pub struct Call {
    /// The request itself.
    pub envelope: Envelope,
    /// Named operation, if any.
    pub operation: Option<String>,
    /// Lower priority wished for.
    pub priority: Option<Priority>,
    /// Shorter deadline wished for, from accept.
    pub deadline: Option<Duration>,
    /// Residency wished for.
    pub residency: Option<Residency>,
    /// Kind or path wished to go first.
    pub path: Option<String>,
    /// Caller headers that may travel on.
    pub travelling: Vec<(HeaderName, HeaderValue)>,
}

/// Reads a request that asks a model.
pub(crate) async fn intake(
    head: &Parts,
    route: &Route,
    body: Incoming,
    limits: &Limits,
    now_unix: Duration,
) -> Result<Call, Failure> {
    let encoding = headers::content_encoding(&head.headers);
    let body = body::read(body, encoding.as_deref(), limits).await?;
    let mut call = open(route, body, limits)?;
    let wishes = Wishes::read(&head.headers, now_unix)?;
    call.operation = wishes.operation;
    call.priority = wishes.priority;
    call.deadline = wishes.deadline;
    call.residency = wishes.residency;
    call.path = wishes.path;
    call.travelling = headers::travelling(&head.headers);
    call.envelope.betas = headers::betas(&head.headers);
    Ok(call)
}

/// Opens an envelope without any wishes, as the MCP endpoint does.
pub(crate) fn open(route: &Route, body: Bytes, limits: &Limits) -> Result<Call, Failure> {
    let envelope = Envelope::open(route, body, &limits.json).map_err(|r| rejected(&r))?;
    if envelope.answers > limits.answers_max {
        let text = format!("n: at most {} answers may be asked for at once.", limits.answers_max);
        return Err(Failure::refusal(Code::InvalidRequest, text));
    }
    Ok(Call {
        envelope,
        operation: None,
        priority: None,
        deadline: None,
        residency: None,
        path: None,
        travelling: Vec::new(),
    })
}

/// A body that cannot be read, as a refusal that names the field.
pub(crate) fn rejected(rejection: &Rejection) -> Failure {
    let message = if rejection.field.is_empty() {
        rejection.message.clone()
    } else {
        format!("{}: {}", rejection.field, rejection.message)
    };
    Failure::refusal(Code::InvalidRequest, message)
}
