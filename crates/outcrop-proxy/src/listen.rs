//! Accept, limit, drain: the data listener.
//!
//! The accept loop is our own because its timers are (see `patience.rs`): a ready-made loop may install
//! none, and nothing in it watches the first bytes of a connection. Every connection is a tracked task; a drain waits for them.

use std::convert::Infallible;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use http::header::CONNECTION;
use http::{HeaderValue, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::body::Body;
use crate::exchange::exchange;
use crate::gateway::Gateway;
use crate::mcp::{self, Endpoint};
use crate::patience::{self, Busy, Patience, Progress};

/// Limits on connections.
#[derive(Debug, Clone, Copy)]
pub struct ListenLimits {
    /// Longest wait for a complete request head, and for a TLS handshake.
    pub header_read_max: Duration,
    /// Longest wait for the next request of an HTTP/1.1 connection.
    pub idle_max: Duration,
    /// Longest wait for a peer that takes nothing of what is written.
    pub write_stall_max: Duration,
    /// Largest request head in bytes.
    pub header_bytes_max: usize,
    /// Most header fields.
    pub header_fields_max: usize,
    /// Most connections at once; further ones wait in the kernel's queue.
    pub connections_max: usize,
    /// Most streams on one HTTP/2 connection.
    pub http2_streams_max: u32,
    /// Longest wait for running exchanges after a drain began.
    pub drain_max: Duration,
}

impl Default for ListenLimits {
    fn default() -> Self {
        Self {
            header_read_max: Duration::from_secs(5),
            idle_max: Duration::from_secs(75),
            write_stall_max: Duration::from_mins(1),
            header_bytes_max: 16 * 1024,
            header_fields_max: 64,
            connections_max: 20_000,
            http2_streams_max: 128,
            drain_max: Duration::from_mins(1),
        }
    }
}

/// When a listener ends.
#[derive(Debug, Clone)]
pub struct Ending {
    /// No further connection is taken, and what runs is finished.
    pub drain: CancellationToken,
    /// Another process takes the connections: callers are sent there, and none is cut off.
    pub handed: CancellationToken,
}

/// How long a connection without a request is kept after another process has taken over. Its caller may be
/// writing one at this moment; the answer tells to use no further.
const LINGER: Duration = Duration::from_secs(5);
/// Pause after an error of `accept` (out of descriptors, usually), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves the data listener until it is to drain, then finishes what runs, at most
/// `drain_max` long. Returns whether everything finished.
pub async fn serve(
    gateway: Arc<Gateway>,
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    limits: ListenLimits,
    ending: Ending,
) -> bool {
    let endpoint = Arc::new(Endpoint::default());
    let door = Arc::new(Door {
        gateway: Arc::clone(&gateway),
        endpoint: Arc::clone(&endpoint),
        tls,
        limits,
        ending: ending.clone(),
    });
    let places = Arc::new(Semaphore::new(limits.connections_max));
    loop {
        let place = Arc::clone(&places).acquire_owned();
        let accepted = tokio::select! {
            () = ending.drain.cancelled() => break,
            accepted = async { (place.await, listener.accept().await) } => accepted,
        };
        match accepted {
            (Ok(place), Ok((socket, _peer))) => {
                let door = Arc::clone(&door);
                gateway.connections.spawn(async move {
                    door.connection(socket).await;
                    drop(place);
                });
            }
            (_, Err(error)) => {
                tracing::warn!(%error, "accept failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
            (Err(_), _) => break,
        }
    }
    drop(listener);
    gateway.connections.close();
    let drained = tokio::time::timeout(limits.drain_max, gateway.connections.wait()).await.is_ok();
    endpoint.close();
    drained
}

/// What every connection needs.
struct Door {
    gateway: Arc<Gateway>,
    endpoint: Arc<Endpoint>,
    tls: Option<TlsAcceptor>,
    limits: ListenLimits,
    ending: Ending,
}

impl Door {
    async fn connection(&self, socket: TcpStream) {
        if socket.set_nodelay(true).is_err() {
            return;
        }
        let Some(tls) = &self.tls else { return self.speak(socket).await };
        let handshake = tokio::time::timeout(self.limits.header_read_max, tls.accept(socket));
        if let Ok(Ok(secured)) = handshake.await {
            self.speak(secured).await;
        }
    }

    /// Speaks HTTP/1.1 or HTTP/2 until the peer leaves or the drain lets it finish.
    async fn speak(&self, io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let progress = Arc::new(Progress::default());
        let limits = patience::Limits {
            head: self.limits.header_read_max,
            idle: self.limits.idle_max,
            write: self.limits.write_stall_max,
        };
        let io = Patience::new(io, Arc::clone(&progress), limits);
        let (gateway, endpoint) = (Arc::clone(&self.gateway), Arc::clone(&self.endpoint));
        let handed = self.ending.handed.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let busy = progress.begin();
            let is_last = handed.is_cancelled() && request.version() <= Version::HTTP_11;
            guarded(answer(Arc::clone(&gateway), Arc::clone(&endpoint), request), busy, is_last)
        });
        let builder = self.builder();
        let connection = builder.serve_connection(TokioIo::new(io), service);
        tokio::pin!(connection);
        tokio::select! {
            _ = connection.as_mut() => return,
            () = self.ending.drain.cancelled() => {}
        }
        if self.ending.handed.is_cancelled()
            && tokio::time::timeout(LINGER, connection.as_mut()).await.is_ok()
        {
            return;
        }
        connection.as_mut().graceful_shutdown();
        // How a connection ends is its peer's business; what it carried is settled elsewhere.
        let _ = connection.await;
    }

    fn builder(&self) -> auto::Builder<TokioExecutor> {
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(None)
            .max_buf_size(self.limits.header_bytes_max)
            .max_headers(self.limits.header_fields_max);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_header_list_size(u32::try_from(self.limits.header_bytes_max).unwrap_or(u32::MAX))
            .max_concurrent_streams(self.limits.http2_streams_max)
            .keep_alive_interval(Duration::from_secs(20))
            .keep_alive_timeout(Duration::from_secs(20));
        builder
    }
}

/// MCP clients speak their own protocol around their calls; everybody else's request is the exchange.
async fn answer(
    gateway: Arc<Gateway>,
    endpoint: Arc<Endpoint>,
    request: Request<Incoming>,
) -> Response<Body> {
    if request.uri().path() == mcp::PATH {
        Box::pin(mcp::serve(&endpoint, &gateway, request)).await
    } else {
        exchange(gateway, request).await
    }
}

/// A panic in one exchange answers that exchange with 500 and touches no other on its connection. The last
/// one of a connection says so.
async fn guarded(
    exchange: impl Future<Output = Response<Body>>,
    busy: Busy,
    is_last: bool,
) -> Result<Response<Body>, Infallible> {
    let answered = AssertUnwindSafe(exchange).catch_unwind().await;
    let mut response = answered.unwrap_or_else(|_| {
        tracing::error!("an exchange panicked");
        let mut response = Response::new(Body::whole(bytes::Bytes::new()));
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        response
    });
    if is_last {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response.map(|body| body.keeping(busy)))
}
