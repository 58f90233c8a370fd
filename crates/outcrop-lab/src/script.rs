//! What a target is told to do wrong, and how fast it may be.
//!
//! The JSON shape is the control API's shape: every field is optional and the empty script is a healthy target.
//! Nothing here acts; `deliver`, `body` and `socket` carry the faults out.

use serde::{Deserialize, Serialize};

use crate::{dice::Dice, exchange::Subject};

/// Instructions for one target; the default is a healthy, immediate one.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Script {
    /// Time from the request's last byte to the head of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<Spread>,
    /// Further time from the head to the first event of a stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttft_ms: Option<Spread>,
    /// Time between two events of a stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pace_ms: Option<Spread>,
    /// Closes the port: connections are refused and the open ones are reset.
    pub down: bool,
    /// Tokens per minute and model; absent means no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tpm: Option<u64>,
    /// Every credential is answered as an expired one.
    pub credential_expired: bool,
    /// Seconds the target's clock runs ahead of ours (negative: behind).
    pub clock_skew_s: i64,
    /// What becomes of an answer whose caller leaves; absent means the service's own habit. The MCP server keeps to
    /// its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_abort: Option<OnAbort>,
    /// Tried in order for each request; the first that applies is carried out.
    pub faults: Vec<Fault>,
}

/// What becomes of an answer whose caller leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnAbort {
    /// It is made to its end and billed in full.
    Continues,
    /// It ends there, and what was made until then is billed.
    Stops,
}

/// A distribution of milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Spread {
    /// Always the same.
    Fixed(f64),
    /// Evenly between the two bounds.
    Uniform(f64, f64),
    /// Log-normal through two quantiles.
    Lognormal {
        /// The median.
        p50: f64,
        /// The 99th percentile.
        p99: f64,
    },
}

/// One thing that goes wrong.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// What goes wrong.
    pub kind: FaultKind,
    /// Probability per request, 0 to 1.
    #[serde(default = "always")]
    pub rate: f64,
    /// How often at most; absent means without end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u64>,
    /// Events that still pass before it happens; absent means 1. For a whole answer the unit is half a body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after_events: Option<u64>,
    /// HTTP status of an injected error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Hint sent with a throttle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_s: Option<u64>,
    /// The error's name as the simulated service spells it.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub error_type: Option<String>,
    /// Restricts the fault to streams or to whole answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only: Option<Only>,
    /// Restricts the fault to this operation, as the billing record names it; the only way to hit a handshake.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    /// Whether the model ran (and is billed) although the answer never arrives; absent means the kind's own habit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub executed: Option<bool>,
    /// For `cut` and `cut_mid_frame`: end the HTTP body properly instead of closing the connection inside it.
    #[serde(default)]
    pub http_end: bool,
    /// For `reset_inside`: where the answer is torn.
    #[serde(default)]
    pub at: Part,
    /// For `slow_headers`: milliseconds between two bytes; absent means 20.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval_ms: Option<u64>,
}

/// The kinds of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// An error answer in the service's own spelling.
    Error,
    /// The service's 429 with a hint.
    Throttle,
    /// The request is read and never answered.
    Hang,
    /// The stream stops after some events, the connection stays.
    HangStream,
    /// RST before any byte of the answer.
    ResetBefore,
    /// RST inside the answer.
    ResetInside,
    /// RST right after the full answer.
    ResetAfter,
    /// The stream ends after some events without its terminal event.
    Cut,
    /// The stream ends inside an event.
    CutMidFrame,
    /// One event carries a wrong checksum (event-stream framing only).
    BadCrc,
    /// Random bytes instead of the body.
    Garbage,
    /// The head arrives byte by byte.
    SlowHeaders,
    /// An error event inside a stream that began well.
    StreamException,
    /// The port is closed.
    Refuse,
    /// The server no longer knows the caller's session (MCP over HTTP).
    ForgetSession,
    /// The result is larger than any caller should take (MCP).
    Huge,
}

/// Which answers a fault applies to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Only {
    /// Streamed answers.
    Stream,
    /// Answers in one piece.
    Whole,
}

/// A part of an HTTP answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Status line and headers.
    Head,
    /// The content.
    #[default]
    Body,
}

/// Why a script is refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ScriptError {
    /// A rate outside 0 to 1.
    #[error("rate of `{0:?}` is {1}; it must lie between 0 and 1")]
    Rate(FaultKind, f64),
    /// A distribution with a negative or contradictory bound.
    #[error("`{0}` is no distribution of milliseconds")]
    Spread(&'static str),
    /// A status that is no HTTP error.
    #[error("status {0} is no HTTP error status")]
    Status(u16),
}

impl Script {
    /// A script of faults only.
    pub fn faulty(faults: impl IntoIterator<Item = Fault>) -> Self {
        Self { faults: faults.into_iter().collect(), ..Self::default() }
    }

    /// A closed port.
    pub fn down() -> Self {
        Self { down: true, ..Self::default() }
    }

    /// Whether the port is to be closed.
    pub fn is_down(&self) -> bool {
        self.down || self.faults.iter().any(|fault| fault.kind == FaultKind::Refuse)
    }

    /// Refuses values that cannot be carried out.
    pub fn check(&self) -> Result<(), ScriptError> {
        let spreads = [("latency_ms", self.latency_ms), ("ttft_ms", self.ttft_ms), ("pace_ms", self.pace_ms)];
        for (name, spread) in spreads {
            if spread.is_some_and(|spread| !spread.is_sound()) {
                return Err(ScriptError::Spread(name));
            }
        }
        for fault in &self.faults {
            if !(0.0..=1.0).contains(&fault.rate) {
                return Err(ScriptError::Rate(fault.kind, fault.rate));
            }
            if let Some(status) = fault.status.filter(|status| !(400..=599).contains(status)) {
                return Err(ScriptError::Status(status));
            }
        }
        Ok(())
    }
}

impl Spread {
    /// Draws milliseconds.
    pub fn draw_ms(&self, dice: &mut Dice) -> f64 {
        match *self {
            Self::Fixed(ms) => ms,
            Self::Uniform(low, high) => low + (high - low) * dice.fraction(),
            Self::Lognormal { p50, p99 } => {
                /// The standard normal distribution's 99 % quantile.
                const Z99: f64 = 2.326_347_874;
                let sigma = (p99 / p50).ln() / Z99;
                p50 * (sigma * dice.normal()).exp()
            }
        }
    }

    fn is_sound(self) -> bool {
        let all_finite = |values: &[f64]| values.iter().all(|value| value.is_finite() && *value >= 0.0);
        match self {
            Self::Fixed(ms) => all_finite(&[ms]),
            Self::Uniform(low, high) => all_finite(&[low, high]) && low <= high,
            Self::Lognormal { p50, p99 } => all_finite(&[p50, p99]) && p50 > 0.0 && p50 <= p99,
        }
    }
}

impl Fault {
    /// A fault that always happens.
    pub fn new(kind: FaultKind) -> Self {
        Self {
            kind,
            rate: 1.0,
            times: None,
            after_events: None,
            status: None,
            retry_after_s: None,
            error_type: None,
            only: None,
            operation: None,
            executed: None,
            http_end: false,
            at: Part::Body,
            interval_ms: None,
        }
    }

    /// Happens at most this often.
    #[must_use]
    pub fn times(mut self, times: u64) -> Self {
        self.times = Some(times);
        self
    }

    /// Happens with this probability.
    #[must_use]
    pub fn rate(mut self, rate: f64) -> Self {
        self.rate = rate;
        self
    }

    /// Lets this many events pass.
    #[must_use]
    pub fn after(mut self, events: u64) -> Self {
        self.after_events = Some(events);
        self
    }

    /// Answers with this status and error name.
    #[must_use]
    pub fn spelled(mut self, status: u16, error_type: &str) -> Self {
        self.status = Some(status);
        self.error_type = Some(error_type.to_owned());
        self
    }

    /// Restricts the fault to one way of answering.
    #[must_use]
    pub fn only(mut self, only: Only) -> Self {
        self.only = Some(only);
        self
    }

    /// Restricts the fault to one operation.
    #[must_use]
    pub fn on(mut self, operation: &str) -> Self {
        self.operation = Some(operation.to_owned());
        self
    }

    /// Whether the fault can happen to a request; one that is `spared` must be named.
    pub fn applies(&self, subject: &Subject, spared: bool) -> bool {
        let stream = subject.stream;
        let named = match &self.operation {
            None => !spared,
            Some(operation) => *operation == subject.operation,
        };
        let wanted = match self.only {
            None => named,
            Some(Only::Stream) => named && stream,
            Some(Only::Whole) => named && !stream,
        };
        let possible = match self.kind {
            FaultKind::BadCrc | FaultKind::StreamException => stream,
            FaultKind::Refuse => false,
            _ => true,
        };
        wanted && possible
    }

    /// Events that pass before the fault.
    pub fn events_before(&self) -> u64 {
        self.after_events.unwrap_or(1)
    }
}

fn always() -> f64 {
    1.0
}
