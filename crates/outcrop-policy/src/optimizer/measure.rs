//! What the requests of an operation came to, and whether that is better than before.

use std::sync::Arc;

use outcrop_core::Code;
use outcrop_core::decision::{Decision, End};
use serde::Serialize;

use super::SAMPLES_MAX;

/// What the requests of an operation came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Measured {
    /// Requests that say something: the caller's own mistakes and departures do not.
    pub samples: usize,
    /// From then, in milliseconds since the Unix epoch.
    pub from_ms: u64,
    /// To then.
    pub to_ms: u64,
    /// Microseconds to the first content of a stream or to the whole answer, on average.
    pub time_us: u64,
    /// Nano-dollars a request, on average of those whose cost is known.
    pub cost_nusd: u64,
    /// Share that failed or was late, in thousandths.
    pub failing_permille: u16,
}

impl Measured {
    /// Of the requests of an operation that came after `from_ms`; the newest of many.
    pub fn of(records: &[Arc<Decision>], operation: &str, from_ms: u64, to_ms: u64) -> Self {
        let own = records.iter().filter(|decision| decision.operation == operation);
        let fresh = own.filter(|decision| decision.accepted_at_ms > from_ms);
        let (mut sums, mut measured) = (Sums::default(), Self { from_ms, to_ms, ..Self::default() });
        for decision in fresh.filter(|decision| counts(decision)).take(SAMPLES_MAX) {
            measured.samples += 1;
            sums.add(decision);
        }
        measured.time_us = sums.time_us.checked_div(sums.answered).unwrap_or(0);
        measured.cost_nusd = sums.cost_nusd.checked_div(sums.priced).unwrap_or(0);
        let failing = (sums.failing * 1000).checked_div(measured.samples as u64).unwrap_or(0);
        measured.failing_permille = u16::try_from(failing).unwrap_or(1000);
        measured
    }

    /// By how much better it is than `before`, in percent; less than nothing is worse.
    pub fn gain_percent_over(&self, before: &Self) -> f64 {
        let failing = (f64::from(self.failing_permille) - f64::from(before.failing_permille)) / 1000.0;
        let time = ratio(self.time_us as f64, before.time_us as f64);
        let cost = ratio(self.cost_nusd as f64, before.cost_nusd as f64);
        gain_percent(time, cost, failing)
    }
}

#[derive(Default)]
struct Sums {
    time_us: u64,
    answered: u64,
    cost_nusd: u64,
    priced: u64,
    failing: u64,
}

impl Sums {
    fn add(&mut self, decision: &Decision) {
        let Some(outcome) = &decision.outcome else { return };
        self.failing += u64::from(outcome.label != End::Ok || !outcome.deadline_met);
        if let Some(last) = decision.attempts.last().filter(|attempt| attempt.failed.is_none()) {
            self.time_us += last.started_us + last.took_us;
            self.answered += 1;
        }
        if let Some(cost) = outcome.cost_nusd.and_then(|cost| u64::try_from(cost).ok()) {
            self.cost_nusd += cost;
            self.priced += 1;
        }
    }
}

/// Time and money weigh the same, and each percent that fails as much as a tenth of both.
pub(super) fn gain_percent(time_ratio: f64, cost_ratio: f64, failing: f64) -> f64 {
    (1.0 - (0.5 * time_ratio + 0.5 * cost_ratio + 10.0 * failing)) * 100.0
}

/// What is not known before does not count.
pub(super) fn ratio(after: f64, before: f64) -> f64 {
    if before > 0.0 { after / before } else { 1.0 }
}

/// Whether the end of a request says something of the way it went.
fn counts(decision: &Decision) -> bool {
    let Some(outcome) = decision.outcome.as_ref().filter(|_| decision.basis.is_some()) else { return false };
    match outcome.label {
        End::CallerGone => false,
        End::Ok => true,
        End::Partial | End::Failed => outcome.code.is_none_or(|code| match code {
            Code::OutcomeUnknown
            | Code::UpstreamFailed
            | Code::NoLegalTarget
            | Code::DeadlineInfeasible
            | Code::DeadlineExceeded => true,
            Code::InvalidRequest
            | Code::Unauthenticated
            | Code::BudgetExceeded
            | Code::Forbidden
            | Code::UnknownModel
            | Code::KeyInUse
            | Code::KeyReused
            | Code::TooLarge
            | Code::PriceUnknown
            | Code::RateLimited
            | Code::LedgerUnavailable
            | Code::Stopped
            | Code::Disabled
            | Code::Overloaded => false,
        }),
    }
}
