//! What was spent, what is under way and what is unknown: three numbers that are never mixed.
//!
//! It counts and refuses nothing: limits on money are not part of it. An attempt whose usage or price
//! is unknown is counted as such, never as zero.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use outcrop_core::money::NanoUsd;
use serde::Serialize;

/// The process-wide account.
#[derive(Debug, Default)]
pub struct Book {
    posted_nusd: AtomicI64,
    pending: AtomicU64,
    settled: AtomicU64,
    suspense: AtomicU64,
    unpriced: AtomicU64,
}

/// A reading of the account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Balance {
    /// Cost of settled attempts whose price and usage are known, in nano-dollars.
    pub posted_nusd: i64,
    /// Attempts dispatched and not yet settled.
    pub pending: u64,
    /// Attempts settled.
    pub settled: u64,
    /// Attempts that ended without usage: what they cost is unknown.
    pub suspense: u64,
    /// Settled attempts with usage but without a price row.
    pub unpriced: u64,
}

impl Book {
    /// An attempt is about to be dispatched.
    pub fn open(&self) {
        self.pending.fetch_add(1, Ordering::Relaxed);
    }

    /// An opened attempt was never sent.
    pub fn void(&self) {
        self.close();
    }

    /// An opened attempt ended and its usage is known.
    pub fn post(&self, cost: Option<NanoUsd>) {
        self.close();
        self.settled.fetch_add(1, Ordering::Relaxed);
        match cost {
            Some(cost) => {
                self.posted_nusd.fetch_add(cost.0, Ordering::Relaxed);
            }
            None => {
                self.unpriced.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// An opened attempt ended and its usage is not known.
    pub fn suspend(&self) {
        self.close();
        self.suspense.fetch_add(1, Ordering::Relaxed);
    }

    fn close(&self) {
        let before = self.pending.fetch_sub(1, Ordering::Relaxed);
        debug_assert!(before > 0, "I-2: each attempt settles exactly once");
    }

    /// The account as it stands.
    pub fn balance(&self) -> Balance {
        Balance {
            posted_nusd: self.posted_nusd.load(Ordering::Relaxed),
            pending: self.pending.load(Ordering::Relaxed),
            settled: self.settled.load(Ordering::Relaxed),
            suspense: self.suspense.load(Ordering::Relaxed),
            unpriced: self.unpriced.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_opened_attempt_ends_in_exactly_one_place() {
        let book = Book::default();
        for _ in 0..4 {
            book.open();
        }
        book.void();
        book.post(Some(NanoUsd(7)));
        book.post(None);
        book.suspend();
        let expected = Balance { posted_nusd: 7, pending: 0, settled: 2, suspense: 1, unpriced: 1 };
        assert_eq!(book.balance(), expected);
    }
}
