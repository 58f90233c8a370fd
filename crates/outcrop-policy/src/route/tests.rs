use outcrop_core::money::{PicoUsd, Rates};
use outcrop_core::operation::Strategy;

use super::*;
use crate::operations;
use crate::price::FileRow;

fn spec(path: &str, kind: PathKind, region: Option<&str>) -> TargetSpec {
    TargetSpec {
        path: path.into(),
        kind,
        model_id: "anthropic.claude-3".into(),
        region: region.map(Into::into),
        destinations: Arc::from([]),
        effect: Effect::ReadOnly,
        enabled: true,
        price: Some(Arc::new(Price::free("claude-3", "test"))),
        output_tokens_max: None,
        abort_billing: outcrop_core::path::AbortBilling::Unknown,
        max_tokens_default: None,
        quota: None,
        tiers: Arc::from([]),
    }
}

/// Alias `sonnet` over: other (openai), fra and ire (bedrock), desk (mcp).
fn routes() -> Routes {
    let targets = vec![
        spec("other", PathKind::OpenAi, None),
        spec("fra", PathKind::Bedrock, Some("eu-central-1")),
        spec("iad", PathKind::Bedrock, Some("us-east-1")),
        spec("desk", PathKind::Mcp, Some("eu-central-1")),
    ];
    let mut raw = spec("fra", PathKind::Bedrock, Some("eu-central-1"));
    raw.model_id = "".into();
    raw.price = None;
    let all = (0..4).map(TargetId).collect();
    Routes {
        targets: [targets, vec![raw]].concat(),
        models: HashMap::from([("sonnet".into(), all)]),
        stand_ins: HashMap::new(),
        raw: vec![TargetId(4)],
        operations: operations::shipped(),
        prices: Arc::new(PriceBook::new(vec![nova(None)], None)),
        resumes: Resumes::default(),
        switches: Switches::default(),
        off: Off::default(),
    }
}

fn nova(valid_until: Option<u64>) -> FileRow {
    let flat = Price::flat("nova", "test", Rates::of(PicoUsd(7), PicoUsd(9)));
    let price = Arc::new(Price { valid_until, ..flat });
    FileRow { model: "*.amazon.nova-*".into(), path: None, price }
}

struct Case<'a> {
    operation: &'a str,
    model: &'a str,
    residency: Option<Residency>,
    hint: Option<&'a str>,
    allowed: bool,
    carries: &'a [PathKind],
}

const EVERY_KIND: &[PathKind] = &[PathKind::Bedrock, PathKind::Mcp, PathKind::OpenAi, PathKind::Anthropic];

fn case(operation: &str) -> Case<'_> {
    Case { operation, model: "sonnet", residency: None, hint: None, allowed: true, carries: EVERY_KIND }
}

fn planned(routes: &Routes, case: &Case<'_>) -> Plan {
    let can_carry = |spec: &TargetSpec, _: &str| case.carries.contains(&spec.kind);
    let question = Question {
        model: case.model,
        operation: routes.operation(case.operation).unwrap(),
        residency: case.residency,
        hint: case.hint,
        allowed: case.allowed,
        unix: 1_000,
        can_carry: &can_carry,
        standing: &|_, _| Standing::default(),
        usage: Usage::of(100, 100),
        circumstances: circumstances(),
    };
    routes.plan(&question).unwrap()
}

fn circumstances() -> Circumstances {
    Circumstances {
        strategy: Strategy::default(),
        remaining: std::time::Duration::from_secs(30),
        priority: Priority::Medium,
        stick: None,
        may_probe: false,
        money_is_short: false,
        learns: true,
        seed: 0,
    }
}

fn check(routes: &Routes, case: &Case<'_>, expected: &[&str]) {
    let plan = planned(routes, case);
    let paths: Vec<_> = plan.choices.iter().map(|c| routes.target(c.target).path.to_string()).collect();
    assert_eq!(paths, expected, "{}", case.operation);
}

#[test]
fn the_order_of_the_operation_decides() {
    let routes = routes();
    check(&routes, &case("infrastructure"), &["fra", "iad", "other", "desk"]);
    check(&routes, &case("standard"), &["desk", "fra", "iad", "other"]);
    check(&routes, &case("emergency"), &["fra", "iad", "other"]);
}

#[test]
fn a_hint_goes_first_but_widens_nothing() {
    let routes = routes();
    check(&routes, &Case { hint: Some("iad"), ..case("standard") }, &["iad", "desk", "fra", "other"]);
    check(&routes, &Case { hint: Some("direct"), ..case("standard") }, &["fra", "iad", "other", "desk"]);
    check(&routes, &Case { hint: Some("desk"), ..case("emergency") }, &["fra", "iad", "other"]);
}

#[test]
fn hard_filters_leave_no_way_around() {
    let mut routes = routes();
    let eu = Case { residency: Some(Residency::Eu), ..case("standard") };
    check(&routes, &eu, &["desk", "fra"]);
    check(&routes, &Case { carries: &[PathKind::OpenAi], ..case("standard") }, &["other"]);
    check(&routes, &Case { allowed: false, ..case("standard") }, &[]);
    routes.targets[1].enabled = false;
    check(&routes, &eu, &["desk"]);
}

#[test]
fn the_record_names_every_target_and_why_it_was_left_out() {
    let mut routes = routes();
    routes.targets[2].enabled = false;
    let plan = planned(&routes, &Case { residency: Some(Residency::Eu), ..case("emergency") });
    let why: Vec<_> = plan.candidates.iter().map(|c| (c.rank, c.excluded)).collect();
    assert_eq!(
        why,
        [
            (None, Some(Exclusion::Residency)),
            (Some(0), None),
            (None, Some(Exclusion::Disabled)),
            (None, Some(Exclusion::EmergencyOverMcp)),
        ]
    );
}

#[test]
fn raw_ids_go_to_bedrock_and_only_where_allowed() {
    let mut routes = routes();
    let raw = Case { model: "eu.amazon.nova-lite-v1:0", ..case("standard") };
    let plan = planned(&routes, &raw);
    assert_eq!(&*plan.choices[0].model_id, "eu.amazon.nova-lite-v1:0");
    assert_eq!(plan.choices[0].price.standard.base().input, PicoUsd(7));
    assert!(routes.targets_of("nonsense").is_none());
    routes.raw.clear();
    assert!(routes.targets_of("eu.amazon.nova-lite-v1:0").is_none());
}

#[test]
fn what_has_no_price_is_not_used() {
    let mut routes = routes();
    let excluded = |routes: &Routes, model: &str| {
        let plan = planned(routes, &Case { model, ..case("standard") });
        assert!(plan.choices.iter().all(|choice| choice.price.holds_at(1_000)));
        plan.candidates.iter().map(|c| c.excluded).collect::<Vec<_>>()
    };
    assert_eq!(excluded(&routes, "eu.amazon.titan-v1:0"), [Some(Exclusion::PriceUnknown)]);
    let ends_at = |unix| {
        let flat = Price::flat("claude-3", "test", Rates::default());
        Some(Arc::new(Price { valid_until: Some(unix), ..flat }))
    };
    routes.targets[1].price = ends_at(1_000);
    routes.targets[2].price = ends_at(1_001);
    assert_eq!(excluded(&routes, "sonnet"), [None, Some(Exclusion::PriceUnknown), None, None]);
    routes.prices = Arc::new(PriceBook::new(vec![nova(Some(1_000))], None));
    assert_eq!(excluded(&routes, "eu.amazon.nova-lite-v1:0"), [Some(Exclusion::PriceUnknown)]);
    // Another reason is told first.
    routes.targets[1].enabled = false;
    assert_eq!(excluded(&routes, "sonnet")[1], Some(Exclusion::Disabled));
}
