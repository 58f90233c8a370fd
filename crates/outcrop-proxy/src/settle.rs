//! Charge once, record once, meter once, log once.
//!
//! A `Record` is opened with the exchange and settled at its end; one that is dropped instead was left
//! by its caller and settles as that (I-2). Every log line and every metric of an exchange comes from
//! here.

use std::sync::Arc;
use std::time::Duration;

use outcrop_core::decision::{
    AttemptFailure, AttemptRecord, Basis, Candidate, Decision, End, Exclusion, InputCounted, OutcomeRecord,
    Resumption,
};
use outcrop_core::failure::{Class, Failure, Origin, Reason};
use outcrop_core::money::NanoUsd;
use outcrop_core::operation::Operation;
use outcrop_core::{Code, Dialect, Priority, RequestId, Usage};
use outcrop_policy::Attribution;
use outcrop_policy::rates::Standing;
use outcrop_policy::route::Plan;
use outcrop_policy::stops::automatic::Observation;
use tokio::time::Instant;

use crate::clock::unix_ms;
use crate::gateway::Gateway;
use crate::intake::Call;
use crate::stages::Stage;

/// What is known of one exchange so far.
pub(crate) struct Record {
    gateway: Arc<Gateway>,
    // `None` once it is settled.
    decision: Option<Box<Decision>>,
    accepted: Instant,
    deadline: Instant,
    // Time spent waiting for upstreams: everything else is our own overhead.
    waited: Duration,
    // Time that the caller took to send the body, which is part of the overhead and not of our own doing.
    received: Duration,
    // What the pieces of a stream took to make.
    relayed: Duration,
    // When the last step ended.
    passed_at: Instant,
    // From accept to the first content; for a whole answer to its end.
    answered_after: Option<Duration>,
    path: Arc<str>,
    // `None` before it is held against the rate limits.
    rated: Option<Rated>,
    // What the upstream counted so far, for an answer that its caller does not wait for.
    counted: Usage,
    // Status of a refusal over money, where the key wants another than the usual one.
    refusal_status: Option<u16>,
    // Whose it is; `None` before that is known.
    whose: Option<Box<Attribution>>,
}

/// What an exchange is rated by, and what was left when it was held against the limits.
#[derive(Debug, Clone)]
pub(crate) struct Rated {
    pub(crate) whose: Arc<Attribution>,
    pub(crate) standing: Standing,
}

/// How an exchange ends.
pub(crate) enum Ending<'a> {
    /// The caller has a complete answer.
    Complete { usage: Usage, cost: Option<NanoUsd> },
    /// It broke after content had reached the caller.
    Partial { failure: &'a Failure, usage: Usage },
    /// It failed before any content.
    Failed(&'a Failure),
    /// The caller left.
    CallerGone,
}

/// Longest caller-given name kept in a record, in characters.
const NAME_CHARS_MAX: usize = 200;

impl Record {
    /// Opens the record of an exchange that was accepted at `accepted`.
    pub(crate) fn open(gateway: &Arc<Gateway>, api: Dialect, accepted: Instant, unix: Duration) -> Self {
        let mut buffer = uuid::Uuid::encode_buffer();
        let id = uuid::Uuid::now_v7().hyphenated().encode_lower(&mut buffer);
        let accepted_at_ms = u64::try_from(unix.as_millis()).unwrap_or(u64::MAX);
        let decision = Decision::opened(RequestId::new(&*id), accepted_at_ms, api);
        Self {
            gateway: Arc::clone(gateway),
            decision: Some(Box::new(decision)),
            accepted,
            deadline: accepted,
            waited: Duration::ZERO,
            received: Duration::ZERO,
            relayed: Duration::ZERO,
            passed_at: accepted,
            answered_after: None,
            path: Arc::from(""),
            rated: None,
            counted: Usage::default(),
            refusal_status: None,
            whose: None,
        }
    }

    fn decision(&mut self) -> &mut Decision {
        self.decision.as_mut().expect("invariant: only `settle`, which consumes the record, takes it")
    }

    fn view(&self) -> &Decision {
        self.decision.as_ref().expect("invariant: only `settle`, which consumes the record, takes it")
    }

    /// Its priority.
    pub(crate) fn priority(&self) -> Priority {
        self.view().priority
    }

    /// The id of the exchange.
    pub(crate) fn id(&self) -> &RequestId {
        &self.view().request_id
    }

    /// The model as the caller named it.
    pub(crate) fn model(&self) -> &str {
        &self.view().model
    }

    /// The operation's name; empty before it is known.
    pub(crate) fn operation(&self) -> &str {
        &self.view().operation
    }

    /// Attempts so far.
    pub(crate) fn attempts(&self) -> usize {
        self.view().attempts.len()
    }

    /// When the exchange was accepted.
    pub(crate) fn accepted(&self) -> Instant {
        self.accepted
    }

    /// When the promise ends.
    pub(crate) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Sets another end of the promise, for attempts beyond it.
    pub(crate) fn set_deadline(&mut self, deadline: Instant) {
        self.deadline = deadline;
    }

    /// The target of the last attempt; empty before there was one.
    pub(crate) fn last_target(&self) -> String {
        self.view().attempts.last().map_or_else(String::new, |attempt| attempt.target.clone())
    }

    /// Its stream broke, and the rest is asked for.
    pub(crate) fn resumes(&mut self, reason: Reason, text_bytes: usize) {
        let from = self.last_target();
        self.decision().resumed = Some(Resumption { from, reason, text_bytes: text_bytes as u64 });
    }

    /// Seconds since the Unix epoch at accept.
    pub(crate) fn created(&self) -> u64 {
        self.view().accepted_at_ms / 1000
    }

    /// Who calls, and under which snapshot.
    pub(crate) fn caller(&mut self, name: &str, snapshot: u64) {
        let decision = self.decision();
        name.clone_into(&mut decision.caller);
        decision.snapshot = snapshot;
    }

    /// Status of a refusal over money that the caller's key wants.
    pub(crate) fn refuse_with(&mut self, status: u16) {
        self.refusal_status = (status != Code::BudgetExceeded.status()).then_some(status);
    }

    /// Status of this failure where it is not the code's own.
    pub(crate) fn refusal_status(&self, failure: &Failure) -> Option<u16> {
        self.refusal_status.filter(|_| failure.code == Code::BudgetExceeded)
    }

    /// What is asked.
    pub(crate) fn asked(&mut self, call: &Call) {
        let decision = self.decision();
        decision.model = call.envelope.model.chars().take(NAME_CHARS_MAX).collect();
        decision.stream = call.envelope.stream;
    }

    /// Whose it is.
    pub(crate) fn attributed(&mut self, whose: &Attribution) {
        self.whose = Some(Box::new(whose.clone()));
    }

    /// What is promised.
    pub(crate) fn promised(&mut self, operation: &Operation, priority: Priority, deadline: Duration) {
        self.deadline = self.accepted + deadline;
        let decision = self.decision();
        operation.name.as_ref().clone_into(&mut decision.operation);
        decision.priority = priority;
        decision.deadline_ms = u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX);
    }

    /// How long the decision took.
    pub(crate) fn decided(&mut self, took: Duration) {
        self.decision().decided_in_ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.gateway.metrics.decision_seconds.observe(took.as_secs_f64());
    }

    /// What the exchange is rated by.
    pub(crate) fn rated(&mut self, rated: Rated) {
        self.rated = Some(rated);
    }

    /// The rating, and the time of day.
    pub(crate) fn rating(&self) -> (Option<Rated>, Duration) {
        let unix = Duration::from_millis(self.view().accepted_at_ms);
        (self.rated.clone(), unix.saturating_add(self.accepted.elapsed()))
    }

    /// Another model stands in for the asked one, because a budget is nearly used up.
    pub(crate) fn stood_in(&mut self, model: &str) {
        self.decision().stand_in = Some(model.to_owned());
    }

    /// What the upstream has counted up to here.
    pub(crate) fn counted(&mut self, usage: Usage) {
        self.counted = usage;
    }

    /// What was decided, and by what.
    pub(crate) fn planned(&mut self, plan: &mut Plan, basis: Basis) {
        let decision = self.decision();
        // Nothing after this step reads them in the plan.
        decision.candidates = std::mem::take(&mut plan.candidates);
        decision.basis = Some(Basis { mode: plan.mode, ..basis });
    }

    /// Every target of the model, with why it was left out.
    pub(crate) fn candidates(&self) -> &[Candidate] {
        &self.view().candidates
    }

    /// A target turned out not to be usable for the request; nothing was sent to it.
    pub(crate) fn excluded(&mut self, target: &str, why: Exclusion) {
        let candidates = &mut self.decision().candidates;
        if let Some(candidate) = candidates.iter_mut().find(|c| c.target == target) {
            candidate.rank = None;
            candidate.excluded = Some(why);
        }
    }

    /// An attempt ended: `failure` is `None` when it answered.
    pub(crate) fn attempt(&mut self, attempt: &Attempted<'_>) {
        let now = Instant::now();
        let took = now.saturating_duration_since(attempt.started);
        self.waited += took;
        let started = attempt.started.saturating_duration_since(self.accepted);
        let entry = AttemptRecord {
            target: attempt.target.to_owned(),
            started_us: micros(started),
            took_us: micros(took),
            failed: attempt.failure.map(|failure| AttemptFailure {
                class: failure.class,
                reason: failure.reason,
                status: failure.upstream.as_ref().map(|u| u.status),
                detail: failure.detail.clone(),
            }),
            upstream_request_id: attempt.upstream_request_id.to_owned(),
            input_counted: attempt.input_counted,
        };
        self.path = Arc::clone(attempt.path);
        if attempt.failure.is_none() {
            // The promise speaks of the first answer; one that goes on where it broke changes nothing.
            self.answered_after.get_or_insert(now.saturating_duration_since(self.accepted));
        }
        self.decision().attempts.push(entry);
        let class = attempt.failure.map_or("answered", |f| f.class.label());
        self.gateway.metrics.attempt(attempt.path, class);
    }

    /// A step has ended that began where the last one did.
    pub(crate) fn passed(&mut self, stage: Stage) {
        self.passed_by(stage, Instant::now());
    }

    /// The same, at that moment.
    pub(crate) fn passed_by(&mut self, stage: Stage, now: Instant) {
        let took = now.saturating_duration_since(self.passed_at);
        self.passed_at = now;
        if stage == Stage::Receive {
            self.received += took;
        }
        self.spent(stage, took);
    }

    /// A step took so long.
    pub(crate) fn spent(&self, stage: Stage, took: Duration) {
        self.gateway.metrics.stages.observe(stage, took);
    }

    /// The pieces of its stream took so long to make.
    pub(crate) fn relayed(&mut self, took: Duration) {
        self.relayed = took;
    }

    /// Microseconds that the gateway itself has added so far.
    pub(crate) fn overhead_us(&self) -> u64 {
        micros(self.accepted.elapsed().saturating_sub(self.waited))
    }

    /// The gateway answered by itself: no exchange with a model took place.
    pub(crate) fn forget(mut self) {
        self.decision = None;
    }

    /// Ends the exchange.
    pub(crate) fn settle(mut self, ending: &Ending<'_>) {
        self.finish(ending);
    }

    fn finish(&mut self, ending: &Ending<'_>) {
        let Some(mut decision) = self.decision.take() else { return };
        let ended = Instant::now();
        let total = ended.saturating_duration_since(self.accepted);
        let reached = self.answered_after.unwrap_or(total);
        let met = self.accepted + reached <= self.deadline;
        // For a stream the relay's own time is inside the wait for the upstream, so overhead counts
        // up to the first content only.
        let overhead = reached.saturating_sub(self.waited);
        let outcome = outcome_of(ending, total, overhead, met);
        self.charge(ending);
        self.gateway.metrics.exchange(&decision, &self.path, &outcome, self.answered_after);
        log(&decision, &self.path, &outcome, ending);
        decision.outcome = Some(outcome);
        self.gateway.keep(*decision);
        self.tell_triggers(ending);
        self.time(total, overhead, ended.elapsed());
    }

    /// What it took, where an upstream answered: of what the gateway refuses by itself all is its own.
    fn time(&self, total: Duration, overhead: Duration, settling: Duration) {
        let stages = &self.gateway.metrics.stages;
        stages.observe(Stage::Settle, settling);
        if self.answered_after.is_none() {
            return;
        }
        if !self.relayed.is_zero() {
            stages.observe(Stage::Relay, self.relayed);
        }
        let own = overhead.saturating_sub(self.received) + self.relayed + settling;
        stages.answered(total, own);
    }

    /// What the automatic stops are to know of it.
    fn tell_triggers(&mut self, ending: &Ending<'_>) {
        let Some(whose) = self.whose.take() else { return };
        let failed = match ending {
            Ending::Complete { .. } => Some(false),
            Ending::Partial { failure, .. } | Ending::Failed(failure) => speaks_of_service(failure),
            Ending::CallerGone => None,
        };
        // What it cost is told with each attempt's end, which may come later.
        let seen = Observation { failed, cost_nusd: 0 };
        self.gateway.stops.observe(&whose.at(&self.path, None), seen, unix_ms());
    }

    /// Takes the tokens that were counted from the rate limits.
    fn charge(&self, ending: &Ending<'_>) {
        let Some(rated) = &self.rated else { return };
        let usage = match ending {
            Ending::Complete { usage, .. } | Ending::Partial { usage, .. } => usage,
            Ending::Failed(_) | Ending::CallerGone => &self.counted,
        };
        self.gateway.rates.charge(&rated.whose, usage.total(), Instant::now().into_std());
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.finish(&Ending::CallerGone);
    }
}

/// One attempt that ended.
pub(crate) struct Attempted<'a> {
    pub(crate) path: &'a Arc<str>,
    pub(crate) target: &'a str,
    pub(crate) started: Instant,
    pub(crate) failure: Option<&'a Failure>,
    pub(crate) upstream_request_id: &'a str,
    pub(crate) input_counted: Option<InputCounted>,
}

/// Whether a failure is one of the service: not the caller's own, and not what a stop made.
fn speaks_of_service(failure: &Failure) -> Option<bool> {
    let own = matches!(failure.origin, Origin::Caller) || failure.class == Class::CallerGone;
    (!own && failure.code != Code::Stopped).then_some(true)
}

fn outcome_of(ending: &Ending<'_>, total: Duration, overhead: Duration, met: bool) -> OutcomeRecord {
    let (code, label, usage, cost, kept) = match ending {
        Ending::Complete { usage, cost } => (None, End::Ok, *usage, *cost, met),
        Ending::Partial { failure, usage } => (Some(failure.code), End::Partial, *usage, None, false),
        Ending::Failed(failure) if failure.class == Class::CallerGone => {
            (None, End::CallerGone, Usage::default(), None, met)
        }
        Ending::Failed(failure) => (Some(failure.code), End::Failed, Usage::default(), None, false),
        Ending::CallerGone => (None, End::CallerGone, Usage::default(), None, met),
    };
    OutcomeRecord {
        code,
        label,
        usage,
        cost_nusd: cost.map(|c| c.0),
        total_us: micros(total),
        overhead_us: micros(overhead),
        deadline_met: kept,
    }
}

fn log(decision: &Decision, path: &str, outcome: &OutcomeRecord, ending: &Ending<'_>) {
    let (reason, detail) = match ending {
        Ending::Partial { failure, .. } | Ending::Failed(failure) => {
            (failure.reason.label(), failure.detail.as_str())
        }
        Ending::Complete { .. } | Ending::CallerGone => ("", ""),
    };
    let gateway_fault = matches!(
        ending,
        Ending::Failed(f) | Ending::Partial { failure: f, .. } if f.origin != Origin::Caller
    );
    macro_rules! line {
        ($level:ident) => {
            tracing::$level!(
                request_id = decision.request_id.as_str(),
                api = decision.api.label(),
                caller = decision.caller.as_str(),
                model = decision.model.as_str(),
                operation = decision.operation.as_str(),
                stream = decision.stream,
                path,
                attempts = decision.attempts.len(),
                outcome = outcome.label.label(),
                code = outcome.code.map_or("", outcrop_core::Code::label),
                reason,
                detail,
                input_tokens = outcome.usage.input_total(),
                output_tokens = outcome.usage.output_or_zero(),
                total_us = outcome.total_us,
                overhead_us = outcome.overhead_us,
                "exchange"
            )
        };
    }
    if gateway_fault { line!(warn) } else { line!(info) }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
