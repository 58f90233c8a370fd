//! What many replayed decisions come to.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Outlook, Replayed};

/// Most pairs of targets that are counted on their own.
const MOVES_MAX: usize = 1000;

/// What many replayed decisions come to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Records that were decided again.
    pub replayed: u64,
    /// Records that never came to a decision.
    pub undecided: u64,
    /// Those of which anything changes.
    pub changed: u64,
    /// Those that would travel elsewhere.
    pub moved: u64,
    /// As recorded.
    pub before: Side,
    /// With the other routes.
    pub after: Side,
    /// How many would move, by `from -> to`.
    pub moves: BTreeMap<String, u64>,
}

/// One side of the comparison.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Side {
    /// Requests that are not sent.
    pub refused: u64,
    /// Expected to be in time.
    pub in_time: u64,
    /// Expected to be late.
    pub late: u64,
    /// Sum of what they are expected to cost, in nano-dollars, where both sides are known.
    pub expected_nusd: i64,
    /// Sum of the expected times, in microseconds, where both sides are known.
    pub expected_us: u64,
    /// Sum of the shares that fail, in thousandths.
    pub failing_permille: u64,
}

impl Summary {
    /// Counts one record; `None` for one that never came to a decision.
    pub fn add(&mut self, replayed: Option<&Replayed>) {
        let Some(replayed) = replayed else {
            self.undecided += 1;
            return;
        };
        let Replayed { before, after, .. } = replayed;
        self.replayed += 1;
        self.changed += u64::from(replayed.has_changed());
        self.before.count(before);
        self.after.count(after);
        if let (Some(was), Some(is)) = (before.expected_nusd, after.expected_nusd) {
            self.before.expected_nusd = self.before.expected_nusd.saturating_add(was);
            self.after.expected_nusd = self.after.expected_nusd.saturating_add(is);
        }
        if let (Some(was), Some(is)) = (before.expected_us, after.expected_us) {
            self.before.expected_us = self.before.expected_us.saturating_add(was);
            self.after.expected_us = self.after.expected_us.saturating_add(is);
        }
        if replayed.has_moved() {
            self.moved += 1;
            let name = |outlook: &Outlook| outlook.target.clone().unwrap_or_else(|| "refused".to_owned());
            let pair = format!("{} -> {}", name(before), name(after));
            if self.moves.len() < MOVES_MAX || self.moves.contains_key(&pair) {
                *self.moves.entry(pair).or_default() += 1;
            }
        }
    }
}

impl Side {
    fn count(&mut self, outlook: &Outlook) {
        self.refused += u64::from(outlook.target.is_none());
        self.in_time += u64::from(outlook.in_time == Some(true));
        self.late += u64::from(outlook.in_time == Some(false));
        self.failing_permille += u64::from(outlook.failing_permille);
    }
}
