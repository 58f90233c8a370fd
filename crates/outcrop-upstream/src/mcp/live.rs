//! One established connection, in whichever era the server speaks.
//!
//! The SDK runs the protocol; this file chooses the handshake and the transport, and ends both. The
//! SDK's own repair of lost sessions is off, because it would repeat calls that must not run twice.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use outcrop_core::{Class, Failure, Reason};
use rmcp::RoleClient;
use rmcp::model::ProtocolVersion;
use rmcp::service::{ClientInitializeError, ClientLifecycleMode, ClientServiceExt, Peer, RunningService};
use rmcp::transport::common::client_side_sse::SseRetryPolicy;
use rmcp::transport::streamable_http_client::{
    StreamableHttpClientTransportConfig, StreamableHttpClientWorker,
};
use rmcp::transport::{Transport, WorkerTransport};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Mutex;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::board::{Board, Tap};
use super::handler::Handler;
use super::http::McpHttp;
use super::stdio::Program;
use super::{MESSAGE_BYTES_MAX, outcome, stdio};

/// Calls of one path that may wait for the head of their HTTP answer at once.
const POSTS_MAX: usize = 1024;
/// A cut answer stream that the server marked as resumable is resumed at most so often.
const RESUMES_MAX: usize = 3;
const RESUME_PAUSE: Duration = Duration::from_millis(100);
/// Time to end a session or a child in order.
const CLOSE_TIME: Duration = Duration::from_secs(6);

/// Where the server is.
#[derive(Debug)]
pub(crate) enum Endpoint {
    /// Behind a URL.
    Http {
        /// Carries the messages.
        client: Box<McpHttp>,
        /// The MCP endpoint.
        url: Arc<str>,
        /// The operator's token.
        bearer: Option<SecretString>,
    },
    /// A child process.
    Stdio(Program),
}

/// The two eras of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Era {
    /// 2026-07-28: no handshake, no session; found by asking, with the older era as the answer to a
    /// refusal.
    Stateless,
    /// 2025-11-25 and older: `initialize`, and a session over HTTP.
    Sessions,
}

/// One established connection.
#[derive(Debug)]
pub(crate) struct Live {
    peer: Peer<RoleClient>,
    board: Arc<Board>,
    running: Mutex<Option<RunningService<RoleClient, Handler>>>,
    since: Instant,
    era: Era,
}

impl Endpoint {
    /// Whether the server is a process of our own.
    pub(crate) fn is_child(&self) -> bool {
        match self {
            Self::Http { .. } => false,
            Self::Stdio(_) => true,
        }
    }

    /// Kills the server if it is a process of our own; the next call starts another.
    pub(crate) fn kill(&self) {
        if let Self::Stdio(program) = self {
            program.kill.notify_waiters();
        }
    }

    /// Longest time for a handshake; a process may first have to load its runtime.
    pub(crate) fn handshake_time(&self, era: Era) -> Duration {
        Duration::from_secs(match (self, era) {
            (Self::Http { .. }, Era::Stateless) => 4,
            (Self::Http { .. }, Era::Sessions) => 10,
            (Self::Stdio(_), Era::Stateless) => 6,
            (Self::Stdio(_), Era::Sessions) => 20,
        })
    }
}

impl Era {
    /// The one that is left.
    pub(crate) fn other(self) -> Self {
        match self {
            Self::Stateless => Self::Sessions,
            Self::Sessions => Self::Stateless,
        }
    }

    fn lifecycle(self) -> ClientLifecycleMode {
        match self {
            Self::Stateless => ClientLifecycleMode::Auto {
                preferred_versions: vec![ProtocolVersion::V_2026_07_28],
                legacy_version: Some(ProtocolVersion::V_2025_11_25),
            },
            Self::Sessions => ClientLifecycleMode::Initialize,
        }
    }
}

impl Live {
    /// Connects and shakes hands.
    pub(crate) async fn open(
        name: &Arc<str>,
        endpoint: &Endpoint,
        board: Board,
        era: Era,
        tasks: &TaskTracker,
    ) -> Result<Self, Failure> {
        let board = Arc::new(board);
        let running = match endpoint {
            Endpoint::Http { client, url, bearer } => {
                let worker =
                    StreamableHttpClientWorker::new((**client).clone(), config(url, bearer.as_ref()));
                serve(WorkerTransport::spawn(worker), &board, era).await
            }
            Endpoint::Stdio(program) => {
                let transport = stdio::start(name, program, &board, tasks)
                    .map_err(|error| Failure::network(Reason::Connect, Class::NotSent, error.to_string()))?;
                serve(transport, &board, era).await
            }
        };
        let running = running.map_err(|error| outcome::of_connect(&error))?;
        let peer = running.peer().clone();
        let spoken = peer.peer_info().map(|info| info.protocol_version.clone());
        let era = match spoken {
            Some(version) if version.has_initialize() => Era::Sessions,
            _ => Era::Stateless,
        };
        let running = Mutex::new(Some(running));
        Ok(Self { peer, board, running, since: Instant::now(), era })
    }

    /// Whether requests can be sent.
    pub(crate) fn is_open(&self) -> bool {
        !self.peer.is_transport_closed()
    }

    /// To send requests with.
    pub(crate) fn peer(&self) -> &Peer<RoleClient> {
        &self.peer
    }

    /// What is known of the running calls.
    pub(crate) fn board(&self) -> &Arc<Board> {
        &self.board
    }

    /// When it was established.
    pub(crate) fn since(&self) -> Instant {
        self.since
    }

    /// The era the server chose.
    pub(crate) fn era(&self) -> Era {
        self.era
    }

    /// Ends the session or the child.
    pub(crate) async fn close(&self) {
        let running = self.running.lock().await.take();
        if let Some(running) = running {
            // A server that does not let go in time is left; its process group is killed regardless.
            let _ = tokio::time::timeout(CLOSE_TIME, running.cancel()).await;
        }
    }
}

async fn serve<T>(
    transport: T,
    board: &Arc<Board>,
    era: Era,
) -> Result<RunningService<RoleClient, Handler>, ClientInitializeError>
where
    T: Transport<RoleClient> + 'static,
{
    let transport = Tap::new(transport, Arc::clone(board));
    Handler::new(Arc::clone(board)).serve_with_lifecycle(transport, era.lifecycle()).await
}

fn config(url: &Arc<str>, bearer: Option<&SecretString>) -> StreamableHttpClientTransportConfig {
    let mut config = StreamableHttpClientTransportConfig::with_uri(Arc::clone(url))
        .custom_headers(HashMap::new())
        .max_concurrent_requests(POSTS_MAX)
        .max_sse_event_size(MESSAGE_BYTES_MAX)
        .max_json_response_size(MESSAGE_BYTES_MAX);
    config.auth_header = bearer.map(|bearer| bearer.expose_secret().to_owned());
    config.allow_stateless = true;
    config.reinit_on_expired_session = false;
    config.retry_config = Arc::new(Resume);
    config
}

/// When a cut stream is resumed, if the server made it resumable.
#[derive(Debug)]
struct Resume;

impl SseRetryPolicy for Resume {
    fn retry(&self, times: usize) -> Option<Duration> {
        (times < RESUMES_MAX).then(|| RESUME_PAUSE.saturating_mul(1 << times.min(8)))
    }
}
