//! The wall clock, which says whether a price has begun or ended, when keys are made and end, and since
//! when something is stopped.

use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds since the Unix epoch.
#[expect(clippy::disallowed_methods, reason = "the one place of this crate that reads the wall clock")]
pub(crate) fn unix() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Milliseconds since the Unix epoch.
#[expect(clippy::disallowed_methods, reason = "this file is where the wall clock is read")]
pub(crate) fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// This moment, to the second.
pub(crate) fn wall() -> jiff::Timestamp {
    i64::try_from(unix()).ok().and_then(|s| jiff::Timestamp::from_second(s).ok()).unwrap_or_default()
}

/// A time by the wall clock as people read it.
pub(crate) fn time(ms: i64) -> Option<String> {
    Some(jiff::Timestamp::from_millisecond(ms).ok()?.strftime("%FT%TZ").to_string())
}
