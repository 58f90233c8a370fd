//! The door of the MCP endpoint: which hosts it answers to, and whose session is whose.
//!
//! Sessions exist in the older era only. One belongs to the caller that opened it; to anybody else it
//! does not exist. Invariant: sessions are bounded, in all and per caller.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, RETRY_AFTER};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use parking_lot::Mutex;
use rmcp::model::ProtocolVersion;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService};
use tokio_util::sync::CancellationToken;

use super::server::{Asker, Server};

const SESSIONS_MAX: usize = 1024;
const SESSIONS_PER_CALLER_MAX: usize = 256;
/// A session nobody uses for so long is ended; longer than any call may take.
const SESSION_IDLE_MAX: Duration = Duration::from_mins(15);
/// Largest message of a client.
const MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024;
const SESSION: &str = "mcp-session-id";

type Answer = Response<BoxBody<Bytes, Infallible>>;

/// The MCP endpoint of a gateway.
pub struct Endpoint {
    service: StreamableHttpService<Server, LocalSessionManager>,
    sessions: Arc<LocalSessionManager>,
    owners: Mutex<HashMap<Box<str>, Arc<str>>>,
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
        Self { service, sessions, owners: Mutex::default(), stop }
    }
}

impl Endpoint {
    /// Ends all sessions and every call that still runs; for the end of a drain.
    pub fn close(&self) {
        self.stop.cancel();
    }

    /// Answers one request. `hosts` are the names served besides loopback.
    pub(super) async fn handle<B>(&self, hosts: &[String], asker: Asker, mut request: Request<B>) -> Answer
    where
        B: Body + Send + 'static,
        B::Error: Display,
    {
        let ends_session = request.method() == Method::DELETE;
        if request.method() == Method::GET && !request.headers().contains_key("last-event-id") {
            // The gateway sends nothing of its own accord, so the standing stream would only hold a
            // connection open.
            return not_allowed();
        }
        let session = session_of(request.headers());
        let owner = Arc::clone(&asker.caller.name);
        if let Some(session) = &session {
            if !self.owns(&owner, session) {
                return plain(StatusCode::NOT_FOUND, "Not Found: Session not found");
            }
        } else if is_older_era(&request) && !self.has_room(&owner).await {
            return full();
        }
        request.extensions_mut().insert(asker);
        let mut service = self.service.clone();
        allow(&mut service.config, hosts);
        let answer = service.handle(request).await;
        let ended = session.filter(|_| ends_session && answer.status().is_success());
        if let Some(ended) = ended {
            self.owners.lock().remove(&*ended);
        } else if let Some(opened) = session_of(answer.headers()) {
            self.owners.lock().entry(opened).or_insert(owner);
        }
        answer
    }

    fn owns(&self, caller: &Arc<str>, session: &str) -> bool {
        self.owners.lock().get(session).is_some_and(|owner| owner == caller)
    }

    async fn has_room(&self, caller: &Arc<str>) -> bool {
        if self.admits(caller) {
            return true;
        }
        let alive = self.sessions.sessions.read().await;
        self.owners.lock().retain(|session, _| alive.contains_key(&**session));
        drop(alive);
        self.admits(caller)
    }

    fn admits(&self, caller: &Arc<str>) -> bool {
        let owners = self.owners.lock();
        owners.len() < SESSIONS_MAX
            && owners.values().filter(|owner| *owner == caller).count() < SESSIONS_PER_CALLER_MAX
    }
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

/// Whether the request may open a session: its era is told by the version header, and the body, which
/// the SDK reads, decides in the end.
fn is_older_era<B>(request: &Request<B>) -> bool {
    let version = request.headers().get("mcp-protocol-version").and_then(|v| v.to_str().ok());
    version.is_none_or(|version| version < ProtocolVersion::V_2026_07_28.as_str())
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
