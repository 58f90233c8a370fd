//! Stops that nobody has to ask for: error rate, spend per hour, failures in a row.
//!
//! A state machine over what exchanges report, with `now` passed in. Each trigger counts per concrete
//! scope, never acts on a single sample, and forgets what it counted once it has acted, so that a
//! resume is not undone by old figures. Bounded in scopes watched at once.

use std::collections::HashMap;
use std::sync::Mutex;

use super::{Level, Stop};
use crate::scope::{Attribution, Scope};

/// Fewest samples on which a trigger may act.
pub const SAMPLES_MIN: u32 = 2;
/// Concrete scopes that one trigger watches at once; the one that was quiet the longest goes first.
pub const SCOPES_MAX: usize = 1000;
/// Parts of a window; a part leaves when it is wholly outside.
const PARTS: u64 = 60;
const HOUR_MS: u64 = 3_600_000;

/// When to stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trigger {
    /// What it watches; a star is each value by itself.
    pub scope: Scope,
    /// What it looks for.
    pub kind: Kind,
    /// How hard it stops.
    pub level: Level,
}

/// What a trigger looks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Too large a share of failures within a window.
    ErrorRate {
        /// From this share on.
        percent: u8,
        /// Length of the window.
        window_ms: u64,
        /// Not before there were so many.
        samples_min: u32,
    },
    /// Too much money within an hour.
    SpendPerHour {
        /// Beyond this.
        limit_nusd: i64,
    },
    /// Failures without a success between them.
    ConsecutiveFailures {
        /// So many.
        count: u32,
    },
}

impl Kind {
    /// The word for it.
    pub fn label(self) -> &'static str {
        match self {
            Self::ErrorRate { .. } => "error_rate",
            Self::SpendPerHour { .. } => "spend_per_hour",
            Self::ConsecutiveFailures { .. } => "consecutive_failures",
        }
    }
}

/// What one exchange came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Observation {
    /// Whether it failed; `None` where that says nothing, as when the caller was at fault.
    pub failed: Option<bool>,
    /// What it cost.
    pub cost_nusd: i64,
}

/// The triggers and what they have counted.
#[derive(Debug, Default)]
pub struct Automatic {
    // A sync mutex: held for a few additions, never across an await (I-5).
    watched: Mutex<Vec<Watched>>,
}

impl Automatic {
    /// Watches with these triggers.
    pub fn new(triggers: impl IntoIterator<Item = Trigger>) -> Self {
        let watch = |trigger| Watched { trigger, counts: HashMap::new() };
        Self { watched: Mutex::new(triggers.into_iter().map(watch).collect()) }
    }

    /// Takes an observation in; gives the stop that it calls for, the hardest of several.
    pub fn observe(&self, whose: &Attribution, seen: Observation, now_ms: u64) -> Option<Stop> {
        let mut watched = self.watched.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let called = watched.iter_mut().filter_map(|one| one.observe(whose, seen, now_ms));
        called.max_by_key(|stop| stop.level)
    }
}

#[derive(Debug)]
struct Watched {
    trigger: Trigger,
    counts: HashMap<Scope, Counts>,
}

impl Watched {
    fn observe(&mut self, whose: &Attribution, seen: Observation, now_ms: u64) -> Option<Stop> {
        if !self.trigger.scope.matches(whose) {
            return None;
        }
        let scope = self.trigger.scope.of(whose)?;
        if self.counts.len() >= SCOPES_MAX && !self.counts.contains_key(&scope) {
            let quiet = self.counts.iter().min_by_key(|(_, counts)| counts.last_ms).map(|(scope, _)| scope);
            if let Some(quiet) = quiet.cloned() {
                self.counts.remove(&quiet);
            }
        }
        let counts = self.counts.entry(scope.clone()).or_default();
        let figures = counts.take(self.trigger.kind, seen, now_ms)?;
        self.counts.remove(&scope);
        let kind = self.trigger.kind.label();
        Some(Stop {
            id: format!("auto-{now_ms:x}-{kind}"),
            level: self.trigger.level,
            by: format!("trigger {kind} of {}", self.trigger.scope),
            reason: figures,
            since_ms: now_ms,
            staged: None,
            scope,
        })
    }
}

/// What was seen of one concrete scope.
#[derive(Debug, Default)]
struct Counts {
    parts: Vec<Part>,
    in_a_row: u32,
    last_ms: u64,
}

/// One part of a window.
#[derive(Debug, Clone, Copy)]
struct Part {
    number: u64,
    samples: u32,
    failures: u32,
    cost_nusd: i64,
}

impl Counts {
    /// Counts; the figures where the trigger is pulled.
    fn take(&mut self, kind: Kind, seen: Observation, now_ms: u64) -> Option<String> {
        // A clock that steps back does not reopen a part.
        let now_ms = now_ms.max(self.last_ms);
        self.last_ms = now_ms;
        match kind {
            Kind::ErrorRate { percent, window_ms, samples_min } => {
                seen.failed?;
                let sum = self.add(seen, window_ms, now_ms);
                let enough = sum.samples >= samples_min.max(SAMPLES_MIN);
                let share = u64::from(sum.failures) * 100 >= u64::from(sum.samples) * u64::from(percent);
                (enough && share && sum.failures > 0).then(|| {
                    let Part { samples, failures, .. } = sum;
                    let seconds = window_ms.div_ceil(1000);
                    format!("{failures} of {samples} requests failed within {seconds} s (limit {percent} %)")
                })
            }
            Kind::SpendPerHour { limit_nusd } => {
                if seen.cost_nusd <= 0 {
                    return None;
                }
                let sum = self.add(seen, HOUR_MS, now_ms);
                (sum.samples >= SAMPLES_MIN && sum.cost_nusd > limit_nusd).then(|| {
                    let (spent, limit) = (dollars(sum.cost_nusd), dollars(limit_nusd));
                    format!("{spent} spent within an hour by {} requests (limit {limit})", sum.samples)
                })
            }
            Kind::ConsecutiveFailures { count } => {
                self.in_a_row = if seen.failed? { self.in_a_row.saturating_add(1) } else { 0 };
                let count = count.max(SAMPLES_MIN);
                (self.in_a_row >= count).then(|| format!("{} failures in a row", self.in_a_row))
            }
        }
    }

    /// Adds to the part of now, and gives the sum of the window.
    fn add(&mut self, seen: Observation, window_ms: u64, now_ms: u64) -> Part {
        let number = now_ms / (window_ms / PARTS).max(1);
        self.parts.retain(|part| part.number + PARTS >= number);
        let new = Part { number, samples: 0, failures: 0, cost_nusd: 0 };
        if self.parts.last().is_none_or(|part| part.number != number) {
            self.parts.push(new);
        }
        if let Some(part) = self.parts.last_mut() {
            part.samples = part.samples.saturating_add(1);
            part.failures = part.failures.saturating_add(u32::from(seen.failed == Some(true)));
            part.cost_nusd = part.cost_nusd.saturating_add(seen.cost_nusd);
        }
        self.parts.iter().fold(new, |sum, part| Part {
            number,
            samples: sum.samples.saturating_add(part.samples),
            failures: sum.failures.saturating_add(part.failures),
            cost_nusd: sum.cost_nusd.saturating_add(part.cost_nusd),
        })
    }
}

/// Dollars and cents for people, cut, not rounded.
fn dollars(nusd: i64) -> String {
    let cents = nusd / 10_000_000;
    format!("{}.{:02} USD", cents / 100, cents % 100)
}

#[cfg(test)]
mod tests;
