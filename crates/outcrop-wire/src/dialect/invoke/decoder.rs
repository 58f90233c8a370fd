//! Reading an invoke stream: `chunk` frames around the model's own stream.
//!
//! Claude's content is told by the first bytes of its base64 text when only observed, so a piece is
//! neither decoded nor parsed.

use std::borrow::Cow;

use aws_smithy_types::event_stream::Message;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use outcrop_core::{Event, Protocol};
use serde::Deserialize;

use super::observe;
use crate::dialect::{Events, anthropic, converse};
use crate::framing::Frame;
use crate::{Mode, StreamError};

/// Base64 of `{"type":"content_block_delt`, as far as it stands on whole bytes.
const PIECE_PREFIX: &[u8] = b"eyJ0eXBlIjoiY29udGVudF9ibG9ja19kZWx0";

/// Reads the chunks of one answer.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    claude: anthropic::Decoder,
    other: observe::Other,
}

#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(borrow)]
    bytes: Option<Cow<'a, str>>,
}

/// What tells Claude's chunks from others'.
#[derive(Deserialize)]
struct Shape<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Cow<'a, str>>,
}

impl Decoder {
    /// Reads one event-stream message.
    pub(crate) fn frame(
        &mut self,
        frame: &Frame<'_>,
        mode: Mode,
        events: &mut Events,
    ) -> Result<(), StreamError> {
        let Frame::Amazon(message) = frame else {
            return Err(StreamError::Garbled("server-sent events in place of frames".to_owned()));
        };
        match converse::event_type(Protocol::BedrockInvoke, message)? {
            "chunk" => self.chunk(message, mode, events),
            _ => Ok(()),
        }
    }

    fn chunk(&mut self, message: &Message, mode: Mode, events: &mut Events) -> Result<(), StreamError> {
        let chunk: Chunk<'_> = serde_json::from_slice(message.payload()).map_err(garbled)?;
        let Some(encoded) = chunk.bytes else { return Ok(()) };
        if mode == Mode::Observe && encoded.as_bytes().starts_with(PIECE_PREFIX) {
            events.push(Event::Content { bytes: 0 });
            return Ok(());
        }
        let decoded = STANDARD.decode(encoded.as_bytes()).map_err(garbled)?;
        let text = std::str::from_utf8(&decoded).map_err(garbled)?;
        let shape: Shape<'_> = serde_json::from_str(text).map_err(garbled)?;
        match (shape.kind, mode) {
            (Some(_), _) => self.claude.data(text, mode, events),
            (None, Mode::Observe) => self.other.chunk(text, events).map_err(garbled),
            (None, Mode::Decode) => {
                Err(StreamError::Garbled("a chunk in a format that only passes".to_owned()))
            }
        }
    }
}

fn garbled(error: impl std::fmt::Display) -> StreamError {
    StreamError::Garbled(format!("chunk: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prefix_is_that_of_a_piece() {
        let piece = STANDARD.encode(r#"{"type":"content_block_delta","index":0,"delta":{}}"#);
        assert!(piece.as_bytes().starts_with(PIECE_PREFIX));
        for other in ["message_start", "content_block_start", "content_block_stop", "message_stop"] {
            let other = STANDARD.encode(format!(r#"{{"type":"{other}"}}"#));
            assert!(!other.as_bytes().starts_with(PIECE_PREFIX));
        }
    }
}
