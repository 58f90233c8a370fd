//! What one protocol can say and another cannot: dropped where the answer stays the same, else
//! refused by name.
//!
//! The list of what may be dropped is short and explicit (`docs/translation.md`); a field that is not
//! on it is refused, so a protocol's further fields are never lost in silence.

use outcrop_core::{Chat, Protocol};
use serde_json::Value;

use crate::Inexpressible;

/// Refuses the single-protocol fields of `chat` that another protocol would lose.
pub(crate) fn refuse_extra(chat: &Chat, target: &str) -> Result<(), Inexpressible> {
    let Some(protocol) = chat.protocol else { return Ok(()) };
    for (key, value) in &chat.extra {
        if !may_drop(protocol, key, value) {
            let origin = name_of(protocol);
            return Err(Inexpressible(format!(
                "`{key}` of {origin} cannot be said to {target}; remove it, or use a path that \
                 speaks {origin}."
            )));
        }
    }
    Ok(())
}

/// Refuses a conversation without a message: no protocol can say it, and each would blame another
/// field.
pub(crate) fn refuse_empty(chat: &Chat) -> Result<(), Inexpressible> {
    if chat.turns.is_empty() {
        return Err(Inexpressible("`messages` is empty; send at least one message.".to_owned()));
    }
    Ok(())
}

/// The refusal of a content block that only its own protocol has.
pub(crate) fn refuse_block(chat: &Chat, block: &Value, target: &str) -> Inexpressible {
    let kind = block.get("type").and_then(Value::as_str);
    let key = || block.as_object().and_then(|fields| fields.keys().next()).map(String::as_str);
    let kind = kind.or_else(key).unwrap_or("unknown");
    let origin = chat.protocol.map_or("its own protocol", name_of);
    Inexpressible(format!(
        "A content block `{kind}` of {origin} cannot be said to {target}; remove it, or use a path \
         that speaks {origin}."
    ))
}

fn name_of(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::OpenAiChat | Protocol::OpenAiEmbeddings => "the OpenAI API",
        Protocol::AnthropicMessages | Protocol::AnthropicCountTokens => "the Anthropic API",
        Protocol::BedrockConverse | Protocol::BedrockCountTokens => "Bedrock Converse",
        Protocol::BedrockInvoke => "Bedrock InvokeModel",
        Protocol::McpTool => "the MCP tool",
    }
}

fn may_drop(protocol: Protocol, key: &str, value: &Value) -> bool {
    is_default(key, value)
        || match protocol {
            Protocol::OpenAiChat | Protocol::OpenAiEmbeddings => matches!(
                key,
                "metadata"
                    | "store"
                    | "service_tier"
                    | "seed"
                    | "user"
                    | "safety_identifier"
                    | "prompt_cache_key"
                    | "prompt_cache_retention"
                    | "prediction"
            ),
            Protocol::AnthropicMessages | Protocol::AnthropicCountTokens | Protocol::BedrockInvoke => {
                match key {
                    "metadata" | "service_tier" | "cache_control" => true,
                    // What is left of it is the effort beside an explicit thinking budget.
                    "output_config" => {
                        value.as_object().is_some_and(|fields| fields.keys().all(|name| name == "effort"))
                    }
                    _ => false,
                }
            }
            Protocol::BedrockConverse | Protocol::BedrockCountTokens => {
                matches!(
                    key,
                    "requestMetadata"
                        | "performanceConfig"
                        | "serviceTier"
                        | "additionalModelResponseFieldPaths"
                )
            }
            Protocol::McpTool => false,
        }
}

/// Whether a field says only what is so without it.
fn is_default(key: &str, value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(flag) => !flag && key == "logprobs",
        Value::Number(number) => {
            matches!(key, "frequency_penalty" | "presence_penalty" | "top_logprobs")
                && number.as_f64() == Some(0.0)
        }
        Value::String(text) => key == "verbosity" && text == "medium",
        Value::Array(items) => {
            items.is_empty() || (key == "modalities" && items.iter().all(|item| item == "text"))
        }
        Value::Object(fields) => fields.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Protocol::{AnthropicMessages as A, BedrockConverse as B, OpenAiChat as O};
    use serde_json::json;

    #[test]
    fn only_what_keeps_the_answer_is_dropped() {
        let check = |protocol, key: &str, value: Value, passes: bool| {
            let mut chat = Chat { protocol: Some(protocol), ..Chat::default() };
            chat.extra.insert(key.into(), value);
            let result = refuse_extra(&chat, "the target");
            assert_eq!(result.is_ok(), passes, "{key}: {result:?}");
            if let Err(Inexpressible(text)) = result {
                assert!(text.contains(&format!("`{key}`")), "{text}");
            }
        };
        check(O, "store", json!(true), true);
        check(O, "logprobs", json!(false), true);
        check(O, "logprobs", json!(true), false);
        check(O, "presence_penalty", json!(0), true);
        check(O, "presence_penalty", json!(0.5), false);
        check(O, "logit_bias", json!({}), true);
        check(O, "logit_bias", json!({"50256": -100}), false);
        check(O, "modalities", json!(["text"]), true);
        check(O, "modalities", json!(["text", "audio"]), false);
        check(O, "web_search_options", json!({"a": 1}), false);
        check(A, "service_tier", json!("auto"), true);
        check(A, "output_config", json!({"effort": "high"}), true);
        check(A, "mcp_servers", json!([{"type": "url"}]), false);
        check(A, "context_management", json!({"edits": [1]}), false);
        check(B, "additionalModelResponseFieldPaths", json!(["/delta/stop_sequence"]), true);
        check(B, "requestMetadata", json!({"a": "b"}), true);
        check(B, "guardrailConfig", json!({"guardrailIdentifier": "g"}), false);
    }
}
