//! The circuit breaker of one target, as a pure state machine.
//!
//! serving → tripped after five hard failures in a row, or when fewer than 80 % of at least ten ends in
//! 30 s were good. tripped → probing when its pause is over: one permit, which a real request takes.
//! probing → serving after one good end, then a ramp of 5 s. It knows no clock and draws no dice.

use std::time::{Duration, Instant};

use outcrop_core::decision::BreakerState;
use serde::{Deserialize, Serialize};

use super::window::{Tally, Window};

/// Hard failures in a row that trip a target.
pub const FAILURES_IN_A_ROW: u32 = 5;

/// Fewest ends in the window that say something about a share.
pub(super) const SAMPLES_MIN: u32 = 10;

/// Below this share of good ends, in thousandths, a target trips.
pub(super) const SUCCESS_PERMILLE_MIN: u16 = 800;

/// First pause after a trip.
const PAUSE_MIN: Duration = Duration::from_secs(1);

/// Longest pause is `PAUSE_MIN` doubled so often: 8 s, before jitter.
const DOUBLINGS_MAX: u32 = 3;

/// Health of this length takes one doubling back.
const CALM: Duration = Duration::from_secs(30);

/// From the first good probe to full traffic.
const RAMP: Duration = Duration::from_secs(5);

/// A probe that nobody has ended by then has lost its permit: its owner is gone.
const PROBE_FORGOTTEN: Duration = Duration::from_mins(11);

/// What the end of an attempt says about its target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It answered.
    Good,
    /// It failed for its own sake.
    Hard,
    /// It was given up for another target; its answer may come yet, and then `answered_late` is told.
    Late,
    /// It refused because of a rate: counts in the share, not in the row.
    Throttled,
}

/// A state that an operator holds a target in, whatever its attempts say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Forced {
    /// It serves.
    Serving,
    /// It is not used.
    Tripped,
}

impl Forced {
    /// The name used in orders and logs.
    pub fn label(self) -> &'static str {
        match self {
            Self::Serving => "serving",
            Self::Tripped => "tripped",
        }
    }
}

/// The breaker of one target.
#[derive(Debug, Clone)]
pub(super) struct Breaker {
    state: State,
    forced: Option<Forced>,
    in_a_row: u32,
    /// Whether a late end is among what tripped it, so that an answer may take the trip back.
    is_suspected: bool,
    window: Window,
    /// How often the next pause is doubled.
    doublings: u32,
    /// Since when it serves without a trip; `None` while it does not.
    calm_since: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Serving {
        ramp_from: Option<Instant>,
    },
    Tripped {
        since: Instant,
        until: Instant,
    },
    /// The permit is out since then.
    Probing {
        since: Instant,
        tripped_since: Instant,
    },
}

/// A change of state, for the log and the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transition {
    /// Before.
    pub from: BreakerState,
    /// After.
    pub to: BreakerState,
}

/// What may be sent to a target now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// So many of a hundred requests.
    Open {
        /// 1 to 100.
        percent: u8,
    },
    /// One probe.
    ProbeDue,
    /// Nothing until then.
    Closed {
        /// When a probe is due; `None` while one is under way, or an operator holds it.
        until: Option<Instant>,
    },
}

impl Default for Breaker {
    fn default() -> Self {
        Self {
            state: State::Serving { ramp_from: None },
            forced: None,
            in_a_row: 0,
            is_suspected: false,
            window: Window::default(),
            doublings: 0,
            calm_since: None,
        }
    }
}

impl Breaker {
    /// What may be sent now.
    pub(super) fn gate(&self, now: Instant) -> Gate {
        match (self.forced, self.state) {
            (Some(Forced::Serving), _) => Gate::Open { percent: 100 },
            (None, State::Serving { ramp_from }) => Gate::Open { percent: ramp(ramp_from, now) },
            (None, State::Tripped { until, .. }) if now >= until => Gate::ProbeDue,
            (None, State::Tripped { until, .. }) => Gate::Closed { until: Some(until) },
            (None, State::Probing { since, .. }) if now >= since + PROBE_FORGOTTEN => Gate::ProbeDue,
            (Some(Forced::Tripped), _) | (None, State::Probing { .. }) => Gate::Closed { until: None },
        }
    }

    /// The state, as it is shown.
    pub(super) fn state(&self, now: Instant) -> BreakerState {
        match self.gate(now) {
            Gate::Open { percent: 100 } => BreakerState::Serving,
            Gate::Open { .. } => BreakerState::Ramping,
            Gate::ProbeDue => BreakerState::Probing,
            Gate::Closed { .. } if matches!(self.state, State::Probing { .. }) && self.forced.is_none() => {
                BreakerState::Probing
            }
            Gate::Closed { .. } => BreakerState::Tripped,
        }
    }

    /// Since when it does not serve, if it does not.
    pub(super) fn tripped_since(&self) -> Option<Instant> {
        match self.state {
            State::Serving { .. } => None,
            State::Tripped { since, .. } | State::Probing { tripped_since: since, .. } => Some(since),
        }
    }

    /// Since when a probe is due, if one is.
    pub(super) fn due_at(&self, now: Instant) -> Option<Instant> {
        match self.state {
            State::Tripped { until, .. } if self.gate(now) == Gate::ProbeDue => Some(until),
            State::Serving { .. } | State::Tripped { .. } | State::Probing { .. } => None,
        }
    }

    /// What an operator holds it in.
    pub(super) fn forced(&self) -> Option<Forced> {
        self.forced
    }

    /// Holds it in a state, or lets it go. Let go, it begins anew as serving.
    pub(super) fn force(&mut self, forced: Option<Forced>) {
        if self.forced.is_some() && forced.is_none() {
            *self = Self::default();
        }
        self.forced = forced;
    }

    /// Takes the permit of a probe, if one is due.
    pub(super) fn take_probe(&mut self, now: Instant) -> bool {
        if self.gate(now) != Gate::ProbeDue {
            return false;
        }
        let tripped_since = self.tripped_since().unwrap_or(now);
        self.state = State::Probing { since: now, tripped_since };
        true
    }

    /// Gives the permit back without having learnt anything: the next request may probe.
    pub(super) fn release_probe(&mut self, now: Instant) {
        if let State::Probing { tripped_since, .. } = self.state {
            self.state = State::Tripped { since: tripped_since, until: now };
        }
    }

    /// An attempt that began at `begun` has ended. `jitter` is between 0 and 1 and lengthens a pause by up
    /// to a half.
    pub(super) fn record(
        &mut self,
        verdict: Verdict,
        begun: Instant,
        now: Instant,
        jitter: f64,
    ) -> Option<Transition> {
        let from = self.state(now);
        self.window.count(verdict == Verdict::Good, now);
        match verdict {
            Verdict::Good => (self.in_a_row, self.is_suspected) = (0, false),
            Verdict::Hard | Verdict::Late => self.in_a_row = self.in_a_row.saturating_add(1),
            Verdict::Throttled => {}
        }
        self.is_suspected |= verdict == Verdict::Late;
        match (self.state, verdict) {
            (State::Serving { .. }, _) if self.fails(now) => self.trip(now, now, jitter),
            (State::Serving { .. }, _) => {
                self.calm_since.get_or_insert(now);
            }
            // What began before the trip says nothing about the time after it.
            (State::Tripped { since, .. }, Verdict::Good) if begun >= since => self.heal(now),
            (State::Probing { tripped_since, .. }, Verdict::Good) if begun >= tripped_since => self.heal(now),
            (State::Probing { since, tripped_since }, Verdict::Hard | Verdict::Late | Verdict::Throttled)
                if begun >= since =>
            {
                self.trip(tripped_since, now, jitter);
            }
            (State::Tripped { .. } | State::Probing { .. }, _) => {}
        }
        let to = self.state(now);
        (from != to).then_some(Transition { from, to })
    }

    /// An attempt answered that had been counted as late at `late_at`: it was slow and not lost. A trip that
    /// this made is taken back, unless what really failed would have tripped it, too.
    pub(super) fn answered_late(
        &mut self,
        late_at: Instant,
        begun: Instant,
        now: Instant,
    ) -> Option<Transition> {
        let from = self.state(now);
        self.window.forgive(late_at, now);
        self.in_a_row = 0;
        match self.state {
            State::Tripped { since, .. } if begun >= since => self.heal(now),
            State::Probing { tripped_since, .. } if begun >= tripped_since => self.heal(now),
            State::Tripped { .. } if self.is_suspected && !self.fails(now) => {
                self.doublings = self.doublings.saturating_sub(1);
                self.state = State::Serving { ramp_from: None };
                self.calm_since = Some(now);
            }
            State::Serving { .. } | State::Tripped { .. } | State::Probing { .. } => {}
        }
        let to = self.state(now);
        (from != to).then_some(Transition { from, to })
    }

    /// Hard failures since the last good end.
    pub(super) fn in_a_row(&self) -> u32 {
        self.in_a_row
    }

    /// Share of good ends in the last 30 s, in thousandths.
    pub(super) fn success_permille(&self, now: Instant) -> u16 {
        self.window.tally(now).success_permille()
    }

    fn fails(&self, now: Instant) -> bool {
        let tally: Tally = self.window.tally(now);
        let share_is_bad = tally.all() >= SAMPLES_MIN && tally.success_permille() < SUCCESS_PERMILLE_MIN;
        self.in_a_row >= FAILURES_IN_A_ROW || share_is_bad
    }

    fn trip(&mut self, since: Instant, now: Instant, jitter: f64) {
        let calm = self.calm_since.take().map_or(Duration::ZERO, |s| now.saturating_duration_since(s));
        let taken_back = (calm.as_secs() / CALM.as_secs()) as u32;
        self.doublings = self.doublings.saturating_sub(taken_back);
        let pause = PAUSE_MIN.saturating_mul(1 << self.doublings.min(DOUBLINGS_MAX));
        let until = now + pause.mul_f64(1.0 + jitter.clamp(0.0, 1.0) / 2.0);
        self.doublings = (self.doublings + 1).min(DOUBLINGS_MAX);
        self.state = State::Tripped { since, until };
    }

    fn heal(&mut self, now: Instant) {
        self.state = State::Serving { ramp_from: Some(now) };
        (self.in_a_row, self.is_suspected) = (0, false);
        self.window.clear();
        self.calm_since = Some(now);
    }
}

fn ramp(from: Option<Instant>, now: Instant) -> u8 {
    let Some(from) = from else { return 100 };
    let passed = now.saturating_duration_since(from);
    if passed >= RAMP {
        100
    } else if passed >= RAMP / 2 {
        50
    } else {
        10
    }
}

#[cfg(test)]
mod tests;
