//! Golden bodies and streams, every split point, round trips.

use bytes::{Bytes, BytesMut};
use outcrop_core::ask::{Format, Media, Part, Role, Source, Thinking, Tool, ToolChoice, Turn};
use outcrop_core::{Chat, Event, Protocol};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::dialect::anthropic;
use crate::dialect::trial::{
    CLAUDE, NOVA, chat, chats, context, converse_frames, encoded, events, gathered, holds_at_every_split,
    replies, run,
};
use crate::framing::event_stream;
use crate::{Inexpressible, Mode, StreamError};

const HERE: Protocol = Protocol::BedrockConverse;
const REQUEST: &[u8] = include_bytes!("../../../tests/golden/converse/request.json");
const REPLY: &[u8] = include_bytes!("../../../tests/golden/converse/reply.json");
const GUARDED: &[u8] = include_bytes!("../../../tests/golden/converse/reply_guardrail.json");
const STREAM: &str = include_str!("../../../tests/golden/converse/stream.jsonl");
const STREAM_GUARDED: &str = include_str!("../../../tests/golden/converse/stream_guardrail.jsonl");
const FROM_ANTHROPIC: &[u8] = include_bytes!("../../../tests/golden/anthropic/request.json");

fn golden(name: &str, content: &str) {
    insta::with_settings!({
        snapshot_path => "../../../tests/golden/converse",
        prepend_module_to_snapshot => false,
        omit_expression => true,
    }, { insta::assert_snapshot!(name, content) });
}

fn pretty(body: &[u8]) -> String {
    let value: Value = serde_json::from_slice(body).unwrap();
    serde_json::to_string_pretty(&value).unwrap()
}

/// A stream's frames as lines, for reading.
fn lines(stream: &Bytes) -> String {
    let mut framer = event_stream::Framer::default();
    framer.push(stream.clone());
    let mut lines = Vec::new();
    while let Some(raw) = framer.next_raw().unwrap() {
        let message = event_stream::read(&raw).unwrap();
        assert_eq!(event_stream::header(&message, ":content-type"), Some("application/json"));
        let kind = event_stream::header(&message, ":event-type").unwrap();
        lines.push(format!("{kind} {}", std::str::from_utf8(message.payload()).unwrap()));
    }
    lines.join("\n")
}

fn user(parts: Vec<Part>) -> Turn {
    Turn { role: Role::User, parts }
}

fn said(text: &str) -> Chat {
    Chat { turns: vec![user(vec![Part::Text(text.into())])], ..Chat::default() }
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
fn request_of_anthropic_becomes_converse() {
    let chat = chat(anthropic::decode_request(FROM_ANTHROPIC));
    golden("request_from_anthropic", &pretty(&encode_request(&chat, true, &CLAUDE).unwrap()));
}

#[test]
fn request_becomes_anthropic() {
    let chat = chat(decode_request(REQUEST));
    let target =
        crate::TargetModel { id: "claude-sonnet-4-5", max_tokens_default: None, max_tokens_cap: None };
    golden("request_to_anthropic", &pretty(&anthropic::encode_request(&chat, true, &target).unwrap()));
}

#[test]
fn reply_is_read_and_written() {
    let reply = decode_reply(REPLY).unwrap();
    golden("reply_read", &format!("{reply:#?}"));
    golden("reply_again", &pretty(&encode_reply(&context(), &reply)));
    golden("reply_to_anthropic", &pretty(&anthropic::encode_reply(&context(), &reply)));
}

#[test]
fn a_guardrail_stop_is_a_filtered_answer() {
    let reply = decode_reply(GUARDED).unwrap();
    assert_eq!(reply.stop, Some(StopReason::Filtered));
    let read = events(HERE, Mode::Decode, &converse_frames(STREAM_GUARDED));
    assert_eq!(gathered(read.clone()).parts, reply.parts);
    assert_eq!(gathered(read).stop, Some(StopReason::Filtered));
}

#[test]
fn stream_is_read_and_written() {
    let read = events(HERE, Mode::Decode, &converse_frames(STREAM));
    golden("stream_read", &format!("{read:#?}"));
    let again = encoded(HERE, &read);
    golden("stream_again", &lines(&again));
    assert_eq!(gathered(events(HERE, Mode::Decode, &again)), gathered(read.clone()));
    let anthropic = encoded(Protocol::AnthropicMessages, &read);
    golden("stream_to_anthropic", std::str::from_utf8(&anthropic).unwrap());
}

#[test]
fn stream_is_observed_without_its_content() {
    let observed = events(HERE, Mode::Observe, &converse_frames(STREAM));
    golden("stream_observed", &format!("{observed:#?}"));
}

#[test]
fn stream_holds_at_every_split() {
    holds_at_every_split(HERE, &converse_frames(STREAM_GUARDED));
}

#[test]
fn a_stream_without_its_last_events_is_truncated() {
    let all: Vec<&str> = STREAM.lines().collect();
    for kept in 0..all.len() {
        let cut = converse_frames(&all[..kept].join("\n"));
        for mode in [Mode::Decode, Mode::Observe] {
            assert_eq!(run(HERE, mode, &[&cut]).2, Err(StreamError::Truncated), "{kept} frames");
        }
    }
    let unfinished: Vec<&str> = all.iter().filter(|line| !line.contains("messageStop")).copied().collect();
    let unfinished = converse_frames(&unfinished.join("\n"));
    assert_eq!(run(HERE, Mode::Decode, &[&unfinished]).2, Err(StreamError::Truncated));
}

#[test]
fn exceptions_inside_a_stream_are_the_upstreams_errors() {
    let rows = [
        ("internalServerException", 500),
        ("modelStreamErrorException", 424),
        ("validationException", 400),
        ("throttlingException", 429),
        ("serviceUnavailableException", 503),
        ("modelTimeoutException", 408),
    ];
    for (kind, status) in rows {
        for mode in [Mode::Decode, Mode::Observe] {
            let mut stream = BytesMut::from(&converse_frames("{\"messageStart\":{}}")[..]);
            let payload = Bytes::from_static(br#"{"message":"slow down"}"#);
            event_stream::write("exception", kind, payload, &mut stream);
            let (_, _, end) = run(HERE, mode, &[&stream]);
            let Err(StreamError::Upstream(error)) = end else { panic!("{end:?}") };
            assert_eq!((error.kind.as_str(), error.status), (kind, status));
            assert_eq!(error.message, "slow down");
        }
    }
}

#[test]
fn a_failed_stream_has_an_exception_and_no_finish() {
    let mut encoder = crate::StreamEncoder::new(HERE, context());
    let mut out = BytesMut::new();
    for event in events(HERE, Mode::Decode, &converse_frames(STREAM)) {
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
    let (events, _, end) = run(HERE, Mode::Decode, &[&out]);
    assert!(!events.iter().any(|e| matches!(e, Event::Stop { .. } | Event::Done)));
    assert!(matches!(end, Err(StreamError::Upstream(_))), "{end:?}");
}

#[test]
fn a_block_is_closed_before_the_next_opens() {
    use outcrop_core::event::Block;
    let open = |index: u32| {
        let block = Block::ToolUse { id: format!("t{index}"), name: "n".into() };
        Event::Open { index, block }
    };
    let stream = lines(&encoded(HERE, &[open(0), open(1), Event::Done]));
    let names: Vec<&str> = stream.lines().filter_map(|line| line.split(' ').next()).collect();
    let block = ["contentBlockStart", "contentBlockDelta", "contentBlockStop"];
    let expected = [&["messageStart"], &block[..], &block[..], &["messageStop", "metadata"]].concat();
    assert_eq!(names, expected);
}

#[test]
fn what_converse_cannot_say_is_refused_by_name() {
    let check = |chat: &Chat, target: &crate::TargetModel<'_>, named: &str| {
        let Err(Inexpressible(text)) = encode_request(chat, false, target) else {
            panic!("{named} was expressed")
        };
        assert!(text.contains(named), "{text}");
    };
    let image = |media_type: &str, source| {
        let media = Media { media_type: media_type.into(), source };
        Chat { turns: vec![user(vec![Part::Image(media)])], ..Chat::default() }
    };
    check(&image("", Source::Url("https://x/y.png".into())), &CLAUDE, "URL");
    check(&image("image/tiff", Source::Base64("AA==".into())), &CLAUDE, "image/tiff");
    let mut several = said("hi");
    several.sampling.n = Some(2);
    check(&several, &CLAUDE, "`n`");
    let mut foreign = said("hi");
    foreign.protocol = Some(Protocol::OpenAiChat);
    foreign.extra.insert("logprobs".into(), json!(true));
    check(&foreign, &CLAUDE, "logprobs");
    let native = json!({"type": "server_tool_use", "id": "x"});
    let mut native = Chat { turns: vec![user(vec![Part::Native(native)])], ..Chat::default() };
    native.protocol = Some(Protocol::AnthropicMessages);
    check(&native, &CLAUDE, "server_tool_use");
    let thinking = Chat { thinking: Some(Thinking::Budget(2000)), ..said("hi") };
    check(&thinking, &NOVA, "thinking");
    let mut single = with_tool(said("hi"));
    single.parallel_tools = Some(false);
    check(&single, &NOVA, "parallel_tool_calls");
}

fn with_tool(mut chat: Chat) -> Chat {
    let schema = json!({"type": "object", "properties": {}});
    chat.tools.push(Tool { name: "add".into(), description: None, schema, strict: None });
    chat
}

#[test]
fn tools_that_may_not_be_used() {
    let mut chat = with_tool(said("hi"));
    chat.tool_choice = Some(ToolChoice::None);
    assert_eq!(written(&chat)["toolConfig"], Value::Null);

    let call = Part::ToolUse { id: "t1".into(), name: "add".into(), input: json!({}) };
    let result = Part::ToolResult { id: "t1".into(), content: Vec::new(), is_error: false };
    chat.turns.push(Turn { role: Role::Assistant, parts: vec![call] });
    chat.turns.push(user(vec![result]));
    chat.tools.clear();
    let body = written(&chat);
    assert_eq!(body["toolConfig"]["tools"][0]["toolSpec"]["name"], "add");
    assert_eq!(body["toolConfig"]["toolChoice"], Value::Null);
    assert!(body["system"][0]["text"].as_str().unwrap().contains("Do not call any tool"));
}

#[test]
fn fields_that_depend_on_the_model() {
    let mut chat = with_tool(said("hi"));
    chat.sampling.top_k = Some(7);
    chat.parallel_tools = Some(false);
    chat.thinking = Some(Thinking::Effort("low".into()));
    let body = written(&chat);
    assert_eq!(
        body["additionalModelRequestFields"],
        json!({
            "thinking": {"type": "enabled", "budget_tokens": 1024},
            "tool_choice": {"type": "auto", "disable_parallel_tool_use": true}
        })
    );
    assert_eq!(body["inferenceConfig"]["maxTokens"], 5120);

    chat.parallel_tools = None;
    chat.thinking = None;
    assert_eq!(written(&chat)["additionalModelRequestFields"], json!({"top_k": 7}));
    chat.thinking = Some(Thinking::Effort("low".into()));
    chat.turns.push(user(vec![Part::CachePoint { ttl: None }]));
    let nova: Value = serde_json::from_slice(&encode_request(&chat, false, &NOVA).unwrap()).unwrap();
    assert_eq!(nova["additionalModelRequestFields"], json!({"inferenceConfig": {"topK": 7}}));
}

#[test]
fn shape_of_the_answer() {
    let schema = json!({"type": "object"});
    let mut chat = said("hi");
    let format = |strict| Format::JsonSchema { name: "n".into(), schema: schema.clone(), strict };
    chat.format = Some(format(Some(true)));
    let body = written(&chat);
    let native = &body["outputConfig"]["textFormat"]["structure"]["jsonSchema"];
    assert_eq!(native, &json!({"name": "n", "schema": "{\"type\":\"object\"}"}));
    assert_eq!(body["system"], Value::Null);

    chat.format = Some(format(None));
    let body = written(&chat);
    assert_eq!(body["outputConfig"], Value::Null);
    assert!(body["system"][0]["text"].as_str().unwrap().contains("{\"type\":\"object\"}"));
}

#[test]
fn requests_that_cannot_be_read_name_the_field() {
    let check = |body: Value, field: &str| {
        let rejection = decode_request(body.to_string().as_bytes()).unwrap_err();
        assert_eq!(rejection.field, field, "{}", rejection.message);
    };
    check(json!({"messages": "x"}), "messages");
    check(json!({"messages": [{"role": "system"}]}), "messages[0].role");
    let block = |block: Value| json!({"messages": [{"role": "user", "content": [block]}]});
    check(block(json!("x")), "messages[0].content[0]");
    check(block(json!({"text": 5})), "messages[0].content[0].text");
    check(block(json!({"toolUse": {"name": "x"}})), "messages[0].content[0].toolUse.toolUseId");
    check(json!({"inferenceConfig": {"maxTokens": "x"}}), "inferenceConfig.maxTokens");
    check(
        json!({"toolConfig": {"tools": [{"toolSpec": {"name": "x"}}]}}),
        "toolConfig.tools[0].toolSpec.inputSchema",
    );
}

#[test]
fn what_only_converse_has_is_kept_at_home() {
    let body = json!({
        "messages": [{"role": "user", "content": [
            {"video": {"format": "mp4", "source": {"bytes": "AA=="}}},
            {"image": {"format": "png", "source": {"s3Location": {"uri": "s3://b/k"}}}},
            {"guardContent": {"text": {"text": "x"}}}
        ]}],
        "toolConfig": {"tools": [{"systemTool": {"name": "nova_grounding"}}]},
        "guardrailConfig": {"guardrailIdentifier": "g", "guardrailVersion": "1"},
        "additionalModelRequestFields": {"anthropic_beta": ["b"]},
        "promptVariables": {"a": {"text": "b"}}
    });
    let again = written(&chat(decode_request(body.to_string().as_bytes())));
    assert_eq!(again, body);
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
            drop(run(HERE, mode, &[&damage(&converse_frames(STREAM))]));
        }
    }

    #[test]
    fn conversations_round_trip(mut chat in chats()) {
        let bytes = encode_request(&chat, true, &CLAUDE).unwrap();
        chat.protocol = Some(HERE);
        prop_assert_eq!(crate::dialect::trial::chat(decode_request(&bytes)), chat);
    }

    #[test]
    fn replies_round_trip(mut reply in replies()) {
        let bytes = encode_reply(&context(), &reply);
        (reply.id, reply.model) = (String::new(), String::new());
        reply.stop_sequence = None;
        prop_assert_eq!(decode_reply(&bytes).unwrap(), reply);
    }

    #[test]
    fn streams_round_trip(mut reply in replies()) {
        let stream = encoded(HERE, &reply.clone().into_events());
        (reply.id, reply.model) = (String::new(), String::new());
        prop_assert_eq!(gathered(events(HERE, Mode::Decode, &stream)), reply);
    }
}
