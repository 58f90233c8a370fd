//! The admin listener: its own thread and its own runtime, so that it answers when the data plane is
//! busy. It serves the same routes on a TCP socket and on the operator's unix socket.

mod socket;

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::thread::JoinHandle;

use axum::Router;
use outcrop_admin::{Door, View, router, serve_until};
use tokio_util::sync::CancellationToken;

pub(crate) use self::socket::{Kept, Name, Socket, SocketError};

/// The sockets of the admin listener.
pub(crate) struct Sockets {
    pub(crate) network: TcpListener,
    pub(crate) operator: Option<Socket>,
    /// Cancelled when another process answers on them.
    pub(crate) handed: CancellationToken,
}

/// Serves the sockets on a thread of its own until `stop` is cancelled or they are handed over, and does `work` there.
pub(crate) fn start(
    sockets: Sockets,
    view: Arc<dyn View>,
    more: Router,
    work: impl Future<Output = ()> + Send + 'static,
    stop: CancellationToken,
) -> io::Result<JoinHandle<io::Result<()>>> {
    std::thread::Builder::new().name("admin".into()).spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async move {
            let network = tokio::net::TcpListener::from_std(sockets.network)?;
            let routes = router(Arc::clone(&view), more.clone(), Door::Network);
            let closing = || {
                let (stop, handed) = (stop.clone(), sockets.handed.clone());
                async move {
                    tokio::select! {
                        () = stop.cancelled() => {}
                        () = handed.cancelled() => {}
                    }
                }
            };
            let network = serve_until(network, routes, closing());
            let routes = router(view, more, Door::Operator);
            let closed = closing();
            let operator = async {
                let Some(socket) = &sockets.operator else { return Ok(()) };
                serve_until(socket.listener()?, routes, closed).await
            };
            // Of two listeners the one that fails must not take the other along.
            let (network, operator, _) =
                tokio::join!(network, operator, stop.run_until_cancelled_owned(work));
            network.and(operator)
        })
    })
}
