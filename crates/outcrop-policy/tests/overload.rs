//! Three times as many requests as can be served, on virtual time: what becomes of each priority.
//!
//! Arrivals are random (Poisson), service times are fixed, exponential or long-tailed. The seed is fixed, so
//! a figure is the same in every run.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "tests stop at the first surprise and show their figures"
)]

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::{Duration, Instant};

use outcrop_core::Priority;
use outcrop_policy::admission::{Admissions, Arrival, Notice, Place, Settings, Verdict};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

/// Share of each priority among the arrivals, in percent, and its deadline in seconds.
const MIX: [(Priority, u32, u64); 4] = [
    (Priority::Emergency, 10, 5),
    (Priority::Critical, 20, 10),
    (Priority::Medium, 50, 30),
    (Priority::Low, 20, 60),
];

#[derive(Clone, Copy, Debug)]
enum Service {
    Fixed,
    Exponential,
    /// One in ten takes ten times as long as the others.
    Long,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Happening {
    Arrives,
    Ends(Priority, Duration),
    GivesUp(u64),
}

struct Simulation {
    slots: Admissions<u64>,
    dice: SmallRng,
    begin: Instant,
    events: BinaryHeap<Reverse<(Duration, Happening)>>,
    waiting: BTreeMap<u64, (Priority, Place)>,
    service: (Service, Duration),
    asked: [u32; 5],
    served: [u32; 5],
}

impl Simulation {
    fn new(limit: usize, service: Service, mean: Duration) -> Self {
        let begin = Instant::now();
        Self {
            slots: Admissions::new(Settings::default(), limit, begin),
            dice: SmallRng::seed_from_u64(4),
            begin,
            events: BinaryHeap::new(),
            waiting: BTreeMap::new(),
            service: (service, mean),
            asked: [0; 5],
            served: [0; 5],
        }
    }

    fn exponential(&mut self, mean: Duration) -> Duration {
        let even: f64 = self.dice.random_range(f64::EPSILON..1.0);
        mean.mul_f64(-even.ln())
    }

    fn service_time(&mut self) -> Duration {
        let (service, mean) = self.service;
        match service {
            Service::Fixed => mean,
            Service::Exponential => self.exponential(mean),
            // 0.9 x + 0.1 * 10 x = 1.9 x.
            Service::Long => mean.mul_f64(if self.dice.random_bool(0.1) { 10.0 } else { 1.0 } / 1.9),
        }
    }

    fn admit(&mut self, at: Duration, priority: Priority) {
        self.served[priority as usize] += 1;
        let held = self.service_time();
        self.events.push(Reverse((at + held, Happening::Ends(priority, held))));
    }

    fn hear(&mut self, at: Duration, notices: Vec<Notice<u64>>) {
        for notice in notices {
            self.waiting.remove(&notice.waiter);
            if notice.verdict.is_ok() {
                self.admit(at, notice.priority);
            }
        }
    }

    fn arrive(&mut self, at: Duration, number: u64) {
        let mut roll = self.dice.random_range(0..100u32);
        let (priority, _, seconds) = MIX
            .into_iter()
            .find(|(_, percent, _)| {
                let hit = roll < *percent;
                roll = roll.saturating_sub(*percent);
                hit
            })
            .unwrap();
        self.asked[priority as usize] += 1;
        let now = self.begin + at;
        let deadline = now + Duration::from_secs(seconds);
        let arrival = Arrival { priority, tenant: "".into(), deadline, bytes: 1 };
        let (verdict, notices) = self.slots.arrive(now, arrival, || number);
        self.hear(at, notices);
        match verdict {
            Verdict::Admitted => self.admit(at, priority),
            Verdict::Shed(_) => {}
            Verdict::Queued(place, until) => {
                self.waiting.insert(number, (priority, place));
                self.events.push(Reverse((until - self.begin, Happening::GivesUp(number))));
            }
        }
    }

    /// Plays `calm` at the pace of the capacity, then three times as many until `end`; what went before is
    /// not counted.
    fn play(&mut self, calm: Duration, end: Duration, apart: Duration) {
        self.events.push(Reverse((Duration::ZERO, Happening::Arrives)));
        let mut number = 0;
        while let Some(Reverse((at, happening))) = self.events.pop() {
            match happening {
                Happening::Arrives => {
                    self.arrive(at, number);
                    number += 1;
                    let next = at + self.exponential(if at < calm { apart } else { apart / 3 });
                    if at < calm && next >= calm {
                        (self.asked, self.served) = Default::default();
                    }
                    if next < end {
                        self.events.push(Reverse((next, Happening::Arrives)));
                    }
                }
                Happening::Ends(priority, held) => {
                    let notices = self.slots.release(self.begin + at, priority, "", held);
                    self.hear(at, notices);
                }
                Happening::GivesUp(number) => {
                    if let Some((_, place)) = self.waiting.remove(&number) {
                        assert!(self.slots.leave(&place).is_some());
                    }
                }
            }
        }
    }

    /// Part of a priority's requests that were served.
    fn part(&self, priority: Priority) -> f64 {
        f64::from(self.served[priority as usize]) / f64::from(self.asked[priority as usize])
    }
}

/// 90 % of the capacity is asked for by the two highest alone: with few slots that are held for seconds the sums are so small
/// that chance turns some of the critical away, whoever decides.
#[test]
fn at_three_times_capacity_the_urgent_are_served_and_nothing_is_wasted() {
    for (limit, mean_ms, critical) in
        [(50, 1_000, 0.96), (100, 2_000, 0.96), (200, 200, 0.999), (1_000, 500, 0.999), (1_000, 5_000, 0.999)]
    {
        for service in [Service::Fixed, Service::Exponential, Service::Long] {
            let mean = Duration::from_millis(mean_ms);
            let mut simulation = Simulation::new(limit, service, mean);
            let apart = mean / u32::try_from(limit).unwrap();
            simulation.play(mean * 10, mean * 40, apart);
            let served: u32 = simulation.served.iter().sum();
            let goodput = f64::from(served) / (30.0 * limit as f64);
            let parts = MIX.map(|(priority, ..)| simulation.part(priority));
            let figures =
                format!("{limit} slots of {mean_ms} ms, {service:?}: {parts:.4?}, goodput {goodput:.3}");
            println!("{figures}");
            assert!(parts[0] >= 0.999 && parts[1] >= critical && goodput >= 0.9, "{figures}");
            assert_eq!((simulation.slots.in_use(), simulation.slots.waiting()), (0, 0), "{figures}");
        }
    }
}
