//! The port of a target: accepts connections, closes the port when the script says so, opens it again.
//!
//! While closed, the port stays bound without listening: callers are refused and nobody else can take the number.
//! Each connection is driven by its own task, which carries out the fate an exchange decides.

use std::{future::poll_fn, io, net::SocketAddr, pin::pin, sync::Arc, task::Poll, time::Duration};

use hyper::service::service_fn;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use socket2::{Domain, SockRef, Type};
use tokio::{
    io::AsyncReadExt as _,
    net::{TcpListener, TcpStream},
    sync::{mpsc, oneshot},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    serve,
    socket::{Fate, Line, Socket},
    target::Target,
};

/// Connections the kernel keeps waiting.
const BACKLOG: i32 = 1_024;

/// Rest after a failed accept, which mostly means that file descriptors ran out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How long a closed connection is read on, so that unread bytes do not turn the FIN into an RST.
const DRAIN: Duration = Duration::from_secs(1);

/// The port of one target.
#[derive(Debug)]
pub(crate) struct Port {
    address: SocketAddr,
    orders: mpsc::Sender<Order>,
}

/// Open or close, and tell when done.
#[derive(Debug)]
struct Order {
    open: bool,
    done: oneshot::Sender<()>,
}

impl Port {
    /// Binds and starts to accept.
    pub(crate) fn open(
        address: SocketAddr,
        target: Arc<Target>,
        tasks: &TaskTracker,
        stop: CancellationToken,
    ) -> io::Result<Self> {
        let socket = bind(address)?;
        let address = socket.local_addr()?.as_socket().unwrap_or(address);
        let listener = listen(socket)?;
        let (orders, received) = mpsc::channel(1);
        let acceptor =
            Acceptor { address, target, stop, tasks: tasks.clone(), connections: CancellationToken::new() };
        tasks.spawn(acceptor.run(listener, received));
        Ok(Self { address, orders })
    }

    /// The address callers use.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Opens or closes the port; returns when that is done.
    pub(crate) async fn set_open(&self, open: bool) {
        let (done, is_done) = oneshot::channel();
        if self.orders.send(Order { open, done }).await.is_ok() {
            // An acceptor that ended meanwhile has closed the port anyway.
            let _ = is_done.await;
        }
    }
}

struct Acceptor {
    address: SocketAddr,
    target: Arc<Target>,
    tasks: TaskTracker,
    stop: CancellationToken,
    /// Cancelled to reset all connections of an opening of the port.
    connections: CancellationToken,
}

impl Acceptor {
    async fn run(mut self, listener: TcpListener, mut orders: mpsc::Receiver<Order>) {
        let mut listener = Some(listener);
        // Holds the number of a closed port.
        let mut held: Option<socket2::Socket> = None;
        loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return self.connections.cancel(),
                order = orders.recv() => {
                    let Some(order) = order else { return self.connections.cancel() };
                    match (order.open, listener.is_some()) {
                        (true, false) => listener = self.reopen(held.take()),
                        (false, true) => {
                            listener = None;
                            self.reset_connections();
                            held = bind(self.address).inspect_err(|error| tracing::warn!(%error, "port not held")).ok();
                        }
                        _ => {}
                    }
                    // The orderer may have stopped waiting.
                    let _ = order.done.send(());
                }
                accepted = accept(listener.as_ref()) => match accepted {
                    Ok(stream) => self.start(stream),
                    Err(error) => {
                        tracing::warn!(%error, "accept failed");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
    }

    fn reopen(&self, held: Option<socket2::Socket>) -> Option<TcpListener> {
        let socket = match held {
            Some(socket) => Ok(socket),
            None => bind(self.address),
        };
        socket
            .and_then(listen)
            .inspect_err(|error| tracing::error!(%error, address = %self.address, "port not opened"))
            .ok()
    }

    fn reset_connections(&mut self) {
        std::mem::replace(&mut self.connections, CancellationToken::new()).cancel();
    }

    fn start(&self, stream: TcpStream) {
        let target = Arc::clone(&self.target);
        let stop = self.connections.child_token();
        self.tasks.spawn(drive(stream, target, stop));
    }
}

async fn accept(listener: Option<&TcpListener>) -> io::Result<TcpStream> {
    match listener {
        Some(listener) => listener.accept().await.map(|(stream, _)| stream),
        None => std::future::pending().await,
    }
}

fn bind(address: SocketAddr) -> io::Result<socket2::Socket> {
    let socket = socket2::Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

fn listen(socket: socket2::Socket) -> io::Result<TcpListener> {
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Serves one connection until it ends or its fate is decided.
async fn drive(stream: TcpStream, target: Arc<Target>, stop: CancellationToken) {
    // Best effort: without it answers are only slower.
    let _ = stream.set_nodelay(true);
    let stream = Arc::new(stream);
    let line = Arc::new(Line::default());
    let fate = {
        let answering = Arc::clone(&line);
        let service =
            service_fn(move |request| serve::respond(Arc::clone(&target), Arc::clone(&answering), request));
        let socket = TokioIo::new(Socket::new(Arc::clone(&stream), Arc::clone(&line)));
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder.http1().timer(TokioTimer::new()).half_close(false);
        let mut connection = pin!(builder.serve_connection(socket, service));
        tokio::select! {
            biased;
            _ = connection.as_mut() => line.fate(),
            fate = line.decided() => {
                // Whatever the exchange handed over before its decision is written first.
                poll_fn(|cx| {
                    let _ = connection.as_mut().poll(cx);
                    Poll::Ready(())
                }).await;
                Some(fate)
            }
            () = stop.cancelled() => {
                // The exchanges on this connection learn that no caller ended them.
                line.decide(Fate::Reset);
                Some(Fate::Reset)
            }
        }
    };
    if let Some(fate) = fate {
        end(stream, fate).await;
    }
}

/// Carries a fate out; the socket hyper had is gone by now.
async fn end(stream: Arc<TcpStream>, fate: Fate) {
    let socket = SockRef::from(&*stream);
    match fate {
        Fate::Reset => {
            // With a linger of zero, closing sends RST.
            let _ = socket.set_linger(Some(Duration::ZERO));
        }
        Fate::Close => {
            let _ = socket.shutdown(std::net::Shutdown::Write);
            if let Some(mut stream) = Arc::into_inner(stream) {
                let mut sink = [0_u8; 4_096];
                let drained = async { while stream.read(&mut sink).await.is_ok_and(|count| count > 0) {} };
                let _ = tokio::time::timeout(DRAIN, drained).await;
            }
        }
    }
}
