//! What a crossed threshold means for the requests that come: it takes hold at once and lets go late.
//!
//! Leaving a level needs five points less than entering it, for a minute, so that a budget at its
//! threshold does not flap between two behaviours.

use std::time::Duration;

use super::protocol::{LEVELS, Level};

/// How far below its threshold a level must have been left, in percent of the limit.
const POINTS_BELOW: i64 = 5;
/// For how long.
const CALM_FOR: Duration = Duration::from_mins(1);

/// The level in force for one account.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Pressure {
    level: Level,
    below_since: Option<Duration>,
}

impl Pressure {
    pub(super) fn level(self) -> Level {
        self.level
    }

    /// Hears what is committed now.
    pub(super) fn hear(&mut self, committed: i64, limit: i64, now: Duration) {
        let level = Level::of(committed, limit);
        if level >= self.level {
            self.level = level;
            self.below_since = None;
            return;
        }
        if !left(self.level, committed, limit) {
            self.below_since = None;
            return;
        }
        let since = *self.below_since.get_or_insert(now);
        if now.saturating_sub(since) >= CALM_FOR {
            self.level = level;
            self.below_since = None;
        }
    }
}

fn left(level: Level, committed: i64, limit: i64) -> bool {
    let entered = LEVELS.into_iter().find(|(of, _)| *of == level).map_or(0, |(_, percent)| percent);
    i128::from(committed) * 100 <= i128::from(limit) * i128::from(entered.saturating_sub(POINTS_BELOW))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_is_left_late() {
        let mut pressure = Pressure::default();
        let mut hear = |committed: i64, seconds: u64| {
            pressure.hear(committed, 100, Duration::from_secs(seconds));
            pressure.level()
        };
        assert_eq!(hear(49, 0), Level::Calm);
        assert_eq!(hear(95, 1), Level::Degraded);
        assert_eq!(hear(91, 2), Level::Degraded);
        assert_eq!(hear(91, 200), Level::Degraded, "four points are not enough");
        assert_eq!(hear(90, 201), Level::Degraded);
        assert_eq!(hear(92, 230), Level::Degraded, "it came up again, so the minute begins anew");
        assert_eq!(hear(90, 240), Level::Degraded);
        assert_eq!(hear(90, 299), Level::Degraded);
        assert_eq!(hear(90, 300), Level::Throttled);
        assert_eq!(hear(100, 301), Level::Exhausted);
    }
}
