//! The engines: who carries work out, one transaction after the other.
//!
//! SQLite has a thread that owns the only connection that writes, PostgreSQL a task with a connection
//! that comes back by itself. Questions of people have a second one each, so that a long one holds
//! nobody up. An engine that failed is not trusted further: its connection is closed and opened anew
//! before the next try.

use std::fs::File;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use tokio::sync::{mpsc, oneshot};
use tokio_util::task::TaskTracker;

use crate::work::{Lane, Outcome, Work};
use crate::{Location, StoreError};

mod postgres;
mod sqlite;

#[cfg(test)]
pub(crate) use sqlite::stop_after;

/// Jobs that wait at most; whoever comes then waits to wait.
const JOBS_MAX: usize = 256;

/// One piece of work, and who waits for it.
#[derive(Debug)]
struct Job {
    what: Task,
    reply: oneshot::Sender<Result<Outcome, StoreError>>,
}

#[derive(Debug)]
enum Task {
    Work(Work),
    /// Close everything, and say so.
    Close,
}

/// Which engine it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EngineKind {
    /// SQLite in memory.
    Memory,
    /// SQLite in a file.
    Sqlite,
    /// PostgreSQL.
    Postgres,
}

/// A running engine. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Engine {
    pub(crate) kind: EngineKind,
    lanes: Lanes,
    // Whether another process of this gateway uses the same file.
    in_company: Arc<AtomicBool>,
    // The writer's; gone when it has closed.
    lock: Weak<File>,
}

/// Who works for it.
#[derive(Debug, Clone)]
struct Lanes {
    write: mpsc::Sender<Job>,
    read: mpsc::Sender<Job>,
    watch: mpsc::Sender<Job>,
}

impl Engine {
    /// Opens what is there, or makes it. With the lock of a process that uses the file, it is opened
    /// beside that one.
    pub(crate) async fn open(
        location: &Location,
        tasks: &TaskTracker,
        lock: Option<File>,
    ) -> Result<Self, StoreError> {
        let in_company = Arc::new(AtomicBool::new(lock.is_some()));
        let (mut kind, mut held) = (EngineKind::Memory, Weak::new());
        let lanes = match location {
            Location::Memory => sqlite::open_memory()?,
            Location::Sqlite(path) => {
                let lock = Arc::new(lock.map_or_else(|| sqlite::lock(path), Ok)?);
                (kind, held) = (EngineKind::Sqlite, Arc::downgrade(&lock));
                sqlite::open(path.clone(), lock, Arc::clone(&in_company)).await?
            }
            Location::Postgres(address) => {
                kind = EngineKind::Postgres;
                postgres::open(address, tasks).await?
            }
        };
        Ok(Self { kind, lanes, in_company, lock: held })
    }

    /// Whether other processes use the store.
    pub(crate) fn is_shared(&self) -> bool {
        self.kind == EngineKind::Postgres || self.in_company.load(Ordering::Acquire)
    }

    /// Another process of this gateway begins to use the file, or has ended.
    pub(crate) fn in_company(&self, is: bool) {
        self.in_company.store(is && self.kind == EngineKind::Sqlite, Ordering::Release);
    }

    /// What keeps further processes out, for the one that is let in; `None` where nothing does.
    pub(crate) fn lock(&self) -> Option<File> {
        self.lock.upgrade()?.try_clone().ok()
    }

    /// Carries work out. It is durable when this returns `Ok`; after an error it is not known whether
    /// it is, and it may be given again.
    pub(crate) async fn carry_out(&self, work: Work) -> Result<Outcome, StoreError> {
        let lane = match work.lane() {
            Lane::Write => &self.lanes.write,
            Lane::Read => &self.lanes.read,
            Lane::Watch => &self.lanes.watch,
        };
        ask(lane, Task::Work(work)).await
    }

    /// Closes the store. Whoever asks it afterwards hears that it is not available.
    pub(crate) async fn close(&self) {
        let Lanes { write, read, watch } = &self.lanes;
        for lane in [watch, read, write] {
            // One that has ended already is closed.
            drop(ask(lane, Task::Close).await);
        }
    }
}

async fn ask(to: &mpsc::Sender<Job>, what: Task) -> Result<Outcome, StoreError> {
    let closed = || StoreError::Unavailable("it is closed".to_owned());
    let (reply, answer) = oneshot::channel();
    to.send(Job { what, reply }).await.map_err(|_| closed())?;
    answer.await.map_err(|_| closed())?
}

/// Whoever waits may have left.
fn tell(reply: oneshot::Sender<Result<Outcome, StoreError>>, outcome: Result<Outcome, StoreError>) {
    drop(reply.send(outcome));
}

/// Whether what failed is the engine, and not the work.
fn is_of_engine(error: &StoreError) -> bool {
    match error {
        StoreError::Unavailable(_) => true,
        StoreError::Unreadable(_) | StoreError::Refused(_) => false,
    }
}
