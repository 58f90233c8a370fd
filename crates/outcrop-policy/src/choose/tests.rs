use super::*;

const MS: u64 = 1000;

/// A contender of the given rank with an expected time in milliseconds.
fn contender(position: usize, rank: u32, expected_ms: u64) -> Contender {
    let standing = Standing { expected_us: Some(expected_ms * MS), samples: 99, ..Standing::default() };
    Contender { position, rank, standing, expected_nusd: 1000, identity: position as u64 }
}

fn usual() -> Circumstances {
    Circumstances {
        strategy: Strategy::Balanced,
        remaining: Duration::from_secs(30),
        priority: Priority::Medium,
        stick: None,
        may_probe: true,
        money_is_short: false,
        learns: true,
        seed: 7,
    }
}

fn order(contenders: &[Contender], circumstances: &Circumstances) -> (Mode, Vec<usize>) {
    let mut contenders: SmallVec<[Contender; 8]> = contenders.iter().cloned().collect();
    let mode = choose(&mut contenders, circumstances).mode;
    (mode, contenders.iter().map(|c| c.position).collect())
}

fn check(contenders: &[Contender], circumstances: &Circumstances, expected: &[usize]) {
    assert_eq!(order(contenders, circumstances).1, expected, "{circumstances:?}");
}

fn with(contender: Contender, change: impl FnOnce(&mut Contender)) -> Contender {
    let mut contender = contender;
    change(&mut contender);
    contender
}

#[test]
fn the_preferred_kind_goes_first_however_slow_and_the_quickest_within_it() {
    let all = [contender(0, 2, 10), contender(1, 1, 900), contender(2, 1, 300)];
    check(&all, &usual(), &[2, 1, 0]);
    check(&all, &Circumstances { learns: false, ..usual() }, &[1, 2, 0]);
}

#[test]
fn within_the_band_the_price_decides_and_beyond_it_the_time() {
    let cheap = with(contender(1, 0, 118), |c| c.expected_nusd = 10);
    check(&[contender(0, 0, 100), cheap.clone()], &usual(), &[1, 0]);
    let slow = with(cheap, |c| c.standing.expected_us = Some(122 * MS));
    check(&[contender(0, 0, 100), slow.clone()], &usual(), &[0, 1]);
    let all = [contender(0, 0, 100), slow];
    check(&all, &Circumstances { strategy: Strategy::CostEfficient, ..usual() }, &[1, 0]);
    check(&all, &Circumstances { strategy: Strategy::LatencyFirst, ..usual() }, &[0, 1]);
}

#[test]
fn cheap_must_still_be_in_time_and_success_goes_before_speed() {
    let cheap = with(contender(1, 0, 9_000), |c| c.expected_nusd = 10);
    let tight =
        Circumstances { strategy: Strategy::CostEfficient, remaining: Duration::from_secs(10), ..usual() };
    check(&[cheap, contender(0, 0, 100)], &tight, &[0, 1]);
    let failing = with(contender(0, 0, 100), |c| c.standing.success_permille = 850);
    let both = [failing, contender(1, 0, 400)];
    check(&both, &Circumstances { strategy: Strategy::SuccessFirst, ..usual() }, &[1, 0]);
    check(&both, &Circumstances { strategy: Strategy::LatencyFirst, ..usual() }, &[0, 1]);
}

#[test]
fn adaptive_is_quick_when_time_is_short_and_cheap_when_money_is() {
    let adaptive = Circumstances { strategy: Strategy::Adaptive, ..usual() };
    let cheap = with(contender(1, 0, 2_000), |c| c.expected_nusd = 10);
    let both = [contender(0, 0, 1_000), cheap];
    check(&both, &Circumstances { remaining: Duration::from_mins(1), ..adaptive }, &[1, 0]);
    check(&both, &Circumstances { remaining: Duration::from_secs(10), ..adaptive }, &[0, 1]);
    let short = Circumstances { money_is_short: true, remaining: Duration::from_secs(10), ..adaptive };
    check(&both, &short, &[1, 0]);
    check(&both, &Circumstances { priority: Priority::Critical, ..short }, &[0, 1]);
}

#[test]
fn what_speaks_against_a_target_counts_before_it_says_no() {
    let empty = with(contender(0, 0, 100), |c| c.standing.headroom_permille = Some(100));
    check(&[empty, contender(1, 0, 200)], &usual(), &[1, 0]);
    let crowded = with(contender(0, 0, 100), |c| (c.standing.limit, c.standing.in_flight) = (Some(10), 8));
    check(&[crowded, contender(1, 0, 150)], &usual(), &[1, 0]);
    let resting = with(contender(0, 0, 100), |c| c.standing.rests_ms = 1);
    check(&[resting, contender(1, 3, 9_000)], &usual(), &[1, 0]);
    let full = with(contender(0, 0, 100), |c| (c.standing.limit, c.standing.in_flight) = (Some(10), 10));
    check(&[full, contender(1, 3, 9_000)], &usual(), &[1, 0]);
}

#[test]
fn a_target_whose_half_comes_too_late_is_the_last_resort_and_alone_it_is_left_out() {
    let late = |n| with(contender(n, 0, 100), |c| c.standing.p50_us = Some(31_000 * MS));
    check(&[late(0), contender(1, 0, 9_000)], &usual(), &[1, 0]);
    // What serves goes before it, what has tripped after it; it does not count as serving.
    let mut all: SmallVec<[Contender; 8]> =
        [tripped(2, BreakerState::Tripped), late(0), contender(1, 0, 9_000)].into_iter().collect();
    let chosen = choose(&mut all, &usual());
    assert_eq!((chosen.serving, chosen.left_out.len()), (1, 0));
    assert_eq!(all.iter().map(|c| c.position).collect::<Vec<_>>(), [1, 0, 2]);
    // Where nobody else serves it comes after the one that may fail at once.
    let panic = order(&[late(0), tripped(1, BreakerState::Tripped)], &usual());
    assert_eq!(panic, (Mode::Panic, vec![1, 0]));
    let mut alone: SmallVec<[Contender; 8]> = [late(0)].into_iter().collect();
    let chosen = choose(&mut alone, &usual());
    assert!(alone.is_empty());
    assert_eq!(chosen.left_out.to_vec(), [(0, Exclusion::TooSlow)]);
}

fn tripped(position: usize, state: BreakerState) -> Contender {
    with(contender(position, 0, 100), |c| (c.standing.state, c.standing.percent) = (state, 0))
}

#[test]
fn tripped_targets_go_last_while_another_serves_and_one_of_them_is_asked_when_none_does() {
    let one = [tripped(0, BreakerState::Tripped), contender(1, 5, 900)];
    check(&one, &usual(), &[1, 0]);
    let mut all: SmallVec<[Contender; 8]> = one.iter().cloned().collect();
    assert_eq!(choose(&mut all, &usual()).serving, 1);
    let none = [tripped(0, BreakerState::Tripped), tripped(1, BreakerState::Tripped)];
    let firsts: Vec<_> = (0..64).map(|seed| order(&none, &Circumstances { seed, ..usual() })).collect();
    assert!(firsts.iter().all(|(mode, order)| *mode == Mode::Panic && order.len() == 2));
    let zeros = firsts.iter().filter(|(_, order)| order[0] == 0).count();
    assert!((16..=48).contains(&zeros), "spread: {zeros}");
    assert_eq!(order(&none[..1], &usual()), (Mode::Lone, vec![0]));
}

#[test]
fn a_request_that_can_bear_it_finds_out_whether_a_target_has_healed() {
    let all = [contender(0, 0, 100), tripped(1, BreakerState::Probing), tripped(2, BreakerState::Probing)];
    check(&all, &usual(), &[1, 0, 2]);
    check(&all, &Circumstances { may_probe: false, ..usual() }, &[0, 1, 2]);
    check(&all, &Circumstances { priority: Priority::Critical, ..usual() }, &[0, 1, 2]);
}

#[test]
fn a_target_that_ramps_up_gets_its_share() {
    let ramping = with(contender(0, 0, 100), |c| {
        (c.standing.state, c.standing.percent) = (BreakerState::Ramping, 10);
    });
    let all = [ramping, contender(1, 0, 900)];
    let firsts = (0..1000).filter(|seed| order(&all, &Circumstances { seed: *seed, ..usual() }).1[0] == 0);
    assert!((60..=140).contains(&firsts.count()));
}

#[test]
fn equals_are_shared_and_the_idler_of_two_is_taken() {
    let all: Vec<_> = (0..4).map(|n| contender(n, 0, 100 + n as u64)).collect();
    let mut firsts = [0; 4];
    for seed in 0..1000 {
        firsts[order(&all, &Circumstances { seed, ..usual() }).1[0]] += 1;
    }
    assert!(firsts.iter().all(|n| (150..=350).contains(n)), "{firsts:?}");
    let mut busy = all.clone();
    busy[0].standing.in_flight = 9;
    let to_the_busy =
        (0..1000).filter(|seed| order(&busy, &Circumstances { seed: *seed, ..usual() }).1[0] == 0);
    assert_eq!(to_the_busy.count(), 0);
}

#[test]
fn who_is_unknown_is_asked_by_a_few_and_by_no_emergency() {
    let unknown = |n| with(contender(n, 0, 0), |c| (c.standing.expected_us, c.standing.samples) = (None, 0));
    let both = [contender(0, 0, 100), unknown(1)];
    let asked = |contenders: &[Contender], priority| {
        let order = |seed| order(contenders, &Circumstances { priority, seed, ..usual() }).1[0];
        (0..1000).filter(|seed| order(*seed) == 1).count()
    };
    assert!((60..=140).contains(&asked(&both, Priority::Critical)));
    assert_eq!(asked(&both, Priority::Emergency), 0);
    check(&[unknown(0), unknown(1), unknown(2)], &usual(), &[0, 1, 2]);
    // One that was slow, a while ago, too; and one lucky answer does not convince everybody.
    let slow = |idle_ms| {
        with(contender(1, 0, 900), |c| (c.standing.best_us, c.standing.idle_ms) = (Some(90 * MS), idle_ms))
    };
    assert_eq!(asked(&[contender(0, 0, 100), slow(2_999)], Priority::Medium), 0);
    assert!((60..=140).contains(&asked(&[contender(0, 0, 100), slow(3_000)], Priority::Medium)));
    let lucky = with(contender(1, 0, 90), |c| c.standing.samples = 1);
    assert!((430..=570).contains(&asked(&[contender(0, 0, 100), lucky], Priority::Medium)));
}

#[test]
fn a_prompt_goes_back_to_its_cache_unless_that_costs_more() {
    let all: Vec<_> = (0..3).map(|n| contender(n, 0, 100)).collect();
    for key in 0..50 {
        let stick = Some(key);
        let homes: Vec<_> =
            (0..20).map(|seed| order(&all, &Circumstances { stick, seed, ..usual() }).1[0]).collect();
        assert!(homes.iter().all(|home| *home == homes[0]), "{homes:?}");
        let home = homes[0];
        let mut slow = all.clone();
        slow[home].standing.expected_us = Some(160 * MS);
        assert_ne!(order(&slow, &Circumstances { stick, ..usual() }).1[0], home);
        slow[home].standing.expected_us = Some(140 * MS);
        assert_eq!(order(&slow, &Circumstances { stick, ..usual() }).1[0], home);
        slow[home] = tripped(home, BreakerState::Tripped);
        assert_eq!(order(&slow, &Circumstances { stick, ..usual() }).1.last(), Some(&home));
    }
}
