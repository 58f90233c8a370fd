//! How fast slots come free, to know beforehand who would wait in vain.
//!
//! Counted over the last second of contention, in buckets; before it has seen enough it knows nothing,
//! and says so.

use std::time::{Duration, Instant};

use outcrop_core::Priority;

/// Buckets of the window.
const BUCKETS: u64 = 10;
/// Length of one.
const BUCKET: Duration = Duration::from_millis(100);
/// All of them.
const WINDOW: Duration = Duration::from_secs(1);
/// Releases below which nothing is foretold.
const RELEASES_MIN: u64 = 8;
/// After so long without contention the window begins anew: what came free while there was room for all
/// tells of the demand, not of the capacity.
const QUIET: Duration = Duration::from_millis(250);

#[derive(Debug, Clone, Copy, Default)]
struct Bucket {
    // Number of the bucket since the epoch; what it holds is of no use for another one.
    number: u64,
    released: u64,
    // By priority, `low` first.
    admitted: [u64; 5],
}

/// The window.
#[derive(Debug)]
pub(super) struct Pace {
    epoch: Instant,
    buckets: [Bucket; BUCKETS as usize],
    // When the present contention began, and was last seen.
    contention: Option<(Instant, Instant)>,
}

impl Pace {
    pub(super) fn new(epoch: Instant) -> Self {
        Self { epoch, buckets: [Bucket::default(); BUCKETS as usize], contention: None }
    }

    /// Somebody found no slot.
    pub(super) fn contended(&mut self, now: Instant) {
        match &mut self.contention {
            Some((_, last)) if now.saturating_duration_since(*last) <= QUIET => *last = now,
            contention => {
                *contention = Some((now, now));
                self.buckets = [Bucket::default(); BUCKETS as usize];
            }
        }
    }

    pub(super) fn released(&mut self, now: Instant) {
        let bucket = self.bucket(now);
        bucket.released = bucket.released.saturating_add(1);
    }

    pub(super) fn admitted(&mut self, now: Instant, priority: Priority) {
        if let Some(admitted) = self.bucket(now).admitted.get_mut(priority as usize) {
            *admitted = admitted.saturating_add(1);
        }
    }

    /// Whether one of that priority with `ahead` before it would wait longer than it may. Not foretold
    /// before as long was watched: slots come free in bursts.
    pub(super) fn is_hopeless(
        &self,
        now: Instant,
        (priority, ahead): (Priority, usize),
        may_wait: Duration,
    ) -> bool {
        let Some((since, _)) = self.contention else { return false };
        let span = now.saturating_duration_since(since).min(WINDOW);
        span >= may_wait.min(WINDOW)
            && self.expected_wait(now, (priority, ahead), span).is_some_and(|wait| wait > may_wait)
    }

    /// How long it would wait at the pace of the last `span`; `None` if that is not known.
    fn expected_wait(
        &self,
        now: Instant,
        (priority, ahead): (Priority, usize),
        span: Duration,
    ) -> Option<Duration> {
        let newest = self.number(now);
        let recent = || self.buckets.iter().filter(|b| newest.saturating_sub(b.number) < BUCKETS);
        let released: u64 = recent().map(|b| b.released).sum();
        if released < RELEASES_MIN {
            return None;
        }
        // Those above are served first, as they were before.
        let above = |b: &Bucket| b.admitted.iter().skip(priority as usize + 1).sum::<u64>();
        let left = released.saturating_sub(recent().map(above).sum());
        let turns = u32::try_from(ahead.saturating_add(1)).unwrap_or(u32::MAX);
        let left = u32::try_from(left).unwrap_or(u32::MAX);
        Some(span.saturating_mul(turns).checked_div(left).unwrap_or(Duration::MAX))
    }

    fn number(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.epoch).as_millis();
        u64::try_from(since / BUCKET.as_millis()).unwrap_or(u64::MAX)
    }

    fn bucket(&mut self, now: Instant) -> &mut Bucket {
        let number = self.number(now);
        let index = (number % BUCKETS) as usize;
        let bucket = &mut self.buckets[index];
        if bucket.number != number {
            *bucket = Bucket { number, ..Bucket::default() };
        }
        bucket
    }
}
