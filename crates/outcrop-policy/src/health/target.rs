//! One target: its breaker, times, budgets of retries and tokens, together behind one short lock.

use std::time::{Duration, Instant};

use outcrop_core::decision::{BreakerState, Standing};
use parking_lot::Mutex;
use serde::Serialize;

use super::Terms;
use super::allowance::Allowance;
use super::breaker::{Breaker, Forced, Gate, Transition};
use super::latency::{Latency, Quantiles};
use super::quota::{Quota, QuotaSpec};
use crate::concurrency::{Bounds, Limit, Outcome};

/// The shape of an answer: their times are not comparable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Timed to its first content.
    Stream,
    /// Timed to its end.
    Whole,
}

/// Between what the limit of a target moves.
const LIMITS: Bounds = Bounds { min: 4, max: 100_000, initial: 1_000, quick: Duration::ZERO };

/// Who has answered within this time is not gone for good.
const ALIVE: Duration = Duration::from_secs(10);

/// One target.
#[derive(Debug, Default)]
pub(super) struct Target {
    pub(super) inner: Mutex<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) breaker: Breaker,
    // Boxed, and only once there is something to remember: a name that nobody answers costs little.
    streams: Option<Box<Latency>>,
    wholes: Option<Box<Latency>>,
    pub(super) retries: Allowance,
    pub(super) quota: Quota,
    /// What it is believed to bear at once: learned from what it turns away, not from its latency, which
    /// depends on what is asked.
    pub(super) limit: Limit,
    pub(super) in_flight: u32,
    pub(super) last_begun: Option<Instant>,
    /// Until then the upstream has asked to be left alone.
    pub(super) rests_until: Option<Instant>,
    /// It refused the gateway's credentials, and is left alone until then where another can serve.
    pub(super) refused_until: Option<Instant>,
    pub(super) answers: u64,
    pub(super) failures: u64,
    pub(super) answered_at: Option<Instant>,
    pub(super) failed_at: Option<Instant>,
}

/// Everything that is known of a target, for people.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Report {
    /// Its breaker.
    pub breaker: BreakerState,
    /// What an operator holds it in.
    pub forced: Option<Forced>,
    /// Milliseconds until it is probed; `None` when it serves, or is being probed.
    pub probed_in_ms: Option<u64>,
    /// Attempts that answered.
    pub answers: u64,
    /// Attempts that failed for the target's own sake.
    pub failures: u64,
    /// Failures since the last answer.
    pub failures_in_a_row: u32,
    /// Share of good ends in the last 30 s, in thousandths.
    pub success_permille: u16,
    /// Attempts under way.
    pub in_flight: u32,
    /// Most attempts that it is believed to bear at once; others are preferred beyond it.
    pub limit: u32,
    /// Milliseconds for which it has asked to be left alone.
    pub rests_ms: u64,
    /// Times to the first content of streams.
    pub streams: Times,
    /// Times of whole answers.
    pub wholes: Times,
}

/// Times of one shape of answer, in milliseconds.
#[allow(clippy::struct_field_names, reason = "the unit is part of each name, as in all that is shown")]
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Times {
    /// What the next one is expected to take.
    pub expected_ms: Option<f64>,
    /// Half took no longer.
    pub p50_ms: Option<f64>,
    /// 95 % took no longer.
    pub p95_ms: Option<f64>,
    /// 99 % took no longer.
    pub p99_ms: Option<f64>,
}

impl Report {
    /// Whether an attempt would probably be answered.
    pub fn is_serving(&self) -> bool {
        matches!(self.breaker, BreakerState::Serving | BreakerState::Ramping)
    }
}

impl Default for Report {
    fn default() -> Self {
        Target::default().report_of(None)
    }
}

impl Target {
    pub(super) fn standing(&self, shape: Shape, quota: Option<QuotaSpec>, now: Instant) -> Standing {
        let inner = self.inner.lock();
        // While a probe is under way nothing else may be sent.
        let (state, percent) = match inner.breaker.gate(now) {
            Gate::Open { percent } => (inner.breaker.state(now), percent),
            Gate::ProbeDue => (BreakerState::Probing, 0),
            Gate::Closed { .. } => (BreakerState::Tripped, 0),
        };
        let latency = inner.latency(shape);
        let p95 = latency.and_then(|l| l.quantiles().p95);
        Standing {
            state,
            percent,
            expected_us: latency.and_then(Latency::expected).map(micros),
            best_us: latency.and_then(Latency::best).map(micros),
            samples: latency.map_or(0, Latency::samples),
            idle_ms: inner.idle(now).as_millis() as u32,
            p50_us: latency.and_then(|l| l.median(now)).map(micros),
            p95_us: p95.map(micros),
            in_flight: inner.in_flight,
            limit: Some(inner.limit.limit() as u32),
            success_permille: inner.breaker.success_permille(now),
            headroom_permille: quota.map(|spec| inner.quota.left_permille(spec, now)),
            rests_ms: inner.rest(now).as_millis() as u32,
        }
    }

    /// Whether an attempt may begin now.
    pub(super) fn would_admit(&self, terms: Terms, now: Instant) -> bool {
        self.inner.lock().would_admit(terms, now).is_ok()
    }

    /// Whether it takes requests.
    pub(super) fn serves(&self, now: Instant) -> bool {
        matches!(self.inner.lock().breaker.gate(now), Gate::Open { .. })
    }

    /// Whether it has answered a moment ago.
    pub(super) fn is_alive(&self, now: Instant) -> bool {
        let at = self.inner.lock().answered_at;
        at.is_some_and(|at| now.saturating_duration_since(at) < ALIVE)
    }

    pub(super) fn force(&self, forced: Option<Forced>, now: Instant) -> Option<Transition> {
        let mut inner = self.inner.lock();
        let from = inner.breaker.state(now);
        inner.breaker.force(forced);
        let to = inner.breaker.state(now);
        (from != to).then_some(Transition { from, to })
    }

    /// For how long a probe has been due.
    pub(super) fn due_since(&self, now: Instant) -> Option<Duration> {
        let inner = self.inner.lock();
        inner.breaker.due_at(now).map(|at| now.saturating_duration_since(at))
    }

    pub(super) fn report(&self, now: Instant) -> Report {
        self.report_of(Some(now))
    }

    /// Without a `now` it is the report of a target that nobody has asked.
    fn report_of(&self, now: Option<Instant>) -> Report {
        let inner = self.inner.lock();
        let gate = now.map(|now| inner.breaker.gate(now));
        let probed_in_ms = match (gate, now) {
            (Some(Gate::Closed { until: Some(until) }), Some(now)) => {
                Some(until.saturating_duration_since(now).as_millis() as u64)
            }
            (Some(Gate::ProbeDue), _) => Some(0),
            _ => None,
        };
        Report {
            breaker: now.map_or(BreakerState::Serving, |now| inner.breaker.state(now)),
            forced: inner.breaker.forced(),
            probed_in_ms,
            answers: inner.answers,
            failures: inner.failures,
            failures_in_a_row: inner.breaker.in_a_row(),
            success_permille: now.map_or(1000, |now| inner.breaker.success_permille(now)),
            in_flight: inner.in_flight,
            limit: inner.limit.limit() as u32,
            rests_ms: now.map_or(0, |now| inner.rest(now).as_millis() as u64),
            streams: times(inner.streams.as_deref()),
            wholes: times(inner.wholes.as_deref()),
        }
    }
}

impl Default for Inner {
    fn default() -> Self {
        Self {
            breaker: Breaker::default(),
            streams: None,
            wholes: None,
            retries: Allowance::of_retries(),
            quota: Quota::default(),
            limit: Limit::new(LIMITS),
            in_flight: 0,
            last_begun: None,
            rests_until: None,
            refused_until: None,
            answers: 0,
            failures: 0,
            answered_at: None,
            failed_at: None,
        }
    }
}

impl Inner {
    pub(super) fn latency(&self, shape: Shape) -> Option<&Latency> {
        match shape {
            Shape::Stream => self.streams.as_deref(),
            Shape::Whole => self.wholes.as_deref(),
        }
    }

    /// How long it is still left alone.
    pub(super) fn rest(&self, now: Instant) -> Duration {
        let refused = self.refused_until.map(|until| until.saturating_duration_since(now));
        self.hint_left(now).max(refused.unwrap_or_default())
    }

    /// How long it still wants to be left alone.
    pub(super) fn hint_left(&self, now: Instant) -> Duration {
        let held = self.breaker.forced() == Some(Forced::Serving);
        let until = self.rests_until.filter(|_| !held);
        until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now))
    }

    /// For how long nothing was begun; zero while something is under way.
    fn idle(&self, now: Instant) -> Duration {
        let since = self.last_begun.filter(|_| self.in_flight == 0);
        since.map_or(Duration::ZERO, |at| now.saturating_duration_since(at))
    }

    /// An attempt ended; whether because of the load.
    pub(super) fn weigh_load(&mut self, now: Instant, outcome: Outcome) {
        self.limit.on_end(now, Duration::ZERO, self.in_flight as usize, outcome);
    }

    pub(super) fn latency_mut(&mut self, shape: Shape) -> &mut Latency {
        let slot = match shape {
            Shape::Stream => &mut self.streams,
            Shape::Whole => &mut self.wholes,
        };
        slot.get_or_insert_with(|| Box::new(Latency::new()))
    }
}

fn times(latency: Option<&Latency>) -> Times {
    let Some(latency) = latency else { return Times::default() };
    let ms = |d: Duration| d.as_secs_f64() * 1000.0;
    let Quantiles { p50, p95, p99 } = latency.quantiles();
    Times {
        expected_ms: latency.expected().map(ms),
        p50_ms: p50.map(ms),
        p95_ms: p95.map(ms),
        p99_ms: p99.map(ms),
    }
}

fn micros(duration: Duration) -> u64 {
    duration.as_micros() as u64
}
