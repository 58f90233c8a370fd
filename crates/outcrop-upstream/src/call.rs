//! One HTTP call: the head of its request, and its answer read as a whole, a stream or an error.
//!
//! Shared by the kinds that speak JSON over HTTP. Invariants: every body has a cap, a redirect is an
//! error, and only listed upstream headers reach the caller.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, DATE, HOST, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri};
use http_body_util::Full;
use hyper::body::Incoming;
use outcrop_core::failure::UpstreamError;
use outcrop_core::{Failure, Protocol, Reply};
use outcrop_wire::Mode;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

pub(crate) use self::stream::HttpStream;
use crate::client::collect;
use crate::{Answer, AnswerBody, AnswerStream, Attempt, Whole, outcome};

mod stream;

/// Largest whole answer.
const ANSWER_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Largest error body that is read.
const ERROR_BYTES_MAX: usize = 64 * 1024;
/// How long its body is waited for.
const ERROR_PATIENCE: Duration = Duration::from_millis(500);

const AGENT: HeaderValue = HeaderValue::from_static(concat!("outcrop/", env!("CARGO_PKG_VERSION")));
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// A POST of JSON, with the headers every path sends.
pub(crate) fn post(uri: Uri, host: &HeaderValue, body: Bytes) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = uri;
    let headers = request.headers_mut();
    headers.reserve(8);
    headers.insert(HOST, host.clone());
    headers.insert(CONTENT_TYPE, JSON);
    headers.insert(USER_AGENT, AGENT);
    request
}

/// Copies the caller headers that `allow` names.
pub(crate) fn forward(
    from: &[(HeaderName, HeaderValue)],
    to: &mut HeaderMap,
    allow: impl Fn(&HeaderName) -> bool,
) {
    for (name, value) in from.iter().filter(|(name, _)| allow(name)) {
        to.append(name.clone(), value.clone());
    }
}

/// Reads the answer of a call that used `protocol`.
pub(crate) async fn read(
    response: Response<Incoming>,
    protocol: Protocol,
    attempt: &Attempt<'_>,
    tasks: &TaskTracker,
) -> Result<Answer, Failure> {
    if !response.status().is_success() {
        return Err(Refusal::read(response, protocol, attempt.deadline).await?.into_failure());
    }
    let same = protocol == attempt.envelope.protocol;
    let mode = if same { Mode::Observe } else { Mode::Decode };
    let (head, body) = response.into_parts();
    let upstream_request_id = request_id(&head.headers).to_owned();
    let headers = if same { passed_on(&head.headers) } else { Vec::new() };
    let body = if attempt.envelope.stream && has_streams(protocol) {
        let stream = HttpStream::new(body, protocol, mode, attempt.deadline, tasks);
        AnswerBody::Stream(AnswerStream::http(stream, same))
    } else {
        let bytes = collect(body, ANSWER_BYTES_MAX, attempt.deadline).await?;
        let mut reply =
            outcrop_wire::decode_reply(protocol, &bytes, mode).map_err(|error| outcome::garbled(&error))?;
        if protocol == Protocol::BedrockInvoke {
            count_from_head(&head.headers, &mut reply);
        }
        let content_type = head.headers.get(CONTENT_TYPE).cloned().unwrap_or(JSON);
        AnswerBody::Whole(Whole { raw: same.then_some(bytes), content_type, reply })
    };
    Ok(Answer { protocol, upstream_request_id, headers, body })
}

fn has_streams(protocol: Protocol) -> bool {
    match protocol {
        Protocol::OpenAiChat
        | Protocol::AnthropicMessages
        | Protocol::BedrockConverse
        | Protocol::BedrockInvoke => true,
        Protocol::OpenAiEmbeddings
        | Protocol::AnthropicCountTokens
        | Protocol::BedrockCountTokens
        | Protocol::McpTool => false,
    }
}

/// Bedrock counts the tokens of an invoke call in the head, also for models whose bodies do not.
fn count_from_head(headers: &HeaderMap, reply: &mut Reply) {
    let count = |name: &str| headers.get(name)?.to_str().ok()?.parse::<u64>().ok();
    let usage = match reply {
        Reply::Chat(chat) => &mut chat.usage,
        Reply::Embeddings { usage, .. } | Reply::Native(usage) => usage,
        Reply::TokenCount(_) => return,
    };
    usage.input = usage.input.or_else(|| count("x-amzn-bedrock-input-token-count"));
    usage.output = usage.output.or_else(|| count("x-amzn-bedrock-output-token-count"));
    usage.cache_read = usage.cache_read.or_else(|| count("x-amzn-bedrock-cache-read-input-token-count"));
    usage.cache_write = usage.cache_write.or_else(|| count("x-amzn-bedrock-cache-write-input-token-count"));
}

/// An error answer, with what may be learned from its head.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) failure: Failure,
    /// The upstream's clock.
    pub(crate) date: Option<SystemTime>,
}

impl Refusal {
    /// Reads an answer whose status is not a success.
    pub(crate) async fn read(
        response: Response<Incoming>,
        protocol: Protocol,
        deadline: Instant,
    ) -> Result<Self, Failure> {
        let (head, body) = response.into_parts();
        let status = head.status.as_u16();
        let date = head.headers.get(DATE).and_then(|v| v.to_str().ok()).and_then(http_date);
        if head.status.is_redirection() {
            return Ok(Self { failure: outcome::redirected(status), date });
        }
        // The status alone already says what may follow: a body that breaks must not hide it, and one
        // that hangs must not eat the time of the next attempt.
        let patience = deadline.min(Instant::now() + ERROR_PATIENCE);
        let body = collect(body, ERROR_BYTES_MAX, patience).await.unwrap_or_default();
        let header = |name: &str| head.headers.get(name).and_then(|v| v.to_str().ok()).map(ToOwned::to_owned);
        let mut error: UpstreamError = outcrop_wire::decode_error(protocol, status, &header, &body);
        if error.request_id.is_empty() {
            request_id(&head.headers).clone_into(&mut error.request_id);
        }
        let hint = outcrop_wire::retry_hint(&header);
        Ok(Self { failure: outcome::refused(error, hint), date })
    }

    pub(crate) fn into_failure(self) -> Failure {
        self.failure
    }
}

fn http_date(text: &str) -> Option<SystemTime> {
    let date = aws_smithy_types::DateTime::from_str(text, aws_smithy_types::date_time::Format::HttpDate);
    SystemTime::try_from(date.ok()?).ok()
}

/// The upstream's own id of the request, under whichever name its kind uses.
pub(crate) fn request_id(headers: &HeaderMap) -> &str {
    ["x-amzn-requestid", "request-id", "x-request-id"]
        .into_iter()
        .find_map(|name| headers.get(name))
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
}

fn passed_on(headers: &HeaderMap) -> Vec<(HeaderName, HeaderValue)> {
    let passes = |name: &str| {
        matches!(name, "x-amzn-requestid" | "retry-after")
            || name.starts_with("x-amzn-bedrock-")
            || name.starts_with("x-ratelimit-")
            || name.starts_with("anthropic-ratelimit-")
    };
    headers
        .iter()
        .filter(|(name, _)| passes(name.as_str()))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}
