//! How a plan is walked: which try may follow, how long it may take, and what a failure allows.
//!
//! Each target is visited once and at most three are; while another is left, a part of the time is kept
//! for it.

use std::time::Duration;

use outcrop_core::failure::Class;
use outcrop_core::path::Effect;

use crate::health::Terms;
use crate::route::{ATTEMPTS_MAX, Choice, Mode, Plan};

/// Share of the remaining time that a try may take while another target is left.
const SHARE: f64 = 0.6;

/// One try of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// How it looks at its target's health.
    pub terms: Terms,
    /// Longest time to its first content.
    pub time: Duration,
    /// Whether another target could answer instead, so that a lost one is not waited for.
    pub others_left: bool,
}

impl Plan {
    /// The try at the choice with this position, after so many others were sent; `None` when there may be
    /// none. `may_follow` says whether a later choice could be asked as things stand: a slow try is not given
    /// up for one that could not.
    pub fn step(
        &self,
        position: usize,
        tried: usize,
        remaining: Duration,
        may_follow: impl FnMut(&Choice) -> bool,
    ) -> Option<Step> {
        let over = remaining.is_zero() || tried >= ATTEMPTS_MAX || (self.mode == Mode::Panic && tried > 0);
        if over || position >= self.choices.len() {
            return None;
        }
        let others_left = self.mode == Mode::Usual
            && tried + 1 < ATTEMPTS_MAX
            && self.choices.iter().take(self.serving).skip(position + 1).any(may_follow);
        let terms = match self.mode {
            Mode::Panic => Terms::Panic,
            Mode::Lone => Terms::Lone,
            Mode::Usual if tried == 0 => Terms::First,
            Mode::Usual => Terms::Further,
        };
        let time = if others_left { remaining.mul_f64(SHARE) } else { remaining };
        Some(Step { terms, time, others_left })
    }
}

/// Whether another target may be tried after a failure of this class (see `docs/routing.md`,
/// "Outcomes").
pub fn may_go_elsewhere(class: Class, effect: Effect) -> bool {
    match class {
        Class::NotSent | Class::Refused | Class::NotHere | Class::Credential => true,
        Class::Ambiguous => effect.may_repeat(),
        Class::Permanent | Class::Partial | Class::CallerGone => false,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use outcrop_core::TargetId;
    use outcrop_core::money::Price;

    use super::*;

    const TEN: Duration = Duration::from_secs(10);

    fn plan(choices: usize, mode: Mode) -> Plan {
        let choice = Choice {
            target: TargetId(0),
            model_id: Arc::from("m"),
            price: Arc::new(Price::free("m", "test")),
        };
        Plan {
            choices: (0..choices).map(|_| choice.clone()).collect(),
            candidates: Vec::new(),
            mode,
            serving: choices,
        }
    }

    #[test]
    fn time_is_kept_for_one_failover_and_three_targets_are_the_most() {
        let four = plan(4, Mode::Usual);
        let step = four.step(0, 0, TEN, |_| true).unwrap();
        assert_eq!((step.terms, step.time, step.others_left), (Terms::First, TEN.mul_f64(0.6), true));
        let last = four.step(2, 2, TEN, |_| true).unwrap();
        assert_eq!((last.terms, last.time, last.others_left), (Terms::Further, TEN, false));
        assert_eq!(four.step(3, 3, TEN, |_| true), None);
        assert_eq!(four.step(0, 0, Duration::ZERO, |_| true), None);
        assert_eq!(plan(1, Mode::Usual).step(1, 1, TEN, |_| true), None);
    }

    #[test]
    fn a_try_is_not_given_up_for_a_target_that_could_not_be_asked() {
        let step = plan(2, Mode::Usual).step(0, 0, TEN, |_| false).unwrap();
        assert_eq!((step.time, step.others_left), (TEN, false));
    }

    #[test]
    fn in_a_panic_one_target_is_tried() {
        let step = plan(3, Mode::Panic).step(0, 0, TEN, |_| true).unwrap();
        assert_eq!((step.terms, step.time, step.others_left), (Terms::Panic, TEN, false));
        assert_eq!(plan(3, Mode::Panic).step(1, 1, TEN, |_| true), None);
        // One that was not sent is no try.
        assert!(plan(3, Mode::Panic).step(1, 0, TEN, |_| true).is_some());
        assert_eq!(plan(1, Mode::Lone).step(0, 0, TEN, |_| true).unwrap().terms, Terms::Lone);
    }

    fn check(class: Class, effect: Effect, expected: bool) {
        assert_eq!(may_go_elsewhere(class, effect), expected, "{class:?} {effect:?}");
    }

    #[test]
    fn what_may_have_run_is_repeated_only_where_that_is_harmless() {
        check(Class::Ambiguous, Effect::ReadOnly, true);
        check(Class::Ambiguous, Effect::Idempotent, true);
        check(Class::Ambiguous, Effect::Keyed, false);
        check(Class::Ambiguous, Effect::Unsafe, false);
        check(Class::NotSent, Effect::Unsafe, true);
        check(Class::Permanent, Effect::ReadOnly, false);
        check(Class::CallerGone, Effect::ReadOnly, false);
    }
}
