//! Where may it go, in which order? Asks the policy and writes down its answer.

use std::hash::{DefaultHasher, Hash, Hasher};

use outcrop_core::decision::{Basis, Candidate, Exclusion, Mode};
use outcrop_core::failure::{Code, Failure};
use outcrop_core::operation::Operation;
use outcrop_core::{Priority, Usage};
use outcrop_policy::Health;
use outcrop_policy::health::Shape;
use outcrop_policy::ledger::Level;
use outcrop_policy::operations::DEFAULT_OPERATION;
use outcrop_policy::route::{Circumstances, Plan, Question, Routes, TargetSpec};
use outcrop_upstream::speaks;
use tokio::time::Instant;

use crate::authenticate::Caller;
use crate::gateway::Snapshot;
use crate::headers::Wishes;
use crate::intake::Call;
use crate::settle::Record;

/// Output tokens that an answer usually has, at most.
pub(crate) const OUTPUT_USUAL: u64 = 500;

/// What the request is promised: its operation, and the deadline that begins to run with it.
pub(crate) fn promise<'a>(
    snapshot: &'a Snapshot,
    wishes: &Wishes,
    record: &mut Record,
) -> Result<&'a Operation, Failure> {
    let name = wishes.operation.as_deref().unwrap_or(DEFAULT_OPERATION);
    let operation = operation_of(&snapshot.routes, name)?;
    let deadline = wishes.deadline.map_or(operation.deadline, |d| d.min(operation.deadline));
    let priority = wishes.priority.map_or(operation.priority, |p| p.min(operation.priority));
    record.promised(operation, priority, deadline);
    Ok(operation)
}

/// The operation of that name, if it is known and switched on.
pub(crate) fn operation_of<'a>(routes: &'a Routes, name: &str) -> Result<&'a Operation, Failure> {
    let operation = routes.operation(name).ok_or_else(|| {
        let known: Vec<&str> = routes.operations.iter().map(|o| &*o.name).collect();
        Failure::refusal(
            Code::InvalidRequest,
            format!("x-outcrop-operation names no operation; known: {}.", known.join(", ")),
        )
    })?;
    if routes.off.operations.contains(&operation.name) {
        return Err(switched_off("operation", name));
    }
    Ok(operation)
}

/// What a plan is made from.
#[derive(Clone, Copy)]
pub(crate) struct Planning<'a> {
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) caller: &'a Caller,
    pub(crate) call: &'a Call,
    pub(crate) operation: &'a Operation,
    /// How much of its budgets is committed.
    pub(crate) pressure: Level,
    /// What is known of the targets.
    pub(crate) health: &'a Health,
}

/// Orders the legal targets of a call. When a budget is nearly used up, the model that was configured to
/// stand in is taken, unless the request is critical.
pub(crate) fn plan(planning: Planning<'_>, record: &mut Record) -> Result<Plan, Failure> {
    let call = planning.call;
    record.asked(call);
    let started = Instant::now();
    let model = planning.model(record);
    if planning.snapshot.routes.off.models.contains(model) {
        return Err(switched_off("model", model));
    }
    let circumstances = planning.circumstances(started, record);
    let basis = planning.basis(model, &circumstances);
    let plan = ask_policy(planning, model, &basis, circumstances, record.created());
    record.decided(started.elapsed());
    let mut plan = plan.ok_or_else(|| unknown_model(&call.envelope.model))?;
    record.planned(&mut plan, basis);
    if plan.choices.is_empty() {
        return Err(no_legal_target(record.candidates(), &call.envelope.model));
    }
    Ok(plan)
}

impl<'a> Planning<'a> {
    fn circumstances(&self, now: Instant, record: &Record) -> Circumstances {
        let Self { snapshot, caller, call, operation, .. } = self;
        Circumstances {
            strategy: operation.strategy,
            remaining: record.deadline().saturating_duration_since(now),
            priority: record.priority(),
            stick: call.envelope.cached_prefix().map(|prefix| sticking_to(caller, prefix)),
            may_probe: !call.envelope.has_tools,
            money_is_short: self.pressure >= Level::Throttled,
            learns: snapshot.routes.switches.intelligent_routing,
            seed: rand::random(),
        }
    }

    /// All that the policy is told of the request.
    fn basis(&self, model: &str, circumstances: &Circumstances) -> Basis {
        let Self { snapshot, caller, call, .. } = self;
        let is_alias = snapshot.routes.models.contains_key(model);
        Basis {
            strategy: circumstances.strategy,
            mode: Mode::default(),
            remaining_us: u64::try_from(circumstances.remaining.as_micros()).unwrap_or(u64::MAX),
            asked_deadline_ms: call.wishes.deadline.map(|d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX)),
            asked_priority: call.wishes.priority,
            stick: circumstances.stick,
            may_probe: circumstances.may_probe,
            money_is_short: circumstances.money_is_short,
            seed: circumstances.seed,
            residency: caller.residency.or(call.wishes.residency).map(|residency| residency.label().into()),
            hint: call.wishes.path.clone(),
            allowed: caller.may_use(model, is_alias),
            usage: probable_usage(call),
        }
    }

    fn model(&self, record: &mut Record) -> &'a str {
        let asked = self.call.envelope.model.as_str();
        let degrades = self.pressure >= Level::Degraded && record.priority() < Priority::Critical;
        let stand_in = self.snapshot.routes.stand_ins.get(asked).filter(|_| degrades);
        match stand_in.filter(|model| self.caller.may_use(model, true)) {
            Some(model) => {
                record.stood_in(model);
                model
            }
            None => asked,
        }
    }
}

fn ask_policy(
    planning: Planning<'_>,
    model: &str,
    basis: &Basis,
    circumstances: Circumstances,
    unix: u64,
) -> Option<Plan> {
    let Planning { snapshot, caller, call, operation, health, .. } = planning;
    let (shape, now) = (shape_of(call), Instant::now().into_std());
    let standing = |name: &str, spec: &TargetSpec| health.standing(name, shape, spec.quota, now);
    let can_carry = |spec: &TargetSpec, id: &str| speaks(spec.kind, &call.envelope, id).is_some();
    snapshot.routes.plan(&Question {
        model,
        operation,
        residency: caller.residency.or(call.wishes.residency),
        hint: call.wishes.path.as_deref(),
        allowed: basis.allowed,
        unix,
        can_carry: &can_carry,
        standing: &standing,
        usage: basis.usage,
        circumstances,
    })
}

/// The shape of the answer that a call asks for.
pub(crate) fn shape_of(call: &Call) -> Shape {
    shape(call.envelope.stream)
}

/// The shape of an answer.
pub(crate) fn shape(stream: bool) -> Shape {
    if stream { Shape::Stream } else { Shape::Whole }
}

/// Roughly what a call will use: enough to compare what it costs at one target and at another.
fn probable_usage(call: &Call) -> Usage {
    let input = call.envelope.body.len() as u64 / 4;
    Usage::of(input, call.envelope.max_tokens.unwrap_or(OUTPUT_USUAL).min(OUTPUT_USUAL))
}

/// Caches are kept apart by tenant, so the same prefix of two of them has two homes.
fn sticking_to(caller: &Caller, prefix: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    (&caller.name, prefix).hash(&mut hasher);
    hasher.finish()
}

fn shown(model: &str) -> String {
    model.chars().take(120).collect()
}

pub(crate) fn unknown_model(model: &str) -> Failure {
    let model = shown(model);
    Failure::refusal(
        Code::UnknownModel,
        format!("The model `{model}` is not known here; GET /v1/models lists the models you may use."),
    )
}

/// Model or operation is off: the operator's flag says so.
pub(crate) fn switched_off(what: &str, name: &str) -> Failure {
    let name = shown(name);
    Failure::refusal(
        Code::Disabled,
        format!(
            "The {what} `{name}` is switched off by whoever runs this gateway; use another one, or ask them."
        ),
    )
}

/// No target is legal: forbidden when it is the key's doing, 400 when no path can say it, 422 when one
/// would be if it had a price, else 503.
pub(crate) fn no_legal_target(candidates: &[Candidate], model: &str) -> Failure {
    let all = |why: Exclusion| candidates.iter().all(|c| c.excluded == Some(why));
    if all(Exclusion::AllowList) {
        return Failure::refusal(Code::Forbidden, "Your key may not use this model.");
    }
    if all(Exclusion::Capability) {
        return Failure::refusal(
            Code::InvalidRequest,
            "No path of this model can carry this kind of request; GET /v1/models lists the others.",
        );
    }
    // The price is looked for last, so a target without one is legal in every other way.
    if candidates.iter().any(|c| c.excluded == Some(Exclusion::TooSlow)) {
        return Failure::refusal(
            Code::DeadlineInfeasible,
            "Every path that may serve this request usually takes longer than what is left of its deadline, so \
             it was not sent; allow more time.",
        );
    }
    if candidates.iter().any(|c| c.excluded == Some(Exclusion::PriceUnknown)) {
        let model = shown(model);
        return Failure::refusal(
            Code::PriceUnknown,
            format!(
                "The price of `{model}` is not known here, so nothing can be spent on it; whoever runs this \
                 gateway can add a [[price]] row for it, or declare it `free = true`."
            ),
        );
    }
    Failure::refusal(
        Code::NoLegalTarget,
        "No path may serve this request: each is excluded by residency, the operation's order or the \
         operator. The decision record says which and why.",
    )
}
