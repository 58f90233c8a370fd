//! What the last attempts say about each target.
//!
//! It reports and does not choose: readiness and the operator's view read it, the order of targets
//! does not depend on it. One per process, relearned after a restart.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde::Serialize;

/// Failures in a row after which a target counts as not serving.
pub const FAILURES_IN_A_ROW: u32 = 5;

/// After this long without an attempt, old failures say nothing any more.
pub const MEMORY: Duration = Duration::from_secs(30);

/// The state of one target.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct TargetHealth {
    /// Attempts that answered.
    pub successes: u64,
    /// Attempts that failed for the target's own sake.
    pub failures: u64,
    /// Failures since the last success.
    pub failures_in_a_row: u32,
    #[serde(skip)]
    last: Option<Instant>,
}

impl TargetHealth {
    /// Whether an attempt would probably be answered.
    pub fn is_serving(&self, now: Instant) -> bool {
        let forgotten = self.last.is_none_or(|at| now.saturating_duration_since(at) > MEMORY);
        self.failures_in_a_row < FAILURES_IN_A_ROW || forgotten
    }
}

/// Health of all targets by name (`path/model id`).
#[derive(Debug, Default)]
pub struct Health {
    // A sync mutex: held for one map update, never across an await (I-5).
    targets: Mutex<HashMap<Box<str>, TargetHealth>>,
}

/// Most targets remembered; raw ids are named by callers, so the map must be bounded (I-6).
const TARGETS_MAX: usize = 4096;

impl Health {
    /// Records the end of an attempt. Failures that are the caller's own do not come here.
    pub fn record(&self, target: &str, answered: bool, now: Instant) {
        let mut targets = self.targets.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if !targets.contains_key(target) {
            if targets.len() >= TARGETS_MAX {
                return;
            }
            targets.insert(target.into(), TargetHealth::default());
        }
        let Some(health) = targets.get_mut(target) else { return };
        health.last = Some(now);
        if answered {
            health.successes = health.successes.saturating_add(1);
            health.failures_in_a_row = 0;
        } else {
            health.failures = health.failures.saturating_add(1);
            health.failures_in_a_row = health.failures_in_a_row.saturating_add(1);
        }
    }

    /// The state of one target.
    pub fn of(&self, target: &str) -> TargetHealth {
        let targets = self.targets.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        targets.get(target).copied().unwrap_or_default()
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "tests need some instant to start from")]
mod tests {
    use super::*;

    #[test]
    fn five_failures_in_a_row_count_until_they_are_old_or_a_success_comes() {
        let (health, start) = (Health::default(), Instant::now());
        for _ in 0..FAILURES_IN_A_ROW {
            assert!(health.of("fra/x").is_serving(start));
            health.record("fra/x", false, start);
        }
        assert!(!health.of("fra/x").is_serving(start + MEMORY));
        assert!(health.of("fra/x").is_serving(start + MEMORY + Duration::from_millis(1)));
        health.record("fra/x", true, start);
        assert!(health.of("fra/x").is_serving(start));
    }

    #[test]
    fn callers_cannot_grow_the_map_without_bound() {
        let health = Health::default();
        for n in 0..TARGETS_MAX + 10 {
            health.record(&n.to_string(), false, Instant::now());
        }
        assert_eq!(health.targets.lock().unwrap().len(), TARGETS_MAX);
    }
}
