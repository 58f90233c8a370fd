//! The record of why a request went where it went.
//!
//! One per exchange, whatever its end. It holds names, numbers and bounded labels: no content and no
//! credentials (I-9), so it can be shown to an operator as it is.

mod basis;

use serde::{Deserialize, Serialize};

use crate::failure::{Class, Code, Reason};
use crate::{Dialect, Priority, RequestId, Usage};

pub use self::basis::{Basis, Mode};

/// Why a request went where it went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stand_in: Option<String>,
    /// Whether a stream was asked for: its time counts to the first content, else to the end.
    pub stream: bool,
    /// Name of the operation.
    pub operation: String,
    /// Its priority.
    pub priority: Priority,
    /// Milliseconds from accept to the deadline.
    pub deadline_ms: u64,
    /// Version of the snapshot that decided.
    pub snapshot: u64,
    /// What was decided by, beside the targets; `None` when the request was refused before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub basis: Option<Basis>,
    /// Every target of the model, in order of preference, with why it was left out.
    pub candidates: Vec<Candidate>,
    /// Nanoseconds the decision took.
    pub decided_in_ns: u64,
    /// What was tried.
    pub attempts: Vec<AttemptRecord>,
    /// Where its stream broke and was continued by another attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resumed: Option<Resumption>,
    /// How it ended.
    pub outcome: Option<OutcomeRecord>,
}

impl Decision {
    /// The record of an exchange of which nothing else is known yet.
    pub fn opened(request_id: RequestId, accepted_at_ms: u64, api: Dialect) -> Self {
        Self {
            request_id,
            accepted_at_ms,
            api,
            caller: String::new(),
            model: String::new(),
            stand_in: None,
            resumed: None,
            stream: false,
            operation: String::new(),
            priority: Priority::default(),
            deadline_ms: 0,
            snapshot: 0,
            basis: None,
            candidates: Vec::new(),
            decided_in_ns: 0,
            attempts: Vec::new(),
            outcome: None,
        }
    }

    /// The candidate that was to be asked first.
    pub fn first(&self) -> Option<&Candidate> {
        self.candidates.iter().filter(|candidate| candidate.rank.is_some()).min_by_key(|c| c.rank)
    }

    /// The target that answered, or the last one that was tried.
    pub fn reached(&self) -> Option<&str> {
        self.attempts.last().map(|attempt| attempt.target.as_str())
    }
}

/// The seam of a stream that was continued.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resumption {
    /// The target that broke off, as `path/model id`.
    pub from: String,
    /// Why.
    pub reason: Reason,
    /// Bytes of text that the caller had.
    pub text_bytes: u64,
}

/// One target of the asked model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// `path/model id`.
    pub target: String,
    /// 0 for the first choice; `None` when excluded.
    pub rank: Option<u8>,
    /// Why it was excluded.
    pub excluded: Option<Exclusion>,
    /// What was known of it; `None` when a hard filter excluded it before anybody asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standing: Option<Standing>,
    /// What it would probably cost, in nano-dollars; `None` when it was excluded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_nusd: Option<i64>,
}

impl Candidate {
    /// One of which nothing was decided yet.
    pub fn of(target: String) -> Self {
        Self { target, rank: None, excluded: None, standing: None, expected_nusd: None }
    }
}

/// What was known of a target when a request was routed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// Its breaker.
    pub state: BreakerState,
    /// Share of requests it may get, in hundredths: less than 100 right after it has healed.
    pub percent: u8,
    /// Microseconds to the first content of a stream, or to the whole answer; `None` when nothing is known.
    pub expected_us: Option<u64>,
    /// The same in its best days.
    pub best_us: Option<u64>,
    /// Samples that the expectation rests on.
    pub samples: u32,
    /// Milliseconds since something was begun; zero while something is under way.
    pub idle_ms: u32,
    /// Half of its answers took no longer, in microseconds.
    pub p50_us: Option<u64>,
    /// 95 % of its answers took no longer, in microseconds.
    pub p95_us: Option<u64>,
    /// Attempts under way.
    pub in_flight: u32,
    /// Most attempts that it is believed to bear at once; `None` when nothing speaks of a limit.
    pub limit: Option<u32>,
    /// Share of good ends in the last 30 s, in thousandths.
    pub success_permille: u16,
    /// Share of its quota that is left, in thousandths; `None` without a quota.
    pub headroom_permille: Option<u16>,
    /// Milliseconds for which it has asked to be left alone.
    pub rests_ms: u32,
}

impl Default for Standing {
    /// Of a target that nobody has asked yet.
    fn default() -> Self {
        Self {
            state: BreakerState::Serving,
            percent: 100,
            expected_us: None,
            best_us: None,
            samples: 0,
            idle_ms: 0,
            p50_us: None,
            p95_us: None,
            in_flight: 0,
            limit: None,
            success_permille: 1000,
            headroom_permille: None,
            rests_ms: 0,
        }
    }
}

/// State of a target's circuit breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BreakerState {
    /// It gets requests.
    Serving,
    /// It has healed and gets a part of them.
    Ramping,
    /// One request may find out, or is finding out, whether it has healed.
    Probing,
    /// It gets none.
    Tripped,
}

impl BreakerState {
    /// The bounded metric label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Serving => "serving",
            Self::Ramping => "ramping",
            Self::Probing => "probing",
            Self::Tripped => "tripped",
        }
    }
}

/// Why a target may not serve a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
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
    /// It would only stand in for the preferred kind, and the operator has switched that off.
    FallbackOff,
    /// Half of its answers take longer than what is left of the deadline.
    TooSlow,
    /// It failed its last attempts, and it is not time to try it again.
    Tripped,
    /// It has asked to be left alone for a while.
    Resting,
    /// It has as many attempts under way as it is believed to bear.
    Busy,
}

impl Exclusion {
    /// The bounded label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Capability => "capability",
            Self::Residency => "residency",
            Self::AllowList => "allow_list",
            Self::Budget => "budget",
            Self::Order => "order",
            Self::Disabled => "disabled",
            Self::EmergencyOverMcp => "emergency_over_mcp",
            Self::PriceUnknown => "price_unknown",
            Self::FallbackOff => "fallback_off",
            Self::TooSlow => "too_slow",
            Self::Tripped => "tripped",
            Self::Resting => "resting",
            Self::Busy => "busy",
        }
    }
}

/// One try at one target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
    /// Where the bytes of its input did not fit a budget: what was reserved for it instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_counted: Option<InputCounted>,
}

/// What was reserved for an input whose bytes did not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputCounted {
    /// Input tokens that were reserved.
    pub tokens: u64,
    /// Whether the count is an estimate, and holds a margin.
    pub estimated: bool,
}

/// Why an attempt failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutcomeRecord {
    /// `None` when the caller got a complete answer.
    pub code: Option<Code>,
    /// What the caller has of it.
    pub label: End,
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

/// What a caller has of an exchange that ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// The whole answer.
    Ok,
    /// The beginning of one.
    Partial,
    /// He did not wait for it.
    CallerGone,
    /// An error.
    Failed,
}

impl End {
    /// The bounded metric label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Partial => "partial",
            Self::CallerGone => "caller_gone",
            Self::Failed => "failed",
        }
    }
}

#[cfg(test)]
mod tests;
