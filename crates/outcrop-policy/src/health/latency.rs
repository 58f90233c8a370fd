//! How long a target takes: a mean that follows quickly, and quantiles that remember longer.
//!
//! Streams and whole answers are two different things and are kept apart.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

/// After this time the past weighs a third in the mean.
const MEMORY: Duration = Duration::from_secs(10);

/// The same of the slow mean.
const SLOW_MEMORY: Duration = Duration::from_secs(30);

/// Samples from which a mean is sure enough to be acted upon.
pub(crate) const SURE: u32 = 5;

/// After so long without a sample a new one that surprises stands alone.
const GAP: Duration = Duration::from_secs(3);

/// Last answers that tell a change.
const RECENT: usize = 9;

/// So many answers in a row tell it sooner when each of them is far off:
const ROW: u8 = 3;

/// so many times the mean and beyond 99 % of answers, or the mean so many times it.
const FAR: f64 = 3.0;

/// Of these the last few tell whether a target is slower than usual at this moment,
const LAST: usize = 5;

/// by their median: so many times the usual one.
const STRAINED: f64 = 2.0;

/// Below this nothing is slow enough to keep anybody away.
const STRAINED_MIN: f64 = 0.4;

/// It surprises when it is so many times the mean, or the mean so many times it.
const SURPRISE: f64 = 1.5;

/// Samples from which a mean is remembered as what a target can do.
const MEMORABLE: u32 = 20;

/// When quick and slow are further apart than this, something has changed.
const APART: f64 = 0.05;

/// Of the way from the slow mean to the quick one, what is missing from there to the present.
const LEAD: f64 = MEMORY.as_secs_f64() / (SLOW_MEMORY.as_secs_f64() - MEMORY.as_secs_f64());

/// Most that is added to the quick mean for that, of itself.
const LEAD_MAX: f64 = 0.1;

/// Least share that the past keeps in a mean beside one sample.
const KEPT_MIN: f64 = 0.95;

/// Quantiles are of this time and the one before it.
const SPAN: Duration = Duration::from_mins(1);

/// How long the lowest mean is remembered that a target has had.
const FLOOR_SPAN: Duration = Duration::from_mins(15);

/// A median older than this keeps nobody from asking.
const FRESH: Duration = Duration::from_secs(30);

/// Fewest samples that quantiles are taken from.
const SAMPLES_MIN: u64 = 20;

/// Longest time that is told apart: the longest deadline there is.
const TENTHS_MS_MAX: u64 = 6_000_000;

/// Times of one shape of answer at one target.
#[derive(Debug, Clone)]
pub(super) struct Latency {
    mean: Option<Mean>,
    recent: Recent,
    row: Row,
    floor: Floor,
    // Tenths of milliseconds.
    new: Histogram<u32>,
    old: Histogram<u32>,
    since: Option<Instant>,
    answered_at: Option<Instant>,
    quantiles: Quantiles,
    unread: u32,
}

/// Two means of the same times. The slow one is exact, the quick one soon: as long as both say the same, the
/// slow one is believed.
#[derive(Debug, Clone, Copy)]
struct Mean {
    quick: f64,
    slow: f64,
    at: Instant,
    // Samples since the last gap.
    samples: u32,
}

/// The last few times: their median tells a change from a few slow answers.
#[derive(Debug, Clone, Copy, Default)]
struct Recent {
    seconds: [f32; RECENT],
    pushed: usize,
}

/// Answers in a row that were all far longer than usual, or all far shorter.
#[derive(Debug, Clone, Copy, Default)]
struct Row {
    are_long: bool,
    count: u8,
    seconds: f64,
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
            recent: Recent::default(),
            row: Row::default(),
            floor: Floor::default(),
            new: histogram.clone(),
            old: histogram,
            since: None,
            answered_at: None,
            quantiles: Quantiles::default(),
            unread: 0,
        }
    }

    /// An answer came after `took`.
    pub(super) fn answered(&mut self, took: Duration, now: Instant) {
        let row = self.mean.map(|mean| self.row.with(took, mean.seconds(), self.quantiles.p99));
        self.row = row.unwrap_or_default();
        self.weigh(took, now);
        self.remember(took, now);
        self.recent.push(took);
        if let (Some(usual), Some(mean)) = (self.quantiles.p50, &mut self.mean)
            && let Some(changed) = self.recent.differs_from(usual)
            && is_surprise(changed, mean.seconds())
        {
            (mean.quick, mean.slow, mean.samples) = (changed, changed, RECENT as u32);
        }
        if let (Some(changed), Some(mean)) = (self.row.tells(), &mut self.mean) {
            (mean.quick, mean.slow, mean.samples) = (changed, changed, SURE);
            self.row = Row::default();
        }
    }

    /// No answer came; it counts as `penalty` in the mean. Quantiles are of answers.
    pub(super) fn failed(&mut self, penalty: Duration, now: Instant) {
        self.weigh(penalty, now);
    }

    /// What the next answer is expected to take; `None` when nothing is known.
    pub(super) fn expected(&self) -> Option<Duration> {
        self.mean.map(|mean| Duration::from_secs_f64(mean.seconds()))
    }

    /// Samples since nobody had looked for a while.
    pub(super) fn samples(&self) -> u32 {
        self.mean.map_or(0, |mean| mean.samples)
    }

    /// What it took in its best days: one that nobody asks may have gone back to them.
    pub(super) fn best(&self) -> Option<Duration> {
        self.floor.lowest().or(self.mean.map(|mean| mean.slow)).map(Duration::from_secs_f64)
    }

    pub(super) fn quantiles(&self) -> Quantiles {
        self.quantiles
    }

    /// The median, as long as it is fresh: an old one must not keep requests from finding out.
    pub(super) fn median(&self, now: Instant) -> Option<Duration> {
        let is_fresh = |at: &Instant| now.saturating_duration_since(*at) <= FRESH;
        self.answered_at.filter(is_fresh).and(self.quantiles.p50)
    }

    /// Whether its last answers took far longer than is usual.
    pub(super) fn is_strained(&self, now: Instant) -> bool {
        let is_new = |at: Instant| now.saturating_duration_since(at) < GAP;
        let usual = self.quantiles.p50.filter(|_| self.answered_at.is_some_and(is_new));
        let last = self.recent.last_median();
        usual
            .zip(last)
            .is_some_and(|(usual, last)| last >= (usual.as_secs_f64() * STRAINED).max(STRAINED_MIN))
    }

    fn weigh(&mut self, took: Duration, now: Instant) {
        let took = took.as_secs_f64();
        let mean = match self.mean {
            None => Mean { quick: took, slow: took, at: now, samples: 1 },
            Some(mean) => mean.with(took, now),
        };
        self.mean = Some(mean);
        if mean.samples == 1 {
            self.recent = Recent::default();
        }
        if mean.samples >= MEMORABLE {
            self.floor.see(mean.slow, now);
        }
    }

    fn remember(&mut self, took: Duration, now: Instant) {
        self.answered_at = Some(now);
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

impl Recent {
    fn push(&mut self, took: Duration) {
        if let Some(slot) = self.seconds.get_mut(self.pushed % RECENT) {
            *slot = took.as_secs_f32();
        }
        self.pushed = self.pushed.saturating_add(1);
    }

    /// The median of the last few.
    fn last_median(&self) -> Option<f64> {
        let newest = (1..=LAST).map(|back| self.pushed.checked_sub(back));
        let newest = newest.map(|at| at.and_then(|at| self.seconds.get(at % RECENT)).copied());
        let mut last: [f32; LAST] = [0.0; LAST];
        for (slot, seconds) in last.iter_mut().zip(newest) {
            *slot = seconds?;
        }
        last.sort_unstable_by(f32::total_cmp);
        last.get(LAST / 2).map(|median| f64::from(*median))
    }

    /// Their mean, if their median is far from the usual one.
    fn differs_from(&self, usual: Duration) -> Option<f64> {
        if self.pushed < RECENT {
            return None;
        }
        let mut sorted = self.seconds;
        sorted.sort_unstable_by(f32::total_cmp);
        let median = f64::from(*sorted.get(RECENT / 2)?);
        let differs = is_surprise(median, usual.as_secs_f64());
        differs.then(|| sorted.iter().map(|s| f64::from(*s)).sum::<f64>() / RECENT as f64)
    }
}

impl Row {
    /// One more answer, where `usual` is the mean before it. Without a quantile nothing is known to be rare.
    fn with(self, took: Duration, usual: f64, p99: Option<Duration>) -> Self {
        let seconds = took.as_secs_f64();
        let is_long = seconds >= usual * FAR && p99.is_some_and(|p99| took > p99);
        let is_short = seconds * FAR <= usual && p99.is_some();
        if !is_long && !is_short {
            return Self::default();
        }
        let before = if self.are_long == is_long { self } else { Self::default() };
        // The first of them moves the mean, which the others are measured by, by little.
        Self { are_long: is_long, count: before.count + 1, seconds: before.seconds + seconds }
    }

    /// Their mean, if they are enough.
    fn tells(self) -> Option<f64> {
        (self.count >= ROW).then(|| self.seconds / f64::from(self.count))
    }
}

impl Mean {
    fn seconds(&self) -> f64 {
        let ahead = self.quick - self.slow;
        if ahead.abs() <= self.slow * APART {
            return self.slow;
        }
        // Of what moves steadily both are late, each by its memory: the difference tells by how much.
        self.quick + (ahead * LEAD).clamp(-self.quick * LEAD_MAX, self.quick * LEAD_MAX)
    }

    fn with(self, took: f64, now: Instant) -> Self {
        let gap = now.saturating_duration_since(self.at);
        if gap >= GAP && is_surprise(took, self.slow) {
            // Nobody has looked for a while, and it is not what it was.
            return Self { quick: took, slow: took, at: now, samples: 1 };
        }
        let samples = self.samples.saturating_add(1);
        // The first few are averaged: one of them alone would stand for seconds.
        let warm = 1.0 - 1.0 / f64::from(samples);
        let blend = |mean: f64, memory: Duration| {
            let faded = (-gap.as_secs_f64() / memory.as_secs_f64()).exp();
            // However rare they are, single samples do not stand for the whole.
            let kept = faded.max(KEPT_MIN).min(warm);
            took + (mean - took) * kept
        };
        Self { quick: blend(self.quick, MEMORY), slow: blend(self.slow, SLOW_MEMORY), at: now, samples }
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

/// Whether the one is far from the other.
fn is_surprise(seconds: f64, usual: f64) -> bool {
    let ratio = seconds / usual.max(f64::EPSILON);
    !(1.0 / SURPRISE..SURPRISE).contains(&ratio)
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
            assert!(near(latency.expected(), ms(385)), "{every:?}: {:?}", latency.expected());
        }
    }

    #[test]
    fn a_sudden_change_is_believed_after_a_few_answers_and_single_slow_ones_are_not() {
        let (mut latency, mut now) = (Latency::new(), Instant::now());
        for n in 0..1000 {
            now += ms(20);
            latency.answered(if n % 4 == 0 { ms(200) } else { ms(40) }, now);
        }
        assert!(near(latency.expected(), ms(80)), "{:?}", latency.expected());
        for _ in 0..RECENT {
            now += ms(20);
            latency.answered(ms(200), now);
        }
        assert!(latency.expected().unwrap() > ms(140), "{:?}", latency.expected());
    }

    #[test]
    fn three_answers_in_a_row_that_are_far_off_are_a_change() {
        for (before, after) in [(40, 200), (200, 40)] {
            let (mut latency, mut now) = (Latency::new(), Instant::now());
            for n in 0..1000 {
                now += ms(16);
                latency.answered(ms(before + n % 10), now);
            }
            for n in 1..=3 {
                now += ms(16);
                latency.answered(ms(after), now);
                assert_eq!(near(latency.expected(), ms(after)), n == 3, "{n}: {:?}", latency.expected());
            }
        }
        // What happens now and then is none, three in a row or not.
        let (mut latency, mut now) = (Latency::new(), Instant::now());
        for n in 0..1000 {
            now += ms(16);
            latency.answered(if n % 20 < 3 { ms(400) } else { ms(40) }, now);
        }
        assert!(near(latency.expected(), ms(94)), "{:?}", latency.expected());
    }

    #[test]
    fn one_failure_among_many_weighs_little_and_a_row_of_them_much() {
        let (mut latency, mut now) = (Latency::new(), Instant::now());
        for _ in 0..1000 {
            now += ms(10);
            latency.answered(ms(100), now);
        }
        now += ms(10);
        latency.failed(ms(5000), now);
        assert!(latency.expected().unwrap() < ms(107));
        for _ in 0..500 {
            now += ms(10);
            latency.failed(ms(5000), now);
        }
        assert!(latency.expected().unwrap() > ms(1900));
    }

    #[test]
    fn after_a_gap_one_answer_says_everything_and_the_best_days_are_remembered() {
        let (mut latency, mut now) = (Latency::new(), Instant::now());
        for _ in 0..MEMORABLE {
            latency.answered(ms(100), now);
        }
        now += GAP;
        latency.answered(ms(3000), now);
        assert_eq!(latency.expected(), Some(ms(3000)));
        assert_eq!(latency.best(), Some(ms(100)));
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
