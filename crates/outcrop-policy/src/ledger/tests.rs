//! Single stories; `tests/ledger.rs` of this crate runs random ones against a reference.

use super::*;
use crate::Scope;

const MINUTE: i64 = 60_000;

fn budget(scope: &str, window: Window, limit: i64) -> BudgetSpec {
    let scope = Scope::parse(scope).unwrap();
    let id = BudgetSpec::id_of(&scope, &window, Dimension::Requests);
    BudgetSpec {
        id,
        scope,
        window,
        dimension: Dimension::Requests,
        limit,
        hard: true,
        carve_out: 0,
        shortage: Shortage::Refuse,
        input_count: InputCount::Bytes,
    }
}

/// One replica and its allocator.
struct World {
    ledger: Ledger,
    rows: Rows,
    replica: Arc<str>,
    now: Now,
}

impl World {
    fn of(budgets: Vec<BudgetSpec>) -> Self {
        let now = Now { wall_ms: 0, mono: Duration::ZERO };
        let ledger = Ledger::new(budgets, LedgerClock::default(), 10);
        Self { ledger, rows: Rows::default(), replica: "r".into(), now }
    }

    fn after(&mut self, ms: i64) {
        self.now.wall_ms += ms;
        self.now.mono += Duration::from_millis(ms.unsigned_abs());
    }

    fn exchange_words(&mut self) -> Vec<Crossing> {
        self.say(false)
    }

    fn say(&mut self, all: bool) -> Vec<Crossing> {
        let report = self.ledger.report(self.now, all);
        let answer = self.rows.apply(Teller { replica: &self.replica, replicas: 1 }, &report).answer;
        self.ledger.answered(&answer, self.now);
        answer.crossings
    }

    fn claim(&mut self, requests: i64, priority: Priority) -> Result<Reserved, Shortfall> {
        let whose = Attribution { key: "ci".into(), ..Attribution::default() };
        let mut waited = None;
        loop {
            let bound = Amounts { requests, ..Amounts::default() };
            let claim = Claim { whose: &whose, bound, priority, waited };
            match self.ledger.reserve(&claim, self.now) {
                Err(Shortfall::Wait(ticket)) => waited = Some(ticket),
                other => return other,
            }
            self.exchange_words();
        }
    }

    fn settle(&mut self, reserved: &Reserved, attempt: &str, requests: i64) {
        let actual = Amounts { requests, ..Amounts::default() };
        self.ledger
            .settle(reserved, reserved.settled(attempt, EntryState::Posted, Entry::default(), &actual));
    }

    fn balance(&self) -> Balance {
        let key = self.rows.accounts.keys().next_back().unwrap();
        self.rows.balance(key, self.now.wall_ms).unwrap()
    }
}

#[test]
fn a_limit_is_used_up_to_its_last_unit_and_not_beyond() {
    let mut world = World::of(vec![budget("key:ci", Window::Lifetime, 100)]);
    let held: Vec<Reserved> = (0..100).map(|_| world.claim(1, Priority::High).unwrap()).collect();
    let Err(Shortfall::Exceeded(no)) = world.claim(1, Priority::High) else { panic!("101 of 100") };
    assert_eq!((no.why, no.asked, no.left, no.until_ms), (Why::Full, 1, 0, None));
    for reserved in &held {
        world.ledger.void(reserved);
    }
    world.exchange_words();
    assert_eq!(world.ledger.totals().pending, 0);
    assert_eq!(world.balance().committed(), 0);
    assert!(world.claim(100, Priority::High).is_ok(), "what was given back can be had again");
}

#[test]
fn what_was_reserved_too_much_comes_back_with_the_settlement() {
    let mut world = World::of(vec![budget("all", Window::Lifetime, 10)]);
    let reserved = world.claim(8, Priority::High).unwrap();
    assert!(world.claim(8, Priority::High).is_err());
    world.settle(&reserved, "a", 3);
    assert!(world.claim(7, Priority::High).is_ok());
    world.exchange_words();
    assert_eq!((world.balance().posted, world.balance().pending), (3, 7));
}

#[test]
fn all_accounts_of_a_request_or_none() {
    let mut world =
        World::of(vec![budget("all", Window::Lifetime, 10), budget("key:ci", Window::Lifetime, 4)]);
    assert!(world.claim(5, Priority::High).is_err());
    let kept = world.claim(4, Priority::High).unwrap();
    world.exchange_words();
    let views = world.ledger.accounts();
    assert!(views.iter().all(|view| view.pending_here == 4), "{views:?}");
    world.ledger.void(&kept);
}

#[test]
fn more_than_was_reserved_is_posted_as_it_is_and_stops_the_budget() {
    let mut world = World::of(vec![budget("all", Window::Lifetime, 10)]);
    let reserved = world.claim(5, Priority::High).unwrap();
    world.settle(&reserved, "a", 12);
    world.exchange_words();
    assert_eq!(world.balance().posted, 12);
    assert!(matches!(world.claim(1, Priority::High), Err(Shortfall::Exceeded(_))));
}

#[test]
fn a_cut_limit_admits_nothing_until_it_is_true_again() {
    let mut world =
        World::of(vec![budget("all", Window::Calendar(Calendar::Hour, jiff::tz::TimeZone::UTC), 100)]);
    let reserved = world.claim(60, Priority::High).unwrap();
    world.ledger.configure(vec![budget(
        "all",
        Window::Calendar(Calendar::Hour, jiff::tz::TimeZone::UTC),
        50,
    )]);
    world.exchange_words();
    assert!(world.claim(1, Priority::High).is_err());
    world.settle(&reserved, "a", 40);
    world.exchange_words();
    world.exchange_words();
    world.after(200);
    assert!(world.claim(10, Priority::High).is_ok());
    assert!(world.claim(1, Priority::High).is_err());
}

#[test]
fn emergencies_have_a_part_that_no_other_can_touch() {
    let mut spec = budget("all", Window::Lifetime, 100);
    spec.carve_out = 5;
    let mut world = World::of(vec![spec]);
    let ordinary = (0..200).filter(|_| world.claim(1, Priority::High).is_ok()).count();
    assert_eq!(ordinary, 95);
    let urgent = (0..200).filter(|_| world.claim(1, Priority::Emergency).is_ok()).count();
    assert_eq!(urgent, 5);
}

#[test]
fn above_80_percent_low_pauses_and_medium_has_half_the_concurrency() {
    let mut world = World::of(vec![budget("all", Window::Lifetime, 100)]);
    let reserved = world.claim(80, Priority::High).unwrap();
    world.settle(&reserved, "a", 80);
    world.exchange_words();
    let why = |result: Result<Reserved, Shortfall>| match result {
        Err(Shortfall::Exceeded(no)) => Some(no.why),
        _ => None,
    };
    let low = world.claim(1, Priority::Low);
    assert_eq!(why(low), Some(Why::Paused));
    let medium: Vec<_> = (0..6).map(|_| world.claim(1, Priority::Medium)).collect();
    assert_eq!(medium.iter().filter(|m| m.is_ok()).count(), 5, "half of 10");
    assert_eq!(why(medium.into_iter().next_back().unwrap()), Some(Why::Crowded));
    assert!(world.claim(1, Priority::High).is_ok());
}

#[test]
fn each_threshold_is_told_once() {
    let mut world = World::of(vec![budget("all", Window::Lifetime, 100)]);
    let mut told = Vec::new();
    for n in 0..100 {
        let reserved = world.claim(1, Priority::High).unwrap();
        world.settle(&reserved, &n.to_string(), 1);
        let report = world.ledger.report(world.now, false);
        // The first answer is lost, and the report is sent again.
        let teller = Teller { replica: &world.replica, replicas: 1 };
        told.extend(world.rows.apply(teller, &report).answer.crossings);
        let again = world.rows.apply(teller, &world.ledger.report(world.now, false));
        told.extend(again.answer.crossings.clone());
        world.ledger.answered(&again.answer, world.now);
    }
    let levels: Vec<_> = told.iter().map(|crossing| crossing.level).collect();
    assert_eq!(levels, [Level::Half, Level::Throttled, Level::Degraded, Level::Exhausted]);
    assert_eq!(world.balance().posted, 100, "a report that is sent twice counts once");
}

#[test]
fn a_settlement_belongs_to_the_window_of_its_admission() {
    let hour = Window::Calendar(Calendar::Hour, jiff::tz::TimeZone::UTC);
    let mut world = World::of(vec![budget("all", hour, 10)]);
    let before = world.claim(10, Priority::High).unwrap();
    world.after(61 * MINUTE);
    assert!(world.claim(10, Priority::High).is_ok(), "a new window has all of its limit");
    world.settle(&before, "a", 10);
    world.exchange_words();
    let posted: Vec<_> = world.rows.accounts.values().map(|row| (row.key.start_ms, row.posted)).collect();
    assert_eq!(posted, [(0, 10), (60 * MINUTE, 0)]);
}

#[test]
fn a_rolling_window_forgets_a_bucket_when_it_is_wholly_outside() {
    let mut world = World::of(vec![budget("all", Window::Rolling(Duration::from_hours(1)), 10)]);
    let reserved = world.claim(10, Priority::High).unwrap();
    world.settle(&reserved, "a", 10);
    world.exchange_words();
    for (after, expected) in [(MINUTE, false), (59 * MINUTE, false), (MINUTE, true)] {
        world.after(after);
        assert_eq!(world.claim(1, Priority::High).is_ok(), expected, "{}", world.now.wall_ms / MINUTE);
    }
}

#[test]
fn a_step_back_opens_no_window_again() {
    let hour = Window::Calendar(Calendar::Hour, jiff::tz::TimeZone::UTC);
    let mut world = World::of(vec![budget("all", hour, 10)]);
    world.now.wall_ms = 61 * MINUTE;
    let reserved = world.claim(10, Priority::High).unwrap();
    world.settle(&reserved, "a", 10);
    world.now.wall_ms = 10 * MINUTE;
    assert!(world.claim(1, Priority::High).is_err(), "the full window is still the one of now");
}

#[test]
fn leases_of_an_unheard_replica_may_not_be_used() {
    let mut world = World::of(vec![budget("all", Window::Lifetime, 10)]);
    world.ledger.valid_until(Some(Duration::from_secs(2)));
    assert!(world.claim(1, Priority::High).is_ok());
    world.after(2_000);
    assert!(matches!(world.claim(1, Priority::High), Err(Shortfall::Unavailable)));
}

#[test]
fn a_crash_gives_back_what_was_not_sent_and_keeps_what_was() {
    for (complete, expected) in [(true, 3), (false, 10)] {
        let mut world = World::of(vec![budget("all", Window::Lifetime, 10)]);
        let sent = world.claim(3, Priority::High).unwrap();
        let _unsent = world.claim(7, Priority::High).unwrap();
        let settled = [sent.settled("a", EntryState::Suspense, Entry::default(), &Amounts::default())];
        let log = Recovered { settled: &settled, complete, beginning: "b", now_ms: 0 };
        world.rows.begin_anew(&world.replica, &log);
        world.rows.begin_anew(&world.replica, &log);
        assert_eq!((world.balance().suspense, world.balance().leased), (expected, 0), "complete: {complete}");
    }
}

#[test]
fn evidence_turns_suspense_into_what_was_spent() {
    let mut world = World::of(vec![budget("all", Window::Lifetime, 10)]);
    let reserved = world.claim(8, Priority::High).unwrap();
    let suspended = reserved.settled("a", EntryState::Suspense, Entry::default(), &Amounts::default());
    world.ledger.settle(&reserved, suspended.clone());
    world.exchange_words();
    assert_eq!((world.balance().posted, world.balance().suspense), (0, 8));
    world.rows.resolve(&suspended, &Amounts { requests: 2, ..Amounts::default() });
    assert_eq!((world.balance().posted, world.balance().suspense), (2, 0));
}

#[test]
fn an_account_that_nobody_uses_gives_its_lease_back_and_can_be_opened_again() {
    let mut world = World::of(vec![budget("key:*", Window::Lifetime, 10)]);
    let reserved = world.claim(1, Priority::High).unwrap();
    world.ledger.void(&reserved);
    world.exchange_words();
    world.after(31_000);
    world.say(true);
    assert_eq!((world.balance().leased, world.ledger.accounts().len()), (0, 0));
    assert!(world.claim(10, Priority::High).is_ok());
}

#[test]
fn a_report_tells_of_what_changed_and_a_heartbeat_of_each_account_once() {
    let mut world = World::of(vec![budget("key:*", Window::Lifetime, 1_000)]);
    let claim = |world: &World, key: &str| {
        let whose = Attribution { key: key.into(), ..Attribution::default() };
        let bound = Amounts { requests: 1, ..Amounts::default() };
        let claim = Claim { whose: &whose, bound, priority: Priority::High, waited: None };
        world.ledger.reserve(&claim, world.now)
    };
    // More than are looked at while the lock is held once.
    let keys: Vec<String> = (0..100).map(|n| format!("k{n}")).collect();
    // The first answer says what there is, the second leases it.
    for _ in 0..2 {
        for key in &keys {
            assert!(matches!(claim(&world, key), Err(Shortfall::Wait(_))), "not leased yet");
        }
        world.exchange_words();
    }
    let told = |world: &mut World, all: bool| {
        let report = world.ledger.report(world.now, all);
        let answer = world.rows.apply(Teller { replica: &world.replica, replicas: 1 }, &report).answer;
        world.ledger.answered(&answer, world.now);
        report.accounts.iter().map(|account| account.key.scope.to_string()).collect::<Vec<_>>()
    };
    let reserved = claim(&world, "k7").unwrap();
    world.ledger.void(&reserved);
    assert_eq!(told(&mut world, false), ["key:k7"], "once, although it changed twice");
    assert!(told(&mut world, false).is_empty());
    let reserved = claim(&world, "k8").unwrap();
    world.ledger.void(&reserved);
    let mut all = told(&mut world, true);
    all.sort_unstable();
    let mut expected: Vec<String> = keys.iter().map(|key| format!("key:{key}")).collect();
    expected.sort_unstable();
    assert_eq!(all, expected);
    assert_eq!(world.ledger.accounts().len(), keys.len());
    world.after(31_000);
    world.say(true);
    assert_eq!(world.ledger.accounts().len(), 0, "all of them are closed");
}

#[test]
fn no_input_overflows() {
    let mut world = World::of(vec![budget("all", Window::Lifetime, i64::MAX)]);
    for n in 0..5 {
        if let Ok(reserved) = world.claim(i64::MAX, Priority::High) {
            world.settle(&reserved, &n.to_string(), i64::MAX);
        }
        world.exchange_words();
    }
    assert_eq!(world.balance().posted, i64::MAX);
    assert!(world.claim(1, Priority::Emergency).is_err());
}
