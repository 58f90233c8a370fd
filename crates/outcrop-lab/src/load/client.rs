//! One request over a pooled HTTP/1.1 connection, heard to its end.
//!
//! Nothing is retried and nothing is kept of an answer but its facts. Times are taken by the caller's clock.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client as Pooled, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use tokio::time::Instant;

use super::{answer::Hearing, call::Call};

/// How long a connection may take to be made.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// How long an unused connection is kept: shorter than servers usually do, so that none is used as it closes.
const IDLE_MAX: Duration = Duration::from_secs(15);
/// Bytes of a refusal that are read for its message.
const REFUSAL_BYTES_MAX: usize = 4096;

/// A pool of connections to one target.
#[derive(Debug, Clone)]
pub struct Client {
    pooled: Pooled<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
#[error("the system's certificates cannot be read: {0}")]
pub struct ClientError(#[from] std::io::Error);

/// How a request ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// A complete answer.
    Complete,
    /// An error status, with the beginning of its body.
    Refused(u16, String),
    /// A good status, but no complete answer.
    Flawed(String),
    /// No connection.
    Unreachable(String),
    /// The connection broke.
    Broken(String),
    /// No end within the caller's patience.
    Late,
}

/// What the answer's head says of the way it came; empty where the target is no Outcrop.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Route {
    /// `x-outcrop-path`.
    pub path: String,
    /// `x-outcrop-target`.
    pub target: String,
    /// `x-outcrop-attempts`.
    pub attempts: u32,
    /// `x-outcrop-code`, of refusals.
    pub code: String,
}

/// What became of one request.
#[derive(Debug)]
pub struct Heard {
    /// How it ended.
    pub ending: Ending,
    /// When content first came.
    pub first: Option<Instant>,
    /// The way it came.
    pub route: Route,
}

impl Ending {
    /// Its name in counts: few and without details.
    pub fn label(&self) -> String {
        match self {
            Self::Complete => "complete".to_owned(),
            Self::Refused(status, _) => format!("status {status}"),
            Self::Flawed(_) => "incomplete answer".to_owned(),
            Self::Unreachable(_) => "no connection".to_owned(),
            Self::Broken(_) => "broken connection".to_owned(),
            Self::Late => "no answer in time".to_owned(),
        }
    }

    /// What a person wants to know beside the label.
    pub fn detail(&self) -> &str {
        match self {
            Self::Complete | Self::Late => "",
            Self::Refused(_, detail)
            | Self::Flawed(detail)
            | Self::Unreachable(detail)
            | Self::Broken(detail) => detail,
        }
    }
}

impl Client {
    /// A pool without connections yet.
    pub fn new() -> Result<Self, ClientError> {
        let mut tcp = HttpConnector::new();
        tcp.set_nodelay(true);
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(CONNECT_MAX));
        let connector = HttpsConnectorBuilder::new()
            .with_provider_and_native_roots(rustls::crypto::aws_lc_rs::default_provider())?
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let pooled = Pooled::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE_MAX)
            .pool_timer(TokioTimer::new())
            .build(connector);
        Ok(Self { pooled })
    }

    /// Sends a request of this call and hears the answer out, until `deadline` at most.
    pub async fn ask(&self, call: &Call, request: Request<Bytes>, deadline: Instant) -> Heard {
        let mut heard = Heard { ending: Ending::Late, first: None, route: Route::default() };
        let asking = self.hear(call, request.map(Full::new), &mut heard);
        if let Ok(ending) = tokio::time::timeout_at(deadline, asking).await {
            heard.ending = ending;
        }
        heard
    }

    async fn hear(&self, call: &Call, request: Request<Full<Bytes>>, heard: &mut Heard) -> Ending {
        let response = match self.pooled.request(request).await {
            Ok(response) => response,
            Err(error) if error.is_connect() => return Ending::Unreachable(reason(&error)),
            Err(error) => return Ending::Broken(reason(&error)),
        };
        let (parts, mut body) = response.into_parts();
        heard.route = Route::of(&parts.headers);
        if parts.status != StatusCode::OK {
            return Ending::Refused(parts.status.as_u16(), excerpt(body).await);
        }
        let mut hearing = Hearing::of(call, &parts.headers);
        while let Some(frame) = body.frame().await {
            match frame {
                Ok(frame) => {
                    if let Ok(data) = frame.into_data() {
                        hearing.push(&data);
                    }
                }
                Err(error) => return Ending::Broken(reason(&error)),
            }
            if heard.first.is_none() && hearing.has_content() {
                heard.first = Some(Instant::now());
            }
        }
        match hearing.finish() {
            Ok(()) => Ending::Complete,
            Err(flaw) => Ending::Flawed(flaw.to_string()),
        }
    }
}

impl Route {
    fn of(headers: &HeaderMap) -> Self {
        let text = |name: &str| {
            headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
        };
        Self {
            path: text("x-outcrop-path"),
            target: text("x-outcrop-target"),
            attempts: text("x-outcrop-attempts").parse().unwrap_or(0),
            code: text("x-outcrop-code"),
        }
    }
}

/// An error with the causes behind it, which name the system's own.
fn reason(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

/// The beginning of a refusal's body; the rest is read and dropped, so that the connection can be used again.
async fn excerpt(mut body: hyper::body::Incoming) -> String {
    let mut beginning = Vec::new();
    while let Some(Ok(frame)) = body.frame().await {
        if let Ok(data) = frame.into_data() {
            let room = REFUSAL_BYTES_MAX - beginning.len();
            beginning.extend_from_slice(&data[..data.len().min(room)]);
        }
    }
    String::from_utf8_lossy(&beginning)
        .chars()
        .filter(|character| !character.is_control())
        .take(200)
        .collect()
}
