//! Every caller's protocol towards every upstream's: requests there, answers and streams back.
//!
//! Requests are golden files (`golden/pairs/<caller>_to_<upstream>.snap`). Streams and whole answers
//! are translated and read again: what both protocols can say must arrive, and nothing else.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests stop at the first surprise")]

use bytes::{Bytes, BytesMut};
use outcrop_core::ask::Part;
use outcrop_core::reply::ChatReply;
use outcrop_core::{Event, Protocol, Reply};
use outcrop_wire::{
    AnswerContext, Envelope, Inexpressible, Limits, Mode, Route, StreamDecoder, StreamEncoder, TargetModel,
    decode_reply, encode_reply, encode_request,
};
use serde_json::Value;

const CHATS: [(Protocol, &str); 4] = [
    (Protocol::OpenAiChat, "openai"),
    (Protocol::AnthropicMessages, "anthropic"),
    (Protocol::BedrockConverse, "converse"),
    (Protocol::BedrockInvoke, "invoke"),
];

const REQUESTS: [(Protocol, &str, &str); 4] = [
    (Protocol::OpenAiChat, "openai", include_str!("golden/pairs/openai.json")),
    (Protocol::AnthropicMessages, "anthropic", include_str!("golden/pairs/anthropic.json")),
    (Protocol::BedrockConverse, "converse", include_str!("golden/pairs/converse.json")),
    (Protocol::BedrockInvoke, "invoke", include_str!("golden/invoke/request_claude.json")),
];

const REPLIES: [(Protocol, &str); 3] = [
    (Protocol::OpenAiChat, include_str!("golden/openai/reply_tools.json")),
    (Protocol::AnthropicMessages, include_str!("golden/anthropic/reply.json")),
    (Protocol::BedrockConverse, include_str!("golden/converse/reply.json")),
];

fn context() -> AnswerContext {
    AnswerContext {
        request_id: "0199f0c2-0000-7000-8000-000000000001".into(),
        model: "sonnet".into(),
        created: 1_764_000_000,
        stream_usage: true,
        base64: false,
        latency_ms: 12,
    }
}

fn open(protocol: Protocol, body: &str) -> Envelope {
    let in_url = matches!(protocol, Protocol::BedrockConverse | Protocol::BedrockInvoke);
    let route =
        Route { protocol, model: in_url.then(|| "sonnet".to_owned()), stream: in_url.then_some(true) };
    Envelope::open(&route, Bytes::copy_from_slice(body.as_bytes()), &Limits::default()).unwrap()
}

fn target(protocol: Protocol) -> TargetModel<'static> {
    let id = match protocol {
        Protocol::OpenAiChat => "gpt-4o-mini",
        Protocol::AnthropicMessages => "claude-sonnet-4-5",
        _ => "eu.anthropic.claude-sonnet-4-5-20250929-v1:0",
    };
    TargetModel { id, max_tokens_default: None, max_tokens_cap: None }
}

#[test]
fn requests_of_every_caller_to_every_upstream() {
    for (caller, from, body) in REQUESTS {
        let envelope = open(caller, body);
        for (upstream, to) in CHATS {
            let text = match encode_request(upstream, &envelope, &target(upstream)) {
                Ok(bytes) => {
                    let value: Value = serde_json::from_slice(&bytes).unwrap();
                    serde_json::to_string_pretty(&value).unwrap()
                }
                Err(Inexpressible(text)) => format!("refused: {text}"),
            };
            insta::with_settings!({
                snapshot_path => "golden/pairs",
                prepend_module_to_snapshot => false,
                omit_expression => true,
            }, { insta::assert_snapshot!(format!("{from}_to_{to}"), text) });
        }
    }
}

/// What every protocol here can say of an answer: OpenAI knows neither redacted thinking nor
/// signatures, and has one place for text and one for thinking.
fn common(reply: &ChatReply) -> (String, String, Vec<Part>, String) {
    let (mut text, mut thinking, mut tools) = (String::new(), String::new(), Vec::new());
    for part in &reply.parts {
        match part {
            Part::Text(piece) => text.push_str(piece),
            Part::Thinking { text: piece, .. } => thinking.push_str(piece),
            Part::ToolUse { .. } => tools.push(part.clone()),
            _ => {}
        }
    }
    (text, thinking, tools, format!("{:?}", reply.stop))
}

fn chat(protocol: Protocol, body: &[u8]) -> ChatReply {
    match decode_reply(protocol, body, Mode::Decode).unwrap() {
        Reply::Chat(chat) => chat,
        other => panic!("{other:?}"),
    }
}

#[test]
fn answers_of_every_upstream_to_every_caller() {
    for (upstream, body) in REPLIES {
        let reply = chat(upstream, body.as_bytes());
        for (caller, _) in CHATS {
            let encoded = encode_reply(caller, &context(), &Reply::Chat(reply.clone()));
            let again = chat(caller, &encoded.body);
            assert_eq!(common(&again), common(&reply), "{upstream:?} to {caller:?}");
            assert_eq!(again.usage.input_total(), reply.usage.input_total(), "{upstream:?} to {caller:?}");
            assert_eq!(again.usage.output, reply.usage.output);
            assert_eq!(again.usage.cache_read.unwrap_or(0), reply.usage.cache_read.unwrap_or(0));
        }
    }
}

fn read_stream(protocol: Protocol, stream: &[u8]) -> (ChatReply, Vec<Event>) {
    let mut decoder = StreamDecoder::new(protocol, Mode::Decode);
    decoder.push(Bytes::copy_from_slice(stream));
    let mut events = Vec::new();
    while let Some(item) = decoder.next().unwrap() {
        events.extend(item.events);
    }
    decoder.finish().unwrap();
    let mut reply = ChatReply::default();
    for event in events.clone() {
        reply.absorb(event);
    }
    (reply, events)
}

fn write_stream(protocol: Protocol, events: &[Event]) -> Bytes {
    let mut encoder = StreamEncoder::new(protocol, context());
    let mut out = BytesMut::new();
    for event in events {
        encoder.encode(event, &mut out);
    }
    out.freeze()
}

#[test]
fn streams_of_every_upstream_to_every_caller() {
    for (upstream, body) in REPLIES {
        let reply = chat(upstream, body.as_bytes());
        let sent = write_stream(upstream, &reply.into_events());
        let (reply, events) = read_stream(upstream, &sent);
        for (caller, _) in CHATS {
            let (again, _) = read_stream(caller, &write_stream(caller, &events));
            assert_eq!(common(&again), common(&reply), "{upstream:?} to {caller:?}");
            assert_eq!(again.usage.input_total(), reply.usage.input_total(), "{upstream:?} to {caller:?}");
            assert_eq!(again.usage.output, reply.usage.output);
        }
    }
}

#[test]
fn a_translated_stream_that_is_cut_never_ends_clean() {
    for (upstream, body) in REPLIES {
        let events = chat(upstream, body.as_bytes()).into_events();
        for (caller, _) in CHATS {
            for kept in 0..events.len() {
                let stream = write_stream(caller, events.get(..kept).unwrap_or_default());
                let mut decoder = StreamDecoder::new(caller, Mode::Decode);
                decoder.push(stream);
                while let Some(item) = decoder.next().unwrap() {
                    assert!(!item.events.contains(&Event::Done), "{caller:?} after {kept} events");
                }
                assert!(decoder.finish().is_err(), "{caller:?} after {kept} events");
            }
        }
    }
}
