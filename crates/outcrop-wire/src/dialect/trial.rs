//! What the tests of several codecs need: golden streams as bytes, whole runs of a decoder, random
//! conversations.

use bytes::{Bytes, BytesMut};
use outcrop_core::ask::{Part, Role, Tool, ToolChoice, Turn};
use outcrop_core::event::StopReason;
use outcrop_core::reply::ChatReply;
use outcrop_core::{Ask, Chat, Event, Protocol, Usage};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::framing::event_stream;
use crate::{AnswerContext, Mode, StreamDecoder, StreamEncoder, StreamError, TargetModel};

/// A Claude model on Bedrock.
pub(crate) const CLAUDE: TargetModel<'static> = TargetModel {
    id: "eu.anthropic.claude-sonnet-4-5-20250929-v1:0",
    max_tokens_default: None,
    max_tokens_cap: None,
};

/// A Nova model on Bedrock.
pub(crate) const NOVA: TargetModel<'static> =
    TargetModel { id: "eu.amazon.nova-lite-v1:0", max_tokens_default: None, max_tokens_cap: None };

/// A stable context.
pub(crate) fn context() -> AnswerContext {
    AnswerContext {
        request_id: "0199f0c2-0000-7000-8000-000000000001".into(),
        model: "sonnet".into(),
        created: 1_764_000_000,
        stream_usage: true,
        base64: false,
        latency_ms: 12,
    }
}

/// Frames of a Converse stream, one a line: `{"messageStart": {…}}`.
pub(crate) fn converse_frames(lines: &str) -> Bytes {
    let mut out = BytesMut::new();
    for line in lines.lines() {
        let event: Value = serde_json::from_str(line).unwrap();
        let (kind, data) = event.as_object().unwrap().iter().next().unwrap();
        event_stream::write("event", kind, Bytes::from(data.to_string()), &mut out);
    }
    out.freeze()
}

/// Frames of an invoke stream, one model event a line.
pub(crate) fn invoke_frames(lines: &str) -> Bytes {
    use base64::Engine as _;
    let mut out = BytesMut::new();
    for line in lines.lines() {
        let encoded = base64::engine::general_purpose::STANDARD.encode(line);
        let payload = json!({"bytes": encoded, "p": "abcdefghijk"}).to_string();
        event_stream::write("event", "chunk", Bytes::from(payload), &mut out);
    }
    out.freeze()
}

/// Decodes a stream that comes in `pieces` to its end.
pub(crate) fn run(
    protocol: Protocol,
    mode: Mode,
    pieces: &[&[u8]],
) -> (Vec<Event>, Vec<u8>, Result<(), StreamError>) {
    let mut decoder = StreamDecoder::new(protocol, mode);
    let (mut events, mut raw) = (Vec::new(), Vec::new());
    for piece in pieces {
        decoder.push(Bytes::copy_from_slice(piece));
        loop {
            match decoder.next() {
                Ok(Some(item)) => {
                    raw.extend_from_slice(&item.raw);
                    events.extend(item.events);
                }
                Ok(None) => break,
                Err(error) => return (events, raw, Err(error)),
            }
        }
    }
    let end = decoder.finish();
    (events, raw, end)
}

/// Decodes a whole stream that must be good.
pub(crate) fn events(protocol: Protocol, mode: Mode, stream: &[u8]) -> Vec<Event> {
    let (events, raw, end) = run(protocol, mode, &[stream]);
    assert_eq!(end, Ok(()));
    assert_eq!(raw, stream, "the frames are the stream");
    assert_eq!(events.last(), Some(&Event::Done));
    events
}

/// Holds that a good stream decodes alike however its bytes arrive, and that no part of it that is
/// shorter than the whole ends clean.
pub(crate) fn holds_at_every_split(protocol: Protocol, stream: &[u8]) {
    for mode in [Mode::Decode, Mode::Observe] {
        let whole = events(protocol, mode, stream);
        for at in 0..stream.len() {
            let (front, back) = stream.split_at(at);
            let (split, raw, end) = run(protocol, mode, &[front, back]);
            assert_eq!((&split, end), (&whole, Ok(())), "split at {at}");
            assert_eq!(raw, stream);
            let (_, _, end) = run(protocol, mode, &[front]);
            assert_eq!(end, Err(StreamError::Truncated), "cut at {at}");
        }
        let bytes: Vec<&[u8]> = stream.chunks(1).collect();
        assert_eq!(run(protocol, mode, &bytes).0, whole, "byte by byte");
    }
}

/// The stream of `events` in `protocol`.
pub(crate) fn encoded(protocol: Protocol, events: &[Event]) -> Bytes {
    let mut encoder = StreamEncoder::new(protocol, context());
    let mut out = BytesMut::new();
    for event in events {
        encoder.encode(event, &mut out);
    }
    out.freeze()
}

/// What a reader of the events holds at the end.
pub(crate) fn gathered(events: impl IntoIterator<Item = Event>) -> ChatReply {
    let mut reply = ChatReply::default();
    events.into_iter().for_each(|event| reply.absorb(event));
    reply
}

/// The conversation in a body.
pub(crate) fn chat(ask: Result<Ask, crate::Rejection>) -> Chat {
    match ask.unwrap() {
        Ask::Chat(chat) => *chat,
        other => panic!("not a conversation: {other:?}"),
    }
}

fn words() -> impl Strategy<Value = String> {
    "[a-zäß€😀][a-zA-Z0-9äß€😀\"\\\\\n {}]{0,11}"
}

fn arguments() -> impl Strategy<Value = Value> {
    prop::collection::btree_map("[a-z]{1,4}", words(), 0..3).prop_map(|map| json!(map))
}

fn tool_name() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9_-]{1,12}"
}

/// Parts of an answer.
pub(crate) fn answer_parts() -> impl Strategy<Value = Vec<Part>> {
    let part = prop_oneof![
        words().prop_map(Part::Text),
        (words(), words()).prop_map(|(text, sig)| Part::Thinking { text, signature: Some(sig) }),
        words().prop_map(Part::RedactedThinking),
        (tool_name(), tool_name(), arguments()).prop_map(|(id, name, input)| Part::ToolUse {
            id,
            name,
            input
        }),
    ];
    prop::collection::vec(part, 1..5)
}

/// Whole answers.
pub(crate) fn replies() -> impl Strategy<Value = ChatReply> {
    let stop = prop_oneof![
        Just(StopReason::EndTurn),
        Just(StopReason::MaxTokens),
        Just(StopReason::ToolUse),
        Just(StopReason::StopSequence),
        Just(StopReason::ContextWindow),
    ];
    let usage = (0..9999u64, 0..9999u64, prop::option::of(0..99u64), prop::option::of(0..99u64)).prop_map(
        |(input, output, cache_read, cache_write)| Usage {
            cache_read,
            cache_write,
            ..Usage::of(input, output)
        },
    );
    (answer_parts(), stop, prop::option::of(words()), usage).prop_map(
        |(parts, stop, stop_sequence, usage)| ChatReply {
            id: "msg_1".into(),
            model: "sonnet".into(),
            parts,
            stop: Some(stop),
            stop_sequence,
            usage,
        },
    )
}

/// Conversations in what every protocol can say, in the order that every protocol accepts.
pub(crate) fn chats() -> impl Strategy<Value = Chat> {
    let result = (tool_name(), words(), any::<bool>()).prop_map(|(id, text, is_error)| Part::ToolResult {
        id,
        content: vec![Part::Text(text)],
        is_error,
    });
    let user = (prop::collection::vec(result, 0..2), words()).prop_map(|(mut parts, text)| {
        parts.push(Part::Text(text));
        parts
    });
    let turns = prop::collection::vec((user, answer_parts()), 1..4).prop_map(|pairs| {
        let turn = |role, parts| Turn { role, parts };
        let each = pairs.into_iter();
        each.flat_map(|(user, model)| [turn(Role::User, user), turn(Role::Assistant, model)])
            .collect::<Vec<Turn>>()
    });
    let tools = prop::collection::vec((tool_name(), words()), 1..3).prop_map(|tools| {
        let tool = |(name, description)| Tool {
            name,
            description: Some(description),
            schema: json!({"type": "object", "properties": {"a": {"type": "string"}}}),
            strict: None,
        };
        tools.into_iter().map(tool).collect::<Vec<Tool>>()
    });
    let choice = prop::option::of(prop_oneof![
        Just(ToolChoice::Auto),
        Just(ToolChoice::Any),
        tool_name().prop_map(ToolChoice::Named),
    ]);
    let limits = (
        1..9999u64,
        prop::option::of((0..100u32).prop_map(|n| f64::from(n) / 100.0)),
        prop::option::of(1..99u64),
    );
    (turns, prop::collection::vec(words(), 0..2), tools, choice, limits).prop_map(
        |(turns, system, tools, tool_choice, (max, temperature, top_k))| {
            let mut chat = Chat { turns, tools, tool_choice, ..Chat::default() };
            chat.system = system.into_iter().map(Part::Text).collect();
            chat.sampling.max_tokens = Some(max);
            chat.sampling.temperature = temperature;
            chat.sampling.top_k = top_k;
            chat
        },
    )
}
