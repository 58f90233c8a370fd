//! Golden streams of every family, embeddings, round trips.

use bytes::BytesMut;
use outcrop_core::ask::EmbedInput;
use outcrop_core::event::StopReason;
use outcrop_core::{Embed, Event, Protocol, Usage};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::dialect::trial::{
    CLAUDE, chat, context, encoded, events, gathered, holds_at_every_split, invoke_frames, replies, run,
};
use crate::framing::event_stream;
use crate::{Mode, StreamError};

const HERE: Protocol = Protocol::BedrockInvoke;
const CLAUDE_STREAM: &str = include_str!("../../../tests/golden/invoke/stream_claude.jsonl");
const NOVA: &str = include_str!("../../../tests/golden/invoke/stream_nova.jsonl");
const LLAMA: &str = include_str!("../../../tests/golden/invoke/stream_llama.jsonl");
const TITAN: &str = include_str!("../../../tests/golden/invoke/stream_titan.jsonl");
const EMBEDDING_TITAN: &[u8] = include_bytes!("../../../tests/golden/invoke/embedding_titan.json");
const EMBEDDING_COHERE: &[u8] = include_bytes!("../../../tests/golden/invoke/embedding_cohere.json");
const EMBEDDING_COHERE_V4: &[u8] = include_bytes!("../../../tests/golden/invoke/embedding_cohere_v4.json");

#[test]
fn claude_is_told_by_its_version() {
    let body = json!({
        "anthropic_version": "bedrock-2023-05-31", "anthropic_beta": ["x"], "max_tokens": 9,
        "messages": [{"role": "user", "content": "hi"}]
    });
    let chat = chat(decode_request(body.to_string().as_bytes()));
    assert!(chat.extra.is_empty());
    let again: Value = serde_json::from_slice(&encode_request(&chat, true, &CLAUDE).unwrap()).unwrap();
    assert_eq!(again["anthropic_version"], "bedrock-2023-05-31");
    assert_eq!((&again["model"], &again["stream"]), (&Value::Null, &Value::Null));

    let nova = json!({"messages": [{"role": "user", "content": [{"text": "hi"}]}]});
    assert_eq!(decode_request(nova.to_string().as_bytes()), Ok(Ask::Opaque));
    assert!(decode_request(b"[").is_err());
}

#[test]
fn metrics_are_merged_beside_the_usage() {
    for mode in [Mode::Decode, Mode::Observe] {
        let reply = gathered(events(HERE, mode, &invoke_frames(CLAUDE_STREAM)));
        let expected = Usage { cache_read: Some(2048), cache_write: Some(0), ..Usage::of(11, 12) };
        assert_eq!(reply.usage, expected, "{mode:?}");
        assert_eq!(reply.stop, Some(StopReason::StopSequence));
        assert_eq!(reply.stop_sequence.as_deref(), Some("END"));
    }
    // Without a usage block the metrics are all there is.
    let bare = r#"{"type":"message_stop","amazon-bedrock-invocationMetrics":{"inputTokenCount":3,"outputTokenCount":4}}"#;
    assert_eq!(gathered(events(HERE, Mode::Observe, &invoke_frames(bare))).usage, Usage::of(3, 4));
}

#[test]
fn streams_of_other_families_are_observed() {
    let check = |lines: &str, content: usize, stop: StopReason, usage: Usage| {
        let observed = events(HERE, Mode::Observe, &invoke_frames(lines));
        let seen = observed.iter().filter(|e| matches!(e, Event::Content { .. })).count();
        assert_eq!(seen, content, "{lines}");
        let reply = gathered(observed);
        assert_eq!((reply.stop, reply.usage), (Some(stop), usage), "{lines}");
        let (_, _, end) = run(HERE, Mode::Decode, &[&invoke_frames(lines)]);
        assert!(matches!(end, Err(StreamError::Garbled(_))), "{end:?}");
    };
    let nova = Usage { cache_read: Some(0), cache_write: Some(0), ..Usage::of(4, 20) };
    check(NOVA, 1, StopReason::MaxTokens, nova);
    check(LLAMA, 3, StopReason::MaxTokens, Usage::of(15, 3));
    check(TITAN, 2, StopReason::EndTurn, Usage::of(5, 3));
}

#[test]
fn streams_hold_at_every_split() {
    holds_at_every_split(HERE, &invoke_frames(CLAUDE_STREAM));
}

#[test]
fn streams_of_other_families_end_only_with_their_metrics() {
    for lines in [NOVA, LLAMA, TITAN] {
        let all: Vec<&str> = lines.lines().collect();
        let cut = invoke_frames(&all[..all.len() - 1].join("\n"));
        assert_eq!(run(HERE, Mode::Observe, &[&cut]).2, Err(StreamError::Truncated));
    }
}

#[test]
fn a_frame_without_bytes_is_padding() {
    let mut stream = BytesMut::new();
    event_stream::write("event", "chunk", Bytes::from_static(b"{\"p\":\"abc\"}"), &mut stream);
    stream.extend_from_slice(&invoke_frames(CLAUDE_STREAM));
    assert_eq!(events(HERE, Mode::Decode, &stream), {
        events(HERE, Mode::Decode, &invoke_frames(CLAUDE_STREAM))
    });
}

#[test]
fn a_timeout_inside_a_stream_is_an_exception_frame() {
    let upstream = outcrop_core::failure::UpstreamError {
        protocol: HERE,
        status: 408,
        kind: "ModelTimeoutException".into(),
        message: "slow".into(),
        request_id: String::new(),
    };
    let body = crate::ErrorBody {
        code: outcrop_core::Code::UpstreamFailed,
        reason: outcrop_core::Reason::Internal,
        message: "cut",
        request_id: "r",
        upstream: Some(&upstream),
        status_override: None,
    };
    let mut out = BytesMut::new();
    crate::StreamEncoder::new(HERE, context()).fail(&body, &mut out);
    let (_, _, end) = run(HERE, Mode::Observe, &[&out]);
    let Err(StreamError::Upstream(error)) = end else { panic!("{end:?}") };
    assert_eq!((error.kind.as_str(), error.status), ("modelTimeoutException", 408));
}

#[test]
fn bodies_of_embedding_models() {
    let target = |id: &'static str| crate::TargetModel { id, max_tokens_default: None, max_tokens_cap: None };
    let texts = |count: usize| Embed {
        inputs: (0..count).map(|n| EmbedInput::Text(format!("t{n}"))).collect(),
        ..Embed::default()
    };
    let body = |bytes: &Bytes| serde_json::from_slice::<Value>(bytes).unwrap();

    let v2 = target("amazon.titan-embed-text-v2:0");
    let sized = Embed { dimensions: Some(256), ..texts(2) };
    let bodies = encode_embeddings(&sized, &v2).unwrap();
    assert_eq!(bodies.len(), 2);
    assert_eq!(body(&bodies[1]), json!({"inputText": "t1", "dimensions": 256}));

    let v1 = target("amazon.titan-embed-text-v1");
    assert_eq!(body(&encode_embeddings(&texts(1), &v1).unwrap()[0]), json!({"inputText": "t0"}));
    assert!(encode_embeddings(&sized, &v1).is_err());

    let cohere = target("cohere.embed-multilingual-v3");
    let bodies = encode_embeddings(&texts(97), &cohere).unwrap();
    assert_eq!(bodies.len(), 2);
    assert_eq!(body(&bodies[1]), json!({"texts": ["t96"], "input_type": "search_document"}));
    assert!(encode_embeddings(&sized, &cohere).is_err());

    let tokens = Embed { inputs: vec![EmbedInput::Tokens(vec![1])], ..Embed::default() };
    assert!(encode_embeddings(&tokens, &v2).unwrap_err().0.contains("Token ids"));
    let mut odd = texts(1);
    odd.extra.insert("normalize".into(), json!(false));
    assert!(encode_embeddings(&odd, &v2).unwrap_err().0.contains("normalize"));
    assert!(encode_embeddings(&texts(1), &target("mistral.x")).is_err());
}

#[test]
fn answers_of_embedding_models() {
    let check = |answer: &[u8], expected: Vec<Vec<f32>>, input: Option<u64>| {
        let Ok(Reply::Embeddings { vectors, usage, .. }) = decode_reply(answer) else {
            panic!("not vectors")
        };
        assert_eq!((vectors, usage.input), (expected, input));
    };
    check(EMBEDDING_TITAN, vec![vec![0.25, -0.5, 1.0]], Some(5));
    check(EMBEDDING_COHERE, vec![vec![0.25, -0.5], vec![1.0, 0.0]], None);
    check(EMBEDDING_COHERE_V4, vec![vec![0.25, -0.5], vec![1.0, 0.0]], None);
    assert!(decode_reply(b"{\"results\":[]}").is_err());
}

proptest! {
    #[test]
    fn streams_round_trip(reply in replies()) {
        let stream = encoded(HERE, &reply.clone().into_events());
        prop_assert_eq!(gathered(events(HERE, Mode::Decode, &stream)), reply);
    }
}
