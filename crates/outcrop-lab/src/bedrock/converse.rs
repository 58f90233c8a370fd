//! Dresses planned answers as Converse output: one object, or the events of a stream.
//!
//! A text block has no start event, `start` is never empty, and `metadata` comes last.

use serde_json::{Value, json};

use super::{cache::Split, frame};
use crate::{
    answer::{Block, Plan, Stop},
    dice::Dice,
    exchange::Frame,
};

/// What both forms of one answer share.
#[derive(Debug, Clone, Copy)]
pub(super) struct Envelope {
    pub(super) input: Split,
    pub(super) latency_ms: u64,
}

/// One event of a Converse stream.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Event {
    /// For instance `contentBlockDelta`.
    pub(super) name: &'static str,
    pub(super) payload: Value,
    /// Output tokens made for it.
    pub(super) tokens: u64,
}

impl Event {
    fn free(name: &'static str, payload: Value) -> Self {
        Self { name, payload, tokens: 0 }
    }
}

/// The answer in one piece.
pub(super) fn whole(plan: &Plan, envelope: Envelope) -> Value {
    let content: Vec<Value> = plan.blocks.iter().map(content_block).collect();
    json!({
        "output": {"message": {"role": "assistant", "content": content}},
        "stopReason": stop_reason(&plan.stop),
        "usage": usage(plan, envelope.input),
        "metrics": {"latencyMs": envelope.latency_ms},
    })
}

/// The answer as the events of a stream.
pub(super) fn events(plan: &Plan, envelope: Envelope) -> Vec<Event> {
    let mut events = vec![Event::free("messageStart", json!({"role": "assistant"}))];
    for (index, block) in plan.blocks.iter().enumerate() {
        if let Block::Tool { id, name, .. } = block {
            let start = json!({"toolUse": {"toolUseId": format!("tooluse_{id}"), "name": name}});
            events
                .push(Event::free("contentBlockStart", json!({"start": start, "contentBlockIndex": index})));
        }
        events.extend(deltas(block).into_iter().map(|(delta, tokens)| Event {
            name: "contentBlockDelta",
            payload: json!({"delta": delta, "contentBlockIndex": index}),
            tokens,
        }));
        events.push(Event::free("contentBlockStop", json!({"contentBlockIndex": index})));
    }
    events.push(Event::free("messageStop", json!({"stopReason": stop_reason(&plan.stop)})));
    let metrics = json!({"latencyMs": envelope.latency_ms});
    events.push(Event::free("metadata", json!({"usage": usage(plan, envelope.input), "metrics": metrics})));
    events
}

/// The events as frames.
pub(super) fn frames(plan: &Plan, envelope: Envelope, dice: &mut Dice) -> Vec<Frame> {
    events(plan, envelope)
        .into_iter()
        .map(|event| Frame::costing(frame::event(event.name, event.payload, dice), event.tokens))
        .collect()
}

fn content_block(block: &Block) -> Value {
    match block {
        Block::Thinking { signature, .. } => {
            json!({"reasoningContent": {"reasoningText": {"text": block.text(), "signature": signature}}})
        }
        Block::Text { .. } => json!({"text": block.text()}),
        Block::Tool { id, name, input, .. } => {
            json!({"toolUse": {"toolUseId": format!("tooluse_{id}"), "name": name, "input": input}})
        }
    }
}

/// The deltas of a block and the tokens each costs.
fn deltas(block: &Block) -> Vec<(Value, u64)> {
    let pieces = block.pieces().iter();
    match block {
        Block::Thinking { signature, .. } => pieces
            .map(|piece| (json!({"reasoningContent": {"text": piece}}), 1))
            .chain([(json!({"reasoningContent": {"signature": signature}}), 0)])
            .collect(),
        Block::Text { .. } => pieces.map(|piece| (json!({"text": piece}), 1)).collect(),
        Block::Tool { .. } => pieces.map(|piece| (json!({"toolUse": {"input": piece}}), 1)).collect(),
    }
}

fn usage(plan: &Plan, input: Split) -> Value {
    let output = plan.output_tokens();
    let mut usage = json!({
        "inputTokens": input.fresh,
        "outputTokens": output,
        "totalTokens": input.fresh + input.read + input.written + output,
    });
    if input.read + input.written > 0 {
        usage["cacheReadInputTokens"] = json!(input.read);
        usage["cacheWriteInputTokens"] = json!(input.written);
    }
    usage
}

fn stop_reason(stop: &Stop) -> &'static str {
    match stop {
        Stop::End => "end_turn",
        Stop::MaxTokens => "max_tokens",
        Stop::Tool => "tool_use",
        Stop::Sequence(_) => "stop_sequence",
        Stop::Filtered => "content_filtered",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Envelope, Event, events, whole};
    use crate::{
        answer::{Plan, Prompt, Tool},
        bedrock::cache::Split,
    };

    fn plan(text: &str) -> Plan {
        let tool = Tool {
            name: "f".to_owned(),
            schema: json!({"type": "object", "properties": {"a": {"type": "string"}}}),
        };
        Plan::new(&Prompt { last_user_text: text.to_owned(), tools: vec![tool], ..Prompt::default() }, 1)
    }

    fn envelope() -> Envelope {
        Envelope { input: Split { fresh: 7, ..Split::default() }, latency_ms: 1 }
    }

    #[test]
    fn the_stream_says_what_the_object_says() {
        for text in ["hello", "[[think]] hello", "[[tool]]"] {
            let plan = plan(text);
            let events = events(&plan, envelope());
            let said: String =
                events.iter().filter_map(|event| event.payload.pointer("/delta/text")?.as_str()).collect();
            let content = &whole(&plan, envelope())["output"]["message"]["content"];
            let written: String =
                content.as_array().into_iter().flatten().filter_map(|block| block["text"].as_str()).collect();
            assert_eq!(said, written, "{text}");
            assert_eq!(events.iter().map(|event| event.tokens).sum::<u64>(), plan.output_tokens());
        }
    }

    #[test]
    fn only_tools_have_a_start_and_metadata_is_last() {
        let names = |text: &str| -> Vec<&str> {
            events(&plan(text), envelope()).iter().map(|event: &Event| event.name).collect()
        };
        assert!(!names("hello").contains(&"contentBlockStart"));
        assert_eq!(names("[[tool]]")[..2], ["messageStart", "contentBlockStart"]);
        assert_eq!(names("hello").last(), Some(&"metadata"));
    }
}
