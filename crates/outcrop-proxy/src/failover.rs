//! Try targets until one answers.
//!
//! The loop is visible and is the only one: nothing below it tries a second target. Before the first
//! content byte a failure of any kind may go elsewhere, as its class allows; after it nothing may
//! (I-3), and that is a change of type: a leg becomes `Committed`, which the relay consumes.

use std::sync::Arc;

use outcrop_core::failure::{Class, Code, Failure};
use outcrop_core::path::Effect;
use outcrop_policy::health::Terms;
use outcrop_policy::route::{Choice, Plan, target_name};
use outcrop_policy::walk::may_go_elsewhere;
use tokio::time::Instant;

use crate::committed::Committed;
use crate::gateway::Gateway;
use crate::hedge::{self, Raced};
use crate::leg::{Exchange, Leg, Start, is_unsent_for_our_sake};
use crate::settle::Record;

/// Tries the targets of the plan in order until one answers or none may be tried any more.
pub(crate) async fn failover(
    exchange: Exchange<'_>,
    plan: &Plan,
    record: &mut Record,
) -> Result<Committed, Failure> {
    let mut last: Option<(Arc<str>, Failure)> = None;
    let mut unsaid: Option<Failure> = None;
    let urgent = hedge::is_urgent(exchange, record);
    let mut position = 0;
    while let Some(start) = next_start(exchange, plan, position, record) {
        position += 1;
        let spec = start.spec;
        let spare = if urgent && spec.effect.may_repeat() {
            next_start(exchange, plan, position, record)
                .filter(|spare| spare.spec.effect.may_repeat())
                .map(|spare| Start { number: start.number + 1, ..spare })
        } else {
            None
        };
        let Raced { result, used_spare } = try_one(exchange, start, spare, record).await;
        position += usize::from(used_spare);
        let failure = match result {
            Ok(committed) => {
                count_failover(exchange.gateway, last.as_ref(), &committed.path);
                return Ok(committed);
            }
            Err(failure) => failure,
        };
        if is_unsent_for_our_sake(&failure) {
            unsaid.get_or_insert(failure);
            continue;
        }
        count_failover(exchange.gateway, last.as_ref(), &spec.path);
        if !may_go_elsewhere(failure.class, spec.effect) {
            return Err(final_word(failure, spec.effect));
        }
        last = Some((Arc::clone(&spec.path), more_telling(last, failure)));
    }
    Err(exhausted(last.map(|(_, failure)| failure).or(unsaid), record))
}

/// The next try, if there may be one.
fn next_start<'a>(
    exchange: Exchange<'a>,
    plan: &'a Plan,
    position: usize,
    record: &Record,
) -> Option<Start<'a>> {
    let (now, tried) = (Instant::now(), record.attempts());
    let spec_of = |choice: &Choice| exchange.snapshot.routes.target(choice.target);
    let may_follow = |choice: &Choice| {
        let name = target_name(&spec_of(choice).path, &choice.model_id);
        exchange.gateway.health.would_admit(&name, Terms::Further, now.into_std())
    };
    let remaining = record.deadline().saturating_duration_since(now);
    let step = plan.step(position, tried, remaining, may_follow)?;
    let choice = plan.choices.get(position)?;
    Some(Start {
        choice,
        spec: spec_of(choice),
        terms: step.terms,
        number: tried + 1,
        by: now + step.time,
        others_left: step.others_left,
    })
}

/// One try at one target, up to its first content; with a spare, another one beside it when it is slow.
async fn try_one<'a>(
    exchange: Exchange<'a>,
    start: Start<'a>,
    spare: Option<Start<'a>>,
    record: &mut Record,
) -> Raced {
    let mut leg = match Leg::begin(exchange, start, record).await {
        Ok(leg) => leg,
        Err(failure) => return Raced { result: Err(failure), used_spare: false },
    };
    if let Some(spare) = spare {
        return hedge::race(exchange, leg, spare, record).await;
    }
    let opened = leg.first_content().await;
    Raced { result: leg.conclude(opened, record), used_spare: false }
}

fn count_failover(gateway: &Gateway, before: Option<&(Arc<str>, Failure)>, to: &Arc<str>) {
    if let Some((from, failure)) = before {
        gateway.metrics.failover(from, to, failure.reason.label());
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

fn exhausted(last: Option<Failure>, record: &Record) -> Failure {
    let detail = last.as_ref().map(|f| format!("{}: {}", f.reason.label(), f.detail));
    if Instant::now() >= record.deadline() {
        return Failure::deadline(detail.unwrap_or_default());
    }
    last.unwrap_or_else(|| Failure::deadline("the deadline had passed before the first attempt"))
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
