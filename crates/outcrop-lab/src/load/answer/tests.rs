use http::{HeaderMap, HeaderValue, header};

use super::{Flaw, Hearing};
use crate::load::call::{Api, Call};

fn call(api: Api, stream: bool, words: u64) -> Call {
    Call {
        api,
        model: "m".to_owned(),
        stream,
        operation: None,
        prompt_bytes: 0,
        answer_tokens: words,
        directives: true,
        headers: Vec::new(),
    }
}

/// Heard in one piece, and byte by byte.
fn hear(api: Api, media: &'static str, body: &str, words: u64) -> Result<(), Flaw> {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
    let call = call(api, media.contains("event-stream"), words);
    let mut whole = Hearing::of(&call, &headers);
    whole.push(body.as_bytes());
    let mut bytes = Hearing::of(&call, &headers);
    body.as_bytes().chunks(1).for_each(|byte| bytes.push(byte));
    let judged = whole.finish();
    assert_eq!(judged, bytes.finish(), "the split of the bytes matters");
    judged
}

const SSE: &str = "text/event-stream; charset=utf-8";

fn openai(words: &[&str], end: &str) -> String {
    let chunk = |word: &&str| format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{word}\"}}}}]}}\n\n");
    let text: String = ["Simulated answer from x: "].iter().chain(words).map(chunk).collect();
    format!(": hello\n\n{text}{end}")
}

const FINISH: &str = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";

#[test]
fn an_openai_stream_needs_its_reason_its_end_and_all_its_words() {
    let whole = format!("{FINISH}data: [DONE]\n\n");
    assert_eq!(hear(Api::OpenAi, SSE, &openai(&["tok-1", " tok-2"], &whole), 2), Ok(()));
    for (body, flaw) in [
        (openai(&["tok-1", " tok-2"], FINISH), Flaw::Truncated),
        (openai(&["tok-1", " tok-2"], "data: [DONE]\n\n"), Flaw::Truncated),
        (openai(&["tok-1", " tok-3"], &whole), Flaw::Words { due: 2, held: 1 }),
        (openai(&["tok-1"], &whole), Flaw::Words { due: 2, held: 1 }),
        (openai(&["tok-1", " tok-2", " tok-2"], &whole), Flaw::Words { due: 2, held: 2 }),
        (openai(&["tok-1"], "data: {\"error\":{\"code\":1}}\n\n"), Flaw::Failed("{\"code\":1}".to_owned())),
        ("data: nonsense\n\n".to_owned(), Flaw::Garbled("an event that is no JSON")),
        (String::new(), Flaw::Truncated),
    ] {
        assert_eq!(hear(Api::OpenAi, SSE, &body, 2), Err(flaw), "{body}");
    }
}

#[test]
fn an_anthropic_stream_needs_message_stop() {
    let begun = "event: content_block_delta\r\ndata: {\"type\":\"content_block_delta\",\"delta\":{\"text\":\"Simulated answer from x: tok-1\"}}\r\n\r\n\
                 event: message_delta\r\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"}}\r\n\r\n";
    let whole = format!("{begun}event: message_stop\r\ndata: {{\"type\":\"message_stop\"}}\r\n\r\n");
    assert_eq!(hear(Api::Anthropic, SSE, &whole, 1), Ok(()));
    assert_eq!(hear(Api::Anthropic, SSE, begun, 1), Err(Flaw::Truncated));
}

#[test]
fn whole_bodies_are_judged_by_reason_and_text() {
    let json = "application/json";
    let converse = r#"{"output":{"message":{"content":[{"text":"Simulated answer from x: tok-1 tok-2"}]}},"stopReason":"end_turn"}"#;
    assert_eq!(hear(Api::Bedrock, json, converse, 2), Ok(()));
    assert_eq!(hear(Api::Bedrock, json, converse, 3), Err(Flaw::Words { due: 3, held: 2 }));
    assert!(matches!(hear(Api::OpenAi, json, converse, 2), Err(Flaw::Garbled(_))));
    assert!(matches!(hear(Api::OpenAi, json, "{\"cho", 2), Err(Flaw::Garbled(_))));
    let refused = r#"{"error":{"code":-32603,"message":"x"}}"#;
    assert!(matches!(hear(Api::Mcp, json, refused, 2), Err(Flaw::Failed(_))));
    let tool =
        r#"{"result":{"content":[{"type":"text","text":"Simulated answer from x: tok-1"}],"isError":false}}"#;
    assert_eq!(hear(Api::Mcp, json, tool, 1), Ok(()));
}

#[test]
fn a_wrong_checksum_is_seen() {
    let frames = "application/vnd.amazon.eventstream";
    let garbled = "\0\0\0\x10\0\0\0\0abcdefgh";
    assert!(matches!(hear(Api::Bedrock, frames, garbled, 1), Err(Flaw::Garbled(_))));
}
