//! What is counted, what is excluded, and that no honest count is above the bound.

use bytes::Bytes;
use outcrop_core::Chat;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::dialect::trial::{CLAUDE, chats};
use crate::dialect::{anthropic, converse, invoke, openai};
use crate::{Limits, Route, TargetModel, encode_request};

fn open(protocol: Protocol, body: &Value) -> Envelope {
    let bedrock = protocol.dialect() == outcrop_core::Dialect::Bedrock;
    let route = Route { protocol, model: bedrock.then(|| "m".into()), stream: bedrock.then_some(false) };
    Envelope::open(&route, Bytes::from(body.to_string()), &Limits::default()).unwrap()
}

fn of(protocol: Protocol, body: &Value) -> InputBounds {
    let mut body = body.clone();
    if protocol.dialect() != outcrop_core::Dialect::Bedrock {
        body["model"] = json!("m");
    }
    if protocol == Protocol::AnthropicMessages {
        body["max_tokens"] = json!(1);
    }
    bounds(&open(protocol, &body), protocol, "m")
}

/// A message of one block in the protocol's own form.
fn with_block(block: &Value) -> Value {
    json!({"messages": [{"role": "user", "content": [{"type": "text", "text": "Look."}, block]}]})
}

const CHATS: [Protocol; 5] = [
    Protocol::OpenAiChat,
    Protocol::AnthropicMessages,
    Protocol::BedrockConverse,
    Protocol::BedrockInvoke,
    Protocol::McpTool,
];

#[test]
fn a_plain_question_has_a_plain_bound() {
    let text = "What is the capital of France?";
    let bound = of(Protocol::OpenAiChat, &json!({"messages": [{"role": "user", "content": text}]}));
    assert_eq!((bound.messages, bound.images, bound.unbounded), (1, 0, None));
    assert!(bound.text_bytes >= text.len() as u64 && bound.text_bytes < text.len() as u64 + 60, "{bound:?}");
    assert_eq!(bound.input_tokens, bound.text_bytes + MESSAGE_TOKENS + REQUEST_TOKENS);
}

#[test]
fn images_count_by_their_formula_and_not_by_their_bytes() {
    let data = "A".repeat(400_000);
    let blocks = [
        json!({"type": "image_url", "image_url": {"url": format!("data:image/png;base64,{data}"), "detail": "high"}}),
        json!({"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}),
        json!({"type": "image_url", "image_url": "https://example.com/a.png"}),
        json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}}),
        json!({"source": {"data": data}, "type": "image"}),
        json!({"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}}),
        json!({"image": {"format": "png", "source": {"bytes": data}}}),
        json!({"image": {"format": "png", "source": {"s3Location": {"uri": "s3://a/b"}}}}),
        json!({"guardContent": {"image": {"format": "png", "source": {"bytes": data}}}}),
        json!({"toolResult": {"toolUseId": "t", "content": [{"image": {"source": {"bytes": data}}}]}}),
        json!({"type": "tool_result", "tool_use_id": "t", "content": [
            {"type": "image", "source": {"type": "base64", "data": data}}]}),
    ];
    for block in blocks {
        for protocol in CHATS {
            let bound = of(protocol, &with_block(&block));
            let what = block.to_string();
            let what = &what[..what.len().min(80)];
            assert_eq!((bound.images, bound.unbounded), (1, None), "{protocol:?} {what}");
            assert!(bound.text_bytes < 300, "{protocol:?} {what}: {bound:?}");
        }
    }
    let image = with_block(&json!({"image": {"format": "png", "source": {"bytes": data}}}));
    let envelope = open(Protocol::BedrockConverse, &image);
    let tokens = |protocol, model| bounds(&envelope, protocol, model).input_tokens;
    let claude = tokens(Protocol::BedrockConverse, "eu.anthropic.claude-sonnet-4-5-20250929-v1:0");
    assert!(claude > CLAUDE_IMAGE_TOKENS && claude < CLAUDE_IMAGE_TOKENS + 1_000);
    assert!(tokens(Protocol::BedrockConverse, "amazon.nova-lite-v1:0") > BEDROCK_IMAGE_TOKENS);
    assert!(tokens(Protocol::OpenAiChat, "gpt-4o-mini") > OPENAI_IMAGE_TOKENS);
    let embedded = json!({"inputImage": data, "inputText": "a"});
    assert_eq!(of(Protocol::BedrockInvoke, &embedded).images, 1);
    assert_eq!(of(Protocol::BedrockInvoke, &json!({"images": ["a", "b"]})).images, 2);
}

#[test]
fn text_does_not_hide_where_media_would_be() {
    let text = "x".repeat(50_000);
    let media =
        json!({"image": {"source": {"bytes": text}}, "source": {"data": text}, "image_url": {"url": text}});
    let hidden = [
        json!({"messages": [{"role": "user", "content": [{"toolUse": {"toolUseId": "t", "name": "n", "input": media}}]}]}),
        json!({"messages": [{"role": "user", "content": [{"type": "tool_use", "id": "t", "name": "n", "input": media}]}]}),
        json!({"messages": [{"role": "assistant", "content": "a", "tool_calls": [{"function": {"arguments": media}}]}]}),
        json!({"messages": [{"role": "user", "content": "a"}], "tools": [{"type": "function", "function": {"name": "n", "parameters": media}}]}),
        json!({"messages": [{"role": "user", "content": "a"}], "toolConfig": {"tools": [{"toolSpec": {"name": "n", "inputSchema": {"json": media}}}]}}),
        json!({"messages": [{"role": "user", "content": [{"toolResult": {"content": [{"json": media}]}}]}]}),
        json!({"messages": [{"role": "user", "content": "a"}], "something": media}),
    ];
    for body in hidden {
        for protocol in CHATS {
            let bound = of(protocol, &body);
            assert!(bound.text_bytes >= 150_000, "{protocol:?}: {bound:?}");
            assert_eq!((bound.images, bound.unbounded), (0, None), "{protocol:?}");
        }
    }
}

#[test]
fn what_has_no_formula_is_named() {
    let check = |body: &Value, named: &str| {
        for protocol in CHATS {
            let found = of(protocol, body).unbounded.unwrap_or("nothing");
            assert!(found.contains(named), "{protocol:?} {body}: {found}");
        }
    };
    check(&with_block(&json!({"type": "document", "source": {"type": "base64", "data": "a"}})), "document");
    check(&with_block(&json!({"document": {"name": "a", "source": {"bytes": "a"}}})), "document");
    check(&with_block(&json!({"toolResult": {"content": [{"document": {"source": {}}}]}})), "document");
    check(&with_block(&json!({"type": "input_audio", "input_audio": {"data": "a"}})), "audio");
    check(&with_block(&json!({"video": {"source": {"bytes": "a"}}})), "video");
    check(&with_block(&json!({"type": "file", "file": {"file_id": "f"}})), "file");
    check(&with_block(&json!({"type": "container_upload", "file_id": "f"})), "file");
    let plus = |key: &str, value: Value| {
        let mut body = json!({"messages": [{"role": "user", "content": "a"}]});
        body[key] = value;
        body
    };
    check(&plus("tools", json!([{"type": "web_search_20250305", "name": "web_search"}])), "tool");
    check(&plus("toolConfig", json!({"tools": [{"systemTool": {"name": "nova_grounding"}}]})), "tool");
    check(&plus("mcp_servers", json!([{"type": "url", "url": "https://example.com"}])), "tool");
    check(&plus("web_search_options", json!({})), "search");
    check(&plus("audio", json!({"voice": "alloy"})), "audio");
    check(&plus("prediction", json!({"type": "content", "content": "a"})), "predicted");
    check(&plus("promptVariables", json!({"a": {"text": "b"}})), "prompt");
    check(&plus("context_management", json!({"edits": [{"type": "compact_20260112"}]})), "compaction");
    let claude = json!({"tools": [{"type": "code_execution_20250522", "name": "c"}]});
    check(&plus("additionalModelRequestFields", claude), "tool");
}

/// Clients that write every field of their types write many nulls.
#[test]
fn what_is_null_is_not_there() {
    let block = json!({"type": "text", "text": "a", "image_url": null, "input_audio": null, "file": null,
        "source": null, "document": null, "image": null, "video": null});
    let body = json!({"messages": [{"role": "user", "content": [block], "audio": null}], "audio": null,
        "prediction": null, "web_search_options": null, "mcp_servers": [], "container": null,
        "tools": null, "context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]}});
    for protocol in CHATS {
        let bound = of(protocol, &body);
        assert_eq!((bound.images, bound.unbounded), (0, None), "{protocol:?}");
    }
}

#[test]
fn tools_bring_their_hidden_prompt() {
    let plain = json!({"messages": [{"role": "user", "content": "a"}]});
    let bare = of(Protocol::AnthropicMessages, &plain).input_tokens;
    let mut body = plain.clone();
    body["tools"] = json!([{"name": "n", "description": "d", "input_schema": {"type": "object"}}]);
    let offered = of(Protocol::AnthropicMessages, &body).input_tokens;
    assert!(offered >= bare + TOOL_PROMPT_TOKENS + TOOL_TOKENS);
    body["tools"] = json!([{"type": "computer_20250124", "name": "computer"}]);
    let built_in = of(Protocol::AnthropicMessages, &body);
    assert!(built_in.input_tokens >= bare + TOOL_PROMPT_TOKENS + BUILT_IN_TOOL_TOKENS);
    assert_eq!(built_in.unbounded, None);
    // The history of calls alone brings the tools back on Claude's hosts.
    for message in [
        json!({"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "n", "input": {}}]}),
        json!({"role": "assistant", "tool_calls": [{"id": "t", "function": {"name": "n", "arguments": "{}"}}]}),
        json!({"role": "assistant", "content": [{"toolUse": {"toolUseId": "t", "name": "n", "input": {}}}]}),
    ] {
        let mut body = plain.clone();
        body["messages"].as_array_mut().unwrap().push(message);
        let called = of(Protocol::OpenAiChat, &body).input_tokens;
        assert!(called >= bare + TOOL_PROMPT_TOKENS + CALL_TOKENS, "{body}");
    }
}

#[test]
fn every_other_protocol_is_bounded_too() {
    let embed = |input: Value| of(Protocol::OpenAiEmbeddings, &json!({"input": input}));
    assert_eq!(embed(json!("abc")).messages, 1);
    assert_eq!(embed(json!(["abc", "de"])).messages, 2);
    assert!(embed(json!(["abc", "de"])).input_tokens >= 5);
    let listed = embed(json!((0..1_000).collect::<Vec<_>>()));
    assert!(listed.input_tokens >= 1_000 && listed.input_tokens < 1_100, "{listed:?}");
    let lists = embed(json!([[1, 2, 3], [4]]));
    assert!(lists.input_tokens >= 4 + 2 * MESSAGE_TOKENS && lists.input_tokens < 100, "{lists:?}");

    let inner = json!({"messages": [{"role": "user", "content": [{"text": "x".repeat(900)}]}]});
    let counted = of(Protocol::BedrockCountTokens, &json!({"input": {"converse": inner}}));
    assert!(counted.input_tokens >= 900 && counted.messages == 1);
    let native = json!({"input": {"invokeModel": {"body": "QUFB".repeat(300)}}});
    assert!(of(Protocol::BedrockCountTokens, &native).input_tokens >= 900);
    let of_anthropic = json!({"messages": [{"role": "user", "content": "x".repeat(900)}]});
    assert!(of(Protocol::AnthropicCountTokens, &of_anthropic).input_tokens >= 900);
    for native in ["prompt", "inputText", "anything"] {
        let bound = of(Protocol::BedrockInvoke, &json!({native: "x".repeat(900)}));
        assert!(bound.input_tokens >= 900 && bound.unbounded.is_none());
    }
    let numbers = json!({"someones": {"own": [1, -2, 3.5, true, null, 1e300]}});
    assert!(of(Protocol::BedrockInvoke, &numbers).text_bytes >= numbers.to_string().len() as u64);
}

#[test]
fn growing_text_and_escapes_are_counted_as_they_may_be_seen() {
    let grown = json!({"messages": [{"role": "user", "content": "\u{fdfa}".repeat(100)}]});
    assert!(of(Protocol::OpenAiChat, &grown).input_tokens >= 3_300);
    let escaped =
        format!(r#"{{"model":"m","messages":[{{"role":"user","content":"{}"}}]}}"#, r"\ufdfa".repeat(100));
    let route = Route { protocol: Protocol::OpenAiChat, model: None, stream: None };
    let envelope = Envelope::open(&route, Bytes::from(escaped), &Limits::default()).unwrap();
    assert!(bounds(&envelope, Protocol::OpenAiChat, "m").input_tokens >= 3_300);
}

/// What a byte-level tokenizer would count at most of a body that left: every text that is said, and
/// the tools as JSON.
fn seen(body: &Value) -> u64 {
    let said = ["system", "messages"].iter().map(|key| strings(&body[key]));
    let tools = ["tools", "toolConfig"].iter().filter_map(|key| body.get(key));
    said.chain(tools.map(|tools| tools.to_string().len() as u64)).sum()
}

fn strings(value: &Value) -> u64 {
    match value {
        Value::String(text) => text.len() as u64,
        Value::Array(items) => items.iter().map(strings).sum(),
        Value::Object(fields) => fields
            .iter()
            .map(|(key, value)| {
                let named = if matches!(key.as_str(), "input" | "arguments") {
                    value.to_string().len() as u64
                } else {
                    0
                };
                named.max(strings(value))
            })
            .sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    }
}

fn written(protocol: Protocol, chat: &Chat) -> Option<Value> {
    let gpt = TargetModel { id: "gpt", max_tokens_default: None, max_tokens_cap: None };
    let body = match protocol {
        Protocol::OpenAiChat => openai::encode_request(chat, false, &gpt),
        Protocol::AnthropicMessages => anthropic::encode_request(chat, false, &CLAUDE),
        Protocol::BedrockConverse => converse::encode_request(chat, false, &CLAUDE),
        _ => invoke::encode_request(chat, false, &CLAUDE),
    };
    serde_json::from_slice(&body.ok()?).ok()
}

/// Any JSON, with keys that mean something and keys that do not; none that hold media.
fn bodies() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1e9..1e9f64).prop_map(|n| json!(n)),
        "(\\PC|[\u{fb00}-\u{fdff}\"\\\\\n]){0,12}".prop_map(Value::from),
    ];
    let keys = prop_oneof![
        prop::sample::select(vec![
            "messages",
            "content",
            "role",
            "text",
            "system",
            "tools",
            "function",
            "name",
            "input",
            "toolUse",
            "toolResult",
            "prompt",
            "toolConfig",
            "toolSpec",
            "parameters",
            "tool_calls",
            "thinking",
        ])
        .prop_map(str::to_owned),
        "\\PC{1,6}",
    ];
    let any = leaf.prop_recursive(5, 60, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((keys.clone(), inner), 0..5).prop_map(|f| f.into_iter().collect::<Value>()),
        ]
    });
    prop::collection::vec(
        (prop::sample::select(vec!["messages", "system", "tools", "toolConfig", "prompt", "x"]), any),
        0..5,
    )
    .prop_map(|fields| fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
}

/// All that is text in a value, names and values.
fn all_text(value: &Value) -> u64 {
    match value {
        Value::String(text) => text::widest(text),
        Value::Number(number) => number.to_string().len() as u64,
        Value::Array(items) => items.iter().map(all_text).sum(),
        Value::Object(fields) => {
            fields.iter().map(|(key, value)| text::widest(key).saturating_add(all_text(value))).sum()
        }
        Value::Null | Value::Bool(_) => 0,
    }
}

proptest! {
    #[test]
    fn nothing_of_any_body_is_left_out(body in bodies()) {
        for protocol in [Protocol::BedrockInvoke, Protocol::BedrockConverse] {
            if let Ok(envelope) = Envelope::open(
                &Route { protocol, model: Some("m".into()), stream: Some(false) },
                Bytes::from(body.to_string()),
                &Limits::default(),
            ) {
                let bound = bounds(&envelope, protocol, "m");
                prop_assert!(bound.text_bytes >= all_text(&body), "{bound:?} {body}");
            }
        }
    }

    #[test]
    fn no_translation_outgrows_the_bound(chat in chats()) {
        for caller in [Protocol::OpenAiChat, Protocol::AnthropicMessages, Protocol::BedrockConverse, Protocol::BedrockInvoke] {
            let Some(body) = written(caller, &chat) else { continue };
            let envelope = open(caller, &body);
            for upstream in CHATS {
                let Ok(sent) = encode_request(upstream, &envelope, &CLAUDE) else { continue };
                let sent: Value = serde_json::from_slice(&sent).unwrap();
                let bound = bounds(&envelope, upstream, CLAUDE.id);
                prop_assert_eq!(bound.unbounded, None);
                prop_assert!(bound.input_tokens >= seen(&sent), "{:?} to {:?}: {:?} {}", caller, upstream, bound, sent);
            }
        }
    }
}
