//! What a request can cost at most, held against what the upstreams count.
//!
//! The bound is taken of the caller's bytes, as the gateway takes it before it sends; the count is the
//! upstream's own billing record of the request that arrived there, translated or not.

use outcrop_core::Protocol;
use outcrop_lab::billing::Record;
use outcrop_wire::{Envelope, Limits, Route, bounds};
use serde_json::{Value, json};

use crate::house::{House, PATHS};

/// The protocol that a path speaks with its upstream.
fn spoken(path: &str) -> Protocol {
    match path {
        "desk" => Protocol::McpTool,
        "oai" => Protocol::OpenAiChat,
        "ant" => Protocol::AnthropicMessages,
        _ => Protocol::BedrockConverse,
    }
}

fn texts() -> Vec<String> {
    vec![
        "Hi.".to_owned(),
        "The quick brown fox jumps over the lazy dog. ".repeat(80),
        "{\"a\": [1, 2, \"\\n\"]}\n\t\u{1}".repeat(40),
        "東京は日本の首都です。…½".repeat(60),
        "😀👍🏽é\u{301}\u{fdfa}".repeat(50),
    ]
}

/// A conversation with instructions, tools, a call and its result, in OpenAI's words.
fn openai(text: &str) -> Value {
    json!({"max_tokens": 3, "messages": [
        {"role": "system", "content": text},
        {"role": "user", "content": [{"type": "text", "text": text}, {"type": "text", "text": "[[tokens=3]]"}]},
        {"role": "assistant", "content": null, "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "look", "arguments": json!({"for": text}).to_string()}}]},
        {"role": "tool", "tool_call_id": "c1", "content": text}
    ], "tools": [{"type": "function", "function": {"name": "look", "description": text,
        "parameters": {"type": "object", "properties": {"for": {"type": "string"}}}}}]})
}

fn anthropic(text: &str) -> Value {
    json!({"max_tokens": 3, "system": text, "messages": [
        {"role": "user", "content": [{"type": "text", "text": text}, {"type": "image",
            "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}}]},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "c1", "name": "look", "input": {"for": text}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": text}]}
    ], "tools": [{"name": "look", "description": text, "input_schema": {"type": "object"}}]})
}

fn converse(text: &str) -> Value {
    json!({"inferenceConfig": {"maxTokens": 3}, "system": [{"text": text}], "messages": [
        {"role": "user", "content": [{"text": text}, {"image": {"format": "png", "source": {"bytes": "iVBORw0KGgo="}}}]},
        {"role": "assistant", "content": [{"text": "Yes."}]},
        {"role": "user", "content": [{"text": text}]}
    ]})
}

fn bound(protocol: Protocol, body: &Value, path: &str, id: &str) -> u64 {
    let route = Route { protocol, model: Some("m".to_owned()), stream: Some(false) };
    let envelope = Envelope::open(&route, body.to_string().into(), &Limits::default()).unwrap();
    let bound = bounds(&envelope, spoken(path), id);
    assert_eq!(bound.unbounded, None);
    bound.input_tokens
}

fn counted(record: &Record) -> u64 {
    record.input_tokens + record.cache_read_tokens + record.cache_write_tokens
}

#[tokio::test]
async fn no_upstream_counts_more_than_the_bound() {
    let house = House::start().await;
    for (path, id) in PATHS {
        let model = format!("on-{path}");
        let mut sent = 0;
        for text in texts() {
            let mut of_anthropic = anthropic(&text);
            let mut of_openai = openai(&text);
            of_anthropic["model"] = json!(model);
            of_openai["model"] = json!(model);
            let asked = [
                (Protocol::OpenAiChat, "/v1/chat/completions".to_owned(), of_openai),
                (Protocol::AnthropicMessages, "/v1/messages".to_owned(), of_anthropic),
                (Protocol::BedrockConverse, format!("/model/{model}/converse"), converse(&text)),
            ];
            for (protocol, route, body) in asked {
                let answer = house.post(&route, &[], &body).await;
                assert_eq!(answer.status, 200, "{protocol:?} over {path}: {answer:?}");
                sent += 1;
                let record = house.billed(path, sent).await.pop().unwrap();
                let (counted, bound) = (counted(&record), bound(protocol, &body, path, id));
                assert!(counted > 0 && counted <= bound, "{protocol:?} over {path}: {counted} > {bound}");
            }
        }
    }
}

#[tokio::test]
async fn no_embedding_counts_more_than_the_bound() {
    let house = House::start().await;
    let inputs = [json!("abc"), json!(texts()), json!((1..900).collect::<Vec<u32>>()), json!([[1, 2], [3]])];
    for (sent, input) in (1..).zip(inputs) {
        let body = json!({"model": "vectors", "input": input});
        let answer = house.post("/v1/embeddings", &[], &body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let counted = counted(&house.billed("oai", sent).await.pop().unwrap());
        let bound = bound(Protocol::OpenAiEmbeddings, &body, "oai", "text-embedding-3-small");
        assert!(counted > 0 && counted <= bound, "{counted} > {bound}");
    }
}
