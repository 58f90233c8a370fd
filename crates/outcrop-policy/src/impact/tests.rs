use proptest::prelude::*;

use super::alarm::{CLEARED_AFTER, RAISED_AFTER};
use super::*;

const EACH: Duration = Duration::from_secs(2);

/// A process on two cores; each exchange takes 100 ms, of which `own` is the gateway's.
struct Process {
    reading: Reading,
    impact: Impact,
}

impl Process {
    fn new() -> Self {
        let reading = Reading {
            cores: 2.0,
            workers: 2,
            memory: Part { used: 100 << 20, max: 1 << 30 },
            descriptors: Part { used: 50, max: 100_000 },
            slots: Part { used: 0, max: 1_000 },
            ..Reading::default()
        };
        Self { reading, impact: Impact::new(Thresholds::default()) }
    }

    /// Two seconds with so many requests a second, each for so many microseconds of CPU time.
    fn runs(&mut self, per_s: u64, cpu_us: u64, own: Duration) -> Vec<Change> {
        let count = per_s * 2;
        let cpu = Duration::from_micros(cpu_us * count) + Duration::from_millis(20);
        let reading = &mut self.reading;
        reading.at += EACH;
        reading.cpu += cpu;
        reading.busy += cpu;
        reading.answered += count;
        reading.total += Duration::from_millis(100) * count as u32;
        reading.own += own * count as u32;
        self.impact.hear(*reading)
    }

    fn standing(&self, resource: Resource) -> Standing {
        *self.impact.standings().iter().find(|one| one.resource == resource).unwrap()
    }
}

#[test]
fn shares_are_of_what_there_is() {
    let mut process = Process::new();
    for _ in 0..10 {
        process.runs(100, 1_000, Duration::from_millis(3));
    }
    let percent = |resource| process.standing(resource).percent.unwrap();
    assert!((percent(Resource::Latency) - 3.0).abs() < 0.01);
    // 100 ms a second for requests and 10 ms without, of two seconds.
    assert!((percent(Resource::Cpu) - 5.5).abs() < 0.01);
    assert!((percent(Resource::Runtime) - 5.5).abs() < 0.01);
    assert!((percent(Resource::Memory) - 9.77).abs() < 0.01);
    assert!((percent(Resource::Descriptors) - 0.05).abs() < 0.001);
    assert_eq!(process.impact.class(), Some(Class::Low));
}

#[test]
fn classes_have_their_bounds() {
    for (percent, class) in [
        (0.0, Class::Minimal),
        (1.99, Class::Minimal),
        (2.0, Class::Low),
        (5.0, Class::Moderate),
        (10.0, Class::High),
        (20.0, Class::Critical),
    ] {
        assert_eq!(Class::of(percent), class, "{percent}");
    }
}

#[test]
fn an_idle_gateway_says_nothing_of_latency_and_alarms_of_nothing() {
    let mut process = Process::new();
    for _ in 0..100 {
        assert_eq!(process.runs(0, 0, Duration::ZERO), []);
    }
    assert_eq!((process.standing(Resource::Latency).percent, process.impact.class()), (None, None));
}

#[test]
fn an_alarm_is_raised_by_what_lasts_and_cleared_when_it_has_passed() {
    let mut process = Process::new();
    for _ in 0..40 {
        assert_eq!(process.runs(100, 100, Duration::from_millis(1)), [], "1 % is nothing");
    }
    let mut raised = Vec::new();
    for _ in 0..40 {
        raised.extend(process.runs(100, 100, Duration::from_millis(8)));
    }
    assert_eq!(raised.len(), 1, "it is told once: {raised:?}");
    assert!(raised[0].raised && raised[0].resource == Resource::Latency && process.impact.is_alarmed());
    let mut cleared = Vec::new();
    for _ in 0..80 {
        cleared.extend(process.runs(100, 100, Duration::from_millis(1)));
    }
    assert_eq!(cleared.iter().map(|change| change.raised).collect::<Vec<_>>(), [false]);
    assert!(!process.impact.is_alarmed());
}

#[test]
fn what_stays_near_the_mark_neither_raises_nor_clears() {
    const NOTHING: [bool; 0] = [];
    let mut alarm = Alarm::default();
    let mut hears = |percent: f64, times: usize| {
        (0..times).filter_map(|_| alarm.hear(Some(percent), 5)).collect::<Vec<_>>()
    };
    assert_eq!(hears(5.0, 2), NOTHING, "two are no third");
    assert_eq!(hears(4.9, 1), NOTHING);
    assert_eq!(hears(5.0, 3), [true]);
    assert_eq!(hears(4.5, 100), NOTHING, "below the mark, but not well below");
    assert_eq!(hears(3.9, 14), NOTHING);
    assert_eq!(hears(4.5, 1), NOTHING);
    assert_eq!(hears(3.9, 14), NOTHING, "it counts anew");
    assert_eq!(hears(3.9, 1), [false]);
}

#[test]
fn a_large_part_of_very_little_does_not_alarm() {
    let mut process = Process::new();
    for _ in 0..60 {
        process.runs(100, 100, Duration::from_micros(900));
    }
    process.impact.thresholds = Thresholds([0, 80, 80, 80, 80]);
    assert_eq!(process.runs(100, 100, Duration::from_micros(900)), []);
    assert!(!process.impact.is_alarmed());
}

proptest! {
    /// Raised only after so many in a row at the threshold, cleared only after so many in a row well below.
    #[test]
    fn an_alarm_never_flaps(shares in prop::collection::vec(0.0..12.0_f64, 0..400)) {
        let (mut alarm, mut high, mut low) = (Alarm::default(), 0, 0);
        for share in shares {
            high = if share >= 5.0 { high + 1 } else { 0 };
            low = if share < 4.0 { low + 1 } else { 0 };
            match alarm.hear(Some(share), 5) {
                Some(true) => prop_assert!(high >= RAISED_AFTER),
                Some(false) => prop_assert!(low >= CLEARED_AFTER),
                None => {}
            }
            prop_assert!(high < RAISED_AFTER || alarm.is_raised());
        }
    }
}

#[test]
fn a_forecast_needs_traffic() {
    let mut process = Process::new();
    for _ in 0..100 {
        process.runs(2, 1_000, Duration::ZERO);
    }
    assert_eq!(process.impact.forecast(), Forecast::TooLittle { windows: 0, needed: 6 });
}

#[test]
fn cores_saturate_where_their_cost_a_request_says() {
    let mut process = Process::new();
    for turn in 0..200 {
        // Two of twenty windows cost five times as much.
        let cpu_us = if turn % 100 < 10 { 5_000 } else { 1_000 };
        process.runs(20 + turn % 80, cpu_us, Duration::ZERO);
    }
    let Forecast::Known { limited_by, requests_per_s, cpu_us_per_request, method, ceilings, .. } =
        process.impact.forecast()
    else {
        panic!("{:?}", process.impact.forecast())
    };
    assert_eq!((limited_by, method), ("cpu", "slope"));
    // (2 cores x 0.85 - 0.01 idle) / 1 ms
    assert!((requests_per_s - 1_690.0).abs() < 170.0, "{requests_per_s}");
    assert!((cpu_us_per_request - 1_000.0).abs() < 100.0, "{cpu_us_per_request}");
    let is_within = |one: &Ceiling| {
        one.low <= one.requests_per_s && one.high.is_none_or(|high| one.requests_per_s <= high)
    };
    assert!(ceilings.iter().all(is_within), "{ceilings:?}");
    let slots = ceilings.iter().find(|one| one.resource == "slots").unwrap();
    assert!((slots.requests_per_s - 10_000.0).abs() < 1.0, "1,000 at once for 100 ms each: {slots:?}");
}

#[test]
fn at_a_steady_rate_all_that_is_used_counts_and_the_lowest_ceiling_is_named() {
    let mut process = Process::new();
    process.reading.slots.max = 20;
    for _ in 0..100 {
        process.runs(100, 1_000, Duration::ZERO);
    }
    let Forecast::Known { limited_by, requests_per_s, method, ceilings, .. } = process.impact.forecast()
    else {
        panic!()
    };
    assert_eq!((limited_by, method), ("slots", "ratio"));
    assert!((requests_per_s - 200.0).abs() < 0.5, "{requests_per_s}");
    let cpu = ceilings.iter().find(|one| one.resource == "cpu").unwrap();
    assert!((cpu.requests_per_s - 1.7 / 0.0011).abs() < 1.0, "{cpu:?}");
}

/// The forecast after 40 windows whose rate goes round from `from` to `to`, with requests of 1 ms.
fn forecast(from: u64, to: u64) -> (f64, bool, Confidence) {
    let mut process = Process::new();
    for turn in 0..200 {
        process.runs(from + turn / 5 % 10 * (to - from) / 9, 1_000, Duration::ZERO);
    }
    match process.impact.forecast() {
        Forecast::Known { requests_per_s, at_least, confidence, .. } => {
            (requests_per_s, at_least, confidence)
        }
        Forecast::TooLittle { .. } => panic!("{from} to {to}"),
    }
}

#[test]
fn a_forecast_says_how_far_to_trust_it() {
    // The cores saturate at 1,690; a part of what they use is used without any request.
    for (from, to, at_least, confidence) in [
        (200, 1_200, false, Confidence::High),
        (100, 400, false, Confidence::Medium),
        (10, 60, true, Confidence::Low),
        (400, 400, true, Confidence::Low),
    ] {
        let (requests_per_s, bound, trust) = forecast(from, to);
        assert_eq!((bound, trust), (at_least, confidence), "{from} to {to}: {requests_per_s}");
        assert!(requests_per_s < 1_700.0, "never more than there is: {requests_per_s}");
    }
    let steady = forecast(10, 10).0;
    assert!(steady < 1_690.0 / 1.9, "at a low steady rate idle work is half of it: {steady}");
    assert!((forecast(10, 60).0 - 1_690.0).abs() < 20.0, "the slope leaves idle work out");
}

#[test]
fn a_bound_by_slots_is_no_lower_bound_of_the_cores() {
    let mut process = Process::new();
    process.reading.slots.max = 20;
    for _ in 0..100 {
        process.runs(100, 1_000, Duration::ZERO);
    }
    let Forecast::Known { at_least, ceilings, .. } = process.impact.forecast() else { panic!() };
    assert!(!at_least, "{ceilings:?}");
    assert_eq!(ceilings.iter().find(|one| one.resource == "cpu").unwrap().high, None);
}

#[test]
fn advice_needs_its_samples() {
    let turned_away = |per_s: u64| {
        let mut process = Process::new();
        for _ in 0..41 {
            process.reading.turned_away += 50;
            process.runs(per_s, 1_000, Duration::ZERO);
        }
        process.impact.advice().len()
    };
    // Over the eighty seconds of forty readings.
    assert_eq!((turned_away(2), turned_away(3)), (0, 1));
}

/// The kinds of advice after 30 windows of a process that `change` shapes each two seconds.
fn check(per_s: u64, cpu_us: u64, change: fn(&mut Reading), expected: &[&str]) -> Vec<Advice> {
    let mut process = Process::new();
    for _ in 0..150 {
        change(&mut process.reading);
        process.runs(per_s, cpu_us, Duration::ZERO);
    }
    let advice = process.impact.advice();
    assert_eq!(advice.iter().map(|one| one.kind).collect::<Vec<_>>(), expected, "{advice:?}");
    advice
}

#[test]
fn advice_follows_from_what_was_measured() {
    check(100, 1_000, |_| {}, &[]);
    let busy = check(1_500, 1_000, |_| {}, &["add_replica"]);
    assert!(busy[0].evidence["cpu_percent"] > 70.0 && busy[0].evidence["answered"] > 10_000.0);
    let full = check(100, 1_000, |reading| reading.turned_away += 50, &["raise_inflight_max"]);
    assert!((full[0].expected_gain_percent - 20.0).abs() < 0.1, "{full:?}");
    check(1_100, 1_000, |reading| reading.turned_away += 500, &[]);
    let waits: fn(&mut Reading) = |reading| {
        reading.lease_waits += 20;
        reading.lease_waited += Duration::from_secs(1);
    };
    let leases = check(100, 1_000, waits, &["enlarge_lease"]);
    assert!((leases[0].expected_gain_percent - 5.0).abs() < 0.1, "{leases:?}");
}

#[test]
fn few_requests_say_nothing() {
    let few: fn(&mut Reading) = |reading| {
        reading.turned_away += 50;
        reading.lease_waits += 20;
        reading.lease_waited += Duration::from_secs(1);
        reading.cpu += Duration::from_secs(3);
    };
    let mut process = Process::new();
    for _ in 0..30 {
        few(&mut process.reading);
        process.runs(1, 1_000, Duration::ZERO);
    }
    assert_eq!(process.impact.advice(), []);
}
