//! Scopes, levels and the way back, case by case.

use super::*;

fn stop(id: &str, scope: &str, level: Level) -> Stop {
    Stop {
        id: id.into(),
        scope: Scope::parse(scope).unwrap(),
        level,
        by: "ada".into(),
        reason: "drill".into(),
        since_ms: 1_000,
        staged: None,
    }
}

fn whose() -> Attribution {
    Attribution {
        org: "acme".into(),
        team: "blue".into(),
        key: "ci".into(),
        user: "ada".into(),
        run: "nightly".into(),
        model: "sonnet".into(),
        path: "fra".into(),
        region: "eu-central-1".into(),
        operation: "standard".into(),
        tool: "desk__mail".into(),
    }
}

const START: Phase<'static> = Phase::Start { request: "r", now_ms: 5_000 };

#[test]
fn each_level_forbids_what_it_says() {
    for (level, stream, whole) in
        [(Level::Drain, false, false), (Level::Stop, true, false), (Level::Kill, true, true)]
    {
        let stop = stop("a", "key:ci", level);
        assert!(stop.forbids(&whose(), START), "{level:?}");
        assert_eq!(stop.forbids(&whose(), Phase::Stream), stream, "{level:?}");
        assert_eq!(stop.forbids(&whose(), Phase::Whole), whole, "{level:?}");
        assert!(!stop.forbids(&Attribution::default(), START), "another key");
    }
}

#[test]
fn every_scope_is_stopped_and_no_other() {
    let scopes = [
        "all",
        "org:acme",
        "team:blue",
        "key:ci",
        "user:ada",
        "run:nightly",
        "model:sonnet",
        "path:fra",
        "region:eu-central-1",
        "operation:standard",
        "tool:desk__mail",
        "key:ci+model:sonnet",
    ];
    for scope in scopes {
        let mut stops = Stops::default();
        stops.put(stop("a", scope, Level::Drain), Kept::Pending).unwrap();
        assert!(stops.verdict(&whose(), START).is_some(), "{scope}");
        let other = stops.verdict(&Attribution { key: "cd".into(), ..Attribution::default() }, START);
        assert_eq!(other.is_some(), scope == "all", "{scope}");
    }
}

#[test]
fn the_hardest_of_several_speaks() {
    let mut stops = Stops::default();
    assert!(stops.none() && stops.verdict(&whose(), START).is_none());
    for (id, scope, level) in [("a", "all", Level::Drain), ("b", "key:ci", Level::Kill)] {
        stops.put(stop(id, scope, level), Kept::Pending).unwrap();
    }
    assert_eq!(stops.verdict(&whose(), START).unwrap().id, "b");
    assert_eq!(stops.of_everything().unwrap().id, "a");
    stops.remove("b");
    assert_eq!(stops.verdict(&whose(), START).unwrap().id, "a");
    assert_eq!(stops.verdict(&whose(), Phase::Stream), None);
}

#[test]
fn the_way_back_lets_in_a_tenth_a_half_and_all() {
    let staged = Staged { since_ms: 10_000, over_ms: 1_000 };
    let stop = Stop { staged: Some(staged), ..stop("a", "all", Level::Kill) };
    for (now_ms, expected) in [(9_000, 10), (10_499, 10), (10_500, 50), (10_999, 50), (11_000, 100)] {
        let passed = (0..10_000)
            .filter(|n| {
                let request = format!("0198c0de-0000-7000-8000-{n:012x}");
                let phase = Phase::Start { request: &request, now_ms };
                assert_eq!(stop.forbids(&whose(), phase), stop.forbids(&whose(), phase));
                !stop.forbids(&whose(), phase)
            })
            .count();
        let wanted = expected * 100;
        assert!(passed.abs_diff(wanted) <= 150 && (expected < 100 || passed == wanted), "{now_ms}: {passed}");
    }
    assert!(!stop.forbids(&whose(), Phase::Stream) && !stop.forbids(&whose(), Phase::Whole));
    assert!(staged.is_over(11_000) && !staged.is_over(10_999));
}

#[test]
fn the_journal_is_followed_and_what_is_not_in_it_yet_stays() {
    let mut stops = Stops::default();
    stops.put(stop("here", "all", Level::Drain), Kept::Pending).unwrap();
    stops.put(stop("file", "all", Level::Stop), Kept::Outside).unwrap();
    stops.put(stop("gone", "key:x", Level::Stop), Kept::Durable).unwrap();
    stops.follow(vec![stop("other", "key:y", Level::Kill)]);
    let ids = |stops: &Stops| stops.held().iter().map(|h| h.stop.id.clone()).collect::<Vec<_>>();
    assert_eq!(ids(&stops), ["here", "file", "other"]);
    assert_eq!(stops.pending().count(), 1);
    stops.follow(vec![stop("here", "all", Level::Drain)]);
    assert_eq!(ids(&stops), ["file", "here"]);
    assert_eq!(stops.pending().count(), 0);
}

#[test]
fn the_set_is_bounded_and_everything_can_always_be_stopped() {
    let mut stops = Stops::default();
    for n in 0..STOPS_MAX {
        stops.put(stop(&n.to_string(), "key:x", Level::Drain), Kept::Pending).unwrap();
    }
    assert_eq!(stops.put(stop("more", "key:x", Level::Drain), Kept::Pending), Err(TooMany));
    assert_eq!(stops.put(stop("0", "key:x", Level::Kill), Kept::Pending), Ok(()));
    assert_eq!(stops.put(stop("all", "all", Level::Drain), Kept::Pending), Ok(()));
    assert_eq!((stops.count(Level::Kill), stops.count(Level::Drain)), (1, STOPS_MAX));
}

#[test]
fn a_path_ends_only_where_everything_it_does_is_meant() {
    for (scope, expected) in [
        ("all", true),
        ("path:desk", true),
        ("region:eu-central-1", true),
        ("path:desk+region:eu-central-1", true),
        ("path:other", false),
        ("path:desk+key:ci", false),
        ("key:ci", false),
        ("user:*", false),
    ] {
        let covers = stop("a", scope, Level::Kill).covers_path("desk", Some("eu-central-1"));
        assert_eq!(covers, expected, "{scope}");
    }
}
