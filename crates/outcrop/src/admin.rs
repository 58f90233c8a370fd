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

pub(crate) use self::socket::{Socket, SocketError};

/// The sockets of the admin listener.
pub(crate) struct Sockets {
    pub(crate) network: TcpListener,
    pub(crate) operator: Option<Socket>,
}

/// Serves the sockets on a thread of its own until `stop` is cancelled.
pub(crate) fn start(
    sockets: Sockets,
    view: Arc<dyn View>,
    more: Router,
    stop: CancellationToken,
) -> io::Result<JoinHandle<io::Result<()>>> {
    std::thread::Builder::new().name("admin".into()).spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async move {
            let network = tokio::net::TcpListener::from_std(sockets.network)?;
            let routes = router(Arc::clone(&view), more.clone(), Door::Network);
            let network = serve_until(network, routes, stop.clone().cancelled_owned());
            let Some(operator) = sockets.operator else { return network.await };
            let listener = operator.listener()?;
            let operator = serve_until(listener, router(view, more, Door::Operator), stop.cancelled_owned());
            // Of two listeners the one that fails must not take the other along.
            let (network, operator) = tokio::join!(network, operator);
            network.and(operator)
        })
    })
}
