//! One pool of connections to one upstream.
//!
//! A request is sent once. hyper-util repeats a request by itself only when hyper hands it back
//! untouched, because the pooled connection was closed before any byte of it was written: a request
//! that may have reached the model is never sent again from here (F16). A connection whose answer
//! did not come in time is not used again: HTTP/1.1 closes it with the dropped future, HTTP/2 is
//! poisoned (F19).

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Request, Response};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{CaptureConnection, capture_connection};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use outcrop_core::{Class, Failure, Reason};
use tokio::time::{Instant, timeout_at};
use url::Url;

use crate::connect::Connector;
use crate::connect::tls::TlsConfigs;
use crate::dispatch::{Dispatch, Parting, Withheld};
use crate::{Attempt, BuildError, Connect, outcome};

/// Idle connections kept per upstream.
const IDLE_CONNECTIONS_MAX: usize = 1024;
/// Bounds the head of an answer and what one connection buffers.
const BUFFER_BYTES_MAX: usize = 64 * 1024;
/// An answer that fails this close before its deadline is taken for late.
const LATE_MARGIN: Duration = Duration::from_millis(2);

/// One pool of connections to one upstream.
#[derive(Clone)]
pub(crate) struct HttpClient {
    pool: Client<Connector, Parting>,
    http2: bool,
}

impl std::fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpClient").field("http2", &self.http2).finish_non_exhaustive()
    }
}

impl HttpClient {
    pub(crate) fn build(
        path: &Arc<str>,
        connect: &Connect,
        base: &Url,
        tls: &mut TlsConfigs,
    ) -> Result<Self, BuildError> {
        let secure = base.scheme() == "https";
        let connector = Connector::new(connect, tls.get(path, connect, secure)?);
        let pool = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new())
            .pool_idle_timeout(connect.idle_max)
            .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
            .http1_max_buf_size(BUFFER_BYTES_MAX)
            // Without TLS there is no ALPN, so HTTP/2 is spoken with prior knowledge.
            .http2_only(connect.http2 && !secure)
            .http2_max_header_list_size(BUFFER_BYTES_MAX as u32)
            // Every request carries its own `Host`, because that is what was signed.
            .set_host(false)
            .retry_canceled_requests(true)
            .build(connector);
        Ok(Self { pool, http2: connect.http2 })
    }

    /// Sends a request and waits for the head of its answer. `dispatch` hears of it when it leaves.
    pub(crate) async fn send(
        &self,
        request: Request<Full<Bytes>>,
        dispatch: &Dispatch,
        times: Times,
    ) -> Result<Response<Incoming>, Failure> {
        let withheld = Withheld::default();
        let mut request = request.map(|body| Parting::new(body, dispatch.clone(), &withheld));
        let suspicion = self
            .http2
            .then(|| Suspicion { connection: capture_connection(&mut request), from: Some(times.slow_at) });
        let sent = timeout_at(times.deadline, self.pool.request(request)).await;
        match sent {
            Ok(answer) => {
                if let Some(suspicion) = suspicion {
                    suspicion.dismiss();
                }
                answer.map_err(|error| withheld.get().cloned().unwrap_or_else(|| outcome::of_send(&error)))
            }
            Err(_) => Err(outcome::late("no answer head before the deadline")),
        }
    }
}

/// How long the head of an answer is waited for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    /// Until then.
    pub(crate) deadline: Instant,
    /// From then on the connection is suspected.
    pub(crate) slow_at: Instant,
}

impl From<&Attempt<'_>> for Times {
    fn from(attempt: &Attempt<'_>) -> Self {
        Self { deadline: attempt.deadline, slow_at: attempt.slow_at }
    }
}

impl From<Instant> for Times {
    fn from(deadline: Instant) -> Self {
        Self { deadline, slow_at: deadline }
    }
}

/// Poisons an HTTP/2 connection whose answer is slow or lost, whoever gave it up.
struct Suspicion {
    connection: CaptureConnection,
    // `None` once there was an answer.
    from: Option<Instant>,
}

impl Suspicion {
    fn dismiss(mut self) {
        self.from = None;
    }
}

impl Drop for Suspicion {
    fn drop(&mut self) {
        if self.from.is_some_and(|from| Instant::now() + LATE_MARGIN >= from)
            && let Some(connected) = self.connection.connection_metadata().as_ref()
        {
            connected.poison();
        }
    }
}

/// Reads a whole body of at most `bytes_max` bytes.
pub(crate) async fn collect(body: Incoming, bytes_max: usize, deadline: Instant) -> Result<Bytes, Failure> {
    match timeout_at(deadline, collect_capped(body, bytes_max)).await {
        Ok(collected) => collected,
        Err(_) => Err(outcome::late("the answer was not whole before the deadline")),
    }
}

async fn collect_capped(mut body: Incoming, bytes_max: usize) -> Result<Bytes, Failure> {
    let declared = body.size_hint().lower();
    if declared > bytes_max as u64 {
        return Err(oversized(declared, bytes_max));
    }
    // Most answers come in one piece, which is handed on without a copy.
    let mut first = Bytes::new();
    let mut joined = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| outcome::of_body(&error))?;
        let Ok(data) = frame.into_data() else { continue };
        let total = first.len() + joined.len() + data.len();
        if total > bytes_max {
            return Err(oversized(total as u64, bytes_max));
        }
        if first.is_empty() && joined.is_empty() {
            first = data;
            continue;
        }
        if joined.is_empty() {
            joined.reserve(total.max(declared as usize));
            joined.extend_from_slice(&std::mem::take(&mut first));
        }
        joined.extend_from_slice(&data);
    }
    Ok(if joined.is_empty() { first } else { joined.freeze() })
}

fn oversized(bytes: u64, bytes_max: usize) -> Failure {
    Failure::network(
        Reason::Oversized,
        Class::Ambiguous,
        format!("an answer of at least {bytes} bytes exceeds the limit of {bytes_max}"),
    )
}
