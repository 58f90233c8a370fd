//! What the decoder accepts and in which words it refuses.
#![allow(clippy::unwrap_used, reason = "tests")]

use serde_json::{Value, json};

use super::*;

fn with(extra: &Value) -> Value {
    let mut body = json!({"model": "claude-sonnet-4-5", "max_tokens": 100, "messages": [{"role": "user", "content": "hi"}]});
    for (name, value) in extra.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

#[test]
fn a_tool_result_and_the_text_before_it_are_found() {
    let ask = Ask::decode(
        "anthropic",
        &with(&json!({"messages": [
        {"role": "user", "content": [{"type": "text", "text": "look"},
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}]},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1",
            "content": [{"type": "text", "text": "18 degrees"}]}]}]})),
    )
    .unwrap();
    assert_eq!(ask.prompt.last_user_text, "look");
    assert_eq!(ask.prompt.tool_result.as_deref(), Some("18 degrees"));
}

#[test]
fn tools_choice_stops_and_thinking_are_read() {
    let ask = Ask::decode("anthropic", &with(&json!({
        "max_tokens": 4096, "stream": true, "stop_sequences": ["END"],
        "thinking": {"type": "enabled", "budget_tokens": 1024},
        "tools": [{"type": "web_search_20250305", "name": "web_search"}, {"name": "f", "input_schema": {"type": "object"}}],
        "tool_choice": {"type": "auto"}})))
    .unwrap();
    assert!(ask.stream && ask.prompt.thinking);
    assert_eq!(ask.prompt.stop_sequences, ["END"]);
    assert_eq!(ask.prompt.tools.len(), 1);
}

#[test]
fn refusals_begin_with_the_path_of_the_member() {
    let check = |extra: Value, expected: &str| {
        let refusal = Ask::decode("anthropic", &with(&extra)).unwrap_err();
        assert!(refusal.message.contains(expected), "{extra}: {}", refusal.message);
    };
    check(json!({"max_tokens": 0}), "max_tokens: Input should be");
    check(json!({"messages": []}), "at least one message");
    check(json!({"messages": [{"role": "system", "content": "x"}]}), "Unexpected role \"system\"");
    check(json!({"messages": [{"role": "user", "content": ""}]}), "non-empty content");
    check(
        json!({"messages": [{"role": "user", "content": [{"type": "video"}]}]}),
        "messages.0.content.0: Input tag 'video'",
    );
    check(json!({"temperature": 1.5}), "temperature: range: 0..1");
    check(json!({"stream_options": {}}), "stream_options: Extra inputs");
    check(json!({"tools": [{"name": "f"}]}), "tools.0.custom.input_schema: Field required");
    check(json!({"tools": [{"name": "a b", "input_schema": {}}]}), "tools.0.custom.name");
    check(json!({"tool_choice": {"type": "any"}}), "while providing tools");
    check(json!({"thinking": {"type": "enabled", "budget_tokens": 10}}), "greater than or equal to 1024");
    check(
        json!({"thinking": {"type": "enabled", "budget_tokens": 2000}}),
        "must be greater than `thinking.budget_tokens`",
    );
    let unlimited = json!({"model": "claude-sonnet-4-5", "messages": [{"role": "user", "content": "hi"}]});
    assert_eq!(Ask::decode("anthropic", &unlimited).unwrap_err().message, "max_tokens: Field required");
    Ask::decode_unlimited("anthropic", &unlimited).unwrap();
}

#[test]
fn tool_calls_and_results_must_meet() {
    let stray = json!({"messages": [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "x", "content": "r"}]}]});
    assert!(
        Ask::decode("anthropic", &with(&stray)).unwrap_err().message.contains("unexpected `tool_use_id`")
    );
    let open = json!({"messages": [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}}]},
        {"role": "user", "content": "b"}]});
    assert!(
        Ask::decode("anthropic", &with(&open)).unwrap_err().message.starts_with("messages.1: `tool_use` ids")
    );
}

#[test]
fn a_spoiled_signature_is_refused() {
    let thinking = |signature: &str| {
        json!({"messages": [
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm", "signature": signature}]},
            {"role": "user", "content": "b"}]})
    };
    Ask::decode("anthropic", &with(&thinking(&"QUJD".repeat(16)))).unwrap();
    assert!(
        Ask::decode("anthropic", &with(&thinking("QUJD")))
            .unwrap_err()
            .message
            .contains("Invalid `signature`")
    );
}
