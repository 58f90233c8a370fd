//! Judges a streamed answer while it arrives: every content event, in order, once, and the protocol's own ending.
//!
//! It reads both framings (server-sent events, AWS event stream with checksums). An error event inside the stream,
//! a missing terminal event or bytes after it are faults.

use aws_smithy_eventstream::frame::{DecodedFrame, MessageFrameDecoder};
use aws_smithy_types::event_stream::Message;
use bytes::BytesMut;
use serde::Deserialize;

use crate::recorded::event_text;

/// What is wrong with a stream.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StreamFault {
    /// A frame does not decode, checksums included.
    #[error("frame: {0}")]
    Frame(String),
    /// An event's payload does not decode.
    #[error("payload: {0}")]
    Payload(#[from] serde_json::Error),
    /// An exception or error event.
    #[error("error event: {0}")]
    ErrorEvent(String),
    /// A content event is lost, doubled, merged or out of order.
    #[error("expected event {expected:?}, got {got:?}")]
    Order {
        /// The text that was due.
        expected: String,
        /// The text that came.
        got: String,
    },
    /// The stream ended too early or went on too long.
    #[error("{events} content events, terminal event {terminal}, {left} bytes left over")]
    End {
        /// Content events seen.
        events: usize,
        /// Whether the terminal event was seen.
        terminal: bool,
        /// Bytes that form no complete event.
        left: usize,
    },
}

/// A stream under judgement.
pub(crate) struct StreamCheck {
    framing: Framing,
    buffer: BytesMut,
    events: usize,
    stopped: bool,
    terminal: bool,
}

enum Framing {
    Sse,
    EventStream(MessageFrameDecoder),
}

impl StreamCheck {
    /// For OpenAI's server-sent events.
    pub(crate) fn sse() -> Self {
        Self::with(Framing::Sse)
    }

    /// For Bedrock's event stream.
    pub(crate) fn event_stream() -> Self {
        Self::with(Framing::EventStream(MessageFrameDecoder::new()))
    }

    fn with(framing: Framing) -> Self {
        Self { framing, buffer: BytesMut::new(), events: 0, stopped: false, terminal: false }
    }

    /// Content events seen so far.
    pub(crate) fn events(&self) -> usize {
        self.events
    }

    /// Takes the next bytes of the stream.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<(), StreamFault> {
        self.buffer.extend_from_slice(bytes);
        while self.next_event()? {}
        Ok(())
    }

    /// The stream has ended; `expected` content events were due.
    pub(crate) fn finish(&self, expected: usize) -> Result<(), StreamFault> {
        let whole = self.events == expected && self.stopped && self.terminal && self.buffer.is_empty();
        if whole {
            return Ok(());
        }
        Err(StreamFault::End { events: self.events, terminal: self.terminal, left: self.buffer.len() })
    }

    fn next_event(&mut self) -> Result<bool, StreamFault> {
        match &mut self.framing {
            Framing::EventStream(decoder) => {
                match decoder
                    .decode_frame(&mut self.buffer)
                    .map_err(|error| StreamFault::Frame(error.to_string()))?
                {
                    DecodedFrame::Complete(message) => self.take_message(&message).map(|()| true),
                    DecodedFrame::Incomplete => Ok(false),
                }
            }
            Framing::Sse => {
                let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\n\n") else {
                    return Ok(false);
                };
                let block = self.buffer.split_to(end + 2);
                for line in block.as_ref().split(|byte: &u8| *byte == b'\n') {
                    if let Some(data) = line.strip_prefix(b"data:") {
                        self.take_data(data.trim_ascii())?;
                    }
                }
                Ok(true)
            }
        }
    }

    fn take_message(&mut self, message: &Message) -> Result<(), StreamFault> {
        let header = |name: &str| {
            let found = message.headers().iter().find(|header| header.name().as_str() == name);
            found.and_then(|header| header.value().as_string().ok()).map(|text| text.as_str().to_owned())
        };
        if header(":message-type").as_deref() != Some("event") {
            return Err(StreamFault::ErrorEvent(String::from_utf8_lossy(message.payload()).into_owned()));
        }
        match header(":event-type").as_deref() {
            Some("contentBlockDelta") => {
                let delta: BlockDelta = serde_json::from_slice(message.payload())?;
                self.take_text(&delta.delta.text)
            }
            Some("messageStop") => {
                self.stopped = true;
                Ok(())
            }
            Some("metadata") => {
                self.terminal = true;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn take_data(&mut self, data: &[u8]) -> Result<(), StreamFault> {
        if data == b"[DONE]" {
            self.terminal = true;
            return Ok(());
        }
        let chunk: Chunk = serde_json::from_slice(data)?;
        if chunk.error.is_some() {
            return Err(StreamFault::ErrorEvent(String::from_utf8_lossy(data).into_owned()));
        }
        for choice in chunk.choices {
            self.stopped |= choice.finish_reason.is_some();
            if let Some(text) = choice.delta.content.filter(|text| !text.is_empty()) {
                self.take_text(&text)?;
            }
        }
        Ok(())
    }

    fn take_text(&mut self, got: &str) -> Result<(), StreamFault> {
        let expected = event_text(self.events + 1);
        if got != expected || self.stopped || self.terminal {
            return Err(StreamFault::Order { expected, got: got.to_owned() });
        }
        self.events += 1;
        Ok(())
    }
}

#[derive(Deserialize)]
struct BlockDelta {
    delta: TextDelta,
}

#[derive(Deserialize)]
struct TextDelta {
    #[serde(default)]
    text: String,
}

#[derive(Deserialize)]
struct Chunk {
    #[serde(default)]
    choices: Vec<Choice>,
    error: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct Choice {
    delta: ChatDelta,
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct ChatDelta {
    content: Option<String>,
}
