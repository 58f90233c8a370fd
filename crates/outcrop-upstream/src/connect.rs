//! Making connections: resolve, check, connect, secure; all within one time limit.
//!
//! The layers, from the inside: `Dialer` resolves and connects to an allowed address, hyper-rustls
//! adds TLS on `https`, `Connector` bounds the whole and gives every failure a name. Whatever fails
//! here is proof that nothing was sent.

pub(crate) mod egress;
pub(crate) mod resolve;
pub(crate) mod tls;

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use http::uri::Scheme;
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use socket2::SockRef;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, timeout, timeout_at};
use tower::Service;

use self::resolve::Resolver;
use crate::Connect;

/// How long sent bytes may stay unacknowledged before the kernel gives the connection up.
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(10);

/// A connection to an upstream, plain or secured.
pub(crate) type Wire = MaybeHttpsStream<TokioIo<TcpStream>>;

type Connecting<T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send>>;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("{host} cannot be resolved: {source}")]
    Dns { host: String, source: io::Error },
    #[error("{address} cannot be connected to: {source}")]
    Refused { address: SocketAddr, source: io::Error },
    #[error("no connection within {0:?}")]
    Timeout(Duration),
    #[error("{0} is not a public address, and the path does not allow private ones")]
    Egress(IpAddr),
    #[error("TLS handshake: {0}")]
    Tls(Box<dyn std::error::Error + Send + Sync>),
    #[error("the URL has no host")]
    NoHost,
}

/// Connects within the limit and names what went wrong.
#[derive(Clone)]
pub(crate) struct Connector {
    inner: HttpsConnector<Dialer>,
    limit: Duration,
}

impl Connector {
    pub(crate) fn new(connect: &Connect, tls: Arc<ClientConfig>) -> Self {
        let dialer =
            Dialer { resolver: Arc::default(), allow_private: connect.allow_private, limit: connect.timeout };
        Self { inner: (dialer, tls).into(), limit: connect.timeout }
    }
}

impl Service<Uri> for Connector {
    type Response = Wire;
    type Error = ConnectError;
    type Future = Connecting<Wire, ConnectError>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = self.inner.call(uri);
        let limit = self.limit;
        Box::pin(async move {
            match timeout(limit, connecting).await {
                Ok(Ok(wire)) => Ok(wire),
                // What the dialer did not name comes from the TLS layer above it.
                Ok(Err(error)) => Err(match error.downcast::<ConnectError>() {
                    Ok(named) => *named,
                    Err(other) => ConnectError::Tls(other),
                }),
                Err(_) => Err(ConnectError::Timeout(limit)),
            }
        })
    }
}

/// Resolves a name and connects to the first address that is allowed and answers.
#[derive(Clone)]
pub(crate) struct Dialer {
    resolver: Arc<Resolver>,
    allow_private: bool,
    limit: Duration,
}

impl Service<Uri> for Dialer {
    type Response = TokioIo<TcpStream>;
    type Error = ConnectError;
    type Future = Connecting<TokioIo<TcpStream>, ConnectError>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let dialer = self.clone();
        Box::pin(async move { dialer.dial(&uri).await.map(TokioIo::new) })
    }
}

impl Dialer {
    async fn dial(&self, uri: &Uri) -> Result<TcpStream, ConnectError> {
        let deadline = Instant::now() + self.limit;
        let host = uri.host().ok_or(ConnectError::NoHost)?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let port = uri.port_u16().unwrap_or(match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => 443,
            _ => 80,
        });
        let addresses = self.resolver.resolve(host, port, self.limit / 2).await?;
        let mut last = ConnectError::NoHost;
        for (index, address) in addresses.iter().enumerate() {
            // Each address gets a fair share of what is left, so that a dead one hides no live one.
            let left = deadline.saturating_duration_since(Instant::now());
            let share = left / u32::try_from(addresses.len() - index).unwrap_or(1);
            match timeout_at(Instant::now() + share, self.connect(*address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => last = error,
                Err(_) => last = ConnectError::Timeout(share),
            }
        }
        Err(last)
    }

    async fn connect(&self, address: SocketAddr) -> Result<TcpStream, ConnectError> {
        self.admit(address.ip())?;
        let refused = |source| ConnectError::Refused { address, source };
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4(),
            SocketAddr::V6(_) => TcpSocket::new_v6(),
        }
        .map_err(refused)?;
        socket.set_nodelay(true).map_err(refused)?;
        #[cfg(target_os = "linux")]
        SockRef::from(&socket).set_tcp_user_timeout(Some(UNACKNOWLEDGED_MAX)).map_err(refused)?;
        let stream = socket.connect(address).await.map_err(refused)?;
        // The peer's address is what counts; whatever stands between cannot change the verdict.
        self.admit(stream.peer_addr().map_err(refused)?.ip())?;
        Ok(stream)
    }

    fn admit(&self, address: IpAddr) -> Result<(), ConnectError> {
        if self.allow_private || egress::is_public(address) {
            Ok(())
        } else {
            Err(ConnectError::Egress(address))
        }
    }
}
