//! Golden bodies and streams, every split point, round trips.

use outcrop_core::ask::{Format, Thinking};
use outcrop_core::{Chat, Event, Protocol};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::dialect::trial::{
    CLAUDE, chat, chats, context, encoded, events, gathered, holds_at_every_split, replies, run,
};
use crate::{Mode, StreamError};

const HERE: Protocol = Protocol::AnthropicMessages;
const REQUEST: &[u8] = include_bytes!("../../../tests/golden/anthropic/request.json");
const REPLY: &[u8] = include_bytes!("../../../tests/golden/anthropic/reply.json");
const STREAM: &str = include_str!("../../../tests/golden/anthropic/stream.sse");
const OVERLOADED: &str = include_str!("../../../tests/golden/anthropic/stream_overloaded.sse");

fn golden(name: &str, content: &str) {
    insta::with_settings!({
        snapshot_path => "../../../tests/golden/anthropic",
        prepend_module_to_snapshot => false,
        omit_expression => true,
    }, { insta::assert_snapshot!(name, content) });
}

fn pretty(body: &[u8]) -> String {
    let value: Value = serde_json::from_slice(body).unwrap();
    serde_json::to_string_pretty(&value).unwrap()
}

fn read(body: &Value) -> Chat {
    chat(decode_request(body.to_string().as_bytes()))
}

fn written(chat: &Chat) -> Value {
    serde_json::from_slice(&encode_request(chat, false, &CLAUDE).unwrap()).unwrap()
}

#[test]
fn request_is_read_and_written_again() {
    let chat = chat(decode_request(REQUEST));
    golden("request_read", &format!("{chat:#?}"));
    golden("request_again", &pretty(&encode_request(&chat, true, &CLAUDE).unwrap()));
}

#[test]
fn reply_is_read_and_written() {
    let reply = decode_reply(REPLY).unwrap();
    golden("reply_read", &format!("{reply:#?}"));
    golden("reply_again", &pretty(&encode_reply(&context(), &reply)));
}

#[test]
fn stream_is_read_and_written() {
    let read = events(HERE, Mode::Decode, STREAM.as_bytes());
    golden("stream_read", &format!("{read:#?}"));
    let again = encoded(HERE, &read);
    golden("stream_again", std::str::from_utf8(&again).unwrap());
    assert_eq!(gathered(events(HERE, Mode::Decode, &again)), {
        let mut reply = gathered(read);
        reply.model = "sonnet".into();
        reply
    });
}

#[test]
fn stream_is_observed_without_its_content() {
    let observed = events(HERE, Mode::Observe, STREAM.as_bytes());
    golden("stream_observed", &format!("{observed:#?}"));
}

#[test]
fn stream_holds_at_every_split() {
    holds_at_every_split(HERE, STREAM.as_bytes());
}

#[test]
fn an_error_inside_a_stream_is_the_upstreams_error() {
    for mode in [Mode::Decode, Mode::Observe] {
        let (events, _, end) = run(HERE, mode, &[OVERLOADED.as_bytes()]);
        assert!(!events.iter().any(Event::is_content));
        let Err(StreamError::Upstream(error)) = end else { panic!("{end:?}") };
        assert_eq!((error.status, error.kind.as_str()), (529, "overloaded_error"));
        assert_eq!(error.request_id, "req_011CSHoEeqs5C35K2UUqR7Fy");
    }
}

#[test]
fn pieces_of_another_block_are_garbled() {
    let stream = STREAM.replace(r#""index":2,"delta""#, r#""index":7,"delta""#);
    let (_, _, end) = run(HERE, Mode::Decode, &[stream.as_bytes()]);
    assert!(matches!(end, Err(StreamError::Garbled(_))), "{end:?}");
    let (_, _, end) = run(HERE, Mode::Decode, &[b"event: message_stop\ndata: {nonsense\n\n"]);
    assert!(matches!(end, Err(StreamError::Garbled(_))), "{end:?}");
}

#[test]
fn a_failed_stream_has_an_error_and_no_finish() {
    use bytes::BytesMut;
    let mut encoder = crate::StreamEncoder::new(HERE, context());
    let mut out = BytesMut::new();
    for event in events(HERE, Mode::Decode, STREAM.as_bytes()) {
        if event != Event::Done {
            encoder.encode(&event, &mut out);
        }
    }
    let body = crate::ErrorBody {
        code: outcrop_core::Code::UpstreamFailed,
        reason: outcrop_core::Reason::Internal,
        message: "cut",
        request_id: "r",
        upstream: None,
        status_override: None,
    };
    encoder.fail(&body, &mut out);
    let text = std::str::from_utf8(&out).unwrap();
    assert!(text.ends_with("\n\n") && text.contains("event: error\ndata: {\"type\":\"error\""));
    assert!(!text.contains("message_stop") && !text.contains("\"stop_reason\":\"tool_use\""));
}

#[test]
fn a_block_is_closed_before_the_next_opens() {
    use outcrop_core::event::Block;
    let open = |index| Event::Open { index, block: Block::Text };
    let stream = encoded(HERE, &[open(0), open(1), Event::Done]);
    let text = std::str::from_utf8(&stream).unwrap();
    let names: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("event: ")).collect();
    let [start, stop] = ["content_block_start", "content_block_stop"];
    assert_eq!(names, ["message_start", start, stop, start, stop, "message_delta", "message_stop"]);
}

#[test]
fn what_only_anthropic_has_is_kept_at_home() {
    let body = json!({
        "model": "m", "max_tokens": 5,
        "messages": [{"role": "user", "content": [
            {"type": "search_result", "source": "s", "title": "t", "content": []},
            {"type": "document", "source": {"type": "url", "url": "https://x/y.pdf"},
             "citations": {"enabled": true}}
        ]}],
        "tools": [{"type": "web_search_20250305", "name": "web_search", "max_uses": 5}],
        "thinking": {"type": "adaptive"},
        "context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]},
        "mcp_servers": [{"type": "url", "url": "https://x", "name": "x"}]
    });
    let chat = read(&body);
    let again = written(&chat);
    for field in ["messages", "tools", "thinking", "context_management", "mcp_servers"] {
        assert_eq!(again[field], body[field], "{field}");
    }
}

#[test]
fn shape_and_effort_of_the_answer() {
    let body = json!({
        "messages": [{"role": "user", "content": "hi"}], "max_tokens": 100,
        "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": {"a": 1}}}
    });
    let mut chat = read(&body);
    assert_eq!(chat.thinking, Some(Thinking::Effort("low".into())));
    assert!(matches!(&chat.format, Some(Format::JsonSchema { strict: Some(true), .. })));
    assert_eq!(written(&chat)["output_config"]["format"], body["output_config"]["format"]);

    chat.format = Some(Format::JsonObject);
    let again = written(&chat);
    assert_eq!(again["output_config"], Value::Null);
    assert!(again["system"][0]["text"].as_str().unwrap().contains("one JSON object"));
}

#[test]
fn requests_that_cannot_be_read_name_the_field() {
    let check = |body: Value, field: &str| {
        let rejection = decode_request(body.to_string().as_bytes()).unwrap_err();
        assert_eq!(rejection.field, field, "{}", rejection.message);
        assert!(rejection.message.contains(field), "{}", rejection.message);
    };
    check(json!({"messages": []}), "messages");
    check(json!({"messages": {}}), "messages");
    check(json!({"messages": [{"role": "system", "content": "x"}]}), "messages[0].role");
    check(json!({"messages": [{"role": "user"}]}), "messages[0].content");
    check(json!({"messages": [{"role": "user", "content": 5}]}), "messages[0].content");
    let block = |block: Value| json!({"messages": [{"role": "user", "content": [block]}]});
    check(block(json!({"type": "text"})), "messages[0].content[0].text");
    check(block(json!({"text": "x"})), "messages[0].content[0].type");
    check(block(json!({"type": "tool_use", "name": "x"})), "messages[0].content[0].id");
    let with =
        |name: &str, value: Value| json!({"messages": [{"role": "user", "content": "x"}], name: value});
    check(with("max_tokens", json!(-1)), "max_tokens");
    check(with("temperature", json!("hot")), "temperature");
    check(with("tools", json!([{"name": "x"}])), "tools[0].input_schema");
    check(with("tool_choice", json!({"type": "some"})), "tool_choice.type");
}

#[test]
fn turns_are_joined_and_results_come_first() {
    let body = json!({"max_tokens": 9, "messages": [
        {"role": "user", "content": "a"},
        {"role": "user", "content": [
            {"type": "text", "text": "b"}, {"type": "text", "text": ""},
            {"type": "tool_result", "tool_use_id": "t.1", "content": "r"}
        ]},
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "unsigned"}]}
    ]});
    let again = written(&read(&body));
    assert_eq!(
        again["messages"],
        json!([{"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "t_1", "content": [{"type": "text", "text": "r"}]},
            {"type": "text", "text": "a"},
            {"type": "text", "text": "b"}
        ]}])
    );
    // The history names a tool that is not offered any more.
    assert_eq!(again["tool_choice"], json!({"type": "none"}));
    assert_eq!(again["tools"][0]["name"], "earlier_tool");
}

proptest! {
    #[test]
    fn damaged_bytes_never_panic(at in 0..REQUEST.len(), byte in any::<u8>(), cut in 0..200usize) {
        let damage = |whole: &[u8]| {
            let mut bytes = whole.to_vec();
            let at = at % bytes.len();
            bytes[at] = byte;
            bytes.truncate(whole.len() - cut.min(whole.len()));
            bytes
        };
        drop(decode_request(&damage(REQUEST)));
        drop(decode_reply(&damage(REPLY)));
        for mode in [Mode::Decode, Mode::Observe] {
            drop(run(HERE, mode, &[&damage(STREAM.as_bytes())]));
        }
    }

    #[test]
    fn conversations_round_trip(mut chat in chats()) {
        let bytes = encode_request(&chat, true, &CLAUDE).unwrap();
        chat.protocol = Some(HERE);
        prop_assert_eq!(crate::dialect::trial::chat(decode_request(&bytes)), chat);
    }

    #[test]
    fn replies_round_trip(reply in replies()) {
        let bytes = encode_reply(&context(), &reply);
        prop_assert_eq!(decode_reply(&bytes).unwrap(), reply);
    }

    #[test]
    fn streams_round_trip(reply in replies()) {
        let stream = encoded(HERE, &reply.clone().into_events());
        prop_assert_eq!(gathered(events(HERE, Mode::Decode, &stream)), reply);
    }
}
