//! Simulated targets on virtual time, the requests that go to them, and the oracle that knows the truth.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use outcrop_core::decision::Standing;
use outcrop_core::failure::{Class, Failure, Reason};
use outcrop_core::money::{PicoUsd, Price, Rates};
use outcrop_core::operation::{Operation, Strategy};
use outcrop_core::path::{AbortBilling, Effect, PathKind};
use outcrop_core::{TargetId, Usage};
use outcrop_policy::health::{Denied, Errand, QuotaSpec, Shape, Terms, Trial};
use outcrop_policy::route::{Choice, Circumstances, Plan, Question, Routes, TargetSpec, target_name};
use outcrop_policy::walk::{Walk, may_go_elsewhere};
use outcrop_policy::{Health, PriceBook, operations};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

/// How a target behaves from some moment on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Truth {
    /// It answers after a time of this mean, in milliseconds.
    Answers(f64),
    /// It refuses the connection.
    Refuses,
    /// It takes the request and never answers.
    Hangs,
    /// It says 429 to this share of requests.
    Throttles(f64, f64),
    /// It answers so many at once in a time of this mean; the others wait for their turn.
    Bears(f64, usize),
}

/// A target and its life: what is true from which millisecond on.
pub struct Life {
    pub path: &'static str,
    pub kind: PathKind,
    /// Nano-dollars for each token.
    pub price: u64,
    pub quota: Option<QuotaSpec>,
    pub truths: Vec<(u64, Truth)>,
}

impl Life {
    pub fn of(path: &'static str, kind: PathKind, truths: &[(u64, Truth)]) -> Self {
        Self { path, kind, price: 1_000, quota: None, truths: truths.to_vec() }
    }

    fn at(&self, ms: u64) -> Truth {
        let past = self.truths.iter().rev().find(|(from, _)| *from <= ms);
        past.map_or(Truth::Answers(100.0), |(_, truth)| *truth)
    }
}

/// What happens in a world.
pub struct Scenario {
    pub lives: Vec<Life>,
    /// Requests in a second, from which millisecond on.
    pub rates: Vec<(u64, f64)>,
    pub lasts_ms: u64,
    pub operation: &'static str,
    pub strategy: Strategy,
}

/// What came of it.
#[derive(Debug, Default, Clone, Copy)]
pub struct Tally {
    pub requests: u32,
    pub attempts: u32,
    pub errors: u32,
    /// Requests that were first sent to what the oracle would have chosen.
    pub right: u32,
    /// Requests that had any choice.
    pub judged: u32,
    /// Requests that ended after their deadline.
    pub late: u32,
    /// Longest time that a failed try took from a request that was answered in the end, in milliseconds.
    pub lost_ms_max: f64,
    /// Most attempts for a request in any ten seconds.
    pub burst_max: f64,
    /// Trials that were still counted as under way at the end.
    pub leaked: u32,
}

struct Request {
    plan: Plan,
    at: Instant,
    deadline: Instant,
    walk: Walk,
    tries: Vec<Try>,
}

/// A try that is under way.
struct Try {
    id: u64,
    name: String,
    trial: Trial,
    slow_at: Option<Instant>,
}

/// When something happens, and what; ordered by time and then by number.
type Due = Reverse<(u64, u64, usize, Outcome)>;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    /// It is looked for targets that wait for a probe.
    Looks,
    Arrives,
    /// A try is slow, or what could not be asked may be asked.
    Slow,
    Answers,
    Refused,
    Throttled,
    GivenUp,
}

pub struct World<'a> {
    scenario: &'a Scenario,
    routes: Routes,
    health: Health,
    start: Instant,
    dice: SmallRng,
    due: BinaryHeap<Due>,
    count: u64,
    requests: HashMap<usize, Request>,
    tally: Tally,
    probes: usize,
    /// Requests and attempts of each second.
    seconds: Vec<(u32, u32)>,
    /// When each that works at a target is free, in microseconds.
    free_us: Vec<Vec<u64>>,
}

/// Microseconds between two looks for targets that wait.
const LOOKS_EVERY_US: u64 = 500_000;

impl<'a> World<'a> {
    #[allow(clippy::disallowed_methods, reason = "virtual time starts somewhere")]
    pub fn play(scenario: &'a Scenario, seed: u64) -> Tally {
        let mut world = Self {
            scenario,
            routes: routes(scenario),
            health: Health::default(),
            start: Instant::now(),
            dice: SmallRng::seed_from_u64(seed),
            due: BinaryHeap::new(),
            count: 0,
            requests: HashMap::new(),
            tally: Tally::default(),
            probes: 0,
            seconds: vec![(0, 0); scenario.lasts_ms as usize / 1_000 + 200],
            free_us: vec![Vec::new(); scenario.lives.len()],
        };
        world.arrive_after(0);
        world.push(LOOKS_EVERY_US, 0, Outcome::Looks);
        while let Some(Reverse((us, id, request, outcome))) = world.due.pop() {
            let now = world.start + Duration::from_micros(us);
            match outcome {
                Outcome::Arrives => world.accept(us, now),
                Outcome::Looks => world.look(us, now),
                Outcome::Slow => world.look_beside(request, us, now),
                outcome => world.end_try(request, id, outcome, us, now),
            }
        }
        let end = world.start + Duration::from_millis(scenario.lasts_ms + 120_000);
        for life in &scenario.lives {
            world.tally.leaked += world.health.report(&name(life), end).in_flight;
        }
        let whole = world.seconds.get(..scenario.lasts_ms as usize / 1_000).unwrap();
        let bursts = whole.windows(10).map(|ten| {
            let (requests, attempts) = ten.iter().fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
            f64::from(attempts) / f64::from(requests.max(1))
        });
        world.tally.burst_max = bursts.fold(0.0, f64::max);
        world.tally
    }

    fn push(&mut self, us: u64, request: usize, outcome: Outcome) {
        self.count += 1;
        self.due.push(Reverse((us, self.count, request, outcome)));
    }

    fn arrive_after(&mut self, us: u64) {
        let rate = self.scenario.rates.iter().rev().find(|(from, _)| from * 1_000 <= us).unwrap().1;
        let gap = -self.dice.random_range(f64::EPSILON..1.0).ln() / rate;
        let at = us + (gap * 1e6) as u64;
        if at < self.scenario.lasts_ms * 1_000 {
            self.push(at, 0, Outcome::Arrives);
        }
    }

    fn accept(&mut self, us: u64, now: Instant) {
        self.arrive_after(us);
        let operation = self.routes.operation(self.scenario.operation).unwrap().clone();
        let deadline = now + operation.deadline;
        let plan = self.plan(&operation, now);
        let number = self.tally.requests as usize;
        self.tally.requests += 1;
        self.seconds[us as usize / 1_000_000].0 += 1;
        self.judge(&plan, &operation, us / 1_000);
        let walk = Walk::of(&plan, 0);
        let request = Request { plan, at: now, deadline, walk, tries: Vec::new() };
        self.requests.insert(number, request);
        self.try_next(number, us, now);
    }

    /// Probes what has waited for two seconds, as the gateway does.
    fn look(&mut self, us: u64, now: Instant) {
        if us < self.scenario.lasts_ms * 1_000 {
            self.push(us + LOOKS_EVERY_US, 0, Outcome::Looks);
        }
        for (waiting, since) in self.health.waiting(now) {
            let target = self.scenario.lives.iter().position(|life| name(life) == *waiting).unwrap();
            let errand = Errand { shape: Shape::Whole, tokens: 10, quota: None, terms: Terms::First };
            if since < Duration::from_secs(2) {
                continue;
            }
            let Ok(trial) = self.health.begin(&waiting, errand, now) else { continue };
            self.probes += 1;
            let number = usize::MAX - self.probes;
            let (at, outcome) = self.fate(us, target);
            let (at, outcome) =
                if at > us + 5_000_000 { (us + 5_000_000, Outcome::GivenUp) } else { (at, outcome) };
            let request = Request {
                plan: Plan::default(),
                at: now,
                deadline: now + Duration::from_secs(6),
                walk: Walk::default(),
                tries: vec![Try { id: self.count + 1, name: waiting.into_string(), trial, slow_at: None }],
            };
            self.requests.insert(number, request);
            self.push(at, number, outcome);
        }
    }

    fn plan(&mut self, operation: &Operation, now: Instant) -> Plan {
        let standing = |name: &str, spec: &TargetSpec| -> Standing {
            self.health.standing(name, Shape::Whole, spec.quota, now)
        };
        let circumstances =
            Circumstances { may_probe: true, seed: self.dice.random(), ..Circumstances::of(operation) };
        let question = Question {
            model: "m",
            operation,
            residency: None,
            hint: None,
            allowed: true,
            unix: 0,
            can_carry: &|_, _| true,
            standing: &standing,
            usage: Usage::of(500, 500),
            circumstances,
        };
        self.routes.plan(&question).unwrap()
    }

    /// Begins the next try that may begin; beside others it is one in their stead.
    fn try_next(&mut self, number: usize, us: u64, now: Instant) {
        let mut from = 0;
        loop {
            let request = self.requests.get_mut(&number).unwrap();
            let remaining = request.deadline.saturating_duration_since(now);
            let Some(position) = request.walk.next(from).filter(|_| !remaining.is_zero()) else { break };
            from = position + 1;
            let choice = &request.plan.choices[position];
            let life = &self.scenario.lives[choice.target.index()];
            let serves = |_: &Choice| self.health.would_admit(&name(life), Terms::First, now);
            if !request.tries.is_empty() && !request.walk.may_go_beside(&request.plan, position, serves) {
                request.walk.denied(position, Denied::NoRetry);
                continue;
            }
            let terms = match request.tries.last() {
                Some(slow) => self.health.terms_beside(&slow.name, now),
                None => request.walk.terms(),
            };
            let errand = Errand { shape: Shape::Whole, tokens: 1_000, quota: life.quota, terms };
            let trial = match self.health.begin(&name(life), errand, now) {
                Ok(trial) => trial,
                Err(why) => {
                    request.walk.denied(position, why);
                    continue;
                }
            };
            for late in &mut request.tries {
                let _ = late.trial.turn_late(now, self.dice.random());
            }
            request.walk.sent(position);
            let slow_after = request.walk.slow_after(remaining, trial.patience());
            let target = choice.target.index();
            let deadline = us + remaining.as_micros() as u64;
            self.tally.attempts += 1;
            self.seconds[us as usize / 1_000_000].1 += 1;
            self.count += 1;
            let id = self.count;
            request.tries.push(Try {
                id,
                name: name(life),
                trial,
                slow_at: slow_after.map(|after| now + after),
            });
            if let Some(after) = slow_after {
                // Rounded up: a moment early it is not slow.
                self.push(us + after.as_micros() as u64 + 1, number, Outcome::Slow);
            }
            let (at, outcome) = self.fate(us, target);
            let (at, outcome) = if at > deadline { (deadline, Outcome::GivenUp) } else { (at, outcome) };
            self.due.push(Reverse((at, id, number, outcome)));
            return;
        }
        self.wait(number, us, now);
    }

    /// Nothing could begin: it is looked again while somebody is worth waiting for.
    fn wait(&mut self, number: usize, us: u64, now: Instant) {
        let request = self.requests.get_mut(&number).unwrap();
        let remaining = request.deadline.saturating_duration_since(now);
        let alive =
            |choice: &Choice| self.health.is_alive(&name(&self.scenario.lives[choice.target.index()]), now);
        match request.walk.looks_again(&request.plan, remaining, alive) {
            Some(after) => {
                let after = after.mul_f64(self.dice.random_range(1.0..1.5)).min(remaining);
                self.push(us + after.as_micros() as u64, number, Outcome::Slow);
            }
            None if request.tries.is_empty() => self.close(number, false, now),
            None => {}
        }
    }

    /// It is looked for another target, unless a try is under way that is not slow.
    fn look_beside(&mut self, number: usize, us: u64, now: Instant) {
        let Some(request) = self.requests.get(&number) else { return };
        let is_slow = |newest: &Try| newest.slow_at.is_some_and(|at| at <= now);
        if request.tries.last().is_none_or(is_slow) {
            self.try_next(number, us, now);
        }
    }

    fn fate(&mut self, us: u64, target: usize) -> (u64, Outcome) {
        let soon = us + 300;
        match self.scenario.lives[target].at(us / 1_000) {
            Truth::Refuses => (soon, Outcome::Refused),
            Truth::Hangs => (u64::MAX, Outcome::GivenUp),
            Truth::Throttles(share, _) if self.dice.random_bool(share) => (soon, Outcome::Throttled),
            Truth::Answers(mean) | Truth::Throttles(_, mean) => (us + self.takes(mean), Outcome::Answers),
            Truth::Bears(mean, at_once) => {
                let takes = self.takes(mean);
                let free = &mut self.free_us[target];
                free.resize(at_once, 0);
                let first = free.iter_mut().min().unwrap();
                // What its caller has left is answered all the same.
                *first = us.max(*first) + takes;
                (*first, Outcome::Answers)
            }
        }
    }

    /// Between half and three times the mean, most of it near the lower end.
    fn takes(&mut self, mean: f64) -> u64 {
        let drawn = self.dice.random_range(0.0..1.0f64);
        let factor = 0.75 + 0.5 * drawn.powi(2) - 0.166 + drawn.powi(40) * 1.5;
        (mean * factor * 1_150.0) as u64
    }

    fn end_try(&mut self, number: usize, id: u64, outcome: Outcome, us: u64, now: Instant) {
        let jitter = self.dice.random();
        // Another try has answered meanwhile.
        let Some(request) = self.requests.get_mut(&number) else { return };
        let Some(at) = request.tries.iter().position(|one| one.id == id) else { return };
        let mut trial = request.tries.remove(at).trial;
        let failure = match outcome {
            Outcome::Answers | Outcome::Arrives | Outcome::Looks | Outcome::Slow => {
                let _ = trial.answered(now, jitter);
                trial.used(500, 500, now);
                drop(trial);
                return self.close(number, true, now);
            }
            Outcome::Refused => Failure::network(Reason::Connect, Class::NotSent, ""),
            Outcome::Throttled => Failure::network(Reason::Throttled, Class::Refused, ""),
            Outcome::GivenUp => Failure::network(Reason::Timeout, Class::Ambiguous, ""),
        };
        let _ = trial.failed(&failure, now, jitter);
        drop(trial);
        assert!(may_go_elsewhere(failure.class, Effect::ReadOnly));
        self.look_beside(number, us, now);
    }

    fn close(&mut self, number: usize, answered: bool, now: Instant) {
        let request = self.requests.remove(&number).unwrap();
        if number > usize::MAX / 2 {
            return;
        }
        if !answered && std::env::var("OUTCROP_ROUTING_TRACE").is_ok() {
            println!(
                "{} error after {} tries: {:?} {:?}",
                request.at.duration_since(self.start).as_millis(),
                request.walk.tries(),
                request.plan.mode,
                request.plan.candidates
            );
        }
        self.tally.errors += u32::from(!answered);
        self.tally.late += u32::from(now > request.deadline + Duration::from_millis(100));
        if answered && request.walk.tries() > 1 {
            let lost = now.duration_since(request.at).as_secs_f64() * 1e3;
            self.tally.lost_ms_max = self.tally.lost_ms_max.max(lost);
        }
    }

    /// Whether the first choice is what one who knows the truth would have chosen, or within 5 % of it in
    /// time and money.
    fn judge(&mut self, plan: &Plan, operation: &Operation, ms: u64) {
        let truths = self.scenario.lives.iter().map(|life| (expected_ms(life.at(ms)), life.price));
        let truths: Vec<(f64, u64)> = truths.collect();
        let Some(best) = self.oracle(operation, &truths) else { return };
        self.tally.judged += 1;
        let Some(first) = plan.choices.first() else { return };
        let (chosen, wanted) = (truths[first.target.index()], truths[best]);
        let near = chosen.0 <= wanted.0 * 1.05 && chosen.1 as f64 <= wanted.1 as f64 * 1.05;
        let right = first.target.index() == best || near;
        if !right && std::env::var("OUTCROP_ROUTING_TRACE").is_ok() {
            let known: Vec<String> = plan
                .candidates
                .iter()
                .map(|c| {
                    let s = c.standing.unwrap_or_default();
                    format!(
                        "{} {:?} {:?} {:?}ms best {:?} idle {} n{}",
                        c.target,
                        c.rank,
                        s.state,
                        s.expected_us.map(|us| us / 1000),
                        s.best_us.map(|us| us / 1000),
                        s.idle_ms,
                        s.in_flight
                    )
                })
                .collect();
            println!(
                "{ms} {:?} wanted {} | {}",
                plan.mode,
                self.scenario.lives[best].path,
                known.join(" | ")
            );
        }
        self.tally.right += u32::from(right);
    }

    /// The preferred kind as long as one of it answers; within it what the strategy wants.
    fn oracle(&self, operation: &Operation, truths: &[(f64, u64)]) -> Option<usize> {
        let lives = &self.scenario.lives;
        let alive = |at: &usize| truths[*at].0.is_finite();
        let mcp_first = operation.order.first() != Some(&outcrop_core::operation::Preference::Direct);
        let preferred = |at: &usize| (lives[*at].kind == PathKind::Mcp) == mcp_first;
        let all: Vec<usize> = (0..lives.len()).filter(alive).collect();
        let group: Vec<usize> = all.iter().copied().filter(preferred).collect();
        let group = if group.is_empty() { all } else { group };
        let quickest = group.iter().map(|at| truths[*at].0).fold(f64::INFINITY, f64::min);
        let key = |at: &usize| match operation.strategy {
            Strategy::CostEfficient => (truths[*at].1 as f64, truths[*at].0),
            Strategy::Balanced if truths[*at].0 <= quickest * 1.2 => (truths[*at].1 as f64, truths[*at].0),
            Strategy::Balanced => (f64::INFINITY, truths[*at].0),
            Strategy::LatencyFirst | Strategy::SuccessFirst | Strategy::Adaptive => (truths[*at].0, 0.0),
        };
        group.iter().copied().min_by(|a, b| key(a).partial_cmp(&key(b)).unwrap())
    }
}

/// What an answer is expected to take; what fails counts as five seconds, as long as some do not.
fn expected_ms(truth: Truth) -> f64 {
    match truth {
        Truth::Answers(mean) | Truth::Bears(mean, _) => mean,
        Truth::Throttles(share, mean) if share < 1.0 => mean * (1.0 - share) + 5_000.0 * share,
        Truth::Throttles(..) | Truth::Refuses | Truth::Hangs => f64::INFINITY,
    }
}

fn name(life: &Life) -> String {
    target_name(life.path, "m")
}

fn routes(scenario: &Scenario) -> Routes {
    let target = |life: &Life| TargetSpec {
        path: life.path.into(),
        kind: life.kind,
        model_id: "m".into(),
        region: None,
        destinations: Arc::from([]),
        effect: Effect::ReadOnly,
        enabled: true,
        price: Some(Arc::new(Price::flat(
            "m",
            "test",
            Rates::of(PicoUsd(life.price * 1_000), PicoUsd(life.price * 1_000)),
        ))),
        output_tokens_max: None,
        abort_billing: AbortBilling::Unknown,
        max_tokens_default: None,
        quota: life.quota,
        tiers: Arc::from([]),
    };
    let mut operations = operations::shipped();
    for operation in &mut operations {
        operation.strategy = scenario.strategy;
    }
    Routes {
        targets: scenario.lives.iter().map(target).collect(),
        models: HashMap::from([("m".into(), (0..scenario.lives.len() as u32).map(TargetId).collect())]),
        operations,
        prices: Arc::new(PriceBook::new(Vec::new(), None)),
        ..Routes::default()
    }
}
