//! Dresses planned answers as chat completions: one object, or the chunks of a stream.
//!
//! Pure. Thinking is never shown by this protocol; it appears only as `reasoning_tokens` in the usage. Completions of
//! one request stream side by side, piece by piece in turns, so that a client that ignores `index` is found out.

use serde_json::{Value, json};

use crate::answer::{Block, Plan, Stop};

/// What all objects of one answer share.
#[derive(Debug, Clone)]
pub(super) struct Envelope {
    /// `chatcmpl-…`.
    pub(super) id: String,
    /// Seconds since 1970.
    pub(super) created_s: u64,
    /// The model as the client named it.
    pub(super) model: String,
}

/// One chunk and the output tokens it carries.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Chunk {
    /// The JSON object.
    pub(super) object: Value,
    /// Output tokens that are generated with it.
    pub(super) tokens: u64,
}

const FINGERPRINT: &str = "fp_outcroplab";

/// The answer in one piece.
pub(super) fn whole(envelope: &Envelope, plans: &[Plan], prompt_tokens: u64) -> Value {
    let choices: Vec<Value> = plans
        .iter()
        .enumerate()
        .map(|(index, plan)| {
            json!({"index": index, "message": message(plan), "logprobs": null, "finish_reason": finish_reason(&plan.stop)})
        })
        .collect();
    json!({
        "id": envelope.id,
        "object": "chat.completion",
        "created": envelope.created_s,
        "model": envelope.model,
        "choices": choices,
        "usage": usage(plans, prompt_tokens),
        "service_tier": "default",
        "system_fingerprint": FINGERPRINT,
    })
}

/// The answer as the chunks of a stream, without the closing `[DONE]`.
pub(super) fn chunks(
    envelope: &Envelope,
    plans: &[Plan],
    prompt_tokens: u64,
    include_usage: bool,
) -> Vec<Chunk> {
    let dress = |choices: Value, usage: Value| {
        let mut object = json!({
            "id": envelope.id,
            "object": "chat.completion.chunk",
            "created": envelope.created_s,
            "model": envelope.model,
            "service_tier": "default",
            "system_fingerprint": FINGERPRINT,
            "choices": choices,
        });
        // With the option every chunk has the member, null until the last.
        if include_usage {
            object["usage"] = usage;
        }
        object
    };
    let mut lanes: Vec<_> = plans
        .iter()
        .enumerate()
        .map(|(index, plan)| deltas(plan).into_iter().map(move |delta| (index, delta)))
        .collect();
    let mut chunks = Vec::new();
    loop {
        let round: Vec<_> = lanes.iter_mut().filter_map(Iterator::next).collect();
        if round.is_empty() {
            break;
        }
        for (index, Delta { content, finish, tokens }) in round {
            let choice =
                json!([{"index": index, "delta": content, "logprobs": null, "finish_reason": finish}]);
            chunks.push(Chunk { object: dress(choice, Value::Null), tokens });
        }
    }
    if include_usage {
        chunks.push(Chunk { object: dress(json!([]), usage(plans, prompt_tokens)), tokens: 0 });
    }
    chunks
}

/// The usage object of all completions together.
pub(super) fn usage(plans: &[Plan], prompt_tokens: u64) -> Value {
    let completion_tokens: u64 = plans.iter().map(Plan::output_tokens).sum();
    json!({
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": plans.iter().map(hidden_tokens).sum::<u64>(),
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    })
}

/// The assistant message of a planned answer; the MCP tool `converse` shows the same calls.
pub(crate) fn tool_calls(plan: &Plan) -> Vec<Value> {
    plan.blocks
        .iter()
        .filter_map(|block| match block {
            Block::Tool { id, name, .. } => Some(json!({
                "id": format!("call_{id}"),
                "type": "function",
                "function": {"name": name, "arguments": block.text()},
            })),
            _ => None,
        })
        .collect()
}

/// The text of a planned answer without its thinking.
pub(crate) fn text(plan: &Plan) -> String {
    plan.blocks.iter().filter(|block| matches!(block, Block::Text { .. })).map(Block::text).collect()
}

/// Why the answer ends, in this protocol's words.
pub(crate) fn finish_reason(stop: &Stop) -> &'static str {
    match stop {
        Stop::End | Stop::Sequence(_) => "stop",
        Stop::MaxTokens => "length",
        Stop::Tool => "tool_calls",
        Stop::Filtered => "content_filter",
    }
}

fn message(plan: &Plan) -> Value {
    let calls = tool_calls(plan);
    let mut message = json!({"role": "assistant", "content": text(plan), "refusal": null, "annotations": []});
    if !calls.is_empty() {
        if message["content"] == "" {
            message["content"] = Value::Null;
        }
        message["tool_calls"] = Value::Array(calls);
    }
    message
}

fn hidden_tokens(plan: &Plan) -> u64 {
    let thinking = plan.blocks.iter().filter(|block| matches!(block, Block::Thinking { .. }));
    thinking.map(|block| block.pieces().len() as u64).sum()
}

struct Delta {
    content: Value,
    finish: Option<&'static str>,
    tokens: u64,
}

fn deltas(plan: &Plan) -> Vec<Delta> {
    let calls = plan.stop == Stop::Tool;
    let opening = if calls { Value::Null } else { json!("") };
    let mut deltas = vec![Delta {
        content: json!({"role": "assistant", "content": opening, "refusal": null}),
        finish: None,
        tokens: hidden_tokens(plan),
    }];
    let mut call = 0_u64;
    for block in &plan.blocks {
        match block {
            Block::Thinking { .. } => {}
            Block::Text { pieces } => deltas.extend(pieces.iter().map(|piece| Delta {
                content: json!({"content": piece}),
                finish: None,
                tokens: 1,
            })),
            Block::Tool { id, name, pieces, .. } => {
                deltas.push(Delta {
                    content: json!({"tool_calls": [{"index": call, "id": format!("call_{id}"), "type": "function",
                        "function": {"name": name, "arguments": ""}}]}),
                    finish: None,
                    tokens: 0,
                });
                deltas.extend(pieces.iter().map(|piece| Delta {
                    content: json!({"tool_calls": [{"index": call, "function": {"arguments": piece}}]}),
                    finish: None,
                    tokens: 1,
                }));
                call += 1;
            }
        }
    }
    deltas.push(Delta { content: json!({}), finish: Some(finish_reason(&plan.stop)), tokens: 0 });
    deltas
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::answer::{Choice, Prompt, Tool};

    fn envelope() -> Envelope {
        Envelope { id: "chatcmpl-1".to_owned(), created_s: 1, model: "gpt-4o-mini".to_owned() }
    }

    fn plan(text: &str) -> Plan {
        let prompt = Prompt {
            target: "openai".to_owned(),
            last_user_text: text.to_owned(),
            tools: vec![Tool {
                name: "f".to_owned(),
                schema: json!({"type": "object", "properties": {"a": {"type": "string"}}}),
            }],
            choice: Choice::Auto,
            ..Prompt::default()
        };
        Plan::new(&prompt, 1)
    }

    #[test]
    fn the_chunks_say_what_the_whole_says() {
        for text in ["hi", "[[tool]]", "[[think]]"] {
            let plans = [plan(text)];
            let whole = whole(&envelope(), &plans, 5);
            let chunks = chunks(&envelope(), &plans, 5, true);
            let join = |pointer: &str| -> String {
                chunks.iter().filter_map(|chunk| chunk.object.pointer(pointer)?.as_str()).collect()
            };
            assert_eq!(
                join("/choices/0/delta/content"),
                whole["choices"][0]["message"]["content"].as_str().unwrap_or_default()
            );
            assert_eq!(
                join("/choices/0/delta/tool_calls/0/function/arguments"),
                whole
                    .pointer("/choices/0/message/tool_calls/0/function/arguments")
                    .and_then(Value::as_str)
                    .unwrap_or_default()
            );
            assert_eq!(
                join("/choices/0/finish_reason"),
                whole["choices"][0]["finish_reason"].as_str().unwrap()
            );
            let tokens: u64 = chunks.iter().map(|chunk| chunk.tokens).sum();
            assert_eq!(Some(tokens), whole["usage"]["completion_tokens"].as_u64());
            assert_eq!(chunks.last().unwrap().object["usage"], whole["usage"]);
        }
    }

    #[test]
    fn without_the_option_no_chunk_has_usage() {
        let chunks = chunks(&envelope(), &[plan("hi")], 5, false);
        assert!(chunks.iter().all(|chunk| chunk.object.get("usage").is_none()));
        assert_eq!(chunks[0].object["choices"][0]["delta"]["role"], "assistant");
    }

    #[test]
    fn completions_stream_in_turns() {
        let chunks = chunks(&envelope(), &[plan("hi"), plan("hi")], 5, false);
        let order: Vec<u64> =
            chunks.iter().map(|chunk| chunk.object["choices"][0]["index"].as_u64().unwrap()).collect();
        assert!(order.starts_with(&[0, 1, 0, 1]));
    }
}
