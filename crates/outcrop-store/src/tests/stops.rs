//! A stop at every point of a transaction: what was told again counts once.

use std::fs;
use std::sync::Arc;

use outcrop_policy::ledger::{Amounts, Dimension, EntryState, Report, Window};
use tokio_util::task::TaskTracker;

use super::home::{Home, Server};
use super::ledger::{Replica, START_MS, balances, budget};
use super::wire::{Way, Wire};
use crate::journal::EntryFilter;
use crate::work::Work;
use crate::{Location, Store};

/// A replica with a report that says something of everything, and what comes of it.
async fn eventful(store: &Store) -> (Replica, Arc<Report>) {
    let hour = Window::Rolling(std::time::Duration::from_hours(1));
    let budgets =
        vec![budget("all", Window::Lifetime, Dimension::Usd, 80), budget("key:*", hour, Dimension::Usd, 200)];
    let replica = Replica::begin(store, "a", budgets).await;
    let (one, two) = (replica.claim(store, 30).await.unwrap(), replica.claim(store, 25).await.unwrap());
    replica.settle(&one, "one", EntryState::Posted, 20);
    replica.settle(&two, "two", EntryState::Suspense, 0);
    let report = replica.ledger.report(replica.now, true);
    (replica, report)
}

/// Nothing of the report is there, or all of it.
async fn is_whole(store: &Store) -> bool {
    let entries = store.entries(EntryFilter { limit: 10, ..EntryFilter::default() }).await.unwrap().len();
    for (key, stands) in balances(store, START_MS).await {
        let borne = (stands.posted, stands.suspense);
        assert_eq!(borne, if entries == 0 { (0, 0) } else { (20, 25) }, "{key:?} with {entries} entries");
    }
    let crossings = store.crossings(0).await.unwrap().len();
    assert!((entries == 0 && crossings == 0) || (entries == 2 && crossings > 0), "{entries}, {crossings}");
    entries == 2
}

#[tokio::test]
async fn a_transaction_that_is_stopped_anywhere_is_undone() {
    let home = Home::sqlite();
    let store = home.open().await;
    let (replica, report) = eventful(&store).await;
    store.close().await;
    let Location::Sqlite(path) = home.location() else { unreachable!() };
    let work = Work::Report { beat: replica.beat.clone(), report: Arc::clone(&report) };
    let mut stops = 0;
    for after in (0..).step_by(5) {
        let stopped = crate::engine::stop_after(&path, std::slice::from_ref(&work), after);
        let store = home.open().await;
        assert_eq!(is_whole(&store).await, !stopped, "stopped after {after} steps");
        store.close().await;
        if !stopped {
            break;
        }
        stops += 1;
    }
    assert!(stops > 100, "only {stops} stops");
    let store = home.open().await;
    store.report(replica.beat.clone(), report).await.unwrap();
    assert!(is_whole(&store).await, "it counts once");
}

/// What a crash of the machine leaves of the log of SQLite is a beginning of it, cut anywhere.
#[tokio::test]
async fn whatever_the_disk_kept_is_whole() {
    let home = Home::sqlite();
    let store = home.open().await;
    let Location::Sqlite(path) = home.location() else { unreachable!() };
    let (replica, report) = eventful(&store).await;
    let wal = format!("{}-wal", path.display());
    let before = fs::metadata(&wal).unwrap().len();
    store.report(replica.beat.clone(), report).await.unwrap();
    let (data, log) = (fs::read(&path).unwrap(), fs::read(&wal).unwrap());
    let after = log.len();
    let mut wholes = [0, 0];
    for length in (usize::try_from(before).unwrap()..=after).rev().step_by(911) {
        let kept = Home::sqlite();
        let Location::Sqlite(copy) = kept.location() else { unreachable!() };
        fs::write(&copy, &data).unwrap();
        fs::write(format!("{}-wal", copy.display()), &log[..length]).unwrap();
        let store = kept.open().await;
        wholes[usize::from(is_whole(&store).await)] += 1;
        store.close().await;
    }
    assert!(wholes[0] > 5 && wholes[1] > 0, "{wholes:?}");
}

/// The connection to PostgreSQL breaks anywhere, also after the commit and before its answer.
#[tokio::test]
async fn a_connection_that_breaks_anywhere_changes_nothing_or_all() {
    let home = Home::postgres();
    let Home::Postgres(server) = &home else { unreachable!() };
    let (wire, address) = Wire::to(server.socket()).await;
    let location = Location::Postgres(format!("postgres://outcrop@{address}/postgres"));
    let watcher = home.open().await;
    let store = Store::open(&location, &TaskTracker::new()).await.unwrap();
    let (mut lost, mut answered) = (0, 0);
    for way in [Way::ToServer, Way::ToStore] {
        let all = bytes_of_a_report(server, &store, &wire, way).await;
        // The last bytes are the commit, and its answer.
        for bytes in (1..all).step_by(331).chain((all - 30..=all + 1).step_by(3)) {
            let (replica, report) = eventful(&store).await;
            wire.break_after(way, bytes);
            let told = store.report(replica.beat.clone(), Arc::clone(&report)).await;
            let held = wire.mend();
            assert!(!held || told.is_ok(), "{told:?}");
            let whole = is_whole(&watcher).await;
            assert!(whole || told.is_err(), "it said yes and nothing is there");
            lost += u32::from(whole && told.is_err());
            answered += u32::from(told.is_ok());
            let told = store.report(replica.beat.clone(), report).await;
            assert!(told.is_ok(), "it comes back by itself: {told:?}");
            assert!(is_whole(&watcher).await, "it counts once");
            server.run(EMPTY).await;
        }
    }
    assert!(lost > 0 && answered > 0, "{lost} answers were lost, {answered} came");
}

const EMPTY: &str = "TRUNCATE account, lease, entry, crossing, pace, replica";

async fn bytes_of_a_report(server: &Server, store: &Store, wire: &Wire, way: Way) -> i64 {
    let most = 1 << 40;
    let mut bytes = 0;
    // The second time every statement is prepared, as it is when the bytes are counted down.
    for _ in 0..2 {
        let (replica, report) = eventful(store).await;
        wire.break_after(way, most);
        store.report(replica.beat.clone(), report).await.unwrap();
        bytes = most - wire.left(way);
        wire.mend();
        server.run(EMPTY).await;
    }
    bytes
}

/// Corrections too: the same evidence, told again after its answer was lost.
#[tokio::test]
async fn a_correction_whose_answer_is_lost_is_made_once() {
    let home = Home::postgres();
    let Home::Postgres(server) = &home else { unreachable!() };
    let (wire, address) = Wire::to(server.socket()).await;
    let location = Location::Postgres(format!("postgres://outcrop@{address}/postgres"));
    let store = Store::open(&location, &TaskTracker::new()).await.unwrap();
    let (replica, report) = eventful(&store).await;
    store.report(replica.beat.clone(), report).await.unwrap();
    let truth = Amounts { nusd: 9, ..Amounts::default() };
    for bytes in (1..6_000).step_by(397) {
        wire.break_after(Way::ToStore, bytes);
        drop(store.resolve("two", truth, "evidence", "ada").await);
        wire.mend();
    }
    store.resolve("two", truth, "evidence", "ada").await.unwrap();
    for (_, stands) in balances(&store, START_MS).await {
        assert_eq!((stands.posted, stands.suspense), (29, 0));
    }
}
