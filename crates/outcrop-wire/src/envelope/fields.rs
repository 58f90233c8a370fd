//! Reading the few fields of a body that routing needs, from the members that one pass found.
//!
//! Everything that is absent or null counts as not set; a wrong kind is refused with the field's name
//! and what to send instead. Says nothing about fields that routing does not need.

use std::ops::Range;

use outcrop_core::Protocol;
use outcrop_core::money::Tier;
use serde::Deserialize;
use serde_json::value::RawValue;
use smallvec::SmallVec;

use super::{LimitSpan, Rejection};
use crate::json::{Kind, Member};

/// Longest name of an end user that is kept.
const USER_CHARS_MAX: usize = 200;

/// Members whose text is kept by the pass: small ones that are read or replaced.
pub(super) const KEPT: &[&str] = &[
    "model",
    "n",
    "user",
    "safety_identifier",
    "service_tier",
    "serviceTier",
    "metadata",
    "stream",
    "stream_options",
    "max_tokens",
    "max_completion_tokens",
    "max_tokens_to_sample",
    "max_gen_len",
    "maxTokens",
    "inferenceConfig",
    "textGenerationConfig",
];

/// The members of a body.
pub(super) struct Fields<'a, 'de> {
    pub(super) body: &'de [u8],
    pub(super) members: &'a [Member<'de>],
}

impl<'de> Fields<'_, 'de> {
    fn get(&self, key: &str) -> Option<&Member<'de>> {
        self.members.iter().find(|m| m.key == key)
    }

    /// The member unless it is null.
    fn set(&self, key: &str) -> Option<&Member<'de>> {
        self.get(key).filter(|m| m.shape.kind != Kind::Null)
    }

    /// Just behind the opening brace.
    pub(super) fn open(&self) -> usize {
        self.body.iter().position(|byte| *byte == b'{').map_or(0, |at| at + 1)
    }

    /// Where the member's value is.
    pub(super) fn span(&self, key: &str) -> Option<Range<usize>> {
        self.get(key).and_then(|m| m.raw).map(|raw| self.span_of(raw))
    }

    fn span_of(&self, raw: &RawValue) -> Range<usize> {
        let text = raw.get();
        let start = text.as_ptr().addr().saturating_sub(self.body.as_ptr().addr());
        start..start + text.len()
    }

    /// The model that the body names.
    pub(super) fn model(&self) -> Result<String, Rejection> {
        let model = self.set("model").and_then(|m| m.raw);
        let Some(raw) = model else {
            return Err(Rejection::of("model", "`model` is missing; name the model to use."));
        };
        match serde_json::from_str::<String>(raw.get()) {
            Ok(model) if !model.is_empty() => Ok(model),
            _ => Err(Rejection::of("model", "`model` must be a non-empty string.")),
        }
    }

    /// A switch; false unless set.
    pub(super) fn flag(&self, key: &'static str) -> Result<bool, Rejection> {
        match self.set(key).and_then(|m| m.raw) {
            None => Ok(false),
            Some(raw) => serde_json::from_str(raw.get())
                .map_err(|_| Rejection::of(key, format!("`{key}` must be true or false."))),
        }
    }

    /// OpenAI `n`: how many answers are asked for; 1 unless set.
    pub(super) fn answers(&self) -> Result<u64, Rejection> {
        let Some(raw) = self.set("n").and_then(|m| m.raw) else { return Ok(1) };
        serde_json::from_str(raw.get())
            .map_err(|_| Rejection::of("n", "`n` must be a whole number that is not negative."))
    }

    /// OpenAI `stream_options.include_usage`.
    pub(super) fn stream_usage(&self) -> Result<bool, Rejection> {
        #[derive(Deserialize)]
        struct StreamOptions {
            #[serde(default)]
            include_usage: Option<bool>,
        }
        let Some(raw) = self.set("stream_options").and_then(|m| m.raw) else { return Ok(false) };
        serde_json::from_str::<StreamOptions>(raw.get())
            .map(|options| options.include_usage.unwrap_or(false))
            .map_err(|_| {
                Rejection::of(
                    "stream_options",
                    "`stream_options` must be an object; its `include_usage` is true or false.",
                )
            })
    }

    /// Whether tools are offered.
    pub(super) fn has_tools(&self) -> bool {
        ["tools", "functions", "toolConfig"].iter().any(|key| self.get(key).is_some_and(|m| m.shape.len > 0))
    }

    /// The limit of output tokens, and every field that may hold one. The first that is set counts;
    /// what another one says is the upstream's to refuse.
    pub(super) fn max_tokens(
        &self,
        protocol: Protocol,
    ) -> Result<(Option<u64>, SmallVec<[LimitSpan; 1]>), Rejection> {
        let mut asked = None;
        let mut limits = SmallVec::new();
        for (key, inner) in limit_fields(protocol) {
            let Some(raw) = self.get(key).and_then(|m| m.raw) else { continue };
            let found = match inner {
                None => Some(raw),
                Some(_) if raw.get() == "null" => None,
                Some(inner) => match inner_value(raw, key, inner) {
                    Err(_) if asked.is_some() => None,
                    found => found?,
                },
            };
            let Some(found) = found else { continue };
            let value = match (found.get(), serde_json::from_str::<u64>(found.get())) {
                ("null", _) => None,
                (_, Ok(limit)) => Some(limit),
                (_, Err(_)) if asked.is_some() => Some(u64::MAX),
                (_, Err(_)) => {
                    let name = inner.map_or_else(|| (*key).to_owned(), |inner| format!("{key}.{inner}"));
                    let message = format!("`{name}` must be a whole number that is not negative.");
                    return Err(Rejection::of(name, message));
                }
            };
            asked = asked.or(value);
            limits.push(LimitSpan { key, span: self.span_of(found), value });
        }
        Ok((asked, limits))
    }

    /// OpenAI and Anthropic `service_tier`, Converse `serviceTier.type`. A tier that is not known is taken
    /// for the dearest.
    pub(super) fn tier(&self) -> Option<Tier> {
        let text = |raw: &RawValue| serde_json::from_str::<String>(raw.get()).ok();
        let flat = self.set("service_tier").and_then(|member| text(member.raw?));
        let inner = || {
            let raw = self.set("serviceTier")?.raw?;
            inner_value(raw, "serviceTier", "type").ok().flatten().and_then(text)
        };
        match &*flat.or_else(inner)? {
            "auto" | "default" | "standard" | "standard_only" | "reserved" => None,
            "flex" => Some(Tier::Flex),
            "batch" => Some(Tier::Batch),
            _ => Some(Tier::Priority),
        }
    }

    /// Who the caller says the request is for; anything but a text is as good as nothing.
    pub(super) fn user(&self, protocol: Protocol) -> Option<String> {
        let text = |raw: &RawValue| serde_json::from_str::<String>(raw.get()).ok();
        let named = |key: &str| self.set(key).and_then(|m| m.raw).and_then(text);
        let user = match protocol {
            Protocol::OpenAiChat | Protocol::OpenAiEmbeddings | Protocol::McpTool => {
                named("safety_identifier").or_else(|| named("user"))
            }
            Protocol::AnthropicMessages | Protocol::AnthropicCountTokens | Protocol::BedrockInvoke => {
                let metadata = self.set("metadata").and_then(|m| m.raw);
                let id = metadata.and_then(|raw| inner_value(raw, "metadata", "user_id").ok().flatten());
                id.and_then(text)
            }
            Protocol::BedrockConverse | Protocol::BedrockCountTokens => None,
        };
        let user: String = user?.chars().take(USER_CHARS_MAX).collect();
        (!user.is_empty()).then_some(user)
    }

    /// Refuses a body without what its protocol cannot do without.
    pub(super) fn require_content(&self, protocol: Protocol) -> Result<(), Rejection> {
        match protocol {
            Protocol::OpenAiChat | Protocol::AnthropicCountTokens => self.messages(true),
            Protocol::AnthropicMessages => {
                self.messages(true)?;
                self.set("max_tokens").map(|_| ()).ok_or_else(|| {
                    Rejection::of(
                        "max_tokens",
                        "`max_tokens` is missing; this API requires a limit of output tokens.",
                    )
                })
            }
            Protocol::BedrockConverse | Protocol::McpTool => self.messages(false),
            Protocol::BedrockInvoke => Ok(()),
            Protocol::OpenAiEmbeddings => match self.set("input").map(|m| m.shape) {
                Some(shape) if shape.len > 0 && is_text_or_list(shape.kind) => Ok(()),
                Some(_) => Err(Rejection::of(
                    "input",
                    "`input` must be a non-empty string, or a non-empty list of strings or tokens.",
                )),
                None => Err(Rejection::of("input", "`input` is missing; give the text to embed.")),
            },
            Protocol::BedrockCountTokens => match self.set("input").map(|m| m.shape.kind) {
                Some(Kind::Object) => Ok(()),
                _ => {
                    Err(Rejection::of("input", "`input` must be an object with `converse` or `invokeModel`."))
                }
            },
        }
    }

    fn messages(&self, required: bool) -> Result<(), Rejection> {
        match self.set("messages").map(|m| m.shape) {
            Some(shape) if shape.kind != Kind::Array => {
                Err(Rejection::of("messages", "`messages` must be a list."))
            }
            Some(shape) if shape.len == 0 && required => {
                Err(Rejection::of("messages", "`messages` is empty; give at least one message."))
            }
            None if required => Err(Rejection::of(
                "messages",
                "`messages` is missing; give the conversation as a list of messages.",
            )),
            _ => Ok(()),
        }
    }
}

fn is_text_or_list(kind: Kind) -> bool {
    matches!(kind, Kind::String | Kind::Array)
}

/// Fields that may hold the limit of output tokens, in order of precedence, with the field inside.
fn limit_fields(protocol: Protocol) -> &'static [(&'static str, Option<&'static str>)] {
    match protocol {
        Protocol::OpenAiChat => &[("max_completion_tokens", None), ("max_tokens", None)],
        Protocol::AnthropicMessages | Protocol::McpTool => &[("max_tokens", None)],
        Protocol::BedrockConverse => &[("inferenceConfig", Some("maxTokens"))],
        Protocol::BedrockInvoke => &[
            ("max_tokens", None),
            ("max_completion_tokens", None),
            ("maxTokens", None),
            ("max_gen_len", None),
            ("max_tokens_to_sample", None),
            ("inferenceConfig", Some("maxTokens")),
            ("inferenceConfig", Some("max_new_tokens")),
            ("textGenerationConfig", Some("maxTokenCount")),
        ],
        Protocol::OpenAiEmbeddings | Protocol::AnthropicCountTokens | Protocol::BedrockCountTokens => &[],
    }
}

/// The text of a member of the object `raw`.
fn inner_value<'de>(raw: &'de RawValue, key: &str, inner: &str) -> Result<Option<&'de RawValue>, Rejection> {
    type Object<'de> = std::collections::BTreeMap<std::borrow::Cow<'de, str>, &'de RawValue>;
    serde_json::from_str::<Object<'de>>(raw.get())
        .map(|object| object.get(inner).copied())
        .map_err(|_| Rejection::of(key, format!("`{key}` must be an object.")))
}
