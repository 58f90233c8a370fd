//! The default mapping and operator templates.

use super::*;
use crate::{Limits, Route};

const TARGET: TargetModel<'static> =
    TargetModel { id: "sonnet", max_tokens_default: Some(100), max_tokens_cap: None };

fn open(protocol: Protocol, body: &Value) -> Envelope {
    let route = Route { protocol, model: None, stream: None };
    Envelope::open(&route, Bytes::from(body.to_string()), &Limits::default()).unwrap()
}

fn openai(body: &Value) -> Envelope {
    open(Protocol::OpenAiChat, body)
}

#[test]
fn the_full_request_becomes_arguments() {
    let envelope = openai(&json!({
        "model": "alias", "stream": true, "user": "u", "seed": 4,
        "messages": [
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": "add"},
            {"role": "assistant", "content": null, "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "add", "arguments": "{\"a\":1}"}}]},
            {"role": "tool", "tool_call_id": "c1", "content": "2"}
        ],
        "tools": [{"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}],
        "tool_choice": "required", "parallel_tool_calls": false, "temperature": 0.5, "stop": "END", "top_p": 0.9,
        "response_format": {"type": "json_object"}
    }));
    let arguments = Value::Object(arguments(&envelope, &TARGET).unwrap());
    assert_eq!(
        arguments,
        json!({
            "model": "sonnet",
            "messages": [
                {"role": "system", "content": "be brief"},
                {"role": "user", "content": "add"},
                {"role": "assistant", "content": null, "tool_calls": [
                    {"id": "c1", "type": "function", "function": {"name": "add", "arguments": "{\"a\":1}"}}]},
                {"role": "tool", "content": "2", "tool_call_id": "c1"}
            ],
            "tools": [{"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}],
            "tool_choice": "required", "parallel_tool_calls": false, "max_tokens": 100, "temperature": 0.5, "top_p": 0.9,
            "stop": ["END"], "response_format": {"type": "json_object"}
        })
    );
}

#[test]
fn what_has_no_argument_is_refused_by_name() {
    for (field, given) in [
        ("n", json!(2)),
        ("logprobs", json!(true)),
        ("reasoning_effort", json!("high")),
        ("functions", json!([{"name": "f"}])),
        ("audio", json!({"voice": "x"})),
    ] {
        let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]});
        body[field] = given;
        let refused = arguments(&openai(&body), &TARGET).unwrap_err();
        let named = if field == "reasoning_effort" { "thinking" } else { field };
        assert!(refused.0.contains(&format!("`{named}`")), "{refused}");
    }
}

#[test]
fn structured_content_is_the_answer() {
    let structured = json!({
        "model": "sonnet", "role": "assistant", "content": "hello", "finish_reason": "length",
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    });
    let answer = reply(Some(&structured), &["hello"]).unwrap();
    assert_eq!(answer.parts, [Part::Text("hello".into())]);
    assert_eq!(answer.stop, Some(StopReason::MaxTokens));
    assert_eq!(answer.usage, outcrop_core::Usage::of(3, 2));
    assert_eq!(reply(None, &[&structured.to_string()]).unwrap(), answer);
}

#[test]
fn tool_calls_come_back() {
    let structured = json!({"content": null, "tool_calls": [
        {"id": "c1", "type": "function", "function": {"name": "add", "arguments": "{\"a\":1}"}}]});
    let answer = reply(Some(&structured), &[]).unwrap();
    let call = Part::ToolUse { id: "c1".into(), name: "add".into(), input: json!({"a": 1}) };
    assert_eq!(answer.parts, [call]);
    assert_eq!(answer.stop, Some(StopReason::ToolUse));
    assert_eq!(answer.usage, outcrop_core::Usage::default());
}

#[test]
fn plain_text_is_an_answer_without_usage() {
    let answer = reply(Some(&json!({"other": 1})), &["a", "{\"x\":1}"]).unwrap();
    assert_eq!(answer.parts, [Part::Text("a".into()), Part::Text("{\"x\":1}".into())]);
    assert!(!answer.usage.is_complete());
    assert!(reply(None, &[]).is_err());
    assert!(reply(Some(&json!({"other": 1})), &[]).unwrap_err().0.contains("other"));
}

fn template(value: Value) -> Template {
    serde_json::from_value(value).unwrap()
}

#[test]
fn a_template_fills_typed_values_and_text() {
    let template = template(json!({
        "arguments": {
            "message": "${last_user_text}", "conversation": "${messages}", "limit": "${max_tokens}",
            "heat": "${temperature}", "title": "Ask ${model}: ${last_user_text}",
            "nested": {"system": ["${system}", "fixed", 7]}
        },
        "result": {"text": "/content/0/text"}
    }));
    template.check().unwrap();
    let envelope = openai(&json!({"model": "m", "messages": [
        {"role": "system", "content": "brief"}, {"role": "user", "content": "hi ${model}"}]}));
    let filled = Value::Object(template.arguments(&envelope, &TARGET).unwrap());
    assert_eq!(
        filled,
        json!({
            "message": "hi ${model}",
            "conversation": [{"role": "system", "content": "brief"},
                {"role": "user", "content": "hi ${model}"}],
            "limit": 100, "title": "Ask sonnet: hi ${model}",
            "nested": {"system": ["brief", "fixed", 7]}
        })
    );
    let capped = TargetModel { max_tokens_cap: Some(40), ..TARGET };
    assert_eq!(template.arguments(&envelope, &capped).unwrap()["limit"], 40);
    assert!(template.limits_output());
}

#[test]
fn a_template_without_a_place_for_the_limit_says_so() {
    let unlimited = json!({"arguments": {"m": "${last_user_text} ${model}"}, "result": {"text": "/a"}});
    assert!(!template(unlimited).limits_output());
}

#[test]
fn a_template_reads_the_result_by_pointers() {
    let template = template(json!({
        "arguments": {"m": "${last_user_text}"},
        "result": {"text": "/content/0/text", "input_tokens": "/structuredContent/usage/in",
            "output_tokens": "/structuredContent/usage/out", "finish_reason": "/structuredContent/why"}
    }));
    let result = json!({"content": [{"type": "text", "text": "hello"}],
        "structuredContent": {"usage": {"in": 3, "out": 4}, "why": "length"}});
    let answer = template.reply(&result).unwrap();
    assert_eq!(answer.parts, [Part::Text("hello".into())]);
    assert_eq!(answer.usage, outcrop_core::Usage::of(3, 4));
    assert_eq!(answer.stop, Some(StopReason::MaxTokens));
    let empty = template.reply(&json!({"content": []})).unwrap_err();
    assert!(empty.0.contains("/content/0/text"), "{empty}");
    let partly = template.reply(&json!({"content": [{"text": "x"}]})).unwrap();
    assert_eq!(partly.usage, outcrop_core::Usage::default());
}

#[test]
fn a_template_refuses_what_it_has_no_place_for() {
    let template = template(json!({
        "arguments": {"m": "${last_user_text}"}, "result": {"text": "/content/0/text"}}));
    let check = |body: Value, field: &str| {
        let refused = template.arguments(&openai(&body), &TARGET).unwrap_err();
        assert!(refused.0.contains(&format!("`{field}`")), "{refused}");
    };
    let user = json!({"role": "user", "content": "hi"});
    let tool = json!({"type": "function", "function": {"name": "f"}});
    check(json!({"model": "m", "messages": [user], "tools": [tool]}), "tools");
    check(json!({"model": "m", "messages": [{"role": "system", "content": "s"}, user]}), "system");
    let history = json!([user, {"role": "assistant", "content": "a"}, user]);
    check(json!({"model": "m", "messages": history}), "messages");
    check(json!({"model": "m", "messages": [user], "stop": ["x"]}), "stop");
}

#[test]
fn a_template_with_tools_refuses_a_choice_it_cannot_carry() {
    let template = template(json!({
        "arguments": {"m": "${messages}", "t": "${tools}"}, "result": {"text": "/content/0/text"}}));
    let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}],
        "tools": [{"type": "function", "function": {"name": "f"}}], "tool_choice": "auto"});
    assert!(template.arguments(&openai(&body), &TARGET).is_ok());
    body["tool_choice"] = json!("required");
    let refused = template.arguments(&openai(&body), &TARGET).unwrap_err();
    assert!(refused.0.contains("`tool_choice`"), "{refused}");
    body["tool_choice"] = json!("auto");
    body["parallel_tool_calls"] = json!(false);
    let refused = template.arguments(&openai(&body), &TARGET).unwrap_err();
    assert!(refused.0.contains("`parallel_tool_calls`"), "{refused}");
}

#[test]
fn a_template_that_cannot_work_is_refused() {
    let check = |arguments: Value, text: &str| {
        template(json!({"arguments": arguments, "result": {"text": text}})).check().unwrap_err()
    };
    let unknown = check(json!({"a": ["${messages}", "${mesages}"]}), "/a").to_string();
    assert!(unknown.contains("${mesages}") && unknown.contains("last_user_text"), "{unknown}");
    let unclosed = check(json!({"a": "${messages"}), "/a");
    assert!(matches!(unclosed, TemplateError::Unclosed { .. }));
    let pointer = check(json!({"a": "${messages}"}), "content.0");
    assert!(matches!(pointer, TemplateError::NoPointer { .. }));
    assert_eq!(check(json!({"a": "${model}"}), "/a"), TemplateError::NoConversation);
}

#[test]
fn a_caller_of_the_tool_gets_the_same_shape_back() {
    let envelope = open(
        Protocol::McpTool,
        &json!({"model": "sonnet", "messages": [
        {"role": "user", "content": "hi"}], "max_tokens": 5}),
    );
    assert_eq!(envelope.max_tokens, Some(5));
    let context = AnswerContext {
        request_id: "r".into(),
        model: "sonnet".into(),
        created: 1,
        stream_usage: false,
        base64: false,
        latency_ms: 0,
    };
    let answer = ChatReply {
        model: "sonnet".into(),
        parts: vec![Part::Text("hello".into())],
        stop: Some(StopReason::EndTurn),
        usage: outcrop_core::Usage { cache_read: Some(0), ..outcrop_core::Usage::of(1, 2) },
        ..ChatReply::default()
    };
    assert_eq!(decode_reply(&encode_reply(&context, &answer)).unwrap(), answer);
}
