//! The same stories on every engine.

use super::home::Home;
use super::{journal, keyed, ledger, register};
use crate::{Location, Store, StoreError};
use tokio_util::task::TaskTracker;

macro_rules! on_every_engine {
    ($($from:ident :: $story:ident),* $(,)?) => {
        mod memory { $(#[tokio::test] async fn $story() {
            super::$from::$story(super::Home::Memory.open().await).await;
        })* }
        mod sqlite { $(#[tokio::test] async fn $story() {
            let home = super::Home::sqlite();
            super::$from::$story(home.open().await).await;
        })* }
        // One server for all of them: each starts with a database of its own.
        #[tokio::test]
        async fn postgres() {
            let home = Home::postgres();
            let Home::Postgres(server) = &home else { unreachable!() };
            $(
                server.run(concat!("CREATE DATABASE ", stringify!($story))).await;
                let location = Location::Postgres(server.address_of(stringify!($story)));
                $from::$story(Store::open(&location, &TaskTracker::new()).await.unwrap()).await;
            )*
        }
    };
}

on_every_engine! {
    ledger::says_what_the_pure_rows_say,
    ledger::begins_anew,
    ledger::hears_no_earlier_report,
    ledger::tells_each_threshold_once,
    journal::corrects_with_evidence_once,
    journal::answers_what_people_ask,
    journal::forgets_what_is_old_but_no_suspense,
    register::keeps_documents,
    keyed::runs_each_key_once,
    keyed::keeps_unknown_until_it_is_cleared,
    keyed::bounds_what_it_keeps,
}

#[tokio::test]
async fn a_second_process_is_refused() {
    let home = Home::sqlite();
    let first = home.open().await;
    let second = Store::open(&home.location(), &TaskTracker::new()).await;
    let Err(StoreError::Refused(message)) = second else { panic!("{second:?}") };
    assert!(message.contains("used by another process"), "{message}");
    first.close().await;
    home.open().await;
}

#[tokio::test]
async fn a_newer_store_is_refused() {
    let home = Home::sqlite();
    home.open().await.close().await;
    let Location::Sqlite(path) = home.location() else { unreachable!() };
    let beside = rusqlite::Connection::open(path).unwrap();
    let sql = "INSERT INTO refinery_schema_history SELECT 99, 'later', applied_on, checksum \
               FROM refinery_schema_history LIMIT 1";
    beside.execute(sql, []).unwrap();
    drop(beside);
    let refused = Store::open(&home.location(), &TaskTracker::new()).await;
    let Err(StoreError::Refused(message)) = refused else { panic!("{refused:?}") };
    assert!(message.contains("another version"), "{message}");
}

#[tokio::test]
async fn what_is_stored_is_there_after_a_restart() {
    let home = Home::sqlite();
    let store = home.open().await;
    journal::corrects_with_evidence_once(store.clone()).await;
    let before = ledger::balances(&store, ledger::START_MS).await;
    store.close().await;
    assert!(matches!(store.revision().await, Err(StoreError::Unavailable(_))), "it is closed");
    assert_eq!(ledger::balances(&home.open().await, ledger::START_MS).await, before);
}

#[test]
fn sqlite_is_one_without_the_bug_of_the_log() {
    // 3.51.3 mended a log that was reset while two connections wrote.
    assert!(rusqlite::version_number() >= 3_051_003);
}
