//! The fixed answers of the upstream, byte for byte as the real services shape them.
//!
//! Sizes never vary, so that the bare proxy and the gateway move the same bytes. Content events carry `tok-1`,
//! `tok-2`, …, which makes loss and reordering visible to `verify`.

use aws_smithy_eventstream::frame::write_message_to;
use aws_smithy_types::event_stream::{Header, HeaderValue, Message};
use bytes::Bytes;
use serde_json::{Value, json};

/// The last words of every whole answer; a client that has them has the answer.
pub(crate) const WHOLE_END: &str = "end-of-recorded-answer";

const CREATED: u64 = 1_790_000_000;

/// The text of the `number`-th content event, counted from 1.
pub(crate) fn event_text(number: usize) -> String {
    format!("tok-{number} ")
}

fn whole_text() -> String {
    let words: String = (1..=48).map(event_text).collect();
    format!("Recorded answer: {words}{WHOLE_END}")
}

/// A chat completion.
pub(crate) fn openai_whole() -> Bytes {
    let answer = json!({
        "id": "chatcmpl-bench000000000000000000000001",
        "object": "chat.completion",
        "created": CREATED,
        "model": "gpt-4o-mini-2024-07-18",
        "choices": [{
            "index": 0,
            "message": {"role": "assistant", "content": whole_text(), "refusal": null, "annotations": []},
            "logprobs": null,
            "finish_reason": "stop",
        }],
        "usage": usage_openai(50),
        "service_tier": "default",
        "system_fingerprint": "fp_bench",
    });
    Bytes::from(answer.to_string())
}

/// A Converse answer.
pub(crate) fn converse_whole() -> Bytes {
    let answer = json!({
        "metrics": {"latencyMs": 412},
        "output": {"message": {"content": [{"text": whole_text()}], "role": "assistant"}},
        "stopReason": "end_turn",
        "usage": usage_bedrock(50),
    });
    Bytes::from(answer.to_string())
}

/// A streamed chat completion with `events` content events: one server-sent event per element.
pub(crate) fn openai_stream(events: usize) -> Vec<Bytes> {
    let chunk = |choices: &Value, usage: &Value| {
        let body = json!({
            "id": "chatcmpl-bench000000000000000000000001",
            "object": "chat.completion.chunk",
            "created": CREATED,
            "model": "gpt-4o-mini-2024-07-18",
            "service_tier": "default",
            "system_fingerprint": "fp_bench",
            "choices": choices,
            "usage": usage,
        });
        Bytes::from(format!("data: {body}\n\n"))
    };
    let choice = |delta: &Value, finish: &Value| json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish}]);
    let role = json!({"role": "assistant", "content": "", "refusal": null});
    let mut stream = vec![chunk(&choice(&role, &Value::Null), &Value::Null)];
    stream.extend(
        (1..=events).map(|number| {
            chunk(&choice(&json!({"content": event_text(number)}), &Value::Null), &Value::Null)
        }),
    );
    stream.push(chunk(&choice(&json!({}), &json!("stop")), &Value::Null));
    stream.push(chunk(&json!([]), &usage_openai(events)));
    stream.push(Bytes::from_static(b"data: [DONE]\n\n"));
    stream
}

/// A Converse stream with `events` content events: one event-stream frame per element, checksums included.
pub(crate) fn converse_stream(events: usize) -> Vec<Bytes> {
    let mut stream = vec![frame("messageStart", &json!({"p": "abcdefgh", "role": "assistant"}))];
    stream.extend((1..=events).map(|number| {
        let delta =
            json!({"contentBlockIndex": 0, "delta": {"text": event_text(number)}, "p": "abcdefghijkl"});
        frame("contentBlockDelta", &delta)
    }));
    stream.push(frame("contentBlockStop", &json!({"contentBlockIndex": 0, "p": "abcd"})));
    stream.push(frame("messageStop", &json!({"p": "abcdef", "stopReason": "end_turn"})));
    let metadata = json!({"metrics": {"latencyMs": 5012}, "p": "abcdefghij", "usage": usage_bedrock(events)});
    stream.push(frame("metadata", &metadata));
    stream
}

fn frame(event: &'static str, payload: &Value) -> Bytes {
    let text = |value: &'static str| HeaderValue::String(value.into());
    let message = Message::new(payload.to_string())
        .add_header(Header::new(":event-type", text(event)))
        .add_header(Header::new(":content-type", text("application/json")))
        .add_header(Header::new(":message-type", text("event")));
    let mut bytes = Vec::new();
    write_message_to(&message, &mut bytes)
        .expect("invariant: three short headers and a small payload always encode");
    Bytes::from(bytes)
}

fn usage_openai(output: usize) -> Value {
    json!({
        "prompt_tokens": 75,
        "completion_tokens": output,
        "total_tokens": 75 + output,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    })
}

fn usage_bedrock(output: usize) -> Value {
    json!({"inputTokens": 75, "outputTokens": output, "totalTokens": 75 + output})
}
