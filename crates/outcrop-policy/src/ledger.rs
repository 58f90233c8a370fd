//! The ledger: budgets that are never overspent, and never blocked without a reason that can be read.
//!
//! `Ledger` is what the request path sees: it reserves the upper bound of an attempt from leases that
//! this process holds, over all accounts of the request at once, and settles it. It waits for nothing;
//! a request that needs more than the leases hold is told to wait for the next answer of the
//! allocator, or that there is no more. `Rows` are the allocator's rules. Both are pure: time is a
//! parameter (I-7), durability is the store's.
//!
//! Invariants: what is posted, pending and in suspense never exceeds a hard limit by an admission;
//! each reservation resolves exactly once, in the window of its admission.

pub mod allocator;
pub mod budget;
pub mod burn;
pub mod clock;
mod leases;
mod pressure;
pub mod protocol;
mod reservation;
pub mod window;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use outcrop_core::Priority;
use parking_lot::Mutex;
use serde::Serialize;

pub use allocator::{AccountRow, Applied, LeaseRow, Recovered, Rows, Teller};
pub use budget::{Amounts, BudgetSpec, Dimension, InputCount, Shortage};
pub use burn::{Burn, Forecast};
pub use clock::{LedgerClock, Now};
pub use protocol::{
    AccountAnswer, AccountKey, Answer, Balance, Crossing, Entry, EntryState, Level, Line, Overshoot, Pool,
    Report, Settled, Terms,
};
pub use reservation::{Amount, Exceeded, Reserved, Shortfall, Why};
pub use window::{Calendar, Span, Window};

use crate::Attribution;
use leases::{Leases, WALKED_AT_ONCE};

/// Settlements that a report has room for before it has to grow: those of 100 ms at 10,000 a second.
const SETTLED_PER_REPORT: usize = 1_000;

/// What is asked of the ledger for one attempt.
#[derive(Debug, Clone, Copy)]
pub struct Claim<'a> {
    /// Whose it is and what it asks, with its path.
    pub whose: &'a Attribution,
    /// Most it can cost.
    pub bound: Amounts,
    /// Its priority.
    pub priority: Priority,
    /// The wait it comes back from, if it was told to wait.
    pub waited: Option<u64>,
}

/// The leases of this process, and what became of them. One per process; a handle that is shared.
#[derive(Debug)]
pub struct Ledger {
    // A sync mutex: held for one walk over a few accounts, never across an await (I-5).
    leases: Mutex<Leases>,
}

/// Everything that was ever reserved here, whatever budget it had: the totals of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Totals {
    /// Cost of settled attempts in nano-dollars.
    pub posted_nusd: i64,
    /// Upper bounds of attempts that are under way, in nano-dollars.
    pub pending_nusd: i64,
    /// Upper bounds of attempts that were sent and whose cost is not known, in nano-dollars.
    pub suspense_nusd: i64,
    /// Attempts under way.
    pub pending: u64,
    /// Attempts settled with a known cost.
    pub settled: u64,
    /// Attempts whose cost is not known.
    pub suspense: u64,
    /// Attempts that were never sent.
    pub void: u64,
    /// Attempts that cost more than their upper bound.
    pub overshoots: u64,
}

/// One account as this process sees it.
#[derive(Debug, Clone, Serialize)]
pub struct AccountView {
    /// The account.
    pub key: AccountKey,
    /// Its budget's terms.
    pub terms: Terms,
    /// How it stood at the allocator's last answer.
    pub balance: Balance,
    /// Reserved here at this moment.
    pub pending_here: i64,
    /// Held here and free.
    pub free_here: i64,
}

impl Ledger {
    /// A ledger of `budgets`. `concurrency_max` is how many exchanges run at once at most; above 80 %
    /// of a budget medium priority may have half of that.
    pub fn new(budgets: Vec<BudgetSpec>, clock: LedgerClock, concurrency_max: usize) -> Self {
        Self { leases: Mutex::new(Leases::new(budgets, clock, concurrency_max)) }
    }

    /// Puts other budgets in force. Accounts of budgets that stay keep their leases; reservations under
    /// way settle where they were made.
    pub fn configure(&self, budgets: Vec<BudgetSpec>) {
        self.leases.lock().configure(budgets);
    }

    /// Reserves the upper bound of an attempt from every account it touches, or from none.
    pub fn reserve(&self, claim: &Claim<'_>, now: Now) -> Result<Reserved, Shortfall> {
        self.leases.lock().reserve(claim, now)
    }

    /// Ends a reservation that was provably never sent, or refused before it ran.
    pub fn void(&self, reserved: &Reserved) {
        self.leases.lock().void(reserved);
    }

    /// Ends a reservation as `settled` says, which `Reserved::settled` made of it, and puts it into the
    /// next report.
    pub fn settle(&self, reserved: &Reserved, settled: Settled) {
        let settled = Box::new(settled);
        self.leases.lock().settle(reserved, settled);
    }

    /// Whether the leases may be used at a time: several replicas may use theirs only while they are
    /// heard.
    pub fn is_valid(&self, now: Now) -> bool {
        self.leases.lock().is_valid(now)
    }

    /// Leases may be used until then; `None` for as long as there is something in them.
    pub fn valid_until(&self, until: Option<Duration>) {
        self.leases.lock().valid_until(until);
    }

    /// The highest level among the hard budgets of a request; accounts nobody has used are calm.
    pub fn level(&self, whose: &Attribution) -> Level {
        self.leases.lock().level(whose)
    }

    /// Whether a request is counted by a hard budget of money or tokens, so that its output must have
    /// a limit.
    pub fn needs_bound(&self, whose: &Attribution) -> bool {
        self.leases.lock().needs_bound(whose)
    }

    /// What the input's part of an upper bound may rest on: what every hard budget of money or tokens
    /// that counts the request allows.
    pub fn input_count(&self, whose: &Attribution) -> InputCount {
        self.leases.lock().input_count(whose)
    }

    /// The report that is due: the one that was not answered yet, or a new one. `all` also tells of
    /// accounts that did not change, and closes those that nobody needs (a heartbeat). One task reports.
    pub fn report(&self, now: Now, all: bool) -> Arc<Report> {
        let room = Vec::with_capacity(SETTLED_PER_REPORT);
        let mut report = match self.leases.lock().report(now, room) {
            Ok(open) => return open,
            Err(new) => new,
        };
        let mut next = all.then_some(0);
        while let Some(after) = next {
            report.accounts.reserve(WALKED_AT_ONCE);
            next = self.leases.lock().add_quiet(&mut report, now, after);
        }
        let report = Arc::new(report);
        self.leases.lock().send(Arc::clone(&report));
        report
    }

    /// Takes the allocator's answer. Gives back the attempts whose settlement is durable now.
    pub fn answered(&self, answer: &Answer, now: Now) -> Vec<Arc<str>> {
        let Some(asked) = self.leases.lock().asked(answer) else { return Vec::new() };
        let closed: HashSet<&AccountKey> =
            asked.accounts.iter().filter(|account| account.closed).map(|account| &account.key).collect();
        for some in answer.accounts.chunks(WALKED_AT_ONCE) {
            let mut leases = self.leases.lock();
            for said in some {
                leases.hear(said, closed.contains(&said.key), now.mono);
            }
        }
        // Last: whoever waited for this answer must find all of it.
        self.leases.lock().answered(answer);
        asked.settled.iter().map(|settled| Arc::clone(&settled.attempt)).collect()
    }

    /// Whether somebody waits for an answer, or something waits to be journalled.
    pub fn is_due(&self) -> bool {
        self.leases.lock().is_due()
    }

    /// Whether a lease runs low, so that the report should not wait.
    pub fn wants_leases(&self) -> bool {
        self.leases.lock().wants_leases()
    }

    /// The accounts this process has used lately.
    pub fn accounts(&self) -> Vec<AccountView> {
        let (mut views, mut next) = (Vec::new(), Some(0));
        while let Some(after) = next {
            views.reserve(WALKED_AT_ONCE);
            next = self.leases.lock().view(&mut views, after);
        }
        views
    }

    /// The budgets in force.
    pub fn budgets(&self) -> Vec<Arc<BudgetSpec>> {
        self.leases.lock().budgets()
    }

    /// The totals of this process.
    pub fn totals(&self) -> Totals {
        self.leases.lock().totals()
    }

    /// Ledger time.
    pub fn time_ms(&self, now: Now) -> i64 {
        self.leases.lock().time_ms(now)
    }

    /// Whether the wall clock has run ahead and an operator must confirm it.
    pub fn clock_is_frozen(&self) -> bool {
        self.leases.lock().clock_is_frozen()
    }

    /// An operator says that the wall clock is right.
    pub fn confirm_clock(&self, now: Now) {
        self.leases.lock().confirm_clock(now);
    }
}

#[cfg(test)]
mod tests;
