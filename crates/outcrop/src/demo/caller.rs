//! A client of the gateway that knows nothing of it but its public API.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use tokio::time::Instant;

/// Which API is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    OpenAi,
    Anthropic,
    Converse,
}

/// One kind of request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kind {
    pub(crate) operation: &'static str,
    pub(crate) dialect: Dialect,
    pub(crate) stream: bool,
    pub(crate) model: &'static str,
}

/// What the client saw.
#[derive(Debug)]
pub(crate) struct Seen {
    /// Whether a complete answer came.
    pub(crate) complete: bool,
    /// From sending to the whole answer, or to the first bytes of a stream.
    pub(crate) answered: Duration,
    /// `x-outcrop-path`; empty if none was named.
    pub(crate) path: String,
    /// `x-outcrop-attempts`.
    pub(crate) attempts: u32,
    /// What went wrong, for the summary.
    pub(crate) error: Option<String>,
}

/// The client.
pub(crate) struct Caller {
    client: Client<HttpConnector, Full<Bytes>>,
    gateway: SocketAddr,
}

/// Longest answer read, in bytes.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;

impl Caller {
    pub(crate) fn new(gateway: SocketAddr) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        Self { client: Client::builder(TokioExecutor::new()).build(connector), gateway }
    }

    /// Asks once, without retries.
    pub(crate) async fn ask(&self, kind: Kind) -> Seen {
        let started = Instant::now();
        match self.try_ask(kind, started).await {
            Ok(seen) => seen,
            Err(error) => Seen {
                complete: false,
                answered: started.elapsed(),
                path: String::new(),
                attempts: 0,
                error: Some(error),
            },
        }
    }

    async fn try_ask(&self, kind: Kind, started: Instant) -> Result<Seen, String> {
        let request = request(self.gateway, kind)?;
        let response = self.client.request(request).await.map_err(|error| error.to_string())?;
        let (head, body) = response.into_parts();
        let first = started.elapsed();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect_bounded().await?;
        let ended = is_whole(kind, &body);
        let failed = !head.status.is_success() || !ended;
        Ok(Seen {
            complete: !failed,
            answered: if kind.stream { first } else { started.elapsed() },
            path: text(&head.headers, "x-outcrop-path"),
            attempts: text(&head.headers, "x-outcrop-attempts").parse().unwrap_or(0),
            error: failed.then(|| format!("{} {}", head.status, excerpt(&body))),
        })
    }
}

/// Collecting under a cap, named so that the cap cannot be forgotten.
trait CollectBounded {
    async fn collect_bounded(self) -> Result<Bytes, String>;
}

impl CollectBounded for Limited<hyper::body::Incoming> {
    #[allow(clippy::disallowed_methods, reason = "`Limited` is the cap")]
    async fn collect_bounded(self) -> Result<Bytes, String> {
        self.collect().await.map(http_body_util::Collected::to_bytes).map_err(|error| error.to_string())
    }
}

fn text(headers: &HeaderMap, name: &str) -> String {
    headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned()
}

fn excerpt(body: &[u8]) -> String {
    String::from_utf8_lossy(body).chars().filter(|c| !c.is_control()).take(160).collect()
}

/// A stream is whole only with its protocol's own terminal event.
fn is_whole(kind: Kind, body: &[u8]) -> bool {
    let holds = |needle: &[u8]| body.windows(needle.len()).any(|window| window == needle);
    match (kind.stream, kind.dialect) {
        (false, _) => serde_json::from_slice::<Value>(body).is_ok(),
        (true, Dialect::OpenAi) => holds(b"data: [DONE]"),
        (true, Dialect::Anthropic) => holds(b"event: message_stop"),
        (true, Dialect::Converse) => holds(b"messageStop") && holds(b"metadata"),
    }
}

fn request(gateway: SocketAddr, kind: Kind) -> Result<Request<Full<Bytes>>, String> {
    let says = "Summarise the state of the cluster.";
    let messages = json!([{"role": "user", "content": says}]);
    let (path, body) = match kind.dialect {
        Dialect::OpenAi => (
            "/v1/chat/completions".to_owned(),
            json!({"model": kind.model, "stream": kind.stream, "max_tokens": 64, "messages": messages}),
        ),
        Dialect::Anthropic => (
            "/v1/messages".to_owned(),
            json!({"model": kind.model, "stream": kind.stream, "max_tokens": 64, "messages": messages}),
        ),
        Dialect::Converse => (
            format!("/model/{}/{}", kind.model, if kind.stream { "converse-stream" } else { "converse" }),
            json!({"messages": [{"role": "user", "content": [{"text": says}]}],
                   "inferenceConfig": {"maxTokens": 64}}),
        ),
    };
    Request::post(format!("http://{gateway}{path}"))
        .header("content-type", "application/json")
        .header("x-outcrop-operation", kind.operation)
        .body(Full::new(body.to_string().into()))
        .map_err(|error| error.to_string())
}
