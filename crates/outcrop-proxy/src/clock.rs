//! The wall clock. Deadlines never depend on it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Time since the Unix epoch. The one place of this crate that reads the wall clock.
#[allow(clippy::disallowed_methods, reason = "the clock")]
pub(crate) fn unix_now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// The same in milliseconds.
pub(crate) fn unix_ms() -> u64 {
    u64::try_from(unix_now().as_millis()).unwrap_or(u64::MAX)
}
