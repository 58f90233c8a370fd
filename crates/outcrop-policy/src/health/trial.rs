//! One attempt as its target's health sees it: a guard from its start to its last event.
//!
//! Whatever becomes of the attempt, the guard ends with it: what it counted as under way it takes back,
//! and a probe's permit that taught nothing is free for the next request.

use std::sync::Arc;
use std::time::{Duration, Instant};

use outcrop_core::failure::{Class, Failure, Reason};

use parking_lot::Mutex;

use super::allowance::Allowance;
use super::breaker::{Gate, Transition, Verdict};
use super::target::{Inner, Target};
use super::{Errand, HINT_MAX, LONE_PROBE_EVERY, Terms};
use crate::concurrency::Outcome;

/// What a failure counts as in the mean of times.
const FAILURE_COUNTS_AS: Duration = Duration::from_secs(5);

/// An attempt that has not answered is given up for another target no sooner than this.
const PATIENCE_MIN: Duration = Duration::from_millis(400);

/// A probe is waited for at least so long: what has healed may be slower than it was.
const PROBE_PATIENCE: Duration = Duration::from_millis(900);

/// A target that refused the gateway's credentials is asked again, once, after this: as often as others are fetched.
const REFUSED_REST: Duration = Duration::from_secs(2);

/// Why an attempt may not begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    /// It failed its last attempts.
    Tripped {
        /// Until it is asked again.
        wait: Duration,
    },
    /// It has asked to be left alone.
    Resting {
        /// For so long.
        wait: Duration,
    },
    /// It gets no further retries for now.
    NoRetry,
    /// An operator holds it.
    Held,
}

/// One attempt at a target.
#[derive(Debug)]
pub struct Trial {
    target: Arc<Target>,
    // What all targets share: their answers pay for legs beside slow ones.
    beside: Arc<Mutex<Allowance>>,
    errand: Errand,
    begun: Instant,
    is_probe: bool,
    // What it says about its target was said.
    has_spoken: bool,
    // Since when it counts as late.
    late_at: Option<Instant>,
}

impl Trial {
    pub(super) fn begin(
        target: Arc<Target>,
        beside: Arc<Mutex<Allowance>>,
        errand: Errand,
        now: Instant,
    ) -> Result<Self, Denied> {
        let mut inner = target.inner.lock();
        let is_probe = match errand.terms {
            Terms::Beside | Terms::Instead => inner.admits_beside(&beside, errand, now)?,
            Terms::First | Terms::Further | Terms::Panic | Terms::Hopeful | Terms::Lone => {
                inner.admits(errand.terms, now)?
            }
        };
        inner.in_flight = inner.in_flight.saturating_add(1);
        inner.last_begun = Some(now);
        if let Some(spec) = errand.quota {
            inner.quota.take(spec, errand.tokens, now);
        }
        drop(inner);
        Ok(Self { target, beside, errand, begun: now, is_probe, has_spoken: false, late_at: None })
    }

    /// Whether it finds out if its target has healed.
    pub fn is_probe(&self) -> bool {
        self.is_probe
    }

    /// How long it may be waited for while another target could answer: what is beyond twice the time that
    /// 99 % of answers take is rather lost than slow. `None` when too little is known.
    pub fn patience(&self) -> Option<Duration> {
        let inner = self.target.inner.lock();
        let latency = inner.latency(self.errand.shape)?;
        let patience = match latency.quantiles().p99 {
            Some(slow) => (slow * 2).max(PATIENCE_MIN),
            // Too few answers for a quantile: a multiple of their mean.
            None => (latency.expected()? * 6).max(PROBE_PATIENCE),
        };
        Some(if self.is_probe { patience.max(PROBE_PATIENCE) } else { patience })
    }

    /// The time after which another leg may be started beside it: 95 % of answers are there by then.
    pub fn hedges_after(&self) -> Option<Duration> {
        self.target.inner.lock().latency(self.errand.shape)?.quantiles().p95
    }

    /// It takes longer than it may while another target is asked in its stead: counts as a failure, unless it
    /// answers in the end.
    pub fn turn_late(&mut self, now: Instant, jitter: f64) -> Option<Transition> {
        if self.late_at.is_some() || self.has_spoken {
            return None;
        }
        (self.late_at, self.has_spoken) = (Some(now), true);
        let took = now.saturating_duration_since(self.begun);
        let mut inner = self.target.inner.lock();
        inner.failures = inner.failures.saturating_add(1);
        inner.failed_at = Some(now);
        inner.latency_mut(self.errand.shape).failed(FAILURE_COUNTS_AS.max(took), now);
        inner.weigh_load(now, Outcome::Overloaded);
        inner.breaker.record(Verdict::Late, self.begun, now, jitter)
    }

    /// The first content of a stream, or the whole answer, is here.
    pub fn answered(&mut self, now: Instant, jitter: f64) -> Option<Transition> {
        self.has_spoken = true;
        let took = now.saturating_duration_since(self.begun);
        self.beside.lock().count(now);
        let mut inner = self.target.inner.lock();
        inner.latency_mut(self.errand.shape).answered(took, now);
        inner.retries.count(now);
        inner.answers = inner.answers.saturating_add(1);
        (inner.rests_until, inner.refused_until) = (None, None);
        inner.weigh_load(now, Outcome::Ok);
        inner.answered_at = Some(now);
        match self.late_at.take() {
            Some(late_at) => inner.breaker.answered_late(late_at, self.begun, now),
            None => inner.breaker.record(Verdict::Good, self.begun, now, jitter),
        }
    }

    /// It failed; before its first content, or after it. What is not the target's fault says nothing.
    pub fn failed(&mut self, failure: &Failure, now: Instant, jitter: f64) -> Option<Transition> {
        if failure.reason.is_about_credentials() {
            self.target.inner.lock().refused_until = Some(now + REFUSED_REST);
        }
        let verdict = verdict_of(failure)?;
        if self.late_at.is_some() {
            return None;
        }
        let took = now.saturating_duration_since(self.begun);
        let mut inner = self.target.inner.lock();
        inner.failures = inner.failures.saturating_add(1);
        inner.failed_at = Some(now);
        let hint = failure.retry_after.map(|hint| hint.min(HINT_MAX));
        if failure.class != Class::Partial {
            let counts_as = hint.unwrap_or(FAILURE_COUNTS_AS).max(took);
            inner.latency_mut(self.errand.shape).failed(counts_as, now);
        }
        if let Some(hint) = hint {
            inner.rests_until = Some(now + hint).max(inner.rests_until);
        }
        let is_load = verdict == Verdict::Throttled
            || matches!(failure.reason, Reason::Unavailable | Reason::Timeout | Reason::Stalled);
        inner.weigh_load(now, if is_load { Outcome::Overloaded } else { Outcome::Ignored });
        if let (Some(spec), Verdict::Throttled) = (self.errand.quota, verdict) {
            inner.quota.is_full(spec, now);
        }
        self.has_spoken = true;
        inner.breaker.record(verdict, self.begun, now, jitter)
    }

    /// What the upstream counted, so that its quota gets back what was not used.
    pub fn used(&mut self, input: u64, output: u64, now: Instant) {
        let Some(spec) = self.errand.quota else { return };
        let used = input.saturating_add(output.saturating_mul(u64::from(spec.output_burndown)));
        let mut inner = self.target.inner.lock();
        match self.errand.tokens.checked_sub(used) {
            Some(unused) => inner.quota.give_back(spec, unused, now),
            None => inner.quota.take(spec, used - self.errand.tokens, now),
        }
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        let mut inner = self.target.inner.lock();
        inner.in_flight = inner.in_flight.saturating_sub(1);
        if self.is_probe && !self.has_spoken {
            inner.breaker.release_probe(self.begun);
        }
    }
}

impl Inner {
    /// Begins an attempt if it may, and says whether it is a probe.
    fn admits(&mut self, terms: Terms, now: Instant) -> Result<bool, Denied> {
        self.would_admit(terms, now)?;
        if needs_retry(terms, self.breaker.gate(now)) && !self.retries.take(now) {
            return Err(Denied::NoRetry);
        }
        // The one that finds out; until it has, or the time is over again, nobody else.
        self.refused_until = self.refused_until.map(|_| now + REFUSED_REST);
        Ok(self.breaker.take_probe(now))
    }

    /// Begins an attempt beside a slow one. Where this target is slow as well, all are: a second leg would
    /// only add to what keeps them.
    fn admits_beside(
        &mut self,
        beside: &Mutex<Allowance>,
        errand: Errand,
        now: Instant,
    ) -> Result<bool, Denied> {
        self.would_admit(errand.terms, now)?;
        if self.latency(errand.shape).is_some_and(|latency| latency.is_strained(now)) {
            return Err(Denied::NoRetry);
        }
        let mut beside = beside.lock();
        if errand.terms == Terms::Beside && !beside.has(now) {
            return Err(Denied::NoRetry);
        }
        let is_probe = self.admits(errand.terms, now)?;
        beside.spend(now);
        Ok(is_probe)
    }

    /// Whether an attempt may begin; nothing is taken.
    pub(super) fn would_admit(&self, terms: Terms, now: Instant) -> Result<(), Denied> {
        // Where there is no other, or all others have failed, it may as well be asked.
        let rest = if terms == Terms::First { self.rest(now) } else { self.hint_left(now) };
        if !rest.is_zero() && terms != Terms::Panic {
            return Err(Denied::Resting { wait: rest });
        }
        let gate = self.breaker.gate(now);
        let Gate::Closed { until } = gate else {
            let denied = needs_retry(terms, gate) && !self.retries.has(now);
            return if denied { Err(Denied::NoRetry) } else { Ok(()) };
        };
        if terms != Terms::Panic && self.breaker.forced().is_some() {
            return Err(Denied::Held);
        }
        let quiet = self.last_begun.is_none_or(|at| now.saturating_duration_since(at) >= LONE_PROBE_EVERY);
        let wait = until.map_or(LONE_PROBE_EVERY, |until| until.saturating_duration_since(now));
        match terms {
            Terms::Panic => Ok(()),
            Terms::Hopeful if self.is_hopeful(now) => Ok(()),
            Terms::Lone if quiet => Ok(()),
            Terms::Lone => Err(Denied::Tripped { wait: wait.min(LONE_PROBE_EVERY) }),
            // All that serve have failed: what is left of the retry budget may find out.
            Terms::Further | Terms::Beside | Terms::Instead if self.retries.has(now) => Ok(()),
            Terms::First | Terms::Further | Terms::Hopeful | Terms::Beside | Terms::Instead => {
                Err(Denied::Tripped { wait })
            }
        }
    }

    /// Whether nothing was heard against it for a moment, or it has answered since, although it is tripped:
    /// what began before a trip does not heal it. Where all fail, each is asked all the time.
    fn is_hopeful(&self, now: Instant) -> bool {
        self.failed_at.is_none_or(|at| {
            self.answered_at > Some(at) || now.saturating_duration_since(at) >= LONE_PROBE_EVERY
        })
    }
}

/// A target that may have healed, or ramps up, bears little: further attempts are held to its retry budget.
fn needs_retry(terms: Terms, gate: Gate) -> bool {
    matches!(terms, Terms::Further | Terms::Beside | Terms::Instead) && gate != Gate::Open { percent: 100 }
}

/// What a failure says about its target; `None` when the fault is the caller's or the gateway's.
fn verdict_of(failure: &Failure) -> Option<Verdict> {
    match failure.class {
        Class::Refused => Some(match failure.reason {
            Reason::Throttled | Reason::ModelNotReady => Verdict::Throttled,
            _ => Verdict::Hard,
        }),
        Class::NotSent if failure.reason == Reason::NoCredentials => None,
        Class::NotSent | Class::Ambiguous | Class::Partial => Some(Verdict::Hard),
        Class::Permanent | Class::NotHere | Class::Credential | Class::CallerGone => None,
    }
}
