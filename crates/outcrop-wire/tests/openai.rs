//! OpenAI chat completions and embeddings through the public face: golden files, every split point,
//! round trips.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests stop at the first surprise")]

use bytes::{Bytes, BytesMut};
use outcrop_core::ask::Part;
use outcrop_core::event::StopReason;
use outcrop_core::reply::ChatReply;
use outcrop_core::{Event, Protocol, Reply, Usage};
use outcrop_wire::{
    AnswerContext, Envelope, ErrorBody, Item, Limits, Mode, Route, StreamDecoder, StreamEncoder, StreamError,
    TargetModel, decode_reply, encode_reply, encode_request,
};
use proptest::prelude::*;
use serde_json::{Value, json};

const STREAMS: [(&str, &[u8]); 4] = [
    ("text", include_bytes!("golden/openai/stream_text.sse")),
    ("tools", include_bytes!("golden/openai/stream_tools.sse")),
    ("compatible", include_bytes!("golden/openai/stream_compatible.sse")),
    ("refusal", include_bytes!("golden/openai/stream_refusal.sse")),
];
const FAILED: &[u8] = include_bytes!("golden/openai/stream_error.sse");

fn open(protocol: Protocol, body: &[u8]) -> Envelope {
    let route = Route { protocol, model: None, stream: None };
    Envelope::open(&route, Bytes::copy_from_slice(body), &Limits::default()).unwrap()
}

fn context(stream_usage: bool) -> AnswerContext {
    AnswerContext {
        request_id: "req-1".into(),
        model: "alias".into(),
        created: 1_700_000_000,
        stream_usage,
        base64: false,
        latency_ms: 5,
    }
}

fn drain(decoder: &mut StreamDecoder, items: &mut Vec<Item>) -> Result<(), StreamError> {
    while let Some(item) = decoder.next()? {
        items.push(item);
    }
    Ok(())
}

fn decode(mode: Mode, chunks: &[&[u8]]) -> Result<Vec<Item>, StreamError> {
    let mut decoder = StreamDecoder::new(Protocol::OpenAiChat, mode);
    let mut items = Vec::new();
    for chunk in chunks {
        decoder.push(Bytes::copy_from_slice(chunk));
        drain(&mut decoder, &mut items)?;
    }
    decoder.finish()?;
    Ok(items)
}

fn events(items: &[Item]) -> Vec<Event> {
    items.iter().flat_map(|item| item.events.clone()).collect()
}

fn gather(events: impl IntoIterator<Item = Event>) -> ChatReply {
    let mut reply = ChatReply::default();
    events.into_iter().for_each(|event| reply.absorb(event));
    reply
}

#[test]
fn golden_requests_are_decoded() {
    let agent = open(Protocol::OpenAiChat, include_bytes!("golden/openai/request_agent.json"));
    insta::assert_debug_snapshot!("request_agent", agent.ask().unwrap());
    let plain = open(Protocol::OpenAiChat, include_bytes!("golden/openai/request_plain.json"));
    insta::assert_debug_snapshot!("request_plain", plain.ask().unwrap());
}

#[test]
fn golden_replies_are_decoded() {
    let text = include_bytes!("golden/openai/reply_text.json");
    let tools = include_bytes!("golden/openai/reply_tools.json");
    for (name, body) in [("reply_text", &text[..]), ("reply_tools", tools)] {
        let reply = decode_reply(Protocol::OpenAiChat, body, Mode::Decode).unwrap();
        let observed = decode_reply(Protocol::OpenAiChat, body, Mode::Observe).unwrap();
        assert_eq!(observed, Reply::Native(reply.usage()));
        insta::assert_debug_snapshot!(name, reply);
    }
}

#[test]
fn golden_streams_are_decoded() {
    for (name, bytes) in STREAMS {
        let decoded = events(&decode(Mode::Decode, &[bytes]).unwrap());
        insta::assert_debug_snapshot!(format!("stream_{name}"), decoded);
        let observed = events(&decode(Mode::Observe, &[bytes]).unwrap());
        insta::assert_debug_snapshot!(format!("stream_{name}_observed"), observed);
    }
}

#[test]
fn split_points_change_nothing_and_raw_bytes_are_the_stream() {
    for (name, bytes) in STREAMS {
        for mode in [Mode::Decode, Mode::Observe] {
            let whole = events(&decode(mode, &[bytes]).unwrap());
            for cut in 0..=bytes.len() {
                let items = decode(mode, &[&bytes[..cut], &bytes[cut..]]).unwrap();
                let raw: Vec<u8> = items.iter().flat_map(|item| item.raw.to_vec()).collect();
                assert_eq!(raw, bytes, "{name} cut at {cut}");
                let mut seen = events(&items);
                let mut expected = whole.clone();
                // A CRLF that was cut moves one byte of it to the next frame.
                for event in seen.iter_mut().chain(&mut expected) {
                    if let Event::Content { bytes } = event {
                        *bytes = 0;
                    }
                }
                assert_eq!(seen, expected, "{name} cut at {cut}");
            }
        }
    }
}

#[test]
fn a_cut_stream_never_ends_well() {
    for (name, bytes) in STREAMS {
        for mode in [Mode::Decode, Mode::Observe] {
            for end in 0..bytes.len() {
                let mut decoder = StreamDecoder::new(Protocol::OpenAiChat, mode);
                decoder.push(Bytes::copy_from_slice(&bytes[..end]));
                let mut items = Vec::new();
                drain(&mut decoder, &mut items).unwrap();
                let done = events(&items).contains(&Event::Done);
                let rest = bytes[end..].iter().all(u8::is_ascii_whitespace);
                assert!(!done || rest, "{name} cut at {end}");
                if !done {
                    assert_eq!(decoder.finish(), Err(StreamError::Truncated));
                    assert_eq!(decoder.next().unwrap_err(), StreamError::Truncated);
                }
            }
        }
    }
}

#[test]
fn a_begun_frame_behind_the_end_is_a_cut_stream() {
    let bytes = [STREAMS[0].1, b"data: {"].concat();
    for mode in [Mode::Decode, Mode::Observe] {
        assert_eq!(decode(mode, &[&bytes]).unwrap_err(), StreamError::Truncated);
    }
}

#[test]
fn done_without_a_finish_reason_is_a_cut_stream() {
    let bytes = b"data: {\"id\":\"x\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"}}]}\n\n\
                  data: [DONE]\n\n";
    for mode in [Mode::Decode, Mode::Observe] {
        assert_eq!(decode(mode, &[bytes]).unwrap_err(), StreamError::Truncated);
    }
}

#[test]
fn an_error_event_is_the_upstreams() {
    for mode in [Mode::Decode, Mode::Observe] {
        let StreamError::Upstream(error) = decode(mode, &[FAILED]).unwrap_err() else {
            panic!("not an upstream error");
        };
        assert_eq!(error.kind, "server_error");
        assert_eq!(error.protocol, Protocol::OpenAiChat);
        assert!(error.message.starts_with("The server had an error"));
    }
}

#[test]
fn a_failed_stream_keeps_failing() {
    let mut decoder = StreamDecoder::new(Protocol::OpenAiChat, Mode::Observe);
    decoder.push(Bytes::from_static(b"data: nonsense\n\n"));
    let first = decoder.next().unwrap_err();
    assert!(matches!(first, StreamError::Garbled(_)));
    decoder.push(Bytes::from_static(b"data: [DONE]\n\n"));
    assert_eq!(decoder.next().unwrap_err(), first);
    assert_eq!(decoder.finish().unwrap_err(), first);
}

#[test]
fn a_line_without_end_is_refused() {
    let mut decoder = StreamDecoder::new(Protocol::OpenAiChat, Mode::Observe);
    for _ in 0..3 {
        decoder.push(Bytes::from(vec![b'x'; 500_000]));
        if decoder.next().is_err() {
            break;
        }
    }
    assert!(matches!(decoder.next(), Err(StreamError::Oversized { max: 1_048_576, .. })));
}

#[test]
fn usage_comes_alone_in_its_own_item() {
    let items = decode(Mode::Observe, &[STREAMS[0].1]).unwrap();
    let alone: Vec<&Item> = items.iter().filter(|item| item.is_usage_only()).collect();
    assert_eq!(alone.len(), 1);
    assert!(alone[0].raw.starts_with(b"data: {") && alone[0].raw.ends_with(b"}\n\n"));
    let text = std::str::from_utf8(&alone[0].raw).unwrap();
    assert!(text.contains("\"choices\":[]"), "{text}");
}

#[test]
fn answers_are_written_as_openai_writes_them() {
    let reply = ChatReply {
        id: String::new(),
        model: "claude".into(),
        parts: vec![
            Part::Thinking { text: "hm".into(), signature: Some("sig".into()) },
            Part::Text("a".into()),
            Part::Text("b".into()),
            Part::ToolUse { id: "t1".into(), name: "add".into(), input: json!({"b": 1, "a": 2}) },
        ],
        stop: Some(StopReason::ToolUse),
        stop_sequence: None,
        usage: Usage { cache_read: Some(7), cache_write: Some(2), ..Usage::of(3, 4) },
    };
    let whole = encode_reply(Protocol::OpenAiChat, &context(false), &Reply::Chat(reply.clone()));
    assert_eq!(whole.content_type, "application/json");
    let body: Value = serde_json::from_slice(&whole.body).unwrap();
    insta::assert_json_snapshot!("written_reply", body);
    let mut out = BytesMut::new();
    let mut encoder = StreamEncoder::new(Protocol::OpenAiChat, context(true));
    for event in reply.into_events() {
        encoder.encode(&event, &mut out);
    }
    insta::assert_snapshot!("written_stream", std::str::from_utf8(&out).unwrap());
}

#[test]
fn an_error_is_written_without_an_end() {
    let mut out = BytesMut::new();
    let mut encoder = StreamEncoder::new(Protocol::OpenAiChat, context(true));
    let error = ErrorBody {
        code: outcrop_core::Code::UpstreamFailed,
        reason: outcrop_core::Reason::Internal,
        message: "It broke.",
        request_id: "req-1",
        upstream: None,
        status_override: None,
    };
    encoder.fail(&error, &mut out);
    let text = std::str::from_utf8(&out).unwrap();
    assert!(text.starts_with("data: {\"error\":{") && text.ends_with("}\n\n"), "{text}");
    assert!(!text.contains("[DONE]") && !text.contains("finish_reason"), "{text}");
    assert!(matches!(decode(Mode::Decode, &[&out]), Err(StreamError::Upstream(_))));
}

#[test]
fn embeddings_come_in_every_form() {
    let check = |input: Value, expected: &str| {
        let body = json!({"model": "m", "input": input, "encoding_format": "base64"});
        let envelope = open(Protocol::OpenAiEmbeddings, body.to_string().as_bytes());
        let ask = format!("{:?}", envelope.ask().unwrap());
        assert!(ask.contains(expected) && ask.contains("base64: true"), "{ask}");
    };
    check(json!("hi"), "[Text(\"hi\")]");
    check(json!(["a", "b"]), "[Text(\"a\"), Text(\"b\")]");
    check(json!([1, 2]), "[Tokens([1, 2])]");
    check(json!([[1], [2, 3]]), "[Tokens([1]), Tokens([2, 3])]");
    let mixed = json!({"model": "m", "input": ["a", 1]}).to_string();
    let rejection = open(Protocol::OpenAiEmbeddings, mixed.as_bytes()).ask().unwrap_err().clone();
    assert_eq!(rejection.field, "input");
}

#[test]
fn vectors_are_ordered_and_written_both_ways() {
    let body = include_bytes!("golden/openai/reply_embeddings.json");
    let reply = decode_reply(Protocol::OpenAiEmbeddings, body, Mode::Decode).unwrap();
    let expected = Reply::Embeddings {
        vectors: vec![vec![0.5, -0.25], vec![1.0, 2.0]],
        model: "text-embedding-3-small".into(),
        usage: Usage::of(8, 0),
    };
    assert_eq!(reply, expected);
    for base64 in [false, true] {
        let context = AnswerContext { base64, ..context(false) };
        let encoded = encode_reply(Protocol::OpenAiEmbeddings, &context, &reply);
        let text = std::str::from_utf8(&encoded.body).unwrap();
        assert_eq!(text.contains("\"AAAAPwAAgL4=\""), base64, "{text}");
        assert_eq!(text.contains("[0.5,-0.25]"), !base64, "{text}");
        let again = decode_reply(Protocol::OpenAiEmbeddings, &encoded.body, Mode::Decode).unwrap();
        let Reply::Embeddings { vectors, usage, .. } = again else { panic!("no vectors") };
        assert_eq!((vectors, usage), (vec![vec![0.5, -0.25], vec![1.0, 2.0]], Usage::of(8, 0)));
    }
}

#[test]
fn what_cannot_be_read_names_its_path() {
    let check = |message: Value, path: &str| {
        let body = json!({"model": "m", "messages": [{"role": "user", "content": "x"}, message]});
        let rejection = open(Protocol::OpenAiChat, body.to_string().as_bytes()).ask().unwrap_err().clone();
        assert_eq!(rejection.field, path, "{rejection}");
    };
    check(json!({"role": "nobody", "content": "x"}), "messages[1].role");
    check(json!({"role": "user", "content": 7}), "messages[1].content");
    check(json!({"role": "user", "content": [{"text": "x"}]}), "messages[1].content[0].type");
    check(json!({"role": "tool", "content": "x"}), "messages[1].tool_call_id");
    let url = json!({"type": "image_url", "image_url": {"url": "data:,x"}});
    check(json!({"role": "user", "content": [url]}), "messages[1].content[0]");
    let call = json!({"id": "c", "function": {"name": "f", "arguments": "[1"}});
    let path = "messages[1].tool_calls[0].function.arguments";
    check(json!({"role": "assistant", "tool_calls": [call]}), path);
}

fn text() -> impl Strategy<Value = String> {
    "[ -~äß\n\"\\\\🙂]{1,12}"
}

fn call() -> impl Strategy<Value = Part> {
    (text(), "[a-z]{1,8}", text(), any::<i64>()).prop_map(|(id, name, key, value)| Part::ToolUse {
        id,
        name,
        input: json!({ key: [value, null, "x"] }),
    })
}

fn replies() -> impl Strategy<Value = ChatReply> {
    let thinking = (text(), text()).prop_map(|(text, sig)| Part::Thinking { text, signature: Some(sig) });
    let parts = (
        prop::option::of(thinking),
        prop::option::of(text().prop_map(Part::Text)),
        prop::collection::vec(call(), 0..3),
    );
    let parts = parts.prop_map(|(thinking, text, calls)| {
        thinking.into_iter().chain(text).chain(calls).collect::<Vec<_>>()
    });
    let stop = prop_oneof![
        Just(StopReason::EndTurn),
        Just(StopReason::MaxTokens),
        Just(StopReason::ToolUse),
        Just(StopReason::Filtered),
    ];
    (text(), parts, stop, 0_u64..1000, 0_u64..1000).prop_map(|(id, parts, stop, input, output)| ChatReply {
        id,
        model: "alias".into(),
        parts,
        stop: Some(stop),
        stop_sequence: None,
        usage: Usage { cache_read: Some(input / 2), ..Usage::of(input, output) },
    })
}

proptest! {
    #[test]
    fn a_reply_survives_the_round_trip(reply in replies()) {
        let encoded =
            encode_reply(Protocol::OpenAiChat, &context(false), &Reply::Chat(reply.clone()));
        let again = decode_reply(Protocol::OpenAiChat, &encoded.body, Mode::Decode).unwrap();
        prop_assert_eq!(again, Reply::Chat(reply));
    }

    #[test]
    fn a_stream_survives_the_round_trip(reply in replies(), size in 1_usize..200) {
        let mut out = BytesMut::new();
        let mut encoder = StreamEncoder::new(Protocol::OpenAiChat, context(true));
        for event in reply.clone().into_events() {
            encoder.encode(&event, &mut out);
        }
        let chunks: Vec<&[u8]> = out.chunks(size).collect();
        let items = decode(Mode::Decode, &chunks).unwrap();
        prop_assert_eq!(gather(events(&items)), reply.clone());
        let observed = gather(events(&decode(Mode::Observe, &chunks).unwrap()));
        prop_assert_eq!(observed.usage, reply.usage);
        prop_assert_eq!(observed.stop, reply.stop);
    }

    #[test]
    fn a_translated_request_means_the_same(
        system in prop::option::of(text()),
        turns in prop::collection::vec((text(), prop::collection::vec(call(), 0..3)), 1..4),
        limit in prop::option::of(1_u64..9000),
    ) {
        let mut messages = Vec::new();
        for (said, calls) in &turns {
            messages.push(json!({"role": "user", "content": [{"text": said}]}));
            let mut content = vec![json!({"text": said})];
            let mut results = Vec::new();
            for call in calls {
                let Part::ToolUse { id, name, input } = call else { continue };
                content.push(json!({"toolUse": {"toolUseId": id, "name": name, "input": input}}));
                results.push(json!({"toolResult": {"toolUseId": id, "content": [{"text": said}]}}));
            }
            messages.push(json!({"role": "assistant", "content": content}));
            if !results.is_empty() {
                messages.push(json!({"role": "user", "content": results}));
            }
        }
        let mut body = json!({"messages": messages});
        if let Some(text) = &system {
            body["system"] = json!([{"text": text}]);
        }
        if let Some(limit) = limit {
            body["inferenceConfig"] = json!({"maxTokens": limit});
        }
        let route = Route {
            protocol: Protocol::BedrockConverse,
            model: Some("m".into()),
            stream: Some(true),
        };
        let bytes = Bytes::from(body.to_string());
        let source = Envelope::open(&route, bytes, &Limits::default()).unwrap();
        let target = TargetModel { id: "gpt", max_tokens_default: Some(77), max_tokens_cap: None };
        let sent = encode_request(Protocol::OpenAiChat, &source, &target).unwrap();
        let read = open(Protocol::OpenAiChat, &sent);
        prop_assert!(read.stream && read.stream_usage);
        prop_assert_eq!(&read.model, "gpt");
        prop_assert_eq!(read.max_tokens, limit.or(Some(77)));
        let (Ok(outcrop_core::Ask::Chat(before)), Ok(outcrop_core::Ask::Chat(after))) =
            (source.ask(), read.ask())
        else {
            return Err(TestCaseError::fail("no conversation"));
        };
        prop_assert_eq!(&before.system, &after.system);
        prop_assert_eq!(&before.turns, &after.turns);
    }

    #[test]
    fn any_data_is_survived(data in "\\PC{0,60}", mode in prop_oneof![
        Just(Mode::Decode), Just(Mode::Observe)
    ]) {
        let line = format!("data: {data}\n\n");
        let _ = decode(mode, &[line.as_bytes()]);
    }
}
