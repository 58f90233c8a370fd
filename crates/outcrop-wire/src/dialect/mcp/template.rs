//! An operator's own mapping between a chat and a tool that was not made for this gateway.
//!
//! Placeholders in the arguments, JSON pointers into the result. Instructions, history, tools and the
//! shape of the answer that a template has no place for are refused by name. Limits and sampling
//! without a place are left out: that is the operator's choice when the template is written.

use outcrop_core::ask::{Part, Thinking, ToolChoice};
use outcrop_core::event::StopReason;
use outcrop_core::reply::ChatReply;
use outcrop_core::{Chat, Usage};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{TARGET, conversation, value};
use crate::dialect::counted::Tokens;
use crate::dialect::{foreign, openai};
use crate::{Envelope, Garbled, Inexpressible, TargetModel};

/// What a placeholder may name.
const NAMES: &[&str] = &[
    "last_user_text",
    "max_tokens",
    "messages",
    "model",
    "response_format",
    "stop",
    "system",
    "temperature",
    "tool_choice",
    "tools",
    "top_p",
];

/// An operator's mapping.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Template {
    /// Arguments of the call. `${model}`, `${messages}`, `${last_user_text}`, `${system}`,
    /// `${max_tokens}`, `${temperature}`, `${top_p}`, `${stop}`, `${tools}`, `${tool_choice}` and
    /// `${response_format}` stand for what was asked. A value that is exactly one placeholder keeps
    /// its JSON type, and is left out with its key where nothing was asked.
    pub arguments: Map<String, Value>,
    /// Where the answer is found.
    pub result: ResultPointers,
}

/// JSON pointers (RFC 6901) into the whole `CallToolResult`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResultPointers {
    /// The text of the answer.
    pub text: String,
    /// Uncached input tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_tokens: Option<String>,
    /// Output tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<String>,
    /// Why the model stopped, as OpenAI spells it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finish_reason: Option<String>,
    /// The model that answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
}

/// A template that cannot work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// A placeholder that stands for nothing.
    #[error("`${{{name}}}` stands for nothing; known are {known}")]
    UnknownPlaceholder {
        /// What it names.
        name: String,
        /// What it may name.
        known: String,
    },
    /// A `${` without its `}`.
    #[error("`{text}` holds `${{` without `}}`")]
    Unclosed {
        /// The value.
        text: String,
    },
    /// A pointer that does not begin with `/`.
    #[error("`{pointer}` is no JSON pointer; it begins with `/`, as in `/content/0/text`")]
    NoPointer {
        /// The pointer.
        pointer: String,
    },
    /// Nothing in the arguments carries what was asked.
    #[error("no argument carries the conversation; use `${{messages}}` or `${{last_user_text}}`")]
    NoConversation,
}

impl Template {
    /// Checks placeholders and pointers, so that a configuration is refused as a whole.
    pub fn check(&self) -> Result<(), TemplateError> {
        let mut used = Vec::new();
        self.arguments.values().try_for_each(|value| names_in(value, &mut used))?;
        if let Some(name) = used.iter().find(|name| !NAMES.contains(&name.as_str())) {
            return Err(TemplateError::UnknownPlaceholder { name: name.clone(), known: NAMES.join(", ") });
        }
        if !used.iter().any(|name| name == "messages" || name == "last_user_text") {
            return Err(TemplateError::NoConversation);
        }
        let ResultPointers { text, input_tokens, output_tokens, finish_reason, model } = &self.result;
        let others = [input_tokens, output_tokens, finish_reason, model].into_iter().flatten();
        match std::iter::once(text).chain(others).find(|pointer| !pointer.starts_with('/')) {
            Some(pointer) => Err(TemplateError::NoPointer { pointer: pointer.clone() }),
            None => Ok(()),
        }
    }

    /// Whether the tool is told the output limit; without it no cap holds.
    pub fn limits_output(&self) -> bool {
        let mut used = Vec::new();
        let readable = self.arguments.values().try_for_each(|value| names_in(value, &mut used)).is_ok();
        readable && used.iter().any(|name| name == "max_tokens")
    }

    /// The arguments of the call.
    pub fn arguments(
        &self,
        envelope: &Envelope,
        target: &TargetModel<'_>,
    ) -> Result<Map<String, Value>, Inexpressible> {
        let chat = conversation(envelope)?;
        self.refuse_what_has_no_place(chat)?;
        let mut filled = Map::new();
        for (key, value) in &self.arguments {
            if let Some(value) = fill(value, chat, target)? {
                filled.insert(key.clone(), value);
            }
        }
        Ok(filled)
    }

    /// The answer in `result`, the whole `CallToolResult` as JSON.
    pub fn reply(&self, result: &Value) -> Result<ChatReply, Garbled> {
        let pointers = &self.result;
        let at = |pointer: &Option<String>| pointer.as_ref().and_then(|p| result.pointer(p));
        let text = match result.pointer(&pointers.text) {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Null) | None => {
                return Err(Garbled(format!("the tool's result has nothing at {}", pointers.text)));
            }
            Some(other) => other.to_string(),
        };
        let counted = |pointer| at(pointer).and_then(Value::as_u64).and_then(|n| Tokens::of(n).0);
        let finish = at(&pointers.finish_reason).and_then(Value::as_str);
        Ok(ChatReply {
            model: at(&pointers.model).and_then(Value::as_str).unwrap_or_default().to_owned(),
            parts: vec![Part::Text(text)],
            stop: Some(finish.map_or(StopReason::EndTurn, openai::stop_reason)),
            usage: Usage {
                input: counted(&pointers.input_tokens),
                output: counted(&pointers.output_tokens),
                ..Usage::default()
            },
            ..ChatReply::default()
        })
    }

    /// What was asked must be carried: either the template has a place for it, or leaving it out
    /// cannot change the answer.
    fn refuse_what_has_no_place(&self, chat: &Chat) -> Result<(), Inexpressible> {
        foreign::refuse_extra(chat, TARGET)?;
        let mut used = Vec::new();
        // A template with an unclosed placeholder is refused when it is configured.
        let _ = self.arguments.values().try_for_each(|value| names_in(value, &mut used));
        let has = |name: &str| used.iter().any(|used| used == name);
        let whole = has("messages");
        let has_tools = !chat.tools.is_empty();
        let choice = chat.tool_choice.as_ref();
        let steers = has_tools && choice.is_some_and(|choice| *choice != ToolChoice::Auto);
        let lost = [
            ("system", !chat.system.is_empty() && !whole && !has("system")),
            ("tools", has_tools && !has("tools")),
            ("tool_choice", steers && !has("tool_choice")),
            ("parallel_tool_calls", has_tools && chat.parallel_tools == Some(false)),
            ("response_format", chat.format.is_some() && !has("response_format")),
            ("stop", !chat.sampling.stop.is_empty() && !has("stop")),
            ("n", chat.sampling.n.is_some_and(|n| n > 1)),
            ("thinking", chat.thinking.as_ref().is_some_and(|t| *t != Thinking::Off)),
            ("messages", chat.turns.len() > 1 && !whole),
        ];
        match lost.iter().find(|(_, lost)| *lost) {
            Some((field, _)) => Err(Inexpressible(format!(
                "`{field}`: the tool behind this model takes no such argument; leave it out or use \
                 a model that another path serves."
            ))),
            None => Ok(()),
        }
    }
}

/// The value with its placeholders filled; `None` where it stands for something that was not asked.
fn fill(template: &Value, chat: &Chat, target: &TargetModel<'_>) -> Result<Option<Value>, Inexpressible> {
    match template {
        Value::String(text) => fill_text(text, chat, target),
        Value::Array(items) => {
            let filled: Result<Vec<_>, _> = items.iter().map(|item| fill(item, chat, target)).collect();
            Ok(Some(Value::Array(filled?.into_iter().flatten().collect())))
        }
        Value::Object(object) => {
            let mut filled = Map::new();
            for (key, value) in object {
                if let Some(value) = fill(value, chat, target)? {
                    filled.insert(key.clone(), value);
                }
            }
            Ok(Some(Value::Object(filled)))
        }
        other => Ok(Some(other.clone())),
    }
}

fn fill_text(text: &str, chat: &Chat, target: &TargetModel<'_>) -> Result<Option<Value>, Inexpressible> {
    let only = text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
    if let Some(name) = only.filter(|name| !name.contains("${")) {
        return asked(name, chat, target);
    }
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let Some((name, behind)) = after.split_once('}') else { break };
        filled.push_str(before);
        match asked(name, chat, target)? {
            Some(Value::String(text)) => filled.push_str(&text),
            Some(other) => filled.push_str(&other.to_string()),
            None => {}
        }
        rest = behind;
    }
    filled.push_str(rest);
    Ok(Some(Value::String(filled)))
}

/// What a placeholder stands for; `None` where nothing was asked.
fn asked(name: &str, chat: &Chat, target: &TargetModel<'_>) -> Result<Option<Value>, Inexpressible> {
    let sampling = &chat.sampling;
    Ok(match name {
        "model" => Some(json!(target.id)),
        "messages" => Some(value(&openai::messages(chat)?)),
        "last_user_text" => Some(json!(chat.last_user_text())),
        "system" => system_text(chat).map(Value::String),
        "max_tokens" => target.limit(sampling.max_tokens).map(Value::from),
        "temperature" => sampling.temperature.map(Value::from),
        "top_p" => sampling.top_p.map(Value::from),
        "stop" => (!sampling.stop.is_empty()).then(|| json!(sampling.stop)),
        "tools" => (!chat.tools.is_empty()).then(|| value(&openai::tools(&chat.tools))),
        "tool_choice" => chat.tool_choice.as_ref().map(openai::tool_choice),
        "response_format" => chat.format.as_ref().map(openai::response_format),
        _ => None,
    })
}

fn system_text(chat: &Chat) -> Option<String> {
    let texts: Vec<&str> = chat
        .system
        .iter()
        .filter_map(|part| match part {
            Part::Text(text) => Some(text.as_str()),
            _ => None,
        })
        .collect();
    (!texts.is_empty()).then(|| texts.join("\n"))
}

/// Adds the names of all placeholders in `value` to `names`.
fn names_in(value: &Value, names: &mut Vec<String>) -> Result<(), TemplateError> {
    match value {
        Value::String(text) => {
            let mut rest = text.as_str();
            while let Some((_, after)) = rest.split_once("${") {
                let Some((name, behind)) = after.split_once('}') else {
                    return Err(TemplateError::Unclosed { text: text.clone() });
                };
                names.push(name.to_owned());
                rest = behind;
            }
            Ok(())
        }
        Value::Array(items) => items.iter().try_for_each(|item| names_in(item, names)),
        Value::Object(object) => object.values().try_for_each(|value| names_in(value, names)),
        _ => Ok(()),
    }
}
