#![allow(clippy::disallowed_methods, reason = "tests need some instant to start from")]

use super::*;

const MS: Duration = Duration::from_millis(1);
const LONG: Duration = Duration::from_secs(30);

/// Slots, and the time that passes for them; waiters are told by number.
struct Bench {
    slots: Admissions<u32>,
    now: Instant,
    next: u32,
}

impl Bench {
    fn new(limit: usize, settings: Settings) -> Self {
        let now = Instant::now();
        Self { slots: Admissions::new(settings, limit, now), now, next: 0 }
    }

    fn limit(limit: usize) -> Self {
        Self::new(limit, Settings::default())
    }

    fn arrive(
        &mut self,
        priority: Priority,
        tenant: &str,
        deadline: Duration,
    ) -> (Verdict, Vec<Notice<u32>>) {
        let deadline = self.now + deadline;
        let arrival = Arrival { priority, tenant: tenant.into(), deadline, bytes: 100 };
        self.next += 1;
        self.slots.arrive(self.now, arrival, || self.next)
    }

    /// How many of a priority are admitted before one is not.
    fn admitted(&mut self, priority: Priority) -> usize {
        let mut count = 0;
        while self.arrive(priority, "a", LONG).0 == Verdict::Admitted {
            count += 1;
        }
        count
    }

    /// Waiters that a release lets in.
    fn release(&mut self, priority: Priority, tenant: &str) -> Vec<u32> {
        let notices = self.slots.release(self.now, priority, tenant, MS);
        notices.into_iter().filter(|n| n.verdict.is_ok()).map(|n| n.waiter).collect()
    }
}

fn no_queue() -> Settings {
    Settings { queue_max: 0, ..Settings::default() }
}

#[test]
fn a_class_has_all_but_the_unused_shares_above_it() {
    for (priority, expected) in [
        (Priority::Low, 10),
        (Priority::Medium, 60),
        (Priority::High, 60),
        (Priority::Critical, 90),
        (Priority::Emergency, 100),
    ] {
        assert_eq!(Bench::new(100, no_queue()).admitted(priority), expected, "{priority:?}");
    }
    let mut bench = Bench::new(100, no_queue());
    let all = [Priority::Low, Priority::Medium, Priority::Critical, Priority::Emergency];
    assert_eq!(all.map(|priority| bench.admitted(priority)), [10, 50, 30, 10]);
    let mut bench = Bench::new(100, no_queue());
    let down = [Priority::Emergency, Priority::Critical, Priority::Medium, Priority::Low];
    assert_eq!(down.map(|priority| bench.admitted(priority)), [100, 0, 0, 0], "borrowed upward");
    for limit in 1..10 {
        assert!(Bench::new(limit, no_queue()).admitted(Priority::Low) > 0, "a limit of {limit}");
    }
}

#[test]
fn a_free_slot_goes_to_the_highest_then_to_who_holds_least_then_to_the_earliest() {
    let mut bench = Bench::limit(5);
    for tenant in ["a", "a", "a", "b"] {
        assert_eq!(bench.arrive(Priority::Medium, tenant, LONG).0, Verdict::Admitted);
    }
    for (priority, tenant, seconds) in [
        (Priority::Medium, "a", 2),
        (Priority::Medium, "b", 9),
        (Priority::Medium, "b", 8),
        (Priority::High, "a", 20),
    ] {
        let verdict = bench.arrive(priority, tenant, Duration::from_secs(seconds)).0;
        assert!(matches!(verdict, Verdict::Queued(..)), "{verdict:?}");
    }
    let first = bench.next - 3;
    let freed =
        [(Priority::Medium, "a"), (Priority::High, "a"), (Priority::Medium, "b"), (Priority::Medium, "b")];
    let order: Vec<u32> = freed.into_iter().flat_map(|(p, tenant)| bench.release(p, tenant)).collect();
    assert_eq!(order, [first + 3, first + 2, first + 1, first], "`b` holds less, though `a` is earlier");
}

#[test]
fn a_tenant_that_floods_does_not_keep_a_quiet_one_out() {
    let settings = Settings { queue_max: 10, ..Settings::default() };
    let mut bench = Bench::new(10, settings);
    while bench.arrive(Priority::Medium, "loud", LONG).0 != Verdict::Shed(Shed::QueueFull) {}
    let (verdict, notices) = bench.arrive(Priority::Medium, "quiet", LONG);
    assert!(matches!(verdict, Verdict::Queued(..)), "{verdict:?}");
    assert_eq!(notices.len(), 1);
    assert_eq!((&*notices[0].tenant, notices[0].verdict), ("loud", Err(Shed::PushedOut)));
    assert_eq!(bench.release(Priority::Medium, "loud"), [bench.next], "the quiet one is next");
}

#[test]
fn the_urgent_push_the_others_out_of_a_full_queue_and_never_the_other_way() {
    let settings = Settings { queue_max: 2, ..Settings::default() };
    let mut bench = Bench::new(1, settings);
    bench.admitted(Priority::Emergency);
    bench.arrive(Priority::Low, "a", LONG);
    for (priority, pushed_out) in
        [(Priority::Medium, Some(Priority::Low)), (Priority::Critical, Some(Priority::Medium))]
    {
        let (verdict, notices) = bench.arrive(priority, "a", LONG);
        assert!(matches!(verdict, Verdict::Queued(..)), "{verdict:?}");
        assert_eq!(notices.first().map(|n| n.priority), pushed_out, "{priority:?}");
    }
    assert_eq!(bench.arrive(Priority::High, "a", LONG).0, Verdict::Shed(Shed::QueueFull));
}

#[test]
fn the_queue_is_bounded_in_bytes() {
    let settings = Settings { queue_bytes_max: 250, ..Settings::default() };
    let mut bench = Bench::new(1, settings);
    assert_eq!(bench.admitted(Priority::Low), 1);
    bench.arrive(Priority::Low, "a", LONG);
    assert_eq!(bench.slots.waiting(), 2);
    assert_eq!(bench.arrive(Priority::Low, "a", LONG).0, Verdict::Shed(Shed::QueueFull));
    assert_eq!(bench.slots.view().waiting_bytes, 200);
}

#[test]
fn nobody_waits_longer_than_a_tenth_of_their_time() {
    let mut bench = Bench::limit(1);
    bench.admitted(Priority::Emergency);
    for (priority, deadline, wait) in [
        (Priority::Medium, LONG, 100 * MS),
        (Priority::High, 400 * MS, 40 * MS),
        (Priority::Medium, 5 * MS, MS / 2),
        (Priority::Critical, LONG, 1_000 * MS),
        (Priority::Emergency, 5_000 * MS, 500 * MS),
    ] {
        let verdict = bench.arrive(priority, "b", deadline).0;
        match verdict {
            Verdict::Queued(_, until) => assert_eq!(until, bench.now + wait),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(bench.arrive(Priority::Medium, "b", Duration::ZERO).0, Verdict::Shed(Shed::Hopeless));
    bench.now += 1_001 * MS;
    let notices = bench.slots.release(bench.now, Priority::Emergency, "a", MS);
    let late: Vec<_> = notices.iter().filter(|n| n.verdict == Err(Shed::WaitedOut)).collect();
    assert_eq!((late.len(), notices.len(), bench.slots.in_use()), (6, 6, 0));
}

#[test]
fn slots_that_come_free_soon_are_not_kept_empty() {
    // 72 a second of 500 ms need 36 slots, and six more for chance where nobody may wait.
    for (wait_max, kept) in [(Duration::ZERO, 42), (100 * MS, 36)] {
        let shares = Shares::new([1, 1, 97, 1]).unwrap();
        let mut bench = Bench::new(200, Settings { shares, wait_max, ..no_queue() });
        for _ in 0..720 {
            bench.now += Duration::from_secs(1) / 72;
            bench.arrive(Priority::Critical, "a", LONG);
            bench.slots.release(bench.now, Priority::Critical, "a", 500 * MS);
        }
        let [_, _, critical, _] = bench.slots.view().kept;
        assert!(critical.abs_diff(kept) <= 1, "{critical} where one may wait {wait_max:?}");
    }
}

#[test]
fn who_would_wait_in_vain_is_told_at_once() {
    let mut bench = Bench::limit(10);
    bench.admitted(Priority::Medium);
    bench.slots.release(bench.now, Priority::Medium, "a", MS);
    for _ in 0..20 {
        bench.arrive(Priority::Medium, "a", LONG);
        bench.now += 10 * MS;
        bench.slots.release(bench.now, Priority::Medium, "a", MS);
    }
    assert_eq!(bench.slots.waiting(), 0);
    assert_eq!(bench.arrive(Priority::Low, "b", LONG).0, Verdict::Shed(Shed::Hopeless), "nothing is left");
    let mut queued = 0;
    while let Verdict::Queued(..) = bench.arrive(Priority::Medium, "b", LONG).0 {
        queued += 1;
    }
    assert!((8..=12).contains(&queued), "a slot each 10 ms, so ten in 100 ms: {queued}");
    assert_eq!(bench.arrive(Priority::Medium, "b", LONG).0, Verdict::Shed(Shed::Hopeless));
    assert!(matches!(bench.arrive(Priority::Medium, "c", LONG).0, Verdict::Queued(..)), "its turn is next");
    bench.now += 400 * MS;
    let verdict = bench.arrive(Priority::Medium, "b", LONG).0;
    assert!(matches!(verdict, Verdict::Queued(..)), "what is long ago says nothing: {verdict:?}");
}

#[test]
fn memory_sheds_from_below_and_those_who_wait_are_told() {
    let mut bench = Bench::limit(1);
    bench.admitted(Priority::Emergency);
    for priority in PRIORITIES {
        bench.arrive(priority, "a", LONG);
    }
    let shed = |notices: Vec<Notice<u32>>| {
        let mut shed: Vec<Priority> = notices.iter().map(|n| n.priority).collect();
        shed.dedup();
        shed
    };
    assert_eq!(shed(bench.slots.set_rung(Rung::Lean)), []);
    assert_eq!(shed(bench.slots.set_rung(Rung::Short)), [Priority::Medium, Priority::Low]);
    assert_eq!(shed(bench.slots.set_rung(Rung::Critical)), [Priority::High]);
    assert_eq!(bench.arrive(Priority::High, "a", LONG).0, Verdict::Shed(Shed::Memory));
    assert!(matches!(bench.arrive(Priority::Critical, "a", LONG).0, Verdict::Queued(..)));
}

#[test]
fn a_limit_that_falls_takes_nothing_back_and_one_that_rises_lets_waiters_in() {
    let mut bench = Bench::limit(10);
    assert_eq!(bench.admitted(Priority::Emergency), 10);
    assert!(bench.slots.set_limit(bench.now, 2).is_empty());
    assert_eq!(bench.release(Priority::Emergency, "a"), [0u32; 0]);
    assert_eq!(bench.slots.in_use(), 9);
    assert_eq!(bench.slots.set_limit(bench.now, 10).len(), 1, "the one that waited");
}

#[test]
fn whoever_is_gone_is_forgotten() {
    let mut bench = Bench::limit(1);
    let before = format!("{:?}", bench.slots.queue.lines_for_test());
    bench.arrive(Priority::Low, "a", LONG);
    let Verdict::Queued(place, _) = bench.arrive(Priority::Low, "b", LONG).0 else { panic!("no queue") };
    assert_eq!(bench.slots.leave(&place), Some(2));
    assert_eq!(bench.slots.leave(&place), None);
    bench.release(Priority::Low, "a");
    assert_eq!(format!("{:?}", bench.slots.queue.lines_for_test()), before);
    assert_eq!(bench.slots.view().waiting_bytes, 0);
}

#[test]
fn shares_must_be_the_whole() {
    assert_eq!(Shares::new([10, 30, 50, 10]), Ok(Shares::default()));
    assert_eq!(Shares::new([10, 30, 50, 20]), Err(NotShares::NotWhole(110)));
    assert_eq!(Shares::new([10, 30, 60, 0]), Err(NotShares::NoLow));
}
