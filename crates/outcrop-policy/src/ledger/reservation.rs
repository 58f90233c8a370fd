//! One reservation: what it holds, how it may end, and why it may not begin.

use std::fmt;
use std::sync::Arc;

use smallvec::SmallVec;

use super::budget::{Amounts, Dimension, Shortage};
use super::protocol::{ACCOUNTS_PER_REQUEST_MAX, AccountKey, Entry, EntryState, Line, Pool, Settled, Terms};

/// One account's part in a reservation.
#[derive(Debug, Clone)]
pub(super) struct Part {
    pub(super) account: u64,
    pub(super) key: Arc<AccountKey>,
    pub(super) dimension: Dimension,
    pub(super) pool: Pool,
    pub(super) amount: i64,
}

/// An upper bound that is held in every account of its request. It must be settled or voided, once:
/// it is not a guard itself, the request path wraps it in one.
#[derive(Debug)]
#[must_use]
pub struct Reserved {
    pub(super) parts: SmallVec<[Part; ACCOUNTS_PER_REQUEST_MAX]>,
    /// What is held.
    pub bound: Amounts,
    /// Ledger time of the admission, in milliseconds since the epoch.
    pub at_ms: i64,
    /// What is left after it in the tightest hard budget of money, in nano-dollars.
    pub remaining_nusd: Option<i64>,
}

impl Reserved {
    /// How the attempt stands in the journal: with what it cost, or in suspense with its upper bound.
    /// The latter is also what the dispatch log holds before the first byte leaves.
    pub fn settled(
        &self,
        attempt: impl Into<Arc<str>>,
        state: EntryState,
        entry: Entry,
        actual: &Amounts,
    ) -> Settled {
        let line = |part: &Part| Line {
            account: Arc::clone(&part.key),
            pool: part.pool,
            amount: match state {
                EntryState::Posted => actual.of(part.dimension),
                EntryState::Suspense => part.amount,
            },
        };
        Settled { attempt: attempt.into(), state, entry, lines: self.parts.iter().map(line).collect() }
    }
}

/// Why an attempt may not begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shortfall {
    /// The leases do not hold enough, and more may be had: come back with this ticket after the
    /// allocator's next answer.
    Wait(u64),
    /// There is no room.
    Exceeded(Box<Exceeded>),
    /// Leases may not be used, because the allocator has not been heard of.
    Unavailable,
    /// The request touches more accounts than one may, or there are too many of them.
    TooManyAccounts,
}

/// Which budget has no room, with its numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exceeded {
    /// The account.
    pub key: AccountKey,
    /// Its terms.
    pub terms: Terms,
    /// Why.
    pub why: Why,
    /// What was asked for, in units of the dimension.
    pub asked: i64,
    /// What was left.
    pub left: i64,
    /// What the budget does about it.
    pub shortage: Shortage,
    /// Whether another target has an account of its own.
    pub of_target: bool,
    /// When the window ends (for a rolling one: when its oldest spending may leave); `None` never.
    pub until_ms: Option<i64>,
}

/// Why a budget says no.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// The upper bound does not fit.
    Full,
    /// Low priority pauses above 80 %.
    Paused,
    /// Medium priority has its half of the concurrency above 80 %.
    Crowded,
}

impl fmt::Display for Exceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, terms, asked, left, .. } = self;
        let show = |amount: i64| Amount { amount, dimension: terms.dimension };
        match self.why {
            Why::Full => write!(
                f,
                "The budget {} of {} ({}) has {} left, and this request may take up to {}.",
                key.budget,
                key.scope,
                show(terms.limit),
                show(*left),
                show(*asked)
            ),
            Why::Paused => write!(
                f,
                "The budget {} of {} ({}) is used to more than 80 %, so requests of low priority pause; {} \
                 are left.",
                key.budget,
                key.scope,
                show(terms.limit),
                show(*left)
            ),
            Why::Crowded => write!(
                f,
                "The budget {} of {} ({}) is used to more than 80 %, so requests of medium priority run at \
                 half concurrency; try again shortly.",
                key.budget,
                key.scope,
                show(terms.limit)
            ),
        }
    }
}

/// An amount as people read it.
#[derive(Debug, Clone, Copy)]
pub struct Amount {
    /// In units of the dimension.
    pub amount: i64,
    /// Which.
    pub dimension: Dimension,
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.dimension != Dimension::Usd {
            return write!(f, "{} {}", self.amount, self.dimension.label());
        }
        let sign = if self.amount < 0 { "-" } else { "" };
        let nusd = self.amount.unsigned_abs();
        let (whole, part) = (nusd / 1_000_000_000, nusd % 1_000_000_000);
        let digits = format!("{part:09}");
        let digits = digits.trim_end_matches('0');
        write!(f, "{sign}{whole}.{digits:0<2} USD")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_is_shown_exactly() {
        for (amount, expected) in [
            (0, "0.00 USD"),
            (1, "0.000000001 USD"),
            (100_000_000_000, "100.00 USD"),
            (-1_500_000_000, "-1.50 USD"),
            (i64::MIN, "-9223372036.854775808 USD"),
        ] {
            assert_eq!(Amount { amount, dimension: Dimension::Usd }.to_string(), expected);
        }
        assert_eq!(Amount { amount: 7, dimension: Dimension::Requests }.to_string(), "7 requests");
    }
}
