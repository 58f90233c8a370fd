//! Recorded decisions made again with other routes: what would have changed.
//!
//! Pure and repeatable: what was known of the targets, the seed and the time left come from the record, so
//! the same routes give the same decision. A target that the record does not know counts as one that
//! nobody has asked yet. Which answer would have come cannot be known: what is compared is expected.

mod summary;

use std::time::Duration;

use outcrop_core::decision::{Candidate, Decision, Exclusion, Standing};
use outcrop_core::operation::Operation;
use serde::{Deserialize, Serialize};

use crate::residency::Residency;
use crate::route::{Circumstances, Plan, Question, Routes, TargetSpec, target_name};

pub use self::summary::{Side, Summary};

/// A decision and what becomes of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Replayed {
    /// The exchange.
    pub request_id: String,
    /// Its operation.
    pub operation: String,
    /// The model that was routed.
    pub model: String,
    /// As recorded.
    pub before: Outlook,
    /// With the other routes.
    pub after: Outlook,
}

/// What was to be expected of a decision.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outlook {
    /// The first choice, as `path/model id`; `None` when nothing was legal.
    pub target: Option<String>,
    /// Why nothing was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<Refused>,
    /// What the first choice would probably cost, in nano-dollars.
    pub expected_nusd: Option<i64>,
    /// Microseconds to its content; `None` when nothing is known of it.
    pub expected_us: Option<u64>,
    /// Whether that is within the deadline; `None` when nothing is known.
    pub in_time: Option<bool>,
    /// How often it fails, in thousandths.
    pub failing_permille: u16,
}

/// Why a request would not be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refused {
    /// No target of the model is legal.
    NoLegalTarget,
    /// The model is not known.
    UnknownModel,
    /// The operation is not known.
    UnknownOperation,
    /// Model or operation is switched off.
    Disabled,
}

impl Replayed {
    /// Whether the first choice is another one, or costs something else, or keeps another promise.
    pub fn has_changed(&self) -> bool {
        self.before != self.after
    }

    /// Whether the request would travel elsewhere.
    pub fn has_moved(&self) -> bool {
        self.before.target != self.after.target
    }
}

impl Outlook {
    fn refused(why: Refused) -> Self {
        Self { refused: Some(why), ..Self::default() }
    }

    fn of(candidates: &[Candidate], remaining: Duration) -> Self {
        let ranked = candidates.iter().filter(|candidate| candidate.rank.is_some());
        let Some(first) = ranked.min_by_key(|candidate| candidate.rank) else {
            return Self::refused(Refused::NoLegalTarget);
        };
        let standing = first.standing.unwrap_or_default();
        Self {
            target: Some(first.target.clone()),
            refused: None,
            expected_nusd: first.expected_nusd,
            expected_us: standing.expected_us,
            in_time: standing.expected_us.map(|us| u128::from(us) <= remaining.as_micros()),
            failing_permille: 1000u16.saturating_sub(standing.success_permille),
        }
    }
}

/// Makes a recorded decision again with `routes`; `None` when it never came to a decision.
pub fn replay(routes: &Routes, decision: &Decision) -> Option<Replayed> {
    let basis = decision.basis.as_ref()?;
    let before = Outlook::of(&decision.candidates, Duration::from_micros(basis.remaining_us));
    let model = decision.stand_in.as_ref().unwrap_or(&decision.model);
    Some(Replayed {
        request_id: decision.request_id.to_string(),
        operation: decision.operation.clone(),
        model: model.clone(),
        before,
        after: again(routes, decision).unwrap_or_else(Outlook::refused),
    })
}

fn again(routes: &Routes, decision: &Decision) -> Result<Outlook, Refused> {
    let model = decision.stand_in.as_ref().unwrap_or(&decision.model);
    let operation = routes.operation(&decision.operation).ok_or(Refused::UnknownOperation)?;
    if routes.off.operations.contains(&*operation.name) || routes.off.models.contains(model.as_str()) {
        return Err(Refused::Disabled);
    }
    let circumstances = circumstances(routes, operation, decision).ok_or(Refused::NoLegalTarget)?;
    let mut plan = plan(routes, operation, circumstances, decision).ok_or(Refused::UnknownModel)?;
    for candidate in &mut plan.candidates {
        // What turned out after the decision, a budget without room for one, would do so again.
        let recorded = decision.candidates.iter().find(|c| c.target == candidate.target);
        if recorded.is_some_and(|c| c.excluded.is_some_and(is_found_later) && c.standing.is_some()) {
            candidate.rank = None;
        }
    }
    Ok(Outlook::of(&plan.candidates, circumstances.remaining))
}

fn plan(
    routes: &Routes,
    operation: &Operation,
    circumstances: Circumstances,
    decision: &Decision,
) -> Option<Plan> {
    let basis = decision.basis.as_ref()?;
    let known = |name: &str| decision.candidates.iter().find(|candidate| candidate.target == name);
    let carries = |spec: &TargetSpec, id: &str| carries(routes, spec, id, decision);
    let standing = |name: &str, _: &TargetSpec| -> Standing {
        known(name).and_then(|candidate| candidate.standing).unwrap_or_default()
    };
    routes.plan(&Question {
        model: decision.stand_in.as_ref().unwrap_or(&decision.model),
        operation,
        residency: basis.residency.as_deref().and_then(Residency::parse),
        hint: basis.hint.as_deref(),
        allowed: basis.allowed,
        unix: decision.accepted_at_ms / 1000,
        can_carry: &carries,
        standing: &standing,
        usage: basis.usage,
        circumstances,
    })
}

/// The circumstances of the record, as the operation promises them in these routes: a caller has
/// only ever shortened a deadline and lowered a priority.
fn circumstances(routes: &Routes, operation: &Operation, decision: &Decision) -> Option<Circumstances> {
    let basis = decision.basis.as_ref()?;
    let recorded = Duration::from_millis(decision.deadline_ms);
    let spent = recorded.saturating_sub(Duration::from_micros(basis.remaining_us));
    let asked = basis.asked_deadline_ms.map(Duration::from_millis);
    let deadline = asked.map_or(operation.deadline, |asked| asked.min(operation.deadline));
    Some(Circumstances {
        strategy: operation.strategy,
        remaining: deadline.saturating_sub(spent),
        priority: basis.asked_priority.map_or(operation.priority, |asked| asked.min(operation.priority)),
        stick: basis.stick,
        may_probe: basis.may_probe,
        money_is_short: basis.money_is_short,
        learns: routes.switches.intelligent_routing,
        seed: basis.seed,
    })
}

/// Whether a target could carry the request. The record says it of those that were asked; of others it is
/// what it was of a target of the same kind, else it is believed.
fn carries(routes: &Routes, spec: &TargetSpec, id: &str, decision: &Decision) -> bool {
    let says = |candidate: &Candidate| match candidate.excluded {
        Some(Exclusion::Capability) => Some(false),
        _ if candidate.standing.is_some() => Some(true),
        Some(Exclusion::Order | Exclusion::PriceUnknown) => Some(true),
        _ => None,
    };
    let name = target_name(&spec.path, id);
    let own = decision.candidates.iter().find(|candidate| candidate.target == name).and_then(says);
    let is_alike = |candidate: &&Candidate| {
        let path = candidate.target.split_once('/').map_or("", |(path, _)| path);
        routes.targets.iter().any(|other| *other.path == *path && other.kind == spec.kind)
    };
    own.or_else(|| decision.candidates.iter().filter(is_alike).find_map(says)).unwrap_or(true)
}

/// Exclusions that do not come from the decision itself but from what followed it.
fn is_found_later(why: Exclusion) -> bool {
    match why {
        Exclusion::Budget | Exclusion::Resting | Exclusion::Busy | Exclusion::Capability => true,
        Exclusion::Residency
        | Exclusion::AllowList
        | Exclusion::Order
        | Exclusion::Disabled
        | Exclusion::EmergencyOverMcp
        | Exclusion::PriceUnknown
        | Exclusion::FallbackOff
        | Exclusion::TooSlow
        | Exclusion::Tripped => false,
    }
}

#[cfg(test)]
pub(crate) mod tests;
