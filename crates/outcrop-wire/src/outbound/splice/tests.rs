//! Same-protocol bytes: unchanged but for the values that must change.

use super::*;
use crate::{Limits, Route};

const KEEP: TargetModel<'static> = TargetModel { id: "m", max_tokens_default: None };
const CHANGE: TargetModel<'static> = TargetModel { id: "n\"2", max_tokens_default: Some(50) };

fn open(protocol: Protocol, body: &str) -> Envelope {
    let bedrock = protocol.dialect() == outcrop_core::Dialect::Bedrock;
    let route = Route { protocol, model: bedrock.then(|| "m".into()), stream: None };
    Envelope::open(&route, Bytes::from(body.to_owned()), &Limits::default()).unwrap()
}

fn check(protocol: Protocol, body: &str, target: &TargetModel<'_>, expected: &str) {
    let envelope = open(protocol, body);
    let sent = request(protocol, &envelope, target).unwrap();
    assert_eq!(sent, expected.as_bytes(), "{}", String::from_utf8_lossy(&sent));
    serde_json::from_slice::<Value>(&sent).unwrap();
}

#[test]
fn bytes_without_a_change_are_the_same_allocation() {
    let body = "{ \"model\" :\"m\", \"messages\":[ {} ],\t\"x\":1.50e0, \"y\" : {\"b\":1,\"a\":2}}";
    let envelope = open(Protocol::OpenAiChat, body);
    let sent = request(Protocol::OpenAiChat, &envelope, &KEEP).unwrap();
    assert_eq!(sent.as_ptr(), envelope.body.as_ptr());
}

#[test]
fn openai_changes_only_values() {
    check(
        Protocol::OpenAiChat,
        "{ \"x\":1.50e0, \"model\" : \"m\", \"messages\":[ {} ], \"max_tokens\" : 7 }",
        &CHANGE,
        "{ \"x\":1.50e0, \"model\" : \"n\\\"2\", \"messages\":[ {} ], \"max_tokens\" : 7 }",
    );
    check(
        Protocol::OpenAiChat,
        "{\"model\":\"m\",\"messages\":[{}],\"max_completion_tokens\":null}",
        &CHANGE,
        "{\"model\":\"n\\\"2\",\"messages\":[{}],\"max_completion_tokens\":50}",
    );
    check(
        Protocol::OpenAiChat,
        " {\"model\":\"m\",\"messages\":[{}]}",
        &CHANGE,
        " {\"max_completion_tokens\":50,\"model\":\"n\\\"2\",\"messages\":[{}]}",
    );
}

#[test]
fn openai_streams_always_ask_for_usage() {
    let of = |options: &str| format!("{{\"model\":\"m\",\"stream\":true,\"messages\":[{{}}]{options}}}");
    let body = of("");
    check(
        Protocol::OpenAiChat,
        &body,
        &KEEP,
        &body.replacen('{', "{\"stream_options\":{\"include_usage\":true},", 1),
    );
    for given in ["null", "{}", "{\"include_usage\":false}"] {
        check(
            Protocol::OpenAiChat,
            &of(&format!(",\"stream_options\":{given}")),
            &KEEP,
            &of(",\"stream_options\":{\"include_usage\":true}"),
        );
    }
    check(
        Protocol::OpenAiChat,
        &of(",\"stream_options\":{\"include_obfuscation\":false}"),
        &KEEP,
        &of(",\"stream_options\":{\"include_obfuscation\":false,\"include_usage\":true}"),
    );
    let asked = of(",\"stream_options\" : { \"include_usage\" : true }");
    check(Protocol::OpenAiChat, &asked, &KEEP, &asked);
}

#[test]
fn other_protocols_change_their_own_fields() {
    let claude = "{\"model\":\"m\",\"max_tokens\":3,\"messages\":[{}],\"thinking\":{\"a\": 1}}";
    check(Protocol::AnthropicMessages, claude, &CHANGE, &claude.replace("\"m\"", "\"n\\\"2\""));
    let counted = "{\"model\":\"m\",\"messages\":[{}]}";
    check(Protocol::AnthropicCountTokens, counted, &CHANGE, &counted.replace("\"m\"", "\"n\\\"2\""));
    let embed = "{\"input\":[1,2],\"model\":\"m\"}";
    check(Protocol::OpenAiEmbeddings, embed, &CHANGE, &embed.replace("\"m\"", "\"n\\\"2\""));
    check(
        Protocol::BedrockConverse,
        "{\"messages\":[{}]}",
        &CHANGE,
        "{\"inferenceConfig\":{\"maxTokens\":50},\"messages\":[{}]}",
    );
    check(Protocol::BedrockConverse, "{ }", &CHANGE, "{\"inferenceConfig\":{\"maxTokens\":50} }");
    check(
        Protocol::BedrockConverse,
        "{\"inferenceConfig\":{\"topP\":0.5},\"messages\":[{}]}",
        &CHANGE,
        "{\"inferenceConfig\":{\"topP\":0.5,\"maxTokens\":50},\"messages\":[{}]}",
    );
    let native = "{\"prompt\":  \"x\"}";
    check(Protocol::BedrockInvoke, native, &CHANGE, native);
}

#[test]
fn claude_on_bedrock_keeps_every_value() {
    let body = "{\"model\":\"m\",\"stream\":true,\"max_tokens\": 3,\"anthropic_beta\":[\"x\"],\
                \"messages\":[ {\"role\":\"user\",\"content\":\"\\u00fc\"} ],\"new_field\":1.0}";
    let mut envelope = open(Protocol::AnthropicMessages, body);
    let sent = request(Protocol::BedrockInvoke, &envelope, &CHANGE).unwrap();
    let expected = "{\"anthropic_version\":\"bedrock-2023-05-31\",\"max_tokens\":3,\
                    \"anthropic_beta\":[\"x\"],\"messages\":[ {\"role\":\"user\",\"content\":\
                    \"\\u00fc\"} ],\"new_field\":1.0}";
    assert_eq!(std::str::from_utf8(&sent).unwrap(), expected);
    envelope.betas = vec!["a-1".into(), "b\"2".into()];
    let sent = request(Protocol::BedrockInvoke, &envelope, &CHANGE).unwrap();
    let text = std::str::from_utf8(&sent).unwrap();
    assert!(text.contains(",\"anthropic_beta\":[\"a-1\",\"b\\\"2\"],"), "{text}");
    assert_eq!(text.matches("anthropic_beta").count(), 1);
}

#[test]
fn counting_for_claude_on_bedrock_wraps_its_own_body() {
    use base64::Engine as _;
    let envelope = open(Protocol::AnthropicCountTokens, "{\"model\":\"m\",\"messages\":[{}]}");
    let target = TargetModel { id: "eu.anthropic.claude-x", max_tokens_default: None };
    let sent = request(Protocol::BedrockCountTokens, &envelope, &target).unwrap();
    let sent: Value = serde_json::from_slice(&sent).unwrap();
    let inner = sent["input"]["invokeModel"]["body"].as_str().unwrap();
    let inner = base64::engine::general_purpose::STANDARD.decode(inner).unwrap();
    assert_eq!(inner, b"{\"anthropic_version\":\"bedrock-2023-05-31\",\"max_tokens\":1,\"messages\":[{}]}");
    assert!(request(Protocol::BedrockCountTokens, &envelope, &KEEP).is_none());
}

#[test]
fn other_pairs_are_translated() {
    let envelope = open(Protocol::OpenAiChat, "{\"model\":\"m\",\"messages\":[{}]}");
    for protocol in [Protocol::BedrockConverse, Protocol::AnthropicMessages, Protocol::McpTool] {
        assert!(request(protocol, &envelope, &KEEP).is_none());
    }
}
