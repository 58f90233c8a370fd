use std::{sync::Arc, time::Duration};

use super::{Measure, verdict};
use crate::{
    billing::Record,
    certify::{
        evidence::{Claims, Evidence, Happened},
        outcome::{Bar, Verdict},
        scenario::{Asked, Profile, Scope, Way, parse},
    },
    load::{
        client::{Ending, Route},
        drive::Sample,
        tally::Counts,
    },
    script::Script,
};

const SCENARIO: &str = r#"
name = "s"
suite = "s"
title = "t"
[targets.fra]
latency_ms = { fixed = 100 }
[targets.dub]
latency_ms = { fixed = 40 }
[[mix]]
api = "openai"
model = "sonnet"
operation = "infrastructure"
[[phase]]
name = "p"
seconds = 10
rate = 1
"#;

fn sample(n: u64, due_s: f64, ending: Ending) -> Sample {
    Sample {
        n,
        phase: 0,
        call: 0,
        due: Duration::from_secs_f64(due_s),
        lag: Duration::ZERO,
        latency: Duration::from_millis(50),
        first: None,
        ending: Some(ending),
        route: Route { attempts: 1, ..Route::default() },
    }
}

#[allow(clippy::cast_sign_loss, reason = "nothing here is negative")]
fn record(tag: u64, target: &str, at_s: f64, usd: f64) -> Record {
    let empty = r#"{"request_id":"r","target":"","model":"m","operation":"converse","stream":false,"input_tokens":1,
        "output_tokens":1,"cache_read_tokens":0,"cache_write_tokens":0,"cost_nusd":0,"executed":true,"completed":true,
        "client_gone":false,"at_ms":0}"#;
    Record {
        tag: Some(tag),
        target: target.to_owned(),
        cost_nusd: (usd * 1e9) as u64,
        at_ms: 1_000_000 + (at_s * 1_000.0) as u64,
        ..serde_json::from_str(empty).unwrap()
    }
}

fn evidence(samples: Vec<Sample>, records: Vec<Record>, faults: Vec<Happened>) -> Evidence {
    Evidence {
        scenario: Arc::new(parse("s.toml", SCENARIO, Profile::Quick).unwrap()),
        samples,
        direct: Vec::new(),
        records,
        own: Vec::new(),
        origin_ms: 1_000_000,
        usage: Vec::new(),
        faults,
        orders: Vec::new(),
        claims: None,
        foreign_share: None,
        counts: Counts::default(),
    }
}

fn measured(evidence: &Evidence, measure: Measure, parameter: f64) -> Verdict {
    let (promise, bar, scope) = ("p".to_owned(), Bar::AtMost(0.0), Scope::default());
    verdict(evidence, &Asked { promise, measure, bar, parameter, scope })
}

fn value(evidence: &Evidence, measure: Measure, parameter: f64) -> f64 {
    measured(evidence, measure, parameter).measured
}

fn down(target: &str, at_s: f64, until_s: f64) -> Happened {
    let (target, label) = (target.to_owned(), "down".to_owned());
    Happened { target, label, script: Script::down(), at_s, until_s: Some(until_s) }
}

#[test]
fn what_could_not_be_observed_meets_no_bar() {
    let nothing = evidence(Vec::new(), Vec::new(), Vec::new());
    for measure in
        [Measure::Success, Measure::Failed, Measure::LatencyP99, Measure::Overspend, Measure::Optimal]
    {
        let verdict = measured(&nothing, measure, 1.0);
        assert!(!verdict.passed && verdict.samples == 0, "{measure:?} {verdict:?}");
    }
}

#[test]
fn overspend_is_the_bill_beyond_the_limit() {
    let records = vec![record(0, "fra", 0.0, 0.7), record(1, "dub", 1.0, 0.5)];
    let evidence = evidence(vec![sample(0, 0.0, Ending::Complete)], records, Vec::new());
    assert!((value(&evidence, Measure::Overspend, 1.0) - 0.2).abs() < 1e-9);
    assert!(value(&evidence, Measure::Overspend, 1.2).abs() < 1e-9);
    assert!((value(&evidence, Measure::Used, 2.4) - 50.0).abs() < 1e-9);
}

#[test]
fn a_refusal_is_a_phantom_only_while_there_was_room() {
    let refused = |n, at| sample(n, at, Ending::Refused(402, String::new()));
    let records = vec![record(0, "fra", 0.0, 0.5), record(1, "fra", 3.0, 0.45)];
    let samples = vec![refused(2, 1.0), refused(3, 5.0)];
    assert!(
        (value(&evidence(samples, records, Vec::new()), Measure::PhantomRefusals, 1.0) - 1.0).abs() < 1e-9
    );
}

#[test]
fn recovery_counts_from_healing_to_the_first_good_answer() {
    let records = vec![record(0, "fra", 1.0, 0.0), record(1, "dub", 4.5, 0.0), record(2, "fra", 6.5, 0.0)];
    let found = evidence(Vec::new(), records, vec![down("fra", 2.0, 4.0)]);
    assert!((value(&found, Measure::RecoveryMax, 0.0) - 2.5).abs() < 1e-6);
    let never = vec![record(0, "fra", 1.0, 0.0), record(1, "dub", 9.0, 0.0)];
    let found = evidence(Vec::new(), never, vec![down("fra", 2.0, 4.0)]);
    assert!((value(&found, Measure::RecoveryMax, 0.0) - 5.0).abs() < 1e-6, "not before the end");
}

#[test]
fn an_answer_taken_twice_is_a_double_execution_and_one_that_broke_is_none() {
    let broken = Record { client_gone: true, ..record(1, "fra", 1.0, 0.0) };
    let records =
        vec![record(0, "fra", 0.0, 0.0), record(0, "dub", 0.1, 0.0), broken, record(1, "dub", 1.1, 0.0)];
    let found = evidence(Vec::new(), records, Vec::new());
    assert!((value(&found, Measure::DoubleExecutions, 0.0) - 1.0).abs() < 1e-9);
}

#[test]
fn an_answer_torn_by_a_closing_port_may_be_asked_for_again_but_an_effect_may_not() {
    let twice = || vec![record(0, "desk", 1.99, 0.0), record(0, "fra", 2.02, 0.0)];
    let torn = evidence(vec![sample(0, 1.99, Ending::Complete)], twice(), vec![down("desk", 2.0, 3.0)]);
    assert!(value(&torn, Measure::DoubleExecutions, 0.0).abs() < 1e-9);
    assert!((value(&torn, Measure::DoubleEffects, 0.0) - 1.0).abs() < 1e-9);
    let whole = evidence(vec![sample(0, 1.99, Ending::Complete)], twice(), vec![down("desk", 5.0, 6.0)]);
    assert!((value(&whole, Measure::DoubleExecutions, 0.0) - 1.0).abs() < 1e-9);
}

#[test]
fn what_breaks_off_is_honest_only_if_it_says_so() {
    let flawed = |n, text: &str| sample(n, 0.0, Ending::Flawed(text.to_owned()));
    let samples = vec![
        sample(0, 0.0, Ending::Complete),
        flawed(1, "error in the answer: overloaded"),
        flawed(2, "truncated: no terminal event"),
    ];
    let found = evidence(samples, Vec::new(), Vec::new());
    assert!((value(&found, Measure::Dishonest, 0.0) - 1.0).abs() < 1e-9);
    assert!((value(&found, Measure::BrokenOff, 0.0) - 1.0).abs() < 1e-9);
}

#[test]
fn what_the_gateway_counts_is_held_against_the_bill() {
    let account = |posted: u64, committed: u64, pending: u64| {
        serde_json::json!({"budgets": [{"accounts": [{
            "scope": "all", "dimension": "usd", "posted": posted, "committed": committed, "pending": pending,
            "forecast": {"per_hour": posted},
        }]}]})
    };
    let told = |levels: &[&str]| {
        levels.iter().map(|level| serde_json::json!({"scope": "all", "level": level})).collect()
    };
    let mut found =
        evidence(vec![sample(0, 0.0, Ending::Complete)], vec![record(0, "fra", 0.0, 0.6)], Vec::new());
    found.claims = Some(Claims {
        budgets: account(600_000_000, 600_000_000, 0),
        alerts: told(&["half"]),
        ..Claims::default()
    });
    for measure in [
        Measure::Uncommitted,
        Measure::Held,
        Measure::BooksError,
        Measure::ForecastError,
        Measure::ThresholdsWrong,
    ] {
        assert!(value(&found, measure, 1.0).abs() < 1e-9, "{measure:?}");
    }
    found.claims = Some(Claims {
        budgets: account(300_000_000, 500_000_000, 50_000_000),
        alerts: told(&["half", "half"]),
        ..Claims::default()
    });
    let off = |measure| value(&found, measure, 1.0);
    assert!((off(Measure::Uncommitted) - 0.1).abs() < 1e-9);
    assert!((off(Measure::Held) - 0.05).abs() < 1e-9);
    assert!((off(Measure::BooksError) - 50.0).abs() < 1e-9);
    assert!((off(Measure::ForecastError) - 50.0).abs() < 1e-9);
    assert!((off(Measure::ThresholdsWrong) - 1.0).abs() < 1e-9);
}

#[test]
fn the_oracle_knows_the_faster_region_and_the_fault() {
    let samples = vec![
        sample(0, 1.0, Ending::Complete),
        sample(1, 1.5, Ending::Complete),
        sample(2, 3.0, Ending::Complete),
        // Two attempts, of which the upstreams saw one: the first found a closed port.
        Sample { route: Route { attempts: 2, ..Route::default() }, ..sample(3, 3.5, Ending::Complete) },
    ];
    let records = vec![
        record(0, "dub", 1.0, 0.0),
        record(1, "fra", 1.5, 0.0),
        record(2, "fra", 3.0, 0.0),
        record(3, "fra", 3.6, 0.0),
    ];
    let found = evidence(samples, records, vec![down("dub", 2.0, 4.0)]);
    let verdict = measured(&found, Measure::Optimal, 0.0);
    assert_eq!((verdict.measured, verdict.samples), (50.0, 4));
    // 60 ms too long in one of the three whose choice was seen.
    assert!((value(&found, Measure::RegretTime, 0.0) - 20.0).abs() < 1e-9);
}

#[test]
fn added_time_is_the_callers_less_the_upstreams_and_a_switch_what_comes_on_top() {
    let took = |tag, target: &str, took_ms| Record { took_ms, ..record(tag, target, 1.0, 0.0) };
    let detour =
        Sample { route: Route { attempts: 2, ..Route::default() }, ..sample(3, 3.0, Ending::Complete) };
    let samples = vec![sample(1, 1.0, Ending::Complete), sample(2, 2.0, Ending::Complete), detour];
    let records = vec![took(1, "fra", 48), took(2, "desk", 46), took(3, "fra", 20), took(3, "desk", 21)];
    let seen = evidence(samples, records, Vec::new());
    // Of 50 ms the upstreams took 48 and 46; of the detour 41, and 9 less the usual 2 are left.
    assert_near(value(&seen, Measure::AddedTimeP50, 0.0), 2.0);
    assert_near(value(&seen, Measure::AddedTimeP99, 0.0), 4.0);
    assert_near(value(&seen, Measure::SwitchP50, 0.0), 7.0);
    for (way, expected, samples) in [(Way::Direct, 2.0, 1), (Way::Mcp, 4.0, 1)] {
        let scope = Scope { way: Some(way), ..Scope::default() };
        let (promise, measure, bar) = ("p".to_owned(), Measure::AddedTimeP50, Bar::AtMost(0.0));
        let verdict = verdict(&seen, &Asked { promise, measure, bar, parameter: 0.0, scope });
        assert_near(verdict.measured, expected);
        assert_eq!(verdict.samples, samples, "{way:?}");
    }
}

#[test]
fn the_gateways_own_requests_and_its_decisions_are_told_apart() {
    let mut seen = evidence(vec![sample(1, 1.0, Ending::Complete)], Vec::new(), Vec::new());
    assert_near(value(&seen, Measure::OwnRequests, 0.0), 0.0);
    assert!(!measured(&seen, Measure::DecisionP99, 0.0).passed, "no word, no number");
    seen.own.push(Record { tag: None, ..record(0, "fra", 1.0, 0.0) });
    assert_near(value(&seen, Measure::OwnRequests, 0.0), 100.0);
    let impact = serde_json::json!({"stages": {"plan": {"count": 7, "p50_us": 20.0, "p99_us": 90.0}}});
    seen.claims = Some(Claims { impact, ..Claims::default() });
    let decision = measured(&seen, Measure::DecisionP99, 0.0);
    assert_near(decision.measured, 90.0);
    assert_eq!(decision.samples, 7);
}

#[test]
fn the_knee_is_the_best_rate_before_answers_are_missing_and_none_where_nothing_is_missing() {
    let refused = || Ending::Refused(503, "overloaded".to_owned());
    let second = |second: u32, rate: u32, refusals: u32| {
        (0..rate).map(move |n| {
            let ending = if n < refusals { refused() } else { Ending::Complete };
            sample(u64::from(second * 1_000 + n), f64::from(second) + f64::from(n) / f64::from(rate), ending)
        })
    };
    let climb: Vec<Sample> = second(0, 10, 0).chain(second(1, 20, 0)).collect();
    let seen = evidence(climb.clone(), Vec::new(), Vec::new());
    assert!(!measured(&seen, Measure::Knee, 0.0).passed, "not reached");
    let beyond = climb.into_iter().chain(second(2, 40, 15)).chain(second(3, 80, 0)).collect();
    let seen = evidence(beyond, Vec::new(), Vec::new());
    assert_near(value(&seen, Measure::Knee, 0.0), 20.0);
    assert_near(value(&seen, Measure::Refused, 0.0), 15.0);
}

#[test]
fn a_ramp_ends_with_half_of_the_former_share() {
    let mut records = Vec::new();
    for tenth in 0..100_u32 {
        let at = f64::from(tenth) / 10.0;
        let fra = match at {
            at if at < 2.0 => tenth % 2 == 0,
            at if at < 6.0 => false,
            _ => tenth % 3 == 0,
        };
        records.push(record(u64::from(tenth), if fra { "fra" } else { "dub" }, at, 0.0));
    }
    let healed = evidence(Vec::new(), records.clone(), vec![down("fra", 2.0, 4.0)]);
    assert_near(value(&healed, Measure::RampMax, 0.0), 2.0);
    records.retain(|record| record.target == "dub" || record.at_ms < 1_002_000);
    let never = evidence(Vec::new(), records, vec![down("fra", 2.0, 4.0)]);
    assert!(value(&never, Measure::RampMax, 0.0) > 5.0);
}

fn assert_near(found: f64, expected: f64) {
    assert!((found - expected).abs() < 0.01, "{found} is not {expected}");
}
