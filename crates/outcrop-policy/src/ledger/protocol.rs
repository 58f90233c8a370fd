//! What a replica and the allocator tell each other.
//!
//! Everything is said in totals that only grow, or under an id that is used once, so that saying it
//! again changes nothing: a report whose answer was lost is simply sent again.

use std::sync::Arc;

use outcrop_core::Usage;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::budget::Dimension;

/// Most accounts that one request may touch.
pub const ACCOUNTS_PER_REQUEST_MAX: usize = 8;

/// Names an account: one budget, one concrete scope, one window.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct AccountKey {
    /// Id of the budget.
    pub budget: Arc<str>,
    /// The scope with its stars replaced.
    pub scope: Arc<str>,
    /// Beginning of the window, in milliseconds since the epoch.
    pub start_ms: i64,
}

/// What a budget says of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// End of the window; `i64::MAX` for a lifetime.
    pub end_ms: i64,
    /// For a bucket of a rolling window: how far back the ends of buckets still count.
    pub reach_ms: Option<i64>,
    /// What is counted.
    pub dimension: Dimension,
    /// How much there is.
    pub limit: i64,
    /// The part of it that only emergencies may use.
    pub carve_out: i64,
    /// Whether the limit is one.
    pub hard: bool,
}

/// Who may draw from a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pool {
    /// Everybody.
    Ordinary,
    /// Emergencies only: it may come out of the carve-out.
    Emergency,
}

/// Both pools, in the order of their index.
pub const POOLS: [Pool; 2] = [Pool::Ordinary, Pool::Emergency];

impl Pool {
    /// Its place in an array of two.
    pub fn index(self) -> usize {
        match self {
            Self::Ordinary => 0,
            Self::Emergency => 1,
        }
    }
}

/// What a replica says of one of its leases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LeaseReport {
    /// What has left the lease since it began: settled, suspended or given back. Only grows.
    pub spent: i64,
    /// The smallest amount that somebody waits for; 0 when nobody does.
    pub need: i64,
    /// All that is waited for together.
    pub want: i64,
}

/// What a replica says of an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountReport {
    /// Which.
    pub key: AccountKey,
    /// Its budget's terms as this replica knows them.
    pub terms: Terms,
    /// Reserved here and not settled.
    pub pending: i64,
    /// Its leases, by pool.
    pub leases: [LeaseReport; 2],
    /// Whether the replica is done with the account: its leases are given back whole.
    pub closed: bool,
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryState {
    /// Its cost is known (or estimated, then it is marked so).
    Posted,
    /// It was sent and its cost is not known: its upper bound counts as spent.
    Suspense,
}

/// What the journal keeps of an attempt.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Entry {
    /// Id of the exchange.
    pub request_id: Arc<str>,
    /// Ledger time of the admission, in milliseconds since the epoch.
    pub at_ms: i64,
    /// Organisation, team, key, end user, run.
    pub org: Arc<str>,
    /// Team.
    pub team: Arc<str>,
    /// Key.
    pub key: Arc<str>,
    /// End user.
    pub user: Arc<str>,
    /// Run or session.
    pub run: Arc<str>,
    /// Model as the caller named it.
    pub model: Arc<str>,
    /// Path.
    pub path: Arc<str>,
    /// Id of the model at the path.
    pub target: Arc<str>,
    /// Operation.
    pub operation: Arc<str>,
    /// Federated tool.
    pub tool: Arc<str>,
    /// The upstream's request id; empty if it gave none.
    pub upstream_request_id: String,
    /// The price row that was pinned.
    pub price_version: Arc<str>,
    /// Tokens, as far as they are known.
    pub usage: Usage,
    /// Upper bound in nano-dollars.
    pub bound_nusd: i64,
    /// Cost in nano-dollars; the upper bound while it is in suspense.
    pub cost_nusd: i64,
    /// Whether the cost is an estimate that leans up.
    pub estimated: bool,
}

/// The part of an attempt that one account bears.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Which account.
    pub account: Arc<AccountKey>,
    /// From which lease it was reserved.
    pub pool: Pool,
    /// Posted or suspended, in units of the account's dimension.
    pub amount: i64,
}

/// An attempt that ended, or that must be taken for ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settled {
    /// Id of the attempt: used once.
    pub attempt: Arc<str>,
    /// How.
    pub state: EntryState,
    /// What the journal keeps.
    pub entry: Entry,
    /// Who bears it.
    pub lines: SmallVec<[Line; ACCOUNTS_PER_REQUEST_MAX]>,
}

/// One report of a replica: everything since the last one, to be taken whole or not at all.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Report {
    /// Counts up; a report that is sent again keeps its number.
    pub sequence: u64,
    /// Ledger time.
    pub now_ms: i64,
    /// Accounts that changed, or that somebody waits for.
    pub accounts: Vec<AccountReport>,
    /// Attempts that ended.
    #[allow(
        clippy::vec_box,
        reason = "handed over under the ledger's lock, where nothing large may be moved"
    )]
    pub settled: Vec<Box<Settled>>,
}

impl Report {
    /// Whether there is nothing to say.
    pub fn is_empty(&self) -> bool {
        self.accounts.is_empty() && self.settled.is_empty()
    }
}

/// What the allocator says of an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountAnswer {
    /// Which.
    pub key: AccountKey,
    /// Granted to this replica since its leases began, by pool. Only grows.
    pub granted: [i64; 2],
    /// The account as a whole.
    pub balance: Balance,
    /// What was still to be had after this answer, by pool.
    pub available: [i64; 2],
}

/// The three numbers of an account, which are never mixed, and what they are held against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Balance {
    /// Known to be spent.
    pub posted: i64,
    /// Sent, cost unknown: counts as spent.
    pub suspense: i64,
    /// Reserved and not settled, as the replicas last said.
    pub pending: i64,
    /// Handed out to replicas and neither spent nor given back; `pending` is a part of it.
    pub leased: i64,
    /// For a rolling window: what the earlier buckets that still count hold.
    pub earlier: i64,
    /// The limit.
    pub limit: i64,
    /// The highest threshold that was crossed.
    pub level: Level,
}

impl Balance {
    /// Spent, or to be taken for spent.
    pub fn committed(&self) -> i64 {
        [self.posted, self.suspense, self.pending, self.earlier].into_iter().fold(0, i64::saturating_add)
    }
}

/// How much of a limit is committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Less than half.
    #[default]
    Calm,
    /// 50 %: told.
    Half,
    /// 80 %: low priority pauses, medium runs at half concurrency, nothing is hedged.
    Throttled,
    /// 95 %: a configured cheaper target is taken; critical requests stay.
    Degraded,
    /// 100 %: refused.
    Exhausted,
}

/// All levels above `Calm` with their share of the limit in percent.
pub const LEVELS: [(Level, i64); 4] =
    [(Level::Half, 50), (Level::Throttled, 80), (Level::Degraded, 95), (Level::Exhausted, 100)];

impl Level {
    /// The level of a committed amount.
    pub fn of(committed: i64, limit: i64) -> Self {
        let reached = |percent: i64| {
            i128::from(committed) * 100 >= i128::from(limit) * i128::from(percent)
                && (committed > 0 || limit <= 0)
        };
        LEVELS.into_iter().rev().find(|(_, percent)| reached(*percent)).map_or(Self::Calm, |(level, _)| level)
    }

    /// The word for it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Calm => "calm",
            Self::Half => "half",
            Self::Throttled => "throttled",
            Self::Degraded => "degraded",
            Self::Exhausted => "exhausted",
        }
    }
}

/// A threshold was crossed: told once per account and level, whatever happens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Crossing {
    /// Which account.
    pub key: AccountKey,
    /// Which threshold.
    pub level: Level,
    /// What was committed when it was noticed.
    pub committed: i64,
    /// Of what.
    pub limit: i64,
    /// Ledger time.
    pub at_ms: i64,
}

/// More was billed than was reserved: the truth is posted, and this is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overshoot {
    /// Id of the attempt.
    pub attempt: String,
    /// Upper bound in nano-dollars.
    pub bound_nusd: i64,
    /// Cost in nano-dollars.
    pub cost_nusd: i64,
}

/// The allocator's answer to a report.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Answer {
    /// The report's number.
    pub sequence: u64,
    /// The accounts of the report.
    pub accounts: Vec<AccountAnswer>,
    /// Thresholds that were crossed with it.
    pub crossings: Vec<Crossing>,
}
