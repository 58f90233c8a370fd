//! What is asked? The body within its limits, the envelope, and what the headers wish for.

use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderName, HeaderValue};
use http_body::Body;
use hyper::body::Incoming;
use outcrop_core::Priority;
use outcrop_core::failure::{Code, Failure};
use outcrop_policy::scope::Attribution;
use outcrop_wire::{Envelope, Rejection, Route};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout_at};

use crate::admit::overloaded;
use crate::authenticate::{Caller, Proof};
use crate::body;
use crate::gateway::{Gateway, Limits};
use crate::headers::{self, Wishes};

/// A request that asks a model, read and checked.
#[derive(Debug)]
pub struct Call {
    /// The request itself.
    pub envelope: Envelope,
    /// What its headers wish for.
    pub(crate) wishes: Wishes,
    /// Caller headers that may travel on.
    pub travelling: Vec<(HeaderName, HeaderValue)>,
    // Its share of the memory for bodies.
    room_held: Option<OwnedSemaphorePermit>,
}

impl Call {
    /// Whose it is and what it asks; path and region come with a target.
    pub fn attribution(&self, caller: &Caller, operation: &str) -> Attribution {
        let whose = caller.attribution(&self.wishes);
        let said = self.envelope.user.as_deref().filter(|_| whose.user.is_empty());
        Attribution {
            user: said.map_or_else(|| Arc::clone(&whose.user), Attribution::value),
            model: Attribution::value(&self.envelope.model),
            operation: Arc::from(operation),
            ..whose
        }
    }
}

/// Reads a request that asks a model, until `deadline` at the longest; and when its body had arrived.
pub(crate) async fn intake(
    gateway: &Gateway,
    limits: &Limits,
    asked: Asked<'_>,
    body: Incoming,
    deadline: Instant,
) -> Result<(Call, Instant), Failure> {
    let room = room(gateway, &body, limits)?;
    let sent = timeout_at(deadline, body::read(body, limits))
        .await
        .map_err(|_| Failure::deadline("the request body was still arriving"))??;
    let received = Instant::now();
    asked.proof.check(asked.head, &sent)?;
    let encoding = headers::content_encoding(&asked.head.headers);
    let body = body::decode(sent, encoding.as_deref(), limits)?;
    let mut call = open(asked.route, body, limits)?;
    call.wishes = asked.wishes;
    call.travelling = headers::travelling(&asked.head.headers);
    call.envelope.betas = headers::betas(&asked.head.headers);
    call.room_held = Some(room);
    Ok((call, received))
}

/// What the head of a request says.
pub(crate) struct Asked<'a> {
    pub(crate) proof: Proof,
    pub(crate) head: &'a Parts,
    pub(crate) route: &'a Route,
    pub(crate) wishes: Wishes,
}

/// Opens an envelope without any wishes, as the MCP endpoint does.
pub(crate) fn open(route: &Route, body: Bytes, limits: &Limits) -> Result<Call, Failure> {
    let envelope = Envelope::open(route, body, &limits.json).map_err(|r| rejected(&r))?;
    if envelope.answers > limits.answers_max {
        let text = format!("n: at most {} answers may be asked for at once.", limits.answers_max);
        return Err(Failure::refusal(Code::InvalidRequest, text));
    }
    Ok(Call { envelope, wishes: Wishes::default(), travelling: Vec::new(), room_held: None })
}

/// Memory for a body: what it announces, or the most it may be.
fn room(gateway: &Gateway, body: &Incoming, limits: &Limits) -> Result<OwnedSemaphorePermit, Failure> {
    let most = limits.body_bytes_max as u64;
    let bytes = body.size_hint().upper().unwrap_or(most).min(most);
    let kib = u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX);
    Arc::clone(&gateway.body_kib).try_acquire_many_owned(kib).map_err(|_| {
        let text = "The gateway holds as many bytes of requests as it may; try again shortly.";
        overloaded(text, Priority::default())
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
