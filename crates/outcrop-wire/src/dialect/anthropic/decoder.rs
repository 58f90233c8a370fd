//! Reading a stream of a message.
//!
//! Observing reads the data of the few events that carry usage or a stop reason; content is told by
//! the name of its event alone. Blocks that core has no word for (server tools) are passed over, and
//! blocks are counted anew so that their positions have no gaps.

use std::borrow::Cow;

use outcrop_core::event::{Block, Delta};
use outcrop_core::{Event, Protocol, Usage};
use serde::Deserialize;
use serde_json::Value;

use super::stop_reason;
use crate::dialect::Events;
use crate::dialect::counted::Counted;
use crate::failure::stream_error;
use crate::framing::Frame;
use crate::{Mode, StreamError};

/// Reads the events of one message.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    /// The block being sent: its position upstream and ours.
    open: Option<(u64, u32)>,
    /// Position of the next block.
    next: u32,
    /// Usage so far.
    seen: Usage,
}

#[derive(Deserialize)]
struct Data<'a> {
    #[serde(borrow, rename = "type", default)]
    kind: Cow<'a, str>,
    #[serde(default)]
    index: u64,
    message: Option<Message>,
    content_block: Option<Value>,
    delta: Option<Piece>,
    usage: Option<Counted>,
    #[serde(rename = "amazon-bedrock-invocationMetrics")]
    metrics: Option<Counted>,
}

#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    id: String,
    #[serde(default)]
    model: String,
    usage: Option<Counted>,
}

#[derive(Deserialize, Default)]
struct Piece {
    text: Option<String>,
    partial_json: Option<String>,
    thinking: Option<String>,
    signature: Option<String>,
    citation: Option<Value>,
    stop_reason: Option<String>,
    stop_sequence: Option<String>,
}

impl Decoder {
    /// Reads one server-sent event.
    pub(crate) fn frame(
        &mut self,
        frame: &Frame<'_>,
        mode: Mode,
        events: &mut Events,
    ) -> Result<(), StreamError> {
        let Frame::Sse { event, data } = frame else {
            return Err(StreamError::Garbled("an event-stream frame among SSE".to_owned()));
        };
        match (*event, mode) {
            ("ping", _) | ("content_block_stop", Mode::Observe) => Ok(()),
            ("content_block_delta", Mode::Observe) => {
                events.push(Event::Content { bytes: 0 });
                Ok(())
            }
            _ => self.data(data, mode, events),
        }
    }

    /// Reads the data of one event, which names its own type.
    pub(crate) fn data(&mut self, data: &str, mode: Mode, events: &mut Events) -> Result<(), StreamError> {
        let read: Data<'_> = serde_json::from_str(data)
            .map_err(|error| StreamError::Garbled(format!("Anthropic event: {error}")))?;
        match &*read.kind {
            "message_start" => self.start(read.message, events),
            "content_block_start" => self.open(read.index, read.content_block, mode, events),
            "content_block_delta" => {
                return self.delta(read.index, read.delta, mode, events);
            }
            "content_block_stop" => {
                if let Some((_, index)) = self.open.take() {
                    events.push(Event::Close { index });
                }
            }
            "message_delta" => {
                let delta = read.delta.unwrap_or_default();
                if let Some(reason) = delta.stop_reason {
                    let reason = stop_reason(&reason);
                    events.push(Event::Stop { reason, sequence: delta.stop_sequence });
                }
                self.count(read.usage.as_ref(), events);
            }
            "message_stop" => {
                if let Some(metrics) = read.metrics {
                    let missing = metrics.beside(&self.seen);
                    if missing != Usage::default() {
                        events.push(Event::Usage(missing));
                    }
                }
                events.push(Event::Done);
            }
            "error" => {
                let error = stream_error(Protocol::AnthropicMessages, data.as_bytes());
                return Err(StreamError::Upstream(Box::new(error)));
            }
            _ => {}
        }
        Ok(())
    }

    fn start(&mut self, message: Option<Message>, events: &mut Events) {
        let Some(Message { id, model, usage }) = message else { return };
        events.push(Event::Start { id, model });
        self.count(usage.as_ref(), events);
    }

    fn count(&mut self, usage: Option<&Counted>, events: &mut Events) {
        if let Some(usage) = usage.map(Counted::usage) {
            self.seen.merge(usage);
            events.push(Event::Usage(usage));
        }
    }

    fn open(&mut self, at: u64, block: Option<Value>, mode: Mode, events: &mut Events) {
        let Some(mut fields) = block else { return };
        let mut text = |name: &str| match fields.get_mut(name).map(Value::take) {
            Some(Value::String(text)) => text,
            _ => String::new(),
        };
        let kind = text("type");
        if mode == Mode::Observe {
            if !matches!(kind.as_str(), "text" | "thinking") {
                events.push(Event::Content { bytes: 0 });
            }
            return;
        }
        let (block, first) = match kind.as_str() {
            "text" => (Block::Text, Delta::Text(text("text"))),
            "thinking" => (Block::Thinking, Delta::Thinking(text("thinking"))),
            "redacted_thinking" => (Block::RedactedThinking(text("data")), Delta::Text(String::new())),
            "tool_use" => {
                let (id, name) = (text("id"), text("name"));
                let input = fields.get("input").filter(|v| v.as_object().is_some_and(|o| !o.is_empty()));
                let whole = input.map(Value::to_string).unwrap_or_default();
                (Block::ToolUse { id, name }, Delta::ToolInput(whole))
            }
            _ => return,
        };
        let index = self.next;
        self.next = self.next.saturating_add(1);
        self.open = Some((at, index));
        events.push(Event::Open { index, block });
        if !is_empty(&first) {
            events.push(Event::Delta { index, delta: first });
        }
    }

    fn delta(
        &mut self,
        at: u64,
        piece: Option<Piece>,
        mode: Mode,
        events: &mut Events,
    ) -> Result<(), StreamError> {
        if mode == Mode::Observe {
            events.push(Event::Content { bytes: 0 });
            return Ok(());
        }
        let index = match self.open {
            Some((open, index)) if open == at => index,
            Some(_) => {
                return Err(StreamError::Garbled(format!("a piece of block {at}, which is not open")));
            }
            // A piece of a block that was passed over.
            None => return Ok(()),
        };
        let Piece { text, partial_json, thinking, signature, citation, .. } = piece.unwrap_or_default();
        let pieces = [
            text.map(Delta::Text),
            partial_json.map(Delta::ToolInput),
            thinking.map(Delta::Thinking),
            signature.map(Delta::Signature),
            citation.map(Delta::Citation),
        ];
        let pieces = pieces.into_iter().flatten().filter(|delta| !is_empty(delta));
        events.extend(pieces.map(|delta| Event::Delta { index, delta }));
        Ok(())
    }
}

fn is_empty(delta: &Delta) -> bool {
    match delta {
        Delta::Text(text) | Delta::ToolInput(text) | Delta::Thinking(text) | Delta::Signature(text) => {
            text.is_empty()
        }
        Delta::Citation(_) => false,
    }
}
