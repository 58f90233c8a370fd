use prometheus_client::registry::Registry;
use tokio_util::sync::CancellationToken;

use super::*;

const PLENTY: Duration = Duration::from_secs(30);

fn slots(max: usize) -> Arc<Slots> {
    Slots::new(SlotLimits::fixed(max), Metrics::register(&mut Registry::with_prefix("outcrop")))
}

fn arrive(slots: &Arc<Slots>, priority: Priority) -> Arrived {
    let deadline = (Instant::now() + PLENTY).into_std();
    slots.arrive(Arrival { priority, tenant: "team".into(), deadline, bytes: 1 })
}

fn admitted(slots: &Arc<Slots>) -> Admission {
    match arrive(slots, Priority::Emergency) {
        Arrived::Admitted(admission) => admission,
        Arrived::Waits(_) | Arrived::Shed(_) => panic!("no slot"),
    }
}

fn waits(slots: &Arc<Slots>) -> Waiting {
    match arrive(slots, Priority::Emergency) {
        Arrived::Waits(waiting) => waiting,
        Arrived::Admitted(_) | Arrived::Shed(_) => panic!("no place"),
    }
}

fn counts(slots: &Slots) -> (usize, usize, i64) {
    let view = slots.view().0;
    (view.in_use.iter().sum(), view.waiting.iter().sum(), slots.metrics.inflight.get())
}

#[tokio::test(start_paused = true)]
async fn one_that_waits_gets_the_slot_that_comes_free() {
    let slots = slots(1);
    let (held, waiting) = (admitted(&slots), waits(&slots));
    let (answer, ()) = tokio::join!(waiting.end(Priority::Emergency), async { drop(held) });
    assert_eq!(counts(&slots), (1, 0, 1));
    assert!(answer.is_ok());
    drop(answer);
    assert_eq!(counts(&slots), (0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn one_that_waits_is_told_when_its_time_is_over() {
    let slots = slots(1);
    let (_held, waiting) = (admitted(&slots), waits(&slots));
    let before = Instant::now();
    assert_eq!(waiting.end(Priority::Emergency).await.err(), Some(Shed::WaitedOut));
    let waited = before.elapsed();
    // The urgent wait ten times as long as others.
    assert!((1000..=1001).contains(&waited.as_millis()), "{waited:?}");
    assert_eq!(counts(&slots), (1, 0, 1));
}

#[tokio::test(start_paused = true)]
async fn no_slot_is_lost_on_one_that_leaves() {
    let slots = slots(1);
    // In the queue.
    let (held, waiting) = (admitted(&slots), waits(&slots));
    drop(waiting);
    assert_eq!(counts(&slots), (1, 0, 1));
    // With the slot on its way, before it is looked at.
    let waiting = waits(&slots);
    drop(held);
    assert_eq!(counts(&slots), (1, 0, 1), "given");
    drop(waiting);
    assert_eq!(counts(&slots), (0, 0, 0), "and given back");
    // While it is being waited for.
    let held = admitted(&slots);
    let waiting = waits(&slots);
    let left = tokio::time::timeout(Duration::from_millis(1), waiting.end(Priority::Emergency)).await;
    assert!(left.is_err());
    assert_eq!(counts(&slots), (1, 0, 1));
    drop(held);
    assert_eq!(counts(&slots), (0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_slot_given_back_by_one_that_left_goes_to_the_next() {
    let slots = slots(1);
    let (held, first, second) = (admitted(&slots), waits(&slots), waits(&slots));
    drop(held);
    drop(first);
    assert!(second.end(Priority::Emergency).await.is_ok());
    assert_eq!(counts(&slots), (0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn short_memory_turns_those_who_wait_away_and_lets_go_late() {
    let slots = slots(1);
    let held = admitted(&slots);
    let Arrived::Waits(waiting) = arrive(&slots, Priority::Medium) else { panic!("no place") };
    let hear = |used| slots.hear_memory(MemoryReading { used, max: 100 });
    assert_eq!(hear(85), (Rung::Lean, Rung::Normal));
    assert!(!slots.allow_optional_work());
    assert_eq!(hear(92), (Rung::Short, Rung::Lean));
    assert_eq!(waiting.end(Priority::Medium).await.err(), Some(Shed::Memory));
    drop(held);
    assert!(matches!(arrive(&slots, Priority::Low), Arrived::Shed(Shed::Memory)));
    assert!(matches!(arrive(&slots, Priority::High), Arrived::Admitted(_)));
    assert_eq!(hear(90), (Rung::Short, Rung::Short));
    assert_eq!(hear(80), (Rung::Normal, Rung::Short));
    assert!(matches!(arrive(&slots, Priority::Low), Arrived::Admitted(_)));
    assert!(slots.allow_optional_work());
}

#[tokio::test(start_paused = true)]
async fn the_limit_follows_the_delay_and_not_how_long_slots_are_held() {
    let metrics = Metrics::register(&mut Registry::with_prefix("outcrop"));
    let slots = Slots::new(SlotLimits { min: 10, ..SlotLimits::fixed(100) }, metrics);
    let held: Vec<Admission> = (0..100).map(|_| admitted(&slots)).collect();
    let hear = async |count: u32, delay| {
        for _ in 0..count {
            slots.hear_delay(delay);
            tokio::time::advance(Duration::from_millis(20)).await;
        }
        slots.view().0.limit
    };
    assert_eq!(hear(500, Duration::from_millis(2)).await, 100, "ten seconds of slow models");
    assert!(hear(20, Duration::from_millis(40)).await < 100, "tasks that run late");
    assert_eq!(hear(200, Duration::from_millis(40)).await, 10, "down to its bound");
    drop(held);
    let held: Vec<Admission> = (0..10).map(|_| admitted(&slots)).collect();
    assert!(matches!(arrive(&slots, Priority::Emergency), Arrived::Waits(_)));
    drop(held);
}

#[tokio::test(start_paused = true)]
async fn the_watch_tells_of_what_it_overslept_and_ends_when_told() {
    let metrics = Metrics::register(&mut Registry::with_prefix("outcrop"));
    let slots = Slots::new(SlotLimits { min: 10, ..SlotLimits::fixed(100) }, metrics);
    let held: Vec<Admission> = (0..100).map(|_| admitted(&slots)).collect();
    let end = CancellationToken::new();
    let busy = async {
        // Time goes in leaps of a tenth of a second: every sleep of the watch is late.
        for _ in 0..100 {
            tokio::task::yield_now().await;
            tokio::time::advance(Duration::from_millis(100)).await;
        }
        end.cancel();
    };
    tokio::join!(watch_delay(Arc::clone(&slots), end.clone()), busy);
    assert_eq!(slots.view().0.limit, 10);
    drop(held);
}

#[tokio::test(start_paused = true)]
async fn late_tasks_are_known_for_a_while_and_then_forgotten() {
    let slots = slots(1);
    assert_eq!(slots.own_delay(), Duration::ZERO);
    for _ in 0..100 {
        slots.hear_delay(Duration::from_millis(100));
    }
    let own = slots.own_delay();
    assert!(own.abs_diff(Duration::from_millis(800)) < Duration::from_millis(20), "{own:?}");
    for _ in 0..100 {
        slots.hear_delay(Duration::ZERO);
    }
    assert!(slots.own_delay() < Duration::from_millis(1), "{:?}", slots.own_delay());
}
