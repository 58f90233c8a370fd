//! Each trigger: what pulls it, and what does not.

use super::*;

const USD: i64 = 1_000_000_000;

fn watch(scope: &str, kind: Kind) -> Automatic {
    Automatic::new([Trigger { scope: Scope::parse(scope).unwrap(), kind, level: Level::Drain }])
}

fn by(key: &str) -> Attribution {
    Attribution { key: key.into(), ..Attribution::default() }
}

const FAILED: Observation = Observation { failed: Some(true), cost_nusd: 0 };
const GOOD: Observation = Observation { failed: Some(false), cost_nusd: 0 };
const SILENT: Observation = Observation { failed: None, cost_nusd: 0 };

/// At which of the observations the trigger is pulled first.
fn pulled(automatic: &Automatic, seen: &[(Observation, u64)]) -> Option<usize> {
    seen.iter().position(|(seen, now_ms)| automatic.observe(&by("ci"), *seen, *now_ms).is_some())
}

#[test]
fn the_error_rate_needs_its_share_and_its_samples() {
    let kind = Kind::ErrorRate { percent: 50, window_ms: 60_000, samples_min: 4 };
    for (case, seen, expected) in [
        ("too few", vec![(FAILED, 0); 3], None),
        ("enough", vec![(FAILED, 0); 4], Some(3)),
        ("half", vec![(GOOD, 0), (GOOD, 0), (FAILED, 0), (FAILED, 0)], Some(3)),
        ("less than half", vec![(GOOD, 0), (GOOD, 0), (GOOD, 0), (FAILED, 0), (FAILED, 0)], None),
        ("what says nothing", vec![(SILENT, 0), (SILENT, 0), (FAILED, 0), (FAILED, 0)], None),
        ("old ones have left", vec![(FAILED, 0), (FAILED, 0), (FAILED, 61_001), (FAILED, 62_000)], None),
        ("none has left yet", vec![(FAILED, 0), (FAILED, 0), (FAILED, 59_000), (FAILED, 60_000)], Some(3)),
    ] {
        assert_eq!(pulled(&watch("all", kind), &seen), expected, "{case}");
    }
}

#[test]
fn nothing_is_stopped_for_a_single_sample() {
    let dear = Observation { failed: Some(true), cost_nusd: 5_000 * USD };
    for kind in [
        Kind::ErrorRate { percent: 1, window_ms: 1_000, samples_min: 0 },
        Kind::SpendPerHour { limit_nusd: 1 },
        Kind::ConsecutiveFailures { count: 0 },
    ] {
        assert_eq!(pulled(&watch("all", kind), &[(dear, 0)]), None, "{kind:?}");
        assert_eq!(pulled(&watch("all", kind), &[(dear, 0), (dear, 1)]), Some(1), "{kind:?}");
    }
}

#[test]
fn spend_counts_within_an_hour() {
    let spent = |usd: i64| Observation { failed: Some(false), cost_nusd: usd * USD };
    let kind = Kind::SpendPerHour { limit_nusd: 1_000 * USD };
    for (case, seen, expected) in [
        ("at the limit", vec![(spent(500), 0), (spent(500), 1)], None),
        ("above it", vec![(spent(500), 0), (spent(501), 1)], Some(1)),
        ("an hour and more between them", vec![(spent(900), 0), (spent(900), HOUR_MS + 60_000)], None),
        ("free ones are no samples", vec![(spent(1_001), 0), (spent(0), 1)], None),
        ("no sum overflows", vec![(Observation { failed: None, cost_nusd: i64::MAX }, 0); 2], Some(1)),
    ] {
        assert_eq!(pulled(&watch("all", kind), &seen), expected, "{case}");
    }
}

#[test]
fn failures_in_a_row_are_broken_by_a_success_only() {
    let kind = Kind::ConsecutiveFailures { count: 3 };
    for (seen, expected) in [
        (vec![FAILED, FAILED, FAILED], Some(2)),
        (vec![FAILED, FAILED, GOOD, FAILED, FAILED], None),
        (vec![FAILED, FAILED, SILENT, FAILED], Some(3)),
    ] {
        let seen: Vec<_> = seen.into_iter().map(|seen| (seen, 0)).collect();
        assert_eq!(pulled(&watch("all", kind), &seen), expected, "{seen:?}");
    }
}

#[test]
fn each_value_of_a_star_counts_by_itself_and_the_stop_names_it() {
    let automatic = watch("key:*", Kind::ConsecutiveFailures { count: 2 });
    assert_eq!(automatic.observe(&by("a"), FAILED, 0), None);
    assert_eq!(automatic.observe(&by("b"), FAILED, 0), None);
    let stop = automatic.observe(&by("a"), FAILED, 7).unwrap();
    assert_eq!((stop.scope.to_string(), stop.since_ms), ("key:a".to_owned(), 7));
    assert!(stop.by.contains("consecutive_failures") && stop.reason.contains("2 failures"), "{stop:?}");
    assert_eq!(automatic.observe(&by("a"), FAILED, 8), None, "what was counted is forgotten");
    assert_eq!(automatic.observe(&by(""), FAILED, 9), None, "nobody is no key");
}

#[test]
fn a_clock_that_steps_back_loses_nothing_and_the_scopes_are_bounded() {
    let kind = Kind::ErrorRate { percent: 100, window_ms: 60_000, samples_min: 2 };
    assert_eq!(pulled(&watch("all", kind), &[(FAILED, 100_000), (FAILED, 1_000)]), Some(1));
    let automatic = watch("key:*", Kind::ConsecutiveFailures { count: 2 });
    for n in 0..=SCOPES_MAX {
        automatic.observe(&by(&n.to_string()), FAILED, n as u64);
    }
    assert_eq!(automatic.watched.lock().unwrap()[0].counts.len(), SCOPES_MAX);
    assert_eq!(automatic.observe(&by("0"), FAILED, 9_999), None, "the quiet one was forgotten");
    assert!(automatic.observe(&by("999"), FAILED, 9_999).is_some());
}
