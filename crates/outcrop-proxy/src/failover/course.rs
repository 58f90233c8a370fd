//! The legs of one exchange that are under way, and what came of the others.

use std::sync::Arc;
use std::time::Duration;

use outcrop_core::failure::{Class, Code, Failure};
use outcrop_core::path::Effect;
use outcrop_policy::health::{Denied, Terms};
use outcrop_policy::route::{Choice, Plan, TargetSpec, target_name};
use outcrop_policy::walk::{Walk, may_go_elsewhere};
use smallvec::SmallVec;
use tokio::time::{Instant, sleep_until};

use crate::committed::Committed;
use crate::drain::Opened;
use crate::hedge::Hedge;
use crate::leg::{Exchange, Leg, NotBegun, Start, is_unsent_for_our_sake};
use crate::settle::Record;
use crate::trial;

/// What comes next.
pub(super) enum Turn {
    /// Another target is looked for.
    Next,
    /// Nothing can be done but wait.
    Wait,
    /// The leg at this place has ended.
    Ended(usize, Box<Result<Opened, Failure>>),
    /// What cannot be mended by another target.
    Over(Failure),
}

/// An exchange on its way along its plan.
pub(super) struct Course<'a> {
    exchange: Exchange<'a>,
    plan: &'a Plan,
    walk: Walk,
    legs: SmallVec<[Leg<'a>; 1]>,
    hedge: Hedge,
    /// When another target is looked for beside the legs under way.
    looks_at: Option<Instant>,
    last: Option<(Arc<str>, Failure)>,
    unsaid: Option<(usize, Failure)>,
}

impl<'a> Course<'a> {
    pub(super) fn of(exchange: Exchange<'a>, plan: &'a Plan, record: &Record) -> Self {
        let hedge = Hedge::of(exchange, plan, record);
        let walk = Walk::of(plan, record.attempts());
        let legs = SmallVec::new();
        Self { exchange, plan, walk, legs, hedge, looks_at: None, last: None, unsaid: None }
    }

    pub(super) fn is_under_way(&self) -> bool {
        !self.legs.is_empty()
    }

    /// Begins a leg at the first target that may be asked. Beside others it is one in their stead, or a
    /// second one for what is urgent.
    pub(super) async fn set_out(&mut self, record: &mut Record) -> Turn {
        let now = Instant::now();
        let is_hedge = self.is_under_way() && !self.is_slow(now);
        // When the process itself is late every target seems slow.
        let own = self.exchange.gateway.slots.own_delay();
        let late = self.legs.last().map_or(Duration::ZERO, |leg| own.saturating_sub(leg.waited(now)));
        let is_late = !late.is_zero();
        if is_hedge && (is_late || !self.hedge.take(self.exchange.gateway)) {
            let again = is_late.then(|| now + late);
            self.looks_at = again.into_iter().chain(self.slow_at()).min();
            return Turn::Wait;
        }
        let mut from = 0;
        while let Some(position) = self.walk.next(from) {
            from = position + 1;
            let Some(choice) = self.plan.choices.get(position) else { break };
            if self.is_under_way() && (is_late || !self.may_go_beside(position, choice, is_hedge)) {
                self.walk.denied(position, Denied::NoRetry);
                continue;
            }
            let terms = self.terms(is_hedge, now);
            match self.begin(position, choice, terms, record).await {
                Begun::Leg(leg) => return self.has_begun(leg, is_hedge),
                Begun::Ended(at, opened) => return Turn::Ended(at, opened),
                Begun::Not(NotBegun::Denied(why)) => self.walk.denied(position, why),
                Begun::Not(NotBegun::Refused(failure)) => {
                    self.walk.ruled_out(position);
                    if let Some(failure) = self.take_in(position, self.spec(choice), failure) {
                        return Turn::Over(failure);
                    }
                }
            }
        }
        // Hedges are tried once; for one that is slow it is looked again.
        self.looks_at = if is_hedge { self.slow_at() } else { self.looks_again(record) };
        Turn::Wait
    }

    /// Waits for one of the legs, until it is time to look for another target.
    pub(super) async fn wait(&mut self) -> Turn {
        let looks_at = self.looks_at;
        let look = async {
            match looks_at {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            (at, opened) = first_end(&mut self.legs) => Turn::Ended(at, Box::new(opened)),
            () = look => Turn::Next,
        }
    }

    /// When to look again, if anybody is worth waiting for. Jittered, so that those who wait for the same
    /// target do not come at once.
    pub(super) fn looks_again(&self, record: &Record) -> Option<Instant> {
        let now = Instant::now();
        let remaining = record.deadline().saturating_duration_since(now);
        let health = &self.exchange.gateway.health;
        let alive = |choice: &Choice| health.is_alive(&self.name(choice), now.into_std());
        let after = self.walk.looks_again(self.plan, remaining, alive)?;
        let after = after.mul_f64(1.0 + rand::random::<f64>() / 2.0);
        Some((now + after).min(record.deadline()))
    }

    /// What came of a leg: the answer, a failure that no other target can mend, or `None`.
    pub(super) fn conclude(
        &mut self,
        at: usize,
        opened: Result<Opened, Failure>,
        record: &mut Record,
    ) -> Option<Result<Committed, Failure>> {
        let leg = self.legs.remove(at);
        let spec = leg.spec();
        if opened.is_ok() {
            self.lose_others(record);
        }
        match leg.conclude(opened, record) {
            Ok(committed) => {
                self.count_failover(&committed.path);
                self.note_denied(record);
                Some(Ok(committed))
            }
            Err(failure) => {
                if is_unsent_for_our_sake(&failure) {
                    self.walk.unsent();
                }
                let over = self.take_in(0, spec, failure)?;
                Some(Err(self.abandon(over, record)))
            }
        }
    }

    /// It ends with this failure, whatever is under way.
    pub(super) fn abandon(&mut self, failure: Failure, record: &mut Record) -> Failure {
        self.lose_others(record);
        self.note_denied(record);
        failure
    }

    /// Nothing is left to try.
    pub(super) fn exhausted(&mut self, record: &mut Record) -> Failure {
        self.note_denied(record);
        let denied = self.walk.kept_from().next();
        let refused = match (self.unsaid.take(), denied) {
            (Some((before, failure)), Some((position, _))) if before < position => Some(failure),
            (_, Some((_, why))) => Some(trial::refusal(why)),
            (unsaid, None) => unsaid.map(|(_, failure)| failure),
        };
        let last = self.last.take().map(|(_, failure)| failure).or(refused);
        let detail = last.as_ref().map(|f| format!("{}: {}", f.reason.label(), f.detail));
        if Instant::now() >= record.deadline() {
            return Failure::deadline(detail.unwrap_or_default());
        }
        last.unwrap_or_else(|| Failure::deadline("the deadline had passed before the first attempt"))
    }

    async fn begin(
        &mut self,
        position: usize,
        choice: &'a Choice,
        terms: Terms,
        record: &mut Record,
    ) -> Begun<'a> {
        let spec = self.spec(choice);
        let by = record.deadline();
        if by <= Instant::now() {
            return Begun::Not(NotBegun::Denied(Denied::Tripped { wait: Duration::MAX }));
        }
        // Two runs of what has an effect must never be under way.
        if !spec.effect.may_repeat() {
            self.give_up_all(record);
        }
        let number = record.attempts() + self.legs.len() + 1;
        let mut walk = self.walk.clone();
        walk.sent(position);
        let start = Start { choice, spec, terms, number, by, walk: &walk };
        let begun = Leg::begin(self.exchange, start, record);
        let begun = if self.legs.is_empty() {
            begun.await
        } else {
            tokio::select! {
                biased;
                (at, opened) = first_end(&mut self.legs) => return Begun::Ended(at, Box::new(opened)),
                begun = begun => begun,
            }
        };
        match begun {
            Ok(leg) => {
                self.walk = walk;
                Begun::Leg(leg)
            }
            Err(why) => Begun::Not(why),
        }
    }

    fn has_begun(&mut self, leg: Leg<'a>, is_hedge: bool) -> Turn {
        if !is_hedge {
            self.legs.iter_mut().for_each(Leg::turn_late);
        }
        self.looks_at = match self.hedge.at(&leg) {
            Some(at) if self.legs.is_empty() => Some(leg.slow_at().map_or(at, |slow| slow.min(at))),
            _ => leg.slow_at(),
        };
        self.legs.push(leg);
        Turn::Wait
    }

    fn terms(&self, is_hedge: bool, now: Instant) -> Terms {
        match self.legs.last() {
            Some(_) if is_hedge => Terms::First,
            Some(slow) => self.exchange.gateway.health.terms_beside(slow.target(), now.into_std()),
            None => self.walk.terms(),
        }
    }

    /// Whether this choice may be asked while others are under way.
    fn may_go_beside(&self, position: usize, choice: &Choice, is_hedge: bool) -> bool {
        let health = &self.exchange.gateway.health;
        let serves = || health.would_admit(&self.name(choice), Terms::First, Instant::now().into_std());
        let is_harmless = self.spec(choice).effect.may_repeat();
        // What has an effect is asked only when the others are given up for it: not for one that may say no.
        (is_harmless || (!is_hedge && serves())) && self.walk.may_go_beside(self.plan, position, |_| serves())
    }

    /// Takes a failure in; gives it back when no other target can mend it.
    fn take_in(&mut self, position: usize, spec: &TargetSpec, failure: Failure) -> Option<Failure> {
        if is_unsent_for_our_sake(&failure) {
            self.unsaid.get_or_insert((position, failure));
            return None;
        }
        self.count_failover(&spec.path);
        if !may_go_elsewhere(failure.class, spec.effect) {
            return Some(final_word(failure, spec.effect));
        }
        self.last = Some((Arc::clone(&spec.path), more_telling(self.last.take(), failure)));
        None
    }

    fn is_slow(&self, now: Instant) -> bool {
        self.slow_at().is_some_and(|at| at <= now)
    }

    /// When the newest leg is slow: the others are by then.
    fn slow_at(&self) -> Option<Instant> {
        self.legs.last().and_then(Leg::slow_at)
    }

    fn lose_others(&mut self, record: &mut Record) {
        self.legs.drain(..).for_each(|leg| leg.lose(record));
    }

    fn give_up_all(&mut self, record: &mut Record) {
        for leg in std::mem::take(&mut self.legs) {
            let spec = leg.spec();
            let failure = leg.give_up(record);
            self.count_failover(&spec.path);
            self.last = Some((Arc::clone(&spec.path), more_telling(self.last.take(), failure)));
        }
    }

    fn note_denied(&self, record: &mut Record) {
        for (position, why) in self.walk.kept_from() {
            if let Some(choice) = self.plan.choices.get(position) {
                record.excluded(&self.name(choice), trial::exclusion(why));
            }
        }
    }

    fn count_failover(&self, to: &Arc<str>) {
        if let Some((from, failure)) = &self.last {
            self.exchange.gateway.metrics.failover(from, to, failure.reason.label());
        }
    }

    fn spec(&self, choice: &Choice) -> &'a TargetSpec {
        self.exchange.snapshot.routes.target(choice.target)
    }

    fn name(&self, choice: &Choice) -> String {
        target_name(&self.spec(choice).path, &choice.model_id)
    }
}

/// What came of beginning a leg.
#[expect(clippy::large_enum_variant, reason = "one per attempt, and never stored")]
enum Begun<'a> {
    Leg(Leg<'a>),
    /// Another leg ended meanwhile.
    Ended(usize, Box<Result<Opened, Failure>>),
    Not(NotBegun),
}

/// Waits for the first of at most three legs to end, and says which. Cancel safe.
async fn first_end(legs: &mut [Leg<'_>]) -> (usize, Result<Opened, Failure>) {
    match legs {
        [] => std::future::pending().await,
        [one] => (0, one.first_content().await),
        [one, other] => tokio::select! {
            biased;
            opened = one.first_content() => (0, opened),
            opened = other.first_content() => (1, opened),
        },
        [one, other, third, ..] => tokio::select! {
            biased;
            opened = one.first_content() => (0, opened),
            opened = other.first_content() => (1, opened),
            opened = third.first_content() => (2, opened),
        },
    }
}

/// An attempt that may have had an effect and must not be repeated has an unknown outcome.
fn final_word(failure: Failure, effect: Effect) -> Failure {
    if failure.class != Class::Ambiguous || effect.may_repeat() {
        return failure;
    }
    Failure {
        code: Code::OutcomeUnknown,
        message: "The tool may or may not have run, and running it again could do harm; look at its \
                  effect before you try again."
            .into(),
        upstream: None,
        ..failure
    }
}

/// Of two failures the one that an upstream spoke itself tells the caller more.
fn more_telling(before: Option<(Arc<str>, Failure)>, failure: Failure) -> Failure {
    match before {
        Some((_, earlier)) if failure.upstream.is_none() && earlier.upstream.is_some() => earlier,
        _ => failure,
    }
}

#[cfg(test)]
mod tests {
    use outcrop_core::failure::Reason;

    use super::*;

    #[test]
    fn what_may_have_run_and_must_not_be_repeated_has_an_unknown_outcome() {
        let failure = Failure::network(Reason::Reset, Class::Ambiguous, "");
        assert_eq!(final_word(failure.clone(), Effect::Unsafe).code, Code::OutcomeUnknown);
        assert_eq!(final_word(failure, Effect::ReadOnly).code, Code::UpstreamFailed);
    }
}
