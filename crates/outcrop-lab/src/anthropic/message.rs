//! Dresses planned answers as messages: one object, or the named events of a stream.
//!
//! Pure. The events together say what the object says; `message_delta` carries the final usage.

use serde_json::{Value, json};

use super::cache::Split;
use crate::answer::{Block, Plan, Stop};

/// What all objects of one answer share.
#[derive(Debug, Clone)]
pub(crate) struct Envelope {
    /// `msg_…`.
    pub(crate) id: String,
    /// The model as the client named it.
    pub(crate) model: String,
    /// Prompt tokens, divided by what the cache did.
    pub(crate) input: Split,
}

/// One event and the output tokens it carries.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Event {
    /// Its payload; the name of the event is the payload's `type`.
    pub(crate) payload: Value,
    /// Output tokens that are generated with it.
    pub(crate) tokens: u64,
}

impl Event {
    fn free(payload: Value) -> Self {
        Self { payload, tokens: 0 }
    }
}

/// The answer in one piece.
pub(crate) fn whole(envelope: &Envelope, plan: &Plan) -> Value {
    let content: Vec<Value> = plan.blocks.iter().map(content_block).collect();
    let (reason, sequence) = stop_reason(&plan.stop);
    let mut message = opening(envelope, plan.output_tokens());
    message["content"] = Value::Array(content);
    message["stop_reason"] = json!(reason);
    message["stop_sequence"] = json!(sequence);
    message
}

/// The answer as the events of a stream.
pub(crate) fn events(envelope: &Envelope, plan: &Plan) -> Vec<Event> {
    // The service counts a token as soon as it opens the message.
    let start = json!({"type": "message_start", "message": opening(envelope, plan.output_tokens().min(1))});
    let mut events = vec![Event::free(start), Event::free(json!({"type": "ping"}))];
    for (index, block) in plan.blocks.iter().enumerate() {
        events.push(Event::free(
            json!({"type": "content_block_start", "index": index, "content_block": empty_block(block)}),
        ));
        events.extend(deltas(block).into_iter().map(|(delta, tokens)| Event {
            payload: json!({"type": "content_block_delta", "index": index, "delta": delta}),
            tokens,
        }));
        events.push(Event::free(json!({"type": "content_block_stop", "index": index})));
    }
    let (reason, sequence) = stop_reason(&plan.stop);
    let mut usage = usage(envelope, plan.output_tokens());
    for name in ["cache_creation", "service_tier"] {
        usage.as_object_mut().map(|members| members.shift_remove(name));
    }
    events.push(Event::free(json!({
        "type": "message_delta",
        "delta": {"stop_reason": reason, "stop_sequence": sequence},
        "usage": usage,
    })));
    events.push(Event::free(json!({"type": "message_stop"})));
    events
}

fn opening(envelope: &Envelope, output_tokens: u64) -> Value {
    json!({
        "id": envelope.id,
        "type": "message",
        "role": "assistant",
        "model": envelope.model,
        "content": [],
        "stop_reason": null,
        "stop_sequence": null,
        "usage": usage(envelope, output_tokens),
    })
}

fn usage(envelope: &Envelope, output_tokens: u64) -> Value {
    let Split { fresh, read, written_5m, written_1h } = envelope.input;
    json!({
        "input_tokens": fresh,
        "cache_creation_input_tokens": written_5m + written_1h,
        "cache_read_input_tokens": read,
        "cache_creation": {"ephemeral_5m_input_tokens": written_5m, "ephemeral_1h_input_tokens": written_1h},
        "output_tokens": output_tokens,
        "service_tier": "standard",
    })
}

fn content_block(block: &Block) -> Value {
    match block {
        Block::Thinking { signature, .. } => {
            json!({"type": "thinking", "thinking": block.text(), "signature": signature})
        }
        Block::Text { .. } => json!({"type": "text", "text": block.text()}),
        Block::Tool { id, name, input, .. } => {
            json!({"type": "tool_use", "id": format!("toolu_{id}"), "name": name, "input": input})
        }
    }
}

fn empty_block(block: &Block) -> Value {
    match block {
        Block::Thinking { .. } => json!({"type": "thinking", "thinking": "", "signature": ""}),
        Block::Text { .. } => json!({"type": "text", "text": ""}),
        Block::Tool { id, name, .. } => {
            json!({"type": "tool_use", "id": format!("toolu_{id}"), "name": name, "input": {}})
        }
    }
}

/// The deltas of a block and the tokens each costs.
fn deltas(block: &Block) -> Vec<(Value, u64)> {
    let pieces = block.pieces().iter();
    match block {
        Block::Thinking { signature, .. } => pieces
            .map(|piece| (json!({"type": "thinking_delta", "thinking": piece}), 1))
            .chain([(json!({"type": "signature_delta", "signature": signature}), 0)])
            .collect(),
        Block::Text { .. } => pieces.map(|piece| (json!({"type": "text_delta", "text": piece}), 1)).collect(),
        Block::Tool { .. } => [(json!({"type": "input_json_delta", "partial_json": ""}), 0)]
            .into_iter()
            .chain(pieces.map(|piece| (json!({"type": "input_json_delta", "partial_json": piece}), 1)))
            .collect(),
    }
}

fn stop_reason(stop: &Stop) -> (&'static str, Option<&str>) {
    match stop {
        Stop::End => ("end_turn", None),
        Stop::MaxTokens => ("max_tokens", None),
        Stop::Tool => ("tool_use", None),
        Stop::Sequence(sequence) => ("stop_sequence", Some(sequence)),
        Stop::Filtered => ("refusal", None),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::answer::{Prompt, Tool};

    fn plan(text: &str) -> Plan {
        let prompt = Prompt {
            target: "anthropic".to_owned(),
            last_user_text: text.to_owned(),
            tools: vec![Tool {
                name: "f".to_owned(),
                schema: json!({"type": "object", "properties": {"a": {"type": "string"}}}),
            }],
            ..Prompt::default()
        };
        Plan::new(&prompt, 1)
    }

    /// Puts the object together from the events, as a client does.
    fn assembled(events: &[Event]) -> Value {
        let mut message = Value::Null;
        let mut arguments = String::new();
        for Event { payload, .. } in events {
            let block = payload["index"].as_u64().unwrap_or_default() as usize;
            let append = |place: &mut Value, piece: &Value| {
                *place = json!(format!("{}{}", place.as_str().unwrap_or_default(), piece.as_str().unwrap()));
            };
            match payload["type"].as_str().unwrap() {
                "message_start" => message = payload["message"].clone(),
                "content_block_start" => {
                    arguments.clear();
                    message["content"].as_array_mut().unwrap().push(payload["content_block"].clone());
                }
                "content_block_delta" => {
                    let delta = &payload["delta"];
                    let place = &mut message["content"][block];
                    match delta["type"].as_str().unwrap() {
                        "text_delta" => append(&mut place["text"], &delta["text"]),
                        "thinking_delta" => append(&mut place["thinking"], &delta["thinking"]),
                        "signature_delta" => append(&mut place["signature"], &delta["signature"]),
                        _ => {
                            arguments.push_str(delta["partial_json"].as_str().unwrap());
                            if let Ok(input) = serde_json::from_str(&arguments) {
                                place["input"] = input;
                            }
                        }
                    }
                }
                "message_delta" => {
                    message["stop_reason"] = payload["delta"]["stop_reason"].clone();
                    message["usage"]["output_tokens"] = payload["usage"]["output_tokens"].clone();
                }
                _ => {}
            }
        }
        message
    }

    #[test]
    fn the_events_say_what_the_object_says() {
        let envelope = Envelope {
            id: "msg_1".to_owned(),
            model: "m".to_owned(),
            input: Split { fresh: 3, ..Split::default() },
        };
        for text in ["hi", "[[tool]]", "[[think]]", "[[think]][[tool]]"] {
            let plan = plan(text);
            let events = events(&envelope, &plan);
            assert_eq!(assembled(&events), whole(&envelope, &plan), "{text}");
            let tokens: u64 = events.iter().map(|event| event.tokens).sum();
            assert_eq!(tokens, plan.output_tokens());
            assert_eq!(events.last().unwrap().payload["type"], "message_stop");
        }
    }
}
