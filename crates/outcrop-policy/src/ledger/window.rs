//! Windows: the stretches of time that a limit speaks of.
//!
//! Calendar windows follow the clock on the wall of their zone, so a day with a clock change has 23 or
//! 25 hours. A rolling window is made of 60 buckets, and a bucket leaves only when it is wholly
//! outside. Times are milliseconds since the Unix epoch, as ledger time (see `clock`).

use std::fmt;
use std::time::Duration;

use jiff::civil::Weekday;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan, Unit, Zoned, ZonedRound};

/// Buckets of a rolling window.
pub const BUCKETS: i64 = 60;
/// Shortest rolling window: one bucket is at least a second.
pub const ROLLING_MIN: Duration = Duration::from_mins(1);
/// Longest rolling window.
pub const ROLLING_MAX: Duration = Duration::from_hours(24 * 366);

/// A part of the calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Calendar {
    /// From one full hour to the next.
    Hour,
    /// From midnight to midnight.
    Day,
    /// From Monday to Monday.
    Week,
    /// From the first of a month to the first of the next.
    Month,
}

/// The stretch of time that a limit speaks of.
#[derive(Debug, Clone, PartialEq)]
pub enum Window {
    /// A part of the calendar in a zone.
    Calendar(Calendar, TimeZone),
    /// The last so much time.
    Rolling(Duration),
    /// For ever.
    Lifetime,
}

/// When an account's window begins and ends: from `start_ms`, before `end_ms`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Span {
    /// First millisecond.
    pub start_ms: i64,
    /// First millisecond after it; `i64::MAX` for a lifetime.
    pub end_ms: i64,
}

impl Span {
    /// Whether a time lies in it.
    pub fn holds(self, now_ms: i64) -> bool {
        self.start_ms <= now_ms && now_ms < self.end_ms
    }
}

impl Window {
    /// The account's window at a time: for a rolling window its bucket.
    pub fn span(&self, now_ms: i64) -> Span {
        match self {
            Self::Lifetime => Span { start_ms: 0, end_ms: i64::MAX },
            Self::Rolling(duration) => {
                let bucket = bucket_ms(*duration);
                let start_ms = now_ms.div_euclid(bucket).saturating_mul(bucket);
                Span { start_ms, end_ms: start_ms.saturating_add(bucket) }
            }
            // A time that no calendar knows is one window of its own, so that nothing is lost.
            Self::Calendar(calendar, zone) => calendar_span(*calendar, zone, now_ms)
                .unwrap_or(Span { start_ms: now_ms, end_ms: now_ms.saturating_add(1) }),
        }
    }

    /// For a rolling window, how far back the ends of buckets still count, in milliseconds.
    pub fn reach_ms(&self) -> Option<i64> {
        match self {
            Self::Rolling(duration) => Some(millis(*duration)),
            Self::Calendar(..) | Self::Lifetime => None,
        }
    }

    /// When what is spent in a span stops counting, in milliseconds since the epoch.
    pub fn forgotten_ms(&self, span: Span) -> i64 {
        span.end_ms.saturating_add(self.reach_ms().unwrap_or(0))
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self {
            Self::Lifetime => return f.write_str("lifetime"),
            Self::Rolling(duration) => return write!(f, "rolling:{}s", duration.as_secs()),
            Self::Calendar(Calendar::Hour, _) => "hour",
            Self::Calendar(Calendar::Day, _) => "day",
            Self::Calendar(Calendar::Week, _) => "week",
            Self::Calendar(Calendar::Month, _) => "month",
        };
        f.write_str(word)?;
        match self {
            Self::Calendar(_, zone) if *zone != TimeZone::UTC => {
                write!(f, "@{}", zone.iana_name().unwrap_or("local"))
            }
            _ => Ok(()),
        }
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn bucket_ms(duration: Duration) -> i64 {
    (millis(duration) / BUCKETS).max(1)
}

fn calendar_span(calendar: Calendar, zone: &TimeZone, now_ms: i64) -> Option<Span> {
    let now = Timestamp::from_millisecond(now_ms).ok()?.to_zoned(zone.clone());
    let start = start_of(calendar, &now)?;
    let end = match calendar {
        Calendar::Hour => start.checked_add(1.hour()),
        Calendar::Day => start.checked_add(1.day()).and_then(|next| next.start_of_day()),
        Calendar::Week => start.checked_add(7.days()).and_then(|next| next.start_of_day()),
        Calendar::Month => start.checked_add(1.month()).and_then(|next| next.start_of_day()),
    }
    .ok()?;
    Some(Span { start_ms: start.timestamp().as_millisecond(), end_ms: end.timestamp().as_millisecond() })
}

fn start_of(calendar: Calendar, now: &Zoned) -> Option<Zoned> {
    match calendar {
        // Hours count elapsed time: the hour that a clock change repeats is two hours.
        Calendar::Hour => now.round(ZonedRound::new().smallest(Unit::Hour).mode(jiff::RoundMode::Trunc)).ok(),
        Calendar::Day => now.start_of_day().ok(),
        Calendar::Week => {
            let back = i64::from(now.weekday().since(Weekday::Monday));
            now.checked_sub(back.days()).ok()?.start_of_day().ok()
        }
        Calendar::Month => now.first_of_month().ok()?.start_of_day().ok(),
    }
}

#[cfg(test)]
mod tests;
