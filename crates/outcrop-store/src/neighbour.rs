//! Two processes of one gateway for a while: one takes over from the other.
//!
//! Each is a replica of its own, with a dispatch log of its own; the two logs lie beside each other, and
//! processes that follow each other take turns with them. What holds a log is its lock: when nobody
//! holds it, its process has ended, and whoever is left settles what it has left.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::sleep;

use crate::dispatch::{DispatchLog, Recovered};
use crate::location::beside;
use crate::{Store, StoreError, keeper};

/// How often it is looked whether a process has ended.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// The dispatch logs of a gateway: where the configuration says, and beside it.
#[derive(Debug, Clone)]
pub struct Logs {
    /// Of this process.
    pub own: PathBuf,
    /// Of the one before or after it.
    pub other: PathBuf,
    /// Attempts that each has room for.
    pub slots: usize,
}

impl Logs {
    /// Those of a gateway that has no other process.
    pub fn of(path: &Path, slots: usize) -> Self {
        Self { own: path.to_owned(), other: beside(path, "2"), slots }
    }

    /// Opens the own one.
    pub fn open(&self) -> Result<(DispatchLog, Recovered), StoreError> {
        DispatchLog::open(&self.own, self.slots)
    }

    /// Opens the one that the running process does not use, which is then the own one. Waits at most
    /// so long for the process before that one, if it has not ended yet.
    pub async fn open_free(&mut self, longest: Duration) -> Result<(DispatchLog, Recovered), StoreError> {
        let mut left = longest;
        loop {
            let refused = match self.open() {
                Ok(opened) => return Ok(opened),
                Err(error) => error,
            };
            std::mem::swap(&mut self.own, &mut self.other);
            if let Ok(opened) = self.open() {
                return Ok(opened);
            }
            std::mem::swap(&mut self.own, &mut self.other);
            if left.is_zero() {
                return Err(refused);
            }
            sleep(LOOK_EVERY).await;
            left = left.saturating_sub(LOOK_EVERY);
        }
    }

    /// Settles what the other process has left if it has ended; whether it has.
    pub async fn settle_other(&self, store: &Store) -> Result<bool, StoreError> {
        if !self.other.exists() {
            return Ok(true);
        }
        let Ok(left) = DispatchLog::open(&self.other, self.slots) else { return Ok(false) };
        // Its beginning must not take this process for gone.
        let was_shared = store.is_shared();
        store.in_company(true);
        let settled = keeper::settle_for(store, left).await;
        store.in_company(was_shared);
        settled.map(|()| true)
    }

    /// Waits for the end of the other process, and settles what it has left. The store has been told
    /// that it is in company, and is told when it is not any more.
    pub async fn outlive(&self, store: &Store) {
        while !matches!(self.settle_other(store).await, Ok(true)) {
            sleep(LOOK_EVERY).await;
        }
        store.in_company(false);
    }
}
