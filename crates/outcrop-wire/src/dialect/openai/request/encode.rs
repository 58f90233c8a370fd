//! Writing a request for a chat completion from a decoded one.
//!
//! Fields of other protocols are refused by name unless leaving them out cannot change the answer.
//! Usage is always asked for in a stream, because an attempt is settled by it.

use bytes::Bytes;
use outcrop_core::ask::{Format, Thinking, Tool, ToolChoice};
use outcrop_core::{Chat, Protocol};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::super::message::{self, Message};
use crate::dialect::foreign;
use crate::{Inexpressible, TargetModel};

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    messages: Vec<Message<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<ToolOut<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parallel_tool_calls: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_completion_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f64>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    stop: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    n: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_format: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_effort: Option<&'a str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    stream: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream_options: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    #[serde(flatten)]
    extra: Option<&'a Map<String, Value>>,
}

/// A tool on offer.
#[derive(Serialize)]
pub(crate) struct ToolOut<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    function: FunctionOut<'a>,
}

#[derive(Serialize)]
struct FunctionOut<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    parameters: &'a Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    strict: Option<bool>,
}

/// The request for `target`.
pub(crate) fn encode_request(
    chat: &Chat,
    stream: bool,
    target: &TargetModel<'_>,
) -> Result<Bytes, Inexpressible> {
    let own = chat.protocol == Some(Protocol::OpenAiChat);
    if !own {
        foreign::refuse_extra(chat, "OpenAI chat completions")?;
    }
    if chat.sampling.top_k.is_some() {
        return Err(cannot("`top_k`"));
    }
    let sampling = &chat.sampling;
    let has_tools = !chat.tools.is_empty();
    let body = Body {
        model: target.id,
        messages: messages(chat)?,
        tools: tools(&chat.tools),
        tool_choice: chat.tool_choice.as_ref().filter(|_| has_tools).map(tool_choice),
        parallel_tool_calls: chat.parallel_tools.filter(|_| has_tools),
        max_completion_tokens: target.limit(sampling.max_tokens),
        temperature: sampling.temperature,
        top_p: sampling.top_p,
        stop: &sampling.stop,
        n: sampling.n,
        seed: sampling.seed,
        response_format: chat.format.as_ref().map(response_format),
        reasoning_effort: effort(chat.thinking.as_ref())?,
        stream,
        stream_options: stream.then(|| json!({"include_usage": true})),
        user: chat.user.as_deref(),
        extra: own.then_some(&chat.extra),
    };
    let bytes = serde_json::to_vec(&body).expect("invariant: string keys and finite numbers");
    Ok(Bytes::from(bytes))
}

/// The messages of `chat`.
pub(crate) fn messages(chat: &Chat) -> Result<Vec<Message<'_>>, Inexpressible> {
    message::messages(chat)
}

/// The tools on offer.
pub(crate) fn tools(tools: &[Tool]) -> Vec<ToolOut<'_>> {
    tools.iter().map(ToolOut::from).collect()
}

impl<'a> From<&'a Tool> for ToolOut<'a> {
    fn from(tool: &'a Tool) -> Self {
        let function = FunctionOut {
            name: &tool.name,
            description: tool.description.as_deref(),
            parameters: &tool.schema,
            strict: tool.strict,
        };
        Self { kind: "function", function }
    }
}

/// `tool_choice`.
pub(crate) fn tool_choice(choice: &ToolChoice) -> Value {
    match choice {
        ToolChoice::Auto => json!("auto"),
        ToolChoice::Any => json!("required"),
        ToolChoice::None => json!("none"),
        ToolChoice::Named(name) => json!({"type": "function", "function": {"name": name}}),
    }
}

/// `response_format`.
pub(crate) fn response_format(format: &Format) -> Value {
    match format {
        Format::JsonObject => json!({"type": "json_object"}),
        Format::JsonSchema { name, schema, strict } => {
            let mut inner = json!({"name": name, "schema": schema});
            if let (Some(strict), Some(object)) = (strict, inner.as_object_mut()) {
                object.insert("strict".to_owned(), json!(strict));
            }
            json!({"type": "json_schema", "json_schema": inner})
        }
    }
}

/// A budget of reasoning tokens becomes the nearest effort; reasoning that is off needs no field.
fn effort(thinking: Option<&Thinking>) -> Result<Option<&str>, Inexpressible> {
    match thinking {
        None | Some(Thinking::Off) => Ok(None),
        Some(Thinking::Effort(effort)) => Ok(Some(effort)),
        Some(Thinking::Budget(tokens)) => Ok(Some(match tokens {
            0..=2_048 => "low",
            2_049..=8_192 => "medium",
            _ => "high",
        })),
        Some(Thinking::Native(value)) => match value.get("type").and_then(Value::as_str) {
            Some("adaptive") => Ok(None),
            _ => Err(cannot("`thinking` in this form")),
        },
    }
}

fn cannot(what: &str) -> Inexpressible {
    Inexpressible(format!(
        "OpenAI chat completions cannot carry {what}; leave it out or use a model that another \
         path serves."
    ))
}
