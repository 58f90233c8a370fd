//! The closed-loop load generator: as many keep-alive connections as asked, one request in flight on each.
//!
//! Latency is from before the request is handed to hyper until its answer's last byte, and every answer is checked
//! for its status and its recorded ending. It never retries: what fails is counted.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use futures_util::future::{join_all, try_join_all};
use hdrhistogram::Histogram;
use http::StatusCode;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::asks::Call;
use crate::recorded::WHOLE_END;

/// Latencies above this are recorded as this.
const LATENCY_NS_MAX: u64 = 60_000_000_000;
/// A connection gives up after this many failures, so that a dead proxy does not spin the loop.
const FAILURES_MAX: usize = 20;
/// How long the last answers may take.
pub(crate) const GRACE: Duration = Duration::from_secs(10);
/// Connections opened at a time, well below any listen backlog.
const CONNECT_AT_ONCE: usize = 64;

/// Why the load could not run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    /// No connection.
    #[error("cannot connect to {target}: {source}")]
    Connect {
        /// Address.
        target: SocketAddr,
        /// Cause.
        source: std::io::Error,
    },
    /// The connection broke.
    #[error("connection failed: {0}")]
    Connection(#[from] hyper::Error),
    /// The answer is not the recorded one.
    #[error("unexpected answer: {status} {body}")]
    Answer {
        /// Status.
        status: StatusCode,
        /// Beginning of the body.
        body: String,
    },
    /// Nothing comes.
    #[error("no answer within {} s", GRACE.as_secs())]
    Silent,
    /// Local files or `/proc`.
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

/// A keep-alive connection.
pub(crate) type Connection = SendRequest<Full<Bytes>>;

/// What a run of the load saw.
#[derive(Debug)]
pub(crate) struct Sample {
    /// Complete, correct answers.
    pub(crate) requests: u64,
    /// Everything else.
    pub(crate) errors: u64,
    /// The first failure, in words.
    pub(crate) first_error: Option<String>,
    /// From the first request to the last answer.
    pub(crate) elapsed: Duration,
    /// Nanoseconds per request.
    pub(crate) latency_ns: Histogram<u64>,
}

impl Sample {
    fn empty() -> Self {
        let latency_ns = latency_histogram();
        Self { requests: 0, errors: 0, first_error: None, elapsed: Duration::ZERO, latency_ns }
    }

    fn count(&mut self, outcome: Result<(), LoadError>, latency: Duration) -> bool {
        match outcome {
            Ok(()) => {
                self.requests += 1;
                self.latency_ns.saturating_record(latency.as_nanos() as u64);
                true
            }
            Err(error) => {
                self.errors += 1;
                self.first_error.get_or_insert_with(|| error.to_string());
                false
            }
        }
    }

    /// Microseconds at a quantile.
    pub(crate) fn latency_us(&self, quantile: f64) -> f64 {
        self.latency_ns.value_at_quantile(quantile) as f64 / 1_000.0
    }
}

/// An empty histogram of latencies in nanoseconds, three significant digits.
pub(crate) fn latency_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_NS_MAX, 3)
        .expect("invariant: 1 < 60 s and three digits are valid bounds")
}

/// Connects once.
pub(crate) async fn connect(target: SocketAddr) -> Result<Connection, LoadError> {
    let connected = async {
        let socket = TcpStream::connect(target).await?;
        socket.set_nodelay(true)?;
        Ok(socket)
    };
    let socket = connected.await.map_err(|source| LoadError::Connect { target, source })?;
    let (sender, connection) = http1::handshake(TokioIo::new(socket)).await?;
    tokio::spawn(async move {
        // The sender sees the same failure and reports it.
        let _ended = connection.await;
    });
    Ok(sender)
}

/// The connections of one closed loop.
pub(crate) struct Fleet {
    target: SocketAddr,
    connections: Vec<Connection>,
}

impl Fleet {
    /// Opens `count` connections.
    pub(crate) async fn connect(target: SocketAddr, count: usize) -> Result<Self, LoadError> {
        let mut connections = Vec::with_capacity(count);
        while connections.len() < count {
            let some = (count - connections.len()).min(CONNECT_AT_ONCE);
            connections.extend(try_join_all((0..some).map(|_| connect(target))).await?);
        }
        Ok(Self { target, connections })
    }

    /// Sends `call` in a closed loop on every connection until `window` is over, then waits for the last answers.
    pub(crate) async fn run(&mut self, call: &Call, window: Duration) -> Sample {
        let sample = RefCell::new(Sample::empty());
        let started = Instant::now();
        let end = started + window;
        let target = self.target;
        let loops =
            self.connections.iter_mut().map(|connection| drive(connection, target, call, end, &sample));
        let in_time = tokio::time::timeout(window + GRACE, join_all(loops)).await;
        let mut sample = sample.into_inner();
        if in_time.is_err() {
            sample.count(Err(LoadError::Silent), GRACE);
        }
        sample.elapsed = started.elapsed();
        sample
    }
}

async fn drive(
    connection: &mut Connection,
    target: SocketAddr,
    call: &Call,
    end: Instant,
    sample: &RefCell<Sample>,
) {
    let mut failures = 0;
    let mut scratch = BytesMut::new();
    while failures < FAILURES_MAX {
        let before = Instant::now();
        if before >= end {
            return;
        }
        let outcome = exchange(connection, call, &mut scratch).await;
        if !sample.borrow_mut().count(outcome, before.elapsed()) {
            failures += 1;
            if let Ok(fresh) = connect(target).await {
                *connection = fresh;
            }
        }
    }
}

/// One request and its whole answer.
pub(crate) async fn exchange(
    connection: &mut Connection,
    call: &Call,
    scratch: &mut BytesMut,
) -> Result<(), LoadError> {
    connection.ready().await?;
    let response = connection.send_request(call.request()).await?;
    let status = response.status();
    let mut body = response.into_body();
    scratch.clear();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            scratch.extend_from_slice(&data);
        }
    }
    if status == StatusCode::OK && holds_the_end(scratch) {
        return Ok(());
    }
    let body = String::from_utf8_lossy(scratch).chars().take(300).collect();
    Err(LoadError::Answer { status, body })
}

fn holds_the_end(body: &[u8]) -> bool {
    body.windows(WHOLE_END.len()).any(|window| window == WHOLE_END.as_bytes())
}
