//! Try targets until one answers.
//!
//! The loop is visible and is the only one: nothing below it tries a second target. Before the first
//! content byte a failure of any kind may go elsewhere, as its class allows; after it nothing may
//! (I-3), and that is a change of type: `Committed` is made here and consumed by the relay.

use std::sync::Arc;

use http::{HeaderName, HeaderValue};
use outcrop_core::failure::{Class, Code, Failure, Reason};
use outcrop_core::path::Effect;
use outcrop_core::{AttemptId, Protocol};
use outcrop_policy::route::{ATTEMPTS_MAX, Choice, Plan, TargetSpec, target_name};
use outcrop_policy::scope::Attribution;
use outcrop_policy::stops::Phase;
use outcrop_upstream::{Answer, AnswerBody, AnswerStream, Attempt, Dispatch, Whole};
use outcrop_wire::{Item, TargetModel};
use tokio::time::{Instant, timeout_at};

use crate::admit::{Admission, Reservation};
use crate::clock::unix_now;
use crate::gate::Ear;
use crate::gateway::{Gateway, Snapshot};
use crate::intake::Call;
use crate::plan::share;
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

/// Most bytes that may precede the first content of a stream.
const PRELUDE_BYTES_MAX: usize = 1024 * 1024;

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
        // Neither was sent, so neither is an attempt.
        if failure.reason == Reason::Inexpressible || is_stopped_unsent(&failure) {
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
    pub(crate) gateway: &'a Gateway,
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) call: &'a Call,
    pub(crate) whose: &'a Attribution,
    pub(crate) admission: &'a Admission,
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
    let whose = exchange.whose.clone().at(&spec.path, spec.region.as_ref());
    let mut stop = exchange.gateway.stops.listen();
    exchange.gateway.stops.may_start(&whose, id.request.as_str(), unix_now)?;
    let reservation = exchange.admission.reserve(Arc::clone(&choice.price));
    let started = Instant::now();
    let opened = tokio::select! {
        biased;
        failure = stop.cut(&whose, phase_of(exchange.call)) => Err(failure),
        opened = timeout_at(by, open(exchange, choice, spec, by, &id)) => {
            opened.unwrap_or_else(|_| Err(out_of_time()))
        }
    };
    let opened = match opened {
        // Nothing was sent, so it is no attempt.
        Err(failure) if failure.reason == Reason::Inexpressible => {
            record.cannot_carry(&target);
            reservation.void();
            return Err(failure);
        }
        opened => opened,
    };
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
    match opened {
        Ok((answer, seen)) => {
            Ok(commit(answer, seen, spec, target, reservation, Box::new(Cut { stop, whose })))
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

/// Sends the request and reads until there is content to give.
async fn open(
    exchange: Exchange<'_>,
    choice: &Choice,
    spec: &TargetSpec,
    by: Instant,
    id: &AttemptId,
) -> Result<(Answer, Vec<Item>), Failure> {
    let path = exchange.snapshot.upstreams.path(&spec.path).ok_or_else(|| {
        Failure::network(Reason::Connect, Class::NotSent, "the path is not part of this snapshot")
    })?;
    let model = TargetModel {
        id: &choice.model_id,
        max_tokens_default: spec.max_tokens_default,
        max_tokens_cap: None,
    };
    let attempt = Attempt {
        id,
        envelope: &exchange.call.envelope,
        model,
        deadline: by,
        headers: &exchange.call.travelling,
        dispatch: &Dispatch::untold(),
    };
    // Boxed: the largest future of an exchange is gone once the answer has begun.
    let mut answer = Box::pin(path.attempt(attempt)).await?;
    let mut seen = Vec::new();
    if let AnswerBody::Stream(stream) = &mut answer.body {
        read_prelude(stream, &mut seen).await?;
    }
    Ok((answer, seen))
}

async fn read_prelude(stream: &mut AnswerStream, seen: &mut Vec<Item>) -> Result<(), Failure> {
    let mut bytes = 0usize;
    loop {
        let Some(item) = stream.next().await? else {
            let detail = "the stream ended without content";
            return Err(Failure::network(Reason::Truncated, Class::Ambiguous, detail));
        };
        bytes = bytes.saturating_add(item.raw.len());
        if bytes > PRELUDE_BYTES_MAX {
            let detail = "no content within the first MiB";
            return Err(Failure::network(Reason::Oversized, Class::Ambiguous, detail));
        }
        let content = item.events.iter().any(outcrop_core::Event::is_content);
        seen.push(item);
        if content {
            return Ok(());
        }
    }
}

fn commit(
    answer: Answer,
    seen: Vec<Item>,
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

/// Whether an emergency stop kept an attempt from being dispatched.
fn is_stopped_unsent(failure: &Failure) -> bool {
    failure.code == Code::Stopped && failure.class == Class::NotSent
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

fn out_of_time() -> Failure {
    Failure::network(Reason::Timeout, Class::Ambiguous, "no content within the attempt's share of time")
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
