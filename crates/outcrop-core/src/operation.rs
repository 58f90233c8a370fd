//! Operations: the classes of requests, and what each promises.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Who goes first when not everybody can. Ordered: `Emergency` is the greatest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// Batches.
    Low,
    /// Ordinary traffic.
    #[default]
    Medium,
    /// Agents at work.
    High,
    /// Infrastructure.
    Critical,
    /// Incidents.
    Emergency,
}

impl Priority {
    /// The bounded metric label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
            Self::Emergency => "emergency",
        }
    }
}

/// One entry of an operation's order of paths.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Preference {
    /// Every kind but MCP, Bedrock first.
    Direct,
    /// Every path of that kind.
    Kind(crate::PathKind),
    /// One path by name.
    Path(Box<str>),
}

/// A class of requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Operation {
    /// Name, as in `x-outcrop-operation`.
    pub name: Box<str>,
    /// Its priority.
    pub priority: Priority,
    /// Time from accept to the whole answer, or to the first content byte of a stream.
    #[serde(serialize_with = "as_millis")]
    pub deadline: Duration,
    /// Paths in order of preference; what is not named is not used.
    pub order: Vec<Preference>,
    /// What decides among the targets of one preference.
    pub strategy: Strategy,
}

/// What decides among targets that are equally preferred.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// The quickest.
    LatencyFirst,
    /// The one that fails least, then the quickest.
    SuccessFirst,
    /// The cheapest that is quick enough for the deadline.
    CostEfficient,
    /// The cheapest among those that are nearly as quick as the quickest.
    #[default]
    Balanced,
    /// Quick where time is short, cheap where it is ample or money is short, else balanced.
    Adaptive,
}

impl Strategy {
    /// The name used in configuration and records.
    pub fn label(self) -> &'static str {
        match self {
            Self::LatencyFirst => "latency_first",
            Self::SuccessFirst => "success_first",
            Self::CostEfficient => "cost_efficient",
            Self::Balanced => "balanced",
            Self::Adaptive => "adaptive",
        }
    }
}

fn as_millis<S: serde::Serializer>(d: &Duration, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_u64(u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}
