//! What the kernel says of a process (Linux `/proc`); elsewhere nothing is known.

use std::{fs, time::Duration};

/// Kernel clock ticks are hundredths of a second on every Linux that Rust runs on.
const TICK: Duration = Duration::from_millis(10);
/// Pages are counted in `VmRSS` as KiB.
const KIB: u64 = 1024;

/// What a process uses at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Resident memory, in bytes.
    pub rss_bytes: u64,
    /// Open descriptors.
    pub descriptors: u64,
    /// CPU time since its start.
    pub cpu: Duration,
}

impl Usage {
    /// Reads a process.
    pub(in crate::certify) fn of(id: u32) -> Option<Self> {
        let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        let rss_bytes = line.split_whitespace().next()?.parse::<u64>().ok()? * KIB;
        let descriptors = fs::read_dir(format!("/proc/{id}/fd")).ok()?.count() as u64;
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        // The name may hold spaces and brackets; fields are counted after its last bracket (proc(5): 14 and 15).
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let ticks = fields.get(11)?.parse::<u32>().ok()? + fields.get(12)?.parse::<u32>().ok()?;
        Some(Self { rss_bytes, descriptors, cpu: TICK * ticks })
    }
}
