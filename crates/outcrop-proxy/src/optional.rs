//! Work that nobody waits for, and whether it is done at present: the one place that says so.
//!
//! Two things stop it: memory that is short (`Slots`), and an impact that alarms (what is stopped then is
//! the operator's to choose).

use std::sync::atomic::{AtomicU8, Ordering};

use serde::{Deserialize, Serialize};

/// Work that nobody waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    /// A second leg beside a slow one.
    Hedging,
    /// Requests that only find out whether a target has healed.
    Probes,
    /// Replays that look for better settings, and trials of them.
    Optimizer,
    /// Decision records for the export.
    Export,
    /// Reading an answer on after its caller left. Only memory stops it: it is how its cost gets known.
    ReadingOn,
}

/// What an impact can stop.
pub const SHEDDABLE: [Work; 4] = [Work::Hedging, Work::Probes, Work::Optimizer, Work::Export];

/// Why some work is not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Because {
    /// Memory is short.
    Memory,
    /// The impact of the gateway alarms.
    Impact,
}

/// What the impact has stopped, a bit for each work.
#[derive(Debug, Default)]
pub(crate) struct Shed(AtomicU8);

impl Work {
    /// The bounded label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Hedging => "hedging",
            Self::Probes => "probes",
            Self::Optimizer => "optimizer",
            Self::Export => "export",
            Self::ReadingOn => "reading_on",
        }
    }

    fn bit(self) -> u8 {
        1 << self as u8
    }

    fn takes_memory(self) -> bool {
        matches!(self, Self::Hedging | Self::ReadingOn)
    }
}

impl Shed {
    /// Stops this work, and lets all other go on.
    pub(crate) fn only(&self, works: &[Work]) {
        let bits =
            works.iter().filter(|work| SHEDDABLE.contains(work)).fold(0, |bits, work| bits | work.bit());
        self.0.store(bits, Ordering::Relaxed);
    }

    /// Why some work is not done at present; `None` where it is.
    pub(crate) fn because(&self, work: Work, has_memory: impl FnOnce() -> bool) -> Option<Because> {
        if self.0.load(Ordering::Relaxed) & work.bit() != 0 {
            return Some(Because::Impact);
        }
        (work.takes_memory() && !has_memory()).then_some(Because::Memory)
    }
}
