//! Frames of a stream: where one ends and the next begins.
//!
//! Knows bytes, checksums and limits, not what a frame means. Framers are fed bytes as they come and
//! hand out whole frames with their own bytes; an unfinished frame is a normal state, and no byte is
//! scanned twice. Invariant: the frames handed out, concatenated, are the bytes that were pushed.
#![warn(clippy::arithmetic_side_effects)]

pub(crate) mod event_stream;
mod pending;
pub(crate) mod sse;

use aws_smithy_types::event_stream::Message;
use bytes::Bytes;

use crate::StreamError;

/// A frame, read for its envelope only.
#[derive(Debug)]
pub(crate) enum Frame<'a> {
    /// A server-sent event that carries data.
    Sse {
        /// Its name; empty when the stream names none.
        event: &'a str,
        /// Its data, lines joined by LF.
        data: &'a str,
    },
    /// An event-stream message.
    Amazon(Message),
}

/// Either kind of framer.
#[derive(Debug)]
pub(crate) enum Framer {
    /// Server-sent events.
    Sse(sse::Framer),
    /// `application/vnd.amazon.eventstream`.
    Amazon(event_stream::Framer),
}

impl Framer {
    /// Adds bytes as they came.
    pub(crate) fn push(&mut self, bytes: Bytes) {
        match self {
            Self::Sse(framer) => framer.push(bytes),
            Self::Amazon(framer) => framer.push(bytes),
        }
    }

    /// The bytes of the next whole frame.
    pub(crate) fn next_raw(&mut self) -> Result<Option<Bytes>, StreamError> {
        match self {
            Self::Sse(framer) => framer.next_raw(),
            Self::Amazon(framer) => framer.next_raw(),
        }
    }

    /// Reads the frame in `raw` (`None` for comments and padding) and gives it to `then`.
    pub(crate) fn read<T>(
        &mut self,
        raw: &Bytes,
        then: impl FnOnce(&Frame<'_>) -> Result<T, StreamError>,
    ) -> Result<Option<T>, StreamError> {
        match self {
            Self::Sse(framer) => match framer.read(raw)? {
                Some(frame) => then(&frame).map(Some),
                None => Ok(None),
            },
            Self::Amazon(_) => then(&Frame::Amazon(event_stream::read(raw)?)).map(Some),
        }
    }

    /// Whether a begun frame is not whole yet.
    pub(crate) fn is_inside_frame(&self) -> bool {
        match self {
            Self::Sse(framer) => framer.is_inside_frame(),
            Self::Amazon(framer) => framer.is_inside_frame(),
        }
    }
}
