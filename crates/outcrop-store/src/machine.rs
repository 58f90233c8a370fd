//! What this machine says: its clocks and its boot. The one place of this crate that reads them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};
use outcrop_policy::ledger::Now;

/// The wall clock, and a clock that never steps and counts suspend.
#[allow(clippy::disallowed_methods, reason = "the one place of this crate that reads clocks")]
pub(crate) fn now() -> Now {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let wall_ms = i64::try_from(wall.as_millis()).unwrap_or(i64::MAX);
    Now { wall_ms, mono: mono() }
}

/// Time since the machine was started, suspend included.
fn mono() -> Duration {
    let boottime = clock_gettime(ClockId::CLOCK_BOOTTIME).expect("invariant: Linux has had it since 2.6.39");
    Duration::from(boottime)
}

/// Names the time since the machine was started; empty when the kernel does not say.
pub(crate) fn boot() -> String {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    text.trim().to_owned()
}
