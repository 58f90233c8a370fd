//! A gateway with its endpoint on a free port, a server behind it, and a client before it.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo};
use outcrop_core::money::Price;
use outcrop_core::path::Effect;
use outcrop_core::{PathKind, TargetId};
use outcrop_policy::{Routes, TargetSpec};
use outcrop_store::keeper::Setup;
use outcrop_store::{DispatchLog, Keeper, Location, Store};
use outcrop_upstream::mcp::McpPath;
use outcrop_upstream::{Connect, KindSpec, McpSpec, McpTransport, Path, PathSpec, Progress, Upstreams};
use prometheus_client::registry::Registry;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;

use super::desk::{Desk, Handler};
use crate::authenticate::{Auth, Caller};
use crate::gateway::{Gateway, Limits, Parts, Snapshot, StreamLimits};
use crate::mcp::Endpoint;
use crate::metrics::Metrics;
use crate::slots::SlotLimits;

pub(super) const PLENTY: Duration = Duration::from_mins(1);

/// The whole house.
pub(super) struct House {
    pub(super) desk: Arc<Desk>,
    pub(super) gateway: Arc<Gateway>,
    pub(super) address: SocketAddr,
    pub(super) client: Upstreams,
    endpoint: Arc<Endpoint>,
    tasks: TaskTracker,
}

impl House {
    pub(super) async fn open() -> Self {
        Self::open_with(Limits::default()).await
    }

    pub(super) async fn open_with(limits: Limits) -> Self {
        let tasks = TaskTracker::new();
        let handler = Handler::default();
        let desk = Arc::clone(&handler.0);
        let service = StreamableHttpService::new(
            move || Ok(handler.clone()),
            Arc::new(LocalSessionManager::default()),
            StreamableHttpServerConfig::default(),
        );
        let behind = serve(&tasks, move |request| {
            let service = service.clone();
            async move { service.handle(request).await }
        })
        .await;
        let gateway = Arc::new(gateway(behind, limits, &tasks).await);
        let shared = Arc::clone(&gateway);
        let endpoint = Arc::new(Endpoint::default());
        let at_door = Arc::clone(&endpoint);
        let address = serve(&tasks, move |request: Request<Incoming>| {
            let (shared, door) = (Arc::clone(&shared), Arc::clone(&at_door));
            async move {
                let name = request.headers().get("x-caller").and_then(|v| v.to_str().ok());
                let caller = caller(name.unwrap_or("anybody"));
                crate::mcp::answer(&door, &shared, caller, request).await
            }
        })
        .await;
        let client = Upstreams::build(&[spec("front", address)], None, &tasks).unwrap();
        Self { desk, gateway, address, client, endpoint, tasks }
    }

    /// The SDK's client, of the newer era.
    pub(super) fn client(&self) -> &McpPath {
        match self.client.path("front") {
            Some(Path::Mcp(path)) => path,
            other => panic!("no client: {other:?}"),
        }
    }

    /// One bare request; the body as text, and the JSON of its last event if it is a stream.
    pub(super) async fn post(&self, headers: &[(&str, &str)], body: &Value) -> (Answer, Value) {
        let answer = self.send("POST", headers, body.to_string()).await;
        let mut data = answer.text.lines().filter_map(|line| line.strip_prefix("data: "));
        let json = data.next_back().unwrap_or(&answer.text);
        let json = serde_json::from_str(json).unwrap_or_default();
        (answer, json)
    }

    pub(super) async fn send(&self, method: &str, headers: &[(&str, &str)], body: String) -> Answer {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("http://{}/mcp", self.address))
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
        let request = request.body(Full::new(Bytes::from(body))).unwrap();
        let response = client.request(request).await.unwrap();
        let (head, body) = response.into_parts();
        let session = head.headers.get("mcp-session-id").map(|v| v.to_str().unwrap().to_owned());
        Answer { status: head.status, session, text: text(body).await }
    }

    pub(super) async fn close(self) {
        self.client.close().await;
        self.gateway.snapshot().upstreams.close().await;
        self.endpoint.close();
        self.tasks.close();
    }
}

/// An answer to a bare request.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) session: Option<String>,
    pub(super) text: String,
}

pub(super) fn caller(name: &str) -> Caller {
    let models: Option<Arc<[Box<str>]>> = (name == "poor").then(|| Arc::from([Box::from("nova")]));
    Caller { models, ..Caller::named(name) }
}

async fn gateway(behind: SocketAddr, limits: Limits, tasks: &TaskTracker) -> Gateway {
    // Nothing listens at the address of the path `dead`.
    let dead = SocketAddr::from(([127, 0, 0, 1], 9));
    let paths = [spec("desk", behind), spec("dead", dead)];
    let target = |path: &str, model: &str| TargetSpec {
        path: Arc::from(path),
        kind: PathKind::Mcp,
        model_id: Arc::from(model),
        region: None,
        destinations: Arc::from([]),
        effect: Effect::ReadOnly,
        enabled: true,
        price: Some(Arc::new(Price::free(model, "test"))),
        output_tokens_max: None,
        abort_billing: outcrop_core::path::AbortBilling::Unknown,
        max_tokens_default: None,
        quota: None,
        tiers: Arc::from([]),
    };
    let models = [("sonnet", 0), ("nova", 0), ("lost", 1)];
    let models = models.map(|(name, index)| (Box::from(name), vec![TargetId(index)]));
    let snapshot = Snapshot {
        version: 1,
        routes: Routes {
            targets: vec![target("desk", "sonnet"), target("dead", "lost")],
            models: HashMap::from(models),
            raw: Vec::new(),
            stand_ins: HashMap::new(),
            operations: outcrop_policy::operations::shipped(),
            prices: Arc::default(),
            resumes: outcrop_policy::Resumes::default(),
            switches: outcrop_policy::Switches::default(),
            off: outcrop_policy::Off::default(),
        },
        rates: Vec::new(),
        upstreams: Arc::new(Upstreams::build(&paths, None, tasks).unwrap()),
        auth: Auth::Open(caller("anybody")),
        limits,
        streams: StreamLimits::default(),
        mcp_hosts: vec!["gateway.example".to_owned()],
    };
    let metrics = Metrics::register(&mut Registry::with_prefix("outcrop"));
    let (inflight_max, grant_wait_max) = (64, Duration::from_secs(1));
    let store = Store::open(&Location::Memory, tasks).await.unwrap();
    let setup = Setup { budgets: Vec::new(), concurrency_max: inflight_max, retention: Duration::MAX };
    let log = DispatchLog::in_memory(inflight_max);
    let slots = SlotLimits::fixed(inflight_max);
    let keeper = Keeper::start(&store, log, setup, tasks).await.unwrap();
    let background = tasks.clone();
    Gateway::new(snapshot, Parts { metrics, keeper, slots, grant_wait_max, background })
}

fn spec(name: &str, address: SocketAddr) -> PathSpec {
    let url = format!("http://{address}/mcp").parse().unwrap();
    PathSpec {
        name: Arc::from(name),
        region: None,
        connect: Connect { allow_private: true, ..Connect::default() },
        kind: KindSpec::Mcp(McpSpec {
            effects: std::collections::BTreeMap::new(),
            transport: McpTransport::Http { url, bearer: None },
            tool: "converse".into(),
            effect: Effect::ReadOnly,
            template: None,
            call_timeout_max: PLENTY,
            progress: Progress::Text,
        }),
    }
}

async fn serve<F, A, B>(tasks: &TaskTracker, answer: F) -> SocketAddr
where
    F: Fn(Request<Incoming>) -> A + Clone + Send + 'static,
    A: Future<Output = Response<B>> + Send + 'static,
    B: http_body::Body<Data = Bytes, Error = Infallible> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let connections = tasks.clone();
    tasks.spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            let answer = answer.clone();
            connections.spawn(async move {
                let service = service_fn(move |request| {
                    let answering = answer(request);
                    async move { Ok::<_, Infallible>(answering.await) }
                });
                let connection = hyper::server::conn::http1::Builder::new();
                let _ = connection.serve_connection(TokioIo::new(socket), service).await;
            });
        }
    });
    address
}

async fn text(mut body: Incoming) -> String {
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        bytes.extend_from_slice(&frame.unwrap().into_data().unwrap_or_default());
    }
    String::from_utf8(bytes).unwrap()
}
