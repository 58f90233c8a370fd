//! Ends of attempts over the last half minute, in exact buckets.

use std::time::{Duration, Instant};

/// Length of one bucket.
const BUCKET: Duration = Duration::from_secs(3);

/// Buckets of the window: half a minute.
const BUCKETS: usize = 10;

/// Counts of good and bad ends over the last 30 s. A bucket leaves whole, so the window is exact to 3 s.
#[derive(Debug, Clone, Default)]
pub(super) struct Window {
    buckets: [Bucket; BUCKETS],
    // Start of the first bucket that was ever used; all others are counted from it.
    epoch: Option<Instant>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Bucket {
    number: u64,
    good: u32,
    bad: u32,
}

/// What a window holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) good: u32,
    pub(super) bad: u32,
}

impl Window {
    /// Counts one end.
    pub(super) fn count(&mut self, good: bool, now: Instant) {
        let number = self.number(now);
        let Some(bucket) = self.buckets.get_mut((number % BUCKETS as u64) as usize) else { return };
        if bucket.number != number {
            *bucket = Bucket { number, good: 0, bad: 0 };
        }
        let counter = if good { &mut bucket.good } else { &mut bucket.bad };
        *counter = counter.saturating_add(1);
    }

    /// A bad end that was counted at `then` was good after all.
    pub(super) fn forgive(&mut self, then: Instant, now: Instant) {
        let number = self.number(then);
        let bucket = self.buckets.get_mut((number % BUCKETS as u64) as usize);
        match bucket.filter(|bucket| bucket.number == number && bucket.bad > 0) {
            Some(bucket) => (bucket.bad, bucket.good) = (bucket.bad - 1, bucket.good.saturating_add(1)),
            None => self.count(true, now),
        }
    }

    /// What is in it now.
    pub(super) fn tally(&self, now: Instant) -> Tally {
        let Some(epoch) = self.epoch else { return Tally::default() };
        let newest = number_of(epoch, now);
        let held = self.buckets.iter().filter(|b| b.number + BUCKETS as u64 > newest && b.number <= newest);
        held.fold(Tally::default(), |sum, b| Tally {
            good: sum.good.saturating_add(b.good),
            bad: sum.bad.saturating_add(b.bad),
        })
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    fn number(&mut self, now: Instant) -> u64 {
        number_of(*self.epoch.get_or_insert(now), now)
    }
}

impl Tally {
    pub(super) fn all(self) -> u32 {
        self.good.saturating_add(self.bad)
    }

    /// Share of good ends, in thousandths; 1000 when there were none.
    pub(super) fn success_permille(self) -> u16 {
        match self.all() {
            0 => 1000,
            all => (u64::from(self.good) * 1000 / u64::from(all)) as u16,
        }
    }
}

fn number_of(epoch: Instant, now: Instant) -> u64 {
    (now.saturating_duration_since(epoch).as_millis() / BUCKET.as_millis()) as u64
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "tests need some instant to start from")]
mod tests {
    use super::*;

    #[test]
    fn what_is_older_than_half_a_minute_is_forgotten_and_nothing_else() {
        let (mut window, start) = (Window::default(), Instant::now());
        window.count(false, start);
        window.count(true, start + Duration::from_secs(4));
        let at = |seconds| window.tally(start + Duration::from_secs(seconds));
        assert_eq!(at(29), Tally { good: 1, bad: 1 });
        assert_eq!(at(30), Tally { good: 1, bad: 0 });
        assert_eq!(at(33), Tally::default());
        assert_eq!(at(0).success_permille(), 0);
        window.count(true, start + Duration::from_mins(5));
        assert_eq!(window.tally(start + Duration::from_mins(5)), Tally { good: 1, bad: 0 });
    }
}
