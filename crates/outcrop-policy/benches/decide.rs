//! What one routing decision costs: 50 targets of a model with health, 20 operations. Prints percentiles.
//!
//! `cargo bench -p outcrop-policy --bench decide`; with `-- --count N` it only makes N decisions, for an
//! instruction counter (`valgrind --tool=callgrind`), which counts the same on every machine.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    missing_docs,
    reason = "a benchmark stops at the first surprise, prints, and reads the clock"
)]

use std::collections::HashMap;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use outcrop_core::money::{PicoUsd, Price, Rates};
use outcrop_core::operation::{Operation, Preference, Strategy};
use outcrop_core::path::{AbortBilling, Effect};
use outcrop_core::{PathKind, TargetId, Usage};
use outcrop_policy::health::{Errand, Shape, Terms};
use outcrop_policy::residency::Residency;
use outcrop_policy::route::{Circumstances, Question, Routes, TargetSpec, target_name};
use outcrop_policy::{Health, operations};

/// Targets of the one model.
const TARGETS: u32 = 50;
/// Rows of the operation table.
const OPERATIONS: usize = 20;
/// Decisions that are measured.
const DECISIONS: u64 = 200_000;
/// Decisions before them.
const WARM_UP: u64 = 20_000;

fn spec(number: u32) -> TargetSpec {
    let (kind, region) = match number % 5 {
        0 => (PathKind::Mcp, "eu-central-1"),
        1 => (PathKind::OpenAi, "us-east-1"),
        _ => (PathKind::Bedrock, "eu-west-1"),
    };
    let rates = Rates::of(PicoUsd(3_000_000 + u64::from(number)), PicoUsd(15_000_000));
    TargetSpec {
        path: format!("path-{number}").into(),
        kind,
        model_id: "anthropic.claude-sonnet-4-5-20250929-v1:0".into(),
        region: Some(region.into()),
        destinations: Arc::from([]),
        effect: Effect::ReadOnly,
        enabled: number % 10 != 9,
        price: Some(Arc::new(Price::flat("sonnet", "bench", rates))),
        output_tokens_max: None,
        abort_billing: AbortBilling::Unknown,
        max_tokens_default: None,
        quota: None,
        tiers: std::sync::Arc::from([]),
    }
}

fn routes() -> Routes {
    let mut table = operations::shipped();
    let strategies =
        [Strategy::LatencyFirst, Strategy::SuccessFirst, Strategy::CostEfficient, Strategy::Balanced];
    for number in table.len()..OPERATIONS {
        let row = Operation {
            name: format!("operation-{number}").into(),
            order: vec![
                Preference::Path("path-3".into()),
                Preference::Direct,
                Preference::Kind(PathKind::Mcp),
            ],
            strategy: *strategies.get(number % strategies.len()).unwrap(),
            ..table.first().unwrap().clone()
        };
        table.push(row);
    }
    Routes {
        targets: (0..TARGETS).map(spec).collect(),
        models: HashMap::from([("sonnet".into(), (0..TARGETS).map(TargetId).collect())]),
        operations: table,
        ..Routes::default()
    }
}

/// A health that has seen a hundred answers of each target.
fn health(routes: &Routes, now: Instant) -> Health {
    let health = Health::default();
    let errand = Errand { shape: Shape::Stream, tokens: 100, quota: None, terms: Terms::First };
    for (number, spec) in (0u64..).zip(&routes.targets) {
        let name = target_name(&spec.path, &spec.model_id);
        for round in 0..100 {
            let mut trial = health.begin(&name, errand, now).unwrap();
            trial.answered(now + Duration::from_millis(200 + number * 3 + round), 0.0);
        }
    }
    health
}

/// One decision, as the gateway makes it for each request.
fn decide(routes: &Routes, health: &Health, number: u64, now: Instant) {
    let operation = routes.operations.get(number as usize % OPERATIONS).unwrap();
    let circumstances = Circumstances { seed: number, ..Circumstances::of(operation) };
    let standing = |name: &str, spec: &TargetSpec| health.standing(name, Shape::Stream, spec.quota, now);
    let plan = routes.plan(&Question {
        model: black_box("sonnet"),
        operation,
        residency: number.is_multiple_of(4).then_some(Residency::Eu),
        hint: None,
        allowed: true,
        unix: 1_000,
        can_carry: &|_, _| true,
        standing: &standing,
        usage: Usage::of(1_000, 500),
        circumstances,
    });
    black_box(plan.unwrap());
}

fn main() {
    let now = Instant::now();
    let routes = routes();
    let health = health(&routes, now);
    let now = now + Duration::from_secs(1);
    let mut arguments = std::env::args();
    if arguments.any(|argument| argument == "--count") {
        let count: u64 = arguments.next().unwrap().parse().unwrap();
        (0..count).for_each(|number| decide(&routes, &health, number, now));
        return;
    }
    (0..WARM_UP).for_each(|number| decide(&routes, &health, number, now));
    let mut took = Histogram::<u64>::new_with_bounds(1, 1_000_000_000, 3).unwrap();
    for number in 0..DECISIONS {
        let started = Instant::now();
        decide(&routes, &health, number, now);
        took.saturating_record(started.elapsed().as_nanos() as u64);
    }
    let us = |quantile: f64| took.value_at_quantile(quantile) as f64 / 1e3;
    println!("{TARGETS} targets, {OPERATIONS} operations, {DECISIONS} decisions");
    println!(
        "p50 {:.2} us, p90 {:.2} us, p99 {:.2} us, p99.9 {:.2} us",
        us(0.5),
        us(0.9),
        us(0.99),
        us(0.999)
    );
}
