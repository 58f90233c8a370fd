//! Usage of whole answers, family by family.

use super::*;

fn check(protocol: Protocol, body: &str, expected: Usage) {
    assert_eq!(usage(protocol, body.as_bytes()).unwrap(), expected, "{body}");
}

#[test]
fn every_protocol_reports_its_usage() {
    let cached = Usage { cache_read: Some(4), cache_write: Some(2), ..Usage::of(10, 5) };
    check(
        Protocol::OpenAiChat,
        r#"{"choices":[],"usage":{"prompt_tokens":14,"completion_tokens":5,"total_tokens":19,"prompt_tokens_details":{"cached_tokens":4}}}"#,
        Usage { cache_read: Some(4), ..Usage::of(10, 5) },
    );
    check(Protocol::OpenAiChat, r#"{"choices":[]}"#, Usage::default());
    check(
        Protocol::OpenAiEmbeddings,
        r#"{"object":"list","data":[],"usage":{"prompt_tokens":8,"total_tokens":8}}"#,
        Usage::of(8, 0),
    );
    check(
        Protocol::AnthropicMessages,
        r#"{"content":[],"usage":{"input_tokens":10,"output_tokens":5,"cache_read_input_tokens":4,"cache_creation_input_tokens":2}}"#,
        cached,
    );
    check(
        Protocol::BedrockConverse,
        r#"{"output":{},"usage":{"inputTokens":10,"outputTokens":5,"totalTokens":15,"cacheReadInputTokens":4,"cacheWriteInputTokens":2}}"#,
        cached,
    );
    check(Protocol::AnthropicCountTokens, r#"{"input_tokens":10}"#, Usage::default());
    check(Protocol::BedrockCountTokens, r#"{"inputTokens":10}"#, Usage::default());
}

#[test]
fn invoke_reports_usage_of_every_known_family() {
    let claude = r#"{"content":[],"usage":{"input_tokens":1,"output_tokens":2}}"#;
    check(Protocol::BedrockInvoke, claude, Usage::of(1, 2));
    let nova = r#"{"output":{},"usage":{"inputTokens":1,"outputTokens":2,"totalTokens":3}}"#;
    check(Protocol::BedrockInvoke, nova, Usage::of(1, 2));
    let titan_text = r#"{"inputTextTokenCount":5,"results":[{"tokenCount":7,"outputText":"a"}]}"#;
    check(Protocol::BedrockInvoke, titan_text, Usage::of(5, 7));
    let titan_embed = r#"{"embedding":[0.1],"inputTextTokenCount":5}"#;
    check(Protocol::BedrockInvoke, titan_embed, Usage::of(5, 0));
    let llama = r#"{"generation":"a","prompt_token_count":3,"generation_token_count":4}"#;
    check(Protocol::BedrockInvoke, llama, Usage::of(3, 4));
    check(Protocol::BedrockInvoke, r#"{"embeddings":[[0.1]]}"#, Usage::default());
}

#[test]
fn another_shape_is_garbled() {
    for (protocol, body) in [
        (Protocol::OpenAiChat, r#"{"error":{"message":"x"}}"#),
        (Protocol::AnthropicMessages, r#"{"type":"error"}"#),
        (Protocol::BedrockConverse, r#"{"message":"x"}"#),
        (Protocol::BedrockCountTokens, "{}"),
        (Protocol::BedrockInvoke, "[1"),
        (Protocol::OpenAiChat, "[[],null]"),
        (Protocol::BedrockInvoke, "[]"),
        (Protocol::OpenAiChat, r#"{"choices":[]"#),
    ] {
        assert!(usage(protocol, body.as_bytes()).is_err(), "{body}");
    }
}
