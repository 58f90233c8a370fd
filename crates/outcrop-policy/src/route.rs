//! Where a request may go, and in which order: a pure function of the request, the routes and the
//! switches.
//!
//! Hard filters stand outside every score: a target they exclude is never tried, whatever else
//! fails. No allocation here grows with traffic; the size of the answer is bounded by the targets of
//! one model.

use std::collections::HashMap;
use std::sync::Arc;

use outcrop_core::TargetId;
use outcrop_core::decision::{Candidate, Exclusion};
use outcrop_core::money::Price;
use outcrop_core::operation::{Operation, Preference, Priority};
use outcrop_core::path::{AbortBilling, Effect, PathKind};
use smallvec::SmallVec;

use crate::price::{Asked, PriceBook};
use crate::residency::{Place, Residency};

/// Most targets that one exchange sends its request to.
pub const ATTEMPTS_MAX: usize = 3;

/// One target as the configuration describes it.
#[derive(Debug, Clone)]
pub struct TargetSpec {
    /// Name of its path.
    pub path: Arc<str>,
    /// Kind of its path.
    pub kind: PathKind,
    /// The id the upstream knows; empty for the target that stands for any raw Bedrock id.
    pub model_id: Arc<str>,
    /// Declared region of the path.
    pub region: Option<Arc<str>>,
    /// Regions a cross-region profile may run in, as pinned by the operator.
    pub destinations: Arc<[String]>,
    /// What a second run would do; always `ReadOnly` for inference.
    pub effect: Effect,
    /// Whether the operator left it switched on.
    pub enabled: bool,
    /// The price row that held when the configuration was read; a raw id is priced when it is asked for.
    pub price: Option<Arc<Price>>,
    /// The most output tokens that the model makes, as far as it is known.
    pub output_tokens_max: Option<u64>,
    /// What the upstream bills when a caller leaves.
    pub abort_billing: AbortBilling,
    /// Output limit to inject where the caller set none.
    pub max_tokens_default: Option<u64>,
}

impl TargetSpec {
    /// Whose price this target has.
    pub fn asked(&self) -> Asked<'_> {
        self.asked_for(&self.model_id)
    }

    fn asked_for<'a>(&'a self, model_id: &'a str) -> Asked<'a> {
        Asked { path: &self.path, kind: self.kind, region: self.region.as_deref(), model_id }
    }
}

/// Everything that routing reads; part of one immutable snapshot.
#[derive(Debug, Clone, Default)]
pub struct Routes {
    /// All targets; a `TargetId` is an index here.
    pub targets: Vec<TargetSpec>,
    /// Alias to its targets, in configured order.
    pub models: HashMap<Box<str>, Vec<TargetId>>,
    /// Alias to the alias that stands in for it when a budget is nearly used up.
    pub stand_ins: HashMap<Box<str>, Box<str>>,
    /// One target per Bedrock path for raw ids; empty when raw ids are not allowed.
    pub raw: Vec<TargetId>,
    /// The operation table.
    pub operations: Vec<Operation>,
    /// What models cost.
    pub prices: Arc<PriceBook>,
    /// Whether emergencies may travel over MCP.
    pub emergency_over_mcp: bool,
}

/// What is asked of the router.
#[derive(Clone, Copy)]
pub struct Question<'a> {
    /// Alias or raw id.
    pub model: &'a str,
    /// The operation.
    pub operation: &'a Operation,
    /// Requirements of key, operation or request; the strictest.
    pub residency: Option<Residency>,
    /// Kind or path name that should go first, if it is legal.
    pub hint: Option<&'a str>,
    /// Whether the key's allow-list admits the model.
    pub allowed: bool,
    /// Seconds since the Unix epoch: prices may end.
    pub unix: u64,
    /// Whether the path can carry the request at all.
    pub can_carry: &'a dyn Fn(&TargetSpec, &str) -> bool,
}

/// One target to try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// Which target.
    pub target: TargetId,
    /// The id to ask it for.
    pub model_id: Arc<str>,
    /// What it costs.
    pub price: Arc<Price>,
}

/// Ordered targets of one exchange.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// What to try, first choice first.
    pub choices: SmallVec<[Choice; ATTEMPTS_MAX]>,
    /// Every target of the model, for the decision record.
    pub candidates: Vec<Candidate>,
}

impl Routes {
    /// The operation with that name.
    pub fn operation(&self, name: &str) -> Option<&Operation> {
        self.operations.iter().find(|o| &*o.name == name)
    }

    /// The target behind an id of this snapshot.
    ///
    /// # Panics
    ///
    /// When the id comes from another snapshot.
    pub fn target(&self, id: TargetId) -> &TargetSpec {
        self.targets
            .get(id.index())
            .expect("invariant: a TargetId is only used with the snapshot that made it")
    }

    /// Targets of an alias or of a raw Bedrock id; `None` when neither is known.
    pub fn targets_of(&self, model: &str) -> Option<&[TargetId]> {
        match self.models.get(model) {
            Some(targets) => Some(targets),
            None if looks_like_bedrock_id(model) && !self.raw.is_empty() => Some(&self.raw),
            None => None,
        }
    }

    /// Orders the legal targets of the asked model. An empty `choices` means that no target is legal;
    /// `candidates` says why. `None` when the model is not known.
    pub fn plan(&self, question: &Question<'_>) -> Option<Plan> {
        let targets = self.targets_of(question.model)?;
        let mut legal: SmallVec<[Legal; 8]> = SmallVec::new();
        let mut candidates = Vec::with_capacity(targets.len());
        for (position, id) in targets.iter().enumerate() {
            let spec = self.target(*id);
            let model_id = asked_id(spec, question.model);
            let verdict = self.judge(spec, model_id, question).and_then(|rank| {
                let price = self.price_of(spec, model_id, question.unix).ok_or(Exclusion::PriceUnknown)?;
                Ok(Legal { rank, position, price })
            });
            candidates.push(Candidate {
                target: target_name(&spec.path, model_id),
                rank: None,
                excluded: verdict.as_ref().err().copied(),
            });
            legal.extend(verdict);
        }
        legal.sort_unstable_by_key(|legal| (legal.rank, legal.position));
        let mut plan = Plan { choices: SmallVec::new(), candidates };
        for (rank, legal) in (0u8..).zip(legal) {
            self.enlist(&mut plan, rank, targets, legal, question.model);
        }
        Some(plan)
    }

    /// The price of a model on a target at a time in seconds since the Unix epoch.
    pub fn price_of(&self, spec: &TargetSpec, model_id: &str, unix: u64) -> Option<Arc<Price>> {
        match &spec.price {
            Some(price) if price.holds_at(unix) => Some(Arc::clone(price)),
            Some(_) | None => self.prices.of(&spec.asked_for(model_id), unix),
        }
    }

    /// The most output tokens that a model makes on a target, as far as it is known.
    pub fn output_tokens_max(&self, spec: &TargetSpec, model_id: &str) -> Option<u64> {
        spec.output_tokens_max.or_else(|| self.prices.output_tokens_max(&spec.asked_for(model_id)))
    }

    fn enlist(&self, plan: &mut Plan, rank: u8, ids: &[TargetId], legal: Legal, model: &str) {
        let Legal { position, price, .. } = legal;
        let (Some(candidate), Some(id)) = (plan.candidates.get_mut(position), ids.get(position)) else {
            return;
        };
        candidate.rank = Some(rank);
        let spec = self.target(*id);
        let model_id = if spec.model_id.is_empty() { Arc::from(model) } else { Arc::clone(&spec.model_id) };
        plan.choices.push(Choice { target: *id, model_id, price });
    }

    fn judge(&self, spec: &TargetSpec, model_id: &str, question: &Question<'_>) -> Result<Rank, Exclusion> {
        let place = Place {
            kind: spec.kind,
            region: spec.region.as_deref(),
            destinations: &spec.destinations,
            model_id,
        };
        let emergency = question.operation.priority == Priority::Emergency;
        if !spec.enabled {
            Err(Exclusion::Disabled)
        } else if !question.allowed {
            Err(Exclusion::AllowList)
        } else if question.residency.is_some_and(|r| !r.admits(&place)) {
            Err(Exclusion::Residency)
        } else if emergency && spec.kind == PathKind::Mcp && !self.emergency_over_mcp {
            Err(Exclusion::EmergencyOverMcp)
        } else if !(question.can_carry)(spec, model_id) {
            Err(Exclusion::Capability)
        } else {
            Rank::of(spec, question).ok_or(Exclusion::Order)
        }
    }
}

/// A target that may serve the request.
struct Legal {
    rank: Rank,
    /// Among the targets of the model.
    position: usize,
    price: Arc<Price>,
}

/// Smaller goes first: the hint, then the place in the operation's order, then Bedrock within
/// `direct`; configured order decides the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    not_hinted: bool,
    preference: usize,
    not_bedrock: bool,
}

impl Rank {
    fn of(spec: &TargetSpec, question: &Question<'_>) -> Option<Self> {
        let order = &question.operation.order;
        let preference = order.iter().position(|preference| match preference {
            Preference::Direct => spec.kind.is_direct(),
            Preference::Kind(kind) => spec.kind == *kind,
            Preference::Path(name) => **name == *spec.path,
        })?;
        let hinted = question.hint.is_some_and(|hint| {
            hint == &*spec.path || hint == spec.kind.label() || (hint == "direct" && spec.kind.is_direct())
        });
        Some(Self { not_hinted: !hinted, preference, not_bedrock: spec.kind != PathKind::Bedrock })
    }
}

/// `path/model id`, as shown to people.
pub fn target_name(path: &str, model_id: &str) -> String {
    let mut name = String::with_capacity(path.len() + model_id.len() + 1);
    name.push_str(path);
    name.push('/');
    name.push_str(model_id);
    name
}

fn asked_id<'a>(spec: &'a TargetSpec, model: &'a str) -> &'a str {
    if spec.model_id.is_empty() { model } else { &spec.model_id }
}

/// A Bedrock id has a provider before a dot, or is an ARN.
fn looks_like_bedrock_id(model: &str) -> bool {
    model.starts_with("arn:aws") || model.split_once('.').is_some_and(|(p, m)| !p.is_empty() && !m.is_empty())
}

#[cfg(test)]
mod tests;
