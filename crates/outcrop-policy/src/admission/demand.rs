//! How many slots each class needs, as far as its last requests tell: what is kept for it where that is more
//! than its share.
//!
//! A class that needs more than its share takes the slots of those below it as they come free. If those below
//! could take them first, a class above would find them taken for as long as a request lasts. By Little's law
//! a class needs as many slots as requests come while one is held, whether they are let in or not; the square
//! root of that on top covers chance (square-root staffing; Halfin and Whitt, 1981), less the slots that come
//! free while one may wait: those go to the most urgent who wait, so nothing need stand empty for them, and
//! what would stand empty for the highest class is wanted by the next.

use std::time::{Duration, Instant};

use super::shares::Class;

/// An arrival is remembered for as long as a slot is held, so that chance does not open a gap that those
/// below fill for that long; within these bounds, in seconds.
const MEMORY: std::ops::RangeInclusive<f64> = 0.5..=10.0;
/// What part of the average the last held slot is.
const NEWEST: f64 = 1.0 / 128.0;
/// For how long a slot that came free is remembered, in seconds.
const FREED_MEMORY: f64 = 1.0;

#[derive(Debug, Clone, Copy, Default)]
struct Need {
    // Requests per second.
    rate: f64,
    // Seconds for which a slot is held; `None` before one came free.
    held: Option<f64>,
}

impl Need {
    fn memory(&self) -> f64 {
        self.held.unwrap_or(0.0).clamp(*MEMORY.start(), *MEMORY.end())
    }
}

/// What the classes need, the last served first.
#[derive(Debug)]
pub(super) struct Demand {
    now: Instant,
    needs: [Need; 4],
    // Slots that come free per second, whoever held them.
    freed: f64,
    // Seconds for which anybody may wait.
    patience: f64,
}

impl Demand {
    /// `patience` is for how long anybody may wait.
    pub(super) fn new(now: Instant, patience: Duration) -> Self {
        Self { now, needs: [Need::default(); 4], freed: 0.0, patience: patience.as_secs_f64() }
    }

    /// Time passes.
    pub(super) fn pass(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.now);
        if !passed.is_zero() {
            let passed = passed.as_secs_f64();
            self.needs.iter_mut().for_each(|need| need.rate *= (-passed / need.memory()).exp());
            self.freed *= (-passed / FREED_MEMORY).exp();
            self.now = now;
        }
    }

    /// A request comes.
    pub(super) fn arrived(&mut self, class: Class) {
        let need = self.of(class);
        need.rate += 1.0 / need.memory();
    }

    /// A slot was held for so long.
    pub(super) fn released(&mut self, class: Class, held: Duration) {
        self.freed += 1.0 / FREED_MEMORY;
        let (need, held) = (self.of(class), held.as_secs_f64());
        need.held = Some(need.held.map_or(held, |average| average + (held - average) * NEWEST));
    }

    /// Slots that each class needs.
    #[allow(clippy::cast_sign_loss, reason = "neither rates nor times are below zero")]
    pub(super) fn slots(&self) -> [usize; 4] {
        let soon = self.freed * self.patience;
        self.needs.map(|need| {
            let load = need.rate * need.held.unwrap_or(0.0);
            let chance = (load.sqrt() - soon).max(0.0);
            (load + chance).round() as usize
        })
    }

    fn of(&mut self, class: Class) -> &mut Need {
        let [low, standard, critical, emergency] = &mut self.needs;
        match class {
            Class::Low => low,
            Class::Standard => standard,
            Class::Critical => critical,
            Class::Emergency => emergency,
        }
    }
}
