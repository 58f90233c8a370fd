//! An outcome for tests: invented figures, marked as such wherever a page could be taken for a result.

use std::collections::BTreeMap;

use crate::certify::outcome::{Bar, Class, Mark, Outcome, ScenarioOutcome, Series, SuiteOutcome, Verdict};

const INVENTED: &str = "Invented figures for tests of the report; nothing was measured.";

/// A run in which everything occurs: kept, broken and void, every kind of plot, hostile text.
pub(super) fn outcome() -> Outcome {
    let environment = [
        ("outcrop", "0.1.0 (sample)"),
        ("note", INVENTED),
        ("processor", "2 × imaginary core"),
        ("memory", "24 GiB"),
        ("kernel", "Linux 6.1"),
        ("target", "http://127.0.0.1:8080"),
    ];
    Outcome {
        profile: "quick".to_owned(),
        started_unix: 1_790_000_000,
        seconds: 161.4,
        partial: false,
        environment: environment
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect::<BTreeMap<_, _>>(),
        suites: vec![
            suite("load", vec![baseline(), spike()]),
            suite("latency", vec![classes()]),
            suite("efficiency", vec![oracle()]),
            suite("cost", vec![limit()]),
            suite("failover", vec![region()]),
            suite("impact", vec![paired()]),
            suite("security", vec![]),
        ],
    }
}

/// The same run, everything kept and nothing void.
pub(super) fn passed() -> Outcome {
    let mut outcome = outcome();
    for scenario in outcome.suites.iter_mut().flat_map(|suite| &mut suite.scenarios) {
        scenario.void = None;
        for verdict in &mut scenario.verdicts {
            if !verdict.passed {
                *verdict = Verdict::new(
                    &verdict.promise,
                    verdict.bar,
                    verdict.bar.limit(),
                    &verdict.unit,
                    verdict.samples,
                );
            }
        }
    }
    outcome
}

fn suite(name: &str, scenarios: Vec<ScenarioOutcome>) -> SuiteOutcome {
    SuiteOutcome { name: name.to_owned(), scenarios }
}

fn scenario(name: &str, title: &str, seed: u64) -> ScenarioOutcome {
    let configuration = format!(
        "[scenario]\nname = \"{name}\"\nseed = {seed}\n\n[[phase]]\nrate = 200\nseconds = 20\n\n# gateway\n[listen]\n\
         data = \"127.0.0.1:0\"\n\n[[path]]\nname = \"fra\"\nkind = \"bedrock\"\nregion = \"eu-central-1\"\n"
    );
    ScenarioOutcome {
        name: name.to_owned(),
        title: title.to_owned(),
        seed,
        seconds: 22.5,
        configuration,
        notes: vec![INVENTED.to_owned()],
        ..ScenarioOutcome::default()
    }
}

fn baseline() -> ScenarioOutcome {
    ScenarioOutcome {
        verdicts: vec![
            Verdict::new("every request is answered", Bar::Exactly(0.0), 0.0, "errors", 24_000),
            Verdict::new("throughput follows the arrival rate", Bar::AtLeast(99.0), 99.94, "%", 24_000)
                .with_margin(0.03),
            Verdict::new("latency at the 99th percentile", Bar::AtMost(40.0), 31.2, "ms", 24_000)
                .with_margin(1.1),
        ],
        series: vec![latency("through the gateway", 1.0), latency("direct", 0.93)],
        ..scenario("baseline", "A constant rate well below saturation.", 11)
    }
}

fn latency(name: &str, factor: f64) -> Series {
    let grid = [0.0, 10.0, 25.0, 50.0, 75.0, 90.0, 95.0, 97.5, 99.0, 99.5, 99.9, 99.95, 99.99];
    let value = |p: f64| {
        (4.0 + 9.0 * -(1.0 - p / 100.0).log10() + 1.8 * (-(1.0 - p / 100.0).log10()).powi(2)) * factor
    };
    let points = grid.iter().map(|p| (*p, (value(*p) * 1000.0).round() / 1000.0)).collect();
    Series::Percentiles { name: name.to_owned(), unit: "ms".to_owned(), points, samples: 24_000 }
}

fn spike() -> ScenarioOutcome {
    ScenarioOutcome {
        verdicts: vec![
            Verdict::new("emergency answers in time", Bar::AtLeast(99.9), 99.1, "%", 4_000).with_margin(0.3),
        ],
        void: Some(
            "the load generator fell behind by up to 812 ms: its own processor was saturated".to_owned(),
        ),
        ..scenario("spike", "Ten times the load for five seconds.", 12)
    }
}

fn classes() -> ScenarioOutcome {
    let slow = Verdict::new(
        "critical operations answer in < 10 s with the first region down",
        Bar::AtMost(10.0),
        10.42,
        "s",
        1_200,
    );
    ScenarioOutcome {
        verdicts: vec![
            Verdict::new("emergency operations answer in < 5 s", Bar::AtMost(5.0), 3.1, "s", 900)
                .with_margin(0.08),
            slow.with_margin(0.21),
            Verdict::new("a routing decision takes < 20 µs (p99)", Bar::AtMost(20.0), 8.4, "us", 60_000),
        ],
        series: vec![
            latency("emergency", 90.0),
            latency("critical", 180.0),
            latency("background <b>&amp; hostile</b>", 400.0),
        ],
        ..scenario("classes", "Every class keeps its deadline; <script>alert(\"no\")</script> & friends.", 21)
    }
}

fn oracle() -> ScenarioOutcome {
    let share = |promise: &str, bar: f64, measured: f64, margin: f64| {
        Verdict::new(promise, Bar::AtLeast(bar), measured, "%", 9_000).with_margin(margin)
    };
    ScenarioOutcome {
        verdicts: vec![
            share("optimal first choices, quiet", 98.0, 99.6, 0.13),
            share("optimal first choices, one region slow", 98.0, 98.7, 0.23),
            share("optimal first choices, ten times the load", 98.0, 98.4, 0.26),
            Verdict::new("regret in money", Bar::AtMost(1.0), 0.32, "%", 9_000).with_margin(0.05),
        ],
        ..scenario("oracle", "First choices against an oracle that knows the truth.", 31)
    }
}

fn limit() -> ScenarioOutcome {
    let points = (0..=40).map(|n| (f64::from(n) / 2.0, (f64::from(n) * 0.031).min(1.0))).collect();
    let marks = vec![Mark { at_s: 12.0, until_s: None, label: "callers abort".to_owned(), fault: false }];
    ScenarioOutcome {
        verdicts: vec![
            Verdict::new(
                "spend beyond the limit by the upstream's own bill",
                Bar::AtMost(0.0),
                0.0,
                "USD",
                1_000,
            ),
            Verdict::new("each threshold is reported exactly once", Bar::Exactly(3.0), 3.0, "reports", 3),
        ],
        series: vec![Series::Time {
            name: "spend by the upstream's bill".to_owned(),
            unit: "USD".to_owned(),
            points,
            marks,
            limit: Some(1.0),
        }],
        ..scenario("limit", "A budget of 1 USD under concurrency, aborts and failover.", 41)
    }
}

fn region() -> ScenarioOutcome {
    let wave =
        |n: u32| 190.0 + 12.0 * (f64::from(n) * 1.7).sin() - if (20..24).contains(&n) { 25.0 } else { 0.0 };
    let fault =
        |at_s, until, label: &str| Mark { at_s, until_s: Some(until), label: label.to_owned(), fault: true };
    let marks = vec![
        fault(10.0, 18.0, "fra: 503 to every request"),
        fault(24.0, 25.0, "dub: connections reset"),
        Mark { at_s: 27.0, until_s: None, label: "rate doubled".to_owned(), fault: false },
    ];
    let points = (0..64).map(|n| (f64::from(n) / 2.0, (wave(n) * 10.0).round() / 10.0)).collect();
    let counts = [3, 14, 19, 9, 3, 1, 0, 1];
    let classes = counts.iter().enumerate().map(|(at, count)| Class {
        from: at as f64 * 2.0,
        to: at as f64 * 2.0 + 2.0,
        count: *count,
    });
    ScenarioOutcome {
        verdicts: vec![
            Verdict::new(
                "client errors before the first content byte",
                Bar::Exactly(0.0),
                2.0,
                "errors",
                3_400,
            ),
            Verdict::new("longest recovery after healing", Bar::AtMost(30.0), 15.2, "s", 50),
            Verdict::new("median recovery after healing", Bar::AtMost(10.0), 4.6, "s", 50).with_margin(0.7),
        ],
        series: vec![
            Series::Time {
                name: "answers per second".to_owned(),
                unit: "1/s".to_owned(),
                points,
                marks,
                limit: None,
            },
            Series::Distribution {
                name: "recovery time after healing".to_owned(),
                unit: "s".to_owned(),
                classes: classes.collect(),
            },
        ],
        ..scenario("region", "The first region fails and heals, in both directions.", 51)
    }
}

fn paired() -> ScenarioOutcome {
    let share = |promise: &str, bar: f64, measured: f64, margin: f64| {
        Verdict::new(promise, Bar::AtMost(bar), measured, "%", 40).with_margin(margin)
    };
    ScenarioOutcome {
        verdicts: vec![
            share("end-to-end time at p99", 1.0, 0.41, 0.3),
            share("throughput lost", 5.0, -0.6, 0.9),
            share("processor time added", 5.0, 4.4, 0.5),
            share("memory added", 10.0, 6.8, 0.4),
        ],
        ..scenario("paired", "Direct and through the gateway, interleaved.", 61)
    }
}
