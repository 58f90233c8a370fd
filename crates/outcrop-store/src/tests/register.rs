//! The register on every engine.

use tokio_util::task::TaskTracker;

use super::home::Home;
use crate::{Register, Store};

pub(super) async fn keeps_documents(store: Store) {
    let tasks = TaskTracker::new();
    let register = Register::open(&store, &tasks).await.unwrap();
    let mut watching = register.watch();
    register.put("key", "a", "1").await.unwrap();
    register.put("key", "a", "2").await.unwrap();
    register.put("stop", "b", "3").await.unwrap();
    register.remove("stop", "b").await.unwrap();
    register.remove("stop", "none").await.unwrap();
    watching.changed().await.unwrap();
    let documents = watching.borrow().clone();
    assert_eq!(documents.of("key").collect::<Vec<_>>(), [("a", "2")]);
    assert_eq!((documents.get("stop", "b"), documents.revision, documents.unreadable), (None, 5, false));
    assert_eq!(Register::open(&store, &tasks).await.unwrap().documents(), documents);
}

#[tokio::test]
async fn another_replica_sees_a_change() {
    let home = Home::postgres();
    let tasks = TaskTracker::new();
    let here = Register::open(&home.open().await, &tasks).await.unwrap();
    let there = Register::open(&home.open().await, &tasks).await.unwrap();
    let mut watching = there.watch();
    here.put("stop", "all", "kill").await.unwrap();
    watching.changed().await.unwrap();
    assert_eq!(there.documents().get("stop", "all"), Some("kill"));
}

#[tokio::test]
async fn what_cannot_be_read_is_told() {
    let home = Home::sqlite();
    let store = home.open().await;
    let register = Register::open(&store, &TaskTracker::new()).await.unwrap();
    register.put("stop", "a", "1").await.unwrap();
    store.close().await;
    let crate::Location::Sqlite(path) = home.location() else { unreachable!() };
    let beside = rusqlite::Connection::open(path).unwrap();
    beside.execute("INSERT INTO document VALUES ('stop', 'b', x'ff', 1)", []).unwrap();
    drop(beside);
    let documents = Register::open(&home.open().await, &TaskTracker::new()).await.unwrap().documents();
    assert_eq!((documents.unreadable, documents.of("stop").count()), (true, 1));
}
