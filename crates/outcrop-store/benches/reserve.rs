//! What the ledger adds to one attempt: reserve, note before dispatch, settle. Prints percentiles.
//!
//! `cargo bench -p outcrop-store --bench reserve`. A real SQLite file, dispatch log and keeper work
//! beside the measured thread, as in a gateway; the files lie in the system's temporary folder
//! (`TMPDIR`), the dispatch log elsewhere with `-- --dispatch FILE`.
//!
//! Between the attempts the same thread does a fixed piece of computing of about the same length, the
//! control: it takes no lock, no memory and no call of the system, so what its tail shows is the machine
//! (another process on the core, an interrupt, a halted virtual processor). Every second attempt and
//! piece is timed by the processor time of the thread, which leaves most of that out.
//!
//! `-- --count N` makes N attempts without pauses, for a profiler.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::disallowed_methods,
    missing_docs,
    reason = "a benchmark stops at the first surprise, prints, and reads the clock"
)]

use std::hint::black_box;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use nix::time::{ClockId, clock_gettime};
use outcrop_core::Priority;
use outcrop_policy::ledger::{
    Amounts, BudgetSpec, Calendar, Claim, Dimension, Entry, EntryState, InputCount, Reserved, Settled,
    Shortage, Shortfall, Window,
};
use outcrop_policy::{Attribution, Scope};
use outcrop_store::keeper::Setup;
use outcrop_store::{DispatchLog, Keeper, Location, Store};
use tokio_util::task::TaskTracker;

// As in the gateway: what one thread allocates here, another frees.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Attempts that are measured, by each clock.
const ATTEMPTS: usize = 100_000;
/// Attempts before them.
const WARM_UP: usize = 20_000;
/// The bar in nanoseconds.
const BAR_NS: u64 = 5_000;
/// About how long a piece of the control takes, in nanoseconds.
const CONTROL_NS: u64 = 2_500;

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

type Clock = fn() -> Duration;

/// Both clocks: that of the machine, and that of the thread.
fn clocks() -> [(&'static str, Clock); 2] {
    [
        ("elapsed", || Duration::from(clock_gettime(ClockId::CLOCK_MONOTONIC).unwrap())),
        ("processor time", || Duration::from(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap())),
    ]
}

/// How long each step took, all of them, and the control, in nanoseconds.
struct Took {
    steps: [Histogram<u64>; 3],
    all: Histogram<u64>,
    control: Histogram<u64>,
}

impl Took {
    fn new() -> Self {
        let empty = || Histogram::new(3).unwrap();
        Self { steps: [empty(), empty(), empty()], all: empty(), control: empty() }
    }

    fn record(&mut self, times: [Duration; 4]) {
        for (n, step) in self.steps.iter_mut().enumerate() {
            step.record(ns(times[n], times[n + 1])).unwrap();
        }
        self.all.record(ns(times[0], times[3])).unwrap();
    }

    fn print(&self, clock: &str) {
        println!("{clock}:");
        let whole = [("all of it", &self.all), ("control", &self.control)];
        for (name, took) in STEPS.into_iter().zip(&self.steps).chain(whole) {
            let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|q| took.value_at_quantile(q));
            let above = took.len() - took.count_between(0, BAR_NS);
            let above = 100.0 * f64::from(u32::try_from(above).unwrap())
                / f64::from(u32::try_from(took.len()).unwrap());
            println!(
                "{name:>22}: p50 {p50:>6} ns, p99 {p99:>6} ns, p99.9 {p999:>7} ns, {above:>6.3} % above {BAR_NS} ns"
            );
        }
    }
}

fn ns(from: Duration, to: Duration) -> u64 {
    u64::try_from(to.saturating_sub(from).as_nanos()).unwrap()
}

/// Computing that touches nothing but registers.
#[inline(never)]
fn compute(rounds: u64) -> u64 {
    (0..rounds).fold(0x9E37_79B9, |sum: u64, n| sum.rotate_left(5) ^ n.wrapping_mul(0x2545_F491_4F6C_DD1D))
}

/// Rounds of it that take about as long as an attempt.
fn rounds() -> u64 {
    const TRIED: u64 = 10_000;
    let least = (0..100).map(|_| {
        let began = Instant::now();
        black_box(compute(black_box(TRIED)));
        u64::try_from(began.elapsed().as_nanos()).unwrap().max(1)
    });
    TRIED * CONTROL_NS / least.min().unwrap()
}

/// What follows an option on the command line.
fn option(name: &str) -> Option<String> {
    std::env::args().skip_while(|arg| arg != name).nth(1)
}

#[tokio::main(flavor = "multi_thread", worker_threads = 1)]
async fn main() {
    let folder = tempfile::tempdir().unwrap();
    let tasks = TaskTracker::new();
    let store = Store::open(&Location::Sqlite(folder.path().join("bench.db")), &tasks).await.unwrap();
    let dispatch = option("--dispatch").map_or_else(|| folder.path().join("bench.dispatch"), PathBuf::from);
    let log = DispatchLog::open(&dispatch, 20_000).unwrap();
    let setup = Setup { budgets: budgets(), concurrency_max: 10_000, retention: Duration::from_hours(1) };
    let keeper = Keeper::start(&store, log, setup, &tasks).await.unwrap();
    let worker = keeper.clone();
    let count = option("--count").map(|count| count.parse().unwrap());
    let took = std::thread::spawn(move || match count {
        Some(count) => (0..count).map(|n| attempt(&worker, n, clocks()[0].1)).for_each(drop),
        None => measure(&worker),
    });
    took.join().unwrap();
    keeper.shutdown().await;
    store.close().await;
}

fn measure(keeper: &Keeper) {
    let (clocks, rounds) = (clocks(), rounds());
    let mut took = [Took::new(), Took::new()];
    for n in 0..WARM_UP + clocks.len() * ATTEMPTS {
        let began = Instant::now();
        let ((_, clock), took) = (clocks[n % 2], &mut took[n % 2]);
        let times = attempt(keeper, n, clock);
        // Half-way to the next attempt.
        wait(began, Duration::from_micros(100));
        let before = clock();
        black_box(compute(black_box(rounds)));
        let after = clock();
        if let Some(times) = times.filter(|_| n >= WARM_UP) {
            took.record(times);
            took.control.record(ns(before, after)).unwrap();
        }
        // 5,000 attempts a second, so that the journal keeps up as in life.
        wait(began, Duration::from_micros(200));
    }
    println!("{} attempts over 5 budgets, 5,000 a second, SQLite behind them", clocks.len() * ATTEMPTS);
    for ((name, _), took) in clocks.iter().zip(&took) {
        took.print(name);
    }
}

fn wait(began: Instant, until: Duration) {
    while began.elapsed() < until {
        std::hint::spin_loop();
    }
}

/// One attempt; `None` when it had to wait for a lease, which is not the ledger's own time.
fn attempt(keeper: &Keeper, n: usize, clock: Clock) -> Option<[Duration; 4]> {
    let whose = Attribution {
        team: "blue".into(),
        key: "ci".into(),
        user: "ann".into(),
        model: "sonnet".into(),
        ..Attribution::default()
    };
    let attempt: Arc<str> = format!("00000000-0000-7000-8000-{n:012}/1").into();
    let bound =
        Amounts { nusd: 5_000_000, input_tokens: 1_000, output_tokens: 500, requests: 1, tool_calls: 0 };
    let began = clock();
    let Some(reserved) = reserve(keeper, &whose, bound) else {
        keeper.wake();
        std::thread::sleep(Duration::from_millis(5));
        return None;
    };
    let (request_id, key, model) = (Arc::clone(&attempt), whose.key.clone(), whose.model.clone());
    let entry = Entry { request_id, key, model, ..Entry::default() };
    let worst = reserved.settled(Arc::clone(&attempt), EntryState::Suspense, entry.clone(), &bound);
    let held = clock();
    if !note(keeper, &worst) {
        // The journal is behind: nothing is measured.
        keeper.ledger().void(&reserved);
        return None;
    }
    let noted = clock();
    settle(keeper, &reserved, reserved.settled(attempt, EntryState::Posted, entry, &bound));
    Some([began, held, noted, clock()])
}

#[inline(never)]
fn reserve(keeper: &Keeper, whose: &Attribution, bound: Amounts) -> Option<Reserved> {
    let claim = Claim { whose, bound, priority: Priority::Medium, waited: None };
    match keeper.ledger().reserve(&claim, keeper.now()) {
        Ok(reserved) => Some(reserved),
        Err(Shortfall::Wait(_)) => None,
        Err(other) => unreachable!("{other:?}"),
    }
}

#[inline(never)]
fn note(keeper: &Keeper, worst: &Settled) -> bool {
    let Some(slot) = keeper.dispatch().take() else { return false };
    keeper.dispatch().write(&slot, worst).unwrap();
    true
}

#[inline(never)]
fn settle(keeper: &Keeper, reserved: &Reserved, settled: Settled) {
    keeper.ledger().settle(reserved, settled);
}
