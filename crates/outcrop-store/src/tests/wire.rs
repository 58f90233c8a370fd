//! A wire between the store and its server that breaks after so many bytes.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UnixStream};
use tokio_util::task::TaskTracker;

/// Which way the bytes are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    ToServer,
    ToStore,
}

/// The wire. What is counted goes through until nothing is left; then this connection breaks, and the
/// next ones hold.
#[derive(Clone)]
pub(super) struct Wire {
    left: Arc<[AtomicI64; 2]>,
}

impl Wire {
    pub(super) async fn to(socket: PathBuf) -> (Self, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let wire = Self { left: Arc::new([AtomicI64::new(i64::MAX), AtomicI64::new(i64::MAX)]) };
        let (tasks, shared) = (TaskTracker::new(), wire.clone());
        tasks.clone().spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let far = UnixStream::connect(&socket).await.unwrap();
                let (near_read, near_write) = near.into_split();
                let (far_read, far_write) = far.into_split();
                let wire = shared.clone();
                tasks.spawn(async move {
                    // Whichever way breaks takes the other one with it.
                    tokio::select! {
                        () = wire.carry(Way::ToServer, near_read, far_write) => {}
                        () = wire.carry(Way::ToStore, far_read, near_write) => {}
                    }
                });
            }
        });
        (wire, address)
    }

    /// It breaks after so many bytes more.
    pub(super) fn break_after(&self, way: Way, bytes: i64) {
        self.left[way as usize].store(bytes, Ordering::SeqCst);
    }

    /// How many more bytes may go that way.
    pub(super) fn left(&self, way: Way) -> i64 {
        self.left[way as usize].load(Ordering::SeqCst)
    }

    /// Whether it has not broken yet; from here on it holds.
    pub(super) fn mend(&self) -> bool {
        let held = self.left.iter().all(|left| left.load(Ordering::SeqCst) > 0);
        self.left.iter().for_each(|left| left.store(i64::MAX, Ordering::SeqCst));
        held
    }

    async fn carry<R, W>(&self, way: Way, mut from: R, mut to: W)
    where
        R: AsyncReadExt + Unpin,
        W: AsyncWriteExt + Unpin,
    {
        let mut bytes = [0; 4096];
        while let Ok(read @ 1..) = from.read(&mut bytes).await {
            let count = i64::try_from(read).unwrap();
            let left = self.left[way as usize].fetch_sub(count, Ordering::SeqCst);
            let passes = usize::try_from(left.clamp(0, count)).unwrap();
            let sent = to.write_all(&bytes[..passes]).await;
            if sent.is_err() || passes < read {
                return;
            }
        }
    }
}
