use std::collections::HashMap;
use std::sync::Arc;

use outcrop_core::decision::{Basis, BreakerState};
use outcrop_core::money::{PicoUsd, Price, Rates};
use outcrop_core::operation::{Preference, Priority, Strategy};
use outcrop_core::path::{AbortBilling, Effect, PathKind};
use outcrop_core::{Dialect, RequestId, TargetId, Usage};

use super::*;
use crate::operations;

/// A target of the model `m` on a path, at a price per token.
pub(crate) fn spec(path: &str, kind: PathKind, pico: u64) -> TargetSpec {
    TargetSpec {
        path: path.into(),
        kind,
        model_id: "m".into(),
        region: Some("eu-central-1".into()),
        destinations: Arc::from([]),
        effect: Effect::ReadOnly,
        enabled: true,
        price: Some(Arc::new(Price::flat("m", "test", Rates::of(PicoUsd(pico), PicoUsd(pico))))),
        output_tokens_max: None,
        abort_billing: AbortBilling::Unknown,
        max_tokens_default: None,
        quota: None,
        tiers: std::sync::Arc::from([]),
    }
}

/// `m` on `fra` (quick and dear), `dub` (slow and cheap) and `desk` (MCP).
pub(crate) fn routes() -> Routes {
    Routes {
        targets: vec![
            spec("fra", PathKind::Bedrock, 9_000_000),
            spec("dub", PathKind::Bedrock, 1_000_000),
            spec("desk", PathKind::Mcp, 5_000_000),
        ],
        models: HashMap::from([("m".into(), (0..3).map(TargetId).collect())]),
        operations: operations::shipped(),
        ..Routes::default()
    }
}

/// The decision of these routes for a request of an operation, with these times in milliseconds.
pub(crate) fn decided(routes: &Routes, operation: &str, times: [u64; 3], seed: u64) -> Decision {
    let operation = routes.operation(operation).unwrap();
    let mut decision = Decision::opened(RequestId::new(format!("r{seed}")), 1_000 + seed, Dialect::OpenAi);
    "m".clone_into(&mut decision.model);
    operation.name.as_ref().clone_into(&mut decision.operation);
    decision.priority = operation.priority;
    decision.deadline_ms = operation.deadline.as_millis() as u64;
    let circumstances = Circumstances { seed, ..Circumstances::of(operation) };
    let usage = Usage::of(1_000, 500);
    let standing = |name: &str, _: &TargetSpec| {
        let at = ["fra/m", "dub/m", "desk/m"].iter().position(|known| *known == name).unwrap();
        let us = times[at] * 1_000;
        Standing { expected_us: Some(us), p50_us: Some(us), p95_us: Some(us), ..Standing::default() }
    };
    let plan = routes.plan(&Question {
        model: "m",
        operation,
        residency: None,
        hint: None,
        allowed: true,
        unix: decision.accepted_at_ms / 1_000,
        can_carry: &|_, _| true,
        standing: &standing,
        usage,
        circumstances,
    });
    let plan = plan.unwrap();
    decision.candidates = plan.candidates;
    decision.basis = Some(Basis {
        strategy: operation.strategy,
        mode: plan.mode,
        remaining_us: operation.deadline.as_micros() as u64,
        asked_deadline_ms: None,
        asked_priority: None,
        stick: None,
        may_probe: false,
        money_is_short: false,
        seed,
        residency: None,
        hint: None,
        allowed: true,
        usage,
    });
    decision
}

#[test]
fn the_same_routes_give_the_same_decisions() {
    let routes = routes();
    for seed in 0..300 {
        let times = [50 + seed % 7, 50 + seed % 11, 10 + seed % 3];
        for operation in &routes.operations {
            let replayed = replay(&routes, &decided(&routes, &operation.name, times, seed)).unwrap();
            assert!(!replayed.has_changed(), "{replayed:?}");
        }
    }
}

#[test]
fn what_chance_decided_it_decides_again() {
    let mut routes = routes();
    routes.targets[1].price = routes.targets[0].price.clone();
    let mut chosen = std::collections::BTreeSet::new();
    for seed in 0..50 {
        let replayed = replay(&routes, &decided(&routes, "implementation", [100, 100, 50], seed)).unwrap();
        assert!(!replayed.has_changed(), "{replayed:?}");
        chosen.extend(replayed.after.target);
    }
    assert_eq!(chosen.len(), 2, "it was chance");
}

#[test]
fn another_strategy_goes_to_the_cheaper_and_says_what_that_costs() {
    let was = routes();
    let mut is = routes();
    let operation = is.operations.iter_mut().find(|o| &*o.name == "implementation").unwrap();
    operation.strategy = Strategy::CostEfficient;
    let replayed = replay(&is, &decided(&was, "implementation", [100, 900, 50], 1)).unwrap();
    assert_eq!(replayed.before.target.as_deref(), Some("fra/m"));
    assert_eq!(replayed.after.target.as_deref(), Some("dub/m"));
    assert_eq!((replayed.before.expected_us, replayed.after.expected_us), (Some(100_000), Some(900_000)));
    assert!(replayed.after.expected_nusd < replayed.before.expected_nusd);
    let mut summary = Summary::default();
    summary.add(Some(&replayed));
    summary.add(None);
    assert_eq!((summary.replayed, summary.undecided, summary.moved), (1, 1, 1));
    assert_eq!(summary.moves.get("fra/m -> dub/m"), Some(&1));
}

/// What becomes of a request of `implementation` when the routes change.
fn check(change: impl FnOnce(&mut Routes, &mut Decision), expected: Result<&str, Refused>) {
    let mut routes = routes();
    let mut decision = decided(&routes, "implementation", [100, 900, 50], 1);
    change(&mut routes, &mut decision);
    let after = replay(&routes, &decision).unwrap().after;
    assert_eq!(after.refused.map_or(Ok(after.target.as_deref().unwrap_or("")), Err), expected);
}

#[test]
fn legality_is_judged_again() {
    check(|routes, _| routes.targets[0].enabled = false, Ok("dub/m"));
    check(
        |routes, _| routes.operations.retain(|o| o.priority != Priority::High),
        Err(Refused::UnknownOperation),
    );
    check(|routes, _| routes.models.clear(), Err(Refused::UnknownModel));
    check(|routes, _| routes.off.models.extend([Box::from("m")]), Err(Refused::Disabled));
    check(|routes, _| routes.off.operations.extend([Box::from("implementation")]), Err(Refused::Disabled));
    check(|routes, _| routes.targets.iter_mut().for_each(|t| t.price = None), Err(Refused::NoLegalTarget));
    let mcp_first = |routes: &mut Routes, _: &mut Decision| {
        let operation = routes.operations.iter_mut().find(|o| &*o.name == "implementation").unwrap();
        operation.order = vec![Preference::Kind(PathKind::Mcp), Preference::Direct];
    };
    check(mcp_first, Ok("desk/m"));
    // Out of the EU it may not go, whatever the routes say.
    let abroad = |routes: &mut Routes, decision: &mut Decision| {
        decision.basis.as_mut().unwrap().residency = Some("eu".into());
        for target in &mut routes.targets {
            target.region = Some("us-east-1".into());
        }
    };
    check(abroad, Err(Refused::NoLegalTarget));
    let forbidden = |_: &mut Routes, d: &mut Decision| d.basis.as_mut().unwrap().allowed = false;
    check(forbidden, Err(Refused::NoLegalTarget));
}

#[test]
fn what_was_known_of_the_targets_is_what_the_record_says() {
    let incapable = |_: &mut Routes, d: &mut Decision| {
        d.candidates[0].standing = None;
        d.candidates[0].excluded = Some(Exclusion::Capability);
    };
    check(incapable, Ok("dub/m"));
    let broke = |_: &mut Routes, d: &mut Decision| d.candidates[0].excluded = Some(Exclusion::Budget);
    check(broke, Ok("dub/m"));
    let tripped = |_: &mut Routes, d: &mut Decision| {
        d.candidates[0].standing.as_mut().unwrap().state = BreakerState::Tripped;
    };
    check(tripped, Ok("dub/m"));
    // A shorter deadline leaves no time for what usually takes longer.
    let hasty = |routes: &mut Routes, d: &mut Decision| {
        let operation = routes.operations.iter_mut().find(|o| &*o.name == "implementation").unwrap();
        operation.deadline = Duration::from_millis(60);
        d.candidates[0].standing.as_mut().unwrap().expected_us = None;
    };
    check(hasty, Ok("desk/m"));
}

#[test]
fn a_refused_request_has_nothing_to_decide_again() {
    let decision = Decision::opened(RequestId::new("r"), 0, Dialect::OpenAi);
    assert_eq!(replay(&routes(), &decision), None);
}
