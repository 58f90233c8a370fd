//! Tools and the choice among them, as a message request spells them.

use std::borrow::Cow;

use outcrop_core::Chat;
use outcrop_core::ask::ToolChoice;
use serde::Serialize;
use serde_json::Value;

use crate::dialect::guidance::{Offer, tool_schema};

/// A tool as it is written.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum ToolItem<'a> {
    /// A tool in core's words.
    Own {
        name: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        description: Option<&'a str>,
        input_schema: Cow<'a, Value>,
        #[serde(skip_serializing_if = "Option::is_none")]
        strict: Option<bool>,
    },
    /// A tool that only Anthropic runs, as it came.
    Native(Value),
}

/// `tool_choice`.
#[derive(Debug, Serialize)]
pub(super) struct Choice<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    disable_parallel_tool_use: Option<bool>,
}

/// The tools that are offered.
pub(super) fn tools<'a>(offer: &'a Offer<'_>, native: Option<Value>) -> Vec<ToolItem<'a>> {
    let own = offer.tools.iter().map(|tool| ToolItem::Own {
        name: &tool.name,
        description: tool.description.as_deref(),
        input_schema: tool_schema(tool),
        strict: tool.strict.filter(|strict| *strict),
    });
    let native = match native {
        Some(Value::Array(tools)) => tools,
        _ => Vec::new(),
    };
    own.chain(native.into_iter().map(ToolItem::Native)).collect()
}

/// The choice; several calls are forbidden through it, so that alone makes one.
pub(super) fn choice<'a>(chat: &'a Chat, offer: &Offer<'_>) -> Option<Choice<'a>> {
    if offer.tools.is_empty() && !chat.extra.contains_key("tools") {
        return None;
    }
    if offer.forbidden {
        return Some(Choice { kind: "none", name: None, disable_parallel_tool_use: None });
    }
    let single = chat.parallel_tools == Some(false);
    let (kind, name) = match &chat.tool_choice {
        None if !single => return None,
        None | Some(ToolChoice::Auto) => ("auto", None),
        Some(ToolChoice::Any) => ("any", None),
        Some(ToolChoice::None) => ("none", None),
        Some(ToolChoice::Named(name)) => ("tool", Some(name.as_str())),
    };
    let disable_parallel_tool_use = (single && kind != "none").then_some(true);
    Some(Choice { kind, name, disable_parallel_tool_use })
}
