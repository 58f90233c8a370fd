//! The promises of `hostile/checks.rs` under random bytes and under damaged golden files; the same
//! functions are the fuzz targets in `fuzz/`.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests stop at the first surprise")]

#[path = "hostile/checks.rs"]
mod checks;

use std::path::Path;

use outcrop_core::ask::Part;
use outcrop_core::reply::ChatReply;
use outcrop_core::{Protocol, Usage};
use outcrop_wire::{AnswerContext, StreamEncoder};
use proptest::prelude::*;

/// One damage done to a body.
#[derive(Debug, Clone)]
enum Damage {
    Replace(prop::sample::Index, u8),
    Remove(prop::sample::Index, u8),
    Insert(prop::sample::Index, &'static [u8]),
    Repeat(prop::sample::Index, u8),
    Cut(prop::sample::Index),
}

const TOKENS: [&[u8]; 14] = [
    b"{",
    b"}",
    b"[",
    b"]",
    b"null",
    b"\"\"",
    b",",
    b":",
    b"\n\n",
    b"\r",
    b"data: ",
    b"1e999",
    b"\\ud800",
    b"event: error\n",
];

fn damages() -> impl Strategy<Value = Vec<Damage>> {
    use prop::sample::{Index, select};
    let one = prop_oneof![
        (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Damage::Replace(at, byte)),
        (any::<Index>(), 1_u8..40).prop_map(|(at, count)| Damage::Remove(at, count)),
        (any::<Index>(), select(&TOKENS[..])).prop_map(|(at, token)| Damage::Insert(at, token)),
        (any::<Index>(), 1_u8..80).prop_map(|(at, count)| Damage::Repeat(at, count)),
        any::<Index>().prop_map(Damage::Cut),
    ];
    prop::collection::vec(one, 0..4)
}

fn apply(mut bytes: Vec<u8>, damages: &[Damage]) -> Vec<u8> {
    for damage in damages {
        if bytes.is_empty() {
            break;
        }
        let len = bytes.len();
        let range = |at: &prop::sample::Index, count: u8| {
            let start = at.index(len);
            start..(start + usize::from(count)).min(len)
        };
        match damage {
            Damage::Replace(at, byte) => bytes[at.index(len)] = *byte,
            Damage::Remove(at, count) => drop(bytes.drain(range(at, *count))),
            Damage::Insert(at, token) => {
                let at = at.index(len);
                bytes.splice(at..at, token.iter().copied());
            }
            Damage::Repeat(at, count) => {
                let piece = bytes[range(at, *count)].to_vec();
                let at = at.index(len);
                bytes.splice(at..at, piece);
            }
            Damage::Cut(at) => bytes.truncate(at.index(len)),
        }
    }
    bytes
}

/// Golden files of one folder whose name begins with `prefix` and ends with `suffix`.
fn golden(folder: &str, prefix: &str, suffix: &str) -> Vec<Vec<u8>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(folder);
    let mut files: Vec<_> = std::fs::read_dir(path).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    let wanted = files.into_iter().filter(|file| {
        let name = file.file_name().unwrap().to_str().unwrap();
        name.starts_with(prefix) && name.ends_with(suffix)
    });
    let bodies: Vec<_> = wanted.map(|file| std::fs::read(file).unwrap()).collect();
    assert!(!bodies.is_empty(), "no golden file {folder}/{prefix}*{suffix}");
    bodies
}

fn damaged(bodies: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    (prop::sample::select(bodies), damages()).prop_map(|(body, damages)| apply(body, &damages))
}

/// Streams with a leading byte that says how they are cut.
fn chunked(body: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    (1_u8.., body).prop_map(|(size, body)| [vec![size], body].concat())
}

fn sse_streams() -> Vec<Vec<u8>> {
    [golden("openai", "stream", ".sse"), golden("anthropic", "stream", ".sse")].concat()
}

fn event_streams() -> Vec<Vec<u8>> {
    let reply = ChatReply {
        parts: vec![
            Part::Thinking { text: "hm".into(), signature: Some("sig".into()) },
            Part::Text("hello".into()),
            Part::ToolUse { id: "t".into(), name: "f".into(), input: serde_json::json!({"a": 1}) },
        ],
        stop: Some(outcrop_core::event::StopReason::ToolUse),
        usage: Usage::of(1, 2),
        ..ChatReply::default()
    };
    let context = AnswerContext {
        request_id: "r".into(),
        model: "m".into(),
        created: 0,
        stream_usage: false,
        base64: false,
        latency_ms: 1,
    };
    let write = |protocol| {
        let mut encoder = StreamEncoder::new(protocol, context.clone());
        let mut out = bytes::BytesMut::new();
        for event in reply.clone().into_events() {
            encoder.encode(&event, &mut out);
        }
        out.to_vec()
    };
    vec![write(Protocol::BedrockConverse), write(Protocol::BedrockInvoke)]
}

/// Results of MCP tools: structured, a JSON object as text, and plain text.
fn mcp_results() -> Vec<Vec<u8>> {
    let structured = serde_json::json!({"model": "m", "role": "assistant", "content": "hello",
        "tool_calls": [{"id": "t", "type": "function", "function": {"name": "f", "arguments": "{\"a\":1}"}}],
        "finish_reason": "tool_calls", "usage": {"prompt_tokens": 3, "completion_tokens": 4}});
    let text = serde_json::json!([{"type": "text", "text": "hello"}]);
    let inner = serde_json::json!([{"type": "text", "text": structured.to_string()}]);
    [
        serde_json::json!({"content": text, "structuredContent": structured, "isError": false}),
        serde_json::json!({"content": inner}),
        serde_json::json!({"content": text}),
        structured,
    ]
    .map(|result| result.to_string().into_bytes())
    .to_vec()
}

proptest! {
    #[test]
    fn server_sent_events(data in chunked(damaged(sse_streams()))) {
        checks::sse(&data);
    }

    #[test]
    fn amazon_event_streams(data in chunked(damaged(event_streams()))) {
        checks::event_stream(&data);
    }

    #[test]
    fn openai_requests(data in damaged(golden("openai", "request", ".json"))) {
        checks::openai_request(&data);
    }

    #[test]
    fn anthropic_requests(data in damaged(golden("anthropic", "request", ".json"))) {
        checks::anthropic_request(&data);
    }

    #[test]
    fn converse_requests(data in damaged(golden("converse", "request", ".json"))) {
        checks::converse_request(&data);
    }

    #[test]
    fn mcp_tool_results(data in damaged(mcp_results())) {
        checks::mcp_result(&data);
    }

    #[test]
    fn any_bytes_at_all(data in any::<Vec<u8>>()) {
        checks::sse(&data);
        checks::event_stream(&data);
        checks::envelope(&data);
        checks::mcp_result(&data);
    }
}

#[test]
fn golden_replies_on_every_route() {
    for folder in ["openai", "anthropic", "converse"] {
        for body in golden(folder, "re", ".json") {
            checks::envelope(&body);
        }
    }
}
