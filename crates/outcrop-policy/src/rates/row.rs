//! The state of one row: for each instance of its scope the time at which its bucket is full again.
//!
//! That time is all that GCRA keeps (its "theoretical arrival time"). The library decides; it asks a
//! clock and a store, and gets the time that was passed in (I-7) and the one state in question. Its
//! verdict is written only when all rows agree. An instance whose bucket is full is forgotten, which
//! loses nothing.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use governor::RateLimiter;
use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{NotKeyed, StateStore};

use super::spec::RateSpec;
use super::{INSTANCES_MAX, Level};
use crate::scope::Attribution;

/// Below so many instances nothing is swept.
const SWEEP_MIN: usize = 1024;
/// A row that is full looks for forgotten instances at most this often.
const SWEEP_PAUSE_NS: u64 = 1_000_000_000;
/// Where a debt stops growing: half the range of the clock, some 290 years.
const FULL_AT_MAX: u64 = u64::MAX / 2;

/// Why a row does not let a request pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turned {
    /// Nothing is left for so long.
    Away(Duration),
    /// A new instance, and no room for it.
    Crowded,
}

/// A row and its state.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) spec: RateSpec,
    // The kinds of scope, as a bounded label.
    pub(super) scope_kind: Arc<str>,
    full_at: HashMap<Box<str>, u64>,
    // The number of instances at which forgotten ones are next looked for.
    sweep_at: usize,
    swept_ns: Option<u64>,
}

impl Row {
    pub(super) fn new(spec: RateSpec) -> Self {
        let kinds: Vec<&str> = spec.scope.facets().map(crate::scope::Facet::label).collect();
        let scope_kind = if kinds.is_empty() { "all".into() } else { kinds.join("+").into() };
        Self { spec, scope_kind, full_at: HashMap::new(), sweep_at: SWEEP_MIN, swept_ns: None }
    }

    /// The instance that a request falls into; without a star there is only one.
    pub(super) fn instance(&self, whose: &Attribution) -> String {
        if self.spec.scope.has_star() { self.spec.scope.instance(whose) } else { String::new() }
    }

    /// Whether one more unit may pass at `now`, and the state in which that would leave the instance.
    pub(super) fn test(&mut self, instance: &str, now: u64) -> Result<u64, Turned> {
        let state = self.full_at.get(instance).copied();
        if state.is_none() && !self.has_room(now) {
            return Err(Turned::Crowded);
        }
        let trial = Trial { before: state, after: Cell::new(now) };
        let limiter = RateLimiter::<_, _, _, NoOpMiddleware<Nanos>>::new(
            self.spec.quota(),
            trial,
            Fed(Cell::new(0)), // the beginning of its time
        );
        limiter.clock().0.set(now);
        match limiter.check() {
            Ok(()) => Ok(limiter.into_state_store().after.get()),
            Err(until) => Err(Turned::Away(until.wait_time_from(now.into()))),
        }
    }

    /// Writes the state of an instance.
    pub(super) fn put(&mut self, instance: String, full_at: u64) {
        self.full_at.insert(instance.into_boxed_str(), full_at);
    }

    /// Takes `units` whatever is left: what is not there is a debt. The instance was let in before, so
    /// it is kept even where a new one would not be; those are as many as there are exchanges under way.
    pub(super) fn charge(&mut self, instance: String, units: u64, now: u64) {
        let before = self.full_at.get(&*instance).copied().unwrap_or(now).max(now);
        if before == now {
            self.has_room(now);
        }
        let price = self.spec.interval_ns().saturating_mul(units);
        self.put(instance, before.saturating_add(price).min(FULL_AT_MAX));
    }

    /// What is left for an instance.
    pub(super) fn level(&self, instance: &str, now: u64) -> Level {
        let missing = self.full_at.get(instance).map_or(0, |full_at| full_at.saturating_sub(now));
        let left = self.spec.fill_ns().saturating_sub(missing);
        Level {
            limit: u64::from(self.spec.burst().get()),
            remaining: left.checked_div(self.spec.interval_ns()).unwrap_or_default(),
            reset: Duration::from_nanos(missing),
        }
    }

    /// Whether there is room for a new instance; looks for forgotten ones where that pays.
    fn has_room(&mut self, now: u64) -> bool {
        let count = self.full_at.len();
        if count < self.sweep_at {
            return true;
        }
        let just_swept = self.swept_ns.is_some_and(|at| now.saturating_sub(at) < SWEEP_PAUSE_NS);
        if count >= INSTANCES_MAX && just_swept {
            return false;
        }
        self.full_at.retain(|_, full_at| *full_at > now);
        self.swept_ns = Some(now);
        self.sweep_at = self.full_at.len().saturating_mul(2).clamp(SWEEP_MIN, INSTANCES_MAX);
        self.full_at.shrink_to(self.sweep_at);
        self.full_at.len() < INSTANCES_MAX
    }

    #[cfg(test)]
    pub(super) fn instances(&self) -> usize {
        self.full_at.len()
    }
}

/// A clock that shows what it was set to.
struct Fed(Cell<u64>);

impl Clock for Fed {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        self.0.get().into()
    }
}

/// A store of one state that keeps a verdict without acting on it.
struct Trial {
    before: Option<u64>,
    after: Cell<u64>,
}

impl StateStore for Trial {
    type Key = NotKeyed;

    fn measure_and_replace<T, F, E>(&self, _key: &NotKeyed, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let (outcome, after) = decide(self.before.map(Nanos::from))?;
        self.after.set(after.into());
        Ok(outcome)
    }
}
