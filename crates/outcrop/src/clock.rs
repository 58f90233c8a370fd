//! The wall clock, which says whether a price has begun or ended, and when keys are made and end.

use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds since the Unix epoch.
#[expect(clippy::disallowed_methods, reason = "the one place of this crate that reads the wall clock")]
pub(crate) fn unix() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// This moment, to the second.
pub(crate) fn wall() -> jiff::Timestamp {
    i64::try_from(unix()).ok().and_then(|s| jiff::Timestamp::from_second(s).ok()).unwrap_or_default()
}
