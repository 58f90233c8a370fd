//! Where a request may go, and in which order: a pure function of the request, the routes, the switches
//! and what is known of the targets.
//!
//! Hard filters stand outside every score: a target they exclude is never tried, whatever else
//! fails. No allocation here grows with traffic; the size of the answer is bounded by the targets of
//! one model.

use std::collections::HashMap;
use std::sync::Arc;

use outcrop_core::decision::{Candidate, Exclusion, Standing};
use outcrop_core::money::{Price, Terms, Tier};
use outcrop_core::operation::{Operation, Preference, Priority};
use outcrop_core::path::{AbortBilling, Effect, PathKind};
use outcrop_core::{TargetId, Usage};
use smallvec::SmallVec;

use crate::choose::{Chosen, Contender, choose, identity};
use crate::health::QuotaSpec;
use crate::price::{Asked, PriceBook};
use crate::residency::{Place, Residency};
use crate::resumes::Resumes;
use crate::switches::{Off, Switches};

pub use crate::choose::Circumstances;
pub use outcrop_core::decision::Mode;

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
    /// What the upstream lets pass in a minute.
    pub quota: Option<QuotaSpec>,
    /// Service tier to ask for, by the priority of a request.
    pub tiers: Arc<[(Priority, Tier)]>,
}

impl TargetSpec {
    /// The service tier to ask for at a priority.
    pub fn tier(&self, priority: Priority) -> Option<Tier> {
        self.tiers.iter().find(|(of, _)| *of == priority).map(|(_, tier)| *tier)
    }

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
    /// Whose broken streams are continued.
    pub resumes: Resumes,
    /// What the operator has switched on and off.
    pub switches: Switches,
    /// Which of the names that callers use the operator has switched off.
    pub off: Off,
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
    /// What is known of a target, by its name.
    pub standing: &'a dyn Fn(&str, &TargetSpec) -> Standing,
    /// What the request will probably use: what it costs at each target is compared.
    pub usage: Usage,
    /// What else the order depends on.
    pub circumstances: Circumstances,
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
    /// How the plan looks at health.
    pub mode: Mode,
    /// How many of the choices serve; the rest are asked when these have failed.
    pub serving: usize,
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
        let mut prices: SmallVec<[(usize, Arc<Price>); 8]> = SmallVec::new();
        let mut contenders: SmallVec<[Contender; 8]> = SmallVec::new();
        let mut candidates = Vec::with_capacity(targets.len());
        for (position, id) in targets.iter().enumerate() {
            let spec = self.target(*id);
            let model_id = asked_id(spec, question.model);
            let verdict = self.judge(spec, model_id, question).and_then(|rank| {
                let price = self.price_of(spec, model_id, question.unix).ok_or(Exclusion::PriceUnknown)?;
                Ok((rank, price))
            });
            let mut candidate = Candidate::of(target_name(&spec.path, model_id));
            match verdict {
                Ok((rank, price)) => {
                    let standing = (question.standing)(&candidate.target, spec);
                    let expected_nusd =
                        price.cost(&question.usage, &Terms::default()).map_or(i64::MAX, |n| n.0);
                    candidate.standing = Some(standing);
                    candidate.expected_nusd = Some(expected_nusd);
                    let is_drawn = question.circumstances.stick.is_some() || standing.percent < 100;
                    let identity = if is_drawn { identity(&candidate.target) } else { 0 };
                    contenders.push(Contender {
                        position,
                        rank: rank.number(),
                        standing,
                        expected_nusd,
                        identity,
                    });
                    prices.push((position, price));
                }
                Err(why) => candidate.excluded = Some(why),
            }
            candidates.push(candidate);
        }
        self.without_fallback(targets, &mut contenders, &mut candidates);
        let Chosen { mode, serving, left_out } = choose(&mut contenders, &question.circumstances);
        let mut plan = Plan { choices: SmallVec::new(), candidates, mode, serving };
        for (position, why) in left_out {
            if let Some(candidate) = plan.candidates.get_mut(position) {
                candidate.excluded = Some(why);
            }
        }
        for (rank, contender) in (0u8..).zip(contenders) {
            let price = prices.iter().find(|(at, _)| *at == contender.position);
            if let (Some((at, price)), Some(id)) = (price, targets.get(contender.position)) {
                self.enlist(&mut plan, rank, (*at, *id), Arc::clone(price), question.model);
            }
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

    /// Takes out what may only stand in, where the operator has switched that off.
    fn without_fallback(
        &self,
        targets: &[TargetId],
        contenders: &mut SmallVec<[Contender; 8]>,
        candidates: &mut [Candidate],
    ) {
        let Switches { direct_fallback, mcp_fallback, .. } = self.switches;
        if direct_fallback && mcp_fallback {
            return;
        }
        let is_direct =
            |c: &Contender| targets.get(c.position).is_some_and(|id| self.target(*id).kind.is_direct());
        let Some(direct_first) = contenders.iter().min_by_key(|c| (c.rank, c.position)).map(is_direct) else {
            return;
        };
        let may_stand_in = if direct_first { mcp_fallback } else { direct_fallback };
        contenders.retain(|contender| {
            let stays = may_stand_in || is_direct(contender) == direct_first;
            if let Some(candidate) = candidates.get_mut(contender.position).filter(|_| !stays) {
                candidate.excluded = Some(Exclusion::FallbackOff);
            }
            stays
        });
    }

    fn enlist(&self, plan: &mut Plan, rank: u8, at: (usize, TargetId), price: Arc<Price>, model: &str) {
        let (position, id) = at;
        if let Some(candidate) = plan.candidates.get_mut(position) {
            candidate.rank = Some(rank);
        }
        let spec = self.target(id);
        let model_id = if spec.model_id.is_empty() { Arc::from(model) } else { Arc::clone(&spec.model_id) };
        plan.choices.push(Choice { target: id, model_id, price });
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
        } else if emergency && spec.kind == PathKind::Mcp && !self.switches.emergency_over_mcp {
            Err(Exclusion::EmergencyOverMcp)
        } else if !(question.can_carry)(spec, model_id) {
            Err(Exclusion::Capability)
        } else {
            let direct_first = emergency && self.switches.emergency_direct;
            Rank::of(spec, question, direct_first).ok_or(Exclusion::Order)
        }
    }
}

/// Smaller goes first: the hint, then the place in the operation's order, then Bedrock within
/// `direct`; among equals it is chosen by what is known of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    not_hinted: bool,
    indirect: bool,
    preference: usize,
    not_bedrock: bool,
}

impl Rank {
    fn of(spec: &TargetSpec, question: &Question<'_>, direct_first: bool) -> Option<Self> {
        let order = &question.operation.order;
        let preference = order.iter().position(|preference| match preference {
            Preference::Direct => spec.kind.is_direct(),
            Preference::Kind(kind) => spec.kind == *kind,
            Preference::Path(name) => **name == *spec.path,
        })?;
        let hinted = question.hint.is_some_and(|hint| {
            hint == &*spec.path || hint == spec.kind.label() || (hint == "direct" && spec.kind.is_direct())
        });
        let indirect = direct_first && !spec.kind.is_direct();
        Some(Self { not_hinted: !hinted, indirect, preference, not_bedrock: spec.kind != PathKind::Bedrock })
    }

    /// As one number, in the same order.
    fn number(self) -> u32 {
        let preference = self.preference.min(0xffff) as u32;
        u32::from(self.not_hinted) << 18
            | u32::from(self.indirect) << 17
            | preference << 1
            | u32::from(self.not_bedrock)
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
