//! A streamed answer over HTTP: body bytes in, decoded items out.
//!
//! Invariants: the stream is complete only once the decoder has seen the terminal event; after a
//! failure it stays failed; dropping it before its end closes the connection (HTTP/1.1) or resets the
//! stream (HTTP/2), which is how an abort reaches the upstream.

use std::time::Duration;

use http_body::Body;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use outcrop_core::{Class, Event, Failure, Protocol, Reason};
use outcrop_wire::{Item, Mode, StreamDecoder, StreamError};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::task::TaskTracker;

use crate::outcome;

/// How long the end of a body may lag behind its terminal event before the connection is given up.
const TRAILING_MAX: Duration = Duration::from_secs(1);
/// How long the caller waits for it.
const TRAILING_PATIENCE: Duration = Duration::from_millis(5);
/// Frames that may follow the terminal event.
const TRAILING_FRAMES_MAX: usize = 16;

const NO_CONTENT: &str = "no content before the deadline";

/// A streamed answer over HTTP.
#[derive(Debug)]
pub(crate) struct HttpStream {
    body: Option<Incoming>,
    decoder: StreamDecoder,
    /// Until the first content; the relay times what follows.
    deadline: Option<Instant>,
    complete: bool,
    failed: bool,
    tasks: TaskTracker,
}

impl HttpStream {
    pub(crate) fn new(
        body: Incoming,
        protocol: Protocol,
        mode: Mode,
        deadline: Instant,
        tasks: &TaskTracker,
    ) -> Self {
        Self {
            body: Some(body),
            decoder: StreamDecoder::new(protocol, mode),
            deadline: Some(deadline),
            complete: false,
            failed: false,
            tasks: tasks.clone(),
        }
    }

    /// The next item. Cancel safe: bytes that arrived are in the decoder before anything is awaited
    /// again.
    pub(crate) async fn next(&mut self) -> Result<Option<Item>, Failure> {
        if self.failed {
            return Err(Failure::network(Reason::Reset, Class::Ambiguous, "failed before"));
        }
        let next = self.advance().await;
        if next.is_err() {
            self.failed = true;
            self.body = None;
        }
        next
    }

    async fn advance(&mut self) -> Result<Option<Item>, Failure> {
        loop {
            match self.decoder.next() {
                Ok(Some(item)) => {
                    self.note(&item);
                    return Ok(Some(item));
                }
                // Whatever follows the terminal event cannot take the answer back.
                Ok(None) | Err(_) if self.complete => {
                    self.run_out().await;
                    return Ok(None);
                }
                Ok(None) => {}
                Err(error) => return Err(outcome::of_stream(error)),
            }
            if !self.fill().await? {
                self.decoder.finish().map_err(outcome::of_stream)?;
                // Without the terminal event no end is a clean one, whatever the decoder says.
                return if self.complete {
                    Ok(None)
                } else {
                    Err(outcome::of_stream(StreamError::Truncated))
                };
            }
        }
    }

    /// Feeds the decoder with what comes next; `false` at the end of the body.
    async fn fill(&mut self) -> Result<bool, Failure> {
        let Some(body) = &mut self.body else { return Ok(false) };
        let frame = match self.deadline {
            // A frame that is ready wins over the timer, so a flood of pings needs its own check.
            Some(deadline) if Instant::now() >= deadline => return Err(outcome::late(NO_CONTENT)),
            Some(deadline) => {
                timeout_at(deadline, body.frame()).await.map_err(|_| outcome::late(NO_CONTENT))?
            }
            None => body.frame().await,
        };
        match frame {
            None => {
                self.body = None;
                Ok(false)
            }
            Some(Err(error)) => Err(outcome::of_body(&error)),
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    self.decoder.push(data);
                }
                Ok(true)
            }
        }
    }

    fn note(&mut self, item: &Item) {
        for event in &item.events {
            if event.is_content() {
                self.deadline = None;
            }
            if matches!(event, Event::Done) {
                self.complete = true;
            }
        }
    }

    /// Waits a moment for the end of a complete answer's body, which frees its connection for the
    /// next attempt; it comes with the last bytes or right behind them.
    async fn run_out(&mut self) {
        let Some(body) = &mut self.body else { return };
        match timeout(TRAILING_PATIENCE, body.frame()).await {
            Ok(None | Some(Err(_))) => self.body = None,
            Ok(Some(Ok(_))) | Err(_) => self.release(),
        }
    }

    /// Lets the body of a complete answer run out in the background.
    fn release(&mut self) {
        let Some(mut body) = self.body.take() else { return };
        if body.is_end_stream() || tokio::runtime::Handle::try_current().is_err() {
            return;
        }
        self.tasks.spawn(async move {
            let rest = async {
                for _ in 0..TRAILING_FRAMES_MAX {
                    if !matches!(body.frame().await, Some(Ok(_))) {
                        break;
                    }
                }
            };
            let _ = timeout(TRAILING_MAX, rest).await;
        });
    }
}

impl Drop for HttpStream {
    fn drop(&mut self) {
        if self.complete {
            self.release();
        }
    }
}
