//! The allocator: it alone knows what is left of a limit, and hands out slices of it.
//!
//! Pure: an engine loads the rows that a report touches, these functions change them, and the engine
//! stores them again, all in one transaction. Whatever the engine, the rules are these.
//! Invariant (I13): what is posted, in suspense and leased never exceeds a hard limit by a grant.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::budget::Amounts;
use super::protocol::{
    AccountAnswer, AccountKey, AccountReport, Answer, Balance, Crossing, Entry, EntryState, LEVELS, Level,
    POOLS, Pool, Report, Settled, Terms,
};

/// Largest slice of a limit that one lease is asked to hold, as a share of what is left: a fourth,
/// divided by the number of replicas.
const SHARE: i64 = 4;

/// The lease of one replica on one account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseRow {
    /// Whose.
    pub replica: Arc<str>,
    /// Granted since it began, by pool.
    pub granted: [i64; 2],
    /// Spent or given back since it began, by pool.
    pub spent: [i64; 2],
    /// Reserved and not settled, as the replica last said.
    pub pending: i64,
}

impl LeaseRow {
    /// What the replica still holds, by pool.
    pub fn outstanding(&self, pool: Pool) -> i64 {
        let at = |amounts: &[i64; 2]| amounts.get(pool.index()).copied().unwrap_or(0);
        at(&self.granted).saturating_sub(at(&self.spent)).max(0)
    }
}

/// One account as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountRow {
    /// Which.
    pub key: AccountKey,
    /// Its budget's terms, as last reported.
    pub terms: Terms,
    /// Known to be spent.
    pub posted: i64,
    /// Sent, cost unknown.
    pub suspense: i64,
    /// The part of both that came out of the emergency pool.
    pub emergency: i64,
    /// The highest threshold that was told.
    pub told: Level,
    /// Leases by replica; a replica stands here once.
    pub leases: Vec<LeaseRow>,
}

impl AccountRow {
    /// An account nobody has drawn from.
    pub fn new(key: AccountKey, terms: Terms) -> Self {
        Self { key, terms, posted: 0, suspense: 0, emergency: 0, told: Level::Calm, leases: Vec::new() }
    }

    fn leased(&self, pool: Pool) -> i64 {
        self.leases.iter().map(|lease| lease.outstanding(pool)).fold(0, i64::saturating_add)
    }

    fn lease(&mut self, replica: &Arc<str>) -> &mut LeaseRow {
        let known = self.leases.iter().position(|lease| lease.replica == *replica);
        let at = known.unwrap_or_else(|| {
            let (granted, spent) = ([0; 2], [0; 2]);
            self.leases.push(LeaseRow { replica: Arc::clone(replica), granted, spent, pending: 0 });
            self.leases.len().saturating_sub(1)
        });
        self.leases.get_mut(at).expect("invariant: the position was just found or made")
    }

    /// What counts against the limit: all of it, and the part of the emergency pool.
    fn used(&self) -> Used {
        let emergency = self.emergency.saturating_add(self.leased(Pool::Emergency));
        let ordinary = self
            .posted
            .saturating_add(self.suspense)
            .saturating_sub(self.emergency)
            .saturating_add(self.leased(Pool::Ordinary));
        Used { ordinary, emergency }
    }

    fn bear(&mut self, state: EntryState, pool: Pool, amount: i64) {
        let to = match state {
            EntryState::Posted => &mut self.posted,
            EntryState::Suspense => &mut self.suspense,
        };
        *to = to.saturating_add(amount);
        if pool == Pool::Emergency {
            self.emergency = self.emergency.saturating_add(amount);
        }
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Used {
    ordinary: i64,
    emergency: i64,
}

impl Used {
    fn total(self) -> i64 {
        self.ordinary.saturating_add(self.emergency)
    }

    fn plus(self, other: Self) -> Self {
        Self {
            ordinary: self.ordinary.saturating_add(other.ordinary),
            emergency: self.emergency.saturating_add(other.emergency),
        }
    }
}

/// The rows that a transaction has loaded.
#[derive(Debug, Clone, Default)]
pub struct Rows {
    /// Accounts that are touched, and for rolling windows the buckets beside them.
    pub accounts: BTreeMap<AccountKey, AccountRow>,
    /// Ids of attempts that the journal already holds.
    pub known: BTreeSet<Arc<str>>,
}

/// What one replica says, and how many share the limits.
#[derive(Debug, Clone, Copy)]
pub struct Teller<'a> {
    /// Id of the replica.
    pub replica: &'a Arc<str>,
    /// Replicas that have been heard of lately, this one included.
    pub replicas: usize,
}

impl Rows {
    /// Accounts a report touches. An engine loads these, and the buckets beside those that have a
    /// reach, before `apply`.
    pub fn touched(report: &Report) -> BTreeSet<&AccountKey> {
        let settled = report.settled.iter().flat_map(|settled| settled.lines.iter().map(|l| &*l.account));
        report.accounts.iter().map(|account| &account.key).chain(settled).collect()
    }

    /// Takes a report: journals what ended, counts what was given back, and grants what is asked for
    /// as far as there is room. Taking it twice is taking it once.
    pub fn apply(&mut self, teller: Teller<'_>, report: &Report) -> Applied {
        let mut applied = Applied::default();
        for account in &report.accounts {
            let row = self.row(&account.key, account.terms);
            row.terms = account.terms;
            row.lease(teller.replica).hear(account);
        }
        for settled in &report.settled {
            if self.journal(settled) {
                applied.entries.push(Settled::clone(settled));
            }
        }
        for account in &report.accounts {
            let answer = self.answer(teller, account, report.now_ms, &mut applied.answer.crossings);
            applied.answer.accounts.push(answer);
        }
        applied.answer.sequence = report.sequence;
        applied
    }

    /// Takes back the leases of a replica that begins anew. `recovered` is what its dispatch log says
    /// was sent and not yet journalled; when the log may be incomplete, all that it held is taken for
    /// spent until there is evidence.
    pub fn begin_anew(&mut self, replica: &Arc<str>, log: &Recovered<'_>) -> Vec<Settled> {
        let mut entries: Vec<Settled> =
            log.settled.iter().filter(|settled| self.journal(settled)).cloned().collect();
        let mut stranded = Vec::new();
        for row in self.accounts.values_mut() {
            let Some(at) = row.leases.iter().position(|lease| lease.replica == *replica) else { continue };
            let lease = row.leases.swap_remove(at);
            for pool in POOLS {
                let accounted = entries.iter().map(|entry| entry.borne(&row.key, pool));
                let rest = lease.outstanding(pool).saturating_sub(accounted.fold(0, i64::saturating_add));
                if !log.complete && rest > 0 {
                    stranded.push(strand(row, pool, rest, log));
                }
            }
        }
        self.known.extend(stranded.iter().map(|settled| Arc::clone(&settled.attempt)));
        entries.extend(stranded);
        entries
    }

    /// Evidence has come for an attempt in suspense: posts the truth, as a new entry.
    pub fn resolve(&mut self, suspended: &Settled, actual: &Amounts) -> Settled {
        let mut posted = suspended.clone();
        posted.state = EntryState::Posted;
        posted.entry.cost_nusd = actual.nusd;
        for line in &mut posted.lines {
            let Some(row) = self.accounts.get_mut(&line.account) else { continue };
            row.suspense = row.suspense.saturating_sub(line.amount).max(0);
            if line.pool == Pool::Emergency {
                row.emergency = row.emergency.saturating_sub(line.amount).max(0);
            }
            line.amount = actual.of(row.terms.dimension);
            row.bear(EntryState::Posted, line.pool, line.amount);
        }
        posted
    }

    /// How an account stands at a time; `None` when it is not loaded.
    pub fn balance(&self, key: &AccountKey, now_ms: i64) -> Option<Balance> {
        let row = self.accounts.get(key)?;
        let pending = row.leases.iter().map(|lease| lease.pending).fold(0, i64::saturating_add);
        let mut balance = Balance {
            posted: row.posted,
            suspense: row.suspense,
            pending,
            leased: row.leased(Pool::Ordinary).saturating_add(row.leased(Pool::Emergency)),
            earlier: self.earlier(row, now_ms).total(),
            limit: row.terms.limit,
            level: Level::Calm,
        };
        balance.level = Level::of(balance.committed(), balance.limit);
        Some(balance)
    }

    fn row(&mut self, key: &AccountKey, terms: Terms) -> &mut AccountRow {
        self.accounts.entry(key.clone()).or_insert_with(|| AccountRow::new(key.clone(), terms))
    }

    /// Journals an attempt once; `false` when it was there already.
    fn journal(&mut self, settled: &Settled) -> bool {
        if !self.known.insert(Arc::clone(&settled.attempt)) {
            return false;
        }
        for line in &settled.lines {
            if let Some(row) = self.accounts.get_mut(&line.account) {
                row.bear(settled.state, line.pool, line.amount);
            }
        }
        true
    }

    fn answer(
        &mut self,
        teller: Teller<'_>,
        report: &AccountReport,
        now_ms: i64,
        crossings: &mut Vec<Crossing>,
    ) -> AccountAnswer {
        for pool in [Pool::Emergency, Pool::Ordinary] {
            self.grant(teller, report, pool, now_ms);
        }
        let balance = self.balance(&report.key, now_ms).unwrap_or_default();
        let available = POOLS.map(|pool| self.available(&report.key, pool, now_ms));
        let mut granted = [0; 2];
        if let Some(row) = self.accounts.get_mut(&report.key) {
            tell(row, &balance, now_ms, crossings);
            if report.closed {
                row.leases.retain(|lease| lease.replica != *teller.replica);
            } else {
                granted = row.lease(teller.replica).granted;
            }
        }
        AccountAnswer { key: report.key.clone(), granted, balance, available }
    }

    fn grant(&mut self, teller: Teller<'_>, report: &AccountReport, pool: Pool, now_ms: i64) {
        let asked = report.leases.get(pool.index()).copied().unwrap_or_default();
        let over = now_ms >= report.terms.end_ms || report.closed || !report.terms.hard;
        if over || asked.need <= 0 {
            return;
        }
        let available = self.available(&report.key, pool, now_ms);
        let slice = slice(asked.need, asked.want, available, teller.replicas);
        if let Some(row) = self.accounts.get_mut(&report.key)
            && let Some(granted) = row.lease(teller.replica).granted.get_mut(pool.index())
        {
            *granted = granted.saturating_add(slice);
        }
    }

    /// What may still be handed out.
    fn available(&self, key: &AccountKey, pool: Pool, now_ms: i64) -> i64 {
        let Some(row) = self.accounts.get(key) else { return 0 };
        let used = row.used().plus(self.earlier(row, now_ms));
        let all = row.terms.limit.saturating_sub(used.total());
        match pool {
            Pool::Emergency => all,
            Pool::Ordinary => {
                all.min(row.terms.limit.saturating_sub(row.terms.carve_out).saturating_sub(used.ordinary))
            }
        }
        .max(0)
    }

    /// What the other buckets of a rolling window hold that still count.
    fn earlier(&self, row: &AccountRow, now_ms: i64) -> Used {
        let Some(reach) = row.terms.reach_ms else { return Used::default() };
        let beside = |other: &&AccountRow| {
            other.key.budget == row.key.budget
                && other.key.scope == row.key.scope
                && other.key.start_ms != row.key.start_ms
                && other.terms.end_ms > now_ms.saturating_sub(reach)
        };
        self.accounts.values().filter(beside).map(AccountRow::used).fold(Used::default(), Used::plus)
    }
}

/// A dispatch log as it was found.
#[derive(Debug, Clone, Copy)]
pub struct Recovered<'a> {
    /// What was sent and may not be journalled.
    pub settled: &'a [Settled],
    /// Whether it is certain that nothing else was sent.
    pub complete: bool,
    /// Names this beginning, so that what it strands has an id of its own.
    pub beginning: &'a str,
    /// Ledger time.
    pub now_ms: i64,
}

/// What taking a report has done, beside the rows.
#[derive(Debug, Clone, Default)]
pub struct Applied {
    /// For the replica.
    pub answer: Answer,
    /// For the journal.
    pub entries: Vec<Settled>,
}

impl Settled {
    /// What an account bears of it, out of one pool.
    fn borne(&self, key: &AccountKey, pool: Pool) -> i64 {
        let of = self.lines.iter().filter(|line| *line.account == *key && line.pool == pool);
        of.map(|line| line.amount).fold(0, i64::saturating_add)
    }
}

impl LeaseRow {
    fn hear(&mut self, report: &AccountReport) {
        for (spent, lease) in self.spent.iter_mut().zip(&report.leases) {
            *spent = (*spent).max(lease.spent);
        }
        self.pending = report.pending;
    }
}

/// The size of a grant: what is needed at least and what is left at most; in between a share of what
/// is left, or what is waited for. When little is left it falls to single reservations, so that a
/// limit can be used up to its last request.
pub fn slice(need: i64, want: i64, available: i64, replicas: usize) -> i64 {
    let replicas = i64::try_from(replicas.max(1)).unwrap_or(i64::MAX);
    if available < need {
        return 0;
    }
    let share = available / SHARE.saturating_mul(replicas);
    let fair = (available / replicas).max(need);
    share.max(want).max(need).min(fair)
}

/// Whether so little is left that leases fall to single reservations.
pub fn is_scarce(amount: i64, available: i64, replicas: usize) -> bool {
    let replicas = i64::try_from(replicas.max(1)).unwrap_or(i64::MAX);
    available < SHARE.saturating_mul(replicas).saturating_mul(amount)
}

fn tell(row: &mut AccountRow, balance: &Balance, at_ms: i64, crossings: &mut Vec<Crossing>) {
    let (committed, limit) = (balance.committed(), balance.limit);
    for (level, _) in LEVELS.into_iter().filter(|(level, _)| row.told < *level && *level <= balance.level) {
        crossings.push(Crossing { key: row.key.clone(), level, committed, limit, at_ms });
    }
    row.told = row.told.max(balance.level);
}

fn strand(row: &mut AccountRow, pool: Pool, amount: i64, log: &Recovered<'_>) -> Settled {
    row.bear(EntryState::Suspense, pool, amount);
    let key = &row.key;
    let attempt =
        format!("stranded:{}:{}:{}:{}:{pool:?}", log.beginning, key.budget, key.scope, key.start_ms);
    let entry = Entry { at_ms: log.now_ms, estimated: true, ..Entry::default() };
    let line = super::protocol::Line { account: Arc::new(key.clone()), pool, amount };
    Settled { attempt: attempt.into(), state: EntryState::Suspense, entry, lines: smallvec::smallvec![line] }
}
