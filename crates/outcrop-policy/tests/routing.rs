//! The whole policy of routing on virtual time: simulated targets that slow down, fail, throttle and heal,
//! and an oracle that knows the truth.
//!
//! `OUTCROP_ROUTING_SEEDS` sets how many lives each scenario has (112 by default, 1,568 in all) and
//! `OUTCROP_ROUTING_SEED` replays one; a failure prints its seed, and `OUTCROP_ROUTING_TRACE=1` prints each wrong choice. `OUTCROP_ROUTING_REPORT=1` prints figures.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::cast_sign_loss,
    unreachable_pub,
    missing_docs,
    reason = "tests stop at the first surprise and read their settings"
)]

#[path = "routing/world.rs"]
mod world;

use outcrop_core::operation::Strategy;
use outcrop_core::path::PathKind;
use outcrop_policy::health::QuotaSpec;
use world::{Life, Scenario, Tally, Truth, World};

use Truth::{Answers, Bears, Hangs, Refuses, Throttles};

const MINUTE: u64 = 60_000;

/// What must hold of a scenario.
struct Bars {
    /// Share of right first choices over all seeds, in percent.
    right: f64,
    /// Most requests without an answer, over all seeds.
    errors: u32,
    /// Most attempts for a request.
    attempts: f64,
    /// The same of any ten seconds.
    burst: f64,
    /// Longest answer of a request that needed more than one try, in milliseconds.
    lost_ms: f64,
}

fn seeds() -> Vec<u64> {
    let read = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    match read("OUTCROP_ROUTING_SEED") {
        Some(seed) => vec![seed],
        None => (0..read("OUTCROP_ROUTING_SEEDS").unwrap_or(112)).collect(),
    }
}

fn play(title: &str, scenario: &Scenario, bars: &Bars) {
    let mut all = Tally::default();
    for seed in seeds() {
        let one = World::play(scenario, seed);
        assert_eq!(one.leaked, 0, "{title}, seed {seed}: attempts are counted for ever");
        assert_eq!(one.late, 0, "{title}, seed {seed}: ended after the deadline");
        assert!(one.errors <= bars.errors, "{title}, seed {seed}: {one:?}");
        assert!(
            f64::from(one.attempts) <= bars.attempts * f64::from(one.requests),
            "{title}, seed {seed}: {one:?}"
        );
        assert!(one.lost_ms_max <= bars.lost_ms, "{title}, seed {seed}: {one:?}");
        assert!(one.burst_max <= bars.burst, "{title}, seed {seed}: {one:?}");
        all.burst_max = all.burst_max.max(one.burst_max);
        all.requests += one.requests;
        all.attempts += one.attempts;
        all.errors += one.errors;
        all.right += one.right;
        all.judged += one.judged;
        all.lost_ms_max = all.lost_ms_max.max(one.lost_ms_max);
    }
    let right = f64::from(all.right) * 100.0 / f64::from(all.judged.max(1));
    if std::env::var("OUTCROP_ROUTING_REPORT").is_ok() {
        let amplification = f64::from(all.attempts) / f64::from(all.requests);
        println!(
            "{title}: {} requests, {right:.2} % right, {} errors, {amplification:.3} attempts each (in ten seconds at most {:.3}), slowest after a failover {:.0} ms",
            all.requests, all.errors, all.burst_max, all.lost_ms_max
        );
    }
    assert!(
        right >= bars.right,
        "{title}: {right:.2} % of the first choices were right, {} wanted",
        bars.right
    );
}

/// Two regions and a server, each with its own price and pace.
fn three(fra: &[(u64, Truth)], dub: &[(u64, Truth)], desk: &[(u64, Truth)]) -> Vec<Life> {
    vec![
        Life::of("fra", PathKind::Bedrock, fra),
        Life::of("dub", PathKind::Bedrock, dub),
        Life::of("desk", PathKind::Mcp, desk),
    ]
}

fn scenario(lives: Vec<Life>) -> Scenario {
    Scenario {
        lives,
        rates: vec![(0, 10.0)],
        lasts_ms: 3 * MINUTE,
        operation: "infrastructure",
        strategy: Strategy::Balanced,
    }
}

const USUAL: Bars = Bars { right: 98.0, errors: 0, attempts: 1.05, burst: 1.6, lost_ms: 3_000.0 };

#[test]
fn steady() {
    let lives = three(&[(0, Answers(200.0))], &[(0, Answers(300.0))], &[(0, Answers(250.0))]);
    play("steady", &scenario(lives), &USUAL);
}

#[test]
fn ten_times_the_rate() {
    let lives = three(&[(0, Answers(300.0))], &[(0, Answers(200.0))], &[(0, Answers(250.0))]);
    let step = Scenario { rates: vec![(0, 5.0), (MINUTE, 50.0), (2 * MINUTE, 5.0)], ..scenario(lives) };
    play("10x step", &step, &USUAL);
}

#[test]
fn a_brown_out() {
    let fra = [(0, Answers(200.0)), (MINUTE, Answers(900.0)), (2 * MINUTE, Answers(200.0))];
    let lives = three(&fra, &[(0, Answers(230.0))], &[(0, Answers(250.0))]);
    let brown = Scenario { strategy: Strategy::LatencyFirst, ..scenario(lives) };
    // Below the bar of the others: what is within a fifth of the best is told apart by noisy samples only.
    play("brown-out", &brown, &Bars { right: 90.0, ..USUAL });
}

#[test]
fn flapping() {
    let flaps: Vec<(u64, Truth)> =
        (0..18).map(|n| (n * 10_000, if n % 2 == 0 { Answers(200.0) } else { Refuses })).collect();
    let lives = three(&flaps, &[(0, Answers(206.0))], &[(0, Answers(250.0))]);
    play("flapping", &scenario(lives), &USUAL);
}

#[test]
fn slow_drift() {
    let drift: Vec<(u64, Truth)> = (0..36).map(|n| (n * 5_000, Answers(100.0 + n as f64 * 10.0))).collect();
    let lives = three(&drift, &[(0, Answers(250.0))], &[(0, Answers(250.0))]);
    let drifting = Scenario { strategy: Strategy::LatencyFirst, ..scenario(lives) };
    // Below the bar of the others: a mean follows a drift with its own memory behind it.
    play("slow drift", &drifting, &Bars { right: 93.0, ..USUAL });
}

#[test]
fn quota_exhaustion() {
    let fra = [(0, Answers(200.0)), (MINUTE, Throttles(0.9, 200.0)), (2 * MINUTE, Answers(200.0))];
    let mut lives = three(&fra, &[(0, Answers(206.0))], &[(0, Answers(250.0))]);
    lives[0].quota = Some(QuotaSpec { tokens_per_minute: 10_000_000, output_burndown: 5 });
    play("quota", &scenario(lives), &USUAL);
}

#[test]
fn region_loss() {
    for (title, loss) in [("region refuses", Refuses), ("region hangs", Hangs)] {
        let fra = [(0, Answers(200.0)), (MINUTE, loss), (2 * MINUTE, Answers(200.0))];
        let lives = three(&fra, &[(0, Answers(206.0))], &[(0, Answers(250.0))]);
        play(title, &scenario(lives), &USUAL);
    }
}

#[test]
fn mcp_loss() {
    for (title, loss) in [("server refuses", Refuses), ("server hangs", Hangs)] {
        let desk = [(0, Answers(200.0)), (MINUTE, loss), (2 * MINUTE, Answers(200.0))];
        let lives = three(&[(0, Answers(206.0))], &[(0, Answers(206.0))], &desk);
        let lost = Scenario { operation: "standard", ..scenario(lives) };
        play(title, &lost, &USUAL);
    }
}

#[test]
fn mixed() {
    let fra = [
        (0, Answers(200.0)),
        (20_000, Hangs),
        (40_000, Answers(204.0)),
        (100_000, Throttles(0.5, 200.0)),
        (120_000, Answers(200.0)),
    ];
    let dub = [(0, Answers(206.0)), (60_000, Refuses), (80_000, Answers(206.0))];
    let desk = [(0, Answers(208.0)), (130_000, Refuses), (150_000, Answers(208.0))];
    let mixed = Scenario {
        rates: vec![(0, 10.0), (90_000, 40.0), (120_000, 10.0)],
        ..scenario(three(&fra, &dub, &desk))
    };
    play("mixed", &mixed, &USUAL);
}

/// Everything is five times slower, and bears little more than it gets: legs beside what is slow would take what
/// the others need. A few wait in a queue until their deadline.
#[test]
fn everything_is_slow_at_once() {
    let life = [(0, Bears(400.0, 30)), (20_000, Bears(2_000.0, 30))];
    let all = Scenario { rates: vec![(0, 25.0)], lasts_ms: 40_000, ..scenario(three(&life, &life, &life)) };
    play(
        "everything slow",
        &all,
        &Bars { errors: 10, attempts: 1.25, burst: 1.25, lost_ms: 10_000.0, ..USUAL },
    );
}

/// Nothing answers for a minute: few attempts, and each request ends in its time.
#[test]
fn total_outage() {
    for (title, loss) in [("all refuse", Refuses), ("all hang", Hangs)] {
        let life = [(0, Answers(200.0)), (MINUTE, loss), (2 * MINUTE, Answers(200.0))];
        let all = scenario(three(&life, &life, &life));
        play(
            title,
            &all,
            &Bars { right: 95.0, errors: u32::MAX, attempts: 1.25, burst: 1.7, lost_ms: 10_000.0 },
        );
    }
}
