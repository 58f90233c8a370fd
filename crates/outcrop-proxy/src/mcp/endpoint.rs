//! The door of the MCP endpoint: which hosts it answers to, and whose session is whose.
//!
//! Sessions exist in the older era only. One belongs to the caller that opened it; to anybody else it
//! does not exist. Invariants: sessions are bounded, in all and per caller, and a place is taken before
//! the SDK may open one; what the SDK reads is a whole body that came within its limits.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, RETRY_AFTER};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::body::Incoming;
use outcrop_core::failure::{Code, Failure};
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService};
use serde::Deserialize;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::places::Places;
use super::server::{Asker, Server};
use crate::body;
use crate::gateway::Limits;

/// A session nobody uses for so long is ended; longer than any call may take.
const SESSION_IDLE_MAX: Duration = Duration::from_mins(15);
/// Largest message of a client.
pub(super) const MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Longest time for one to arrive, however steadily.
const MESSAGE_TIME_MAX: Duration = Duration::from_mins(1);
const SESSION: &str = "mcp-session-id";

type Answer = Response<BoxBody<Bytes, Infallible>>;

/// The MCP endpoint of a gateway.
pub struct Endpoint {
    service: StreamableHttpService<Server, LocalSessionManager>,
    sessions: Arc<LocalSessionManager>,
    places: Places,
    stop: CancellationToken,
}

impl Default for Endpoint {
    fn default() -> Self {
        let mut sessions = LocalSessionManager::default();
        sessions.session_config.keep_alive = Some(SESSION_IDLE_MAX);
        let sessions = Arc::new(sessions);
        let stop = CancellationToken::new();
        let config = StreamableHttpServerConfig::default()
            .with_json_response(true)
            .with_max_request_body_bytes(MESSAGE_BYTES_MAX)
            .with_cancellation_token(stop.clone());
        let service = StreamableHttpService::new(|| Ok(Server), Arc::clone(&sessions), config);
        Self { service, sessions, places: Places::default(), stop }
    }
}

impl Endpoint {
    /// Ends all sessions and every call that still runs; for the end of a drain.
    pub fn close(&self) {
        self.stop.cancel();
    }

    /// Answers one request.
    pub(super) async fn handle(&self, asker: Asker, request: Request<Incoming>) -> Answer {
        let ends_session = request.method() == Method::DELETE;
        if request.method() == Method::GET && !request.headers().contains_key("last-event-id") {
            // The gateway sends nothing of its own accord, so the standing stream would only hold a
            // connection open.
            return not_allowed();
        }
        let session = session_of(request.headers());
        let owner = Arc::clone(&asker.caller.name);
        let asker = match &session {
            None => asker,
            Some(session) => match self.places.end_of(&owner, session) {
                Some(session_end) => Asker { session_end, ..asker },
                None => return plain(StatusCode::NOT_FOUND, "Not Found: Session not found"),
            },
        };
        let snapshot = asker.gateway.snapshot();
        let (head, body) = request.into_parts();
        let message = match read(body, &snapshot.limits).await {
            Ok(message) => message,
            Err(refusal) => return refusal,
        };
        let place = if session.is_none() && may_open_session(&message) {
            let Some(place) = self.places.take(&owner, &self.sessions).await else { return full() };
            Some(place)
        } else {
            None
        };
        let mut request = Request::from_parts(head, Full::new(message));
        request.extensions_mut().insert(asker);
        let mut service = self.service.clone();
        allow(&mut service.config, &snapshot.mcp_hosts);
        let answer = service.handle(request).await;
        if let Some(session) = session {
            if ends_session && answer.status().is_success() {
                self.places.free(&session);
            }
        } else if let (Some(place), Some(opened)) = (place, session_of(answer.headers())) {
            place.keep(opened);
        }
        answer
    }
}

/// Reads one message whole, within its limits.
async fn read(body: Incoming, limits: &Limits) -> Result<Bytes, Answer> {
    let limits = Limits { body_bytes_max: MESSAGE_BYTES_MAX, ..*limits };
    match timeout(MESSAGE_TIME_MAX, body::read(body, &limits)).await {
        Ok(Ok(message)) => Ok(message),
        Ok(Err(Failure { code: Code::TooLarge, .. })) => {
            Err(plain(StatusCode::PAYLOAD_TOO_LARGE, "Payload Too Large: messages are at most 4 MiB"))
        }
        Ok(Err(_)) | Err(_) => {
            Err(plain(StatusCode::REQUEST_TIMEOUT, "Request Timeout: the message did not arrive in time"))
        }
    }
}

/// Only `initialize` opens a session, whatever version its headers claim; what cannot be told counts
/// as one, because the SDK may read it otherwise.
fn may_open_session(message: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Named {
        method: String,
    }
    serde_json::from_slice::<Named>(message).map_or(true, |named| named.method == "initialize")
}

/// Loopback and the operator's names, as `Host` and as the `Origin` of a page served there.
fn allow(config: &mut StreamableHttpServerConfig, hosts: &[String]) {
    let loopback = ["localhost", "127.0.0.1", "[::1]"];
    let origins = loopback.iter().flat_map(|host| [format!("http://{host}:*"), format!("https://{host}:*")]);
    config.allowed_origins = origins.chain(hosts.iter().map(|host| format!("https://{host}:*"))).collect();
    config.allowed_hosts.extend_from_slice(hosts);
}

fn session_of(headers: &http::HeaderMap) -> Option<Box<str>> {
    headers.get(SESSION)?.to_str().ok().map(Box::from)
}

fn plain(status: StatusCode, text: &'static str) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from_static(text.as_bytes())).boxed());
    *answer.status_mut() = status;
    answer
}

fn not_allowed() -> Answer {
    let mut answer = plain(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed");
    answer.headers_mut().insert(ALLOW, HeaderValue::from_static("POST, DELETE"));
    answer
}

fn full() -> Answer {
    let text = "Service Unavailable: too many open MCP sessions; end one, or retry later";
    let mut answer = plain(StatusCode::SERVICE_UNAVAILABLE, text);
    answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("10"));
    answer
}
