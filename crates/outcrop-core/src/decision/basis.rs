//! What a request was decided by, beside what was known of the targets.
//!
//! Together with the candidates it is all that the policy reads, so that the same decision can be made
//! again, and another one with other routes. No content and no credentials (I-9).

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::Usage;
use crate::operation::{Priority, Strategy};

/// What a request was decided by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Basis {
    /// Strategy of the operation.
    pub strategy: Strategy,
    /// How the plan looked at health.
    pub mode: Mode,
    /// Microseconds that were left of the deadline.
    pub remaining_us: u64,
    /// The deadline that the caller asked for, in milliseconds from accept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked_deadline_ms: Option<u64>,
    /// The priority that the caller asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked_priority: Option<Priority>,
    /// Identity of caller and prompt prefix, where a prompt cache is worth going back to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stick: Option<u64>,
    /// Whether the request could find out if a tripped target has healed.
    pub may_probe: bool,
    /// Whether a budget of it was nearly used up.
    pub money_is_short: bool,
    /// Randomness of this request.
    pub seed: u64,
    /// The required residency.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub residency: Option<Cow<'static, str>>,
    /// Kind or path name that the caller wanted first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Whether the caller's key admits the model.
    pub allowed: bool,
    /// What it would probably use; prices are compared with it.
    pub usage: Usage,
}

/// How a plan looks at health.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Tripped targets go last.
    #[default]
    Usual,
    /// One target is legal: it is asked whatever its breaker says, if only once a second.
    Lone,
    /// None of the legal targets serves: one of them is asked, once.
    Panic,
}

impl Mode {
    /// The bounded label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Usual => "usual",
            Self::Lone => "lone",
            Self::Panic => "panic",
        }
    }
}
