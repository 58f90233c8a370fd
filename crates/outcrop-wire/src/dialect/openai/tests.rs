//! Oddities of compatible servers, and what other protocols ask that this one cannot say.

use bytes::{Bytes, BytesMut};
use outcrop_core::ask::{Media, Part, Role, Source, Thinking, Turn};
use outcrop_core::event::{Block, Delta, StopReason};
use outcrop_core::reply::ChatReply;
use outcrop_core::{Chat, Event, Protocol};
use serde_json::{Value, json};

use super::*;
use crate::{AnswerContext, Mode, StreamDecoder, StreamError, TargetModel};

const TARGET: TargetModel<'static> =
    TargetModel { id: "gpt", max_tokens_default: None, max_tokens_cap: None };

/// Gathers a stream of deltas that ends well.
fn gathered(deltas: &[Value]) -> Result<ChatReply, StreamError> {
    let mut decoder = StreamDecoder::new(Protocol::OpenAiChat, Mode::Decode);
    for delta in deltas {
        let chunk = json!({"id": "x", "choices": [{"index": 0, "delta": delta}]});
        decoder.push(Bytes::from(format!("data: {chunk}\n\n")));
    }
    let end = json!({"id": "x", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]});
    decoder.push(Bytes::from(format!("data: {end}\n\ndata: [DONE]\n\n")));
    let mut reply = ChatReply::default();
    while let Some(item) = decoder.next()? {
        item.events.into_iter().for_each(|event| reply.absorb(event));
    }
    decoder.finish()?;
    Ok(reply)
}

fn call(id: &str, name: &str, input: Value) -> Part {
    Part::ToolUse { id: id.into(), name: name.into(), input }
}

fn check_calls(deltas: &[Value], expected: &[Part]) {
    let deltas: Vec<Value> = deltas.iter().map(|call| json!({"tool_calls": [call]})).collect();
    assert_eq!(gathered(&deltas).unwrap().parts, expected, "{deltas:?}");
}

#[test]
fn calls_without_an_index_are_told_apart_by_their_ids() {
    check_calls(
        &[
            json!({"id": "a", "function": {"name": "f", "arguments": "{\"x\":"}}),
            json!({"function": {"arguments": "1}"}}),
            json!({"id": "b", "function": {"name": "g", "arguments": "{}"}}),
        ],
        &[call("a", "f", json!({"x": 1})), call("b", "g", json!({}))],
    );
}

#[test]
fn a_call_may_come_whole_late_or_without_an_id() {
    check_calls(
        &[json!({"index": 0, "id": "a", "function": {"name": "f", "arguments": "{\"x\":1}"}})],
        &[call("a", "f", json!({"x": 1}))],
    );
    check_calls(
        &[
            json!({"index": 0, "id": "a", "function": {"arguments": "{\"x\""}}),
            json!({"index": 0, "function": {"name": "f", "arguments": ":1}"}}),
        ],
        &[call("a", "f", json!({"x": 1}))],
    );
    check_calls(
        &[json!({"index": 0, "function": {"name": "f", "arguments": ""}})],
        &[call("call_0", "f", json!({}))],
    );
}

#[test]
fn arguments_for_a_closed_call_are_garbled() {
    let piece = |index: u32, name: Option<&str>| json!({"tool_calls": [{"index": index, "function": {"name": name, "arguments": "{"}}]});
    let deltas = [piece(0, Some("f")), piece(1, Some("g")), piece(0, None)];
    assert!(matches!(gathered(&deltas), Err(StreamError::Garbled(_))));
}

#[test]
fn further_answers_are_not_mixed_into_the_first() {
    let mut decoder = StreamDecoder::new(Protocol::OpenAiChat, Mode::Decode);
    let chunk = json!({"id": "x", "choices": [
        {"index": 1, "delta": {"content": "second"}}, {"index": 0, "delta": {"content": "first"}}]});
    decoder.push(Bytes::from(format!("data: {chunk}\n\n")));
    let events = decoder.next().unwrap().unwrap().events;
    let texts: Vec<&Event> = events.iter().filter(|e| matches!(e, Event::Delta { .. })).collect();
    assert_eq!(texts, [&Event::Delta { index: 0, delta: Delta::Text("first".into()) }]);
}

#[test]
fn a_chunk_of_another_shape_is_garbled() {
    for data in ["[]", "7", "{\"choices\":7}", "{\"choices\":[7]}", "{", "hello"] {
        for mode in [Mode::Decode, Mode::Observe] {
            let mut decoder = StreamDecoder::new(Protocol::OpenAiChat, mode);
            decoder.push(Bytes::from(format!("data: {data}\n\n")));
            assert!(matches!(decoder.next(), Err(StreamError::Garbled(_))), "{data}");
        }
    }
}

#[test]
fn a_chunk_that_says_nothing_is_passed_over() {
    for mode in [Mode::Decode, Mode::Observe] {
        let mut decoder = StreamDecoder::new(Protocol::OpenAiChat, mode);
        decoder.push(Bytes::from_static(b"data: {\"type\":\"ping\"}\n\n"));
        assert!(decoder.next().unwrap().unwrap().events.is_empty());
        assert_eq!(decoder.finish(), Err(StreamError::Truncated));
    }
}

#[test]
fn arguments_of_several_open_calls_keep_their_numbers() {
    let context = AnswerContext {
        request_id: "r".into(),
        model: "m".into(),
        created: 0,
        stream_usage: false,
        base64: false,
        latency_ms: 0,
    };
    let mut encoder = Encoder::new(context);
    let mut out = BytesMut::new();
    let open = |index, name: &str| Event::Open {
        index,
        block: Block::ToolUse { id: name.into(), name: name.into() },
    };
    let input = |index| Event::Delta { index, delta: Delta::ToolInput(format!("\"{index}\"")) };
    let events = [open(3, "a"), open(4, "b"), input(3), input(4), Event::Close { index: 3 }];
    for event in &events {
        encoder.encode(event, &mut out);
    }
    encoder.encode(&open(5, "c"), &mut out);
    encoder.encode(&Event::Close { index: 5 }, &mut out);
    let text = std::str::from_utf8(&out).unwrap();
    for expected in [
        r#"{"index":0,"function":{"arguments":"\"3\""}}"#,
        r#"{"index":1,"function":{"arguments":"\"4\""}}"#,
        r#"{"index":2,"function":{"arguments":"{}"}}"#,
    ] {
        assert!(text.contains(expected), "{expected} in {text}");
    }
}

fn anthropic(parts: Vec<Part>, role: Role) -> Chat {
    let protocol = Some(Protocol::AnthropicMessages);
    Chat { turns: vec![Turn { role, parts }], protocol, ..Chat::default() }
}

fn written(chat: &Chat) -> Value {
    serde_json::from_slice(&encode_request(chat, false, &TARGET).unwrap()).unwrap()
}

fn refused(chat: &Chat) -> String {
    encode_request(chat, false, &TARGET).unwrap_err().0
}

#[test]
fn results_come_before_what_the_user_says_and_failures_are_said() {
    let result = |id: &str, is_error| Part::ToolResult {
        id: id.into(),
        content: vec![Part::Text("out".into())],
        is_error,
    };
    let parts = vec![Part::Text("go on".into()), result("a", false), result("b", true)];
    let chat = anthropic(parts, Role::User);
    assert_eq!(
        written(&chat)["messages"],
        json!([
            {"role": "tool", "content": "out", "tool_call_id": "a"},
            {"role": "tool", "content": "Error: out", "tool_call_id": "b"},
            {"role": "user", "content": "go on"}
        ])
    );
}

#[test]
fn reasoning_and_cache_points_of_the_history_are_left_out() {
    let parts = vec![
        Part::Thinking { text: "hm".into(), signature: Some("s".into()) },
        Part::RedactedThinking("x".into()),
        Part::Text("hello".into()),
        Part::CachePoint { ttl: None },
    ];
    let chat = anthropic(parts, Role::Assistant);
    assert_eq!(written(&chat)["messages"], json!([{"role": "assistant", "content": "hello"}]));
    let only = anthropic(vec![Part::RedactedThinking("x".into())], Role::Assistant);
    assert_eq!(written(&only)["messages"], json!([]));
}

#[test]
fn pictures_and_documents_become_data_urls() {
    let media = |kind: &str, source| Media { media_type: kind.into(), source };
    let parts = vec![
        Part::Image(media("image/png", Source::Base64("AAAA".into()))),
        Part::Image(media("", Source::Url("https://example.com/a.png".into()))),
        Part::Document {
            media: media("application/pdf", Source::Base64("BBBB".into())),
            name: Some("a.pdf".into()),
        },
    ];
    assert_eq!(
        written(&anthropic(parts, Role::User))["messages"][0]["content"],
        json!([
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
            {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
            {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,BBBB"}}
        ])
    );
    let url = media("application/pdf", Source::Url("https://example.com/a.pdf".into()));
    let document = Part::Document { media: url, name: None };
    assert!(refused(&anthropic(vec![document], Role::User)).contains("document behind a URL"));
}

#[test]
fn what_cannot_be_said_is_refused_by_name() {
    let mut chat = anthropic(vec![Part::Text("hi".into())], Role::User);
    chat.sampling.top_k = Some(5);
    assert!(refused(&chat).contains("`top_k`"));
    chat.sampling.top_k = None;
    chat.extra.insert("mcp_servers".into(), json!([{"url": "x"}]));
    assert!(refused(&chat).contains("`mcp_servers`"));
    chat.extra.clear();
    chat.thinking = Some(Thinking::Native(json!({"type": "other"})));
    assert!(refused(&chat).contains("`thinking`"));
    let native = Part::Native(json!({"type": "search_result", "x": 1}));
    assert!(refused(&anthropic(vec![native], Role::User)).contains("`search_result`"));
}

#[test]
fn budgets_of_reasoning_become_efforts() {
    let check = |thinking: Thinking, expected: Value| {
        let mut chat = anthropic(vec![Part::Text("hi".into())], Role::User);
        chat.thinking = Some(thinking);
        assert_eq!(written(&chat)["reasoning_effort"], expected);
    };
    check(Thinking::Budget(1024), json!("low"));
    check(Thinking::Budget(4096), json!("medium"));
    check(Thinking::Budget(32_000), json!("high"));
    check(Thinking::Effort("minimal".into()), json!("minimal"));
    check(Thinking::Off, Value::Null);
    check(Thinking::Native(json!({"type": "adaptive"})), Value::Null);
}

#[test]
fn a_speakers_name_is_kept_here_and_refused_elsewhere() {
    let body = json!({"model": "m", "messages": [{"role": "user", "content": "hi", "name": "ann"}]});
    let ask = decode_request(body.to_string().as_bytes()).unwrap();
    let outcrop_core::Ask::Chat(chat) = ask else { panic!("no conversation") };
    assert_eq!(written(&chat)["messages"], body["messages"]);
    let refusal = crate::dialect::converse::encode_request(&chat, false, &TARGET).unwrap_err();
    assert!(refusal.0.contains("`participant_name`"), "{refusal}");
}

#[test]
fn reasons_of_the_end_map_both_ways() {
    for (reason, finish) in [
        (StopReason::EndTurn, "stop"),
        (StopReason::MaxTokens, "length"),
        (StopReason::ToolUse, "tool_calls"),
        (StopReason::Filtered, "content_filter"),
    ] {
        assert_eq!(finish_reason(reason), finish);
        assert_eq!(stop_reason(finish), reason);
    }
    assert_eq!(finish_reason(StopReason::ContextWindow), "length");
    assert_eq!(finish_reason(StopReason::Refusal), "content_filter");
    assert_eq!(stop_reason("eos"), StopReason::EndTurn);
}
