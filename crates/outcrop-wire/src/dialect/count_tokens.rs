//! Counting the input tokens of a conversation: thin shapes around the conversation's own protocol.
//!
//! Anthropic's request is a message without its limit; Bedrock's wraps either a Converse body or the
//! model's own body. Only the number comes back.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use outcrop_core::{Ask, Chat, Protocol};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::{anthropic, converse, invoke};
use crate::{Garbled, Inexpressible, Rejection, TargetModel};

/// What Bedrock counts of a Converse body.
const CONVERSE_COUNTED: [&str; 4] = ["messages", "system", "toolConfig", "additionalModelRequestFields"];

/// What Anthropic counts of a message; it refuses the rest.
const ANTHROPIC_COUNTED: [&str; 9] = [
    "model",
    "messages",
    "system",
    "tools",
    "tool_choice",
    "thinking",
    "output_config",
    "context_management",
    "mcp_servers",
];

#[derive(Deserialize)]
struct BedrockRequest<'a> {
    #[serde(borrow)]
    input: BedrockInput<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BedrockInput<'a> {
    #[serde(default, borrow)]
    converse: Option<&'a RawValue>,
    #[serde(default)]
    invoke_model: Option<InvokeInput>,
}

#[derive(Deserialize)]
struct InvokeInput {
    body: String,
}

/// Reads a request of `protocol`.
pub(crate) fn decode_request(protocol: Protocol, body: &[u8]) -> Result<Ask, Rejection> {
    let ask = if protocol == Protocol::BedrockCountTokens {
        bedrock(body)?
    } else {
        anthropic::decode_request(body)?
    };
    match ask {
        Ask::Chat(chat) | Ask::CountTokens(chat) => Ok(Ask::CountTokens(chat)),
        Ask::Opaque => Ok(Ask::Opaque),
        Ask::Embed(_) => Err(Rejection::of("input", "Only the tokens of a conversation can be counted.")),
    }
}

fn bedrock(body: &[u8]) -> Result<Ask, Rejection> {
    let request: BedrockRequest<'_> = serde_json::from_slice(body)
        .map_err(|error| Rejection::of("input", format!("`input` cannot be read: {error}.")))?;
    match (request.input.converse, request.input.invoke_model) {
        (Some(inner), None) => converse::decode_request(inner.get().as_bytes()),
        (None, Some(inner)) => {
            let decoded = STANDARD.decode(inner.body).map_err(|_| {
                Rejection::of("input.invokeModel.body", "`input.invokeModel.body` must be base64.")
            })?;
            invoke::decode_request(&decoded)
        }
        _ => {
            let message = "`input` must hold either `converse` or `invokeModel`.";
            Err(Rejection::of("input", message))
        }
    }
}

/// Writes a request of `protocol`.
pub(crate) fn encode_request(
    protocol: Protocol,
    chat: &Chat,
    target: &TargetModel<'_>,
) -> Result<Bytes, Inexpressible> {
    if protocol == Protocol::BedrockCountTokens {
        let inner = object(&converse::encode_request(chat, false, target)?);
        return Ok(wrapped("converse", &Value::Object(only(inner, &CONVERSE_COUNTED))));
    }
    anthropic::encode_form(chat, anthropic::Form::CountTokens, target)
}

/// A Bedrock request that counts `body`, a model's own body.
pub(crate) fn around_invoke(body: &[u8]) -> Bytes {
    wrapped("invokeModel", &json!({"body": STANDARD.encode(body)}))
}

/// A request that counts the input of `body`, which is to leave as `protocol`: the protocol of the request
/// and its body. Every value keeps its bytes. `None` where nothing counts such a body.
pub fn count_of(protocol: Protocol, body: &[u8]) -> Option<(Protocol, Bytes)> {
    match protocol {
        Protocol::AnthropicMessages => {
            let counted = serde_json::to_vec(&members(body, &ANTHROPIC_COUNTED)?).ok()?;
            Some((Protocol::AnthropicCountTokens, Bytes::from(counted)))
        }
        Protocol::BedrockConverse => {
            let inner = members(body, &CONVERSE_COUNTED)?;
            let counted = serde_json::to_vec(&json_input(&inner)).ok()?;
            Some((Protocol::BedrockCountTokens, Bytes::from(counted)))
        }
        Protocol::BedrockInvoke => Some((Protocol::BedrockCountTokens, around_invoke(body))),
        Protocol::OpenAiChat
        | Protocol::OpenAiEmbeddings
        | Protocol::AnthropicCountTokens
        | Protocol::BedrockCountTokens
        | Protocol::McpTool => None,
    }
}

type Members<'a> = BTreeMap<String, &'a RawValue>;

fn members<'a>(body: &'a [u8], keys: &[&str]) -> Option<Members<'a>> {
    let mut all: Members<'a> = serde_json::from_slice(body).ok()?;
    all.retain(|key, _| keys.contains(&key.as_str()));
    Some(all)
}

fn json_input<'a>(inner: &'a Members<'a>) -> BTreeMap<&'static str, BTreeMap<&'static str, &'a Members<'a>>> {
    BTreeMap::from([("input", BTreeMap::from([("converse", inner)]))])
}

fn wrapped(kind: &str, inner: &Value) -> Bytes {
    Bytes::from(json!({"input": {kind: inner}}).to_string())
}

fn object(body: &[u8]) -> Map<String, Value> {
    serde_json::from_slice(body).unwrap_or_default()
}

fn only(object: Map<String, Value>, keys: &[&str]) -> Map<String, Value> {
    object.into_iter().filter(|(key, _)| keys.contains(&key.as_str())).collect()
}

#[derive(Deserialize)]
struct Count {
    #[serde(alias = "inputTokens")]
    input_tokens: u64,
}

/// Reads an answer.
pub(crate) fn decode_reply(body: &[u8]) -> Result<u64, Garbled> {
    serde_json::from_slice::<Count>(body)
        .map(|count| count.input_tokens)
        .map_err(|error| Garbled(format!("not a token count: {error}")))
}

/// Writes an answer of `protocol`.
pub(crate) fn encode_reply(protocol: Protocol, tokens: u64) -> Bytes {
    let key = if protocol == Protocol::BedrockCountTokens { "inputTokens" } else { "input_tokens" };
    Bytes::from(json!({key: tokens}).to_string())
}
