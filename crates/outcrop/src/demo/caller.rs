//! A client of the gateway that knows nothing of it but its public API: the load generator's own.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use outcrop_lab::load::call::{Api, Call};
use outcrop_lab::load::client::{Client, Ending};
use tokio::time::Instant;

/// One kind of request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kind {
    pub(crate) operation: &'static str,
    pub(crate) api: Api,
    pub(crate) stream: bool,
    pub(crate) model: &'static str,
}

/// What the client saw.
#[derive(Debug)]
pub(crate) struct Seen {
    /// Whether a complete answer came.
    pub(crate) complete: bool,
    /// From sending to the whole answer, or to the first content of a stream.
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
    client: Client,
    base: String,
    asked: AtomicU64,
}

/// Size of a prompt, in bytes.
const PROMPT_BYTES: usize = 60;
/// Length of an answer, in tokens.
const ANSWER_TOKENS: u64 = 12;
/// How long an answer is waited for: beyond every deadline.
const PATIENCE: Duration = Duration::from_secs(90);

impl Caller {
    pub(crate) fn new(gateway: SocketAddr) -> Result<Self, String> {
        let client = Client::new().map_err(|error| error.to_string())?;
        Ok(Self { client, base: format!("http://{gateway}"), asked: AtomicU64::new(0) })
    }

    /// Asks once, without retries.
    pub(crate) async fn ask(&self, kind: Kind) -> Seen {
        let started = Instant::now();
        let call = Call {
            api: kind.api,
            model: kind.model.to_owned(),
            stream: kind.stream,
            operation: Some(kind.operation.to_owned()),
            prompt_bytes: PROMPT_BYTES,
            answer_tokens: ANSWER_TOKENS,
            directives: true,
            headers: Vec::new(),
        };
        let number = self.asked.fetch_add(1, Ordering::Relaxed);
        let request = match call.request(&self.base, number) {
            Ok(request) => request,
            Err(error) => return Seen::failed(started.elapsed(), error.to_string()),
        };
        let heard = self.client.ask(&call, request, started + PATIENCE).await;
        let complete = heard.ending == Ending::Complete;
        Seen {
            complete,
            answered: heard.first.map_or(started.elapsed(), |first| first - started),
            path: heard.route.path,
            attempts: heard.route.attempts,
            error: (!complete).then(|| format!("{} {}", heard.ending.label(), heard.ending.detail())),
        }
    }
}

impl Seen {
    fn failed(answered: Duration, error: String) -> Self {
        Self { complete: false, answered, path: String::new(), attempts: 0, error: Some(error) }
    }
}
