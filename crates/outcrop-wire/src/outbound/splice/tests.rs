//! Same-protocol bytes: unchanged but for the values that must change.

use proptest::prelude::*;

use super::*;
use crate::{Limits, Route};

const KEEP: TargetModel<'static> = TargetModel { id: "m", max_tokens_default: None, max_tokens_cap: None };
const CHANGE: TargetModel<'static> =
    TargetModel { id: "n\"2", max_tokens_default: Some(50), max_tokens_cap: None };

fn open(protocol: Protocol, body: &str) -> Envelope {
    let bedrock = protocol.dialect() == outcrop_core::Dialect::Bedrock;
    let route = Route { protocol, model: bedrock.then(|| "m".into()), stream: None };
    Envelope::open(&route, Bytes::from(body.to_owned()), &Limits::default()).unwrap()
}

fn check(protocol: Protocol, body: &str, target: &TargetModel<'_>, expected: &str) {
    let envelope = open(protocol, body);
    let sent = request(protocol, &envelope, target).unwrap().unwrap();
    assert_eq!(sent, expected.as_bytes(), "{}", String::from_utf8_lossy(&sent));
    serde_json::from_slice::<Value>(&sent).unwrap();
}

#[test]
fn bytes_without_a_change_are_the_same_allocation() {
    let body = "{ \"model\" :\"m\", \"messages\":[ {} ],\t\"x\":1.50e0, \"y\" : {\"b\":1,\"a\":2}}";
    let envelope = open(Protocol::OpenAiChat, body);
    let sent = request(Protocol::OpenAiChat, &envelope, &KEEP).unwrap().unwrap();
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
    let sent = request(Protocol::BedrockInvoke, &envelope, &CHANGE).unwrap().unwrap();
    let expected = "{\"anthropic_version\":\"bedrock-2023-05-31\",\"max_tokens\":3,\
                    \"anthropic_beta\":[\"x\"],\"messages\":[ {\"role\":\"user\",\"content\":\
                    \"\\u00fc\"} ],\"new_field\":1.0}";
    assert_eq!(std::str::from_utf8(&sent).unwrap(), expected);
    envelope.betas = vec!["a-1".into(), "b\"2".into()];
    let sent = request(Protocol::BedrockInvoke, &envelope, &CHANGE).unwrap().unwrap();
    let text = std::str::from_utf8(&sent).unwrap();
    assert!(text.contains(",\"anthropic_beta\":[\"a-1\",\"b\\\"2\"],"), "{text}");
    assert_eq!(text.matches("anthropic_beta").count(), 1);
}

#[test]
fn counting_for_claude_on_bedrock_wraps_its_own_body() {
    use base64::Engine as _;
    let envelope = open(Protocol::AnthropicCountTokens, "{\"model\":\"m\",\"messages\":[{}]}");
    let target = TargetModel { id: "eu.anthropic.claude-x", max_tokens_default: None, max_tokens_cap: None };
    let sent = request(Protocol::BedrockCountTokens, &envelope, &target).unwrap().unwrap();
    let sent: Value = serde_json::from_slice(&sent).unwrap();
    let inner = sent["input"]["invokeModel"]["body"].as_str().unwrap();
    let inner = base64::engine::general_purpose::STANDARD.decode(inner).unwrap();
    assert_eq!(inner, b"{\"anthropic_version\":\"bedrock-2023-05-31\",\"max_tokens\":1,\"messages\":[{}]}");
    assert!(request(Protocol::BedrockCountTokens, &envelope, &KEEP).unwrap().is_none());
}

#[test]
fn other_pairs_are_translated() {
    let envelope = open(Protocol::OpenAiChat, "{\"model\":\"m\",\"messages\":[{}]}");
    for protocol in [Protocol::BedrockConverse, Protocol::AnthropicMessages, Protocol::McpTool] {
        assert!(request(protocol, &envelope, &KEEP).unwrap().is_none());
    }
}

const CAP: TargetModel<'static> =
    TargetModel { id: "m", max_tokens_default: Some(500), max_tokens_cap: Some(50) };

#[test]
fn a_cap_replaces_what_is_above_it_and_nothing_else() {
    use Protocol::{AnthropicMessages, BedrockConverse, BedrockInvoke, OpenAiChat};
    let bodies = [
        (OpenAiChat, "{\"model\":\"m\", \"x\":1.50e0,\"max_tokens\" : LIMIT ,\"messages\":[{}]}"),
        (OpenAiChat, "{\"model\":\"m\",\"messages\":[{}],\"max_completion_tokens\":LIMIT}"),
        (
            OpenAiChat,
            "{\"model\":\"m\",\"max_tokens\":LIMIT,\"messages\":[{}],\"max_completion_tokens\":LIMIT}",
        ),
        (
            AnthropicMessages,
            "{\"max_tokens\":LIMIT,\"model\":\"m\",\"messages\":[{}],\"thinking\":{\"type\":\"enabled\",\"budget_tokens\": 2000}}",
        ),
        (BedrockConverse, "{\"inferenceConfig\": { \"topP\":0.50, \"maxTokens\":LIMIT },\"messages\":[]}"),
        (BedrockInvoke, "{\"anthropic_version\":\"v\",\"max_tokens\":LIMIT,\"messages\":[]}"),
        (BedrockInvoke, "{\"prompt\":\"p\",\"max_gen_len\":LIMIT}"),
        (BedrockInvoke, "{\"prompt\":\"p\",\"max_tokens_to_sample\":LIMIT}"),
        (BedrockInvoke, "{\"messages\":[],\"max_completion_tokens\":LIMIT}"),
        (BedrockInvoke, "{\"messages\":[],\"inferenceConfig\":{\"max_new_tokens\" :LIMIT}}"),
        (
            BedrockInvoke,
            "{\"inputText\":\"p\",\"textGenerationConfig\":{\"maxTokenCount\":LIMIT,\"topP\":1}}",
        ),
    ];
    for (protocol, body) in bodies {
        let with = |limit: &str| body.replace("LIMIT", limit);
        check(protocol, &with("51"), &CAP, &with("50"));
        check(protocol, &with("18446744073709551615"), &CAP, &with("50"));
        check(protocol, &with("50"), &CAP, &with("50"));
        check(protocol, &with("7"), &CAP, &with("7"));
    }
}

#[test]
fn a_limit_that_only_another_field_has_is_capped_too() {
    let of = |first: &str, second: &str| {
        format!(
            "{{\"model\":\"m\",\"messages\":[{{}}],\"max_completion_tokens\":{first},\"max_tokens\":{second}}}"
        )
    };
    check(Protocol::OpenAiChat, &of("7", "51"), &CAP, &of("7", "50"));
    check(Protocol::OpenAiChat, &of("7", "1e6"), &CAP, &of("7", "50"));
    check(Protocol::OpenAiChat, &of("null", "51"), &CAP, &of("null", "50"));
    check(Protocol::OpenAiChat, &of("null", "null"), &CAP, &of("50", "null"));
    check(Protocol::OpenAiChat, &of("7", "null"), &CAP, &of("7", "null"));
}

#[test]
fn a_cap_is_the_limit_of_a_request_without_one() {
    check(
        Protocol::OpenAiChat,
        "{\"model\":\"m\",\"messages\":[{}]}",
        &CAP,
        "{\"max_completion_tokens\":50,\"model\":\"m\",\"messages\":[{}]}",
    );
    check(Protocol::BedrockConverse, "{}", &CAP, "{\"inferenceConfig\":{\"maxTokens\":50}}");
    let roomy = TargetModel { max_tokens_default: Some(20), ..CAP };
    check(Protocol::BedrockConverse, "{}", &roomy, "{\"inferenceConfig\":{\"maxTokens\":20}}");
    let native = |id: &'static str, body: &str, expected: &str| {
        check(Protocol::BedrockInvoke, body, &TargetModel { id, ..CAP }, expected);
    };
    native("meta.llama3-1-8b-instruct-v1:0", "{\"prompt\":\"p\"}", "{\"max_gen_len\":50,\"prompt\":\"p\"}");
    native("us.meta.llama4-x", "{\"max_gen_len\":null,\"a\":1}", "{\"max_gen_len\":50,\"a\":1}");
    native("mistral.mistral-large-2402-v1:0", "{\"prompt\":\"p\"}", "{\"max_tokens\":50,\"prompt\":\"p\"}");
    native(
        "amazon.nova-lite-v1:0",
        "{\"messages\":[]}",
        "{\"inferenceConfig\":{\"maxTokens\":50},\"messages\":[]}",
    );
    native(
        "amazon.nova-lite-v1:0",
        "{\"inferenceConfig\":{\"topP\":1},\"messages\":[]}",
        "{\"inferenceConfig\":{\"topP\":1,\"maxTokens\":50},\"messages\":[]}",
    );
    native(
        "amazon.titan-text-express-v1",
        "{\"inputText\":\"p\"}",
        "{\"textGenerationConfig\":{\"maxTokenCount\":50},\"inputText\":\"p\"}",
    );
    for id in ["amazon.titan-embed-text-v2:0", "cohere.embed-english-v3", "amazon.nova-canvas-v1:0"] {
        native(id, "{\"inputText\":\"p\"}", "{\"inputText\":\"p\"}");
    }
    let hidden = TargetModel { id: "arn:aws:bedrock:eu-central-1:1:application-inference-profile/x", ..CAP };
    let envelope = open(Protocol::BedrockInvoke, "{\"prompt\":\"p\"}");
    assert!(request(Protocol::BedrockInvoke, &envelope, &hidden).unwrap_err().0.contains("limit"));
    check(Protocol::BedrockInvoke, "{\"max_tokens\":99}", &hidden, "{\"max_tokens\":50}");
}

#[test]
fn claude_on_bedrock_is_capped_as_it_is_put_together() {
    let body = "{\"model\":\"m\",\"max_tokens\": 99,\"messages\":[ {} ]}";
    let envelope = open(Protocol::AnthropicMessages, body);
    let sent = request(Protocol::BedrockInvoke, &envelope, &CAP).unwrap().unwrap();
    let expected = "{\"anthropic_version\":\"bedrock-2023-05-31\",\"max_tokens\":50,\"messages\":[ {} ]}";
    assert_eq!(sent, expected.as_bytes());
}

proptest! {
    #[test]
    fn any_limit_leaves_at_most_at_the_cap_and_no_other_byte_changes(
        asked in any::<u64>(), cap in any::<u64>(), before in ".{0,12}", after in ".{0,12}", blank in "[ \n\t]{0,3}",
    ) {
        let of = |protocol: Protocol, limit: u64| {
            let (before, after) = (json!(before), json!(after));
            let limit = match protocol {
                Protocol::BedrockConverse => format!("\"inferenceConfig\":{{{blank}\"maxTokens\":{blank}{limit}{blank}}}"),
                _ => format!("\"max_tokens\"{blank}:{blank}{limit}{blank}"),
            };
            format!("{{\"model\":\"m\",\"a\":{before},{blank}{limit},\"messages\":[{{}}],\"z\":{after}}}")
        };
        for protocol in [Protocol::OpenAiChat, Protocol::AnthropicMessages, Protocol::BedrockConverse, Protocol::BedrockInvoke] {
            let target = TargetModel { id: "m", max_tokens_default: None, max_tokens_cap: Some(cap) };
            let sent = request(protocol, &open(protocol, &of(protocol, asked)), &target).unwrap().unwrap();
            prop_assert_eq!(std::str::from_utf8(&sent).unwrap(), of(protocol, asked.min(cap)));
        }
    }
}
