//! The judge is judged: a good gateway passes, and each one that is broken on purpose misses exactly the right bars.
//!
//! Scenarios are the shipped ones, so that what is shown here is true of them.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::{collections::BTreeSet, path::PathBuf, time::Duration};

use outcrop_lab::{
    certify::{
        front::Front,
        outcome::{Outcome, ScenarioOutcome},
        play::Subject,
        scenario::{Profile, Scenario},
        suite::{Position, Show, run, shipped},
    },
    load::tally::Counts,
};
use tokio_util::sync::CancellationToken;

/// Watches nothing.
struct Quiet;

impl Show for Quiet {
    fn begins(&self, _at: &Position<'_>) {}
    fn beat(&self, _counts: &Counts, _left: Duration) {}
    fn ends(&self, _outcome: &ScenarioOutcome) {}
}

fn binary() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_outcrop"))
}

/// Shipped scenarios by suite and name, without what a busy machine spoils: bars in milliseconds, the generator's
/// lag, what others took.
fn scenarios(wanted: &[(&str, &str)]) -> Vec<Scenario> {
    let mut found = shipped(Profile::Quick, &[]).unwrap();
    found.retain(|scenario| wanted.contains(&(scenario.suite.as_str(), scenario.name.as_str())));
    assert_eq!(found.len(), wanted.len());
    for scenario in &mut found {
        scenario.lag_max = Duration::from_mins(1);
        scenario.foreign_max = 1.0;
        scenario.bars.retain(|asked| asked.measure.unit() != "ms");
    }
    found
}

async fn play(scenarios: Vec<Scenario>, subject: Subject) -> Outcome {
    run("quick", scenarios, &subject, &Quiet, &CancellationToken::new()).await
}

/// The suites that did not pass, and the promises that were missed.
fn missed(outcome: &Outcome) -> (BTreeSet<&str>, Vec<&str>) {
    for scenario in outcome.suites.iter().flat_map(|suite| &suite.scenarios) {
        assert_eq!(scenario.void, None, "{}", scenario.name);
    }
    let suites = outcome.suites.iter().filter(|suite| !suite.passed()).map(|suite| suite.name.as_str());
    let verdicts = outcome.suites.iter().flat_map(|suite| &suite.scenarios).flat_map(|s| &s.verdicts);
    let promises = verdicts.filter(|verdict| !verdict.passed).map(|verdict| verdict.promise.as_str());
    (suites.collect(), promises.collect())
}

const THREE: &[(&str, &str)] = &[("load", "ramp"), ("cost", "limit"), ("failover", "streams")];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_good_gateway_passes() {
    let outcome = play(scenarios(THREE), Subject::Binary(binary())).await;
    assert_eq!(missed(&outcome), (BTreeSet::new(), Vec::new()));
    assert!(outcome.passed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_failover_only_the_failover_suite_fails() {
    let mut scenarios = scenarios(THREE);
    for scenario in &mut scenarios {
        // Everything is pinned to one region, so that nothing else is legal.
        scenario.gateway.push_str("[[operation]]\nname = \"infrastructure\"\npriority = \"critical\"\ndeadline = \"10s\"\norder = [\"fra\"]\n");
    }
    let outcome = play(scenarios, Subject::Binary(binary())).await;
    let (suites, promises) = missed(&outcome);
    assert_eq!(suites, BTreeSet::from(["failover"]), "{promises:?}");
    assert!(promises.contains(&"Every request is answered completely"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_budget_only_the_cost_suite_fails() {
    let mut scenarios = scenarios(THREE);
    for scenario in scenarios.iter_mut().filter(|scenario| scenario.suite == "cost") {
        scenario.gateway.clear();
    }
    let outcome = play(scenarios, Subject::Binary(binary())).await;
    let (suites, promises) = missed(&outcome);
    assert_eq!(suites, BTreeSet::from(["cost"]), "{promises:?}");
    // Without a ledger there is nobody to say that nothing is held.
    let unkept = [
        "Nothing is spent beyond the limit, by the upstreams' own bill",
        "Nothing is held when everything has ended",
    ];
    assert_eq!(promises, unkept);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leaked_reserves_fail_the_cost_suite_only() {
    let outcome = play(scenarios(THREE), Subject::Broken(binary(), Front::Leaking)).await;
    let (suites, promises) = missed(&outcome);
    assert_eq!(suites, BTreeSet::from(["cost"]), "{promises:?}");
    assert!(promises.contains(&"The limit is used"), "{promises:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_decision_fails_the_impact_suite_only() {
    let wanted = scenarios(&[("load", "ramp"), ("impact", "direct")]);
    let front = Front::Slow(Duration::from_millis(300));
    let outcome = play(wanted, Subject::Broken(binary(), front)).await;
    let (suites, promises) = missed(&outcome);
    assert_eq!(suites, BTreeSet::from(["impact"]), "{promises:?}");
    assert!(promises.contains(&"Half of all answers take less than 1 % longer than without the gateway"));
    let direct = outcome.suites.iter().find(|suite| suite.name == "impact").unwrap();
    let notes = &direct.scenarios[0].notes;
    for stage in ["authenticate", "plan", "reserve", "settle", "total"] {
        let told = |note: &String| note.starts_with(&format!("stage {stage}: ")) && !note.contains("null");
        assert!(notes.iter().any(told), "{stage}: {notes:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_words_are_seen_in_every_stream() {
    let wanted = scenarios(&[("failover", "streams")]);
    let outcome = play(wanted, Subject::Broken(binary(), Front::Lossy(5))).await;
    let streams = &outcome.suites[0].scenarios[0];
    let failed =
        streams.verdicts.iter().find(|v| v.promise == "Every request is answered completely").unwrap();
    assert!(failed.measured > 0.9 * failed.samples as f64, "nearly every stream lost a word: {failed:?}");
    assert!(streams.notes.iter().any(|note| note.contains("incomplete answer")), "{:?}", streams.notes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_refuses_everything_passes_no_suite() {
    let wanted = scenarios(&[
        ("load", "ramp"),
        ("latency", "classes"),
        ("efficiency", "faults"),
        ("cost", "limit"),
        ("failover", "streams"),
    ]);
    let outcome = play(wanted, Subject::Broken(binary(), Front::Refusing)).await;
    assert!(!outcome.passed());
    let (suites, _) = missed(&outcome);
    assert_eq!(suites, BTreeSet::from(["cost", "efficiency", "failover", "latency", "load"]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_is_ended_is_partial_and_passes_nothing() {
    let stop = CancellationToken::new();
    stop.cancel();
    let subject = Subject::Binary(binary());
    let outcome = run("quick", scenarios(THREE), &subject, &Quiet, &stop).await;
    assert!(outcome.partial && !outcome.passed());
}
