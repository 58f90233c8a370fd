//! How long a connection is waited for.
//!
//! Two limits that must not be confused: a request head that has begun must end soon (slow-loris),
//! but a connection that is merely idle between two requests is a client's pool and lives long.
//! hyper's own header timeout counts both as one, so it is not used. HTTP/2 is only watched until its
//! first request; after that its pings find dead peers.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// What the service of a connection has seen; shared with its [`Patience`].
#[derive(Debug, Default)]
pub(crate) struct Progress {
    heads: AtomicU64,
    busy: AtomicU64,
}

/// One exchange under way on a connection.
pub(crate) struct Busy(Arc<Progress>);

impl Progress {
    /// A request head is complete.
    pub(crate) fn begin(self: &Arc<Self>) -> Busy {
        self.heads.fetch_add(1, Ordering::Relaxed);
        self.busy.fetch_add(1, Ordering::Relaxed);
        Busy(Arc::clone(self))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How long to wait.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// For a head that has begun, and for the first one.
    pub(crate) head: Duration,
    /// For the next request of an HTTP/1.1 connection.
    pub(crate) idle: Duration,
    /// For a peer that takes nothing of what is written.
    pub(crate) write: Duration,
}

/// A connection that ends by itself when it is waited for too long.
pub(crate) struct Patience<T> {
    inner: T,
    progress: Arc<Progress>,
    limits: Limits,
    // Heads seen when the current wait began, and when that was.
    waits: (u64, Instant),
    // Whether bytes of the next head have come.
    begun: bool,
    http2: bool,
    // Made on the first wait and then reset, one for the life of the connection.
    timer: Option<Pin<Box<Sleep>>>,
    // Runs while the peer takes nothing.
    blocked: Option<Pin<Box<Sleep>>>,
}

/// How HTTP/2 with prior knowledge begins (RFC 9113, section 3.4).
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2";

impl<T> Patience<T> {
    pub(crate) fn new(inner: T, progress: Arc<Progress>, limits: Limits) -> Self {
        Self {
            inner,
            progress,
            limits,
            waits: (0, Instant::now()),
            begun: false,
            http2: false,
            timer: None,
            blocked: None,
        }
    }

    /// A wait for a head begins anew after every head.
    fn turn_page(&mut self) -> u64 {
        let heads = self.progress.heads.load(Ordering::Relaxed);
        if self.waits.0 != heads {
            self.waits = (heads, Instant::now());
            self.begun = false;
        }
        heads
    }

    fn received(&mut self, bytes: &[u8]) {
        let heads = self.turn_page();
        if heads == 0 && !self.begun && bytes.starts_with(HTTP2_PREFACE) {
            self.http2 = true;
        }
        // While an exchange runs, what comes is its body.
        if !bytes.is_empty() && !self.begun && self.progress.busy.load(Ordering::Relaxed) == 0 {
            self.begun = true;
            if heads > 0 {
                self.waits.1 = Instant::now();
            }
        }
    }

    /// What to wait for; `None` when nothing is timed any more.
    fn wait(&mut self) -> Option<Wait> {
        let heads = self.turn_page();
        if self.http2 && heads > 0 {
            return None;
        }
        if self.progress.busy.load(Ordering::Relaxed) > 0 {
            // Nobody wakes the reader when the exchange ends, so it looks again by itself.
            self.waits.1 = Instant::now();
            return Some(Wait::Look(self.waits.1 + self.limits.idle));
        }
        let limit = if self.begun || heads == 0 { self.limits.head } else { self.limits.idle };
        Some(Wait::End(self.waits.1 + limit))
    }

    /// Writes are progress; a peer that takes nothing for too long is given up.
    fn written<R>(&mut self, context: &mut Context<'_>, write: Poll<io::Result<R>>) -> Poll<io::Result<R>> {
        if write.is_ready() {
            self.blocked = None;
            // An answer still on its way is not idleness.
            self.waits.1 = Instant::now();
            return write;
        }
        let limit = self.limits.write;
        let blocked = self.blocked.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        match blocked.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }

    fn out_of_patience(&mut self, context: &mut Context<'_>) -> bool {
        loop {
            let Some(wait) = self.wait() else { return false };
            let (Wait::Look(at) | Wait::End(at)) = wait;
            let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at)));
            if timer.deadline() != at {
                timer.as_mut().reset(at);
            }
            match (timer.as_mut().poll(context), wait) {
                (Poll::Pending, _) => return false,
                (Poll::Ready(()), Wait::End(_)) => return true,
                (Poll::Ready(()), Wait::Look(_)) => {}
            }
        }
    }
}

/// What a timer is for.
#[derive(Clone, Copy)]
enum Wait {
    /// An exchange runs: look again then.
    Look(Instant),
    /// The connection ends then.
    End(Instant),
}

impl<T: AsyncRead + Unpin> AsyncRead for Patience<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        if let Poll::Ready(read) = Pin::new(&mut self.inner).poll_read(context, buffer) {
            self.received(buffer.filled().get(before..).unwrap_or_default());
            return Poll::Ready(read);
        }
        if self.out_of_patience(context) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Poll::Pending
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Patience<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let write = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.written(context, write)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let write = Pin::new(&mut self.inner).poll_write_vectored(context, pieces);
        self.written(context, write)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flush = Pin::new(&mut self.inner).poll_flush(context);
        if flush.is_ready() { flush } else { self.written(context, flush) }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

    const LIMITS: Limits =
        Limits { head: Duration::from_secs(5), idle: Duration::from_secs(75), write: Duration::from_mins(1) };

    fn connection() -> (DuplexStream, Patience<DuplexStream>, Arc<Progress>) {
        let (peer, inner) = tokio::io::duplex(1024);
        let progress = Arc::new(Progress::default());
        (peer, Patience::new(inner, Arc::clone(&progress), LIMITS), progress)
    }

    /// Reads until the connection gives up, and says after how many seconds.
    async fn gives_up_after(connection: &mut Patience<DuplexStream>) -> u64 {
        let started = Instant::now();
        let mut byte = [0u8; 64];
        loop {
            match connection.read(&mut byte).await {
                Ok(_) => {}
                Err(error) => {
                    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
                    return started.elapsed().as_secs();
                }
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn silence_and_a_slow_first_head_end_after_the_same_time() {
        let (_peer, mut silent, _) = connection();
        assert_eq!(gives_up_after(&mut silent).await, 5);
        let (mut peer, mut slow, _) = connection();
        let drip = async {
            for byte in b"POST /v1" {
                peer.write_all(&[*byte]).await.unwrap();
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            std::future::pending::<()>().await;
        };
        tokio::select! { () = drip => {}, after = gives_up_after(&mut slow) => assert_eq!(after, 5) }
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_pool_lives_long_but_a_second_head_must_end_soon() {
        let (mut peer, mut pooled, progress) = connection();
        peer.write_all(b"GET").await.unwrap();
        pooled.read_exact(&mut [0; 3]).await.unwrap();
        drop(progress.begin());
        assert_eq!(gives_up_after(&mut pooled).await, 75);

        let (mut peer, mut pooled, progress) = connection();
        peer.write_all(b"GET").await.unwrap();
        pooled.read_exact(&mut [0; 3]).await.unwrap();
        drop(progress.begin());
        let later = async {
            tokio::time::sleep(Duration::from_secs(30)).await;
            peer.write_all(b"P").await.unwrap();
            std::future::pending::<()>().await;
        };
        tokio::select! { () = later => {}, after = gives_up_after(&mut pooled) => assert_eq!(after, 35) }
    }

    #[tokio::test(start_paused = true)]
    async fn a_pool_whose_exchange_ended_unseen_is_closed_as_well() {
        let (mut peer, mut pooled, progress) = connection();
        peer.write_all(b"GET").await.unwrap();
        pooled.read_exact(&mut [0; 3]).await.unwrap();
        let busy = progress.begin();
        let ends = async {
            tokio::time::sleep(Duration::from_secs(10)).await;
            drop(busy);
            std::future::pending::<()>().await;
        };
        // The reader may or may not be looked at when the exchange ends; the wait begins then at the latest.
        tokio::select! {
            () = ends => {}
            after = gives_up_after(&mut pooled) => assert!((75..=85).contains(&after), "{after}"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_takes_nothing_is_given_up() {
        let (_peer, mut blocked, progress) = connection();
        let _busy = progress.begin();
        let started = Instant::now();
        let error = blocked.write_all(&[0; 4096]).await.unwrap_err();
        assert_eq!((error.kind(), started.elapsed().as_secs()), (io::ErrorKind::TimedOut, 60));
    }

    #[tokio::test(start_paused = true)]
    async fn a_running_exchange_and_http2_are_not_timed() {
        let (mut peer, mut running, progress) = connection();
        peer.write_all(b"GET").await.unwrap();
        running.read_exact(&mut [0; 3]).await.unwrap();
        let busy = progress.begin();
        let hour = Duration::from_hours(1);
        assert!(tokio::time::timeout(hour, running.read_u8()).await.is_err());
        drop(busy);

        let (mut peer, mut h2, progress) = connection();
        peer.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        h2.read_exact(&mut [0; 24]).await.unwrap();
        drop(progress.begin());
        peer.write_all(b"ping").await.unwrap();
        h2.read_exact(&mut [0; 4]).await.unwrap();
        assert!(tokio::time::timeout(hour, h2.read_u8()).await.is_err());
    }
}
