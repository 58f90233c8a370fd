//! The admin listener: its own thread and its own runtime, so that it answers when the data plane is
//! busy.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::thread::JoinHandle;

use outcrop_admin::{View, router, serve_until};
use tokio_util::sync::CancellationToken;

/// Serves `listener` on a thread of its own until `stop` is cancelled.
pub(crate) fn start(
    listener: TcpListener,
    view: Arc<dyn View>,
    stop: CancellationToken,
) -> io::Result<JoinHandle<io::Result<()>>> {
    std::thread::Builder::new().name("admin".into()).spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            serve_until(listener, router(view), stop.cancelled_owned()).await
        })
    })
}
