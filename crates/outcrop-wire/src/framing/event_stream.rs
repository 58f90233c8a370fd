//! Amazon event-stream messages: finding whole ones and checking them.
//!
//! The declared length is checked once, when the prelude of a frame is whole and before anything is
//! gathered for it, so a declared 4 GiB frame costs twelve bytes. Reading is done by Amazon's own
//! decoder, which verifies both checksums.

use aws_smithy_eventstream::frame::{read_message_from, write_message_to};
use aws_smithy_types::event_stream::{Header, HeaderValue, Message};
use bytes::{Bytes, BytesMut};

use super::pending::Pending;
use crate::StreamError;

/// Largest frame; also the limit of the service.
pub(crate) const FRAME_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Prelude (total length, headers length, checksum) and trailing checksum.
const FRAME_BYTES_MIN: usize = 16;

/// Bytes of the prelude.
const PRELUDE_BYTES: usize = 12;

/// Finds whole messages.
#[derive(Debug, Default)]
pub(crate) struct Framer {
    pending: Pending,
    /// Length of the frame at the front, once its prelude was seen.
    declared: Option<usize>,
}

impl Framer {
    /// Adds bytes as they came.
    pub(crate) fn push(&mut self, bytes: Bytes) {
        self.pending.push(bytes);
    }

    /// The bytes of the next whole message.
    pub(crate) fn next_raw(&mut self) -> Result<Option<Bytes>, StreamError> {
        let Some(length) = self.length()? else { return Ok(None) };
        if self.pending.as_slice().len() < length {
            return Ok(None);
        }
        self.declared = None;
        Ok(Some(self.pending.take(length)))
    }

    /// Whether a begun message is not whole yet.
    pub(crate) fn is_inside_frame(&self) -> bool {
        !self.pending.as_slice().is_empty()
    }

    fn length(&mut self) -> Result<Option<usize>, StreamError> {
        if self.declared.is_some() {
            return Ok(self.declared);
        }
        let waiting = self.pending.as_slice();
        let (Some(prelude), true) = (waiting.first_chunk::<4>(), waiting.len() >= PRELUDE_BYTES) else {
            return Ok(None);
        };
        let length = u32::from_be_bytes(*prelude) as usize;
        if length > FRAME_BYTES_MAX {
            return Err(StreamError::Oversized { bytes: length, max: FRAME_BYTES_MAX });
        }
        if length < FRAME_BYTES_MIN {
            return Err(StreamError::Garbled(format!("a frame declares {length} bytes")));
        }
        self.declared = Some(length);
        Ok(self.declared)
    }
}

/// Reads one whole message and verifies its checksums.
pub(crate) fn read(raw: &Bytes) -> Result<Message, StreamError> {
    read_message_from(raw.clone()).map_err(|error| StreamError::Garbled(error.to_string()))
}

/// The value of a string header of `message`.
pub(crate) fn header<'a>(message: &'a Message, name: &str) -> Option<&'a str> {
    let found = message.headers().iter().find(|h| h.name().as_str() == name)?;
    match found.value() {
        HeaderValue::String(text) => Some(text.as_str()),
        _ => None,
    }
}

/// Writes a message of `:message-type` `event` (or `exception`) with a JSON payload.
///
/// `kind` is the `:event-type` of an event and the `:exception-type` of an exception. A payload too
/// large for the format's 32-bit length cannot arise: every payload here comes from a bounded body.
pub(crate) fn write(message_type: &'static str, kind: &str, payload: Bytes, out: &mut BytesMut) {
    let kind_header = if message_type == "exception" { ":exception-type" } else { ":event-type" };
    let string = |text: &str| HeaderValue::String(text.to_owned().into());
    let headers = vec![
        Header::new(kind_header, string(kind)),
        Header::new(":content-type", string("application/json")),
        Header::new(":message-type", string(message_type)),
    ];
    let message = Message::new_from_parts(headers, payload);
    write_message_to(&message, out).expect("invariant: short headers and a payload below 4 GiB");
}

#[cfg(test)]
mod tests;
