//! Reading a Converse stream.
//!
//! A text block may begin without `contentBlockStart`, so a piece opens its block where none is
//! open. The stream is complete only with `metadata` behind `messageStop`. Observing tells content by
//! the name of its event alone.

use aws_smithy_types::event_stream::Message;
use outcrop_core::event::{Block, Delta};
use outcrop_core::{Event, Protocol};
use serde::Deserialize;
use serde_json::Value;

use super::stop_reason;
use crate::dialect::Events;
use crate::dialect::counted::Counted;
use crate::failure::bedrock_exception;
use crate::framing::Frame;
use crate::framing::event_stream::header;
use crate::{Mode, StreamError};

/// Reads the events of one answer.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    /// The block being sent: its position upstream and ours.
    open: Option<(u64, u32)>,
    /// Position of the next block.
    next: u32,
    /// Position upstream of a block that was passed over.
    skipped: Option<u64>,
    stopped: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct StartData {
    #[serde(default)]
    content_block_index: u64,
    #[serde(default)]
    start: Start,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct Start {
    tool_use: Option<ToolStart>,
    tool_result: Option<serde::de::IgnoredAny>,
    image: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ToolStart {
    tool_use_id: String,
    name: String,
    /// Set for tools that the service runs itself.
    #[serde(rename = "type")]
    kind: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DeltaData {
    #[serde(default)]
    content_block_index: u64,
    #[serde(default)]
    delta: Piece,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct Piece {
    text: Option<String>,
    tool_use: Option<ToolPiece>,
    reasoning_content: Option<ReasoningPiece>,
    citation: Option<Value>,
}

#[derive(Deserialize)]
struct ToolPiece {
    #[serde(default)]
    input: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ReasoningPiece {
    text: Option<String>,
    signature: Option<String>,
    redacted_content: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct StopData {
    #[serde(default)]
    stop_reason: String,
    additional_model_response_fields: Option<Value>,
}

#[derive(Deserialize)]
struct Metadata {
    usage: Option<Counted>,
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
        let kind = event_type(Protocol::BedrockConverse, message)?;
        match kind {
            "messageStart" => {
                events.push(Event::Start { id: String::new(), model: String::new() });
            }
            "contentBlockStart" => self.start(message, mode, events)?,
            "contentBlockDelta" if mode == Mode::Observe => {
                events.push(Event::Content { bytes: 0 });
            }
            "contentBlockDelta" => self.delta(read(message)?, events),
            "contentBlockStop" => {
                self.skipped = None;
                self.close(events);
            }
            "messageStop" => self.stop(read(message)?, events),
            "metadata" => {
                let Metadata { usage } = read(message)?;
                events.extend(usage.map(|usage| Event::Usage(usage.usage())));
                if self.stopped {
                    events.push(Event::Done);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn start(&mut self, message: &Message, mode: Mode, events: &mut Events) -> Result<(), StreamError> {
        let StartData { content_block_index: at, start } = read(message)?;
        if mode == Mode::Observe {
            if start.tool_use.is_some() {
                events.push(Event::Content { bytes: 0 });
            }
            return Ok(());
        }
        self.close(events);
        self.skipped = None;
        match start.tool_use {
            Some(ToolStart { tool_use_id: id, name, kind: None }) => {
                self.open(at, Block::ToolUse { id, name }, events);
            }
            Some(_) => self.skipped = Some(at),
            None if start.image.is_some() || start.tool_result.is_some() => {
                self.skipped = Some(at);
            }
            // Some servers announce text blocks with an empty start.
            None => {}
        }
        Ok(())
    }

    fn delta(&mut self, data: DeltaData, events: &mut Events) {
        let DeltaData { content_block_index: at, delta } = data;
        if self.skipped == Some(at) {
            return;
        }
        let Piece { text, tool_use, reasoning_content, citation } = delta;
        if let Some(text) = text {
            self.piece(at, Block::Text, Delta::Text(text), events);
        }
        if let (Some(ToolPiece { input }), Some((open, index))) = (tool_use, self.open)
            && open == at
            && !input.is_empty()
        {
            events.push(Event::Delta { index, delta: Delta::ToolInput(input) });
        }
        if let Some(citation) = citation {
            self.piece(at, Block::Text, Delta::Citation(citation), events);
        }
        let Some(ReasoningPiece { text, signature, redacted_content }) = reasoning_content else {
            return;
        };
        if let Some(data) = redacted_content {
            self.close(events);
            self.open(at, Block::RedactedThinking(data), events);
        }
        if let Some(text) = text {
            self.piece(at, Block::Thinking, Delta::Thinking(text), events);
        }
        if let Some(signature) = signature {
            self.piece(at, Block::Thinking, Delta::Signature(signature), events);
        }
    }

    /// A piece of a block that opens with its first piece.
    fn piece(&mut self, at: u64, block: Block, delta: Delta, events: &mut Events) {
        let index = match self.open {
            Some((open, index)) if open == at => index,
            _ => {
                self.close(events);
                self.open(at, block, events)
            }
        };
        events.push(Event::Delta { index, delta });
    }

    fn open(&mut self, at: u64, block: Block, events: &mut Events) -> u32 {
        let index = self.next;
        self.next = self.next.saturating_add(1);
        self.open = Some((at, index));
        events.push(Event::Open { index, block });
        index
    }

    fn close(&mut self, events: &mut Events) {
        if let Some((_, index)) = self.open.take() {
            events.push(Event::Close { index });
        }
    }

    fn stop(&mut self, data: StopData, events: &mut Events) {
        self.close(events);
        self.stopped = true;
        let fields = data.additional_model_response_fields;
        let sequence = fields.as_ref().and_then(|fields| fields.get("stop_sequence"));
        events.push(Event::Stop {
            reason: stop_reason(&data.stop_reason),
            sequence: sequence.and_then(Value::as_str).map(str::to_owned),
        });
    }
}

/// The `:event-type` of an event; an exception or an error frame is an upstream's error.
pub(crate) fn event_type(protocol: Protocol, message: &Message) -> Result<&str, StreamError> {
    let upstream = |kind: &str| {
        let error = bedrock_exception(protocol, kind, message.payload());
        StreamError::Upstream(Box::new(error))
    };
    match header(message, ":message-type") {
        Some("event") => Ok(header(message, ":event-type").unwrap_or_default()),
        Some("exception") => Err(upstream(header(message, ":exception-type").unwrap_or_default())),
        Some("error") => {
            let StreamError::Upstream(mut error) =
                upstream(header(message, ":error-code").unwrap_or_default())
            else {
                return Err(StreamError::Garbled("an error frame".to_owned()));
            };
            if let Some(text) = header(message, ":error-message") {
                text.clone_into(&mut error.message);
            }
            Err(StreamError::Upstream(error))
        }
        _ => Err(StreamError::Garbled("a frame without `:message-type`".to_owned())),
    }
}

fn read<'de, T: Deserialize<'de>>(message: &'de Message) -> Result<T, StreamError> {
    serde_json::from_slice(message.payload())
        .map_err(|error| StreamError::Garbled(format!("Converse event: {error}")))
}
