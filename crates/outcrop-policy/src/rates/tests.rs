#![allow(clippy::disallowed_methods, reason = "tests need some instant to start from")]

use std::collections::HashMap;
use std::num::NonZeroU32;

use proptest::prelude::*;

use super::*;
use crate::scope::Scope;

const MINUTE: Duration = Duration::from_mins(1);

fn spec(scope: &str, limit: Limited, count: u32, per: Duration, burst: u32) -> RateSpec {
    let number = |n| NonZeroU32::new(n).unwrap();
    RateSpec::new(Scope::parse(scope).unwrap(), limit, number(count), per, number(burst)).unwrap()
}

fn requests(scope: &str, count: u32, burst: u32) -> RateSpec {
    spec(scope, Limited::Requests, count, MINUTE, burst)
}

fn tokens(scope: &str, count: u32, burst: u32) -> RateSpec {
    spec(scope, Limited::Tokens, count, MINUTE, burst)
}

fn rates(specs: &[RateSpec]) -> (Rates, Instant) {
    let epoch = Instant::now();
    let rates = Rates::new(epoch);
    rates.enforce(specs);
    (rates, epoch)
}

fn whose(key: &str, model: &str) -> Attribution {
    Attribution { key: key.into(), model: model.into(), ..Attribution::default() }
}

fn passes(rates: &Rates, whose: &Attribution, at: Instant) -> usize {
    (0..1000).take_while(|_| rates.admit(whose, at).is_ok()).count()
}

#[test]
fn a_burst_passes_at_once_and_then_the_rate() {
    let (rates, start) = rates(&[requests("key:ci", 60, 3)]);
    let ci = whose("ci", "");
    assert_eq!(passes(&rates, &ci, start), 3);
    let refusal = rates.admit(&ci, start).unwrap_err();
    assert_eq!((refusal.scope.as_str(), refusal.limit.as_str()), ("key:ci", "60 requests/min"));
    assert_eq!(refusal.kind, RefusalKind::UsedUp(Limited::Requests));
    assert_eq!(refusal.retry_after, Duration::from_secs(1));
    let level = Level { limit: 3, remaining: 0, reset: Duration::from_secs(3) };
    assert_eq!(refusal.standing, Standing { requests: Some(level), tokens: None });
    assert_eq!(passes(&rates, &ci, start + Duration::from_millis(999)), 0);
    assert_eq!(passes(&rates, &ci, start + Duration::from_secs(2)), 2);
    assert_eq!(passes(&rates, &whose("cd", ""), start), 1000, "a row speaks of its scope only");
}

#[test]
fn what_one_row_refuses_takes_nothing_from_the_others() {
    let (rates, start) =
        rates(&[requests("all", 60, 10), requests("model:*", 60, 1), tokens("key:*", 60, 60)]);
    assert!(rates.admit(&whose("ci", "sonnet"), start).is_ok());
    for _ in 0..50 {
        let refusal = rates.admit(&whose("ci", "sonnet"), start).unwrap_err();
        assert_eq!((refusal.scope.as_str(), &*refusal.scope_kind), ("model:sonnet", "model"));
    }
    let level = rates.standing(&whose("ci", ""), start).requests.unwrap();
    assert_eq!((level.limit, level.remaining), (10, 9), "the tightest row is the one with the least share");
    assert_eq!((0..50).filter(|n| rates.admit(&whose("ci", &n.to_string()), start).is_ok()).count(), 9);
}

#[test]
fn tokens_go_into_debt_and_the_debt_is_paid_first() {
    let (rates, start) = rates(&[tokens("key:*", 60, 100)]);
    let ci = whose("ci", "");
    rates.charge(&ci, 99, start);
    let standing = rates.admit(&ci, start).unwrap();
    assert_eq!(standing.tokens.map(|level| level.remaining), Some(1));
    rates.charge(&ci, 31, start);
    let refusal = rates.admit(&ci, start).unwrap_err();
    assert_eq!(refusal.kind, RefusalKind::UsedUp(Limited::Tokens));
    assert_eq!(refusal.retry_after, Duration::from_secs(31));
    assert_eq!(refusal.standing.tokens.map(|level| level.remaining), Some(0));
    assert!(rates.admit(&ci, start + Duration::from_secs(31)).is_ok());
    assert!(rates.admit(&whose("cd", ""), start).is_ok());
}

#[test]
fn no_figure_overflows() {
    let (rates, start) =
        rates(&[tokens("all", 1, 1), requests("all", 600_000_000, 10), tokens("all", 600_000_000, 9)]);
    let far = start + Duration::from_hours(24 * 365 * 200);
    for at in [start, far, start] {
        rates.charge(&whose("ci", ""), u64::MAX, at);
        rates.charge(&whose("ci", ""), u64::MAX, at);
        let refusal = rates.admit(&whose("ci", ""), at).unwrap_err();
        assert!(refusal.retry_after > Duration::from_hours(24 * 365));
    }
}

#[test]
fn instances_are_bounded_and_forgotten_once_full() {
    let (rates, start) = rates(&[requests("user:*", 60, 2)]);
    let user = |n: usize| Attribution { user: n.to_string().into(), ..Attribution::default() };
    for n in 0..INSTANCES_MAX {
        assert!(rates.admit(&user(n), start).is_ok());
    }
    let refusal = rates.admit(&user(INSTANCES_MAX), start).unwrap_err();
    assert_eq!((refusal.kind, refusal.scope.as_str()), (RefusalKind::Crowded, "user:*"));
    assert!(rates.admit(&user(7), start).is_ok(), "those that are there go on");
    let later = start + Duration::from_secs(1);
    assert!(rates.admit(&user(INSTANCES_MAX), later).is_ok());
    assert_eq!(rates.rows()[0].instances(), 2, "user 7 has not grown back yet, all others are forgotten");
}

#[test]
fn a_reload_keeps_the_state_of_rows_that_did_not_change() {
    let (kept, changed) = (requests("key:*", 60, 1), requests("all", 60, 5));
    let (rates, start) = rates(&[changed, kept.clone()]);
    assert!(rates.admit(&whose("ci", ""), start).is_ok());
    rates.enforce(&[kept.clone(), requests("all", 60, 6)]);
    assert_eq!(rates.admit(&whose("ci", ""), start).unwrap_err().scope, "key:ci");
    let standing = rates.admit(&whose("cd", ""), start).unwrap();
    assert_eq!(standing.requests.map(|level| level.limit), Some(1));
    rates.enforce(&[]);
    rates.enforce(&[kept]);
    assert!(rates.admit(&whose("ci", ""), start).is_ok(), "a row that was gone begins full");
}

#[test]
fn rows_that_look_at_the_model_wait_until_it_is_known() {
    let (rates, start) = rates(&[requests("model:*", 60, 1), requests("key:*", 60, 2)]);
    let early = whose("ci", "");
    assert!(rates.admit(&whose("ci", "sonnet"), start).is_ok());
    assert!(rates.foresee(&early, start).is_ok() && rates.foresee(&early, start).is_ok());
    assert!(rates.admit(&whose("ci", "haiku"), start).is_ok());
    assert_eq!(rates.foresee(&early, start).unwrap_err().scope, "key:ci");
}

#[test]
fn a_rate_that_cannot_be_kept_is_refused() {
    for (count, per, burst, good) in [
        (10_000_000, Duration::from_secs(1), 1, true),
        (10_000_001, Duration::from_secs(1), 1, false),
        (1, Duration::from_hours(24), 366, true),
        (1, Duration::from_hours(24), 367, false),
        (1, Duration::MAX, 1, false),
        (1, Duration::ZERO, 1, false),
    ] {
        let number = |n| NonZeroU32::new(n).unwrap();
        let made = RateSpec::new(Scope::all(), Limited::Requests, number(count), per, number(burst));
        assert_eq!(made.is_ok(), good, "{count} {per:?} {burst}");
    }
}

/// Buckets that fill by and by, counted in nanoseconds of the rate: the reference.
#[derive(Default)]
struct Reference(HashMap<(usize, String), (i128, Duration)>);

impl Reference {
    fn left(&mut self, rows: &[RateSpec], n: usize, whose: &Attribution, now: Duration) -> &mut i128 {
        let full = i128::from(rows[n].fill_ns());
        let instance = rows[n].scope.instance(whose);
        let (left, at) = self.0.entry((n, instance)).or_insert((full, now));
        *left = full.min(*left + i128::try_from(now.saturating_sub(*at).as_nanos()).unwrap());
        *at = now;
        left
    }

    /// The longest wait, if any row makes the request wait.
    fn admit(&mut self, rows: &[RateSpec], whose: &Attribution, now: Duration) -> Option<i128> {
        let speaking: Vec<usize> = (0..rows.len()).filter(|n| rows[*n].scope.matches(whose)).collect();
        let wait = |n: &usize| i128::from(rows[*n].interval_ns()) - *self.left(rows, *n, whose, now);
        let longest = speaking.iter().map(wait).max().filter(|wait| *wait > 0);
        for n in speaking.into_iter().filter(|n| longest.is_none() && rows[*n].limit == Limited::Requests) {
            *self.left(rows, n, whose, now) -= i128::from(rows[n].interval_ns());
        }
        longest
    }
}

fn rows() -> Vec<RateSpec> {
    vec![
        spec("all", Limited::Requests, 7, Duration::from_secs(1), 5),
        spec("key:*", Limited::Requests, 3, Duration::from_secs(1), 4),
        spec("key:a+model:m", Limited::Requests, 100, MINUTE, 2),
        spec("model:*", Limited::Tokens, 1000, Duration::from_secs(1), 700),
        spec("key:b", Limited::Tokens, 90, MINUTE, 90),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_rows_together_decide_as_the_reference_does(
        steps in prop::collection::vec((0u64..400, 0usize..2, 0usize..2, prop::option::of(0u64..400)), 1..300),
    ) {
        let rows = rows();
        let (rates, start) = rates(&rows);
        let (mut reference, mut clock) = (Reference::default(), Duration::ZERO);
        for (advance_ms, key, model, used) in steps {
            clock += Duration::from_millis(advance_ms);
            let (whose, now) = (whose(["a", "b"][key], ["m", "n"][model]), start + clock);
            if let Some(tokens) = used {
                rates.charge(&whose, tokens, now);
                for n in [3, 4] {
                    if rows[n].scope.matches(&whose) {
                        *reference.left(&rows, n, &whose, clock) -= i128::from(rows[n].interval_ns() * tokens);
                    }
                }
                continue;
            }
            let waits = rates.admit(&whose, now).err().map(|r| i128::try_from(r.retry_after.as_nanos()).unwrap());
            prop_assert_eq!(waits, reference.admit(&rows, &whose, clock));
            let left = *reference.left(&rows, 3, &whose, clock) / i128::from(rows[3].interval_ns());
            let level = rates.standing(&whose, now).tokens.unwrap();
            prop_assert!(i128::from(level.remaining) == left.max(0) || key == 1);
        }
    }
}
