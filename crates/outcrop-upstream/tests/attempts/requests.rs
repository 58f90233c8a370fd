//! What leaves: the upstream request is built, never copied.

use outcrop_core::{Protocol, Reply, Usage};
use serde_json::json;

use crate::fake::{Fake, Reaction, answer};
use crate::world::{World, anthropic_messages, envelope, openai_chat};

const CHAT: &str = r#"{"id":"c1","object":"chat.completion","created":1,"model":"m","odd":{"x":1},"choices":[{"index":0,"message":{"role":"assistant","content":"hello"},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}"#;
const MESSAGE: &str = r#"{"id":"m1","type":"message","role":"assistant","model":"m","content":[{"type":"text","text":"hello"}],"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":3,"output_tokens":2}}"#;

#[tokio::test]
async fn openai_gets_the_key_the_model_and_nothing_of_the_caller() {
    let headers = [("x-request-id", "up-1"), ("x-ratelimit-remaining-tokens", "9"), ("set-cookie", "a=b")];
    let fake = Fake::script([Reaction::Keep(answer(200, &headers, CHAT.as_bytes()))]).await;
    let world = World::openai(fake.url("/base/v1/"))
        .with_header("x-outcrop-operation", "emergency")
        .with_header("anthropic-beta", "b")
        .with_header("authorization", "Bearer callers")
        .with_header("cookie", "c");
    let body = json!({"model": "alias", "odd": 1, "messages": [{"role": "user", "content": "hi"}]});
    let ask = envelope(Protocol::OpenAiChat, None, false, &body);
    let answer = world.attempt(&ask, "gpt-x").await.unwrap();
    assert_eq!(answer.protocol, Protocol::OpenAiChat);
    assert_eq!(answer.upstream_request_id, "up-1");
    let passed: Vec<&str> = answer.headers.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(passed, ["x-ratelimit-remaining-tokens"]);

    let seen = fake.seen().remove(0);
    assert_eq!(seen.line, "POST /base/v1/chat/completions HTTP/1.1");
    assert_eq!(seen.header("authorization"), Some("Bearer k-1"));
    assert_eq!(seen.header("host"), Some(fake.address.to_string().as_str()));
    let mut names: Vec<&str> = seen.headers.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["authorization", "content-length", "content-type", "host", "user-agent"]);
    assert_eq!(seen.json()["model"], "gpt-x");
    assert_eq!(seen.json()["odd"], 1, "unknown fields survive");
}

#[tokio::test]
async fn the_same_protocol_passes_the_bytes_and_reads_the_usage() {
    let fake = Fake::script([Reaction::Keep(answer(
        200,
        &[("content-type", "application/json; x=y")],
        CHAT.as_bytes(),
    ))])
    .await;
    let whole = World::openai(fake.url("/v1")).whole(&openai_chat(false), "gpt-x").await.unwrap();
    assert_eq!(whole.raw.unwrap(), CHAT.as_bytes());
    assert_eq!(whole.content_type, "application/json; x=y");
    assert_eq!(whole.reply, Reply::Native(Usage::of(3, 2)));
}

#[tokio::test]
async fn another_protocol_is_translated() {
    let fake = Fake::script([Reaction::Keep(answer(200, &[], CHAT.as_bytes()))]).await;
    let world = World::openai(fake.url("/v1"));
    let whole = world.whole(&anthropic_messages(false), "gpt-x").await.unwrap();
    assert_eq!(whole.raw, None);
    let Reply::Chat(chat) = whole.reply else { panic!("{:?}", whole.reply) };
    assert_eq!(chat.usage, Usage::of(3, 2));
    assert_eq!(fake.seen()[0].json()["messages"][0]["role"], "user");
}

#[tokio::test]
async fn anthropic_gets_key_version_and_betas() {
    let keep = || Reaction::Keep(answer(200, &[("request-id", "up-2")], MESSAGE.as_bytes()));
    let fake = Fake::script([keep(), keep(), keep()]).await;
    let world = World::anthropic(fake.url("/"));
    let mut with_betas = anthropic_messages(false);
    with_betas.betas = vec!["one-2025".into(), "unknown-9".into()];
    let answer = world.attempt(&with_betas, "claude-x").await.unwrap();
    assert_eq!(answer.upstream_request_id, "up-2");
    let world = world.with_header("anthropic-version", "2024-01-01").with_header("anthropic-beta", "h");
    world.whole(&anthropic_messages(false), "claude-x").await.unwrap();
    world.whole(&with_betas, "claude-x").await.unwrap();

    let seen = fake.seen();
    assert_eq!(seen[0].target(), "/v1/messages");
    assert_eq!(seen[0].header("x-api-key"), Some("k-2"));
    assert_eq!(seen[0].header("anthropic-version"), Some("2023-06-01"));
    assert_eq!(seen[0].header("anthropic-beta"), Some("one-2025,unknown-9"));
    assert_eq!(seen[1].header("anthropic-version"), Some("2024-01-01"));
    assert_eq!(seen[1].header("anthropic-beta"), Some("h"));
    let betas = seen[2].headers.iter().filter(|(name, _)| name == "anthropic-beta").count();
    assert_eq!(betas, 1, "never twice");
}

#[tokio::test]
async fn anthropic_counts_tokens() {
    let fake = Fake::script([Reaction::Keep(answer(200, &[], br#"{"input_tokens":14}"#))]).await;
    let body = json!({"model": "alias", "messages": [{"role": "user", "content": "hi"}]});
    let ask = envelope(Protocol::AnthropicCountTokens, None, false, &body);
    let whole = World::anthropic(fake.url("")).whole(&ask, "claude-x").await.unwrap();
    assert!(whole.raw.is_some());
    assert_eq!(fake.seen()[0].target(), "/v1/messages/count_tokens");
}

#[tokio::test]
async fn openai_embeds() {
    let body = br#"{"object":"list","model":"m","data":[{"object":"embedding","index":0,"embedding":[0.5,1.0]}],"usage":{"prompt_tokens":2,"total_tokens":2}}"#;
    let fake = Fake::script([Reaction::Keep(answer(200, &[], body))]).await;
    let ask = envelope(Protocol::OpenAiEmbeddings, None, false, &json!({"model": "a", "input": "x"}));
    let whole = World::openai(fake.url("/v1")).whole(&ask, "embed-x").await.unwrap();
    assert_eq!(whole.raw.unwrap(), body.as_slice());
    assert_eq!(fake.seen()[0].target(), "/v1/embeddings");
    assert_eq!(fake.seen()[0].json()["model"], "embed-x");
}
