//! What must hold for any bytes, well-formed or not. Used by the fuzz targets and by `hostile.rs`.
//!
//! Each function takes what a stranger sends and asserts promises of the public face; getting an
//! error is fine, breaking a promise or panicking is not.

use bytes::{Bytes, BytesMut};
use outcrop_core::{Ask, Event, Protocol};
use outcrop_wire::{
    AnswerContext, Envelope, Limits, Mode, Route, StreamDecoder, StreamEncoder, StreamError, TargetModel,
    bounds, decode_error, decode_reply, encode_embeddings_invoke, encode_request, mcp,
};
use serde_json::Value;

const PROTOCOLS: [Protocol; 8] = [
    Protocol::OpenAiChat,
    Protocol::OpenAiEmbeddings,
    Protocol::AnthropicMessages,
    Protocol::AnthropicCountTokens,
    Protocol::BedrockConverse,
    Protocol::BedrockInvoke,
    Protocol::BedrockCountTokens,
    Protocol::McpTool,
];

/// Server-sent events; the first byte is the size of the chunks they come in.
pub(crate) fn sse(data: &[u8]) {
    stream(Protocol::OpenAiChat, data);
    stream(Protocol::AnthropicMessages, data);
}

/// Amazon event streams; the first byte is the size of the chunks they come in.
pub(crate) fn event_stream(data: &[u8]) {
    stream(Protocol::BedrockConverse, data);
    stream(Protocol::BedrockInvoke, data);
}

/// Any body on any route, with the promises that hold for all of them.
pub(crate) fn envelope(data: &[u8]) {
    for protocol in PROTOCOLS {
        request(protocol, data);
        for mode in [Mode::Decode, Mode::Observe] {
            let _ = decode_reply(protocol, data, mode);
        }
        let _ = decode_error(protocol, 500, &|_| None, data);
    }
}

/// A chat completion.
pub(crate) fn openai_request(data: &[u8]) {
    request(Protocol::OpenAiChat, data);
    request(Protocol::OpenAiEmbeddings, data);
}

/// An Anthropic message.
pub(crate) fn anthropic_request(data: &[u8]) {
    request(Protocol::AnthropicMessages, data);
    request(Protocol::BedrockInvoke, data);
}

/// A Converse request.
pub(crate) fn converse_request(data: &[u8]) {
    request(Protocol::BedrockConverse, data);
    request(Protocol::BedrockCountTokens, data);
}

/// The result of an MCP server's tool, read by the default mapping and by an operator's template.
pub(crate) fn mcp_result(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let _ = mcp::reply(None, &[&text]);
    let Ok(result) = serde_json::from_slice::<Value>(data) else { return };
    let blocks = result.pointer("/content").and_then(Value::as_array);
    let texts: Vec<&str> = blocks.into_iter().flatten().filter_map(|block| block["text"].as_str()).collect();
    for structured in [result.get("structuredContent"), Some(&result), None] {
        if let Ok(reply) = mcp::reply(structured, &texts) {
            assert!(reply.stop.is_some(), "an answer says why it ends");
            encode(&reply.into_events());
        }
    }
    let template = template();
    match (template.reply(&result), result.pointer(&template.result.text)) {
        (Ok(reply), Some(_)) => encode(&reply.into_events()),
        (Err(_), None | Some(Value::Null)) => {}
        (reply, at) => panic!("the template reads what its pointer names: {at:?} became {reply:?}"),
    }
}

fn template() -> mcp::Template {
    let pointer = |pointer: &str| Some(pointer.to_owned());
    mcp::Template {
        arguments: serde_json::Map::new(),
        result: mcp::ResultPointers {
            text: "/content/0/text".to_owned(),
            input_tokens: pointer("/structuredContent/usage/prompt_tokens"),
            output_tokens: pointer("/structuredContent/usage/completion_tokens"),
            finish_reason: pointer("/structuredContent/finish_reason"),
            model: pointer("/structuredContent/model"),
        },
    }
}

fn request(protocol: Protocol, data: &[u8]) {
    let bedrock = protocol.dialect() == outcrop_core::Dialect::Bedrock;
    let route = Route {
        protocol,
        model: bedrock.then(|| "eu.anthropic.claude-x".to_owned()),
        stream: bedrock.then_some(false),
    };
    let body = Bytes::copy_from_slice(data);
    let Ok(envelope) = Envelope::open(&route, body, &Limits::default()) else { return };
    assert_eq!(envelope.body, data, "the body is the caller's");
    assert!(serde_json::from_slice::<Value>(data).is_ok_and(|body| body.is_object()));
    let target = TargetModel { id: "target-model", max_tokens_default: Some(64), max_tokens_cap: None };
    for to in PROTOCOLS {
        let bound = bounds(&envelope, to, target.id);
        assert!(bound.text_bytes <= bound.input_tokens, "the bound holds its text");
        let Ok(sent) = encode_request(to, &envelope, &target) else { continue };
        let written = serde_json::from_slice::<Value>(&sent);
        assert!(written.is_ok_and(|body| body.is_object()), "{protocol:?} to {to:?} is JSON");
        reopen(to, sent);
    }
    capped(&envelope);
    if let Ok(Ask::Embed(_)) = envelope.ask() {
        let _ = encode_embeddings_invoke(&envelope, &target);
    }
}

/// Whatever the caller wrote, what leaves under a cap asks for no more than it.
fn capped(envelope: &Envelope) {
    const CAP: u64 = 64;
    for id in ["target-model", "eu.anthropic.claude-x", "eu.amazon.nova-lite-v1:0", "meta.llama3-x"] {
        let target = TargetModel { id, max_tokens_default: Some(9999), max_tokens_cap: Some(CAP) };
        for to in [
            Protocol::OpenAiChat,
            Protocol::AnthropicMessages,
            Protocol::BedrockConverse,
            Protocol::BedrockInvoke,
            Protocol::McpTool,
        ] {
            let Ok(sent) = encode_request(to, envelope, &target) else { continue };
            if to == Protocol::BedrockInvoke && matches!(envelope.ask(), Ok(Ask::Embed(_))) {
                continue;
            }
            let route = Route { protocol: to, model: Some("m".to_owned()), stream: Some(false) };
            let wide = Limits { depth_max: 100, nodes_max: 1_000_000 };
            if let Ok(sent) = Envelope::open(&route, sent, &wide) {
                assert!(sent.max_tokens.is_some_and(|limit| limit <= CAP), "{to:?}: {:?}", sent.max_tokens);
            }
        }
    }
}

/// What was written must pass the limits that a caller's body passes, duplicate keys among them.
fn reopen(protocol: Protocol, sent: Bytes) {
    let route = Route { protocol, model: Some("m".to_owned()), stream: Some(false) };
    let wide = Limits { depth_max: 100, nodes_max: 1_000_000 };
    if let Err(rejection) = Envelope::open(&route, sent, &wide) {
        assert!(!rejection.message.contains("given twice"), "{rejection}");
    }
}

fn stream(protocol: Protocol, data: &[u8]) {
    let Some((size, data)) = data.split_first() else { return };
    for mode in [Mode::Decode, Mode::Observe] {
        let whole = decode(protocol, mode, data, data.len().max(1));
        let split = decode(protocol, mode, data, usize::from(*size).max(1));
        assert_eq!(whole.0, split.0, "chunks change nothing");
        assert_eq!(whole.1.is_ok(), split.1.is_ok(), "chunks change nothing");
        in_order(&whole.0, mode);
        let done = whole.0.last() == Some(&Event::Done);
        assert!(done || whole.1.is_err(), "only the terminal event ends well");
        encode(&whole.0);
    }
}

type Decoded = (Vec<Event>, Result<(), StreamError>);

fn decode(protocol: Protocol, mode: Mode, data: &[u8], size: usize) -> Decoded {
    let mut decoder = StreamDecoder::new(protocol, mode);
    let mut events = Vec::new();
    let mut raw = Vec::new();
    for chunk in data.chunks(size) {
        decoder.push(Bytes::copy_from_slice(chunk));
        loop {
            match decoder.next() {
                Ok(Some(item)) => {
                    raw.extend_from_slice(&item.raw);
                    events.extend(item.events);
                }
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(decoder.next().err().as_ref(), Some(&error), "it keeps failing");
                    return (without_sizes(events), Err(error));
                }
            }
        }
    }
    assert!(data.starts_with(&raw), "frames are the bytes that came");
    (without_sizes(events), decoder.finish())
}

/// The size of a frame depends on where a CRLF was cut.
fn without_sizes(mut events: Vec<Event>) -> Vec<Event> {
    for event in &mut events {
        if let Event::Content { bytes } = event {
            *bytes = 0;
        }
    }
    events
}

/// `Done` is last, and deltas name a block that was opened and not closed.
fn in_order(events: &[Event], mode: Mode) {
    let done = events.iter().filter(|event| **event == Event::Done).count();
    assert!(done == 0 || (done == 1 && events.last() == Some(&Event::Done)));
    if mode == Mode::Observe {
        return;
    }
    let mut open = std::collections::BTreeSet::new();
    for event in events {
        match event {
            Event::Open { index, .. } => {
                open.insert(*index);
            }
            Event::Delta { index, .. } => assert!(open.contains(index), "deltas name a block"),
            Event::Close { index } => assert!(open.remove(index), "an open block is closed"),
            _ => {}
        }
    }
}

fn encode(events: &[Event]) {
    for protocol in [
        Protocol::OpenAiChat,
        Protocol::AnthropicMessages,
        Protocol::BedrockConverse,
        Protocol::BedrockInvoke,
    ] {
        let context = AnswerContext {
            request_id: "r".to_owned(),
            model: "m".to_owned(),
            created: 0,
            stream_usage: true,
            base64: false,
            latency_ms: 0,
        };
        let mut encoder = StreamEncoder::new(protocol, context);
        let mut out = BytesMut::new();
        for event in events {
            encoder.encode(event, &mut out);
        }
        let (seen, end) = decode(protocol, Mode::Decode, &out, out.len().max(1));
        let readable = !matches!(end, Err(StreamError::Garbled(_) | StreamError::Oversized { .. }));
        assert!(readable, "{protocol:?} writes what it can read: {end:?}");
        let done = events.last() == Some(&Event::Done);
        assert!(done || seen.last() != Some(&Event::Done), "{protocol:?} invents no end");
    }
}
