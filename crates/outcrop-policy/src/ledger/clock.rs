//! Ledger time: the wall clock, made fit for money.
//!
//! It never runs backwards, so a step back never opens a window again. A step forward of more than an
//! hour against the monotonic clock is not believed: time goes on at the monotonic pace, and windows
//! with it, until an operator confirms the new time.

use std::time::Duration;

/// Largest step forward that is believed.
pub const STEP_MAX_MS: i64 = 3_600_000;

/// What the clocks of the machine say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds since the Unix epoch, by the wall clock.
    pub wall_ms: i64,
    /// Time since some fixed point, by a clock that never steps and counts suspend.
    pub mono: Duration,
}

/// The state of ledger time.
#[derive(Debug, Clone, Default)]
pub struct LedgerClock {
    last: Option<(i64, Duration)>,
    frozen: bool,
}

impl LedgerClock {
    /// A clock that has shown `persisted_ms` before.
    pub fn since(persisted_ms: i64, mono: Duration) -> Self {
        Self { last: Some((persisted_ms, mono)), frozen: false }
    }

    /// Ledger time, in milliseconds since the epoch.
    pub fn tick(&mut self, now: Now) -> i64 {
        let Some((last_ms, last_mono)) = self.last else {
            self.last = Some((now.wall_ms, now.mono));
            return now.wall_ms;
        };
        let elapsed = now.mono.saturating_sub(last_mono).as_millis();
        let expected = last_ms.saturating_add(i64::try_from(elapsed).unwrap_or(i64::MAX));
        self.frozen = now.wall_ms > expected.saturating_add(STEP_MAX_MS);
        let shown = if self.frozen { expected } else { last_ms.max(now.wall_ms) };
        // Both move together, else what is rounded off the elapsed time would add up.
        if shown > last_ms {
            self.last = Some((shown, now.mono.max(last_mono)));
        }
        shown
    }

    /// Whether the wall clock has run ahead and is not believed.
    pub fn is_frozen(&self) -> bool {
        self.frozen
    }

    /// An operator says that the wall clock is right.
    pub fn confirm(&mut self, now: Now) {
        let last_ms = self.last.map_or(i64::MIN, |(ms, _)| ms);
        self.last = Some((last_ms.max(now.wall_ms), now.mono));
        self.frozen = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(wall_ms: i64, mono_ms: u64) -> Now {
        Now { wall_ms, mono: Duration::from_millis(mono_ms) }
    }

    #[test]
    fn time_never_runs_backwards() {
        let mut clock = LedgerClock::since(5_000, Duration::ZERO);
        assert_eq!(clock.tick(at(4_000, 10)), 5_000);
        assert_eq!(clock.tick(at(6_000, 20)), 6_000);
        assert_eq!(clock.tick(at(1_000, 30)), 6_000);
        assert_eq!(clock.tick(at(7_000, 40)), 7_000);
    }

    #[test]
    fn a_step_of_more_than_an_hour_needs_a_confirmation() {
        let mut clock = LedgerClock::since(0, Duration::ZERO);
        assert_eq!(clock.tick(at(STEP_MAX_MS, 0)), STEP_MAX_MS);
        let far = 2 * STEP_MAX_MS + 10_000;
        assert_eq!(clock.tick(at(far, 2_000)), STEP_MAX_MS + 2_000);
        assert!(clock.is_frozen());
        assert_eq!(clock.tick(at(far + 1_000, 3_000)), STEP_MAX_MS + 3_000);
        clock.confirm(at(far + 2_000, 4_000));
        assert!(!clock.is_frozen());
        assert_eq!(clock.tick(at(far + 3_000, 5_000)), far + 3_000);
    }

    #[test]
    fn the_wall_clock_going_right_again_ends_the_freeze() {
        let mut clock = LedgerClock::since(0, Duration::ZERO);
        assert_eq!(clock.tick(at(10 * STEP_MAX_MS, 1_000)), 1_000);
        assert_eq!(clock.tick(at(2_500, 2_000)), 2_500);
        assert!(!clock.is_frozen());
    }
}
