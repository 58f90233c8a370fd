//! What the decoder accepts and in which words it refuses.
#![allow(clippy::unwrap_used, reason = "tests")]

use serde_json::{Value, json};

use super::*;

fn user(text: &str) -> Value {
    json!({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": text}]})
}

fn with(extra: &Value) -> Value {
    let mut body = user("hi, json please");
    for (name, value) in extra.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

#[test]
fn the_last_user_text_is_found_behind_parts_and_tool_results() {
    let body = json!({"model": "m", "messages": [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": [
            {"type": "text", "text": "look"},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]},
        {"role": "assistant", "content": null, "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}},
            {"id": "c2", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "c2", "content": "first"},
        {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "second"}]}]});
    let chat = Chat::decode("openai", &body).unwrap();
    assert_eq!(chat.prompt.last_user_text, "look");
    assert_eq!(chat.prompt.tool_result.as_deref(), Some("first\nsecond"));
    assert!(chat.prompt_tokens > crate::tokens::MEDIA_TOKENS);
}

#[test]
fn limits_stops_tools_and_format_are_read() {
    let chat = Chat::decode("openai", &with(&json!({
        "stream": true, "stream_options": {"include_usage": true}, "n": 3, "max_completion_tokens": 7, "stop": "END",
        "tools": [{"type": "function", "function": {"name": "look_up"}}],
        "tool_choice": {"type": "function", "function": {"name": "look_up"}},
        "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}
    })))
    .unwrap();
    assert!(chat.stream && chat.include_usage);
    assert_eq!((chat.n, chat.prompt.max_tokens), (3, Some(7)));
    assert_eq!(chat.prompt.stop_sequences, ["END"]);
    assert_eq!(chat.prompt.tools[0].name, "look_up");
    assert_eq!(chat.prompt.choice, Choice::Named("look_up".to_owned()));
    assert_eq!(chat.prompt.json, Some(Some(json!({"type": "object"}))));
}

#[test]
fn refusals_name_the_member_and_the_code() {
    let check = |body: Value, param: &str, code: Option<&str>| {
        let refusal = Chat::decode("openai", &body).unwrap_err();
        assert_eq!((refusal.param.as_deref(), refusal.code), (Some(param), code), "{body}");
    };
    check(json!({"messages": []}), "model", None);
    check(json!({"model": "m"}), "messages", Some("missing_required_parameter"));
    check(json!({"model": "m", "messages": []}), "messages", Some("empty_array"));
    check(json!({"model": "m", "messages": [{"role": "robot"}]}), "messages[0].role", Some("invalid_value"));
    check(with(&json!({"temperature": 3})), "temperature", Some("decimal_above_max_value"));
    check(with(&json!({"n": 9})), "n", Some("integer_above_max_value"));
    check(with(&json!({"max_tokens": 0})), "max_tokens", Some("integer_below_min_value"));
    check(
        with(&json!({"max_tokens": 1, "max_completion_tokens": 1})),
        "max_tokens",
        Some("invalid_parameter_combination"),
    );
    check(with(&json!({"tools": []})), "tools", Some("empty_array"));
    check(with(&json!({"tool_choice": "auto"})), "tool_choice", None);
    check(with(&json!({"stream_options": {}})), "stream_options", None);
    check(
        with(&json!({"tools": [{"type": "function", "function": {"name": "a b"}}]})),
        "tools[0].function.name",
        Some("invalid_value"),
    );
}

#[test]
fn tool_results_must_answer_calls() {
    let orphan = json!({"model": "m", "messages": [{"role": "tool", "tool_call_id": "x", "content": "r"}]});
    assert!(Chat::decode("openai", &orphan).unwrap_err().message.contains("preceeding message"));
    let open = json!({"model": "m", "messages": [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "tool_calls": [{"id": "c1"}]},
        {"role": "user", "content": "and?"}]});
    assert!(
        Chat::decode("openai", &open).unwrap_err().message.contains("did not have response messages: c1")
    );
}

#[test]
fn json_mode_needs_the_word_json_at_openai_only() {
    let mut body = user("hello");
    body["response_format"] = json!({"type": "json_object"});
    assert_eq!(Chat::decode("openai", &body).unwrap_err().param.as_deref(), Some("messages"));
    assert_eq!(Chat::decode_loosely("desk", &body).unwrap().prompt.json, Some(None));
}
