//! Decoding answers of upstreams, whole or as they stream in.
//!
//! Chooses the framer and the codec of the upstream's protocol; knows neither HTTP nor time. Two
//! promises hold for every protocol: `Event::Done` is the last event and comes only from the
//! protocol's own terminal event, and a stream that failed keeps failing.

mod observe;

use bytes::Bytes;
use outcrop_core::failure::UpstreamError;
use outcrop_core::{Event, Protocol, Reply};
use smallvec::SmallVec;

use crate::dialect::{Events, anthropic, converse, count_tokens, invoke, mcp, openai};
use crate::framing::{Frame, Framer};

/// How much of an answer is decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Everything: the answer is translated for another protocol.
    Decode,
    /// Only what the gateway must know of bytes that pass unchanged: content seen, usage, stop, end,
    /// errors. Content comes as `Event::Content`, whole replies as `Reply::Native`.
    Observe,
}

/// One frame of a stream and the events in it (none for padding, comments and pings).
#[derive(Debug, Clone)]
pub struct Item {
    /// The frame's own bytes, for same-protocol passing.
    pub raw: Bytes,
    /// What it means.
    pub events: SmallVec<[Event; 2]>,
}

impl Item {
    /// Whether the frame says nothing but usage: OpenAI's last chunk, which a caller gets only if it
    /// asked for it.
    pub fn is_usage_only(&self) -> bool {
        matches!(self.events.as_slice(), [Event::Usage(_)])
    }
}

/// Bytes that are not the protocol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Garbled(
    /// What is wrong, for the log.
    pub String,
);

/// How a stream fails while it is decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// Bytes that are not the protocol, a wrong checksum among them.
    #[error("garbled stream: {0}")]
    Garbled(String),
    /// A frame or line larger than the limit.
    #[error("a frame of {bytes} bytes exceeds the limit of {max}")]
    Oversized {
        /// Declared or seen.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// The upstream reported an error inside the stream.
    #[error("upstream error inside the stream: {}", .0.kind)]
    Upstream(Box<UpstreamError>),
    /// The stream ended without its terminal event.
    #[error("the stream ended before its terminal event")]
    Truncated,
}

/// Decodes a whole answer.
///
/// `BedrockInvoke` tells Anthropic messages and the vectors of known embedding models apart by their
/// shape; observing it reads the usage of any known model family.
pub fn decode_reply(protocol: Protocol, body: &[u8], mode: Mode) -> Result<Reply, Garbled> {
    if mode == Mode::Observe {
        return observe::usage(protocol, body).map(Reply::Native);
    }
    match protocol {
        Protocol::OpenAiChat => openai::decode_reply(body).map(Reply::Chat),
        Protocol::OpenAiEmbeddings => openai::embeddings::decode_reply(body),
        Protocol::AnthropicMessages => anthropic::decode_reply(body).map(Reply::Chat),
        Protocol::BedrockConverse => converse::decode_reply(body).map(Reply::Chat),
        Protocol::BedrockInvoke => invoke::decode_reply(body),
        Protocol::AnthropicCountTokens | Protocol::BedrockCountTokens => {
            count_tokens::decode_reply(body).map(Reply::TokenCount)
        }
        Protocol::McpTool => mcp::decode_reply(body).map(Reply::Chat),
    }
}

/// Decodes an answer as it streams in.
#[derive(Debug)]
pub struct StreamDecoder {
    mode: Mode,
    framer: Framer,
    codec: Codec,
    done: bool,
    failed: Option<StreamError>,
}

#[derive(Debug)]
enum Codec {
    OpenAi(openai::Decoder),
    Anthropic(anthropic::Decoder),
    Converse(converse::Decoder),
    Invoke(invoke::Decoder),
    /// The protocol has no stream; any frame is garbled.
    Whole,
}

impl StreamDecoder {
    /// A decoder of `protocol`. A line is at most 1 MiB, an event-stream frame at most 16 MiB.
    pub fn new(protocol: Protocol, mode: Mode) -> Self {
        let (framer, codec) = match protocol {
            Protocol::OpenAiChat => (sse(), Codec::OpenAi(openai::Decoder::default())),
            Protocol::AnthropicMessages => (sse(), Codec::Anthropic(anthropic::Decoder::default())),
            Protocol::BedrockConverse => (amazon(), Codec::Converse(converse::Decoder::default())),
            Protocol::BedrockInvoke => (amazon(), Codec::Invoke(invoke::Decoder::default())),
            Protocol::OpenAiEmbeddings
            | Protocol::AnthropicCountTokens
            | Protocol::BedrockCountTokens
            | Protocol::McpTool => (sse(), Codec::Whole),
        };
        Self { mode, framer, codec, done: false, failed: None }
    }

    /// Adds bytes as they came.
    pub fn push(&mut self, bytes: Bytes) {
        self.framer.push(bytes);
    }

    /// The next whole frame; `None` means that more bytes are needed. After an error it keeps
    /// failing with the same error.
    #[expect(clippy::should_implement_trait, reason = "fallible, and `None` is not the end")]
    pub fn next(&mut self) -> Result<Option<Item>, StreamError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let item = self.step();
        if let Err(error) = &item {
            self.failed = Some(error.clone());
        }
        item
    }

    /// Call it when the upstream closed its side: fails unless the terminal event came and no frame
    /// was left unfinished.
    pub fn finish(&mut self) -> Result<(), StreamError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        if self.done && !self.framer.is_inside_frame() {
            return Ok(());
        }
        self.failed = Some(StreamError::Truncated);
        Err(StreamError::Truncated)
    }

    fn step(&mut self) -> Result<Option<Item>, StreamError> {
        let Some(raw) = self.framer.next_raw()? else { return Ok(None) };
        let Self { mode, framer, codec, done, .. } = self;
        let mut events = Events::new();
        framer.read(&raw, |frame| match done {
            true => Ok(()), // I-3: nothing after the terminal event can change the answer
            false => codec.frame(frame, *mode, &mut events),
        })?;
        for event in &mut events {
            match event {
                Event::Content { bytes } => *bytes = u32::try_from(raw.len()).unwrap_or(u32::MAX),
                Event::Done => self.done = true,
                _ => {}
            }
        }
        Ok(Some(Item { raw, events }))
    }
}

impl Codec {
    fn frame(&mut self, frame: &Frame<'_>, mode: Mode, events: &mut Events) -> Result<(), StreamError> {
        match self {
            Self::OpenAi(decoder) => decoder.frame(frame, mode, events),
            Self::Anthropic(decoder) => decoder.frame(frame, mode, events),
            Self::Converse(decoder) => decoder.frame(frame, mode, events),
            Self::Invoke(decoder) => decoder.frame(frame, mode, events),
            Self::Whole => Err(StreamError::Garbled("this protocol does not stream".to_owned())),
        }
    }
}

fn sse() -> Framer {
    Framer::Sse(crate::framing::sse::Framer::default())
}

fn amazon() -> Framer {
    Framer::Amazon(crate::framing::event_stream::Framer::default())
}

#[cfg(test)]
mod tests;
