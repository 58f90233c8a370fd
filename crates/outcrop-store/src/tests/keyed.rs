//! Keyed calls on every engine, over restarts and between replicas.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::task::TaskTracker;

use super::home::Home;
use crate::keyed::{CallEnd, KeyedCall, Known, RESULT_BYTES_MAX};
use crate::{Location, Store};

const LONG: Duration = Duration::from_mins(10);

fn call(caller: &str, key: &str, arguments: &str) -> KeyedCall {
    KeyedCall {
        caller: caller.into(),
        key: key.into(),
        tool: "desk__write".into(),
        fingerprint: arguments.into(),
        ticket: "1".into(),
    }
}

async fn begin(store: &Store, caller: &str, key: &str, arguments: &str) -> Known {
    store.begin_call(call(caller, key, arguments), LONG).await.unwrap()
}

pub(super) async fn runs_each_key_once(store: Store) {
    assert_eq!(begin(&store, "ada", "k", "x").await, Known::Begun);
    assert_eq!(begin(&store, "ada", "k", "x").await, Known::Running);
    assert_eq!(begin(&store, "ada", "k", "y").await, Known::Differs);
    assert_eq!(begin(&store, "bob", "k", "y").await, Known::Begun, "a key belongs to its caller");
    // A second try that gives up does not take the first one's key with it.
    let second = KeyedCall { ticket: "2".into(), ..call("ada", "k", "x") };
    store.end_call(second, CallEnd::NotRun).await.unwrap();
    assert_eq!(begin(&store, "ada", "k", "x").await, Known::Running);
    store.end_call(call("ada", "k", "x"), CallEnd::Result("{\"n\":1}".into())).await.unwrap();
    assert_eq!(begin(&store, "ada", "k", "x").await, Known::Kept("{\"n\":1}".into()));
    assert_eq!(begin(&store, "ada", "k", "y").await, Known::Differs);
    // The end is told once.
    store.end_call(call("ada", "k", "x"), CallEnd::Result("{\"n\":2}".into())).await.unwrap();
    assert_eq!(begin(&store, "ada", "k", "x").await, Known::Kept("{\"n\":1}".into()));
    store.end_call(call("bob", "k", "y"), CallEnd::NotRun).await.unwrap();
    assert_eq!(begin(&store, "bob", "k", "z").await, Known::Begun, "what did not run frees its key");
}

pub(super) async fn keeps_unknown_until_it_is_cleared(store: Store) {
    assert_eq!(begin(&store, "ada", "k", "x").await, Known::Begun);
    assert!(!store.clear_call("ada", "k").await.unwrap(), "it runs");
    store.end_call(call("ada", "k", "x"), CallEnd::Unknown).await.unwrap();
    assert_eq!(begin(&store, "ada", "k", "x").await, Known::Unknown);
    let listed = store.keyed_calls().await.unwrap();
    let said: Vec<_> = listed.iter().map(|view| (&*view.caller, &*view.key, &*view.state)).collect();
    assert_eq!(said, [("ada", "k", "unknown")]);
    assert!(store.clear_call("ada", "k").await.unwrap());
    assert_eq!(begin(&store, "ada", "k", "x").await, Known::Begun);
    let large: Arc<str> = "x".repeat(RESULT_BYTES_MAX + 1).into();
    store.end_call(call("ada", "k", "x"), CallEnd::Result(large)).await.unwrap();
    assert_eq!(begin(&store, "ada", "k", "x").await, Known::TooLarge);
}

pub(super) async fn bounds_what_it_keeps(store: Store) {
    let large: Arc<str> = "x".repeat(RESULT_BYTES_MAX).into();
    for n in 0..32 {
        let key = format!("k{n}");
        assert_eq!(begin(&store, "ada", &key, "x").await, Known::Begun, "{n}");
        store.end_call(call("ada", &key, "x"), CallEnd::Result(Arc::clone(&large))).await.unwrap();
    }
    assert_eq!(begin(&store, "ada", "one more", "x").await, Known::Full);
    assert_eq!(begin(&store, "ada", "k3", "x").await, Known::Kept(large), "what is kept stays");
    assert_eq!(begin(&store, "bob", "k", "x").await, Known::Begun, "another caller has room");
}

/// A process that was killed between the beginning and the end.
#[tokio::test]
async fn a_call_whose_process_ended_is_unknown_after_the_restart() {
    let home = Home::sqlite();
    let store = home.open().await;
    assert_eq!(begin(&store, "ada", "k", "x").await, Known::Begun);
    assert_eq!(begin(&store, "ada", "done", "x").await, Known::Begun);
    store.end_call(call("ada", "done", "x"), CallEnd::Result("1".into())).await.unwrap();
    store.close().await;
    let store = home.open().await;
    assert_eq!(begin(&store, "ada", "k", "x").await, Known::Unknown);
    assert_eq!(begin(&store, "ada", "done", "x").await, Known::Kept("1".into()));
    assert!(store.clear_call("ada", "k").await.unwrap());
}

#[tokio::test]
async fn what_expired_is_forgotten_and_what_is_overdue_is_unknown() {
    let home = Home::sqlite();
    let store = home.open().await;
    for key in ["old", "late"] {
        assert_eq!(begin(&store, "ada", key, "x").await, Known::Begun);
    }
    let Location::Sqlite(path) = home.location() else { unreachable!() };
    let beside = rusqlite::Connection::open(path).unwrap();
    beside.execute("UPDATE keyed_call SET expires_ms = 1 WHERE call_key = 'old'", []).unwrap();
    beside.execute("UPDATE keyed_call SET until_ms = 1 WHERE call_key = 'late'", []).unwrap();
    assert_eq!(begin(&store, "ada", "late", "x").await, Known::Unknown);
    assert_eq!(begin(&store, "ada", "old", "x").await, Known::Begun);
}

#[tokio::test]
async fn another_replica_waits_for_a_call_and_finds_its_result() {
    let home = Home::postgres();
    let tasks = TaskTracker::new();
    let here = Store::open(&home.location(), &tasks).await.unwrap();
    let there = Store::open(&home.location(), &tasks).await.unwrap();
    let (one, other) = tokio::join!(begin(&here, "ada", "k", "x"), begin(&there, "ada", "k", "x"));
    let begun = [&one, &other].iter().filter(|known| ***known == Known::Begun).count();
    assert_eq!(begun, 1, "{one:?} {other:?}");
    let (owner, guest) = if one == Known::Begun { (&here, &there) } else { (&there, &here) };
    assert_eq!(begin(guest, "ada", "k", "x").await, Known::Running);
    guest.end_call(call("ada", "k", "x"), CallEnd::NotRun).await.unwrap();
    assert_eq!(begin(guest, "ada", "k", "x").await, Known::Running, "only its owner ends it");
    owner.end_call(call("ada", "k", "x"), CallEnd::Result("1".into())).await.unwrap();
    assert_eq!(begin(guest, "ada", "k", "x").await, Known::Kept("1".into()));
}
