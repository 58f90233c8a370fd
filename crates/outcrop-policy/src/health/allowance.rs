//! How much may be done beyond what is asked: a share of what was counted over ten seconds.
//!
//! A retry that goes to a target in trouble is what turns trouble into an outage. So each target takes one
//! retry for five of its answers, and three more so that a quiet one can be asked at all. A leg beside one that
//! takes too long is work that a busy world has no room for: one for five answers of all targets, and ten more.
//! A second leg for what is urgent is allowed for one in twenty requests.

use std::time::Instant;

/// Seconds that are looked back.
const SECONDS: usize = 10;

/// So many extras for so many that were counted.
#[derive(Debug, Clone)]
pub(super) struct Allowance {
    free: u32,
    counted_per_extra: u32,
    buckets: [Bucket; SECONDS],
    epoch: Option<Instant>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Bucket {
    second: u64,
    counted: u32,
    extras: u32,
}

impl Allowance {
    /// Of further attempts at one target, by its answers.
    pub(super) fn of_retries() -> Self {
        Self::new(3, 5)
    }

    /// Of legs beside slow ones, by the answers of all targets.
    pub(super) fn of_legs_beside() -> Self {
        Self::new(10, 5)
    }

    /// Of second legs, by requests.
    pub(super) fn of_hedges() -> Self {
        Self::new(0, 20)
    }

    fn new(free: u32, counted_per_extra: u32) -> Self {
        Self { free, counted_per_extra, buckets: [Bucket::default(); SECONDS], epoch: None }
    }

    /// One more of what extras are a share of.
    pub(super) fn count(&mut self, now: Instant) {
        let bucket = self.bucket(now);
        bucket.counted = bucket.counted.saturating_add(1);
    }

    /// Whether there is an extra.
    pub(super) fn has(&self, now: Instant) -> bool {
        let newest = self.epoch.map_or(0, |epoch| now.saturating_duration_since(epoch).as_secs());
        let held = self.buckets.iter().filter(|b| b.second + SECONDS as u64 > newest);
        let (counted, extras) = held.fold((0u32, 0u32), |(counted, extras), b| {
            (counted.saturating_add(b.counted), extras.saturating_add(b.extras))
        });
        extras < self.free + counted / self.counted_per_extra
    }

    /// Takes one extra, if there is one.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        let granted = self.has(now);
        if granted {
            self.spend(now);
        }
        granted
    }

    /// Takes one extra, whether there is one or not: the others have fewer.
    pub(super) fn spend(&mut self, now: Instant) {
        let bucket = self.bucket(now);
        bucket.extras = bucket.extras.saturating_add(1);
    }

    fn bucket(&mut self, now: Instant) -> &mut Bucket {
        let epoch = *self.epoch.get_or_insert(now);
        let second = now.saturating_duration_since(epoch).as_secs();
        let at = (second % SECONDS as u64) as usize;
        let bucket =
            self.buckets.get_mut(at).expect("invariant: a remainder of the length is inside the array");
        if bucket.second != second {
            *bucket = Bucket { second, ..Bucket::default() };
        }
        bucket
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "tests need some instant to start from")]
mod tests {
    use std::time::Duration;

    use super::*;

    fn taken(budget: &mut Allowance, now: Instant) -> usize {
        (0..1000).take_while(|_| budget.take(now)).count()
    }

    #[test]
    fn a_fifth_of_the_answers_and_three_more_over_ten_seconds() {
        let (mut budget, start) = (Allowance::of_retries(), Instant::now());
        assert_eq!(taken(&mut budget, start), 3);
        for _ in 0..50 {
            budget.count(start + Duration::from_secs(1));
        }
        assert_eq!(taken(&mut budget, start + Duration::from_secs(2)), 10);
        assert_eq!(taken(&mut budget, start + Duration::from_secs(9)), 0);
        // The first three are forgotten, the ten are not.
        assert_eq!(taken(&mut budget, start + Duration::from_secs(10)), 3);
        assert_eq!(taken(&mut budget, start + Duration::from_secs(30)), 3);
    }
}
