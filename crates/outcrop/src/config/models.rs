//! Checks of `[[model]]` and `[[operation]]`: with the prices they are the routes.

use std::sync::Arc;

use outcrop_core::TargetId;
use outcrop_core::money::Tier;
use outcrop_core::operation::{Operation, Preference, Priority};
use outcrop_core::path::{AbortBilling, Effect, PathKind};
use outcrop_policy::health::QuotaSpec;
use outcrop_policy::price::PriceBook;
use outcrop_policy::route::{Routes, TargetSpec};
use outcrop_policy::{Resumes, Switches, operations};
use outcrop_upstream::{KindSpec, PathSpec};
use toml::Spanned;

use super::check::Findings;
use super::problem::nearest;
use super::text::Text;
use super::{prices, rates, raw};

/// Checks models, prices and operations against the paths.
pub(crate) fn routes(raw: &raw::Config, paths: &[PathSpec], open: bool, findings: &mut Findings) -> Routes {
    let unix = crate::clock::unix();
    let prices = Arc::new(prices::book(raw, unix, findings));
    let mut routes = Routes {
        operations: operations::overlay(operations::shipped(), rows(raw, findings)),
        switches: switches(&raw.flags),
        prices: Arc::clone(&prices),
        resumes: resumes(raw),
        ..Routes::default()
    };
    let world = World { raw, paths, prices: &prices, unix };
    for model in &raw.model {
        world.model(model, &mut routes, findings);
    }
    // A key that is made later may name raw ids; whether a caller may is decided with each request.
    let raw_ids = !open || raw.auth.raw_models.unwrap_or(true);
    if raw_ids {
        world.raw_targets(&mut routes);
    }
    stand_ins(raw, &mut routes, findings);
    if routes.models.is_empty() && routes.raw.is_empty() {
        findings.add(
            0..0,
            "there is no model to ask",
            "add a [[path]] and a [[model]] with at least one target; outcrop.toml is an example",
        );
    }
    routes
}

fn switches(flags: &raw::Flags) -> Switches {
    let usual = Switches::default();
    Switches {
        intelligent_routing: flags.intelligent_routing.unwrap_or(usual.intelligent_routing),
        direct_fallback: flags.direct_fallback.unwrap_or(usual.direct_fallback),
        mcp_fallback: flags.mcp_fallback.unwrap_or(usual.mcp_fallback),
        emergency_direct: flags.emergency_direct.unwrap_or(usual.emergency_direct),
        emergency_over_mcp: flags.emergency_over_mcp.unwrap_or(usual.emergency_over_mcp),
        hedging: flags.hedging.unwrap_or(usual.hedging),
        optimizer: flags.optimizer.unwrap_or(usual.optimizer),
    }
}

/// Whose broken streams are continued.
fn resumes(raw: &raw::Config) -> Resumes {
    let on = |resume: Option<raw::Resume>| resume == Some(raw::Resume::Continue);
    let operations = raw.operation.iter().filter(|row| on(row.resume)).map(|row| &row.name);
    let models = raw.model.iter().filter(|row| on(row.resume)).map(|row| &row.name);
    let named = |name: &Spanned<Text>| name.get_ref().0.clone().into_boxed_str();
    Resumes { operations: operations.map(named).collect(), models: models.map(named).collect() }
}

/// The models that stand in for others when a budget is nearly used up.
fn stand_ins(raw: &raw::Config, routes: &mut Routes, findings: &mut Findings) {
    for model in &raw.model {
        let Some(stand_in) = &model.stand_in else { continue };
        let name = stand_in.get_ref();
        if !routes.models.contains_key(&**name) || **name == **model.name.get_ref() {
            let hint = nearest(name, raw.model.iter().map(|m| &**m.name.get_ref()));
            let hint = hint.map(|near| format!("did you mean `{near}`?")).unwrap_or_default();
            findings.add(stand_in.span(), "a stand-in is another [[model]] of this file", hint);
            continue;
        }
        routes.stand_ins.insert(model.name.get_ref().0.clone().into(), name.0.clone().into());
    }
}

struct World<'a> {
    raw: &'a raw::Config,
    paths: &'a [PathSpec],
    prices: &'a PriceBook,
    unix: u64,
}

impl World<'_> {
    fn model(&self, model: &raw::Model, routes: &mut Routes, findings: &mut Findings) {
        let name = model.name.get_ref();
        if name.is_empty() || routes.models.contains_key(&**name) {
            let message = format!("the name `{}` is empty or taken", &**name);
            findings.add(model.name.span(), message, "every model has a name of its own");
        }
        if model.targets.get_ref().is_empty() {
            findings.add(model.targets.span(), "a model needs at least one target", "");
        }
        let mut ids = Vec::new();
        for target in model.targets.get_ref() {
            if let Some(spec) = self.target(model, target, findings) {
                ids.push(push(routes, spec));
            }
        }
        routes.models.insert(name.0.clone().into_boxed_str(), ids);
    }

    fn target(
        &self,
        model: &raw::Model,
        target: &raw::Target,
        findings: &mut Findings,
    ) -> Option<TargetSpec> {
        let name = target.path.get_ref();
        let rows = || self.raw.path.iter().map(|p| &**p.name.get_ref());
        if !rows().any(|known| known == &**name) {
            let hint = nearest(name, rows()).map(|near| format!("did you mean `{near}`?"));
            let message = format!("there is no path `{}`", &**name);
            findings.add(
                target.path.span(),
                message,
                hint.unwrap_or_else(|| "add a [[path]] with that name".into()),
            );
            return None;
        }
        let id = target.id.get_ref();
        if id.is_empty() || id.chars().any(|c| c.is_control() || c.is_whitespace()) {
            findings.add(target.id.span(), "a model id is not empty and has no spaces", "");
            return None;
        }
        let mut spec = self.spec_on(name)?;
        spec.model_id = Arc::from(&**id);
        spec.enabled &= target.enabled.unwrap_or(true);
        spec.max_tokens_default = model.max_tokens;
        spec.output_tokens_max = self.prices.output_tokens_max(&spec.asked());
        spec.price = self.prices.of(&spec.asked(), self.unix);
        let priority = spec.tiers.iter().any(|(_, tier)| *tier == Tier::Priority);
        if spec
            .price
            .as_ref()
            .is_some_and(|price| priority && !price.free && price.tariff(Tier::Priority).is_none())
        {
            let message = format!("`{}` has no price in the service tier `priority`", &**id);
            let hint = "give its [[price]] a `priority`, or leave the tier out of `service_tier`";
            findings.add(target.id.span(), message, hint);
        }
        if spec.price.is_none() {
            let message = format!("no price is known for `{}` on the path `{}`", &**id, &**name);
            findings.add(target.id.span(), message, prices::hint(id));
        }
        Some(spec)
    }

    /// One target per Bedrock path for raw ids.
    fn raw_targets(&self, routes: &mut Routes) {
        let bedrock = self.paths.iter().filter(|p| p.kind() == PathKind::Bedrock);
        for spec in bedrock.filter_map(|path| self.spec_on(&path.name)) {
            let id = push(routes, spec);
            routes.raw.push(id);
        }
    }

    /// A target of a path, for no model yet.
    fn spec_on(&self, path: &str) -> Option<TargetSpec> {
        let row = self.raw.path.iter().find(|row| &**row.name.get_ref() == path)?;
        let spec = self.paths.iter().find(|spec| &*spec.name == path)?;
        Some(TargetSpec {
            path: Arc::clone(&spec.name),
            kind: spec.kind(),
            model_id: Arc::from(""),
            region: spec.region.clone(),
            destinations: row.destinations.iter().map(|d| d.0.clone()).collect(),
            effect: match &spec.kind {
                KindSpec::Mcp(mcp) => mcp.effect,
                KindSpec::Bedrock(_) | KindSpec::OpenAi(_) | KindSpec::Anthropic(_) => Effect::ReadOnly,
            },
            enabled: row.enabled.unwrap_or(true),
            price: None,
            output_tokens_max: None,
            abort_billing: row.abort_billing.unwrap_or_else(|| AbortBilling::of(spec.kind())),
            max_tokens_default: None,
            quota: quota(row, spec.kind()),
            tiers: tiers(row),
        })
    }
}

/// The tiers of a path; what is wrong with them was said when the path was checked.
fn tiers(row: &raw::Path) -> Arc<[(Priority, Tier)]> {
    let Some(tiers) = &row.service_tier else { return Arc::from([]) };
    tiers.get_ref().iter().map(|(priority, tier)| (*priority, (*tier).into())).collect()
}

/// The limit of a path's upstream; what is wrong with it was said when the path was checked.
fn quota(row: &raw::Path, kind: PathKind) -> Option<QuotaSpec> {
    let (count, _, per) = rates::limit(row.quota.as_ref()?.get_ref()).ok()?;
    let tokens_per_minute = u64::from(count.get()) * 60 / per.as_secs().max(1);
    // Claude from 3.7 on takes five tokens of the quota for each that it makes; for others this leans to the
    // safe side.
    let usual = if kind == PathKind::Bedrock { 5 } else { 1 };
    Some(QuotaSpec { tokens_per_minute, output_burndown: row.output_burndown.unwrap_or(usual) })
}

fn push(routes: &mut Routes, spec: TargetSpec) -> TargetId {
    let id = TargetId(u32::try_from(routes.targets.len()).unwrap_or(u32::MAX));
    routes.targets.push(spec);
    id
}

fn rows(raw: &raw::Config, findings: &mut Findings) -> Vec<Operation> {
    raw.operation.iter().filter_map(|row| operation(row, raw, findings)).collect()
}

fn operation(row: &raw::Operation, raw: &raw::Config, findings: &mut Findings) -> Option<Operation> {
    let name = row.name.get_ref();
    let shipped = operations::shipped();
    let named = shipped.iter().find(|o| *o.name == **name);
    let base = named.or_else(|| shipped.iter().find(|o| &*o.name == operations::DEFAULT_OPERATION))?;
    let deadline = findings.duration(row.deadline.as_ref(), base.deadline);
    if let Some(text) = row.deadline.as_ref().filter(|_| deadline > operations::DEADLINE_MAX) {
        findings.add(text.span(), "a deadline is at most 10 minutes", "");
    }
    let order = match &row.order {
        None => base.order.clone(),
        Some(order) => {
            order.get_ref().iter().filter_map(|word| preference(word, order, raw, findings)).collect()
        }
    };
    Some(Operation {
        name: name.0.clone().into_boxed_str(),
        priority: row.priority.unwrap_or(base.priority),
        deadline,
        order,
        strategy: row.strategy.unwrap_or(base.strategy),
    })
}

fn preference(
    word: &Text,
    order: &Spanned<Vec<Text>>,
    raw: &raw::Config,
    findings: &mut Findings,
) -> Option<Preference> {
    const WORDS: [&str; 5] = ["direct", "bedrock", "mcp", "openai", "anthropic"];
    let preference = match &**word {
        "direct" => Preference::Direct,
        "bedrock" => Preference::Kind(PathKind::Bedrock),
        "mcp" => Preference::Kind(PathKind::Mcp),
        "openai" => Preference::Kind(PathKind::OpenAi),
        "anthropic" => Preference::Kind(PathKind::Anthropic),
        name if raw.path.iter().any(|p| &**p.name.get_ref() == name) => Preference::Path(name.into()),
        name => {
            let known = WORDS.into_iter().chain(raw.path.iter().map(|p| &**p.name.get_ref()));
            let hint = nearest(name, known).map(|near| format!("did you mean `{near}`?"));
            let message = format!("`{name}` is neither `direct`, nor a kind, nor a path");
            findings.add(order.span(), message, hint.unwrap_or_default());
            return None;
        }
    };
    Some(preference)
}
