//! Two processes of one gateway on a SQLite file, while the one takes over from the other.

use std::time::Duration;

use tokio_util::task::TaskTracker;

use super::home::Home;
use crate::{Logs, Register, Store, StoreError};

async fn pair(home: &Home) -> (Store, Store) {
    let former = home.open().await;
    former.in_company(true);
    let lock = former.lock();
    assert!(lock.is_some());
    let next = Store::open_beside(&home.location(), &TaskTracker::new(), lock).await.unwrap();
    (former, next)
}

#[tokio::test]
async fn a_third_process_is_kept_out_as_long_as_one_of_the_two_is_there() {
    let home = Home::sqlite();
    let (former, next) = pair(&home).await;
    let third = async || Store::open(&home.location(), &TaskTracker::new()).await;
    assert!(matches!(third().await, Err(StoreError::Refused(_))));
    former.close().await;
    assert!(matches!(third().await, Err(StoreError::Refused(_))), "the next one has the lock");
    next.close().await;
    assert!(former.lock().is_none() && third().await.is_ok());
}

#[tokio::test]
async fn what_one_changes_the_other_hears_and_both_write() {
    let home = Home::sqlite();
    let tasks = TaskTracker::new();
    let (former, next) = pair(&home).await;
    let there = Register::open(&former, &tasks).await.unwrap();
    let here = Register::open(&next, &tasks).await.unwrap();
    for (from, to, id) in [(&there, &here, "a"), (&here, &there, "b")] {
        let mut heard = to.watch();
        from.put("stop", id, "{}").await.unwrap();
        let known = heard.wait_for(|documents| documents.get("stop", id).is_some());
        tokio::time::timeout(Duration::from_secs(10), known).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn processes_take_turns_with_two_dispatch_logs_and_wait_for_the_third() {
    let folder = tempfile::tempdir().unwrap();
    let logs = Logs::of(&folder.path().join("a.dispatch"), 4);
    let former = logs.open().unwrap();
    let mut of_next = logs.clone();
    let next = of_next.open_free(Duration::ZERO).await.unwrap();
    assert_eq!((&of_next.own, &of_next.other), (&logs.other, &logs.own));
    assert_ne!(former.1.replica, next.1.replica);
    let mut of_third = logs.clone();
    assert!(matches!(of_third.open_free(Duration::ZERO).await, Err(StoreError::Refused(_))));
    let replica = former.1.replica.clone();
    let waiting = of_third.open_free(Duration::from_secs(30));
    let (opened, ()) = tokio::join!(waiting, async { drop(former) });
    opened.unwrap();
    assert_eq!(of_third.own, logs.own, "that of {replica}");
}

#[tokio::test]
async fn what_a_process_left_is_settled_once_it_has_ended() {
    let home = Home::sqlite();
    let (_former, next) = pair(&home).await;
    let folder = tempfile::tempdir().unwrap();
    let logs = Logs::of(&folder.path().join("a.dispatch"), 4);
    assert!(logs.settle_other(&next).await.unwrap(), "there never was one");
    let turned = Logs { own: logs.other.clone(), other: logs.own.clone(), slots: 4 };
    let held = logs.open().unwrap();
    assert!(!turned.settle_other(&next).await.unwrap(), "it runs");
    drop(held);
    turned.outlive(&next).await;
    assert!(!next.is_shared(), "alone from now on");
    let replicas = next.replicas().await.unwrap();
    assert!(replicas.iter().all(|replica| !replica.is_live && replica.leases == 0), "{replicas:?}");
}
