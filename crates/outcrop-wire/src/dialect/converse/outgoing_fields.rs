//! The parts of a Converse body that depend on the family of the model: tools, model fields, the
//! shape of the answer.
//!
//! The family is read from the model id. An ARN that hides it (a provisioned model, an application
//! profile) counts as Claude, whose fields the other families do not share.

use std::borrow::Cow;

use outcrop_core::Chat;
use outcrop_core::ask::{Thinking, ToolChoice};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::outgoing::TARGET;
use crate::dialect::guidance::{Limits, Offer, enforced_schema, limits, tool_schema};
use crate::{Inexpressible, TargetModel};

/// Who made the model, as far as its fields differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    /// Anthropic's.
    Claude,
    /// Amazon's Nova.
    Nova,
    /// Any other.
    Other,
}

impl Family {
    /// The family of a model id, a profile or an ARN.
    pub(super) fn of(id: &str) -> Self {
        const OTHERS: [&str; 9] = [
            "meta.",
            "mistral.",
            "cohere.",
            "ai21.",
            "deepseek.",
            "qwen.",
            "openai.",
            "amazon.titan",
            "writer.",
        ];
        let is_at_start = |part: &str| {
            let mut found = id.match_indices(part);
            found.any(|(at, _)| at == 0 || matches!(id.as_bytes().get(at - 1), Some(b'.' | b'/')))
        };
        if is_at_start("amazon.nova") {
            Self::Nova
        } else if OTHERS.iter().any(|part| is_at_start(part)) {
            Self::Other
        } else {
            Self::Claude
        }
    }

    /// Whether its models take cache points.
    pub(super) fn caches(self) -> bool {
        matches!(self, Self::Claude | Self::Nova)
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ToolConfig<'a> {
    tools: Vec<ToolItem<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<Choice<'a>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
enum ToolItem<'a> {
    #[serde(rename_all = "camelCase")]
    ToolSpec {
        name: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        description: Option<&'a str>,
        input_schema: Schema<'a>,
        #[serde(skip_serializing_if = "Option::is_none")]
        strict: Option<bool>,
    },
    #[serde(untagged)]
    Native(Value),
}

#[derive(Debug, Serialize)]
struct Schema<'a> {
    json: Cow<'a, Value>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
enum Choice<'a> {
    Auto {},
    Any {},
    Tool { name: &'a str },
}

/// The tools. Converse cannot forbid tools: without a history that needs them they are left out, with
/// one they stay and the system says so.
pub(super) fn tool_config<'a>(
    chat: &'a Chat,
    offer: &'a Offer<'a>,
    native: Option<Value>,
) -> Option<ToolConfig<'a>> {
    if offer.forbidden && !chat.has_tool_history() {
        return None;
    }
    let own = offer.tools.iter().map(|tool| ToolItem::ToolSpec {
        name: &tool.name,
        // The service refuses an empty description.
        description: tool.description.as_deref().filter(|text| !text.is_empty()),
        input_schema: Schema { json: tool_schema(tool) },
        strict: tool.strict.filter(|strict| *strict),
    });
    let native = native.and_then(|mut config| match config.get_mut("tools").map(Value::take) {
        Some(Value::Array(tools)) => Some(tools),
        _ => None,
    });
    let native = native.into_iter().flatten().map(ToolItem::Native);
    let tools: Vec<ToolItem<'a>> = own.chain(native).collect();
    let tool_choice = match &chat.tool_choice {
        None | Some(ToolChoice::None) => None,
        Some(ToolChoice::Auto) => Some(Choice::Auto {}),
        Some(ToolChoice::Any) => Some(Choice::Any {}),
        Some(ToolChoice::Named(name)) => Some(Choice::Tool { name }),
    };
    (!tools.is_empty()).then_some(ToolConfig { tools, tool_choice })
}

/// Output limit and thinking. Only Claude thinks here: for other models an effort, which is a wish,
/// falls away, and a budget is refused.
pub(super) fn family_limits(
    chat: &Chat,
    family: Family,
    target: &TargetModel<'_>,
) -> Result<Limits, Inexpressible> {
    match (family, &chat.thinking) {
        (Family::Claude, _) | (_, None | Some(Thinking::Off)) => {
            limits(chat, target.max_tokens_default, target.max_tokens_cap)
        }
        (Family::Nova | Family::Other, Some(Thinking::Effort(_))) => {
            let max_tokens = target.limit(chat.sampling.max_tokens);
            Ok(Limits { max_tokens, ..Limits::default() })
        }
        (Family::Nova | Family::Other, Some(Thinking::Budget(_) | Thinking::Native(_))) => {
            Err(Inexpressible(
                "This model has no extended thinking; remove `thinking` or use a Claude model.".to_owned(),
            ))
        }
    }
}

/// `additionalModelRequestFields`: what the model's own body would say.
pub(super) fn model_fields(
    chat: &Chat,
    family: Family,
    top_k: Option<u64>,
    thinking: Option<Value>,
    given: Option<Value>,
) -> Result<Map<String, Value>, Inexpressible> {
    let mut fields = match given {
        Some(Value::Object(fields)) => fields,
        _ => Map::new(),
    };
    if let Some(top_k) = top_k {
        match family {
            Family::Claude | Family::Other => fields.insert("top_k".into(), top_k.into()),
            Family::Nova => fields.insert("inferenceConfig".into(), json!({"topK": top_k})),
        };
    }
    if let Some(form) = thinking {
        fields.insert("thinking".into(), form);
    }
    if chat.parallel_tools == Some(false) && !chat.tools.is_empty() {
        if family != Family::Claude {
            return Err(Inexpressible(format!(
                "`parallel_tool_calls: false` cannot be said to this model through {TARGET}; \
                 remove it or use a Claude model."
            )));
        }
        if let Some(choice) = single_call(chat) {
            fields.insert("tool_choice".into(), choice);
        }
    }
    Ok(fields)
}

/// Claude's own way to forbid several calls at once.
fn single_call(chat: &Chat) -> Option<Value> {
    let mut choice = match &chat.tool_choice {
        None | Some(ToolChoice::Auto) => json!({"type": "auto"}),
        Some(ToolChoice::Any) => json!({"type": "any"}),
        Some(ToolChoice::Named(name)) => json!({"type": "tool", "name": name}),
        Some(ToolChoice::None) => return None,
    };
    choice.as_object_mut()?.insert("disable_parallel_tool_use".into(), true.into());
    Some(choice)
}

/// `outputConfig`: a schema that the service holds the answer to.
pub(super) fn output_config(chat: &Chat, kept: Option<Value>) -> Map<String, Value> {
    let mut config = match kept {
        Some(Value::Object(fields)) => fields,
        _ => Map::new(),
    };
    if let Some((name, schema)) = enforced_schema(chat) {
        let schema = json!({"name": name, "schema": schema.to_string()});
        let format = json!({"type": "json_schema", "structure": {"jsonSchema": schema}});
        config.insert("textFormat".into(), format);
    }
    config
}
