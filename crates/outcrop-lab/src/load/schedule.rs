//! When requests are due: a pure function of an arrival pattern, a length and a seed.
//!
//! Rates are piecewise linear over time. The n-th request of an even pattern is due when the integral of the rate
//! reaches n; in a Poisson pattern the steps between are exponential instead of 1 (time change of a unit Poisson
//! process, Cinlar 1975), so both keep the same expected rate. No clock is read here.

use std::time::Duration;

use crate::dice::Dice;

/// Highest rate a pattern may ask for, in requests per second.
pub const RATE_MAX: f64 = 1_000_000.0;
/// Most requests a recorded trace may hold.
pub const TRACE_MAX: usize = 10_000_000;

/// A pattern of arrivals.
#[derive(Debug, Clone, PartialEq)]
pub struct Arrivals {
    shape: Shape,
    /// Exponential instead of even distances.
    poisson: bool,
}

/// Rate over time.
#[derive(Debug, Clone, PartialEq)]
pub enum Shape {
    /// Always the same rate.
    Constant(f64),
    /// From one rate to another, linearly over the whole length.
    Ramp(f64, f64),
    /// Equally long steps of these rates.
    Steps(Vec<f64>),
    /// A base rate, and a peak between two fractions (0 to 1) of the length.
    Spike {
        /// Outside the spike.
        base: f64,
        /// Inside it.
        peak: f64,
        /// Where it begins.
        from: f64,
        /// Where it ends.
        until: f64,
    },
    /// Recorded offsets, ascending; the length cuts them off.
    Trace(Vec<Duration>),
}

/// Why a pattern is refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ShapeError {
    /// A rate that cannot be kept or means nothing.
    #[error("a rate of {0} requests/s is not possible; it must lie above 0 and at most at {RATE_MAX}")]
    Rate(f64),
    /// No step at all.
    #[error("steps need at least one rate")]
    NoStep,
    /// A spike that does not lie inside its length.
    #[error(
        "a spike from {0} to {1} of the length is not possible; both must lie between 0 and 1, in this order"
    )]
    Spike(f64, f64),
    /// A trace that is empty, too long or runs backwards.
    #[error("a trace needs 1 to {TRACE_MAX} ascending times")]
    Trace,
}

/// One linear piece of a rate over time.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Piece {
    seconds: f64,
    from: f64,
    to: f64,
}

/// The due times of one run, ascending.
#[derive(Debug)]
pub struct Schedule {
    pieces: Vec<Piece>,
    trace: Option<std::vec::IntoIter<Duration>>,
    length: Duration,
    poisson: Option<Dice>,
    /// Piece in progress, when it began, and the requests before it.
    piece: usize,
    began_s: f64,
    before: f64,
    /// Where the next request lies on the integral of the rate.
    next: f64,
}

impl Arrivals {
    /// Checks a pattern.
    pub fn new(shape: Shape, poisson: bool) -> Result<Self, ShapeError> {
        let rates: Vec<f64> = match &shape {
            Shape::Constant(rate) => vec![*rate],
            // A ramp may begin or end at rest.
            Shape::Ramp(from, to) => vec![from.max(*to), from.min(*to) + f64::MIN_POSITIVE],
            Shape::Steps(rates) if rates.is_empty() => return Err(ShapeError::NoStep),
            Shape::Steps(rates) => rates.clone(),
            Shape::Spike { from, until, .. } if !(0.0 <= *from && from < until && *until <= 1.0) => {
                return Err(ShapeError::Spike(*from, *until));
            }
            Shape::Spike { base, peak, .. } => vec![*base, *peak],
            Shape::Trace(times) => {
                let sound = (1..=TRACE_MAX).contains(&times.len()) && times.is_sorted();
                return if sound { Ok(Self { shape, poisson: false }) } else { Err(ShapeError::Trace) };
            }
        };
        match rates.into_iter().find(|rate| !(*rate > 0.0 && *rate <= RATE_MAX)) {
            Some(rate) => Err(ShapeError::Rate(rate)),
            None => Ok(Self { shape, poisson }),
        }
    }

    /// The same pattern with all rates multiplied; a trace is as it was recorded.
    pub fn scaled(&self, factor: f64) -> Result<Self, ShapeError> {
        let shape = match &self.shape {
            Shape::Constant(rate) => Shape::Constant(rate * factor),
            Shape::Ramp(from, to) => Shape::Ramp(from * factor, to * factor),
            Shape::Steps(rates) => Shape::Steps(rates.iter().map(|rate| rate * factor).collect()),
            Shape::Spike { base, peak, from, until } => {
                Shape::Spike { base: base * factor, peak: peak * factor, from: *from, until: *until }
            }
            Shape::Trace(times) => Shape::Trace(times.clone()),
        };
        Self::new(shape, self.poisson)
    }

    /// The due times of a run of this length; the same seed gives the same times.
    pub fn schedule(&self, length: Duration, seed: u64) -> Schedule {
        let dice = self.poisson.then(|| Dice::new(seed, [b"arrivals".as_slice()]));
        let trace = match &self.shape {
            Shape::Trace(times) => Some(times.clone().into_iter()),
            _ => None,
        };
        let mut schedule = Schedule {
            pieces: self.pieces(length.as_secs_f64()),
            trace,
            length,
            poisson: dice,
            piece: 0,
            began_s: 0.0,
            before: 0.0,
            next: 0.0,
        };
        // An even pattern begins with a request; the first wait of a Poisson process is as random as any.
        if schedule.poisson.is_some() {
            schedule.step();
        }
        schedule
    }

    /// Requests per second at an offset of a run of this length; zero for a trace.
    pub fn rate_at(&self, at: Duration, length: Duration) -> f64 {
        let mut left = at.as_secs_f64();
        for piece in self.pieces(length.as_secs_f64()) {
            if left < piece.seconds {
                return piece.from + (piece.to - piece.from) * left / piece.seconds;
            }
            left -= piece.seconds;
        }
        0.0
    }

    fn pieces(&self, seconds: f64) -> Vec<Piece> {
        let level = |seconds, rate| Piece { seconds, from: rate, to: rate };
        match &self.shape {
            Shape::Constant(rate) => vec![level(seconds, *rate)],
            Shape::Ramp(from, to) => vec![Piece { seconds, from: *from, to: *to }],
            Shape::Steps(rates) => {
                rates.iter().map(|rate| level(seconds / rates.len() as f64, *rate)).collect()
            }
            Shape::Spike { base, peak, from, until } => vec![
                level(seconds * from, *base),
                level(seconds * (until - from), *peak),
                level(seconds * (1.0 - until), *base),
            ],
            Shape::Trace(_) => Vec::new(),
        }
    }
}

impl Piece {
    /// Requests in its first `seconds`.
    fn integral(self, seconds: f64) -> f64 {
        self.from * seconds + (self.to - self.from) / self.seconds * seconds * seconds / 2.0
    }

    /// Seconds until its integral is `requests`, which it reaches.
    fn inverse(self, requests: f64) -> f64 {
        let slope = (self.to - self.from) / self.seconds;
        let root = (self.from * self.from + 2.0 * slope * requests).max(0.0).sqrt();
        // The form without cancellation, right for a slope of zero as well.
        if root + self.from > 0.0 { 2.0 * requests / (root + self.from) } else { 0.0 }
    }
}

impl Schedule {
    fn step(&mut self) {
        self.next += match &mut self.poisson {
            None => 1.0,
            Some(dice) => -(1.0 - dice.fraction()).ln(),
        };
    }
}

impl Iterator for Schedule {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        if let Some(trace) = &mut self.trace {
            return trace.next().filter(|due| *due < self.length);
        }
        loop {
            let piece = *self.pieces.get(self.piece)?;
            let total = piece.integral(piece.seconds);
            let within = self.next - self.before;
            if piece.seconds > 0.0 && within < total {
                let due = Duration::from_secs_f64(self.began_s + piece.inverse(within));
                self.step();
                return Some(due);
            }
            self.piece += 1;
            self.began_s += piece.seconds;
            self.before += total;
        }
    }
}

#[cfg(test)]
mod tests;
