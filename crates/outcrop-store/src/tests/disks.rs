//! Disks that are full, and disks that fail to keep what they were given.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use outcrop_policy::ledger::{Dimension, EntryState, Report, Window};
use tempfile::TempDir;
use tokio_util::task::TaskTracker;

use super::child;
use super::ledger::{Replica, START_MS, balances, budget};
use crate::keeper::Setup;
use crate::{DispatchLog, Keeper, Location, Store, StoreError};

/// A small file system of its own.
struct Small(TempDir);

impl Small {
    fn mount() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = ["-t", "tmpfs", "-o", "size=1m", "tmpfs"];
        let mounted = Command::new("mount").args(options).arg(folder.path()).output().unwrap();
        let why = String::from_utf8_lossy(&mounted.stderr);
        assert!(mounted.status.success(), "this test mounts a small tmpfs and needs root for it: {why}");
        Self(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Takes all the room there is.
    fn fill(&self) -> PathBuf {
        let path = self.path("filler");
        let mut room = 1 << 20;
        while room > 0 {
            let before = fs::read(&path).unwrap_or_default();
            if fs::write(&path, [before.as_slice(), &vec![1; room]].concat()).is_err() {
                // What could be written stays; the next one is smaller.
                room /= 2;
            }
        }
        path
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(self.0.path()).status());
    }
}

async fn spend(store: &Store, replica: &Replica, attempt: &str) -> Arc<Report> {
    let reserved = replica.claim(store, 10).await.unwrap();
    replica.settle(&reserved, attempt, EntryState::Posted, 10);
    replica.ledger.report(replica.now, true)
}

fn all() -> Vec<outcrop_policy::ledger::BudgetSpec> {
    vec![budget("all", Window::Lifetime, Dimension::Usd, 1_000)]
}

#[tokio::test]
async fn a_full_disk_refuses_and_room_is_enough_to_go_on() {
    let small = Small::mount();
    let store = Store::open(&Location::Sqlite(small.path("a.db")), &TaskTracker::new()).await.unwrap();
    let replica = Replica::begin(&store, "a", all()).await;
    let report = spend(&store, &replica, "one").await;
    let filler = small.fill();
    // The log of SQLite may have a few pages left in it.
    let mut refused = None;
    for n in 0..1_000 {
        let change = store.change("kind", &format!("{n}"), Some(&"x".repeat(4_000))).await;
        refused = change.err();
        if refused.is_some() {
            break;
        }
    }
    assert!(matches!(refused, Some(StoreError::Unavailable(_))), "{refused:?}");
    for _ in 0..3 {
        let full = store.report(replica.beat.clone(), Arc::clone(&report)).await;
        assert!(matches!(full, Err(StoreError::Unavailable(_))), "{full:?}");
    }
    fs::remove_file(filler).unwrap();
    store.report(replica.beat.clone(), report).await.unwrap();
    assert_eq!(balances(&store, START_MS).await[0].1.posted, 10);
    store.close().await;
}

#[tokio::test]
async fn a_keeper_says_that_the_disk_is_full_and_comes_back_by_itself() {
    let small = Small::mount();
    let tasks = TaskTracker::new();
    let location = Location::Sqlite(small.path("a.db"));
    let store = Store::open(&location, &tasks).await.unwrap();
    let log = DispatchLog::open(&location.dispatch_log().unwrap(), 16).unwrap();
    let setup = Setup { budgets: all(), concurrency_max: 10, retention: Duration::from_hours(1) };
    let keeper = Keeper::start(&store, log, setup, &tasks).await.unwrap();
    let mut health = keeper.health();
    let filler = small.fill();
    health.wait_for(|health| !health.ok).await.unwrap();
    let problem = health.borrow().problem.clone().unwrap();
    fs::remove_file(filler).unwrap();
    health.wait_for(|health| health.ok).await.unwrap();
    assert!(problem.contains("not available"), "{problem}");
    keeper.shutdown().await;
    store.close().await;
}

/// Lets `fsync` and `fdatasync` fail while a file is there. Whoever tries a second time with a
/// descriptor that has failed once is ended.
const SHIM: &str = r#"
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>
static int failed[4096];
static int sync_with(const char *name, int fd) {
    if (fd >= 0 && fd < 4096 && failed[fd]) { write(2, "trusted again\n", 14); _exit(99); }
    const char *when = getenv("FAIL_WHILE");
    if (when && access(when, F_OK) == 0) {
        if (fd >= 0 && fd < 4096) failed[fd] = 1;
        errno = EIO;
        return -1;
    }
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    return real(fd);
}
int fsync(int fd) { return sync_with("fsync", fd); }
int fdatasync(int fd) { return sync_with("fdatasync", fd); }
int close(int fd) {
    if (fd >= 0 && fd < 4096) failed[fd] = 0;
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "close");
    return real(fd);
}
"#;

fn shim(folder: &Path) -> PathBuf {
    let (source, library) = (folder.join("shim.c"), folder.join("shim.so"));
    fs::write(&source, SHIM).unwrap();
    let mut cc = Command::new("cc");
    cc.args(["-D_GNU_SOURCE", "-shared", "-fPIC", "-w", "-o"]).arg(&library).arg(&source).arg("-ldl");
    let built = cc.output().expect("a C compiler, as for the build");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    library
}

#[tokio::test]
async fn an_fsync_that_failed_is_not_tried_again_with_the_same_descriptor() {
    if let Some(folder) = child::part() {
        return fails_to_sync(Path::new(&folder)).await;
    }
    let folder = tempfile::tempdir().unwrap();
    let name = "tests::disks::an_fsync_that_failed_is_not_tried_again_with_the_same_descriptor";
    let mut child = child::command(name, folder.path().to_str().unwrap());
    child.env("LD_PRELOAD", shim(folder.path())).env("FAIL_WHILE", folder.path().join("fail"));
    let ended = child.output().unwrap();
    let said = String::from_utf8_lossy(&ended.stdout) + String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success() && said.contains("it came back"), "{said}");
}

/// In the child, whose disk fails.
#[allow(clippy::print_stdout, reason = "the parent reads it")]
async fn fails_to_sync(folder: &Path) {
    let store = Store::open(&Location::Sqlite(folder.join("a.db")), &TaskTracker::new()).await.unwrap();
    let replica = Replica::begin(&store, "a", all()).await;
    for (n, attempt) in ["one", "two", "three"].into_iter().enumerate() {
        let report = spend(&store, &replica, attempt).await;
        fs::write(folder.join("fail"), "").unwrap();
        for _ in 0..3 {
            let failed = store.report(replica.beat.clone(), Arc::clone(&report)).await;
            assert!(matches!(failed, Err(StoreError::Unavailable(_))), "{failed:?}");
        }
        fs::remove_file(folder.join("fail")).unwrap();
        let answer = store.report(replica.beat.clone(), report).await.unwrap();
        replica.ledger.answered(&answer, replica.now);
        let posted = balances(&store, START_MS).await[0].1.posted;
        assert_eq!(posted, 10 * i64::try_from(n + 1).unwrap());
    }
    store.close().await;
    println!("it came back");
}
