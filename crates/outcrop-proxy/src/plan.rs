//! Where may it go, in which order? Asks the policy and writes down its answer.

use std::hash::{DefaultHasher, Hash, Hasher};

use outcrop_core::failure::{Code, Failure};
use outcrop_core::operation::Operation;
use outcrop_core::{Priority, Usage};
use outcrop_policy::Health;
use outcrop_policy::health::Shape;
use outcrop_policy::ledger::Level;
use outcrop_policy::operations::DEFAULT_OPERATION;
use outcrop_policy::route::{Circumstances, Plan, Question, TargetSpec};
use tokio::time::Instant;

use crate::authenticate::Caller;
use crate::gateway::Snapshot;
use crate::headers::Wishes;
use crate::intake::Call;
use crate::settle::Record;

/// Output tokens that an answer usually has, at most.
const OUTPUT_USUAL: u64 = 500;

/// What the request is promised: its operation, and the deadline that begins to run with it.
pub(crate) fn promise<'a>(
    snapshot: &'a Snapshot,
    wishes: &Wishes,
    record: &mut Record,
) -> Result<&'a Operation, Failure> {
    let name = wishes.operation.as_deref().unwrap_or(DEFAULT_OPERATION);
    let operation = snapshot.routes.operation(name).ok_or_else(|| {
        let known: Vec<&str> = snapshot.routes.operations.iter().map(|o| &*o.name).collect();
        Failure::refusal(
            Code::InvalidRequest,
            format!("x-outcrop-operation names no operation; known: {}.", known.join(", ")),
        )
    })?;
    let deadline = wishes.deadline.map_or(operation.deadline, |d| d.min(operation.deadline));
    let priority = wishes.priority.map_or(operation.priority, |p| p.min(operation.priority));
    record.promised(operation, priority, deadline);
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
    let Planning { call, caller, operation, .. } = planning;
    record.asked(call);
    if !caller.may_ask_for(&operation.name) {
        return Err(Failure::refusal(Code::Forbidden, "Your key may not ask for this operation."));
    }
    let started = Instant::now();
    let model = planning.model(record);
    let circumstances = planning.circumstances(started, record);
    let plan = ask_policy(planning, model, circumstances, record.created());
    record.decided(started.elapsed());
    let plan = plan.ok_or_else(|| unknown_model(call))?;
    record.candidates(&plan);
    if plan.choices.is_empty() {
        return Err(no_legal_target(&plan, call));
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

fn ask_policy(planning: Planning<'_>, model: &str, circumstances: Circumstances, unix: u64) -> Option<Plan> {
    let Planning { snapshot, caller, call, operation, health, .. } = planning;
    let (shape, now) = (shape_of(call), Instant::now().into_std());
    let standing = |name: &str, spec: &TargetSpec| health.standing(name, shape, spec.quota, now);
    let is_alias = snapshot.routes.models.contains_key(model);
    let can_carry = |spec: &TargetSpec, id: &str| {
        let path = snapshot.upstreams.path(&spec.path);
        path.is_some_and(|path| path.speaks(&call.envelope, id).is_some())
    };
    snapshot.routes.plan(&Question {
        model,
        operation,
        residency: caller.residency.or(call.wishes.residency),
        hint: call.wishes.path.as_deref(),
        allowed: caller.may_use(model, is_alias),
        unix,
        can_carry: &can_carry,
        standing: &standing,
        usage: probable_usage(call),
        circumstances,
    })
}

/// The shape of the answer that a call asks for.
pub(crate) fn shape_of(call: &Call) -> Shape {
    if call.envelope.stream { Shape::Stream } else { Shape::Whole }
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

fn shown_model(call: &Call) -> String {
    call.envelope.model.chars().take(120).collect()
}

fn unknown_model(call: &Call) -> Failure {
    let model = shown_model(call);
    Failure::refusal(
        Code::UnknownModel,
        format!("The model `{model}` is not known here; GET /v1/models lists the models you may use."),
    )
}

/// No target is legal: forbidden when it is the key's doing, 400 when no path can say it, 422 when one
/// would be if it had a price, else 503.
fn no_legal_target(plan: &Plan, call: &Call) -> Failure {
    use outcrop_core::decision::Exclusion;
    let all = |why: Exclusion| plan.candidates.iter().all(|c| c.excluded == Some(why));
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
    if plan.candidates.iter().any(|c| c.excluded == Some(Exclusion::TooSlow)) {
        return Failure::refusal(
            Code::DeadlineInfeasible,
            "Every path that may serve this request usually takes longer than what is left of its deadline, so \
             it was not sent; allow more time.",
        );
    }
    if plan.candidates.iter().any(|c| c.excluded == Some(Exclusion::PriceUnknown)) {
        let model = shown_model(call);
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
