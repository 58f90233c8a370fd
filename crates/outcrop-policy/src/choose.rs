//! Which of the legal targets goes first, and which next: a pure function of what is known of them.
//!
//! What is legal was decided before; nothing here widens it. Targets of the preferred kind go before
//! others; among them the strategy decides, and among those that are as good as equal, the one with
//! less under way of two drawn at random. The whole list is looked at, not two of it: it is short and
//! nothing in it is stale, so that the best is never missed.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use outcrop_core::Priority;
use outcrop_core::decision::{BreakerState, Exclusion, Mode, Standing};
use outcrop_core::operation::{Operation, Strategy};
use smallvec::SmallVec;

use crate::health::SURE;

/// Times within this of the best are the same to `balanced`: there the price decides.
const BAND: f64 = 1.2;

/// Times and prices within this of each other are as good as equal.
const NOISE: f64 = 1.05;

/// A prompt cache is worth so much more time.
const CACHE_WORTH_TIME: f64 = 1.5;

/// And so much more money: a cached prefix costs a tenth.
const CACHE_WORTH_MONEY: f64 = 1.2;

/// What is known of a target that nobody has asked for so long is old.
const STALE_MS: u32 = 3_000;

/// After so long half of what is known against it is doubted.
const HOPE_HALVES_MS: f64 = 60_000.0;

/// Share of requests that find out about a target of which little, or nothing new, is known; no emergency does.
const EXPLORING: f64 = 0.1;

/// The same while its first answers are promising.
const CONFIRMING: f64 = 0.5;

/// Where they promise so many times less than the best takes, everybody believes them.
const DECISIVE: f64 = 2.0;

/// Before an expectation is sure it counts as so much longer: beyond the band of prices.
const UNSURE: f64 = 1.25;

/// What the dice are thrown for, where it is no target.
const EXPLORES: u64 = 3;

/// Below this share of its quota, in thousandths, a target gets dearer.
const HEADROOM_LOW_PERMILLE: u16 = 200;

/// A legal target.
#[derive(Debug, Clone)]
pub(crate) struct Contender {
    /// Its place in the list of the model's targets.
    pub(crate) position: usize,
    /// Preference of its kind: smaller goes first.
    pub(crate) rank: u32,
    pub(crate) standing: Standing,
    /// What an answer would probably cost.
    pub(crate) expected_nusd: i64,
    /// Its identity, for sticking to it and for what it gets while it ramps up; 0 where neither is asked.
    pub(crate) identity: u64,
}

/// What else the order depends on.
#[derive(Debug, Clone, Copy)]
pub struct Circumstances {
    /// Of the operation.
    pub strategy: Strategy,
    /// Time until the deadline.
    pub remaining: Duration,
    /// Of the request.
    pub priority: Priority,
    /// Identity of caller and prompt prefix, where a prompt cache is worth going back to.
    pub stick: Option<u64>,
    /// Whether the request may find out if a tripped target has healed: none that uses tools.
    pub may_probe: bool,
    /// Whether a budget of the request is nearly used up.
    pub money_is_short: bool,
    /// Whether health and times decide; otherwise the configured order does, and only breakers are obeyed.
    pub learns: bool,
    /// Randomness of this request.
    pub seed: u64,
}

impl Circumstances {
    /// Of a request of this operation when nothing else is known: no time has passed, nobody is in a hurry.
    pub fn of(operation: &Operation) -> Self {
        Self {
            strategy: operation.strategy,
            remaining: operation.deadline,
            priority: operation.priority,
            stick: None,
            may_probe: false,
            money_is_short: false,
            learns: true,
            seed: 0,
        }
    }
}

/// What was chosen.
#[derive(Debug, Default)]
pub(crate) struct Chosen {
    pub(crate) mode: Mode,
    /// How many of the contenders serve; the rest are asked when these have failed.
    pub(crate) serving: usize,
    /// Who was taken out, and why.
    pub(crate) left_out: SmallVec<[(usize, Exclusion); 8]>,
}

/// Orders the contenders, best first. Those that would probably be too late are asked when all that serve have
/// failed; where all would, they are taken out.
pub(crate) fn choose(contenders: &mut SmallVec<[Contender; 8]>, circumstances: &Circumstances) -> Chosen {
    let mut chosen = Chosen::default();
    let count = contenders.len();
    let remaining = circumstances.remaining.as_micros();
    let mut too_slow: SmallVec<[Contender; 2]> = SmallVec::new();
    contenders.retain(|contender| {
        let standing = &contender.standing;
        let late = standing.p50_us.is_some_and(|p50| u128::from(p50) > remaining);
        let is_too_slow = late && circumstances.learns && standing.percent > 0;
        if is_too_slow {
            too_slow.push(contender.clone());
        }
        !is_too_slow
    });
    if contenders.is_empty() {
        chosen.left_out.extend(too_slow.iter().map(|c| (c.position, Exclusion::TooSlow)));
    }
    chosen.serving = contenders.iter().filter(|c| c.standing.percent > 0).count();
    if count <= 1 || contenders.is_empty() {
        chosen.mode = Mode::Lone;
        return chosen;
    }
    if chosen.serving == 0 {
        chosen.mode = Mode::Panic;
        spread(contenders, circumstances.seed);
        contenders.extend(too_slow);
        return chosen;
    }
    let best = best_time(contenders);
    let mut placed: SmallVec<[(Place, Contender); 8]> =
        contenders.drain(..).map(|c| (place(&c, best, circumstances), c)).collect();
    placed.sort_by(|(left, _), (right, _)| left.compare(right));
    chosen.serving += usize::from(prefer_one_probe(&mut placed, circumstances));
    contenders.extend(placed.into_iter().map(|(_, contender)| contender));
    if circumstances.learns {
        settle_ties(contenders, circumstances);
        stick(contenders, circumstances);
    }
    // It may answer in time after all, which one that is tripped rather does not.
    contenders.insert_many(chosen.serving, too_slow);
    chosen
}

/// None serves: any of them, the idler of two.
fn spread(contenders: &mut [Contender], seed: u64) {
    let (one, other) = two_of(contenders.len(), seed);
    let in_flight = |at: usize| contenders.get(at).map_or(u32::MAX, |c| c.standing.in_flight);
    let first = if in_flight(other) < in_flight(one) { other } else { one };
    contenders.swap(0, first);
}

/// Where a contender stands; smaller goes first.
#[derive(Debug, Clone, Copy)]
struct Place {
    class: Class,
    rank: u32,
    score: Score,
    position: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    /// One request finds out whether it has healed.
    Probe,
    Serving,
    /// It serves, but is ramping up, has asked for a rest, or has all it bears.
    Spared,
    /// It may have healed; asked when nobody else can.
    Waiting,
    /// It failed its last attempts; asked when all others have failed, too.
    Last,
}

impl Place {
    fn compare(&self, other: &Self) -> std::cmp::Ordering {
        (self.class, self.rank)
            .cmp(&(other.class, other.rank))
            .then(self.score.compare(&other.score))
            .then(self.position.cmp(&other.position))
    }
}

fn place(contender: &Contender, best: f64, circumstances: &Circumstances) -> Place {
    let standing = &contender.standing;
    // Drawn only where it decides: a hash for each target is most of what a decision costs.
    let is_left_out = standing.percent < 100
        && draw(circumstances.seed, contender.identity) * 100.0 >= f64::from(standing.percent);
    let is_full = standing.limit.is_some_and(|limit| standing.in_flight >= limit);
    let class = if standing.state == BreakerState::Probing {
        Class::Waiting
    } else if standing.state == BreakerState::Tripped {
        Class::Last
    } else if standing.rests_ms > 0 || is_full || is_left_out {
        Class::Spared
    } else {
        Class::Serving
    };
    let score =
        if circumstances.learns { Score::of(contender, best, circumstances) } else { Score([0.0; 3]) };
    Place { class, rank: contender.rank, score, position: contender.position }
}

/// The best placed target that waits for a probe goes first, if the request can bear it: its failure costs
/// a failover.
fn prefer_one_probe(placed: &mut SmallVec<[(Place, Contender); 8]>, circumstances: &Circumstances) -> bool {
    let bears_it = circumstances.may_probe && circumstances.priority < Priority::Critical;
    let waiting = placed.iter().position(|(place, _)| place.class == Class::Waiting);
    let Some(at) = waiting.filter(|_| bears_it) else { return false };
    let mut probe = placed.remove(at);
    probe.0.class = Class::Probe;
    placed.insert(0, probe);
    true
}

/// What a contender is worth to the strategy: smaller is better, the first number that differs decides.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Score([f64; 3]);

impl Score {
    fn of(contender: &Contender, best: f64, circumstances: &Circumstances) -> Self {
        let time = time_of(contender, best, circumstances);
        let money = contender.expected_nusd.max(0) as f64;
        Self(match resolve(best, circumstances) {
            Strategy::LatencyFirst => [0.0, time, money],
            Strategy::SuccessFirst => {
                let failing = 100 - contender.standing.success_permille / 10;
                [f64::from(failing), time, money]
            }
            Strategy::CostEfficient if fits(contender, circumstances) => [0.0, money, time],
            // Within the band the price decides.
            Strategy::Balanced | Strategy::Adaptive if time <= best * BAND => [0.0, money, time],
            Strategy::CostEfficient | Strategy::Balanced | Strategy::Adaptive => [1.0, time, money],
        })
    }

    fn compare(&self, other: &Self) -> std::cmp::Ordering {
        let differs = self.0.iter().zip(&other.0).map(|(a, b)| a.total_cmp(b));
        differs.fold(std::cmp::Ordering::Equal, std::cmp::Ordering::then)
    }
}

/// What `adaptive` comes to.
fn resolve(best_us: f64, circumstances: &Circumstances) -> Strategy {
    let remaining = circumstances.remaining.as_micros() as f64;
    match circumstances.strategy {
        Strategy::Adaptive if circumstances.priority >= Priority::Critical || best_us * 2.0 > remaining => {
            Strategy::LatencyFirst
        }
        Strategy::Adaptive if circumstances.money_is_short || best_us * 20.0 < remaining => {
            Strategy::CostEfficient
        }
        Strategy::Adaptive => Strategy::Balanced,
        strategy => strategy,
    }
}

/// Whether nearly all of its answers come in time, and most come at all.
fn fits(contender: &Contender, circumstances: &Circumstances) -> bool {
    let standing = &contender.standing;
    let usual = standing.p95_us.max(standing.expected_us).unwrap_or(0);
    standing.success_permille >= 900 && u128::from(usual) <= circumstances.remaining.as_micros() / 2
}

/// The shortest expected time, in microseconds, of those whose time is known well, or at all; 1 where none is.
fn best_time(contenders: &[Contender]) -> f64 {
    let shortest = |samples: u32| {
        let known = contenders.iter().filter(|c| c.standing.samples >= samples);
        known.map(|c| weighed(c, 1.0)).fold(f64::INFINITY, f64::min)
    };
    let best = [shortest(SURE), shortest(1)].into_iter().find(|best| best.is_finite());
    best.unwrap_or(1.0).max(1.0)
}

/// The expected time in microseconds, times what speaks against it. Of whom little or nothing new is known
/// the better is believed by a few requests, so that somebody finds out, and the worse by all others.
fn time_of(contender: &Contender, best: f64, circumstances: &Circumstances) -> f64 {
    let standing = &contender.standing;
    let (is_sure, is_stale) = (standing.samples >= SURE, standing.idle_ms >= STALE_MS);
    let (hope, share) = match (standing.expected_us, standing.best_us) {
        (None, _) => (best / NOISE, EXPLORING),
        (Some(_), Some(fine)) if is_stale => (hoped(fine, standing.idle_ms), EXPLORING),
        (Some(_), _) if is_sure => return weighed(contender, best),
        (Some(_), _) => {
            let hope = weighed(contender, best);
            (hope, if hope * DECISIVE <= best { 1.0 } else { CONFIRMING })
        }
    };
    let finds_out =
        circumstances.priority < Priority::Emergency && draw(circumstances.seed, EXPLORES) < share;
    if finds_out && hope < best {
        hope
    } else if is_sure {
        weighed(contender, best)
    } else {
        weighed(contender, best) * UNSURE
    }
}

/// What a target may take that nobody has asked for a while: the longer ago, the less is known against it.
/// One request finds out, and then it is not idle any more.
fn hoped(best_us: u64, idle_ms: u32) -> f64 {
    best_us as f64 / (1.0 + f64::from(idle_ms) / HOPE_HALVES_MS)
}

fn weighed(contender: &Contender, unknown: f64) -> f64 {
    let standing = &contender.standing;
    let time = standing.expected_us.map_or(unknown, |us| us as f64);
    let crowd =
        standing.limit.map_or(0.0, |limit| f64::from(standing.in_flight + 1) / f64::from(limit.max(1)));
    // What is under way does not slow a model down until it nears what the target bears.
    let crowding = 1.0 + (crowd - 0.5).max(0.0) * 2.0;
    let low = f64::from(HEADROOM_LOW_PERMILLE);
    let headroom = standing.headroom_permille.map_or(low, |left| f64::from(left.min(HEADROOM_LOW_PERMILLE)));
    let dearth = 1.0 + 4.0 * (low - headroom) / low;
    time * crowding * dearth
}

/// Among those that are as good as the first, the idler of two drawn at random.
fn settle_ties(contenders: &mut [Contender], circumstances: &Circumstances) {
    let best = best_time(contenders);
    let Some(first) = contenders.first() else { return };
    if !is_ready(first) {
        return;
    }
    let (time, money) = (time_of(first, best, circumstances), first.expected_nusd);
    let alike = |c: &Contender| {
        let close = |a: f64, b: f64| a <= b * NOISE && b <= a * NOISE;
        c.rank == first.rank
            && is_ready(c)
            && first.standing.expected_us.is_some() == c.standing.expected_us.is_some()
            && close(time_of(c, best, circumstances), time)
            && close(c.expected_nusd as f64, money as f64)
    };
    let equals = contenders.iter().take_while(|c| alike(c)).count();
    // Where nothing is known the configured order holds.
    if equals < 2 || first.standing.expected_us.is_none() {
        return;
    }
    if let Some(equals) = contenders.get_mut(..equals) {
        spread(equals, circumstances.seed);
    }
}

/// A prompt cache is where the prefix went last time: the same member of the group, as long as it is good.
fn stick(contenders: &mut [Contender], circumstances: &Circumstances) {
    let (Some(key), Some(first)) = (circumstances.stick, contenders.first()) else { return };
    if !is_ready(first) {
        return;
    }
    let best = best_time(contenders);
    let (rank, time, money) = (first.rank, time_of(first, best, circumstances), first.expected_nusd);
    let group = contenders.iter().enumerate().filter(|(_, c)| c.rank == rank);
    let Some((home, contender)) = group.max_by_key(|(_, c)| mix(key, c.identity)) else { return };
    let stays = is_ready(contender)
        && time_of(contender, best, circumstances) <= time * CACHE_WORTH_TIME
        && contender.expected_nusd as f64 <= money as f64 * CACHE_WORTH_MONEY;
    if stays && let Some(group) = contenders.get_mut(..=home) {
        group.rotate_right(1);
    }
}

fn is_ready(contender: &Contender) -> bool {
    let standing = &contender.standing;
    standing.percent == 100 && standing.rests_ms == 0
}

/// Two different places of `count`, at random; the same one when there is no other.
fn two_of(count: usize, seed: u64) -> (usize, usize) {
    let count = count.max(1);
    let drawn = |what, below: usize| (mix(seed, what) % below.max(1) as u64) as usize;
    let one = drawn(1, count);
    (one, (one + 1 + drawn(2, count - 1)) % count)
}

/// A number in 0 … 1 that depends on both.
fn draw(seed: u64, what: u64) -> f64 {
    (mix(seed, what) >> 11) as f64 / (1u64 << 53) as f64
}

fn mix(seed: u64, what: u64) -> u64 {
    let mut hasher = DefaultHasher::new();
    (seed, what).hash(&mut hasher);
    hasher.finish()
}

/// Identity of a target by its name, the same in every process.
pub(crate) fn identity(name: &str) -> u64 {
    mix(0, 0) ^ {
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        hasher.finish()
    }
}

#[cfg(test)]
mod tests;
