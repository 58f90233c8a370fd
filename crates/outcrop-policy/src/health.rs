//! What the attempts say about each target, and what may be sent to it.
//!
//! One per process, relearned after a restart. All that decides is in pure parts: the breaker, the
//! times, the retry budget, the quota. This file keeps them together per target, behind one short lock
//! each (I-5), and hands out a `Trial` for every attempt, so that nothing is counted twice or for ever.

mod allowance;
mod breaker;
mod latency;
mod quota;
mod target;
mod trial;
mod window;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use outcrop_core::decision::Standing;
use parking_lot::{Mutex, RwLock};

pub use self::breaker::{FAILURES_IN_A_ROW, Forced, Gate, Transition, Verdict};
pub use self::latency::Quantiles;
pub(crate) use self::latency::SURE;
pub use self::quota::QuotaSpec;
pub use self::target::{Report, Shape};
pub use self::trial::{Denied, Trial};

use self::allowance::Allowance;
use self::target::Target;

/// Most targets remembered; raw ids are named by callers, so the map must be bounded (I-6).
const TARGETS_MAX: usize = 1024;

/// A lone target that has tripped is asked this often, because there is nobody else.
pub const LONE_PROBE_EVERY: Duration = Duration::from_secs(1);

/// Longest that a hint of an upstream ("retry after") is obeyed.
pub const HINT_MAX: Duration = Duration::from_secs(30);

/// What an attempt is begun for.
#[derive(Debug, Clone, Copy)]
pub struct Errand {
    /// The shape of the answer.
    pub shape: Shape,
    /// Tokens that the upstream takes from its quota when it starts: input and the most output.
    pub tokens: u64,
    /// The quota of the target, where it has one.
    pub quota: Option<QuotaSpec>,
    /// How it is to be looked at.
    pub terms: Terms,
}

/// How an attempt looks at a target's health.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Terms {
    /// The first of its exchange.
    First,
    /// A further one: a target in trouble gets only so many of these.
    Further,
    /// A further one beside a try that is slow: only so many of these begin, and none at a target that is
    /// slow itself.
    Beside,
    /// The same beside a try whose target does not serve any more: counted with those, and never too many.
    Instead,
    /// No legal target serves: health is not asked.
    Panic,
    /// A further one where none serves: only at a target that has not failed for a second, or has answered
    /// since.
    Hopeful,
    /// No other target is legal: asked once a second while it is tripped.
    Lone,
}

/// Health of all targets by name (`path/model id`).
#[derive(Debug)]
pub struct Health {
    targets: RwLock<HashMap<Box<str>, Arc<Target>>>,
    hedges: Mutex<Allowance>,
    beside: Arc<Mutex<Allowance>>,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            targets: RwLock::default(),
            hedges: Mutex::new(Allowance::of_hedges()),
            beside: Arc::new(Mutex::new(Allowance::of_legs_beside())),
        }
    }
}

impl Health {
    /// What is known of a target.
    pub fn standing(&self, name: &str, shape: Shape, quota: Option<QuotaSpec>, now: Instant) -> Standing {
        match self.targets.read().get(name) {
            Some(target) => target.standing(shape, quota, now),
            None => Standing::default(),
        }
    }

    /// Begins an attempt, or says why there may be none.
    pub fn begin(&self, name: &str, errand: Errand, now: Instant) -> Result<Trial, Denied> {
        Trial::begin(self.target(name), Arc::clone(&self.beside), errand, now)
    }

    /// Whether an attempt may begin now; takes nothing.
    pub fn would_admit(&self, name: &str, terms: Terms, now: Instant) -> bool {
        self.targets.read().get(name).is_none_or(|target| target.would_admit(terms, now))
    }

    /// Whether a target has answered within the last ten seconds.
    pub fn is_alive(&self, name: &str, now: Instant) -> bool {
        self.targets.read().get(name).is_some_and(|target| target.is_alive(now))
    }

    /// How a leg is begun beside a try at this target that is slow.
    pub fn terms_beside(&self, slow: &str, now: Instant) -> Terms {
        let serves = self.targets.read().get(slow).is_none_or(|target| target.serves(now));
        if serves { Terms::Beside } else { Terms::Instead }
    }

    /// A request came that could have a second leg.
    pub fn could_hedge(&self, now: Instant) {
        self.hedges.lock().count(now);
    }

    /// Takes the right to a second leg: one in twenty requests has it.
    pub fn may_hedge(&self, now: Instant) -> bool {
        self.hedges.lock().take(now)
    }

    /// Holds a target in a state, or lets it go.
    pub fn force(&self, name: &str, forced: Option<Forced>, now: Instant) -> Option<Transition> {
        self.target(name).force(forced, now)
    }

    /// Everything that is known of a target, for people.
    pub fn report(&self, name: &str, now: Instant) -> Report {
        match self.targets.read().get(name) {
            Some(target) => target.report(now),
            None => Report::default(),
        }
    }

    /// The targets that wait for a probe, and since when.
    pub fn waiting(&self, now: Instant) -> Vec<(Box<str>, Duration)> {
        let targets = self.targets.read();
        let due = targets.iter().filter_map(|(name, target)| Some((name.clone(), target.due_since(now)?)));
        due.collect()
    }

    fn target(&self, name: &str) -> Arc<Target> {
        if let Some(target) = self.targets.read().get(name) {
            return Arc::clone(target);
        }
        let mut targets = self.targets.write();
        if targets.len() >= TARGETS_MAX && !targets.contains_key(name) {
            // It is not remembered, so it has no past and no future.
            return Arc::default();
        }
        Arc::clone(targets.entry(name.into()).or_default())
    }
}

#[cfg(test)]
mod tests;
