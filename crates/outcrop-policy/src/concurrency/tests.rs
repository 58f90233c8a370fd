#![allow(clippy::disallowed_methods, reason = "tests need some instant to start from")]

use proptest::prelude::*;

use super::*;

const MS: Duration = Duration::from_millis(1);
const BOUNDS: Bounds = Bounds { min: 4, max: 400, initial: 40, quick: Duration::ZERO };

/// A limit and the time that passes for it.
struct Bench {
    limit: Limit,
    now: Instant,
}

impl Bench {
    fn new(bounds: Bounds) -> Self {
        Self { limit: Limit::new(bounds), now: Instant::now() }
    }

    /// Windows in which everything ends like this; the limit after them.
    fn windows(&mut self, count: u32, latency: Duration, in_flight: usize, outcome: Outcome) -> usize {
        for _ in 0..count {
            for _ in 0..=SAMPLES_MIN {
                self.limit.on_end(self.now, latency, in_flight, outcome);
                self.now += WINDOW / SAMPLES_MIN;
            }
        }
        self.limit.limit()
    }
}

#[test]
fn it_grows_while_it_is_used_and_quick_up_to_its_bound() {
    let mut bench = Bench::new(BOUNDS);
    let once = bench.windows(1, 10 * MS, 40, Outcome::Ok);
    assert_eq!(once, 46, "by the square root");
    for _ in 0..60 {
        let used = bench.limit.limit();
        bench.windows(1, 10 * MS, used, Outcome::Ok);
    }
    assert_eq!(bench.limit.limit(), 400);
}

#[test]
fn idle_does_not_grow_it() {
    let mut bench = Bench::new(BOUNDS);
    assert_eq!(bench.windows(50, 10 * MS, 19, Outcome::Ok), 40);
    assert!(bench.windows(1, 10 * MS, 20, Outcome::Ok) > 40);
}

#[test]
fn latency_beyond_twice_its_floor_shrinks_it_in_proportion() {
    let mut bench = Bench::new(BOUNDS);
    bench.windows(3, 10 * MS, 4, Outcome::Ok);
    assert!(bench.windows(1, 20 * MS, 40, Outcome::Ok) > 40, "twice is tolerated");
    let before = bench.limit.limit();
    let after = bench.windows(1, 30 * MS, before, Outcome::Ok);
    let expected = before as f64 * 2.0 / 3.0;
    assert!((after as f64 - expected).abs() < 2.0, "{before} -> {after}");
    assert_eq!(bench.windows(30, 1000 * MS, 40, Outcome::Ok), 4, "down to its bound");
}

#[test]
fn one_signal_in_a_window_shrinks_it_and_the_next_ones_do_not() {
    let mut bench = Bench::new(BOUNDS);
    bench.limit.on_end(bench.now, MS, 40, Outcome::Overloaded);
    assert_eq!(bench.limit.limit(), 30, "at once");
    for _ in 0..20 {
        bench.limit.on_end(bench.now, MS, 40, Outcome::Overloaded);
    }
    assert_eq!(bench.limit.limit(), 30);
    bench.now += WINDOW;
    bench.limit.on_end(bench.now, MS, 30, Outcome::Ignored);
    bench.limit.on_end(bench.now, MS, 30, Outcome::Overloaded);
    assert_eq!(bench.limit.limit(), 22, "the next window");
}

#[test]
fn a_limit_far_from_what_is_under_way_comes_near_at_once() {
    let mut bench = Bench::new(Bounds { initial: 400, ..BOUNDS });
    bench.limit.on_end(bench.now, MS, 20, Outcome::Overloaded);
    assert_eq!(bench.limit.limit(), 30);
}

#[test]
fn what_is_ignored_or_quick_says_nothing() {
    let mut bench = Bench::new(BOUNDS);
    assert_eq!(bench.windows(20, 1000 * MS, 40, Outcome::Ignored), 40);
    let mut bench = Bench::new(Bounds { quick: 5 * MS, ..BOUNDS });
    bench.windows(3, Duration::ZERO, 4, Outcome::Ok);
    assert!(bench.windows(1, 9 * MS, 40, Outcome::Ok) > 40, "within twice of what counts as quick");
    let before = bench.limit.limit();
    assert!(bench.windows(1, 20 * MS, before, Outcome::Ok) < before);
}

#[test]
fn it_accepts_a_slower_world_after_a_minute_and_steps_back_to_look() {
    let mut bench = Bench::new(BOUNDS);
    bench.windows(3, 10 * MS, 40, Outcome::Ok);
    let mut lowest = 400;
    for _ in 0..700 {
        let used = bench.limit.limit();
        lowest = lowest.min(bench.windows(1, 50 * MS, used, Outcome::Ok));
    }
    assert_eq!(lowest, 4, "a queue, as far as can be known");
    assert!(bench.limit.limit() > 4, "no queue: it is slow by itself");
    let mut steps_back = 0;
    for _ in 0..1000 {
        let used = bench.limit.limit();
        steps_back += u32::from(bench.windows(1, 50 * MS, used, Outcome::Ok) < used);
    }
    assert!((2..=5).contains(&steps_back), "{steps_back} in a hundred seconds");
}

#[test]
fn what_is_known_is_not_learned() {
    let mut bench = Bench::new(BOUNDS);
    bench.limit = Limit::over_known_floor(Bounds { quick: 5 * MS, ..BOUNDS });
    assert_eq!(bench.windows(1_000, 40 * MS, 40, Outcome::Ok), 4, "slow from the first moment, and for long");
    assert!(bench.windows(1, 8 * MS, 4, Outcome::Ok) > 4);
}

proptest! {
    #[test]
    fn it_stays_within_its_bounds(
        min in 0usize..20, max in 0usize..100, initial in 0usize..200,
        ends in prop::collection::vec((0u64..200, 0u64..5_000, 0usize..300, 0u8..3), 0..400),
    ) {
        let mut limit = Limit::new(Bounds { min, max, initial, quick: MS });
        let mut now = Instant::now();
        for (pause, latency, in_flight, outcome) in ends {
            now += Duration::from_millis(pause);
            let outcome = [Outcome::Ok, Outcome::Overloaded, Outcome::Ignored][usize::from(outcome)];
            limit.on_end(now, Duration::from_millis(latency), in_flight, outcome);
            let low = min.max(1);
            prop_assert!((low..=max.max(low)).contains(&limit.limit()));
        }
    }
}
