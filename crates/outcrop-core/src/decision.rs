//! The record of why a request went where it went.
//!
//! One per exchange, whatever its end. It holds names, numbers and bounded labels: no content and no
//! credentials (I-9), so it can be shown to an operator as it is.

use serde::Serialize;

use crate::failure::{Class, Code, Reason};
use crate::{Dialect, Priority, RequestId, Usage};

/// Why a request went where it went.
#[derive(Debug, Clone, Serialize)]
pub struct Decision {
    /// The exchange.
    pub request_id: RequestId,
    /// Milliseconds since the Unix epoch, at accept.
    pub accepted_at_ms: u64,
    /// The API that was called.
    pub api: Dialect,
    /// The caller's name.
    pub caller: String,
    /// The model as the caller named it.
    pub model: String,
    /// The model that stood in for it, because a budget was nearly used up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stand_in: Option<String>,
    /// Whether a stream was asked for.
    pub stream: bool,
    /// Name of the operation.
    pub operation: String,
    /// Its priority.
    pub priority: Priority,
    /// Milliseconds from accept to the deadline.
    pub deadline_ms: u64,
    /// Version of the snapshot that decided.
    pub snapshot: u64,
    /// Every target of the model, in order of preference, with why it was left out.
    pub candidates: Vec<Candidate>,
    /// Nanoseconds the decision took.
    pub decided_in_ns: u64,
    /// What was tried.
    pub attempts: Vec<AttemptRecord>,
    /// How it ended.
    pub outcome: Option<OutcomeRecord>,
}

/// One target of the asked model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Candidate {
    /// `path/model id`.
    pub target: String,
    /// 0 for the first choice; `None` when excluded.
    pub rank: Option<u8>,
    /// Why it was excluded.
    pub excluded: Option<Exclusion>,
}

/// Why a target may not serve a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Exclusion {
    /// The path cannot carry what is asked (tools, images, several answers, …).
    Capability,
    /// It may run outside the required residency.
    Residency,
    /// The key may not use it.
    AllowList,
    /// A budget has no room for it.
    Budget,
    /// The operation's order does not name its path.
    Order,
    /// Switched off by the operator.
    Disabled,
    /// Emergencies do not travel over MCP unless the operator allows it.
    EmergencyOverMcp,
    /// Nobody has said what it costs, or the price has expired.
    PriceUnknown,
}

/// One try at one target.
#[derive(Debug, Clone, Serialize)]
pub struct AttemptRecord {
    /// `path/model id`.
    pub target: String,
    /// Microseconds from accept to dispatch.
    pub started_us: u64,
    /// Microseconds it took, to the first content or to the failure.
    pub took_us: u64,
    /// Outcome: `None` while it runs or when it answered.
    pub failed: Option<AttemptFailure>,
    /// The upstream's own request id; empty if it gave none.
    pub upstream_request_id: String,
}

/// Why an attempt failed.
#[derive(Debug, Clone, Serialize)]
pub struct AttemptFailure {
    /// What may follow.
    pub class: Class,
    /// Why.
    pub reason: Reason,
    /// The upstream's status, if it answered.
    pub status: Option<u16>,
    /// Text for the operator.
    pub detail: String,
}

/// How an exchange ended.
#[derive(Debug, Clone, Serialize)]
pub struct OutcomeRecord {
    /// `None` when the caller got a complete answer.
    pub code: Option<Code>,
    /// `ok`, `partial`, `caller_gone` or `failed`.
    pub label: &'static str,
    /// Counted tokens of the answer that was given.
    pub usage: Usage,
    /// Cost in nano-dollars; `None` when price or usage is unknown.
    pub cost_nusd: Option<i64>,
    /// Microseconds from accept to the end.
    pub total_us: u64,
    /// Microseconds the gateway itself added.
    pub overhead_us: u64,
    /// Whether the promise of the operation was kept.
    pub deadline_met: bool,
}
