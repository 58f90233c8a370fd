//! Try targets until one answers.
//!
//! The loop is visible and is the only one: nothing below it tries a second target. Before the first
//! content byte a failure of any kind may go elsewhere, as its class allows; after it nothing may
//! (I-3), and that is a change of type: `Committed` is made here and consumed by the relay.

use std::sync::Arc;

use http::{HeaderName, HeaderValue};
use outcrop_core::decision::Exclusion;
use outcrop_core::failure::{Class, Code, Failure, Reason};
use outcrop_core::path::{AbortBilling, Effect};
use outcrop_core::{AttemptId, Protocol};
use outcrop_policy::route::{ATTEMPTS_MAX, Choice, Plan, TargetSpec, target_name};
use outcrop_policy::scope::Attribution;
use outcrop_policy::stops::Phase;
use outcrop_upstream::{AnswerBody, AnswerStream, Whole};
use outcrop_wire::Item;
use tokio::time::Instant;

use crate::clock::unix_now;
use crate::drain::Opened;
use crate::gate::Ear;
use crate::gateway::{Gateway, Snapshot};
use crate::intake::Call;
use crate::opening::{Opening, Try};
use crate::payer::Payer;
use crate::plan::share;
use crate::reserve::{Reservation, reserve};
use crate::settle::{Attempted, Record};

/// An answer whose first content is here: no other target will be tried.
pub(crate) struct Committed {
    pub(crate) path: Arc<str>,
    pub(crate) target: String,
    pub(crate) region: Option<Arc<str>>,
    pub(crate) protocol: Protocol,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) body: CommittedBody,
    pub(crate) reservation: Reservation,
    pub(crate) billing: AbortBilling,
}

/// The answer itself.
pub(crate) enum CommittedBody {
    /// All of it.
    Whole(Box<Whole>),
    /// What was read up to the first content, and the rest.
    Stream { seen: Vec<Item>, rest: AnswerStream, cut: Box<Cut> },
}

/// What an emergency stop needs to know of a stream to cut it.
pub(crate) struct Cut {
    stop: Ear,
    whose: Attribution,
}

impl Cut {
    /// Ends when the stream is cut.
    pub(crate) async fn come(&mut self) -> Failure {
        self.stop.cut(&self.whose, Phase::Stream).await
    }
}

/// Tries the targets of the plan in order until one answers or none may be tried any more.
pub(crate) async fn failover(
    exchange: Exchange<'_>,
    plan: &Plan,
    record: &mut Record,
) -> Result<Committed, Failure> {
    let mut last: Option<(Arc<str>, Failure)> = None;
    let mut unsaid: Option<Failure> = None;
    for (position, choice) in plan.choices.iter().enumerate() {
        let now = Instant::now();
        let remaining = record.deadline().saturating_duration_since(now);
        if remaining.is_zero() || record.attempts() == ATTEMPTS_MAX {
            break;
        }
        let spec = exchange.snapshot.routes.target(choice.target);
        let others_left = position + 1 < plan.choices.len() && record.attempts() + 1 < ATTEMPTS_MAX;
        let by = now + share(remaining, others_left);
        let failure = match try_one(exchange, choice, spec, by, record).await {
            Ok(committed) => {
                count_failover(exchange.gateway, last.as_ref(), spec);
                return Ok(committed);
            }
            Err(failure) => failure,
        };
        if is_unsent_for_our_sake(&failure) {
            unsaid.get_or_insert(failure);
            continue;
        }
        count_failover(exchange.gateway, last.as_ref(), spec);
        if !may_go_elsewhere(failure.class, spec.effect) {
            return Err(final_word(failure, spec.effect));
        }
        last = Some((Arc::clone(&spec.path), more_telling(last, failure)));
    }
    Err(exhausted(last.map(|(_, failure)| failure).or(unsaid), record))
}

fn count_failover(gateway: &Gateway, before: Option<&(Arc<str>, Failure)>, to: &TargetSpec) {
    if let Some((from, failure)) = before {
        gateway.metrics.failover(from, &to.path, failure.reason.label());
    }
}

/// What every attempt of one exchange shares.
#[derive(Clone, Copy)]
pub(crate) struct Exchange<'a> {
    pub(crate) gateway: &'a Arc<Gateway>,
    pub(crate) snapshot: &'a Arc<Snapshot>,
    pub(crate) call: &'a Arc<Call>,
    pub(crate) payer: &'a Arc<Payer>,
}

/// One try at one target, up to its first content, with its own reservation.
async fn try_one(
    exchange: Exchange<'_>,
    choice: &Choice,
    spec: &TargetSpec,
    by: Instant,
    record: &mut Record,
) -> Result<Committed, Failure> {
    let target = target_name(&spec.path, &choice.model_id);
    let number = u8::try_from(record.attempts() + 1).unwrap_or(u8::MAX);
    let id = AttemptId { request: record.id().clone(), number };
    let Exchange { gateway, snapshot, call, payer } = exchange;
    let quote = payer.quote(gateway, snapshot, &call.envelope, (choice, spec))?;
    let whose = quote.whose.clone();
    let mut stop = gateway.stops.listen();
    gateway.stops.may_start(&whose, id.request.as_str(), unix_now)?;
    let reservation = match reserve(gateway, payer, quote, &id, by).await {
        Ok(reservation) => reservation,
        Err(failure) => {
            record.excluded(&target, Exclusion::Budget);
            return Err(failure);
        }
    };
    let started = Instant::now();
    let one = Try { id, snapshot: Arc::clone(snapshot), call: Arc::clone(call), choice: choice.clone(), by };
    let mut opening = Opening::new(gateway, spec, one, reservation);
    let opened = tokio::select! {
        biased;
        failure = stop.cut(&whose, phase_of(call)) => Err(failure),
        opened = opening.first_content(by) => opened,
    };
    let mut reservation = opening.end();
    if let Err(failure) = &opened
        && is_unsent_for_our_sake(failure)
    {
        if failure.reason == Reason::Inexpressible {
            record.excluded(&target, Exclusion::Capability);
        }
        reservation.void();
        return Err(failure.clone());
    }
    let upstream_request_id = match &opened {
        Ok((answer, _)) => answer.upstream_request_id.as_str(),
        Err(failure) => failure.upstream.as_ref().map_or("", |u| u.request_id.as_str()),
    };
    record.attempt(&Attempted {
        path: &spec.path,
        target: &target,
        started,
        failure: opened.as_ref().err(),
        upstream_request_id,
    });
    reservation.answered(upstream_request_id);
    match opened {
        Ok((answer, seen)) => {
            let cut = Box::new(Cut { stop, whose });
            Ok(commit((answer, seen), spec, target, reservation, cut))
        }
        Err(failure) => {
            reservation.fail(failure.class);
            Err(failure)
        }
    }
}

/// How an emergency stop looks at an attempt that waits.
fn phase_of(call: &Call) -> Phase<'static> {
    if call.envelope.stream { Phase::Stream } else { Phase::Whole }
}

fn commit(
    (answer, seen): Opened,
    spec: &TargetSpec,
    target: String,
    reservation: Reservation,
    cut: Box<Cut>,
) -> Committed {
    Committed {
        path: Arc::clone(&spec.path),
        target,
        region: spec.region.clone(),
        protocol: answer.protocol,
        headers: answer.headers,
        body: match answer.body {
            AnswerBody::Whole(whole) => CommittedBody::Whole(Box::new(whole)),
            AnswerBody::Stream(rest) => CommittedBody::Stream { seen, rest, cut },
        },
        reservation,
        billing: spec.abort_billing,
    }
}

/// Whether another target may be tried after a failure of this class (see `docs/routing.md`,
/// "Outcomes").
fn may_go_elsewhere(class: Class, effect: Effect) -> bool {
    match class {
        Class::NotSent | Class::Refused | Class::NotHere | Class::Credential => true,
        Class::Ambiguous => effect.may_repeat(),
        Class::Permanent | Class::Partial | Class::CallerGone => false,
    }
}

/// Whether the gateway itself did not send it: the path cannot say it, a stop or a budget of that target
/// is in the way, or the ledger could not record it. It is no attempt, and says nothing of the target.
fn is_unsent_for_our_sake(failure: &Failure) -> bool {
    failure.reason == Reason::Inexpressible
        || (failure.reason == Reason::Policy && failure.class == Class::NotSent)
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
    use super::*;

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
        let failure = Failure::network(Reason::Reset, Class::Ambiguous, "");
        assert_eq!(final_word(failure.clone(), Effect::Unsafe).code, Code::OutcomeUnknown);
        assert_eq!(final_word(failure, Effect::ReadOnly).code, Code::UpstreamFailed);
    }
}
