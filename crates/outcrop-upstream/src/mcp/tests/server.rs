//! An MCP server for tests, on the official SDK, over streamable HTTP on a free port.
//!
//! The last user text steers its tool `converse`, so that each test reads like a story.

use std::borrow::Cow;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, ErrorCode, ErrorData,
    ListToolsResult, PaginatedRequestParams, ProgressNotificationParam, ProtocolVersion, ServerCapabilities,
    ServerConfig, Tool,
};
use rmcp::service::RequestContext;
use rmcp::transport::streamable_http_server::session::SessionManager;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{RoleServer, ServerHandler};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use url::Url;

use crate::McpTransport;

/// What a server does, and what it saw.
#[derive(Default)]
pub(super) struct Desk {
    /// Speaks only the older era, and answers the probe with this status and no JSON.
    pub(super) older: Option<StatusCode>,
    /// Answers with JSON where it can.
    pub(super) json: bool,
    /// How `tools/list` behaves.
    pub(super) list: Listing,
    pub(super) handshakes: AtomicUsize,
    pub(super) calls: AtomicUsize,
    pub(super) arguments: parking_lot::Mutex<serde_json::Value>,
    pub(super) cancelled: Notify,
    pub(super) reached: Notify,
    /// Lets a pausing answer go on after its first word.
    pub(super) go_on: Notify,
    /// Forgets the session of the next call before it runs.
    pub(super) forget: AtomicBool,
}

/// How `tools/list` behaves.
#[derive(Default, Clone, Copy)]
pub(super) enum Listing {
    #[default]
    Plain,
    /// The same cursor, the empty one, for ever.
    SameCursor,
    /// Another cursor for ever.
    Endless,
    /// More definitions than anybody wants.
    Huge,
    /// The tool that answers chats says that it destroys.
    Destroys,
}

#[derive(Clone)]
struct Handler(Arc<Desk>);

impl ServerHandler for Handler {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
    }

    fn supported_protocol_versions(&self) -> Cow<'static, [ProtocolVersion]> {
        match self.0.older {
            Some(_) => Cow::Borrowed(ProtocolVersion::known_up_to(&ProtocolVersion::V_2025_11_25)),
            None => Cow::Borrowed(ProtocolVersion::KNOWN_VERSIONS),
        }
    }

    async fn list_tools(
        &self,
        request: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let page = request.and_then(|request| request.cursor).unwrap_or_default();
        let number: usize = page.parse().unwrap_or(0);
        let tool = |name: String, text: String| Tool::new(name, text, serde_json::Map::new());
        let mut result = ListToolsResult::with_all_items(vec![
            tool(format!("tool-{number}"), String::new()),
            tool(format!("other-{number}"), String::new()),
        ]);
        match self.0.list {
            Listing::Plain => {}
            Listing::Destroys => {
                let said = rmcp::model::ToolAnnotations::new().read_only(false).destructive(true);
                result.tools.push(tool("converse".into(), String::new()).with_annotations(said));
            }
            Listing::SameCursor => result.next_cursor = Some(String::new()),
            Listing::Endless => result.next_cursor = Some((number + 1).to_string()),
            Listing::Huge => {
                result.tools = (0..40).map(|n| tool(n.to_string(), "x".repeat(10_000))).collect();
            }
        }
        Ok(result)
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        self.0.calls.fetch_add(1, Ordering::SeqCst);
        let arguments = serde_json::Value::Object(request.arguments.unwrap_or_default());
        let steer = arguments["messages"][0]["content"].as_str().unwrap_or_default().to_owned();
        *self.0.arguments.lock() = arguments;
        match &*steer {
            "hang" => {
                self.0.reached.notify_one();
                context.ct.cancelled().await;
                self.0.cancelled.notify_one();
                Err(ErrorData::internal_error("cancelled", None))
            }
            "busy" => {
                for step in 1_u32.. {
                    self.progress(&context, step, "working").await?;
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                Err(ErrorData::internal_error("cancelled", None))
            }
            "speak" | "lie" | "pause" => {
                for (step, word) in (1..).zip(["one ", "two ", "three"]) {
                    self.progress(&context, step, word).await?;
                    if steer == "pause" && step == 1 {
                        self.0.go_on.notified().await;
                    }
                }
                Ok(answer(if steer == "lie" { "four" } else { "one two three" }).into())
            }
            "huge" => Ok(answer(&"x".repeat(5 * 1024 * 1024)).into()),
            "fail" => Ok(CallToolResult::error(vec![ContentBlock::text("no such luck")]).into()),
            "odd" => Err(ErrorData::new(ErrorCode(-32_050), "odd", None)),
            _ => Ok(answer(&format!("you said {steer}")).into()),
        }
    }
}

impl Handler {
    async fn progress(
        &self,
        context: &RequestContext<RoleServer>,
        step: u32,
        text: &str,
    ) -> Result<(), ErrorData> {
        let token = context.meta.get_progress_token().unwrap();
        let notice = ProgressNotificationParam::new(token, f64::from(step)).with_message(text);
        let sent = context.peer.notify_progress(notice).await;
        sent.map_err(|error| ErrorData::internal_error(error.to_string(), None))
    }
}

fn answer(text: &str) -> CallToolResult {
    let mut result = CallToolResult::structured(json!({
        "model": "sonnet", "role": "assistant", "content": text, "finish_reason": "stop",
        "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7},
    }));
    result.content = vec![ContentBlock::text(text)];
    result
}

/// A running server; it ends with the value.
pub(super) struct Running {
    pub(super) desk: Arc<Desk>,
    pub(super) url: Url,
    pub(super) sessions: Arc<LocalSessionManager>,
    accepting: AbortHandle,
}

impl Running {
    pub(super) fn transport(&self) -> McpTransport {
        McpTransport::Http { url: self.url.clone(), bearer: None }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Starts a server.
pub(super) async fn start(desk: Desk) -> Running {
    let desk = Arc::new(desk);
    let sessions = Arc::new(LocalSessionManager::default());
    let config = StreamableHttpServerConfig::default().with_json_response(desk.json);
    let handler = Handler(Arc::clone(&desk));
    let service = StreamableHttpService::new(move || Ok(handler.clone()), Arc::clone(&sessions), config);
    let front = Front { desk: Arc::clone(&desk), sessions: Arc::clone(&sessions), service };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = Url::parse(&format!("http://{}/mcp", listener.local_addr().unwrap())).unwrap();
    let tasks = TaskTracker::new();
    let connections = tasks.clone();
    let accepting = tasks.spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            let front = front.clone();
            connections.spawn(async move {
                let service = service_fn(move |request| front.clone().serve(request));
                let io = TokioIo::new(socket);
                let _ = hyper::server::conn::http1::Builder::new().serve_connection(io, service).await;
            });
        }
    });
    Running { desk, url, sessions, accepting: accepting.abort_handle() }
}

/// What stands before the SDK: reads the body to count and to interfere.
#[derive(Clone)]
struct Front {
    desk: Arc<Desk>,
    sessions: Arc<LocalSessionManager>,
    service: StreamableHttpService<Handler, LocalSessionManager>,
}

impl Front {
    async fn serve(
        self,
        request: Request<Incoming>,
    ) -> Result<Response<BoxBody<Bytes, Infallible>>, Infallible> {
        let (head, body) = request.into_parts();
        let deadline = Instant::now() + Duration::from_secs(30);
        let body = crate::client::collect(body, 1024 * 1024, deadline).await.unwrap_or_default();
        let message: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
        let method = message["method"].as_str().unwrap_or_default();
        if let ("server/discover", Some(status)) = (method, self.desk.older) {
            let mut refusal = Response::new(Full::new(Bytes::from_static(b"what?")).boxed());
            *refusal.status_mut() = status;
            return Ok(refusal);
        }
        if matches!(method, "server/discover" | "initialize") {
            self.desk.handshakes.fetch_add(1, Ordering::SeqCst);
        }
        if method == "tools/call" && self.desk.forget.swap(false, Ordering::SeqCst) {
            let id = head.headers["mcp-session-id"].to_str().unwrap();
            self.sessions.close_session(&id.into()).await.unwrap();
        }
        Ok(self.service.handle(Request::from_parts(head, Full::new(body))).await)
    }
}
