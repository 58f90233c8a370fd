//! What a process cost: CPU time and memory, read from `/proc`.
//!
//! CPU time is taken twice: in clock ticks from `stat` (whole process, 10 ms steps) and in nanoseconds from the
//! threads' `schedstat` (exact, but blind to threads that ended). The exact one is used while both agree.

use std::fs::{read_dir, read_to_string};

use serde::Serialize;

/// Linux reports CPU time to user space in hundredths of a second on every architecture.
const TICK_NS: u64 = 10_000_000;

/// CPU time a process had used at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CpuMark {
    tick_ns: u64,
    run_ns: Option<u64>,
}

/// CPU time a process used between two marks.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct CpuSpent {
    /// The figure to use.
    pub(crate) ns: u64,
    /// The same from clock ticks, as a cross-check.
    pub(crate) tick_ns: u64,
    /// Whether `ns` is the exact figure of the scheduler.
    pub(crate) exact: bool,
}

impl CpuMark {
    /// Reads the process' CPU time.
    pub(crate) fn read(pid: u32) -> std::io::Result<Self> {
        let stat = read_to_string(format!("/proc/{pid}/stat"))?;
        Ok(Self { tick_ns: cpu_ticks(&stat) * TICK_NS, run_ns: thread_run_ns(pid) })
    }

    /// What was used since `earlier`.
    pub(crate) fn since(&self, earlier: &Self) -> CpuSpent {
        let tick_ns = self.tick_ns.saturating_sub(earlier.tick_ns);
        let run_ns = match (self.run_ns, earlier.run_ns) {
            (Some(later), Some(earlier)) => later.checked_sub(earlier),
            _ => None,
        };
        // Two ticks of rounding, and 3 % for what interrupts are charged to.
        let agrees = |ns: &u64| ns.abs_diff(tick_ns) <= 2 * TICK_NS + tick_ns / 33;
        match run_ns.filter(agrees) {
            Some(ns) => CpuSpent { ns, tick_ns, exact: true },
            None => CpuSpent { ns: tick_ns, tick_ns, exact: false },
        }
    }
}

/// `utime + stime`; the command name before them may hold spaces, so fields are counted from its closing parenthesis.
fn cpu_ticks(stat: &str) -> u64 {
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    after_name.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum()
}

fn thread_run_ns(pid: u32) -> Option<u64> {
    let mut total = 0;
    for thread in read_dir(format!("/proc/{pid}/task")).ok()?.flatten() {
        let schedstat = read_to_string(thread.path().join("schedstat")).ok()?;
        total += schedstat.split_whitespace().next()?.parse::<u64>().ok()?;
    }
    Some(total)
}

/// Memory of a process, in KiB.
#[derive(Clone, Copy, Debug, Default, Serialize)]
#[allow(clippy::struct_field_names, reason = "every figure carries its unit")]
pub(crate) struct Memory {
    /// Resident.
    pub(crate) rss_kib: u64,
    /// Resident and not backed by a file.
    pub(crate) anonymous_kib: u64,
    /// The most that was ever resident.
    pub(crate) peak_kib: u64,
}

impl Memory {
    /// Reads the process' memory.
    pub(crate) fn read(pid: u32) -> std::io::Result<Self> {
        let status = read_to_string(format!("/proc/{pid}/status"))?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or_default()
        };
        Ok(Self { rss_kib: field("VmRSS:"), anonymous_kib: field("RssAnon:"), peak_kib: field("VmHWM:") })
    }
}

/// Busy and total CPU ticks of the whole machine.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct MachineMark {
    busy_ns: u64,
    total_ns: u64,
}

impl MachineMark {
    /// Reads the machine's CPU time.
    pub(crate) fn read() -> Self {
        let stat = read_to_string("/proc/stat").unwrap_or_default();
        let fields: Vec<u64> = stat
            .lines()
            .next()
            .map(|line| {
                line.split_whitespace().skip(1).take(8).filter_map(|field| field.parse().ok()).collect()
            })
            .unwrap_or_default();
        let total: u64 = fields.iter().sum();
        // Fields four and five are idle and waiting for disks; stolen time counts as busy.
        let idle: u64 = fields.iter().skip(3).take(2).sum();
        Self { busy_ns: total.saturating_sub(idle) * TICK_NS, total_ns: total * TICK_NS }
    }

    /// The share of the machine, in percent, that neither idled nor belonged to `own_ns` of the benchmark.
    pub(crate) fn foreign_percent_since(&self, earlier: &Self, own_ns: u64) -> f64 {
        let total = self.total_ns.saturating_sub(earlier.total_ns).max(1);
        let busy = self.busy_ns.saturating_sub(earlier.busy_ns);
        100.0 * busy.saturating_sub(own_ns) as f64 / total as f64
    }
}
