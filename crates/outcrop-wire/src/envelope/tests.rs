//! What an envelope reads, and what it refuses with which words.

use serde_json::{Value, json};

use super::*;

fn route(protocol: Protocol) -> Route {
    let bedrock = protocol.dialect() == outcrop_core::Dialect::Bedrock;
    Route { protocol, model: bedrock.then(|| "m".to_owned()), stream: bedrock.then_some(true) }
}

fn open(protocol: Protocol, body: &Value) -> Result<Envelope, Rejection> {
    Envelope::open(&route(protocol), Bytes::from(body.to_string()), &Limits::default())
}

fn check_limit(protocol: Protocol, body: &Value, expected: Option<u64>) {
    assert_eq!(open(protocol, body).unwrap().max_tokens, expected, "{protocol:?} {body}");
}

#[test]
fn openai_fields_are_read() {
    let envelope = open(
        Protocol::OpenAiChat,
        &json!({
            "model": "gpt", "messages": [{"role": "user", "content": "hi"}], "stream": true,
            "stream_options": {"include_usage": true}, "max_completion_tokens": 7,
            "max_tokens": 9, "tools": [{}], "unknown": [1]
        }),
    )
    .unwrap();
    assert_eq!(envelope.model, "gpt");
    assert!(envelope.stream && envelope.has_tools && envelope.stream_usage);
    assert_eq!(envelope.max_tokens, Some(7));
}

#[test]
fn null_and_absent_are_the_same() {
    let envelope = open(
        Protocol::OpenAiChat,
        &json!({"model": "gpt", "messages": [{}], "stream": null, "stream_options": null,
            "max_tokens": null, "tools": []}),
    )
    .unwrap();
    assert!(!envelope.stream && !envelope.has_tools && !envelope.stream_usage);
    assert_eq!(envelope.max_tokens, None);
}

#[test]
fn the_limit_is_found_where_each_protocol_has_it() {
    let messages = json!([{"role": "user", "content": []}]);
    let claude = json!({"model": "m", "max_tokens": 5, "messages": messages});
    check_limit(Protocol::AnthropicMessages, &claude, Some(5));
    check_limit(Protocol::BedrockInvoke, &claude, Some(5));
    check_limit(Protocol::BedrockConverse, &json!({"inferenceConfig": {"maxTokens": 5}}), Some(5));
    check_limit(Protocol::BedrockConverse, &json!({"inferenceConfig": {"topP": 1}}), None);
    check_limit(Protocol::BedrockConverse, &json!({"max_tokens": 5}), None);
    check_limit(Protocol::BedrockInvoke, &json!({"inferenceConfig": {"max_new_tokens": 5}}), Some(5));
    let titan = json!({"inputText": "a", "textGenerationConfig": {"maxTokenCount": 5}});
    check_limit(Protocol::BedrockInvoke, &titan, Some(5));
    check_limit(Protocol::BedrockInvoke, &json!({"prompt": "a", "max_gen_len": 5}), Some(5));
}

#[test]
fn the_end_user_is_found_where_each_protocol_has_it() {
    use Protocol::{
        AnthropicMessages, BedrockConverse, BedrockInvoke, McpTool, OpenAiChat, OpenAiEmbeddings,
    };
    let check = |protocol, mut body: Value, expected: Option<&str>| {
        body["model"] = json!("m");
        body["max_tokens"] = json!(1);
        body["messages"] = json!([{"role": "user", "content": "hi"}]);
        body["input"] = json!("hi");
        assert_eq!(open(protocol, &body).unwrap().user.as_deref(), expected, "{protocol:?} {body}");
    };
    for protocol in [OpenAiChat, OpenAiEmbeddings, McpTool] {
        check(protocol, json!({"user": "\u{fc}ser"}), Some("\u{fc}ser"));
        check(protocol, json!({"user": "u", "safety_identifier": "s"}), Some("s"));
        check(protocol, json!({"user": "u", "safety_identifier": null}), Some("u"));
        check(protocol, json!({"metadata": {"user_id": "u"}}), None);
    }
    for protocol in [AnthropicMessages, BedrockInvoke] {
        check(protocol, json!({"metadata": {"user_id": "u", "other": 1}}), Some("u"));
        check(protocol, json!({"metadata": {"user_id": null}}), None);
        check(protocol, json!({"metadata": "u"}), None);
        check(protocol, json!({"user": "u"}), None);
    }
    for odd in [json!(7), json!({"a": 1}), json!(""), json!(null)] {
        check(OpenAiChat, json!({"user": odd}), None);
        check(AnthropicMessages, json!({"metadata": {"user_id": odd}}), None);
    }
    check(BedrockConverse, json!({"user": "u", "metadata": {"user_id": "u"}}), None);
    let long = "\u{1f600}".repeat(500);
    check(OpenAiChat, json!({"user": long}), Some(&long[..200 * 4]));
}

#[test]
fn the_url_wins_over_the_body() {
    let body = json!({"model": "other", "stream": false, "messages": []});
    let envelope = open(Protocol::BedrockConverse, &body).unwrap();
    assert_eq!((envelope.model.as_str(), envelope.stream), ("m", true));
}

#[test]
fn refusals_name_the_field() {
    let messages = json!([{"role": "user", "content": "hi"}]);
    let cases = [
        (Protocol::OpenAiChat, json!({"messages": messages}), "model"),
        (Protocol::OpenAiChat, json!({"model": "", "messages": messages}), "model"),
        (Protocol::OpenAiChat, json!({"model": 7, "messages": messages}), "model"),
        (Protocol::OpenAiChat, json!({"model": "m"}), "messages"),
        (Protocol::OpenAiChat, json!({"model": "m", "messages": []}), "messages"),
        (Protocol::OpenAiChat, json!({"model": "m", "messages": "hi"}), "messages"),
        (Protocol::OpenAiChat, json!({"model": "m", "messages": messages, "stream": 1}), "stream"),
        (Protocol::OpenAiChat, json!({"model": "m", "messages": messages, "max_tokens": -1}), "max_tokens"),
        (Protocol::OpenAiChat, json!({"model": "m", "messages": messages, "max_tokens": 1.5}), "max_tokens"),
        (
            Protocol::OpenAiChat,
            json!({"model": "m", "messages": messages, "stream_options": 1}),
            "stream_options",
        ),
        (Protocol::OpenAiEmbeddings, json!({"model": "m"}), "input"),
        (Protocol::OpenAiEmbeddings, json!({"model": "m", "input": ""}), "input"),
        (Protocol::OpenAiEmbeddings, json!({"model": "m", "input": {"a": 1}}), "input"),
        (Protocol::AnthropicMessages, json!({"model": "m", "messages": messages}), "max_tokens"),
        (Protocol::AnthropicCountTokens, json!({"model": "m"}), "messages"),
        (Protocol::BedrockConverse, json!({"messages": {}}), "messages"),
        (
            Protocol::BedrockConverse,
            json!({"inferenceConfig": {"maxTokens": "5"}}),
            "inferenceConfig.maxTokens",
        ),
        (Protocol::BedrockConverse, json!({"inferenceConfig": []}), "inferenceConfig"),
        (Protocol::BedrockCountTokens, json!({"input": "x"}), "input"),
    ];
    for (protocol, body, field) in cases {
        let refused = open(protocol, &body).unwrap_err();
        assert_eq!(refused.field, field, "{body}");
        assert!(refused.message.contains(&format!("`{field}`")), "{refused}");
    }
}

#[test]
fn spans_point_at_the_values() {
    let body = " { \"stream_options\" : {\"a\":[1]} ,\n\"mod\\u0065l\":\"gpt\",\"max_tokens\":null,\
                \"messages\":[{}] }";
    let opened = Envelope::open(&route(Protocol::OpenAiChat), Bytes::from(body), &Limits::default());
    let spans = opened.unwrap().spans;
    assert_eq!(&body[..spans.open], " {");
    assert_eq!(&body[spans.model.unwrap()], "\"gpt\"");
    assert_eq!(&body[spans.stream_options.unwrap()], "{\"a\":[1]}");
    let null = body.find("null").unwrap();
    assert_eq!(spans.limits.as_slice(), [LimitSpan { key: "max_tokens", span: null..null + 4, value: None }]);
}

#[test]
fn an_ask_is_decoded_once_and_for_every_protocol() {
    let cases = [
        (Protocol::OpenAiChat, json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]})),
        (Protocol::OpenAiEmbeddings, json!({"model": "m", "input": "hi"})),
        (
            Protocol::AnthropicMessages,
            json!({"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "hi"}]}),
        ),
        (
            Protocol::AnthropicCountTokens,
            json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]}),
        ),
        (Protocol::BedrockConverse, json!({"messages": [{"role": "user", "content": [{"text": "hi"}]}]})),
        (Protocol::BedrockInvoke, json!({"someones": "own"})),
        (
            Protocol::BedrockCountTokens,
            json!({"input": {"converse": {"messages": [{"role": "user", "content": [{"text": "hi"}]}]}}}),
        ),
        (Protocol::McpTool, json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]})),
    ];
    for (protocol, body) in cases {
        let envelope = open(protocol, &body).unwrap();
        let ask = envelope.ask().unwrap();
        let text = match ask {
            Ask::Chat(chat) | Ask::CountTokens(chat) => chat.last_user_text(),
            Ask::Embed(embed) => format!("{:?}", embed.inputs),
            Ask::Opaque => "hi".to_owned(),
        };
        assert!(text.contains("hi"), "{protocol:?}: {text}");
        assert!(std::ptr::eq(ask, envelope.ask().unwrap()));
    }
}
