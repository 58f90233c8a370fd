//! What a simulated service sees of a request and what it hands back.
//!
//! A [`Service`] decides contents only: it never touches a socket, a timer, a fault or the billing record. Those
//! belong to the framework (`serve`, `deliver`, `body`), so each service gets them free.

use std::{pin::Pin, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Version};
use http_body_util::combinators::UnsyncBoxBody;

use crate::{
    dice::Dice,
    quota::Reservation,
    script::{Fault, FaultKind, OnAbort, Script},
    target::Target,
};

/// A request, complete and as received.
#[derive(Debug, Clone)]
pub struct Received {
    /// The method.
    pub method: Method,
    /// The path, byte for byte, without the query.
    pub path: String,
    /// The query, byte for byte.
    pub query: Option<String>,
    /// The headers; over HTTP/2 `host` is filled in from the authority.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// The HTTP version.
    pub version: Version,
}

/// One request at one target.
#[derive(Debug)]
pub struct Exchange {
    /// The target asked.
    pub target: Arc<Target>,
    /// The request.
    pub received: Received,
    /// The id of this exchange: in the billing record, the request log and the answer's headers.
    pub request_id: String,
    /// The script in force when the request arrived.
    pub script: Arc<Script>,
    /// The fault drawn for this request, for the few that only the service itself can carry out.
    pub fault: Option<Fault>,
    /// Milliseconds since 1970 at arrival.
    pub at_ms: u64,
}

impl Received {
    /// A header's text; the first if there are several.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The number of the last directive `[[id=…]]`, wherever the protocol carries the text.
    pub fn tag(&self) -> Option<u64> {
        const OPENING: &[u8] = b"[[id=";
        let start = self.body.windows(OPENING.len()).rposition(|window| window == OPENING)? + OPENING.len();
        let digits: Vec<u8> = self.body[start..].iter().copied().take_while(u8::is_ascii_digit).collect();
        std::str::from_utf8(&digits).ok()?.parse().ok()
    }
}

impl Exchange {
    /// The lab's seed.
    pub fn seed(&self) -> u64 {
        self.target.seed()
    }

    /// Dice that depend on the seed, the target and the request's content, not on the order of arrival.
    pub fn dice(&self) -> Dice {
        let parts = [self.target.name().as_bytes(), self.received.path.as_bytes(), &self.received.body];
        Dice::new(self.seed(), parts)
    }
}

/// What a service answers.
#[derive(Debug)]
pub enum Reply {
    /// An answer in one piece.
    Whole(Whole),
    /// A stream of events.
    Stream(Streamed),
    /// The answer of a server that is no simulation; faults count its data frames as events, nothing is billed.
    Foreign(Response<ForeignBody>),
}

/// Body of a [`Reply::Foreign`].
pub type ForeignBody = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

/// An answer in one piece.
#[derive(Debug, Default)]
pub struct Whole {
    /// HTTP status.
    pub status: StatusCode,
    /// Headers; `content-length` and `date` are added.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// What the model did for it; `None` if no model ran (lists, refusals).
    pub bill: Option<Bill>,
}

/// A streamed answer with status 200, planned to its end.
#[derive(Debug)]
pub struct Streamed {
    /// Headers; `date` is added.
    pub headers: HeaderMap,
    /// The events in order.
    pub frames: Vec<Frame>,
    /// What the model does for it, counted to the end of the stream.
    pub bill: Bill,
}

/// One event of a stream, encoded.
#[derive(Debug, Clone)]
pub struct Frame {
    /// The bytes of exactly one event.
    pub bytes: Bytes,
    /// Output tokens the model makes for this event.
    pub output_tokens: u64,
}

/// What one execution of a model costs.
#[derive(Debug, Default)]
pub struct Bill {
    /// The model as the caller named it.
    pub model: String,
    /// The operation, for instance `converse`.
    pub operation: String,
    /// Tokens of the prompt that were not read from the cache.
    pub input_tokens: u64,
    /// Tokens of the full answer.
    pub output_tokens: u64,
    /// Prompt tokens read from the cache.
    pub cache_read_tokens: u64,
    /// Prompt tokens written to the cache.
    pub cache_write_tokens: u64,
    /// Quota taken up front, settled when the exchange ends.
    pub reservation: Option<Reservation>,
}

impl Exchange {
    /// Whether a leaving caller ends the generation, and with it the bill.
    pub(crate) fn stops_with_caller(&self) -> bool {
        match self.script.on_abort {
            Some(OnAbort::Continues) => false,
            Some(OnAbort::Stops) => true,
            None => self.target.service().stops_with_caller(),
        }
    }
}

/// An error the script asks for; each service spells it in its own way.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Injected {
    /// HTTP status; `None` for the status that belongs to the type, or the service's 500.
    pub status: Option<StatusCode>,
    /// The error's name as the service spells it, for instance `throttlingException` or `overloaded_error`.
    pub error_type: Option<String>,
    /// Seconds for a retry hint.
    pub retry_after_s: Option<u64>,
}

/// What a request is about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subject {
    /// The model as the caller names it; empty if it names none.
    pub model: String,
    /// The operation, for instance `converse`.
    pub operation: String,
    /// Whether a stream is asked for.
    pub stream: bool,
    /// Whether the request would run a model, and so leaves a billing record even when it is refused.
    pub runs_model: bool,
}

/// The future of an answer.
pub type Answering<'a> = Pin<Box<dyn Future<Output = Reply> + Send + 'a>>;

/// A simulated service: contents only.
pub trait Service: Send + Sync + 'static {
    /// What the request is about, read without judging it; decides which faults apply and what a record says.
    fn subject(&self, received: &Received) -> Subject;

    /// Checks the credential before any scripted fault; `Err` is the answer.
    #[allow(clippy::result_large_err, reason = "made once per refused request and moved on at once")]
    fn authenticate(&self, exchange: &Exchange) -> Result<(), Whole>;

    /// Answers a request whose credential is good.
    fn answer<'a>(&'a self, exchange: &'a Exchange) -> Answering<'a>;

    /// Spells a scripted error as a whole answer.
    fn failure(&self, exchange: &Exchange, injected: &Injected) -> Whole;

    /// Spells a scripted error as an event inside a stream.
    fn failure_event(&self, exchange: &Exchange, injected: &Injected) -> Bytes;

    /// One event with a wrong checksum; unchanged where the framing has none.
    fn spoiled(&self, frame: &Bytes) -> Bytes {
        frame.clone()
    }

    /// Whether a leaving caller ends the generation, and with it the bill, unless the script says otherwise.
    fn stops_with_caller(&self) -> bool;

    /// Forgets what earlier exchanges left behind, such as cached prompts.
    fn reset(&self) {}

    /// Whether a request is beyond the script (a handshake, a notice); only a fault that names its operation hits it.
    fn spares(&self, _subject: &Subject) -> bool {
        false
    }

    /// Told of every script before it is in force.
    fn scripted(&self, _script: &Script) {}
}

impl Whole {
    /// An answer of this media type that no model ran for.
    pub fn new(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        Self { status, headers, body: body.into(), bill: None }
    }

    /// A JSON answer that no model ran for.
    pub fn json(status: StatusCode, body: &serde_json::Value) -> Self {
        Self::new(status, "application/json", body.to_string())
    }

    /// With a further header; a value that is no header value is left out.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(HeaderName::from_static(name), value);
        }
        self
    }

    /// With a bill.
    #[must_use]
    pub fn billed(mut self, bill: Bill) -> Self {
        self.bill = Some(bill);
        self
    }
}

impl Frame {
    /// An event that costs no output token.
    pub fn free(bytes: impl Into<Bytes>) -> Self {
        Self::costing(bytes, 0)
    }

    /// An event that costs output tokens.
    pub fn costing(bytes: impl Into<Bytes>, output_tokens: u64) -> Self {
        Self { bytes: bytes.into(), output_tokens }
    }
}

impl Injected {
    /// The error a fault asks for; a throttle defaults to status 429 and a hint of one second.
    pub fn of(fault: &Fault) -> Self {
        let throttle = fault.kind == FaultKind::Throttle;
        let status = fault.status.and_then(|status| StatusCode::from_u16(status).ok());
        Self {
            status: status.or(throttle.then_some(StatusCode::TOO_MANY_REQUESTS)),
            error_type: fault.error_type.clone(),
            retry_after_s: fault.retry_after_s.or(throttle.then_some(1)),
        }
    }
}
