//! Breakers of single tools: a tool that keeps failing for a caller is left alone for a while.
//!
//! A model that is told only "failed" calls a dead tool again and again. Three failures of the service in a
//! row rest the tool for that caller; three errors that the tool itself reports for the same arguments rest
//! those arguments only, because other arguments may be right. After the rest one call tries. One caller's
//! failures never take a tool from another. Invariant: what is remembered is bounded.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Failures in a row after which a tool rests.
pub const FAILURES_MAX: u32 = 3;
/// How long it rests.
pub const REST: Duration = Duration::from_secs(30);
/// Tools of callers that are remembered.
const ROWS_MAX: usize = 10_000;
/// What was not seen for so long is forgotten when room is needed.
const STALE_AFTER: Duration = Duration::from_mins(5);

/// A call, as its breaker sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tried {
    /// Whose call it is.
    pub caller: Arc<str>,
    /// The tool, with its path.
    pub tool: Arc<str>,
    /// Names the arguments.
    pub arguments: Arc<str>,
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The tool answered.
    Served,
    /// The tool reported an error, or refused the arguments.
    SaidError,
    /// No answer of the tool came.
    Failed,
}

/// The breakers of all tools.
#[derive(Debug, Default)]
pub struct ToolBreakers {
    rows: Mutex<HashMap<Name, Row>>,
}

/// A caller and a tool.
type Name = (Arc<str>, Arc<str>);

#[derive(Debug)]
struct Row {
    seen: Instant,
    tool: Count,
    same: Count,
    arguments: Arc<str>,
}

#[derive(Debug, Default)]
struct Count {
    failures: u32,
    rests_until: Option<Instant>,
}

impl ToolBreakers {
    /// How long the call must not be made; `None` when it may. Where a rest is over, whoever asks first
    /// tries, and the others go on resting.
    pub fn rests(&self, tried: &Tried, now: Instant) -> Option<Duration> {
        let mut rows = self.rows.lock();
        let row = rows.get_mut(&(Arc::clone(&tried.caller), Arc::clone(&tried.tool)))?;
        row.seen = now;
        let same = row.arguments == tried.arguments;
        row.tool.rest(now).or_else(|| if same { row.same.rest(now) } else { None })
    }

    /// A call has ended.
    pub fn ended(&self, tried: &Tried, ended: Ended, now: Instant) {
        let mut rows = self.rows.lock();
        let name = (Arc::clone(&tried.caller), Arc::clone(&tried.tool));
        if ended == Ended::Served {
            rows.remove(&name);
            return;
        }
        if rows.len() >= ROWS_MAX && !rows.contains_key(&name) {
            rows.retain(|_, row| now.saturating_duration_since(row.seen) < STALE_AFTER);
            if rows.len() >= ROWS_MAX {
                return;
            }
        }
        let row = rows.entry(name).or_insert_with(|| Row {
            seen: now,
            tool: Count::default(),
            same: Count::default(),
            arguments: Arc::clone(&tried.arguments),
        });
        row.seen = now;
        if ended == Ended::Failed {
            row.tool.fail(now);
            return;
        }
        row.tool = Count::default();
        if row.arguments != tried.arguments {
            row.arguments = Arc::clone(&tried.arguments);
            row.same = Count::default();
        }
        row.same.fail(now);
    }
}

impl Count {
    fn fail(&mut self, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        if self.failures >= FAILURES_MAX {
            self.rests_until = Some(now + REST);
        }
    }

    fn rest(&mut self, now: Instant) -> Option<Duration> {
        let until = self.rests_until?;
        let left = until.saturating_duration_since(now);
        if left.is_zero() {
            self.rests_until = Some(now + REST);
            return None;
        }
        Some(left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Some moment.
    #[allow(clippy::disallowed_methods, reason = "a test has to begin somewhere")]
    fn start() -> Instant {
        Instant::now()
    }

    fn tried(caller: &str, arguments: &str) -> Tried {
        Tried { caller: caller.into(), tool: "desk__t".into(), arguments: arguments.into() }
    }

    fn fail(breakers: &ToolBreakers, arguments: &str, ended: Ended, now: Instant) {
        breakers.ended(&tried("ada", arguments), ended, now);
    }

    #[test]
    fn a_dead_tool_rests_after_three_failures_and_one_call_tries_it_again() {
        let (breakers, start) = (ToolBreakers::default(), start());
        for arguments in ["a", "b", "c"] {
            assert_eq!(breakers.rests(&tried("ada", arguments), start), None);
            fail(&breakers, arguments, Ended::Failed, start);
        }
        assert_eq!(breakers.rests(&tried("ada", "d"), start), Some(REST));
        assert_eq!(breakers.rests(&tried("bob", "d"), start), None, "another caller is not judged by it");
        let later = start + REST;
        assert_eq!(breakers.rests(&tried("ada", "d"), later), None, "one tries");
        assert_eq!(breakers.rests(&tried("ada", "d"), later), Some(REST), "the others go on resting");
        fail(&breakers, "d", Ended::Failed, later);
        assert_eq!(breakers.rests(&tried("ada", "d"), later), Some(REST), "one failure is enough now");
        breakers.ended(&tried("ada", "d"), Ended::Served, later);
        assert_eq!(breakers.rests(&tried("ada", "d"), later), None);
    }

    #[test]
    fn errors_of_the_tool_count_for_the_same_arguments_only() {
        let (breakers, now) = (ToolBreakers::default(), start());
        for arguments in ["a", "b", "c", "d", "d"] {
            fail(&breakers, arguments, Ended::SaidError, now);
            assert_eq!(breakers.rests(&tried("ada", arguments), now), None, "{arguments}");
        }
        fail(&breakers, "d", Ended::SaidError, now);
        assert_eq!(breakers.rests(&tried("ada", "d"), now), Some(REST));
        assert_eq!(breakers.rests(&tried("ada", "e"), now), None);
    }

    #[test]
    fn a_success_in_between_begins_anew() {
        let (breakers, now) = (ToolBreakers::default(), start());
        for ended in [Ended::Failed, Ended::Failed, Ended::Served, Ended::Failed, Ended::Failed] {
            fail(&breakers, "a", ended, now);
        }
        assert_eq!(breakers.rests(&tried("ada", "a"), now), None);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (breakers, now) = (ToolBreakers::default(), start());
        for n in 0..=ROWS_MAX {
            breakers.ended(&tried(&n.to_string(), "a"), Ended::Failed, now);
        }
        assert_eq!(breakers.rows.lock().len(), ROWS_MAX);
        breakers.ended(&tried("late", "a"), Ended::Failed, now + STALE_AFTER);
        assert_eq!(breakers.rows.lock().len(), 1);
    }
}
