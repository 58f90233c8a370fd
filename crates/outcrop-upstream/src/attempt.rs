//! What an attempt takes and what it gives back.
//!
//! Everything an attempt needs is in `Attempt`: the caller's own request is not reachable from here,
//! which is how hop-by-hop headers and the caller's credentials stay where they are.

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use outcrop_core::money::Tier;
use outcrop_core::{AttemptId, Protocol, Reply};
use outcrop_wire::{Envelope, TargetModel};
use tokio::time::Instant;

use crate::{AnswerStream, Dispatch};

/// One try at one target.
#[derive(Debug, Clone, Copy)]
pub struct Attempt<'a> {
    /// Which try of which exchange.
    pub id: &'a AttemptId,
    /// What is asked.
    pub envelope: &'a Envelope,
    /// The concrete model.
    pub model: TargetModel<'a>,
    /// For a whole answer: until all of it is here. For a stream: until its first content; what
    /// follows is timed by the relay.
    pub deadline: Instant,
    /// An answer whose head has not come by then is slow or lost: an HTTP/2 connection is not used again
    /// when the attempt ends without one.
    pub slow_at: Instant,
    /// Caller headers that the intake picked; each kind of path forwards only those it knows.
    pub headers: &'a [(HeaderName, HeaderValue)],
    /// Service tier to ask for, where the caller's body says nothing of one.
    pub tier: Option<Tier>,
    /// Told right before its first byte leaves.
    pub dispatch: &'a Dispatch,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    /// The protocol of the bytes in it.
    pub protocol: Protocol,
    /// The upstream's own request id; empty if it gave none.
    pub upstream_request_id: String,
    /// Upstream headers worth passing on when the caller speaks the same protocol.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The answer itself.
    pub body: AnswerBody,
}

/// The answer itself.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one per attempt, and never stored")]
pub enum AnswerBody {
    /// All of it.
    Whole(Whole),
    /// As it comes.
    Stream(AnswerStream),
}

/// A whole answer.
#[derive(Debug)]
pub struct Whole {
    /// The upstream's bytes, when the caller speaks the same protocol and gets them unchanged.
    pub raw: Option<Bytes>,
    /// Content type of `raw`.
    pub content_type: HeaderValue,
    /// The decoded answer; `Reply::Native` with the usage when `raw` is there.
    pub reply: Reply,
}
