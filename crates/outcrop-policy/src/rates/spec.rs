//! One row of the rate limits as it is written: of whom it speaks, what it counts, how much in which time.

use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use governor::Quota;

use crate::scope::Scope;

/// Shortest time per unit: below it the rounding of a nanosecond would be more than 1 % of the rate.
const INTERVAL_NS_MIN: u128 = 100;
/// Longest time in which a whole burst grows back; keeps every sum of times far from overflow.
const FILL_MAX: Duration = Duration::from_hours(24 * 366);

/// What a rate limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Limited {
    /// Requests, each when it is admitted.
    Requests,
    /// Tokens of all kinds, as counted when the exchange ends.
    Tokens,
}

/// A row of the rate limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateSpec {
    /// Of whom it speaks; a star gives each value a rate of its own.
    pub scope: Scope,
    /// What it counts.
    pub limit: Limited,
    count: NonZeroU32,
    per: Duration,
    burst: NonZeroU32,
    quota: Quota,
}

/// A rate that cannot be kept; the message names the cause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotARate(pub &'static str);

impl RateSpec {
    /// `count` per `per`, and at most `burst` at once. The time per unit is rounded up to a nanosecond,
    /// so never more than the rate passes.
    pub fn new(
        scope: Scope,
        limit: Limited,
        count: NonZeroU32,
        per: Duration,
        burst: NonZeroU32,
    ) -> Result<Self, NotARate> {
        let (nanos, units) = (per.as_nanos(), u128::from(count.get()));
        if nanos < units.saturating_mul(INTERVAL_NS_MIN) {
            return Err(NotARate("a rate is at most 10,000,000 per second"));
        }
        let interval = u64::try_from(nanos.div_ceil(units)).map_or(Duration::MAX, Duration::from_nanos);
        let fill = interval.checked_mul(burst.get()).filter(|fill| *fill <= FILL_MAX);
        let quota = fill.and_then(|_| Quota::with_period(interval));
        let quota = quota.ok_or(NotARate("a burst must grow back within a year"))?.allow_burst(burst);
        Ok(Self { scope, limit, count, per, burst, quota })
    }

    /// Most that pass at once.
    pub fn burst(&self) -> NonZeroU32 {
        self.burst
    }

    pub(super) fn quota(&self) -> Quota {
        self.quota
    }

    /// Nanoseconds in which one unit grows back.
    pub(super) fn interval_ns(&self) -> u64 {
        u64::try_from(self.quota.replenish_interval().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Nanoseconds in which the whole burst grows back.
    pub(super) fn fill_ns(&self) -> u64 {
        self.interval_ns().saturating_mul(u64::from(self.burst.get()))
    }
}

/// The limit as it is written in the configuration: `600 requests/min`, `200 ktok/min`.
impl fmt::Display for RateSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.count.get();
        match self.limit {
            Limited::Requests => write!(f, "{count} requests/")?,
            Limited::Tokens if count.is_multiple_of(1_000_000) => write!(f, "{} Mtok/", count / 1_000_000)?,
            Limited::Tokens if count.is_multiple_of(1_000) => write!(f, "{} ktok/", count / 1_000)?,
            Limited::Tokens => write!(f, "{count} tok/")?,
        }
        match self.per.as_secs() {
            1 => f.write_str("s"),
            60 => f.write_str("min"),
            3_600 => f.write_str("h"),
            86_400 => f.write_str("day"),
            seconds => write!(f, "{seconds}s"),
        }
    }
}
