//! Where the counters of the process are read: the kernel, the runtime, the gateway's own.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage};
use nix::sys::time::TimeVal;
use outcrop_policy::impact::{Part, Reading};
use outcrop_proxy::Gateway;
use outcrop_proxy::stages::Stage;
use tokio::runtime::{Handle, RuntimeMetrics};
use tokio::time::Instant;

use crate::memory;

/// What is read again and again, and what does not change.
pub(super) struct Source {
    gateway: Arc<Gateway>,
    runtime: RuntimeMetrics,
    began: Instant,
    cores: f64,
}

impl Source {
    /// Inside the runtime that serves.
    pub(super) fn new(gateway: Arc<Gateway>, memory: &memory::Source, began: Instant) -> Self {
        Self { gateway, runtime: Handle::current().metrics(), began, cores: cores(memory) }
    }

    pub(super) fn read(&self) -> Reading {
        let stages = &self.gateway.metrics.stages;
        let (exchanges, lease) = (stages.exchanges(), stages.view(Stage::Lease));
        let (slots, memory) = self.gateway.slots.view();
        let workers = self.runtime.num_workers();
        let in_flight: usize = slots.in_use.iter().sum();
        Reading {
            at: self.began.elapsed(),
            cpu: cpu(),
            cores: self.cores,
            busy: (0..workers).map(|worker| self.runtime.worker_total_busy_duration(worker)).sum(),
            workers: workers as u64,
            memory: Part { used: memory.used, max: memory.max },
            descriptors: descriptors(),
            slots: Part { used: in_flight as u64, max: slots.limit as u64 },
            answered: exchanges.count,
            total: exchanges.total,
            own: exchanges.own,
            turned_away: self.gateway.slots.turned_away(),
            lease_waits: lease.count,
            lease_waited: Duration::from_secs_f64(lease.sum_us / 1e6),
        }
    }
}

/// CPU time of the process, all threads.
fn cpu() -> Duration {
    let time = |value: TimeVal| {
        let micros = value.tv_sec().saturating_mul(1_000_000).saturating_add(value.tv_usec());
        Duration::from_micros(u64::try_from(micros).unwrap_or(0))
    };
    getrusage(UsageWho::RUSAGE_SELF)
        .map(|usage| time(usage.user_time()) + time(usage.system_time()))
        .unwrap_or_default()
}

/// Threads of the process; 0 where the kernel does not say.
pub(super) fn threads() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("Threads:"));
    line.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
}

/// Open files and how many may be. Since Linux 6.2 the size of the folder says how many it holds; before, it
/// is counted.
fn descriptors() -> Part {
    let folder = Path::new("/proc/self/fd");
    let size = std::fs::metadata(folder).map_or(0, |metadata| metadata.len());
    let counted = || std::fs::read_dir(folder).map_or(0, |files| files.count() as u64);
    let used = if size > 0 { size } else { counted() };
    let max = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| soft);
    Part { used, max }
}

/// Cores that the process may use: those of its affinity, or the smallest quota of the control groups around
/// it.
fn cores(memory: &memory::Source) -> f64 {
    let own = std::thread::available_parallelism().map_or(1, std::num::NonZero::get) as f64;
    let quotas = memory.of_groups("cpu.max");
    quotas.iter().filter_map(|text| quota(text)).fold(own, f64::min)
}

/// `50000 100000` is half a core; `max 100000` is no quota.
fn quota(text: &str) -> Option<f64> {
    let (quota, period) = text.trim().split_once(' ')?;
    let (quota, period): (f64, f64) = (quota.parse().ok()?, period.parse().ok()?);
    (quota > 0.0 && period > 0.0).then_some(quota / period)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_is_a_part_of_the_machine() {
        for (text, expected) in
            [("50000 100000\n", Some(0.5)), ("150000 100000", Some(1.5)), ("max 100000", None), ("", None)]
        {
            assert_eq!(quota(text), expected, "{text}");
        }
        let root = tempfile::tempdir().unwrap();
        let put = |file: &str, text: &str| {
            let file = root.path().join(file);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, text).unwrap();
        };
        put("proc/self/cgroup", "0::/slice/unit\n");
        put("sys/fs/cgroup/slice/unit/cpu.max", "max 100000\n");
        put("sys/fs/cgroup/slice/cpu.max", "25000 100000\n");
        let source = memory::Source { root: root.path().to_owned(), max: None };
        assert!((cores(&source) - 0.25).abs() < 1e-9);
    }

    #[test]
    fn this_process_has_files_and_has_used_some_time() {
        let files = descriptors();
        assert!(files.used >= 3 && files.used < files.max, "{files:?}");
        assert!(threads() >= 1);
        let before = cpu();
        while cpu() < before + Duration::from_millis(5) {
            std::hint::spin_loop();
        }
    }
}
