//! The accept loop of the admin listener: HTTP/1.1, bounded in connections and in patience, on a TCP
//! or a unix socket.
//!
//! It is our own because a ready-made one installs no timers: without them a handful of silent
//! connections would keep an operator from looking in just when it matters.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::task::JoinSet;

/// What one listener bears.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// Most connections at once; further ones wait in the kernel's queue.
    connections_max: usize,
    /// Longest wait for a request head, also for the next one of a kept connection.
    head_max: Duration,
    /// Longest wait for running answers at the end.
    grace: Duration,
}

const LIMITS: Limits =
    Limits { connections_max: 256, head_max: Duration::from_secs(5), grace: Duration::from_secs(1) };
/// Largest request head in bytes.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Pause after an error of `accept` (out of descriptors, usually), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A listening socket of either kind.
pub trait Listener: Send + Sync {
    /// Its connections.
    type Socket: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// The next connection.
    fn next(&self) -> impl Future<Output = io::Result<Self::Socket>> + Send;
}

impl Listener for TcpListener {
    type Socket = TcpStream;

    async fn next(&self) -> io::Result<TcpStream> {
        self.accept().await.map(|(socket, _peer)| socket)
    }
}

impl Listener for UnixListener {
    type Socket = UnixStream;

    async fn next(&self) -> io::Result<UnixStream> {
        self.accept().await.map(|(socket, _peer)| socket)
    }
}

/// Serves `router` on `listener`; ends only with an error of the listener.
pub async fn serve(listener: impl Listener, router: Router) -> io::Result<()> {
    serve_until(listener, router, std::future::pending()).await
}

/// Serves `router` on `listener` until `stop`, then finishes the answers that run, at most a second
/// long.
pub async fn serve_until(
    listener: impl Listener,
    router: Router,
    stop: impl Future<Output = ()>,
) -> io::Result<()> {
    within(LIMITS, listener, router, stop).await
}

async fn within(
    limits: Limits,
    listener: impl Listener,
    router: Router,
    stop: impl Future<Output = ()>,
) -> io::Result<()> {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(limits.head_max).max_buf_size(HEAD_BYTES_MAX);
    let service = TowerToHyperService::new(router);
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    let mut stop = pin!(stop);
    loop {
        let accepted = tokio::select! {
            () = &mut stop => break,
            Some(_) = connections.join_next() => continue,
            accepted = accept(&listener), if connections.len() < limits.connections_max => accepted?,
        };
        if let Some(socket) = accepted {
            let connection = http.serve_connection(TokioIo::new(socket), service.clone());
            connections.spawn(graceful.watch(connection));
        }
    }
    drop(listener);
    // What is not answered by then is cut with the set of connections.
    let _ = tokio::time::timeout(limits.grace, graceful.shutdown()).await;
    Ok(())
}

/// The next connection; `None` if it was lost on the way.
async fn accept<L: Listener>(listener: &L) -> io::Result<Option<L::Socket>> {
    match listener.next().await {
        Ok(socket) => Ok(Some(socket)),
        // The socket does not listen, and will not.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Err(error),
        Err(error) => {
            tracing::warn!(%error, "accept failed");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            Ok(None)
        }
    }
}

#[cfg(test)]
mod tests;
