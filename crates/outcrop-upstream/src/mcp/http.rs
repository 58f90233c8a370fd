//! Streamable HTTP on the gateway's own connections.
//!
//! The SDK decides what is said and keeps sessions; this file only carries its messages: headers,
//! byte limits, and the one reading of statuses that every path shares. A lost session is reported,
//! never mended here, because mending would repeat calls that must not run twice.

mod sse;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST};
use http::request::Builder;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use outcrop_core::{Class, Failure, Protocol, Reason};
use rmcp::model::{ClientJsonRpcMessage, ClientRequest, ErrorData, RequestId, ServerJsonRpcMessage};
use rmcp::transport::common::client_side_sse::BoxedSseResponse;
use rmcp::transport::common::http_header::{
    EVENT_STREAM_MIME_TYPE, HEADER_LAST_EVENT_ID, HEADER_SESSION_ID, JSON_MIME_TYPE,
};
use rmcp::transport::streamable_http_client::{
    StreamableHttpClient, StreamableHttpError, StreamableHttpPostResponse, StreamableHttpResponseLimits,
};
use tokio::time::Instant;

pub(crate) use sse::OVERSIZED;

use crate::client::{self, HttpClient};
use crate::dispatch::Dispatch;
use crate::outcome;

/// The longest that one HTTP exchange may take to its head; calls end earlier, by their own limit.
const HEAD_TIME_MAX: Duration = Duration::from_mins(15);
/// Most bytes of an error page that are read.
const ERROR_BYTES_MAX: usize = 64 * 1024;

/// Carries the SDK's messages.
#[derive(Debug, Clone)]
pub(crate) struct McpHttp {
    client: HttpClient,
    host: HeaderValue,
}

/// A failure of the gateway's own making or reading, on its way through the SDK.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Carried(pub(crate) Failure);

type Error = StreamableHttpError<Carried>;
type Posted = Result<StreamableHttpPostResponse, Error>;

/// The parts of a request that the SDK dictates.
struct Head {
    uri: Arc<str>,
    session: Option<Arc<str>>,
    auth: Option<String>,
    custom: HashMap<HeaderName, HeaderValue>,
}

impl McpHttp {
    pub(crate) fn new(client: HttpClient, host: HeaderValue) -> Self {
        Self { client, host }
    }

    fn request(&self, method: Method, head: &Head) -> Builder {
        let mut request = Request::builder()
            .method(method)
            .uri(&*head.uri)
            .header(HOST, self.host.clone())
            .header(ACCEPT, "application/json, text/event-stream");
        if let Some(session) = &head.session {
            request = request.header(HEADER_SESSION_ID, &**session);
        }
        if let Some(auth) = &head.auth
            && let Ok(mut value) = HeaderValue::from_str(&format!("Bearer {auth}"))
        {
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        for (name, value) in &head.custom {
            request = request.header(name, value);
        }
        request
    }

    async fn send(
        &self,
        request: Result<Request<Full<Bytes>>, http::Error>,
    ) -> Result<Response<Incoming>, Error> {
        let request = request.map_err(|error| garbled(Class::NotSent, error.to_string()))?;
        let sent =
            self.client.send(request, &Dispatch::untold(), (Instant::now() + HEAD_TIME_MAX).into()).await;
        sent.map_err(carried)
    }

    async fn post(
        &self,
        message: ClientJsonRpcMessage,
        head: Head,
        limits: StreamableHttpResponseLimits,
    ) -> Posted {
        let body = Full::new(Bytes::from(serde_json::to_vec(&message)?));
        let request = self.request(Method::POST, &head).header(CONTENT_TYPE, JSON_MIME_TYPE);
        let response = self.send(request.body(body)).await?;
        let status = response.status();
        if status == StatusCode::NOT_FOUND && head.session.is_some() {
            return Err(StreamableHttpError::SessionExpired);
        }
        if status.is_success() {
            accept(&message, response, limits).await
        } else {
            refuse(&message, response, limits).await
        }
    }

    async fn open(
        &self,
        head: Head,
        last_event_id: Option<String>,
        event_bytes_max: usize,
    ) -> Result<BoxedSseResponse, Error> {
        let mut request = self.request(Method::GET, &head);
        if let Some(id) = last_event_id {
            request = request.header(HEADER_LAST_EVENT_ID, id);
        }
        let response = self.send(request.body(Full::default())).await?;
        let status = response.status();
        if status.is_success() && is_media(&response, EVENT_STREAM_MIME_TYPE) {
            let bytes = response.into_body().into_data_stream();
            return Ok(sse::events(bytes, event_bytes_max, None));
        }
        // A server without this stream says 405; one that says anything else will not give it
        // either, and nothing a call needs depends on it.
        Err(StreamableHttpError::ServerDoesNotSupportSse)
    }
}

impl StreamableHttpClient for McpHttp {
    type Error = Carried;

    async fn post_message(
        &self,
        uri: Arc<str>,
        message: ClientJsonRpcMessage,
        session: Option<Arc<str>>,
        auth: Option<String>,
        custom: HashMap<HeaderName, HeaderValue>,
    ) -> Posted {
        let limits = StreamableHttpResponseLimits::default();
        self.post(message, Head { uri, session, auth, custom }, limits).await
    }

    async fn post_message_with_response_limits(
        &self,
        uri: Arc<str>,
        message: ClientJsonRpcMessage,
        session: Option<Arc<str>>,
        auth: Option<String>,
        custom: HashMap<HeaderName, HeaderValue>,
        limits: StreamableHttpResponseLimits,
    ) -> Posted {
        self.post(message, Head { uri, session, auth, custom }, limits).await
    }

    async fn delete_session(
        &self,
        uri: Arc<str>,
        session: Arc<str>,
        auth: Option<String>,
        custom: HashMap<HeaderName, HeaderValue>,
    ) -> Result<(), Error> {
        let head = Head { uri, session: Some(session), auth, custom };
        let request = self.request(Method::DELETE, &head);
        let response = self.send(request.body(Full::default())).await?;
        if response.status() == StatusCode::METHOD_NOT_ALLOWED {
            return Err(StreamableHttpError::ServerDoesNotSupportDeleteSession);
        }
        Ok(())
    }

    async fn get_stream(
        &self,
        uri: Arc<str>,
        session: Option<Arc<str>>,
        last_event_id: Option<String>,
        auth: Option<String>,
        custom: HashMap<HeaderName, HeaderValue>,
    ) -> Result<BoxedSseResponse, Error> {
        let head = Head { uri, session, auth, custom };
        self.open(head, last_event_id, super::MESSAGE_BYTES_MAX).await
    }

    async fn get_stream_with_max_sse_event_size(
        &self,
        uri: Arc<str>,
        session: Option<Arc<str>>,
        last_event_id: Option<String>,
        auth: Option<String>,
        custom: HashMap<HeaderName, HeaderValue>,
        event_bytes_max: usize,
    ) -> Result<BoxedSseResponse, Error> {
        let head = Head { uri, session, auth, custom };
        self.open(head, last_event_id, event_bytes_max).await
    }
}

/// Reads a success. Whatever answers a message that asks nothing is taken for a receipt.
async fn accept(
    message: &ClientJsonRpcMessage,
    response: Response<Incoming>,
    limits: StreamableHttpResponseLimits,
) -> Posted {
    let Some(id) = asked(message) else {
        return Ok(StreamableHttpPostResponse::Accepted);
    };
    if matches!(response.status(), StatusCode::ACCEPTED | StatusCode::NO_CONTENT) {
        return Ok(StreamableHttpPostResponse::Accepted);
    }
    let session = text_header(&response, HEADER_SESSION_ID);
    if is_media(&response, EVENT_STREAM_MIME_TYPE) {
        let bytes = response.into_body().into_data_stream();
        let events = sse::events(bytes, limits.max_sse_event_size, Some(id.clone()));
        return Ok(StreamableHttpPostResponse::Sse(events, session));
    }
    if !is_media(&response, JSON_MIME_TYPE) {
        return Err(garbled(Class::Ambiguous, "an answer that is neither JSON nor a stream"));
    }
    let body = collect(response, limits.max_json_response_size).await?;
    match serde_json::from_slice(&body) {
        Ok(message) => Ok(StreamableHttpPostResponse::Json(message, session)),
        Err(error) => Err(garbled(Class::Ambiguous, format!("not a JSON-RPC message: {error}"))),
    }
}

/// Reads a refusal: the server's own JSON-RPC error where it sent one, else what the status says.
async fn refuse(
    message: &ClientJsonRpcMessage,
    response: Response<Incoming>,
    limits: StreamableHttpResponseLimits,
) -> Posted {
    let status = response.status();
    let session = text_header(&response, HEADER_SESSION_ID);
    let headers = response.headers().clone();
    let header = |name: &str| headers.get(name)?.to_str().ok().map(str::to_owned);
    let bytes_max = limits.max_error_response_size.min(ERROR_BYTES_MAX);
    // An error page that breaks off or is too long still has a status that speaks.
    let body = collect(response, bytes_max).await.unwrap_or_default();
    let told = serde_json::from_slice::<ServerJsonRpcMessage>(&body).ok();
    let told = told.and_then(|answer| match answer {
        ServerJsonRpcMessage::Error(error) => Some(error.error),
        _ => None,
    });
    if let Some(probe) = probed(message, status) {
        // A server of the older era rejects the probe in its own words, often without our id.
        let error = told
            .unwrap_or_else(|| ErrorData::invalid_request(format!("server/discover: HTTP {status}"), None));
        let answer = ServerJsonRpcMessage::error(error, Some(probe.clone()));
        return Ok(StreamableHttpPostResponse::Json(answer, None));
    }
    let speaks_for_itself =
        matches!(status.as_u16(), 400 | 404 | 422) || status == StatusCode::INTERNAL_SERVER_ERROR;
    if let (Some(error), Some(id), true) = (told, asked(message), speaks_for_itself) {
        let answer = ServerJsonRpcMessage::error(error, Some(id.clone()));
        return Ok(StreamableHttpPostResponse::Json(answer, session));
    }
    let code = status.as_u16();
    if (300..400).contains(&code) {
        return Err(carried(outcome::redirected(code)));
    }
    let error = outcrop_wire::decode_error(Protocol::McpTool, code, &header, &body);
    Err(carried(outcome::refused(error, outcrop_wire::retry_hint(&header))))
}

/// The id that an answer must carry, if one is due.
fn asked(message: &ClientJsonRpcMessage) -> Option<&RequestId> {
    match message {
        ClientJsonRpcMessage::Request(request) => Some(&request.id),
        ClientJsonRpcMessage::Notification(_)
        | ClientJsonRpcMessage::Response(_)
        | ClientJsonRpcMessage::Error(_) => None,
    }
}

/// The id of the era probe, where a refusal of it means "older era" and not "not allowed" or "down".
fn probed(message: &ClientJsonRpcMessage, status: StatusCode) -> Option<&RequestId> {
    let ClientJsonRpcMessage::Request(request) = message else { return None };
    let tells = status.is_client_error() && !matches!(status.as_u16(), 401 | 403 | 429);
    let probe = matches!(request.request, ClientRequest::DiscoverRequest(_));
    (probe && tells).then_some(&request.id)
}

async fn collect(response: Response<Incoming>, bytes_max: usize) -> Result<Bytes, Error> {
    let deadline = Instant::now() + HEAD_TIME_MAX;
    client::collect(response.into_body(), bytes_max, deadline).await.map_err(carried)
}

fn is_media(response: &Response<Incoming>, expected: &str) -> bool {
    let value = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = value.and_then(|value| value.split(';').next());
    essence.is_some_and(|essence| essence.trim().eq_ignore_ascii_case(expected))
}

fn text_header(response: &Response<Incoming>, name: &str) -> Option<String> {
    response.headers().get(name)?.to_str().ok().map(str::to_owned)
}

fn garbled(class: Class, detail: impl Into<String>) -> Error {
    carried(Failure::network(Reason::Garbled, class, detail))
}

fn carried(failure: Failure) -> Error {
    StreamableHttpError::Client(Carried(failure))
}
