//! Random lives of several replicas: the store says what the pure rows say.

use std::sync::Arc;
use std::time::Duration;

use outcrop_core::Priority;
use outcrop_policy::ledger::protocol::Balance;
use outcrop_policy::ledger::{
    AccountKey, Amounts, Answer, BudgetSpec, Calendar, Claim, Dimension, Entry, EntryState, InputCount,
    LedgerClock, Now, Report, Reserved, Rows, Shortage, Shortfall, Teller, Window,
};
use outcrop_policy::{Attribution, Ledger, Scope};

use crate::allocate::{AccountFilter, Beat, Beginning, Begun};
use crate::{Store, StoreError};

/// A beginning of time that lies in no test's past.
pub(super) const START_MS: i64 = 1_800_000_000_000;

pub(super) fn budget(scope: &str, window: Window, dimension: Dimension, limit: i64) -> BudgetSpec {
    let scope = Scope::parse(scope).unwrap();
    let id = BudgetSpec::id_of(&scope, &window, dimension);
    BudgetSpec {
        id,
        scope,
        window,
        dimension,
        limit,
        hard: true,
        carve_out: 0,
        shortage: Shortage::Refuse,
        input_count: InputCount::Bytes,
    }
}

pub(super) fn beat(replica: &str, epoch: i64) -> Beat {
    Beat { replica: replica.into(), epoch, wall_ms: START_MS, mono_ms: 0, boot: "boot".into() }
}

/// A replica begins with an empty log.
pub(super) async fn begin(store: &Store, replica: &str) -> Result<Begun, StoreError> {
    let (beat, name) = (beat(replica, 0), format!("beginning of {replica}"));
    store.begin(Beginning { beat, settled: Arc::new([]), complete: true, name }).await
}

/// One replica, as its process sees it.
pub(super) struct Replica {
    pub(super) ledger: Ledger,
    pub(super) beat: Beat,
    pub(super) now: Now,
}

impl Replica {
    pub(super) async fn begin(store: &Store, name: &str, budgets: Vec<BudgetSpec>) -> Self {
        let begun = begin(store, name).await.unwrap();
        let now = Now { wall_ms: START_MS, mono: Duration::from_secs(1) };
        let clock = LedgerClock::since(START_MS, now.mono);
        Self { ledger: Ledger::new(budgets, clock, 100), beat: beat(name, begun.epoch), now }
    }

    /// Tells the store what there is to tell.
    pub(super) async fn tell(&self, store: &Store) -> Answer {
        let report = self.ledger.report(self.now, true);
        let answer = store.report(self.beat.clone(), report).await.unwrap();
        self.ledger.answered(&answer, self.now);
        answer
    }

    /// Reserves, asking the store for as long as it is told to wait.
    pub(super) async fn claim(&self, store: &Store, nusd: i64) -> Result<Reserved, Shortfall> {
        let whose = Attribution { key: "ci".into(), ..Attribution::default() };
        let mut waited = None;
        loop {
            match self.ledger.reserve(&claim(&whose, nusd, waited), self.now) {
                Err(Shortfall::Wait(ticket)) => waited = Some(ticket),
                other => return other,
            }
            self.tell(store).await;
        }
    }

    pub(super) fn settle(&self, reserved: &Reserved, attempt: &str, state: EntryState, nusd: i64) {
        let entry = Entry {
            at_ms: reserved.at_ms,
            key: "ci".into(),
            bound_nusd: reserved.bound.nusd,
            cost_nusd: if state == EntryState::Posted { nusd } else { reserved.bound.nusd },
            ..Entry::default()
        };
        let actual = Amounts { nusd, requests: 1, ..Amounts::default() };
        self.ledger.settle(reserved, reserved.settled(attempt, state, entry, &actual));
    }
}

pub(super) fn claim(whose: &Attribution, nusd: i64, waited: Option<u64>) -> Claim<'_> {
    let bound = Amounts { nusd, requests: 1, ..Amounts::default() };
    Claim { whose, bound, priority: Priority::Critical, waited }
}

/// How the accounts stand, as the store says.
pub(super) async fn balances(store: &Store, now_ms: i64) -> Vec<(AccountKey, Balance)> {
    let accounts = store.accounts(AccountFilter::default(), now_ms).await.unwrap();
    accounts.into_iter().map(|(row, balance)| (row.key, balance)).collect()
}

/// A generator of numbers that is the same everywhere.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn below(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

fn budgets() -> Vec<BudgetSpec> {
    let minute = Window::Rolling(Duration::from_mins(1));
    let hour = Window::Calendar(Calendar::Hour, jiff::tz::TimeZone::UTC);
    let mut soft = budget("key:ci", hour, Dimension::Requests, 20);
    soft.hard = false;
    let mut all = budget("all", Window::Lifetime, Dimension::Usd, 3_000);
    all.carve_out = 100;
    vec![all, soft, budget("key:*", minute, Dimension::Usd, 400)]
}

/// The store and the pure rows, told the same.
struct Pair<'a> {
    store: &'a Store,
    rows: Rows,
    replicas: usize,
}

impl Pair<'_> {
    async fn tell(&mut self, replica: &Replica, twice: bool) {
        let report = replica.ledger.report(replica.now, false);
        let mut answer = self.both(replica, &report).await;
        if twice {
            answer = self.both(replica, &report).await;
        }
        replica.ledger.answered(&answer, replica.now);
    }

    async fn both(&mut self, replica: &Replica, report: &Arc<Report>) -> Answer {
        let teller = Teller { replica: &replica.beat.replica, replicas: self.replicas };
        let expected = self.rows.apply(teller, report).answer;
        let answer = self.store.report(replica.beat.clone(), Arc::clone(report)).await.unwrap();
        assert_eq!(answer, expected);
        answer
    }
}

/// Random claims, ends, resends and steps of time.
pub(super) async fn says_what_the_pure_rows_say(store: Store) {
    let mut dice = Dice(7);
    let mut replicas = Vec::new();
    for name in ["a", "b"] {
        replicas.push((Replica::begin(&store, name, budgets()).await, Vec::new()));
    }
    let mut pair = Pair { store: &store, rows: Rows::default(), replicas: 2 };
    let whose = Attribution { key: "ci".into(), ..Attribution::default() };
    for step in 0..600 {
        let at = usize::try_from(dice.below(2)).unwrap();
        let (replica, held) = &mut replicas[at];
        match dice.below(8) {
            0..=3 => {
                let nusd = i64::try_from(dice.below(30)).unwrap();
                held.extend(replica.ledger.reserve(&claim(&whose, nusd, None), replica.now));
            }
            4 | 5 if !held.is_empty() => {
                let one = held.swap_remove(usize::try_from(dice.below(held.len() as u64)).unwrap());
                match dice.below(6) {
                    0 => replica.ledger.void(&one),
                    1 => replica.settle(&one, &format!("attempt {step}"), EntryState::Suspense, 0),
                    _ => {
                        let cost = i64::try_from(dice.below(20)).unwrap();
                        replica.settle(&one, &format!("attempt {step}"), EntryState::Posted, cost);
                    }
                }
            }
            6 => {
                let ms = dice.below(8_000);
                replica.now.mono += Duration::from_millis(ms);
                replica.now.wall_ms += i64::try_from(ms).unwrap();
            }
            _ => pair.tell(replica, dice.below(4) == 0).await,
        }
    }
    let now_ms = replicas.iter().map(|(replica, _)| replica.now.wall_ms).max().unwrap();
    let stands = balances(&store, now_ms).await;
    assert!(stands.len() >= 3, "{stands:?}");
    for (key, balance) in stands {
        assert_eq!(Some(balance), pair.rows.balance(&key, now_ms), "{key:?}");
    }
    assert!(pair.rows.known.len() > 40, "only {} attempts ended", pair.rows.known.len());
    let entries = store.entries(crate::journal::EntryFilter { limit: 10_000, ..Default::default() }).await;
    assert_eq!(entries.unwrap().len(), pair.rows.known.len());
}

/// What a process left comes back when it begins anew, but for what its log says was sent; whoever
/// still goes by its name is not heard.
pub(super) async fn begins_anew(store: Store) {
    let all = vec![budget("all", Window::Lifetime, Dimension::Usd, 1_000)];
    let first = Replica::begin(&store, "a", all.clone()).await;
    let reserved = first.claim(&store, 10).await.unwrap();
    let sent = reserved.settled("sent", EntryState::Suspense, Entry::default(), &Amounts::default());
    let late = first.ledger.report(first.now, true);
    for round in 0..2 {
        let name = format!("second {round}");
        let beginning =
            Beginning { beat: beat("a", 0), settled: vec![sent.clone()].into(), complete: true, name };
        store.begin(beginning).await.unwrap();
        let (_, stands) = balances(&store, START_MS).await.pop().unwrap();
        assert_eq!((stands.suspense, stands.leased, stands.pending), (10, 0, 0));
    }
    let refused = store.report(first.beat.clone(), late).await;
    assert!(matches!(refused, Err(StoreError::Refused(_))), "{refused:?}");

    let third = Replica::begin(&store, "a", all).await;
    drop(third.claim(&store, 10).await.unwrap());
    let (_, before) = balances(&store, START_MS).await.pop().unwrap();
    assert!(before.leased > 10, "{before:?}");
    let beginning =
        Beginning { beat: beat("a", 0), settled: Arc::new([]), complete: false, name: "lost".into() };
    store.begin(beginning.clone()).await.unwrap();
    store.begin(beginning).await.unwrap();
    let (_, after) = balances(&store, START_MS).await.pop().unwrap();
    assert_eq!((after.suspense, after.leased), (before.suspense + before.leased, 0), "all of it is suspense");
}

/// What is said late, by a connection that was given up, does not undo what was said since.
pub(super) async fn hears_no_earlier_report(store: Store) {
    let replica = Replica::begin(&store, "a", budgets()).await;
    let early = replica.ledger.report(replica.now, true);
    replica.tell(&store).await;
    drop(replica.claim(&store, 10).await.unwrap());
    replica.tell(&store).await;
    let refused = store.report(replica.beat.clone(), early).await;
    assert!(matches!(refused, Err(StoreError::Refused(_))), "{refused:?}");
}

/// Each threshold is told once, also when the answer is lost and across a restart.
pub(super) async fn tells_each_threshold_once(store: Store) {
    let all = || vec![budget("all", Window::Lifetime, Dimension::Usd, 100)];
    let replica = Replica::begin(&store, "a", all()).await;
    let reserved = replica.claim(&store, 55).await.unwrap();
    replica.settle(&reserved, "one", EntryState::Posted, 55);
    let report = replica.ledger.report(replica.now, true);
    store.report(replica.beat.clone(), Arc::clone(&report)).await.unwrap();
    let again = store.report(replica.beat.clone(), report).await.unwrap();
    assert!(again.crossings.is_empty(), "{again:?}");
    let replica = Replica::begin(&store, "a", all()).await;
    let reserved = replica.claim(&store, 44).await.unwrap();
    replica.tell(&store).await;
    replica.settle(&reserved, "two", EntryState::Posted, 44);
    replica.tell(&store).await;
    let told: Vec<&str> = store.crossings(0).await.unwrap().iter().map(|c| c.level.label()).collect();
    assert_eq!(told, ["half", "throttled", "degraded"]);
}
