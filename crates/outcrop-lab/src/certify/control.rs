//! Whether the machine was left to the run: what others took of it meanwhile.
//!
//! A promise in milliseconds says something of the gateway only where gateway, upstreams and generator had the
//! machine. The kernel counts what all processes took, and what a hypervisor withheld (`/proc/stat`, Linux); what is
//! not ours of that is foreign. Elsewhere nothing is known, and nothing is excused.

use std::{fs, time::Duration};

use super::gateway::Usage;

/// The share of the machine's time from which on it counts as disturbed: a third of one of two cores.
pub(super) const FOREIGN_MAX: f64 = 0.16;
/// Kernel clock ticks a second (`USER_HZ`).
const TICKS: f64 = 100.0;

/// The machine at the beginning of a run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Control {
    machine: Machine,
    ours: Duration,
}

/// Ticks of all processors since the machine's start.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Machine {
    busy: f64,
    all: f64,
}

impl Control {
    /// Begins; `None` where the kernel does not tell.
    pub(super) fn begin(gateway: Duration) -> Option<Self> {
        Some(Self { machine: Machine::now()?, ours: own()? + gateway })
    }

    /// The share of the machine's time since then that went to others. A gateway that was started anew has lost its
    /// count, which then looks foreign.
    pub(super) fn foreign_share(self, gateway: Duration) -> Option<f64> {
        let now = Machine::now()?;
        let ours = (own()? + gateway).saturating_sub(self.ours).as_secs_f64() * TICKS;
        Some(foreign(self.machine, now, ours))
    }
}

fn foreign(before: Machine, after: Machine, ours: f64) -> f64 {
    ((after.busy - before.busy - ours) / (after.all - before.all).max(1.0)).clamp(0.0, 1.0)
}

fn own() -> Option<Duration> {
    Usage::of(std::process::id()).map(|usage| usage.cpu)
}

impl Machine {
    fn now() -> Option<Self> {
        Self::read(&fs::read_to_string("/proc/stat").ok()?)
    }

    /// Fields of proc(5): user, nice, system, idle, iowait, irq, softirq, steal; the rest is counted in them.
    fn read(text: &str) -> Option<Self> {
        let line = text.lines().find_map(|line| line.strip_prefix("cpu "))?;
        let fields: Vec<f64> =
            line.split_whitespace().take(8).filter_map(|field| field.parse().ok()).collect();
        let all: f64 = fields.iter().sum();
        let idle = fields.get(3)? + fields.get(4)?;
        Some(Self { busy: all - idle, all })
    }
}

#[cfg(test)]
mod tests {
    use super::{Machine, foreign};

    #[test]
    fn what_is_not_ours_is_foreign() {
        let before = Machine::read("cpu  100 0 50 800 50 0 0 0 0 0\ncpu0 1 2 3").unwrap();
        let after = Machine::read("cpu  160 10 70 860 50 0 10 40 0 0\n").unwrap();
        assert_eq!((after.busy - before.busy, after.all - before.all), (140.0, 200.0));
        assert!((foreign(before, after, 100.0) - 0.2).abs() < 1e-9);
        assert!(foreign(before, after, 150.0).abs() < 1e-9, "a tick counted twice is no time of others");
        assert_eq!(Machine::read("intr 1"), None);
    }
}
