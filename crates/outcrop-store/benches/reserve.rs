//! What the ledger adds to one attempt: reserve, note before dispatch, settle. Prints percentiles.
//!
//! `cargo bench -p outcrop-store --bench reserve`. A real SQLite file, dispatch log and keeper work
//! beside the measured thread, as in a gateway; the file lies in the system's temporary folder
//! (`TMPDIR`).
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::disallowed_methods,
    missing_docs,
    reason = "a benchmark stops at the first surprise, prints, and reads the clock"
)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use outcrop_core::Priority;
use outcrop_policy::ledger::{
    Amounts, BudgetSpec, Calendar, Claim, Dimension, Entry, EntryState, InputCount, Reserved, Shortage,
    Shortfall, Window,
};
use outcrop_policy::{Attribution, Scope};
use outcrop_store::keeper::Setup;
use outcrop_store::{DispatchLog, Keeper, Location, Store};
use tokio_util::task::TaskTracker;

// As in the gateway: what one thread allocates here, another frees.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Attempts that are measured.
const ATTEMPTS: usize = 200_000;
/// Attempts before them.
const WARM_UP: usize = 20_000;

/// Five budgets that all count the request: money by month, day and hour, requests, tokens.
fn budgets() -> Vec<BudgetSpec> {
    let zone = jiff::tz::TimeZone::UTC;
    [
        ("all", Window::Calendar(Calendar::Month, zone.clone()), Dimension::Usd),
        ("team:blue", Window::Calendar(Calendar::Day, zone), Dimension::Usd),
        ("key:*", Window::Rolling(Duration::from_hours(1)), Dimension::Usd),
        ("user:*", Window::Lifetime, Dimension::Requests),
        ("model:sonnet", Window::Lifetime, Dimension::Tokens),
    ]
    .into_iter()
    .map(|(scope, window, dimension)| {
        let scope = Scope::parse(scope).unwrap();
        let id = BudgetSpec::id_of(&scope, &window, dimension);
        let limit = i64::MAX / 4;
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
    })
    .collect()
}

/// The steps of an attempt, in the order in which it takes them.
const STEPS: [&str; 3] = ["reserve", "note before dispatch", "settle"];

/// How long each step took, and all of them, in nanoseconds.
struct Took {
    steps: [Histogram<u64>; 3],
    all: Histogram<u64>,
}

impl Took {
    fn new() -> Self {
        let empty = || Histogram::new(3).unwrap();
        Self { steps: [empty(), empty(), empty()], all: empty() }
    }

    fn record(&mut self, times: [Instant; 4]) {
        let ns = |from: usize, to: usize| u64::try_from((times[to] - times[from]).as_nanos()).unwrap();
        for (n, step) in self.steps.iter_mut().enumerate() {
            step.record(ns(n, n + 1)).unwrap();
        }
        self.all.record(ns(0, 3)).unwrap();
    }

    fn print(&self) {
        for (name, took) in STEPS.iter().zip(&self.steps).chain([(&"all of it", &self.all)]) {
            let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|q| took.value_at_quantile(q));
            println!("{name:>22}: p50 {p50:>6} ns, p99 {p99:>6} ns, p99.9 {p999:>7} ns");
        }
    }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 1)]
async fn main() {
    let folder = tempfile::tempdir().unwrap();
    let tasks = TaskTracker::new();
    let store = Store::open(&Location::Sqlite(folder.path().join("bench.db")), &tasks).await.unwrap();
    let log = DispatchLog::open(&folder.path().join("bench.dispatch"), 20_000).unwrap();
    let setup = Setup { budgets: budgets(), concurrency_max: 10_000, retention: Duration::from_hours(1) };
    let keeper = Keeper::start(&store, log, setup, &tasks).await.unwrap();
    let worker = keeper.clone();
    let took = std::thread::spawn(move || measure(&worker)).join().unwrap();
    println!("{} attempts over 5 budgets, 5,000 a second, SQLite behind them", took.all.len());
    took.print();
    keeper.shutdown().await;
    store.close().await;
}

fn measure(keeper: &Keeper) -> Took {
    let (mut took, empty) = (Took::new(), Entry::default());
    let whose = Attribution {
        team: "blue".into(),
        key: "ci".into(),
        user: "ann".into(),
        model: "sonnet".into(),
        ..Attribution::default()
    };
    for n in 0..WARM_UP + ATTEMPTS {
        let attempt = format!("00000000-0000-7000-8000-{n:012}/1");
        let began = Instant::now();
        if let Some(times) = one(keeper, (&whose, &empty), &attempt).filter(|_| n >= WARM_UP) {
            took.record(times);
        }
        // 5,000 attempts a second, so that the journal keeps up as in life.
        while began.elapsed() < Duration::from_micros(200) {
            std::hint::spin_loop();
        }
    }
    took
}

/// One attempt; `None` when it had to wait for a lease, which is not the ledger's own time.
fn one(keeper: &Keeper, (whose, empty): (&Attribution, &Entry), attempt: &str) -> Option<[Instant; 4]> {
    let bound =
        Amounts { nusd: 5_000_000, input_tokens: 1_000, output_tokens: 500, requests: 1, tool_calls: 0 };
    let claim = Claim { whose, bound, priority: Priority::Medium, waited: None };
    let ledger = keeper.ledger();
    let began = Instant::now();
    let reserved = match ledger.reserve(&claim, keeper.now()) {
        Ok(reserved) => reserved,
        Err(Shortfall::Wait(_)) => {
            keeper.wake();
            std::thread::sleep(Duration::from_millis(5));
            return None;
        }
        Err(other) => unreachable!("{other:?}"),
    };
    let (attempt, request_id): (Arc<str>, Arc<str>) = (attempt.into(), attempt.into());
    let (key, model) = (whose.key.clone(), whose.model.clone());
    let entry = Entry { request_id, key, model, ..empty.clone() };
    let worst = reserved.settled(Arc::clone(&attempt), EntryState::Suspense, entry.clone(), &bound);
    let held = Instant::now();
    let Some(slot) = keeper.dispatch().take() else { return ended(keeper, &reserved) };
    keeper.dispatch().write(&slot, &worst).unwrap();
    let noted = Instant::now();
    ledger.settle(&reserved, reserved.settled(attempt, EntryState::Posted, entry, &bound));
    Some([began, held, noted, Instant::now()])
}

/// The journal is behind: nothing is measured.
fn ended(keeper: &Keeper, reserved: &Reserved) -> Option<[Instant; 4]> {
    keeper.ledger().void(reserved);
    None
}
