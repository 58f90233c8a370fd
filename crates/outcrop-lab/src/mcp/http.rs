//! The MCP server over streamable HTTP: the framework's connections in front, the SDK's service behind.
//!
//! Only `tools/call` is subject to the script; the handshake, lists and notices pass, unless a fault names them by
//! `operation` (`initialize`, `tools/list`, …). A server that goes down forgets its sessions, as a restarted one does.

mod mortal;

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use parking_lot::Mutex;
use rmcp::{
    model::{ErrorData, ProtocolVersion},
    transport::streamable_http_server::{
        StreamableHttpServerConfig, StreamableHttpService,
        session::{SessionManager as _, local::LocalSessionManager},
    },
};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use self::mortal::Mortal;
use super::{
    call::Call,
    handler::Handler,
    spelling::{Spelled, spelled},
};
use crate::{
    exchange::{Answering, Exchange, Injected, Received, Reply, Service, Subject, Whole},
    script::{FaultKind, Script},
};

/// Where the server answers.
const PATH: &str = "/mcp";
const BODY_BYTES_MAX: usize = 32 * 1024 * 1024;
/// How soon a client may come back for the rest of a broken session stream.
const SSE_RETRY: Duration = Duration::from_millis(500);

/// The MCP server as a target of the lab.
pub struct Desk {
    handler: Handler,
    host: IpAddr,
    running: Mutex<Running>,
}

/// One life of the server, from start to going down.
#[derive(Clone)]
struct Running {
    service: StreamableHttpService<Handler, LocalSessionManager>,
    sessions: Arc<LocalSessionManager>,
    stop: CancellationToken,
}

impl Default for Desk {
    fn default() -> Self {
        Self::new()
    }
}

impl Desk {
    /// A server without sessions, on a loopback address.
    pub fn new() -> Self {
        Self::at(IpAddr::V4(Ipv4Addr::LOCALHOST))
    }

    /// A server without sessions that is called by this address, or as localhost.
    pub fn at(host: IpAddr) -> Self {
        let handler = Handler::default();
        let running = Mutex::new(Running::start(&handler, host));
        Self { handler, host, running }
    }

    async fn serve(&self, exchange: &Exchange) -> Reply {
        let received = &exchange.received;
        if received.path != PATH {
            return Reply::Whole(Whole::new(StatusCode::NOT_FOUND, "text/plain", "Not Found"));
        }
        let running = self.running.lock().clone();
        let forgets = exchange.fault.as_ref().is_some_and(|fault| fault.kind == FaultKind::ForgetSession);
        if forgets && let Some(id) = received.header("mcp-session-id") {
            // A session that is unknown already is as forgotten as it can be.
            let _ = running.sessions.close_session(&id.into()).await;
        }
        let mut request = Request::new(Full::new(received.body.clone()));
        *request.method_mut() = received.method.clone();
        *request.uri_mut() = http::Uri::from_static(PATH);
        request.headers_mut().clone_from(&received.headers);
        request.extensions_mut().insert(Call::of(exchange));
        let response = running.service.handle(request).await;
        Reply::Foreign(response.map(|body| Mortal::new(body, running.stop).boxed_unsync()))
    }
}

impl Running {
    fn start(handler: &Handler, host: IpAddr) -> Self {
        let stop = CancellationToken::new();
        let mut sessions = LocalSessionManager::default();
        sessions.session_config.sse_retry = Some(SSE_RETRY);
        let sessions = Arc::new(sessions);
        let config = StreamableHttpServerConfig::default()
            .with_allowed_hosts([
                "localhost".to_owned(),
                "127.0.0.1".to_owned(),
                "::1".to_owned(),
                host.to_string(),
            ])
            .with_json_response(true)
            .with_sse_retry(Some(SSE_RETRY))
            .with_max_request_body_bytes(BODY_BYTES_MAX)
            .with_cancellation_token(stop.clone());
        let handler = handler.clone();
        let service = StreamableHttpService::new(move || Ok(handler.clone()), Arc::clone(&sessions), config);
        Self { service, sessions, stop }
    }
}

impl Service for Desk {
    fn subject(&self, received: &Received) -> Subject {
        let message: Value = serde_json::from_slice(&received.body).unwrap_or_default();
        let method = message["method"].as_str().unwrap_or(received.method.as_str());
        if method != "tools/call" {
            return Subject { operation: method.to_owned(), ..Subject::default() };
        }
        let params = &message["params"];
        let tool = params["name"].as_str().unwrap_or_default();
        let reports = !params["_meta"]["progressToken"].is_null();
        Subject {
            model: params["arguments"]["model"].as_str().unwrap_or(tool).to_owned(),
            operation: tool.to_owned(),
            // Sessions always answer with a stream of events.
            stream: reports || received.headers.contains_key("mcp-session-id"),
            runs_model: true,
        }
    }

    fn authenticate(&self, exchange: &Exchange) -> Result<(), Whole> {
        if !exchange.script.credential_expired {
            return Ok(());
        }
        let refusal = Whole::new(StatusCode::UNAUTHORIZED, "text/plain", "Unauthorized");
        Err(refusal.header("www-authenticate", "Bearer error=\"invalid_token\""))
    }

    fn answer<'a>(&'a self, exchange: &'a Exchange) -> Answering<'a> {
        Box::pin(self.serve(exchange))
    }

    fn failure(&self, exchange: &Exchange, injected: &Injected) -> Whole {
        let answer = if let Some(message) = message(exchange, injected) {
            Whole::json(injected.status.unwrap_or(StatusCode::OK), &message)
        } else {
            let status = injected.status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            Whole::new(status, "text/plain", status.canonical_reason().unwrap_or_default())
        };
        match injected.retry_after_s {
            Some(seconds) => answer.header("retry-after", &seconds.to_string()),
            None => answer,
        }
    }

    fn failure_event(&self, exchange: &Exchange, injected: &Injected) -> Bytes {
        // Inside a stream there is no HTTP status left to send.
        let inside = Injected { status: None, ..injected.clone() };
        let message = message(exchange, &inside).unwrap_or_default();
        format!("data: {message}\n\n").into()
    }

    fn stops_with_caller(&self) -> bool {
        true
    }

    fn scripted(&self, script: &Script) {
        if script.is_down() {
            let next = Running::start(&self.handler, self.host);
            std::mem::replace(&mut *self.running.lock(), next).stop.cancel();
        }
    }

    fn spares(&self, subject: &Subject) -> bool {
        !subject.runs_model
    }

    fn reset(&self) {
        self.handler.reset();
    }
}

/// The JSON-RPC message of a scripted error; `None` if it is an HTTP error only.
fn message(exchange: &Exchange, injected: &Injected) -> Option<Value> {
    let request: Value = serde_json::from_slice(&exchange.received.body).unwrap_or_default();
    let id = request["id"].clone();
    match spelled(injected) {
        Spelled::Http => None,
        Spelled::Rpc(ErrorData { code, message, data }) => {
            let mut error = json!({"code": code.0, "message": message});
            if let Some(data) = data {
                error["data"] = data;
            }
            Some(json!({"jsonrpc": "2.0", "id": id, "error": error}))
        }
        Spelled::Result(mut result) => {
            let version = exchange.received.header("mcp-protocol-version").unwrap_or_default();
            if version < ProtocolVersion::V_2026_07_28.as_str() {
                result.result_type = None;
            }
            Some(json!({"jsonrpc": "2.0", "id": id, "result": result}))
        }
    }
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Desk").finish_non_exhaustive()
    }
}
