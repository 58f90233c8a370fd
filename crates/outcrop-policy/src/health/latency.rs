//! How long a target takes: a mean that follows quickly, and quantiles that remember longer.
//!
//! Streams and whole answers are two different things and are kept apart.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

/// After this time the past weighs a third in the mean.
const MEMORY: Duration = Duration::from_secs(10);

/// Quantiles are of this time and the one before it.
const SPAN: Duration = Duration::from_mins(1);

/// How long the lowest mean is remembered that a target has had.
const FLOOR_SPAN: Duration = Duration::from_mins(15);

/// Fewest samples that quantiles are taken from.
const SAMPLES_MIN: u64 = 20;

/// Longest time that is told apart: the longest deadline there is.
const TENTHS_MS_MAX: u64 = 6_000_000;

/// Times of one shape of answer at one target.
#[derive(Debug, Clone)]
pub(super) struct Latency {
    mean: Option<Mean>,
    floor: Floor,
    // Tenths of milliseconds.
    new: Histogram<u32>,
    old: Histogram<u32>,
    since: Option<Instant>,
    quantiles: Quantiles,
    unread: u32,
}

#[derive(Debug, Clone, Copy)]
struct Mean {
    seconds: f64,
    at: Instant,
}

/// The lowest mean of this span and of the one before.
#[derive(Debug, Clone, Copy, Default)]
struct Floor {
    new: Option<f64>,
    old: Option<f64>,
    since: Option<Instant>,
}

/// Quantiles of the last minutes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Quantiles {
    /// Half took no longer.
    pub p50: Option<Duration>,
    /// 95 % took no longer.
    pub p95: Option<Duration>,
    /// 99 % took no longer.
    pub p99: Option<Duration>,
}

impl Latency {
    pub(super) fn new() -> Self {
        let histogram = Histogram::new_with_bounds(1, TENTHS_MS_MAX, 2)
            .expect("invariant: the bounds are constants that the histogram takes");
        Self {
            mean: None,
            floor: Floor::default(),
            new: histogram.clone(),
            old: histogram,
            since: None,
            quantiles: Quantiles::default(),
            unread: 0,
        }
    }

    /// An answer came after `took`.
    pub(super) fn answered(&mut self, took: Duration, now: Instant) {
        self.weigh(took, now);
        self.remember(took, now);
    }

    /// No answer came; it counts as `penalty` in the mean. `waited` is what is known of its time, where it
    /// was given up for being slow.
    pub(super) fn failed(&mut self, penalty: Duration, waited: Option<Duration>, now: Instant) {
        self.weigh(penalty, now);
        if let Some(waited) = waited {
            self.remember(waited, now);
            self.read();
        }
    }

    /// What the next answer is expected to take; `None` when nothing is known. A target that nobody asks
    /// is believed to go back to its best days, so that one request finds out.
    pub(super) fn expected(&self, now: Instant) -> Option<Duration> {
        let Mean { seconds, at } = self.mean?;
        let floor = self.floor.lowest().unwrap_or(seconds).min(seconds);
        let idle = now.saturating_duration_since(at).as_secs_f64();
        let left = (-idle / MEMORY.as_secs_f64()).exp();
        Some(Duration::from_secs_f64(floor + (seconds - floor) * left))
    }

    pub(super) fn quantiles(&self) -> Quantiles {
        self.quantiles
    }

    fn weigh(&mut self, took: Duration, now: Instant) {
        let took = took.as_secs_f64();
        let mean = match self.mean {
            None => took,
            Some(Mean { seconds, at }) => {
                let passed = now.saturating_duration_since(at).as_secs_f64();
                let kept = (-passed / MEMORY.as_secs_f64()).exp();
                took + (seconds - took) * kept
            }
        };
        self.mean = Some(Mean { seconds: mean, at: now });
        self.floor.see(mean, now);
    }

    fn remember(&mut self, took: Duration, now: Instant) {
        let since = *self.since.get_or_insert(now);
        let age = now.saturating_duration_since(since);
        if age >= SPAN {
            std::mem::swap(&mut self.new, &mut self.old);
            self.new.reset();
            if age >= SPAN * 2 {
                self.old.reset();
            }
            self.since = Some(now);
        }
        self.new.saturating_record(((took.as_micros() / 100) as u64).max(1));
        self.unread += 1;
        if self.unread >= (self.new.len() / 16).clamp(1, 64) as u32 {
            self.unread = 0;
            self.read();
        }
    }

    /// Reading quantiles walks the histogram, so it is done once in a while and remembered.
    fn read(&mut self) {
        let enough = [&self.new, &self.old].into_iter().find(|h| h.len() >= SAMPLES_MIN);
        let Some(histogram) = enough else { return };
        let at = |q| Some(Duration::from_micros(histogram.value_at_quantile(q) * 100));
        self.quantiles = Quantiles { p50: at(0.5), p95: at(0.95), p99: at(0.99) };
    }
}

impl Floor {
    fn see(&mut self, mean: f64, now: Instant) {
        if now.saturating_duration_since(*self.since.get_or_insert(now)) >= FLOOR_SPAN {
            self.old = self.new.take();
            self.since = Some(now);
        }
        self.new = Some(self.new.map_or(mean, |low| low.min(mean)));
    }

    fn lowest(&self) -> Option<f64> {
        match (self.new, self.old) {
            (Some(new), Some(old)) => Some(new.min(old)),
            (low, None) | (None, low) => low,
        }
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "tests need some instant to start from")]
mod tests {
    use super::*;

    const fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    fn near(left: Option<Duration>, right: Duration) -> bool {
        left.is_some_and(|left| left.abs_diff(right) < right / 20)
    }

    #[test]
    fn the_mean_follows_within_its_memory_however_many_samples_come() {
        for every in [ms(5), ms(500)] {
            let (mut latency, mut now) = (Latency::new(), Instant::now());
            latency.answered(ms(100), now);
            for _ in 0..(30_000 / every.as_millis()) {
                now += every;
                latency.answered(ms(400), now);
            }
            assert!(near(latency.expected(now), ms(385)), "{every:?}: {:?}", latency.expected(now));
        }
    }

    #[test]
    fn one_failure_among_many_weighs_little_and_a_row_of_them_much() {
        let (mut latency, mut now) = (Latency::new(), Instant::now());
        for _ in 0..1000 {
            now += ms(10);
            latency.answered(ms(100), now);
        }
        now += ms(10);
        latency.failed(ms(5000), None, now);
        assert!(latency.expected(now).unwrap() < ms(106));
        for _ in 0..500 {
            now += ms(10);
            latency.failed(ms(5000), None, now);
        }
        assert!(latency.expected(now).unwrap() > ms(1900));
    }

    #[test]
    fn who_is_not_asked_is_believed_to_be_as_good_as_ever() {
        let (mut latency, mut now) = (Latency::new(), Instant::now());
        latency.answered(ms(100), now);
        now += Duration::from_mins(1);
        latency.answered(ms(3000), now);
        assert!(near(latency.expected(now), ms(2993)));
        assert!(near(latency.expected(now + Duration::from_mins(1)), ms(107)));
    }

    #[test]
    fn quantiles_are_of_the_last_minutes() {
        let (mut latency, mut now) = (Latency::new(), Instant::now());
        for n in 1..=1000 {
            latency.answered(ms(n), now);
        }
        let Quantiles { p50, p99, .. } = latency.quantiles();
        assert!(near(p50, ms(500)) && near(p99, ms(990)), "{p50:?} {p99:?}");
        for _ in 0..3 {
            now += SPAN;
            for _ in 0..100 {
                latency.answered(ms(7), now);
            }
        }
        assert!(near(latency.quantiles().p99, ms(7)));
    }
}
