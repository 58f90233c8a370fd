//! Random lives of a ledger against a reference that is as simple as can be: several replicas, lost
//! answers, crashes, windows that roll, limits that are cut.
//!
//! `OUTCROP_LEDGER_OPERATIONS` sets how many operations are played (1,000,000 by default) and
//! `OUTCROP_LEDGER_SEED` replays one life; a failure prints its seed.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "tests stop at the first surprise and read their settings"
)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use outcrop_core::Priority;
use outcrop_policy::ledger::{
    AccountKey, Amounts, BudgetSpec, Calendar, Claim, Dimension, Entry, EntryState, Exceeded, InputCount,
    Ledger, LedgerClock, Now, Recovered, Reserved, Rows, Settled, Shortage, Shortfall, Teller, Window,
};
use outcrop_policy::{Attribution, Scope};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

/// Operations of one life.
const LIFE: usize = 5_000;
const USERS: [&str; 3] = ["ann", "bob", ""];

/// What must be true: every attempt that ended, in the accounts that bear it.
#[derive(Default)]
struct Reference {
    posted: BTreeMap<AccountKey, i64>,
    suspense: BTreeMap<AccountKey, i64>,
}

impl Reference {
    fn end(&mut self, settled: &Settled) {
        let book = match settled.state {
            EntryState::Posted => &mut self.posted,
            EntryState::Suspense => &mut self.suspense,
        };
        for line in &settled.lines {
            *book.entry(AccountKey::clone(&line.account)).or_default() += line.amount;
        }
    }
}

fn of(book: &BTreeMap<AccountKey, i64>, key: &AccountKey) -> i64 {
    book.get(key).copied().unwrap_or(0)
}

struct Replica {
    id: Arc<str>,
    ledger: Ledger,
    // Attempt, reservation, whether its first byte has left.
    held: Vec<(String, Reserved, bool)>,
    // The dispatch log.
    sent: BTreeMap<String, Settled>,
    beginnings: usize,
}

struct Life {
    random: SmallRng,
    specs: Vec<BudgetSpec>,
    rows: Rows,
    reference: Reference,
    replicas: Vec<Replica>,
    now: Now,
    attempts: usize,
    // From then on a limit may be exceeded by what was admitted before.
    cut: bool,
}

impl Life {
    fn new(seed: u64) -> Self {
        let mut random = SmallRng::seed_from_u64(seed);
        let specs = specs(&mut random);
        let replicas = random.random_range(1..=3);
        let mut life = Self {
            random,
            specs,
            rows: Rows::default(),
            reference: Reference::default(),
            replicas: Vec::new(),
            now: Now { wall_ms: 1_760_000_000_000, mono: Duration::ZERO },
            attempts: 0,
            cut: false,
        };
        for n in 0..replicas {
            let (id, ledger) = (format!("r{n}").into(), life.new_ledger());
            life.replicas.push(Replica { id, ledger, held: vec![], sent: BTreeMap::new(), beginnings: 0 });
        }
        life
    }

    fn new_ledger(&self) -> Ledger {
        Ledger::new(self.specs.clone(), LedgerClock::since(self.now.wall_ms, self.now.mono), 1000)
    }

    fn step(&mut self) {
        let at = self.random.random_range(0..self.replicas.len());
        match self.random.random_range(0..1000) {
            0..400 => self.reserve(at),
            400..750 => self.end(at),
            750..950 => self.exchange_words(at, false),
            950..975 => self.exchange_words(at, true),
            975..985 => self.crash(at),
            985..998 => self.time_passes(),
            _ => self.limits_change(),
        }
        self.check();
    }

    fn reserve(&mut self, at: usize) {
        let user = USERS[self.random.random_range(0..USERS.len())];
        let whose = Attribution { key: "ci".into(), user: user.into(), ..Attribution::default() };
        let bound = Amounts { nusd: self.random.random_range(0..40), requests: 1, ..Amounts::default() };
        let urgent = self.random.random_bool(0.1);
        let priority = if urgent { Priority::Emergency } else { Priority::High };
        let mut waited = None;
        // The report under way may have begun before this claim, so one answer may not be enough.
        for _ in 0..3 {
            let claim = Claim { whose: &whose, bound, priority, waited };
            match self.replicas[at].ledger.reserve(&claim, self.now) {
                Ok(reserved) => return self.hold(at, reserved),
                Err(Shortfall::Wait(ticket)) => waited = Some(ticket),
                Err(Shortfall::Exceeded(no)) => return self.check_refusal(at, &no, priority),
                Err(other) => panic!("{other:?}"),
            }
            self.exchange_words(at, false);
        }
    }

    fn hold(&mut self, at: usize, reserved: Reserved) {
        self.attempts += 1;
        let attempt = format!("a{}", self.attempts);
        let sent = self.random.random_bool(0.9);
        let replica = &mut self.replicas[at];
        if sent {
            let worst = reserved.settled(&*attempt, EntryState::Suspense, Entry::default(), &reserved.bound);
            replica.sent.insert(attempt.clone(), worst);
        }
        replica.held.push((attempt, reserved, sent));
    }

    fn end(&mut self, at: usize) {
        let replica = &mut self.replicas[at];
        if replica.held.is_empty() {
            return;
        }
        let n = self.random.random_range(0..replica.held.len());
        let (attempt, reserved, sent) = replica.held.swap_remove(n);
        if !sent {
            return replica.ledger.void(&reserved);
        }
        let unknown = self.random.random_bool(0.1);
        let state = if unknown { EntryState::Suspense } else { EntryState::Posted };
        let nusd = self.random.random_range(0..=reserved.bound.nusd);
        let settled =
            reserved.settled(&*attempt, state, Entry::default(), &Amounts { nusd, ..reserved.bound });
        replica.sent.insert(attempt, settled.clone());
        self.reference.end(&settled);
        replica.ledger.settle(&reserved, settled);
    }

    fn exchange_words(&mut self, at: usize, answer_is_lost: bool) {
        let replicas = self.replicas.len();
        let replica = &mut self.replicas[at];
        let is_beat = self.random.random_bool(0.2);
        let report = replica.ledger.report(self.now, is_beat);
        let applied = self.rows.apply(Teller { replica: &replica.id, replicas }, &report);
        if answer_is_lost {
            return;
        }
        for durable in replica.ledger.answered(&applied.answer, self.now) {
            replica.sent.remove(&*durable);
        }
    }

    fn crash(&mut self, at: usize) {
        let fresh = self.new_ledger();
        let replica = &mut self.replicas[at];
        replica.ledger = fresh;
        let settled: Vec<Settled> = std::mem::take(&mut replica.sent).into_values().collect();
        // What had ended is in the reference already; what was under way is in suspense from here on.
        for (attempt, reserved, _) in replica.held.drain(..).filter(|(_, _, sent)| *sent) {
            let worst = reserved.settled(&*attempt, EntryState::Suspense, Entry::default(), &reserved.bound);
            self.reference.end(&worst);
        }
        replica.beginnings += 1;
        let beginning = format!("{}-{}", replica.id, replica.beginnings);
        let now_ms = self.now.wall_ms;
        let log = Recovered { settled: &settled, complete: true, beginning: &beginning, now_ms };
        self.rows.begin_anew(&replica.id, &log);
        // Recovery may itself be interrupted and begin again.
        self.rows.begin_anew(&replica.id, &log);
    }

    fn time_passes(&mut self) {
        let ms = self.random.random_range(1..90_000);
        self.now.wall_ms += ms;
        self.now.mono += Duration::from_millis(ms.unsigned_abs());
    }

    fn limits_change(&mut self) {
        let at = self.random.random_range(0..self.specs.len());
        let limit = self.random.random_range(0..400);
        self.cut |= limit < self.specs[at].limit;
        (self.specs[at].limit, self.specs[at].carve_out) = (limit, limit / 20);
        for replica in &self.replicas {
            replica.ledger.configure(self.specs.clone());
        }
    }

    /// Nobody is refused while there is room beyond what is leased. What is free here may have come back
    /// since the answer that the refusal rests on; what came back from another replica is heard of a
    /// tenth of a second later, and of a cut limit with the next answer.
    fn check_refusal(&self, at: usize, no: &Exceeded, priority: Priority) {
        if self.replicas.len() > 1 || self.cut {
            return;
        }
        let Some(balance) = self.rows.balance(&no.key, self.now.wall_ms) else { return };
        let carve_out = if priority == Priority::Emergency { 0 } else { no.terms.carve_out };
        let used = balance.posted + balance.suspense + balance.earlier + balance.leased;
        let room = no.terms.limit - carve_out - used;
        let views = self.replicas[at].ledger.accounts();
        let free: i64 = views.iter().filter(|view| view.key == no.key).map(|view| view.free_here).sum();
        assert!(room < no.asked || free > 0, "refused {} of {room}: {no:?} {balance:?}", no.asked);
    }

    fn check(&self) {
        if self.cut {
            return;
        }
        let mut pending: BTreeMap<AccountKey, i64> = BTreeMap::new();
        for view in self.replicas.iter().flat_map(|replica| replica.ledger.accounts()) {
            *pending.entry(view.key).or_default() += view.pending_here;
        }
        for row in self.rows.accounts.values() {
            let key = &row.key;
            // A report that was built before a limit was raised may still say the old one.
            let limit = self.specs.iter().find(|spec| spec.id == key.budget).unwrap().limit;
            let settled = of(&self.reference.posted, key) + of(&self.reference.suspense, key);
            let committed = settled + of(&pending, key);
            assert!(committed <= limit, "I1: {key:?}: {committed} of {limit}");
            let balance = self.rows.balance(key, self.now.wall_ms).unwrap();
            let used = balance.posted + balance.suspense + balance.leased + balance.earlier;
            let counts = self.now.wall_ms < row.terms.end_ms;
            assert!(!counts || used <= limit, "I13: {key:?}: {balance:?}");
        }
    }

    /// At rest nothing is pending, and the allocator says what the reference says.
    fn rest(&mut self) {
        for at in 0..self.replicas.len() {
            while !self.replicas[at].held.is_empty() {
                self.end(at);
            }
            self.exchange_words(at, false);
            self.exchange_words(at, false);
            let totals = self.replicas[at].ledger.totals();
            assert_eq!((totals.pending, totals.pending_nusd), (0, 0), "I7");
        }
        for row in self.rows.accounts.values() {
            assert_eq!(row.posted, of(&self.reference.posted, &row.key), "{:?}", row.key);
            assert_eq!(row.suspense, of(&self.reference.suspense, &row.key), "{:?}", row.key);
        }
    }
}

fn specs(random: &mut SmallRng) -> Vec<BudgetSpec> {
    let hour = Window::Calendar(Calendar::Hour, jiff::tz::TimeZone::UTC);
    let rolling = Window::Rolling(Duration::from_mins(10));
    let rows = [
        ("all", Window::Lifetime, Dimension::Usd, 3_000),
        ("key:ci", hour, Dimension::Usd, 500),
        ("user:*", rolling, Dimension::Usd, 200),
        ("key:ci", Window::Lifetime, Dimension::Requests, 400),
    ];
    let spec = |(scope, window, dimension, most): (&str, Window, Dimension, i64)| {
        let scope = Scope::parse(scope).unwrap();
        let limit = random.random_range(1..=most);
        let id = BudgetSpec::id_of(&scope, &window, dimension);
        let (carve_out, shortage) = (limit / 20, Shortage::Refuse);
        BudgetSpec {
            id,
            scope,
            window,
            dimension,
            limit,
            hard: true,
            carve_out,
            shortage,
            input_count: InputCount::Bytes,
        }
    };
    rows.into_iter().map(spec).collect()
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn random_lives_agree_with_the_reference() {
    let one = setting("OUTCROP_LEDGER_SEED");
    let operations = setting("OUTCROP_LEDGER_OPERATIONS").unwrap_or(1_000_000);
    let lives = if one.is_some() { 1 } else { (operations / LIFE as u64).max(1) };
    for n in 0..lives {
        let seed = one.unwrap_or(n);
        println!("OUTCROP_LEDGER_SEED={seed}");
        let mut life = Life::new(seed);
        for _ in 0..LIFE {
            life.step();
        }
        life.rest();
    }
}
