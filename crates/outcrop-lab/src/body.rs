//! The body of every answer: it carries events to the transport and breaks where the script says so.
//!
//! Breaking happens here, after the contents are made, so the model's work and its bill do not depend on how the
//! answer fails to arrive.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::mpsc;

use crate::{
    exchange::ForeignBody,
    requests::Entry,
    socket::{Fate, Line},
    target::Target,
};

/// Error of a body: only foreign ones fail.
pub(crate) type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// Where a body's bytes come from.
pub(crate) enum Source {
    /// A whole body in pieces.
    Pieces(VecDeque<Bytes>),
    /// The events of a stream as they are made.
    Events(mpsc::Receiver<Bytes>),
    /// Another server's body.
    Foreign(ForeignBody),
}

/// Where and how a body breaks.
pub(crate) struct Breakage {
    /// Events that still pass.
    pub(crate) after: u64,
    /// What happens then.
    pub(crate) how: How,
}

/// The ways of breaking.
pub(crate) enum How {
    /// Nothing more comes.
    Hang,
    /// The connection ends.
    Line(Fate),
    /// The body ends as if it were complete.
    End,
    /// Half of the next event comes, then this.
    Halve(Box<How>),
    /// This event comes instead of the rest.
    Insert(Bytes),
    /// The next event carries a wrong checksum; the rest follows.
    Spoil(Arc<Target>),
}

/// An answer's body.
pub(crate) struct ReplyBody {
    source: Source,
    breakage: Option<Breakage>,
    phase: Phase,
    /// Pieces or events handed on.
    sent: u64,
    /// Bytes still to come, where the length was announced.
    left: Option<u64>,
    /// The connection's fate once everything has been sent.
    fate_after: Option<Fate>,
    line: Arc<Line>,
    entry: Arc<Entry>,
}

enum Phase {
    Flowing,
    /// The bytes so far have been taken by the transport; break as said on the next call.
    Breaking(How),
    /// No byte will follow.
    Stuck,
    Ended,
}

impl ReplyBody {
    pub(crate) fn new(
        source: Source,
        breakage: Option<Breakage>,
        line: Arc<Line>,
        entry: Arc<Entry>,
    ) -> Self {
        Self { source, breakage, phase: Phase::Flowing, sent: 0, left: None, fate_after: None, line, entry }
    }

    /// Announces the length.
    pub(crate) fn sized(mut self, bytes: u64) -> Self {
        self.left = Some(bytes);
        self
    }

    /// Ends the connection once everything has been sent.
    pub(crate) fn then(mut self, fate: Option<Fate>) -> Self {
        self.fate_after = fate;
        self
    }

    fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Ended) || self.left == Some(0)
    }

    /// Starts a due breakage; `true` if it decides what comes next.
    fn begin_breaking(&mut self) -> bool {
        let sent = self.sent;
        let Some(breakage) = self.breakage.take_if(|breakage| breakage.after <= sent) else {
            return false;
        };
        if breakage.how.ends_answer() {
            self.entry.break_off();
        }
        self.phase = Phase::Breaking(breakage.how);
        true
    }

    /// One event from the source, altered if the phase says so.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        let mut bytes = match ready!(self.source.poll(cx)) {
            None => return Poll::Ready(None),
            Some(Err(error)) => return Poll::Ready(Some(Err(error))),
            Some(Ok(bytes)) => bytes,
        };
        match std::mem::replace(&mut self.phase, Phase::Flowing) {
            Phase::Breaking(How::Halve(then)) => {
                bytes.truncate(bytes.len().div_ceil(2));
                self.phase = Phase::Breaking(*then);
            }
            Phase::Breaking(How::Spoil(target)) => bytes = target.service().spoiled(&bytes),
            _ => {}
        }
        self.sent += 1;
        self.entry.sent_event();
        if let Some(left) = &mut self.left {
            *left = left.saturating_sub(bytes.len() as u64);
        }
        Poll::Ready(Some(Ok(bytes)))
    }
}

impl How {
    /// Whether the script, not the caller, ends the answer.
    fn ends_answer(&self) -> bool {
        match self {
            Self::Line(_) | Self::End | Self::Halve(_) | Self::Insert(_) => true,
            Self::Hang | Self::Spoil(_) => false,
        }
    }
}

impl Source {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        match self {
            Self::Pieces(pieces) => Poll::Ready(pieces.pop_front().map(Ok)),
            Self::Events(events) => events.poll_recv(cx).map(|event| event.map(Ok)),
            Self::Foreign(body) => loop {
                match ready!(Pin::new(&mut *body).poll_frame(cx)) {
                    None => return Poll::Ready(None),
                    Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                    Some(Ok(frame)) => {
                        if let Ok(bytes) = frame.into_data() {
                            return Poll::Ready(Some(Ok(bytes)));
                        }
                    }
                }
            },
        }
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        loop {
            match std::mem::replace(&mut this.phase, Phase::Stuck) {
                Phase::Stuck | Phase::Breaking(How::Hang) => return Poll::Pending,
                Phase::Breaking(How::Line(fate)) => {
                    this.line.decide(fate);
                    return Poll::Pending;
                }
                Phase::Ended | Phase::Breaking(How::End) => {
                    this.phase = Phase::Ended;
                    return Poll::Ready(None);
                }
                Phase::Breaking(How::Insert(bytes)) => {
                    this.phase = Phase::Ended;
                    this.entry.sent_event();
                    return Poll::Ready(Some(Ok(Frame::data(bytes))));
                }
                phase @ Phase::Breaking(How::Halve(_) | How::Spoil(_)) => this.phase = phase,
                Phase::Flowing => {
                    this.phase = Phase::Flowing;
                    if this.begin_breaking() {
                        continue;
                    }
                }
            }
            let next = ready!(this.poll_next(cx));
            if next.is_none() {
                this.phase = Phase::Ended;
            }
            return Poll::Ready(next.map(|outcome| outcome.map(Frame::data)));
        }
    }

    fn is_end_stream(&self) -> bool {
        self.is_over()
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl Drop for ReplyBody {
    fn drop(&mut self) {
        let over = self.is_over();
        self.entry.end(!over && self.line.fate().is_none());
        if let Some(fate) = self.fate_after.filter(|_| over) {
            self.line.decide(fate);
        }
    }
}
