//! How a plan is walked: which choice may be tried next, how long it is waited for, when to look again.
//!
//! Each target is sent a request once and at most three are. One that may not be asked now is not done
//! with: as long as there is time, it is looked at again.

use std::time::Duration;

use outcrop_core::failure::Class;
use outcrop_core::path::Effect;
use smallvec::SmallVec;

use crate::health::{Denied, Terms};
use crate::route::{ATTEMPTS_MAX, Choice, Mode, Plan};

/// Share of the remaining time after which a try is slow, whatever is usual, while another target is left.
const SHARE: f64 = 0.6;

/// Soonest that a target is looked at again which could not be asked.
const LOOK_MIN: Duration = Duration::from_millis(50);

/// Latest: a budget of retries fills again at any moment.
const LOOK_MAX: Duration = Duration::from_millis(500);

/// How far the choices of a plan have been walked.
#[derive(Debug, Clone, Default)]
pub struct Walk {
    marks: SmallVec<[Mark; 8]>,
    mode: Mode,
    sent: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    Left,
    /// It may not be asked now.
    Denied(Denied),
    /// It was asked, or never may be.
    Done,
}

impl Walk {
    /// The walk of a plan, after so many tries that were not of it.
    pub fn of(plan: &Plan, sent: usize) -> Self {
        Self { marks: SmallVec::from_elem(Mark::Left, plan.choices.len()), mode: plan.mode, sent }
    }

    /// The first choice from this position on that may be tried yet.
    pub fn next(&self, from: usize) -> Option<usize> {
        let open = |(position, mark): (usize, &Mark)| (*mark != Mark::Done).then_some(position);
        let marks = if self.is_over() { [].iter() } else { self.marks.iter() };
        marks.enumerate().skip(from).find_map(open)
    }

    /// How many were sent.
    pub fn tries(&self) -> usize {
        self.sent
    }

    /// How the next try looks at its target's health.
    pub fn terms(&self) -> Terms {
        match self.mode {
            Mode::Lone => Terms::Lone,
            Mode::Panic if self.sent == 0 => Terms::Panic,
            Mode::Panic => Terms::Hopeful,
            Mode::Usual if self.sent == 0 => Terms::First,
            Mode::Usual => Terms::Further,
        }
    }

    /// A try began there.
    pub fn sent(&mut self, position: usize) {
        self.sent += 1;
        self.mark(position, Mark::Done);
    }

    /// What began was not sent after all.
    pub fn unsent(&mut self) {
        self.sent = self.sent.saturating_sub(1);
    }

    /// It may never be tried: a budget has no room for it, or it cannot be said there.
    pub fn ruled_out(&mut self, position: usize) {
        self.mark(position, Mark::Done);
    }

    /// It may not be tried now.
    pub fn denied(&mut self, position: usize, why: Denied) {
        self.mark(position, Mark::Denied(why));
    }

    /// The choices that could not be tried when they were last looked at, and why.
    pub fn kept_from(&self) -> impl Iterator<Item = (usize, Denied)> + '_ {
        let denied = |(position, mark): (usize, &Mark)| match mark {
            Mark::Denied(why) => Some((position, *why)),
            Mark::Left | Mark::Done => None,
        };
        self.marks.iter().enumerate().filter_map(denied)
    }

    /// After how long a try is slow enough to look for another target; `patience` is how long its target's
    /// answers take at most. `None` when there is nothing to look for.
    pub fn slow_after(&self, remaining: Duration, patience: Option<Duration>) -> Option<Duration> {
        self.next(0)?;
        let share = remaining.mul_f64(SHARE);
        Some(patience.map_or(share, |patience| patience.min(share)))
    }

    /// Whether a choice may be asked beside a try that is slow: one that served when the plan was made, or
    /// that `serves` says does again. None is worth it that is only hoped for.
    pub fn may_go_beside(&self, plan: &Plan, position: usize, serves: impl FnOnce(&Choice) -> bool) -> bool {
        position < plan.serving || plan.choices.get(position).is_some_and(serves)
    }

    /// After how long to look again, when nothing could be tried; `None` when nobody is worth waiting for:
    /// all have been asked, the only one has failed, one was tried where none serves, all that are left
    /// wanted to be left alone before anything was sent, or none will be asked within the `remaining`
    /// time. Where nobody served to begin with, only those are waited for that were `alive` a moment ago.
    pub fn looks_again(
        &self,
        plan: &Plan,
        remaining: Duration,
        mut alive: impl FnMut(&Choice) -> bool,
    ) -> Option<Duration> {
        let all_rest = self.kept_from().all(|(_, why)| matches!(why, Denied::Resting { .. }));
        // Where nobody serves, more tries would only add to the trouble.
        let was_tried = self.mode == Mode::Panic && self.sent > 0;
        if self.is_over() || self.mode == Mode::Lone || was_tried || (self.sent == 0 && all_rest) {
            return None;
        }
        let is_hopeful = |position: usize, alive: &mut dyn FnMut(&Choice) -> bool| {
            self.mode != Mode::Panic || plan.choices.get(position).is_some_and(alive)
        };
        let waits = self.kept_from().filter(|(position, _)| is_hopeful(*position, &mut alive));
        let soonest = waits.filter_map(|(_, why)| self.wait_of(why)).min()?;
        (soonest < remaining).then(|| soonest.clamp(LOOK_MIN, LOOK_MAX))
    }

    fn wait_of(&self, why: Denied) -> Option<Duration> {
        match why {
            // Its budget of retries may let one through before its pause is over.
            Denied::Tripped { wait } if self.terms() == Terms::Further => Some(wait.min(LOOK_MAX)),
            Denied::Tripped { wait } | Denied::Resting { wait } => Some(wait),
            Denied::NoRetry => Some(LOOK_MAX),
            Denied::Held => None,
        }
    }

    fn is_over(&self) -> bool {
        self.sent >= ATTEMPTS_MAX
    }

    fn mark(&mut self, position: usize, mark: Mark) {
        if let Some(slot) = self.marks.get_mut(position) {
            *slot = mark;
        }
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
    const TRIPPED: Denied = Denied::Tripped { wait: Duration::from_secs(2) };
    const RESTS: Denied = Denied::Resting { wait: Duration::from_secs(2) };

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
            serving: if mode == Mode::Usual { choices } else { 0 },
        }
    }

    #[test]
    fn each_target_once_and_three_are_the_most() {
        let mut walk = Walk::of(&plan(4, Mode::Usual), 0);
        assert_eq!(walk.terms(), Terms::First);
        walk.sent(1);
        assert_eq!((walk.next(0), walk.next(1), walk.terms()), (Some(0), Some(2), Terms::Further));
        walk.sent(0);
        walk.sent(2);
        assert_eq!(walk.next(0), None);
        walk.unsent();
        assert_eq!(walk.next(0), Some(3));
        assert_eq!(Walk::of(&plan(2, Mode::Usual), 3).next(0), None);
    }

    #[test]
    fn time_is_kept_for_one_failover_while_another_target_is_left() {
        let mut walk = Walk::of(&plan(2, Mode::Usual), 0);
        walk.sent(0);
        assert_eq!(walk.slow_after(TEN, None), Some(TEN.mul_f64(0.6)));
        assert_eq!(walk.slow_after(TEN, Some(LOOK_MAX)), Some(LOOK_MAX));
        walk.sent(1);
        assert_eq!(walk.slow_after(TEN, Some(LOOK_MAX)), None);
    }

    #[test]
    fn beside_a_slow_try_only_what_serves() {
        let plan = Plan { serving: 1, ..plan(2, Mode::Usual) };
        let walk = Walk::of(&plan, 0);
        assert!(walk.may_go_beside(&plan, 0, |_| false));
        assert!(!walk.may_go_beside(&plan, 1, |_| false) && walk.may_go_beside(&plan, 1, |_| true));
    }

    fn waits(mode: Mode, sent: usize, why: Denied, alive: bool) -> Option<Duration> {
        let plan = plan(2, mode);
        let mut walk = Walk::of(&plan, 0);
        (0..sent).for_each(|position| walk.sent(position));
        (sent..2).for_each(|position| walk.denied(position, why));
        walk.looks_again(&plan, TEN, |_| alive)
    }

    #[test]
    fn who_cannot_be_asked_now_is_waited_for_where_that_may_help() {
        assert_eq!(waits(Mode::Usual, 1, TRIPPED, false), Some(LOOK_MAX));
        assert_eq!(waits(Mode::Usual, 1, RESTS, false), Some(LOOK_MAX));
        assert_eq!(waits(Mode::Usual, 1, Denied::Held, true), None);
        assert_eq!(waits(Mode::Usual, 2, TRIPPED, true), None);
        // Nothing was sent: the caller is told at once when to come back.
        assert_eq!(waits(Mode::Usual, 0, RESTS, true), None);
        assert_eq!(waits(Mode::Lone, 0, TRIPPED, true), None);
        assert_eq!(waits(Mode::Panic, 0, TRIPPED, true), Some(LOOK_MAX));
        assert_eq!(waits(Mode::Panic, 0, TRIPPED, false), None);
        assert_eq!(waits(Mode::Panic, 1, TRIPPED, true), None);
        let late = Denied::Resting { wait: TEN };
        assert_eq!(waits(Mode::Usual, 1, late, true), None);
    }

    #[test]
    fn in_a_panic_one_target_is_asked_whatever_its_health_and_others_that_give_hope() {
        let mut walk = Walk::of(&plan(3, Mode::Panic), 0);
        assert_eq!(walk.terms(), Terms::Panic);
        walk.sent(0);
        assert_eq!((walk.next(0), walk.terms()), (Some(1), Terms::Hopeful));
        assert_eq!(Walk::of(&plan(1, Mode::Lone), 0).terms(), Terms::Lone);
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
