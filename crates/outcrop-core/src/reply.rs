//! A whole answer, and its two conversions: into the events a stream would have carried, and back.

use serde_json::Value;

use crate::Usage;
use crate::ask::Part;
use crate::event::{Block, Delta, Event, StopReason};

/// A whole answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// Answer to a conversation.
    Chat(ChatReply),
    /// Vectors, one per input and in its order.
    Embeddings {
        /// The vectors.
        vectors: Vec<Vec<f32>>,
        /// The upstream's name of the model.
        model: String,
        /// Input tokens.
        usage: Usage,
    },
    /// Input tokens of a conversation.
    TokenCount(u64),
    /// Bytes in the caller's own protocol that were not decoded, with the usage found in them.
    Native(Usage),
}

/// Answer to a conversation.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ChatReply {
    /// The upstream's id; empty if it has none.
    pub id: String,
    /// The upstream's name of the model; empty if it has none.
    pub model: String,
    /// The blocks: text, tool calls, thinking.
    pub parts: Vec<Part>,
    /// Why the model stopped.
    pub stop: Option<StopReason>,
    /// The stop sequence that was met.
    pub stop_sequence: Option<String>,
    /// Counted tokens.
    pub usage: Usage,
}

impl Reply {
    /// Counted tokens, empty where none apply.
    pub fn usage(&self) -> Usage {
        match self {
            Self::Chat(chat) => chat.usage,
            Self::Embeddings { usage, .. } | Self::Native(usage) => *usage,
            Self::TokenCount(_) => Usage::default(),
        }
    }
}

impl ChatReply {
    /// The events that a stream of this answer would have carried, `Done` last.
    pub fn into_events(self) -> Vec<Event> {
        let mut events = vec![Event::Start { id: self.id, model: self.model }];
        let blocks = self.parts.into_iter().filter_map(block_of);
        for (index, (block, deltas)) in (0u32..).zip(blocks) {
            events.push(Event::Open { index, block });
            events.extend(deltas.into_iter().map(|delta| Event::Delta { index, delta }));
            events.push(Event::Close { index });
        }
        if let Some(reason) = self.stop {
            events.push(Event::Stop { reason, sequence: self.stop_sequence });
        }
        events.push(Event::Usage(self.usage));
        events.push(Event::Done);
        events
    }

    /// Adds one event to the answer gathered so far. Arguments of a tool that are not valid JSON are
    /// kept as a string, so that nothing is lost.
    pub fn absorb(&mut self, event: Event) {
        match event {
            Event::Start { id, model } => {
                self.id = id;
                self.model = model;
            }
            Event::Open { block, .. } => self.parts.push(open_part(block)),
            Event::Delta { delta, .. } => {
                if let Some(part) = self.parts.last_mut() {
                    extend(part, delta);
                }
            }
            Event::Close { .. } => {
                if let Some(Part::ToolUse { input, .. }) = self.parts.last_mut() {
                    seal_arguments(input);
                }
            }
            Event::Stop { reason, sequence } => {
                self.stop = Some(reason);
                self.stop_sequence = sequence;
            }
            Event::Usage(usage) => self.usage.merge(usage),
            Event::Content { .. } | Event::Done => {}
        }
    }
}

fn block_of(part: Part) -> Option<(Block, Vec<Delta>)> {
    match part {
        Part::Text(text) => Some((Block::Text, vec![Delta::Text(text)])),
        Part::ToolUse { id, name, input } => {
            Some((Block::ToolUse { id, name }, vec![Delta::ToolInput(input.to_string())]))
        }
        Part::Thinking { text, signature } => {
            let signed = signature.map(Delta::Signature);
            Some((Block::Thinking, std::iter::once(Delta::Thinking(text)).chain(signed).collect()))
        }
        Part::RedactedThinking(data) => Some((Block::RedactedThinking(data), Vec::new())),
        Part::Image(_)
        | Part::Document { .. }
        | Part::ToolResult { .. }
        | Part::CachePoint { .. }
        | Part::Native(_) => None,
    }
}

fn open_part(block: Block) -> Part {
    match block {
        Block::Text => Part::Text(String::new()),
        Block::ToolUse { id, name } => Part::ToolUse { id, name, input: Value::String(String::new()) },
        Block::Thinking => Part::Thinking { text: String::new(), signature: None },
        Block::RedactedThinking(data) => Part::RedactedThinking(data),
    }
}

fn extend(part: &mut Part, delta: Delta) {
    match (part, delta) {
        (Part::Text(text), Delta::Text(piece))
        | (Part::Thinking { text, .. }, Delta::Thinking(piece))
        | (Part::ToolUse { input: Value::String(text), .. }, Delta::ToolInput(piece)) => {
            text.push_str(&piece);
        }
        (Part::Thinking { signature, .. }, Delta::Signature(piece)) => {
            signature.get_or_insert_default().push_str(&piece);
        }
        _ => {}
    }
}

fn seal_arguments(input: &mut Value) {
    let Value::String(text) = input else { return };
    if text.trim().is_empty() {
        *input = Value::Object(serde_json::Map::new());
    } else if let Ok(parsed) = serde_json::from_str(text) {
        *input = parsed;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_of_a_reply_gather_to_the_same_reply() {
        let reply = ChatReply {
            id: "m1".into(),
            model: "sonnet".into(),
            parts: vec![
                Part::Thinking { text: "hm".into(), signature: Some("sig".into()) },
                Part::Text("hello".into()),
                Part::ToolUse { id: "t1".into(), name: "add".into(), input: serde_json::json!({"a": 1}) },
            ],
            stop: Some(StopReason::ToolUse),
            stop_sequence: None,
            usage: Usage::of(3, 4),
        };
        let mut gathered = ChatReply::default();
        for event in reply.clone().into_events() {
            gathered.absorb(event);
        }
        assert_eq!(gathered, reply);
    }
}
