#![allow(clippy::disallowed_methods, reason = "tests need some instant to start from")]

use outcrop_core::decision::BreakerState;
use outcrop_core::failure::{Class, Failure, Reason};

use super::*;

const NAME: &str = "fra/x";

fn errand(terms: Terms) -> Errand {
    Errand { shape: Shape::Stream, tokens: 0, quota: None, terms }
}

fn failure(class: Class, reason: Reason) -> Failure {
    Failure::network(reason, class, "")
}

fn reset() -> Failure {
    failure(Class::Ambiguous, Reason::Reset)
}

/// One whole attempt that takes no time.
fn attempt(health: &Health, failed: Option<&Failure>, now: Instant) -> Result<(), Denied> {
    let mut trial = health.begin(NAME, errand(Terms::Panic), now)?;
    match failed {
        None => trial.answered(now, 0.0),
        Some(failure) => trial.failed(failure, now, 0.0),
    };
    Ok(())
}

fn trip(health: &Health, now: Instant) {
    for _ in 0..FAILURES_IN_A_ROW {
        attempt(health, Some(&reset()), now).unwrap();
    }
    assert_eq!(health.report(NAME, now).breaker, BreakerState::Tripped);
}

#[test]
fn what_is_nobodys_fault_does_not_trip() {
    let (health, now) = (Health::default(), Instant::now());
    for (class, reason) in [
        (Class::Permanent, Reason::BadRequest),
        (Class::NotHere, Reason::NotFound),
        (Class::Credential, Reason::CredentialsRefused),
        (Class::CallerGone, Reason::CallerGone),
        (Class::NotSent, Reason::NoCredentials),
    ] {
        for _ in 0..20 {
            attempt(&health, Some(&failure(class, reason)), now).unwrap();
        }
        assert_eq!(health.report(NAME, now).breaker, BreakerState::Serving, "{class:?}");
    }
    trip(&health, now);
}

#[test]
fn a_trial_is_under_way_until_it_is_dropped_whatever_became_of_it() {
    let (health, now) = (Health::default(), Instant::now());
    let mut one = health.begin(NAME, errand(Terms::First), now).unwrap();
    let two = health.begin(NAME, errand(Terms::First), now).unwrap();
    assert_eq!(health.standing(NAME, Shape::Stream, None, now).in_flight, 2);
    let _ = one.answered(now, 0.0);
    drop(two);
    assert_eq!(health.report(NAME, now).in_flight, 1);
    drop(one);
    assert_eq!(health.report(NAME, now).in_flight, 0);
}

#[test]
fn a_probe_that_taught_nothing_leaves_its_permit_behind() {
    let (health, now) = (Health::default(), Instant::now());
    trip(&health, now);
    let later = now + Duration::from_secs(1);
    let probe = health.begin(NAME, errand(Terms::First), later).unwrap();
    assert!(probe.is_probe());
    let denied = health.begin(NAME, errand(Terms::First), later).unwrap_err();
    assert!(matches!(denied, Denied::Tripped { .. }));
    drop(probe);
    assert_eq!(health.waiting(later).len(), 1);
    assert!(health.begin(NAME, errand(Terms::First), later).unwrap().is_probe());
}

#[test]
fn a_lone_target_is_asked_once_a_second_while_it_is_tripped() {
    let (health, now) = (Health::default(), Instant::now());
    trip(&health, now);
    let ask = |ms| health.begin(NAME, errand(Terms::Lone), now + Duration::from_millis(ms)).is_ok();
    assert!(!ask(500));
    let mut probe = health.begin(NAME, errand(Terms::Lone), now + LONE_PROBE_EVERY).unwrap();
    let _ = probe.failed(&reset(), now + LONE_PROBE_EVERY, 0.0);
    assert!(!ask(1900));
    assert!(ask(2000));
    assert!(health.begin(NAME, errand(Terms::Panic), now).is_ok(), "a panic does not ask");
}

#[test]
fn where_none_serves_one_that_has_not_failed_for_a_second_gives_hope() {
    let (health, now) = (Health::default(), Instant::now());
    let hope = |ms| health.would_admit(NAME, Terms::Hopeful, now + Duration::from_millis(ms));
    assert!(hope(0), "nothing is known against it");
    // Jittered, so that its pause is longer than a second.
    for _ in 0..FAILURES_IN_A_ROW {
        let mut trial = health.begin(NAME, errand(Terms::Panic), now).unwrap();
        let _ = trial.failed(&reset(), now, 1.0);
    }
    assert!(!hope(0) && !hope(999));
    assert!(hope(1_000));
    attempt(&health, Some(&reset()), now + Duration::from_millis(900)).unwrap();
    assert!(!hope(1_000), "it has failed since");
    health.force(NAME, Some(Forced::Tripped), now);
    assert!(!hope(900));
}

#[test]
fn where_none_serves_one_that_is_tripped_and_answers_gives_hope() {
    let (health, now) = (Health::default(), Instant::now());
    let at = |ms| now + Duration::from_millis(ms);
    let mut slow = health.begin(NAME, errand(Terms::First), now).unwrap();
    trip(&health, at(10));
    assert!(!health.would_admit(NAME, Terms::Hopeful, at(20)));
    let _ = slow.answered(at(20), 0.0);
    assert_eq!(health.report(NAME, at(20)).breaker, BreakerState::Tripped, "it began before the trip");
    assert!(health.would_admit(NAME, Terms::Hopeful, at(20)));
    attempt(&health, Some(&reset()), at(30)).unwrap();
    assert!(!health.would_admit(NAME, Terms::Hopeful, at(30)));
}

#[test]
fn further_attempts_at_a_target_in_trouble_are_few() {
    let (health, now) = (Health::default(), Instant::now());
    let further = |at| health.begin(NAME, errand(Terms::Further), at);
    for _ in 0..100 {
        assert!(further(now).is_ok(), "one that serves takes what comes");
    }
    trip(&health, now);
    let later = now + Duration::from_secs(1);
    attempt(&health, None, later).unwrap();
    assert_eq!(health.report(NAME, later).breaker, BreakerState::Ramping);
    let taken = (0..100).take_while(|_| further(later).is_ok()).count();
    assert_eq!(taken, 3);
    assert_eq!(further(later).unwrap_err(), Denied::NoRetry);
    assert!(health.begin(NAME, errand(Terms::First), later).is_ok());
}

#[test]
fn a_hint_is_obeyed_up_to_half_a_minute_and_an_answer_ends_it() {
    let (health, now) = (Health::default(), Instant::now());
    let mut throttled = failure(Class::Refused, Reason::Throttled);
    throttled.retry_after = Some(Duration::from_secs(90));
    attempt(&health, Some(&throttled), now).unwrap();
    let denied = health.begin(NAME, errand(Terms::First), now).unwrap_err();
    assert_eq!(denied, Denied::Resting { wait: HINT_MAX });
    assert!(!health.would_admit(NAME, Terms::Further, now));
    assert!(health.would_admit(NAME, Terms::Further, now + HINT_MAX));
    assert!(health.begin(NAME, errand(Terms::First), now + HINT_MAX).is_ok());
    attempt(&health, None, now).unwrap();
    assert!(health.begin(NAME, errand(Terms::First), now).is_ok());
}

#[test]
fn one_that_refuses_our_credentials_rests_and_one_request_finds_out() {
    let (health, now) = (Health::default(), Instant::now());
    let refused = failure(Class::Credential, Reason::CredentialsRefused);
    attempt(&health, Some(&refused), now).unwrap();
    let two = Duration::from_secs(2);
    assert_eq!(health.begin(NAME, errand(Terms::First), now).unwrap_err(), Denied::Resting { wait: two });
    assert_eq!(
        health.standing(NAME, Shape::Stream, None, now).rests_ms,
        2_000,
        "so the choice passes it over"
    );
    for terms in [Terms::Lone, Terms::Further] {
        assert!(health.begin(NAME, errand(terms), now).is_ok(), "there is no other");
    }
    assert_eq!(health.report(NAME, now).breaker, BreakerState::Serving, "nobody is blamed");
    let later = now + two;
    let mut probe = health.begin(NAME, errand(Terms::First), later).unwrap();
    assert!(health.begin(NAME, errand(Terms::First), later).is_err(), "one finds out");
    let _ = probe.answered(later, 0.0);
    for _ in 0..3 {
        assert!(health.begin(NAME, errand(Terms::First), later).is_ok(), "it is back");
    }
}

#[test]
fn patience_is_twice_what_nearly_all_take() {
    let (health, mut now) = (Health::default(), Instant::now());
    let patience = |now| health.begin(NAME, errand(Terms::First), now).unwrap().patience();
    assert_eq!(patience(now), None);
    for _ in 0..100 {
        let mut trial = health.begin(NAME, errand(Terms::First), now).unwrap();
        now += Duration::from_millis(500);
        let _ = trial.answered(now, 0.0);
    }
    let known = patience(now).unwrap();
    assert!(known.abs_diff(Duration::from_secs(1)) < Duration::from_millis(20), "{known:?}");
    // What was given up says nothing about how long answers take.
    for _ in 0..3 {
        let mut trial = health.begin(NAME, errand(Terms::Panic), now).unwrap();
        now += known;
        let _ = trial.failed(&failure(Class::Ambiguous, Reason::Timeout), now, 0.0);
    }
    assert_eq!(patience(now), Some(known));
}

#[test]
fn a_quota_is_taken_up_front_and_the_unused_comes_back() {
    let (health, now) = (Health::default(), Instant::now());
    let quota = Some(QuotaSpec { tokens_per_minute: 10_000, output_burndown: 5 });
    let errand = Errand { quota, tokens: 5_000, ..errand(Terms::First) };
    let left = || health.standing(NAME, Shape::Stream, quota, now).headroom_permille;
    let mut trial = health.begin(NAME, errand, now).unwrap();
    assert_eq!(left(), Some(500));
    trial.used(1_000, 200, now);
    assert_eq!(left(), Some(800));
    let _ = trial.failed(&failure(Class::Refused, Reason::Throttled), now, 0.0);
    assert_eq!(left(), Some(0));
}

#[test]
fn callers_cannot_grow_the_map_without_bound() {
    let (health, now) = (Health::default(), Instant::now());
    for n in 0..TARGETS_MAX + 10 {
        drop(health.begin(&n.to_string(), errand(Terms::First), now));
    }
    assert_eq!(health.targets.read().len(), TARGETS_MAX);
}

/// So many attempts that all take as long, at a target of their own.
fn answers(health: &Health, name: &str, count: usize, took: Duration, now: &mut Instant) {
    for _ in 0..count {
        let mut trial = health.begin(name, errand(Terms::Panic), *now).unwrap();
        *now += took;
        let _ = trial.answered(*now, 0.0);
    }
}

#[test]
fn legs_beside_slow_ones_are_a_fifth_of_the_answers_of_all_and_ten_more() {
    let (health, mut now) = (Health::default(), Instant::now());
    let taken =
        |terms, now| (0..1000).take_while(|_| health.begin("dub/x", errand(terms), now).is_ok()).count();
    assert_eq!(taken(Terms::Beside, now), 10);
    answers(&health, NAME, 50, Duration::from_millis(1), &mut now);
    assert_eq!(taken(Terms::Beside, now), 10);
    // In the stead of a target that does not serve any more it is never too many, and counts.
    assert_eq!(health.terms_beside(NAME, now), Terms::Beside);
    trip(&health, now);
    assert_eq!(health.terms_beside(NAME, now), Terms::Instead);
    assert_eq!(taken(Terms::Instead, now), 1000);
    answers(&health, "dub/x", 50, Duration::from_millis(1), &mut now);
    assert_eq!(taken(Terms::Beside, now), 0);
    assert_eq!(taken(Terms::Further, now), 1000, "what failed is not slow");
    assert_eq!(taken(Terms::Beside, now + Duration::from_secs(11)), 10);
}

#[test]
fn no_leg_begins_beside_at_a_target_that_is_slow_itself() {
    let (health, mut now) = (Health::default(), Instant::now());
    answers(&health, "quick/x", 100, Duration::from_millis(10), &mut now);
    answers(&health, "quick/x", 5, Duration::from_millis(100), &mut now);
    assert!(health.begin("quick/x", errand(Terms::Beside), now).is_ok(), "slower, and quick all the same");
    let beside = |now| health.begin(NAME, errand(Terms::Beside), now).map(drop);
    answers(&health, NAME, 100, Duration::from_millis(300), &mut now);
    assert_eq!(beside(now), Ok(()));
    answers(&health, NAME, 2, Duration::from_millis(610), &mut now);
    assert_eq!(beside(now), Ok(()), "two of five");
    answers(&health, NAME, 1, Duration::from_millis(610), &mut now);
    assert_eq!(beside(now), Err(Denied::NoRetry));
    assert_eq!(health.begin(NAME, errand(Terms::Instead), now).unwrap_err(), Denied::NoRetry);
    assert!(health.begin(NAME, errand(Terms::Further), now).is_ok());
    assert_eq!(beside(now + Duration::from_secs(3)), Ok(()), "nobody knows any more");
}
