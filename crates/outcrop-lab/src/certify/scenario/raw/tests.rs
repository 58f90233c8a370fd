use std::time::Duration;

use super::parse;
use crate::certify::scenario::Profile;

const GOOD: &str = r#"
name = "s"
suite = "load"
title = "It holds"
standard = { length = 2, rate = 10 }
[targets.fra]
latency_ms = { uniform = [15, 45] }
[[mix]]
api = "openai"
model = "sonnet"
operation = "standard"
[[phase]]
name = "steady"
seconds = 4
rate = 50
[[fault]]
target = "fra"
at = 1
until = 2
script = { down = true }
[[bar]]
promise = "answers"
measure = "success"
at_least = 99.9
phase = "steady"
"#;

#[test]
fn a_scenario_is_scaled_to_its_profile() {
    let quick = parse("s.toml", GOOD, Profile::Quick).unwrap();
    assert_eq!(quick.length(), Duration::from_secs(4));
    let standard = parse("s.toml", GOOD, Profile::Standard).unwrap();
    assert_eq!(standard.length(), Duration::from_secs(8));
    assert_eq!(standard.faults[0].at, Duration::from_secs(2));
    let requests = |scenario: &super::Scenario| {
        let phase = &scenario.phases[0];
        phase.arrivals.schedule(phase.length, 1).count()
    };
    assert_eq!((requests(&quick), requests(&standard)), (200, 4_000));
}

#[test]
fn every_mistake_says_where_it_lies_and_what_would_do() {
    for (from, to, parts) in [
        ("seconds = 4", "secnds = 4", vec!["line", "secnds", "seconds"]),
        ("rate = 50", "rate = 50\nramp = [1, 2]", vec!["phase `steady`", "exactly one of rate, ramp"]),
        ("rate = 50", "rate = 0", vec!["phase `steady`", "above 0"]),
        ("target = \"fra\"", "target = \"par\"", vec!["no upstream is named `par`", "fra, dub, desk"]),
        ("until = 2", "until = 1", vec!["fault at 1 s", "later than `at`"]),
        ("at = 1\nuntil = 2", "at = 5", vec!["after the last phase"]),
        (
            "phase = \"steady\"",
            "phase = \"peak\"",
            vec!["bar `answers`", "no phase is named `peak`", "steady"],
        ),
        ("at_least = 99.9", "", vec!["bar `answers`", "exactly one of at_most"]),
        ("\"success\"", "\"in_time\"", vec!["bar `answers`", "needs within_ms"]),
        ("\"success\"", "\"sucess\"", vec!["line", "sucess", "success"]),
        ("\"success\"", "\"added_p50\"", vec!["[paired]"]),
        ("at_least = 99.9", "at_least = 99.9\nlimit_usd = 1", vec!["no use for limit_usd"]),
        ("phase = \"steady\"", "operation = \"emergency\"", vec!["no [[mix]] asks", "emergency"]),
        ("latency_ms = { uniform = [15, 45] }", "latency_ms = { uniform = [45, 15] }", vec!["targets.fra"]),
    ] {
        assert!(GOOD.contains(from), "{from}");
        let error = parse("s.toml", &GOOD.replacen(from, to, 1), Profile::Quick).unwrap_err().to_string();
        assert!(error.starts_with("s.toml: "), "{error}");
        for part in parts {
            assert!(error.contains(part), "{to}: `{part}` is missing in: {error}");
        }
    }
}
