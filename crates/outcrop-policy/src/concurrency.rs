//! How much may be under way at once, learned from latency: an adaptive concurrency limit.
//!
//! A gradient limit in the manner of Netflix' concurrency-limits and Envoy's adaptive concurrency
//! filter. Latencies are averaged over short windows; the lowest average of the last half minute is
//! what the thing measured costs without a queue. While the average stays within twice that, the limit
//! grows by an allowance for a queue; above it the limit shrinks by the ratio of the two. A signal of
//! overload shrinks it at once, at most once in a window. A limit that is not used does not grow. Where it
//! is known what the thing costs without a queue, nothing is learned: the floor is given.
//! It counts nothing by itself, waits for nothing and reads no clock (I-7).

use std::time::{Duration, Instant};

#[cfg(test)]
mod tests;

/// A window lasts at least this long,
pub const WINDOW: Duration = Duration::from_millis(100);
/// and has at least so many samples.
pub const SAMPLES_MIN: u32 = 10;
/// How long the lowest average counts, at least; at most twice that.
pub const FLOOR_AGE: Duration = Duration::from_secs(30);
/// An average up to so many times the floor is no sign of a queue.
const TOLERANCE: f64 = 2.0;
/// The most that one window shrinks the limit for latency.
const GRADIENT_MIN: f64 = 0.5;
/// What a signal of overload leaves of the limit.
const BACKOFF: f64 = 0.75;
/// What a renewal of the floor leaves of a limit in use, so that a queue that the limit itself allows drains
/// and is not taken for the floor.
const RENEWAL: f64 = 0.75;

/// Between what the limit moves, and what it does not react to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// It never goes below; at least 1.
    pub min: usize,
    /// It never goes above.
    pub max: usize,
    /// Where it begins, within both.
    pub initial: usize,
    /// A latency up to this is as good as none: differences below it say nothing.
    pub quick: Duration,
}

/// How something that was under way ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Its latency tells of the load.
    Ok,
    /// It was turned away or timed out because of the load.
    Overloaded,
    /// It tells nothing: the caller left, the request was wrong.
    Ignored,
}

/// An adaptive limit.
#[derive(Debug, Clone)]
pub struct Limit {
    bounds: Bounds,
    // Fractional, so that small steps add up.
    allowed: f64,
    window: Option<Window>,
    floor: Floor,
    // In seconds; `None` where it is learned.
    floor_given: Option<f64>,
}

/// What was measured since the last step.
#[derive(Debug, Clone, Copy)]
struct Window {
    opened: Instant,
    samples: u32,
    // Sum of the latencies in seconds.
    total: f64,
    // Most that was under way at once.
    peak: usize,
    overloaded: bool,
}

/// The lowest average, in two generations so that an old one is forgotten.
#[derive(Debug, Clone, Copy, Default)]
struct Floor {
    began: Option<Instant>,
    young: Option<f64>,
    old: Option<f64>,
}

impl Limit {
    /// A limit that knows nothing yet. Bounds that contradict each other are mended towards `min`.
    pub fn new(bounds: Bounds) -> Self {
        let min = bounds.min.max(1);
        let max = bounds.max.max(min);
        let initial = bounds.initial.clamp(min, max);
        let bounds = Bounds { min, max, initial, ..bounds };
        Self { bounds, allowed: initial as f64, window: None, floor: Floor::default(), floor_given: None }
    }

    /// A limit for what is known to cost `bounds.quick` without a queue.
    pub fn over_known_floor(bounds: Bounds) -> Self {
        Self { floor_given: Some(bounds.quick.as_secs_f64()), ..Self::new(bounds) }
    }

    /// The most that may be under way at once.
    #[allow(clippy::cast_sign_loss, reason = "it is at least 1")]
    pub fn limit(&self) -> usize {
        (self.allowed as usize).clamp(self.bounds.min, self.bounds.max)
    }

    /// Something ended at `now` after `latency`; `in_flight` counts it and what was under way beside it.
    pub fn on_end(&mut self, now: Instant, latency: Duration, in_flight: usize, outcome: Outcome) {
        let window = self.window.get_or_insert(Window::opened(now));
        window.peak = window.peak.max(in_flight);
        match outcome {
            Outcome::Ignored => {}
            Outcome::Ok => {
                window.samples = window.samples.saturating_add(1);
                window.total += latency.max(self.bounds.quick).as_secs_f64();
            }
            Outcome::Overloaded => {
                if !window.overloaded {
                    window.overloaded = true;
                    let peak = window.peak;
                    self.shrink(peak, BACKOFF);
                }
            }
        }
        self.step(now);
    }

    /// Moves the limit when the window is full.
    fn step(&mut self, now: Instant) {
        let Some(window) = self.window else { return };
        let enough = window.samples >= SAMPLES_MIN;
        if now.saturating_duration_since(window.opened) < WINDOW || !(enough || window.overloaded) {
            return;
        }
        self.window = None;
        if !enough {
            return;
        }
        let (average, in_use) = (window.average(), self.is_used(window.peak));
        if self.floor_given.is_none() && self.floor.ages(now) && in_use {
            self.allowed = self.within(self.allowed * RENEWAL);
            return;
        }
        let floor = self.floor_given.unwrap_or_else(|| self.floor.lowest(average));
        let gradient = (TOLERANCE * floor / average).clamp(GRADIENT_MIN, 1.0);
        if gradient < 1.0 {
            self.shrink(window.peak, gradient);
        } else if in_use && !window.overloaded {
            self.allowed = self.within(self.allowed + self.allowed.sqrt());
        }
    }

    /// Whether what was under way came near the limit.
    fn is_used(&self, peak: usize) -> bool {
        peak.saturating_mul(2) >= self.limit()
    }

    /// Leaves a part of the limit; of one that was far away, a part of twice what was under way.
    fn shrink(&mut self, peak: usize, part: f64) {
        let near = self.allowed.min(peak as f64 * 2.0);
        self.allowed = self.within(near * part);
    }

    fn within(&self, limit: f64) -> f64 {
        limit.clamp(self.bounds.min as f64, self.bounds.max as f64)
    }
}

impl Window {
    fn opened(now: Instant) -> Self {
        Self { opened: now, samples: 0, total: 0.0, peak: 0, overloaded: false }
    }

    /// In seconds.
    fn average(&self) -> f64 {
        self.total / f64::from(self.samples.max(1))
    }
}

impl Floor {
    /// Begins a generation when the last one is old. Whether one was forgotten that had a say.
    fn ages(&mut self, now: Instant) -> bool {
        let began = *self.began.get_or_insert(now);
        if now.saturating_duration_since(began) < FLOOR_AGE {
            return false;
        }
        let forgotten = self.old;
        *self = Self { began: Some(now), young: None, old: self.young };
        forgotten.is_some()
    }

    /// The lowest average, this one included.
    fn lowest(&mut self, average: f64) -> f64 {
        let young = self.young.map_or(average, |lowest| lowest.min(average));
        self.young = Some(young);
        self.old.map_or(young, |old| old.min(young))
    }
}
