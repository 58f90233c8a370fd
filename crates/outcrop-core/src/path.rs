//! Kinds of paths, and the effect an MCP tool may have.

use serde::{Deserialize, Serialize};

/// How a path reaches an answer. A closed set: a further kind is a variant here and one file in
/// `outcrop-upstream`, and the compiler lists every place that must know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PathKind {
    /// Amazon Bedrock runtime, directly.
    Bedrock,
    /// A tool of a Model Context Protocol server.
    Mcp,
    /// Any OpenAI-compatible endpoint.
    OpenAi,
    /// The Anthropic API.
    Anthropic,
}

impl PathKind {
    /// The name used in configuration, orders and metric labels.
    pub fn label(self) -> &'static str {
        match self {
            Self::Bedrock => "bedrock",
            Self::Mcp => "mcp",
            Self::OpenAi => "openai",
            Self::Anthropic => "anthropic",
        }
    }

    /// Whether `direct` in an order stands for this kind: every kind but MCP.
    pub fn is_direct(self) -> bool {
        !matches!(self, Self::Mcp)
    }
}

/// What an upstream does, and bills, when its caller leaves in the middle of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AbortBilling {
    /// It stops, and bills the input and what was made until then.
    StopsAndBillsSeen,
    /// It goes on to the end and bills all of it; so the answer is read to its end to learn what.
    ContinuesAndBillsFull,
    /// Nobody has said: the upper bound counts as spent until there is evidence.
    Unknown,
}

impl AbortBilling {
    /// What is assumed where the operator says nothing. Bedrock was measured to go on (docs/budgets.md).
    pub fn of(kind: PathKind) -> Self {
        match kind {
            PathKind::Bedrock => Self::ContinuesAndBillsFull,
            PathKind::Mcp | PathKind::OpenAi | PathKind::Anthropic => Self::Unknown,
        }
    }
}

/// What a second run of a tool would do, as registered by the operator; a later one is stricter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Changes nothing.
    ReadOnly,
    /// A second run with the same arguments changes nothing more.
    Idempotent,
    /// Safe to repeat with the same idempotency key.
    Keyed,
    /// At most once: an ambiguous end is reported, never repeated.
    #[default]
    Unsafe,
}

impl Effect {
    /// Whether an attempt that may have run can be followed by another one.
    pub fn may_repeat(self) -> bool {
        matches!(self, Self::ReadOnly | Self::Idempotent)
    }
}
