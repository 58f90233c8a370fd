//! A TCP connection that can be told to misbehave below HTTP.
//!
//! [`Line`] is the remote control: an exchange decides the connection's fate, or slows or tears the next head;
//! [`Socket`] is what hyper reads and writes. The driver in [`crate::listen`] carries the fate out.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use parking_lot::Mutex;
use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::watch,
    time::Sleep,
};

/// Bytes of a torn head that still go out.
const TORN_HEAD_BYTES: usize = 20;

/// Bytes after which a slow head is taken for complete, for HTTP/2 heads have no visible end.
const SLOW_HEAD_BYTES_MAX: usize = 600;

/// How a connection ends before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// RST.
    Reset,
    /// FIN.
    Close,
}

/// What happens to the next bytes written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Head {
    Plain,
    Slow { interval: Duration, written: usize, newlines: u8 },
    Torn { left: usize },
}

/// The remote control of one connection.
#[derive(Debug)]
pub(crate) struct Line {
    fate: watch::Sender<Option<Fate>>,
    head: Mutex<Head>,
}

/// One connection as hyper sees it.
#[derive(Debug)]
pub(crate) struct Socket {
    stream: Arc<TcpStream>,
    line: Arc<Line>,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Default for Line {
    fn default() -> Self {
        Self { fate: watch::Sender::new(None), head: Mutex::new(Head::Plain) }
    }
}

impl Line {
    /// Decides the fate; the first decision stands.
    pub(crate) fn decide(&self, fate: Fate) {
        self.fate.send_if_modified(|decided| {
            let first = decided.is_none();
            decided.get_or_insert(fate);
            first
        });
    }

    /// The decision, if there is one.
    pub(crate) fn fate(&self) -> Option<Fate> {
        *self.fate.borrow()
    }

    /// Waits for a decision.
    pub(crate) async fn decided(&self) -> Fate {
        let mut fate = self.fate.subscribe();
        loop {
            if let Some(decided) = *fate.borrow_and_update() {
                return decided;
            }
            if fate.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// The next head leaves byte by byte.
    pub(crate) fn slow_head(&self, interval: Duration) {
        *self.head.lock() = Head::Slow { interval, written: 0, newlines: 0 };
    }

    /// The next head is torn by an RST.
    pub(crate) fn tear_head(&self) {
        *self.head.lock() = Head::Torn { left: TORN_HEAD_BYTES };
    }

    /// Notes a byte of a slow head that has been written.
    fn wrote_slowly(&self, byte: u8) {
        let mut head = self.head.lock();
        if let Head::Slow { written, newlines, .. } = &mut *head {
            *written += 1;
            *newlines = match byte {
                b'\n' => *newlines + 1,
                b'\r' => *newlines,
                _ => 0,
            };
            if *newlines == 2 || *written == SLOW_HEAD_BYTES_MAX {
                *head = Head::Plain;
            }
        }
    }

    /// Notes bytes of a torn head; tears when they are spent.
    fn wrote_torn(&self, count: usize) {
        let mut head = self.head.lock();
        if let Head::Torn { left } = &mut *head {
            *left = left.saturating_sub(count);
        }
    }
}

impl Socket {
    pub(crate) fn new(stream: Arc<TcpStream>, line: Arc<Line>) -> Self {
        Self { stream, line, pause: None }
    }

    fn poll_write_plain(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.stream.poll_write_ready(cx))?;
            match self.stream.try_write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                outcome => return Poll::Ready(outcome),
            }
        }
    }

    fn poll_write_slow(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
        interval: Duration,
    ) -> Poll<io::Result<usize>> {
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(cx));
            self.pause = None;
        }
        let Some(first) = bytes.first() else { return Poll::Ready(Ok(0)) };
        let written = ready!(self.poll_write_plain(cx, &[*first]))?;
        self.line.wrote_slowly(*first);
        self.pause = Some(Box::pin(tokio::time::sleep(interval)));
        Poll::Ready(Ok(written))
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(self.stream.poll_read_ready(cx))?;
            match self.stream.try_read(buffer.initialize_unfilled()) {
                Ok(count) => {
                    buffer.advance(count);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let head = *self.line.head.lock();
        match head {
            Head::Plain => self.poll_write_plain(cx, bytes),
            Head::Slow { interval, .. } => self.poll_write_slow(cx, bytes, interval),
            Head::Torn { left: 0 } => {
                self.line.decide(Fate::Reset);
                Poll::Pending
            }
            Head::Torn { left } => {
                let part = bytes.get(..left).unwrap_or(bytes);
                let written = ready!(self.poll_write_plain(cx, part))?;
                self.line.wrote_torn(written);
                Poll::Ready(Ok(written))
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A FIN must not run ahead of a decided RST.
        if self.line.fate() == Some(Fate::Reset) {
            return Poll::Ready(Ok(()));
        }
        Poll::Ready(SockRef::from(&*self.stream).shutdown(std::net::Shutdown::Write))
    }
}
