//! Bytes to events: server-sent events and AWS event-stream frames. "Incomplete" is a normal result.

use aws_smithy_eventstream::frame::read_message_from;
use bytes::{Buf as _, Bytes, BytesMut};

use super::{EVENT_BYTES_MAX, Flaw};

/// How events lie in the bytes.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub(super) enum Framing {
    /// One body; read at its end.
    Whole,
    /// `text/event-stream`.
    Sse,
    /// `application/vnd.amazon.eventstream`.
    EventStream,
}

/// One event.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Item {
    /// The data of a server-sent event.
    Data(String),
    /// A frame: `:event-type` or, of an exception, `:exception-type`.
    Frame {
        /// The type.
        kind: String,
        /// Whether it is an exception.
        exception: bool,
        /// The payload.
        payload: Bytes,
    },
}

impl Framing {
    pub(super) fn of(media: &str) -> Self {
        if media.starts_with("text/event-stream") {
            Self::Sse
        } else if media.starts_with("application/vnd.amazon.eventstream") {
            Self::EventStream
        } else {
            Self::Whole
        }
    }

    /// Takes the next event from the front of the bytes, if all of it is there.
    pub(super) fn next(self, pending: &mut BytesMut) -> Result<Option<Item>, Flaw> {
        match self {
            Self::Whole => Ok(None),
            Self::Sse => sse(pending),
            Self::EventStream => frame(pending),
        }
    }
}

/// An event ends with an empty line; one without data (a comment) is passed over.
fn sse(pending: &mut BytesMut) -> Result<Option<Item>, Flaw> {
    while let Some((length, gap)) = blank_line(pending) {
        let event = pending.split_to(length);
        pending.advance(gap);
        let text = std::str::from_utf8(&event).map_err(|_| Flaw::Garbled("an event that is no UTF-8"))?;
        let data: Vec<&str> = text
            .lines()
            .filter_map(|line| line.strip_prefix("data:"))
            .map(|data| data.strip_prefix(' ').unwrap_or(data))
            .collect();
        if !data.is_empty() {
            return Ok(Some(Item::Data(data.join("\n"))));
        }
    }
    Ok(None)
}

/// Where the first empty line begins, and how long the gap is.
fn blank_line(bytes: &[u8]) -> Option<(usize, usize)> {
    let gaps: [&[u8]; 2] = [b"\n\n", b"\r\n\r\n"];
    gaps.iter().filter_map(|gap| Some((find(bytes, gap)?, gap.len()))).min()
}

fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    bytes.windows(needle.len()).position(|window| window == needle)
}

/// Length of the shortest frame: prelude and checksum (Amazon event stream encoding).
const FRAME_BYTES_MIN: usize = 16;

fn frame(pending: &mut BytesMut) -> Result<Option<Item>, Flaw> {
    let Some(length) = pending.first_chunk::<4>().map(|bytes| u32::from_be_bytes(*bytes) as usize) else {
        return Ok(None);
    };
    if !(FRAME_BYTES_MIN..=EVENT_BYTES_MAX).contains(&length) {
        return Err(Flaw::Garbled("a frame of an impossible length"));
    }
    if pending.len() < length {
        return Ok(None);
    }
    let message = read_message_from(pending.split_to(length).freeze())
        .map_err(|_| Flaw::Garbled("a frame whose checksum is wrong"))?;
    let header = |name: &str| {
        let found = message.headers().iter().find(|header| header.name().as_str() == name);
        found.and_then(|header| header.value().as_string().ok()).map(|text| text.as_str().to_owned())
    };
    let exception = header(":message-type").is_some_and(|kind| kind != "event");
    let kind = header(":event-type").or_else(|| header(":exception-type")).unwrap_or_default();
    Ok(Some(Item::Frame { kind, exception, payload: message.payload().clone() }))
}
