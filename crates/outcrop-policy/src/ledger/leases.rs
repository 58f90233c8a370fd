//! The leases of this process: what the request path debits, under one short lock.
//!
//! An account is opened by the first request that touches it and closed when its window is over or
//! nobody has used it for a while. What was reserved settles in the account of its admission.
//!
//! No step of it walks over all accounts: what changed is listed, and the rest is looked at a few at a
//! time, so that whoever holds the lock holds it for a moment however many accounts there are.

use std::collections::{BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;

use super::budget::{BudgetSpec, Dimension, InputCount};
use super::clock::{LedgerClock, Now};
use super::protocol::{
    ACCOUNTS_PER_REQUEST_MAX, AccountAnswer, AccountKey, AccountReport, Answer, EntryState, Level, Report,
    Settled,
};
use super::reservation::{Part, Reserved, Shortfall, Why};
use super::{AccountView, Claim, Totals};
use crate::Attribution;
use account::Account;
use current::Current;

mod account;
mod current;

/// Most accounts that are open at once here.
const ACCOUNTS_MAX: usize = 100_000;
/// An account that nobody used for so long is closed, and its lease given back.
const IDLE_MAX: Duration = Duration::from_secs(30);
/// Accounts without news that are looked at while the lock is held once.
pub(super) const WALKED_AT_ONCE: usize = 16;
/// For so long it is believed that nothing is left, before the allocator is asked again.
const EXHAUSTED_FOR: Duration = Duration::from_millis(100);

/// What waits to be reported.
type Outbox = Vec<Box<Settled>>;

#[derive(Debug)]
pub(super) struct Leases {
    budgets: Vec<Budget>,
    accounts: HashMap<u64, Account, foldhash::fast::RandomState>,
    by_key: HashMap<Arc<AccountKey>, u64>,
    // Ids of all accounts, so that a walk can pause.
    ids: BTreeSet<u64>,
    // Accounts with news, each once.
    news: Vec<u64>,
    next: u64,
    // Room to write a concrete scope in.
    text: String,
    // Settled and not yet in a report. Bounded by the slots of the dispatch log, one per attempt.
    outbox: Outbox,
    // The report that was not answered yet: it is sent again as it is.
    open: Option<Arc<Report>>,
    sequence: u64,
    answered: u64,
    wanted: bool,
    clock: LedgerClock,
    valid_until: Option<Duration>,
    concurrency_max: usize,
    totals: Totals,
}

#[derive(Debug)]
struct Budget {
    spec: Arc<BudgetSpec>,
    current: Current,
}

impl Budget {
    fn new(spec: BudgetSpec) -> Self {
        let current = Current::of(&spec.scope);
        Self { spec: Arc::new(spec), current }
    }
}

impl Leases {
    pub(super) fn new(budgets: Vec<BudgetSpec>, clock: LedgerClock, concurrency_max: usize) -> Self {
        Self {
            budgets: budgets.into_iter().map(Budget::new).collect(),
            accounts: HashMap::default(),
            by_key: HashMap::new(),
            ids: BTreeSet::new(),
            news: Vec::new(),
            next: 0,
            text: String::new(),
            outbox: Outbox::new(),
            open: None,
            sequence: 0,
            answered: 0,
            wanted: false,
            clock,
            valid_until: None,
            concurrency_max,
            totals: Totals::default(),
        }
    }

    pub(super) fn configure(&mut self, specs: Vec<BudgetSpec>) {
        let mut before = std::mem::take(&mut self.budgets);
        for spec in specs {
            let kept = before.iter().position(|budget| budget.spec.id == spec.id);
            let current = kept.map(|at| before.swap_remove(at).current);
            for id in current.iter().flat_map(Current::ids) {
                if let Some(account) = self.accounts.get_mut(&id) {
                    account.limit_is(&spec);
                    account.list(id, &mut self.news);
                }
            }
            let budget = Budget::new(spec);
            self.budgets.push(Budget { current: current.unwrap_or(budget.current), ..budget });
        }
        for id in before.iter().flat_map(|budget| budget.current.ids()) {
            if let Some(account) = self.accounts.get_mut(&id) {
                account.retire();
                account.list(id, &mut self.news);
            }
        }
        self.wanted = true;
    }

    pub(super) fn reserve(&mut self, claim: &Claim<'_>, now: Now) -> Result<Reserved, Shortfall> {
        if !self.is_valid(now) {
            return Err(Shortfall::Unavailable);
        }
        let now_ms = self.clock.tick(now);
        let ids = self.open_all(claim.whose, now_ms, now.mono)?;
        let mut parts: SmallVec<[Part; ACCOUNTS_PER_REQUEST_MAX]> = SmallVec::new();
        let mut waits = false;
        for id in &ids {
            let Some(account) = self.accounts.get_mut(id) else { continue };
            account.used_at(now.mono);
            let verdict = account.claim(claim, self.answered, self.concurrency_max, now.mono);
            account.list(*id, &mut self.news);
            match verdict {
                Ok(pool) => parts.push(account.part(*id, pool, claim)),
                Err(Verdict::Wait) => waits = true,
                Err(Verdict::No(why)) => return Err(account.exceeded(why, claim, now_ms)),
            }
        }
        if waits {
            self.wanted = true;
            return Err(Shortfall::Wait(self.next_sequence()));
        }
        Ok(self.hold(parts, claim, now_ms))
    }

    fn hold(
        &mut self,
        parts: SmallVec<[Part; ACCOUNTS_PER_REQUEST_MAX]>,
        claim: &Claim<'_>,
        at_ms: i64,
    ) -> Reserved {
        let mut remaining_nusd: Option<i64> = None;
        for part in &parts {
            let Some(account) = self.accounts.get_mut(&part.account) else { continue };
            account.hold(part);
            self.wanted |= account.wants_more(part.pool);
            account.list(part.account, &mut self.news);
            if part.dimension == Dimension::Usd && account.terms().hard {
                let left = account.left(part.pool);
                remaining_nusd = Some(remaining_nusd.map_or(left, |least| least.min(left)));
            }
        }
        self.totals.pending = self.totals.pending.saturating_add(1);
        self.totals.pending_nusd = self.totals.pending_nusd.saturating_add(claim.bound.nusd);
        Reserved { parts, bound: claim.bound, at_ms, remaining_nusd }
    }

    pub(super) fn void(&mut self, reserved: &Reserved) {
        for part in &reserved.parts {
            if let Some(account) = self.accounts.get_mut(&part.account) {
                account.free(part);
                account.list(part.account, &mut self.news);
            }
        }
        self.no_longer_pending(reserved);
        self.totals.void = self.totals.void.saturating_add(1);
    }

    pub(super) fn settle(&mut self, reserved: &Reserved, settled: Box<Settled>) {
        for (part, line) in reserved.parts.iter().zip(&settled.lines) {
            if let Some(account) = self.accounts.get_mut(&part.account) {
                account.spend(part, line.amount);
                account.list(part.account, &mut self.news);
            }
        }
        self.no_longer_pending(reserved);
        let totals = &mut self.totals;
        match settled.state {
            EntryState::Posted => {
                totals.settled = totals.settled.saturating_add(1);
                totals.posted_nusd = totals.posted_nusd.saturating_add(settled.entry.cost_nusd);
                let over = settled.entry.cost_nusd > reserved.bound.nusd;
                totals.overshoots = totals.overshoots.saturating_add(u64::from(over));
            }
            EntryState::Suspense => {
                totals.suspense = totals.suspense.saturating_add(1);
                totals.suspense_nusd = totals.suspense_nusd.saturating_add(reserved.bound.nusd);
            }
        }
        self.outbox.push(settled);
    }

    fn no_longer_pending(&mut self, reserved: &Reserved) {
        debug_assert!(self.totals.pending > 0, "I-2: each reservation ends once");
        self.totals.pending = self.totals.pending.saturating_sub(1);
        self.totals.pending_nusd = self.totals.pending_nusd.saturating_sub(reserved.bound.nusd);
    }

    pub(super) fn is_valid(&self, now: Now) -> bool {
        self.valid_until.is_none_or(|until| now.mono < until)
    }

    pub(super) fn valid_until(&mut self, until: Option<Duration>) {
        self.valid_until = until;
    }

    pub(super) fn level(&self, whose: &Attribution) -> Level {
        let mut text = String::new();
        let levels = self.matching(whose).filter(|budget| budget.spec.hard).filter_map(|budget| {
            let id = budget.current.get(&budget.spec.scope, whose, &mut text)?;
            Some(self.accounts.get(&id)?.level())
        });
        levels.max().unwrap_or_default()
    }

    pub(super) fn needs_bound(&self, whose: &Attribution) -> bool {
        self.bounding(whose).next().is_some()
    }

    pub(super) fn input_count(&self, whose: &Attribution) -> InputCount {
        self.bounding(whose).map(|budget| budget.spec.input_count).min().unwrap_or_default()
    }

    /// The hard budgets of money or tokens that count a request.
    fn bounding<'a>(&'a self, whose: &'a Attribution) -> impl Iterator<Item = &'a Budget> {
        self.matching(whose).filter(|budget| {
            let counted = !matches!(budget.spec.dimension, Dimension::Requests | Dimension::ToolCalls);
            budget.spec.hard && counted
        })
    }

    fn matching<'a>(&'a self, whose: &'a Attribution) -> impl Iterator<Item = &'a Budget> {
        self.budgets.iter().filter(|budget| budget.spec.scope.matches(whose))
    }

    /// The accounts a request touches, opening those that are not open.
    fn open_all(
        &mut self,
        whose: &Attribution,
        now_ms: i64,
        mono: Duration,
    ) -> Result<SmallVec<[u64; ACCOUNTS_PER_REQUEST_MAX]>, Shortfall> {
        let mut ids = SmallVec::new();
        for at in 0..self.budgets.len() {
            let Some(budget) = self.budgets.get(at).filter(|b| b.spec.scope.matches(whose)) else { continue };
            let open = budget.current.get(&budget.spec.scope, whose, &mut self.text);
            let fits = |id: &u64| self.accounts.get(id).is_some_and(|account| account.holds(now_ms));
            let id = match open.filter(fits) {
                Some(id) => id,
                None => self.open(at, budget.current.instance(&budget.spec.scope, whose), now_ms, mono)?,
            };
            if ids.len() == ACCOUNTS_PER_REQUEST_MAX {
                return Err(Shortfall::TooManyAccounts);
            }
            ids.push(id);
        }
        Ok(ids)
    }

    /// Opens the account of a budget's scope in the window of now.
    fn open(&mut self, at: usize, scope: Arc<str>, now_ms: i64, mono: Duration) -> Result<u64, Shortfall> {
        if self.accounts.len() >= ACCOUNTS_MAX {
            return Err(Shortfall::TooManyAccounts);
        }
        let Some(budget) = self.budgets.get_mut(at) else { return Err(Shortfall::TooManyAccounts) };
        let spec = Arc::clone(&budget.spec);
        let span = spec.window.span(now_ms);
        let key =
            AccountKey { budget: Arc::clone(&spec.id), scope: Arc::clone(&scope), start_ms: span.start_ms };
        let key = Arc::new(key);
        // One that is being closed may be opened again once that is done.
        let id = if let Some(id) = self.by_key.get(&key) {
            *id
        } else {
            self.next = self.next.saturating_add(1);
            self.accounts.insert(self.next, Account::open(Arc::clone(&key), &spec, span, mono));
            self.by_key.insert(key, self.next);
            self.ids.insert(self.next);
            self.next
        };
        if let Some(before) = budget.current.insert(scope, id).filter(|before| *before != id)
            && let Some(account) = self.accounts.get_mut(&before)
        {
            account.retire();
            account.list(before, &mut self.news);
        }
        if let Some(account) = self.accounts.get_mut(&id) {
            account.revive();
            account.list(id, &mut self.news);
        }
        Ok(id)
    }

    /// The number of the report that carries what is asked for now.
    fn next_sequence(&self) -> u64 {
        self.sequence.saturating_add(1)
    }

    /// The report that is open, or a new one with all the news, which takes `room` for the next ones'
    /// settlements.
    pub(super) fn report(&mut self, now: Now, room: Outbox) -> Result<Arc<Report>, Report> {
        if let Some(open) = &self.open {
            return Ok(Arc::clone(open));
        }
        self.sequence = self.next_sequence();
        self.wanted = false;
        let now_ms = self.clock.tick(now);
        let mut accounts = Vec::with_capacity(self.news.len());
        let mut news = std::mem::take(&mut self.news);
        for id in news.drain(..) {
            let Some(account) = self.accounts.get_mut(&id) else { continue };
            account.unlist();
            retire_if_done(account, id, &mut self.budgets, (now_ms, now.mono));
            accounts.push(account.report(self.sequence));
            let followed = account.is_earlier_part().then(|| Arc::clone(account.key()));
            accounts.extend(followed.and_then(|key| self.successor(&key)));
        }
        self.news = news;
        let settled = std::mem::replace(&mut self.outbox, room);
        Err(Report { sequence: self.sequence, now_ms, accounts, settled })
    }

    /// The account that what an earlier part of a rolling window gives back is to be had in: it hears of
    /// that with the same answer.
    fn successor(&mut self, key: &AccountKey) -> Option<AccountReport> {
        let budget = self.budgets.iter().find(|budget| budget.spec.id == key.budget)?;
        let id = budget.current.open_of(&key.scope)?;
        let account = self.accounts.get_mut(&id)?;
        let is_quiet = !account.has_news() && !account.is_told_in(self.sequence);
        is_quiet.then(|| account.report(self.sequence))
    }

    /// Adds some of the accounts without news, after that of an id, and retires those that nobody needs.
    /// Gives back where to go on. Those that have news by now are told in the next report: what they
    /// settled is not in this one.
    pub(super) fn add_quiet(&mut self, report: &mut Report, now: Now, after: u64) -> Option<u64> {
        let now_ms = self.clock.tick(now);
        let mut last = None;
        for id in self.ids.range((Bound::Excluded(after), Bound::Unbounded)).take(WALKED_AT_ONCE) {
            last = Some(*id);
            let Some(account) = self.accounts.get_mut(id) else { continue };
            if !account.has_news() && !account.is_told_in(self.sequence) {
                retire_if_done(account, *id, &mut self.budgets, (now_ms, now.mono));
                report.accounts.push(account.report(self.sequence));
            }
        }
        last
    }

    /// It is to be sent, again and again until it is answered.
    pub(super) fn send(&mut self, report: Arc<Report>) {
        self.open = Some(report);
    }

    /// The open report, if the answer is to it.
    pub(super) fn asked(&self, answer: &Answer) -> Option<Arc<Report>> {
        self.open.as_ref().filter(|open| open.sequence == answer.sequence).map(Arc::clone)
    }

    /// What the answer says of one account; whether the report gave it back.
    pub(super) fn hear(&mut self, said: &AccountAnswer, closed: bool, mono: Duration) {
        let Some(id) = self.by_key.get(&said.key).copied() else { return };
        let Some(account) = self.accounts.get_mut(&id) else { return };
        account.hear(said, mono);
        if closed && account.reopen_or_end() {
            self.accounts.remove(&id);
            self.by_key.remove(&said.key);
            self.ids.remove(&id);
        } else {
            account.list(id, &mut self.news);
        }
    }

    /// All that the answer says was heard.
    pub(super) fn answered(&mut self, answer: &Answer) {
        self.open = None;
        self.answered = answer.sequence;
    }

    pub(super) fn wants_leases(&self) -> bool {
        self.wanted
    }

    pub(super) fn is_due(&self) -> bool {
        self.wanted || !self.outbox.is_empty()
    }

    /// Some of the accounts, after that of an id. Gives back where to go on.
    pub(super) fn view(&self, views: &mut Vec<AccountView>, after: u64) -> Option<u64> {
        let mut last = None;
        for id in self.ids.range((Bound::Excluded(after), Bound::Unbounded)).take(WALKED_AT_ONCE) {
            last = Some(*id);
            views.extend(self.accounts.get(id).map(Account::view));
        }
        last
    }

    pub(super) fn budgets(&self) -> Vec<Arc<BudgetSpec>> {
        self.budgets.iter().map(|budget| Arc::clone(&budget.spec)).collect()
    }

    pub(super) fn totals(&self) -> Totals {
        self.totals
    }

    pub(super) fn time_ms(&mut self, now: Now) -> i64 {
        self.clock.tick(now)
    }

    pub(super) fn clock_is_frozen(&self) -> bool {
        self.clock.is_frozen()
    }

    pub(super) fn confirm_clock(&mut self, now: Now) {
        self.clock.confirm(now);
    }
}

/// An account whose window is over, or that nobody has used for long, takes nothing new. What it gives
/// back is told in the report that tells of the others, so that they hear of it with the answer.
fn retire_if_done(account: &mut Account, id: u64, budgets: &mut [Budget], (now_ms, mono): (i64, Duration)) {
    if !account.is_over(now_ms) && !account.is_idle(mono, IDLE_MAX) {
        return;
    }
    account.retire();
    if let Some(budget) = budgets.iter_mut().find(|budget| budget.spec.id == account.key().budget) {
        budget.current.remove(&account.key().scope, id);
    }
}

/// What one account says to a claim that it does not simply grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// More may be had.
    Wait,
    /// There is no room.
    No(Why),
}
