//! Budgets as the configuration describes them: who, how long, how much of what.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::window::Window;
use crate::Scope;

/// What a limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dimension {
    /// Nano-US-dollars.
    Usd,
    /// Input and output tokens together.
    Tokens,
    /// Input tokens, cached or not.
    InputTokens,
    /// Output tokens.
    OutputTokens,
    /// Requests.
    Requests,
    /// Calls of federated tools.
    ToolCalls,
}

impl Dimension {
    /// The word for it, as in the configuration.
    pub fn label(self) -> &'static str {
        match self {
            Self::Usd => "USD",
            Self::Tokens => "tokens",
            Self::InputTokens => "input tokens",
            Self::OutputTokens => "output tokens",
            Self::Requests => "requests",
            Self::ToolCalls => "tool calls",
        }
    }
}

/// How much of each dimension: an upper bound before, the truth after.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Amounts {
    /// Nano-US-dollars.
    pub nusd: i64,
    /// Input tokens.
    pub input_tokens: i64,
    /// Output tokens.
    pub output_tokens: i64,
    /// Requests: 1 for the first attempt of an exchange, 0 for those after it.
    pub requests: i64,
    /// Calls of federated tools.
    pub tool_calls: i64,
}

impl Amounts {
    /// The part that a dimension counts; never negative.
    pub fn of(&self, dimension: Dimension) -> i64 {
        match dimension {
            Dimension::Usd => self.nusd,
            Dimension::Tokens => self.input_tokens.saturating_add(self.output_tokens),
            Dimension::InputTokens => self.input_tokens,
            Dimension::OutputTokens => self.output_tokens,
            Dimension::Requests => self.requests,
            Dimension::ToolCalls => self.tool_calls,
        }
        .max(0)
    }
}

/// What happens to a request whose upper bound does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Shortage {
    /// It is refused, with the numbers.
    #[default]
    Refuse,
    /// Its output limit is lowered to what fits, but not below so many tokens.
    Clamp {
        /// The least output that is still of use.
        floor_tokens: u64,
    },
    /// A cheaper target of the same model is taken, then it is refused.
    Cheaper,
}

/// What the input's part of an upper bound may rest on, where its bytes do not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum InputCount {
    /// Nothing but its bytes.
    #[default]
    Bytes,
    /// The target's own count, where it is what will be charged.
    Exact,
    /// Also a count that its maker calls an estimate, with a margin.
    Estimated,
}

/// A budget.
#[derive(Debug, Clone, PartialEq)]
pub struct BudgetSpec {
    /// Names the budget across reloads: scope, window and dimension, as text.
    pub id: Arc<str>,
    /// Whose requests it counts.
    pub scope: Scope,
    /// Over which time.
    pub window: Window,
    /// What it counts.
    pub dimension: Dimension,
    /// How much, in units of the dimension.
    pub limit: i64,
    /// Whether what does not fit is refused; else it is only told.
    pub hard: bool,
    /// The part of a hard limit that only emergencies may use, in units of the dimension.
    pub carve_out: i64,
    /// What happens to what does not fit.
    pub shortage: Shortage,
    /// What the input's part of an upper bound may rest on.
    pub input_count: InputCount,
}

impl BudgetSpec {
    /// The id that belongs to scope, window and dimension.
    pub fn id_of(scope: &Scope, window: &Window, dimension: Dimension) -> Arc<str> {
        format!("{scope}/{window}/{}", dimension.label()).into()
    }
}
