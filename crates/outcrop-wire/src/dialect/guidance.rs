//! What Claude and its hosts need said in another way: limits with thinking, the shape of the answer
//! as an instruction, ids they accept.
//!
//! Used by both codecs that reach Claude (Anthropic and Converse). Knows no JSON of a protocol
//! beyond Claude's `thinking` field, which both carry.

use std::borrow::Cow;

use outcrop_core::ask::{Format, Part, Role, Thinking, Tool, ToolChoice};
use outcrop_core::{Chat, Protocol};
use serde_json::{Value, json};

use crate::Inexpressible;

/// Output limit where the protocol requires one and nobody set it.
pub(crate) const MAX_TOKENS_FALLBACK: u64 = 4096;
/// Smallest thinking budget that Claude accepts.
const BUDGET_MIN: u64 = 1024;

/// Said where a protocol cannot forbid the use of tools that its history names.
pub(crate) const NO_TOOLS: &str = "Do not call any tool in your next answer; answer in text.";

/// Output limit and Claude's `thinking` field.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Limits {
    /// Most output tokens, thinking included.
    pub(crate) max_tokens: Option<u64>,
    /// As Claude spells it.
    pub(crate) thinking: Option<Value>,
    /// Thinking follows from an effort, beside which Claude takes no temperature, top-p or top-k.
    pub(crate) from_effort: bool,
}

/// The limits of `chat`, where `fallback` is the output limit if the caller set none, and none is above
/// `cap`. Thinking counts as output, so a limit the caller did not set makes room for it, and an effort
/// yields to one it did and to the cap.
///
/// An effort is a wish: it gives way where Claude would refuse the request with thinking.
pub(crate) fn limits(chat: &Chat, fallback: Option<u64>, cap: Option<u64>) -> Result<Limits, Inexpressible> {
    let asked = chat.sampling.max_tokens;
    let roomy = |budget: u64| {
        let limit = asked.unwrap_or_else(|| fallback.unwrap_or(MAX_TOKENS_FALLBACK).saturating_add(budget));
        capped(Some(limit), cap)
    };
    let enabled = |budget: u64| Some(json!({"type": "enabled", "budget_tokens": budget}));
    let plain = Limits { max_tokens: capped(asked.or(fallback), cap), ..Limits::default() };
    Ok(match &chat.thinking {
        None | Some(Thinking::Off) => plain,
        Some(Thinking::Budget(budget)) => {
            Limits { max_tokens: roomy(*budget), thinking: enabled(*budget), ..plain }
        }
        Some(Thinking::Effort(effort)) => {
            let wanted = budget_of(effort)?;
            let room = asked.into_iter().chain(cap).min();
            let budget = room.map_or(wanted, |limit| wanted.min(limit / 2));
            if budget < BUDGET_MIN || refuses_thinking(chat) {
                return Ok(plain);
            }
            Limits { max_tokens: roomy(budget), thinking: enabled(budget), from_effort: true }
        }
        Some(Thinking::Native(form)) if speaks_claude(chat.protocol) => {
            Limits { thinking: Some(form.clone()), ..plain }
        }
        Some(Thinking::Native(form)) => {
            return Err(Inexpressible(format!("Thinking as `{form}` has no meaning for Claude.")));
        }
    })
}

/// A limit under a cap; without a limit the cap is one.
pub(crate) fn capped(limit: Option<u64>, cap: Option<u64>) -> Option<u64> {
    match (limit, cap) {
        (Some(limit), Some(cap)) => Some(limit.min(cap)),
        (limit, cap) => limit.or(cap),
    }
}

/// Whether Claude would refuse to think: a tool is forced, or the last answer called a tool without
/// the signed thinking that led to it.
fn refuses_thinking(chat: &Chat) -> bool {
    let forced = matches!(chat.tool_choice, Some(ToolChoice::Any | ToolChoice::Named(_)));
    let last = chat.turns.iter().rfind(|turn| turn.role == Role::Assistant);
    let parts = || last.into_iter().flat_map(|turn| &turn.parts);
    let called = parts().any(|part| matches!(part, Part::ToolUse { .. }));
    let thought = parts()
        .any(|part| matches!(part, Part::Thinking { signature: Some(_), .. } | Part::RedactedThinking(_)));
    forced || (called && !thought)
}

/// A named effort in tokens; 0 is no thinking.
fn budget_of(effort: &str) -> Result<u64, Inexpressible> {
    Ok(match effort {
        "none" => 0,
        "minimal" | "low" => 1024,
        "medium" => 4096,
        "high" => 16_384,
        "xhigh" | "max" => 32_768,
        _ => {
            return Err(Inexpressible(format!(
                "The reasoning effort `{effort}` is not known here; use low, medium or high."
            )));
        }
    })
}

/// Whether a protocol spells thinking as Claude does.
fn speaks_claude(protocol: Option<Protocol>) -> bool {
    match protocol {
        None
        | Some(
            Protocol::AnthropicMessages
            | Protocol::AnthropicCountTokens
            | Protocol::BedrockConverse
            | Protocol::BedrockInvoke
            | Protocol::BedrockCountTokens,
        ) => true,
        Some(Protocol::OpenAiChat | Protocol::OpenAiEmbeddings | Protocol::McpTool) => false,
    }
}

/// The schema that the provider itself must hold the answer to: only what the caller called strict,
/// because not every model can.
pub(crate) fn enforced_schema(chat: &Chat) -> Option<(&str, &Value)> {
    match &chat.format {
        Some(Format::JsonSchema { name, schema, strict: Some(true) }) => Some((name, schema)),
        Some(Format::JsonSchema { .. } | Format::JsonObject) | None => None,
    }
}

/// The shape of the answer as an instruction, where it is not enforced.
pub(crate) fn format_instruction(chat: &Chat) -> Option<String> {
    const ONLY: &str = "and nothing else: no code fence, no words before or after it.";
    match &chat.format {
        None | Some(Format::JsonSchema { strict: Some(true), .. }) => None,
        Some(Format::JsonObject) => Some(format!("Answer with one JSON object {ONLY}")),
        Some(Format::JsonSchema { schema, .. }) => {
            Some(format!("Answer with JSON that matches this JSON Schema {ONLY}\n{schema}"))
        }
    }
}

/// The schema of a tool's arguments; Claude requires an object.
pub(crate) fn tool_schema(tool: &Tool) -> Cow<'_, Value> {
    if tool.schema.as_object().is_some_and(|fields| !fields.is_empty()) {
        Cow::Borrowed(&tool.schema)
    } else {
        Cow::Owned(json!({"type": "object", "properties": {}}))
    }
}

/// The tools of a request.
#[derive(Debug)]
pub(crate) struct Offer<'a> {
    /// What is offered, or what the history names where nothing is.
    pub(crate) tools: Cow<'a, [Tool]>,
    /// Whether none of them may be called.
    pub(crate) forbidden: bool,
}

/// The tools to send. Claude's hosts refuse a history with tool calls when no tool is defined, so a
/// conversation that went on without its tools gets them back by name, forbidden.
pub(crate) fn offer(chat: &Chat) -> Offer<'_> {
    if !chat.tools.is_empty() || !chat.has_tool_history() {
        let forbidden = chat.tool_choice == Some(ToolChoice::None) && !chat.tools.is_empty();
        return Offer { tools: Cow::Borrowed(&chat.tools), forbidden };
    }
    let mut names: Vec<&str> = Vec::new();
    for part in chat.turns.iter().flat_map(|turn| &turn.parts) {
        if let Part::ToolUse { name, .. } = part
            && !names.contains(&name.as_str())
        {
            names.push(name);
        }
    }
    if names.is_empty() {
        names.push("earlier_tool");
    }
    let tools = names.into_iter().map(|name| Tool {
        name: name.to_owned(),
        description: None,
        schema: Value::Null,
        strict: None,
    });
    Offer { tools: Cow::Owned(tools.collect()), forbidden: true }
}

/// The id of a tool call in letters that Claude's hosts accept; call and result change alike.
pub(crate) fn tool_id(id: &str) -> Cow<'_, str> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if !id.is_empty() && id.chars().all(fits) {
        return Cow::Borrowed(id);
    }
    let mapped: String = id.chars().map(|c| if fits(c) { c } else { '_' }).collect();
    Cow::Owned(if mapped.is_empty() { "_".to_owned() } else { mapped })
}

#[cfg(test)]
mod tests {
    use super::*;
    use outcrop_core::ask::{Sampling, Turn};

    #[test]
    fn thinking_fits_the_limit() {
        let capped =
            |thinking: Thinking, asked: Option<u64>, cap: Option<u64>, max: u64, budget: Option<u64>| {
                let sampling = Sampling { max_tokens: asked, ..Sampling::default() };
                let chat = Chat { thinking: Some(thinking), sampling, ..Chat::default() };
                let limits = limits(&chat, Some(4096), cap).unwrap();
                assert_eq!(limits.max_tokens, Some(max));
                assert_eq!(limits.thinking.map(|t| t["budget_tokens"].as_u64().unwrap()), budget);
            };
        let check = |thinking, asked, max, budget| capped(thinking, asked, None, max, budget);
        check(Thinking::Budget(2000), None, 6096, Some(2000));
        check(Thinking::Budget(2000), Some(3000), 3000, Some(2000));
        check(Thinking::Effort("high".into()), None, 20_480, Some(16_384));
        check(Thinking::Effort("high".into()), Some(8000), 8000, Some(4000));
        check(Thinking::Effort("low".into()), Some(1000), 1000, None);
        check(Thinking::Effort("none".into()), None, 4096, None);
        check(Thinking::Off, None, 4096, None);
        capped(Thinking::Off, None, Some(5000), 4096, None);
        capped(Thinking::Off, Some(9000), Some(5000), 5000, None);
        // A budget is the caller's word; an effort is a wish.
        capped(Thinking::Budget(2000), None, Some(1000), 1000, Some(2000));
        capped(Thinking::Effort("high".into()), None, Some(5000), 5000, Some(2500));
        capped(Thinking::Effort("high".into()), Some(8000), Some(5000), 5000, Some(2500));
        capped(Thinking::Effort("high".into()), Some(8000), Some(1000), 1000, None);
    }

    #[test]
    fn an_effort_gives_way_where_claude_would_refuse() {
        let thinks = |chat: &Chat| limits(chat, None, None).unwrap().thinking.is_some();
        let mut chat = Chat { thinking: Some(Thinking::Effort("high".into())), ..Chat::default() };
        assert!(thinks(&chat));
        chat.tool_choice = Some(ToolChoice::Any);
        assert!(!thinks(&chat));
        chat.tool_choice = None;
        let call = Part::ToolUse { id: "t".into(), name: "n".into(), input: json!({}) };
        chat.turns.push(Turn { role: Role::Assistant, parts: vec![call] });
        assert!(!thinks(&chat));
        let signed = Part::Thinking { text: "hm".into(), signature: Some("s".into()) };
        chat.turns[0].parts.insert(0, signed);
        assert!(thinks(&chat));
    }

    #[test]
    fn ids_of_tools_keep_to_the_accepted_letters() {
        assert_eq!(tool_id("call_A-1"), "call_A-1");
        assert_eq!(tool_id("functions.add:0"), "functions_add_0");
        assert_eq!(tool_id(""), "_");
    }
}
