//! The lab's clocks in one place, so that nothing else reads the time.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;

/// The wall clock.
#[allow(clippy::disallowed_methods, reason = "the one place of this crate that reads the wall clock")]
pub fn now() -> SystemTime {
    SystemTime::now()
}

/// Milliseconds since 1970.
pub fn now_ms() -> u64 {
    now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// The wall clock of a target whose clock is wrong by some seconds.
pub fn skewed(skew_s: i64) -> SystemTime {
    let skew = Duration::from_secs(skew_s.unsigned_abs());
    if skew_s < 0 { now() - skew } else { now() + skew }
}

/// A time in the form of the HTTP `Date` header (RFC 9110, 5.6.7).
pub fn http_date(at: SystemTime) -> String {
    let timestamp = Timestamp::try_from(at).unwrap_or(Timestamp::UNIX_EPOCH);
    timestamp.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    #[test]
    fn dates_follow_rfc_9110() {
        let at = UNIX_EPOCH + Duration::from_secs(784_111_777);
        assert_eq!(super::http_date(at), "Sun, 06 Nov 1994 08:49:37 GMT");
    }
}
