//! One account as this process holds it: a lease per pool, and how it stood at the last answer.

use std::sync::Arc;
use std::time::Duration;

use outcrop_core::Priority;

use super::super::allocator::is_scarce;
use super::super::budget::{BudgetSpec, Shortage};
use super::super::pressure::Pressure;
use super::super::protocol::{
    AccountAnswer, AccountKey, AccountReport, Balance, LeaseReport, Level, Pool, Terms,
};
use super::super::reservation::{Exceeded, Part, Shortfall, Why};
use super::super::window::Span;
use super::super::{AccountView, Claim};
use super::{EXHAUSTED_FOR, Verdict};
use crate::Facet;

/// One lease.
#[derive(Debug, Clone, Copy, Default)]
struct Lease {
    granted: i64,
    spent: i64,
    pending: i64,
    // What is waited for since the last report.
    need: i64,
    want: i64,
    // What the allocator still had at its last answer.
    available: i64,
}

impl Lease {
    fn free(&self) -> i64 {
        self.granted.saturating_sub(self.spent).saturating_sub(self.pending)
    }

    /// What is waited for beyond what is free: the least that would help somebody, and all of it.
    fn asked(&mut self) -> (i64, i64) {
        let (need, want) = (std::mem::take(&mut self.need), std::mem::take(&mut self.want));
        if need == 0 {
            return (0, 0);
        }
        let need = need.saturating_sub(self.free()).max(1);
        (need, want.saturating_sub(self.free()).max(need))
    }

    fn ask(&mut self, amount: i64) {
        let amount = amount.max(1);
        self.need = if self.need == 0 { amount } else { self.need.min(amount) };
        self.want = self.want.saturating_add(amount);
    }
}

/// Whether an account is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    Open,
    /// No new reservations; it is closed once the last one has settled.
    Retired,
    /// The report that gives its leases back is under way. Whoever wants it again has to wait.
    Closing {
        wanted: bool,
    },
}

#[derive(Debug)]
pub(super) struct Account {
    key: Arc<AccountKey>,
    terms: Terms,
    shortage: Shortage,
    // Whether another target has an account of its own.
    of_target: bool,
    span: Span,
    life: Life,
    leases: [Lease; 2],
    // Reservations under way.
    open: usize,
    balance: Balance,
    pressure: Pressure,
    // Whether the allocator has answered for it.
    known: bool,
    // When it did so under the limit in force.
    heard_at: Option<Duration>,
    // The first report whose answer speaks of everything asked for so far.
    asked_in: u64,
    used: Duration,
    changed: bool,
    // Whether it stands in the list of those with news.
    listed: bool,
    // The last report that spoke of it.
    told_in: u64,
}

impl Account {
    pub(super) fn open(key: Arc<AccountKey>, spec: &BudgetSpec, span: Span, mono: Duration) -> Self {
        let terms = Terms {
            end_ms: span.end_ms,
            reach_ms: spec.window.reach_ms(),
            dimension: spec.dimension,
            limit: spec.limit,
            carve_out: spec.carve_out,
            hard: spec.hard,
        };
        Self {
            key,
            terms,
            shortage: spec.shortage,
            of_target: spec.scope.facets().any(Facet::is_of_target),
            span,
            life: Life::Open,
            leases: [Lease::default(); 2],
            open: 0,
            balance: Balance { limit: spec.limit, ..Balance::default() },
            pressure: Pressure::default(),
            known: false,
            heard_at: None,
            asked_in: 0,
            used: mono,
            changed: true,
            listed: false,
            told_in: 0,
        }
    }

    pub(super) fn key(&self) -> &Arc<AccountKey> {
        &self.key
    }

    /// Whether it is a part of a rolling window that takes nothing new.
    pub(super) fn is_earlier_part(&self) -> bool {
        self.terms.reach_ms.is_some() && self.life != Life::Open
    }

    /// Puts it into the list of those with news, once.
    pub(super) fn list(&mut self, id: u64, news: &mut Vec<u64>) {
        if self.changed && !self.listed {
            self.listed = true;
            news.push(id);
        }
    }

    pub(super) fn unlist(&mut self) {
        self.listed = false;
    }

    pub(super) fn has_news(&self) -> bool {
        self.changed
    }

    pub(super) fn is_told_in(&self, sequence: u64) -> bool {
        self.told_in == sequence
    }

    pub(super) fn terms(&self) -> &Terms {
        &self.terms
    }

    pub(super) fn level(&self) -> Level {
        self.pressure.level()
    }

    pub(super) fn holds(&self, now_ms: i64) -> bool {
        self.span.holds(now_ms) && self.life == Life::Open
    }

    pub(super) fn is_over(&self, now_ms: i64) -> bool {
        now_ms >= self.span.end_ms
    }

    pub(super) fn is_idle(&self, mono: Duration, idle_max: Duration) -> bool {
        self.open == 0 && mono.saturating_sub(self.used) > idle_max
    }

    pub(super) fn used_at(&mut self, mono: Duration) {
        self.used = mono;
    }

    pub(super) fn limit_is(&mut self, spec: &BudgetSpec) {
        (self.terms.limit, self.terms.carve_out, self.terms.hard) = (spec.limit, spec.carve_out, spec.hard);
        self.shortage = spec.shortage;
        self.heard_at = None;
        self.changed = true;
    }

    pub(super) fn retire(&mut self) {
        if self.life == Life::Open {
            self.life = Life::Retired;
            self.changed = true;
        }
    }

    /// Somebody wants it again.
    pub(super) fn revive(&mut self) {
        self.life = match self.life {
            Life::Open | Life::Retired => Life::Open,
            Life::Closing { .. } => Life::Closing { wanted: true },
        };
    }

    /// Its leases were given back: it begins anew if somebody wants it, else it is done (`true`).
    pub(super) fn reopen_or_end(&mut self) -> bool {
        let wanted = matches!(self.life, Life::Closing { wanted: true });
        if wanted {
            self.life = Life::Open;
            self.leases = [Lease::default(); 2];
            (self.known, self.heard_at) = (false, None);
            self.changed = true;
        }
        !wanted
    }

    /// Which pool a claim may draw from, or why from none.
    pub(super) fn claim(
        &mut self,
        claim: &Claim<'_>,
        answered: u64,
        concurrency_max: usize,
        mono: Duration,
    ) -> Result<Pool, Verdict> {
        if self.life != Life::Open || !self.known {
            return Err(Verdict::Wait);
        }
        let amount = claim.bound.of(self.terms.dimension);
        if !self.terms.hard || amount == 0 {
            return Ok(Pool::Ordinary);
        }
        if self.is_over_limit() {
            return Err(Verdict::No(Why::Full));
        }
        self.check_pressure(claim.priority, concurrency_max)?;
        let [ordinary, emergency] = self.leases;
        if ordinary.free() >= amount {
            return Ok(Pool::Ordinary);
        }
        let urgent = claim.priority == Priority::Emergency;
        if urgent && emergency.free() >= amount {
            return Ok(Pool::Emergency);
        }
        let pool = if urgent { Pool::Emergency } else { Pool::Ordinary };
        if self.is_exhausted(pool, amount, claim, answered, mono) {
            return Err(Verdict::No(Why::Full));
        }
        if let Some(lease) = self.leases.get_mut(pool.index()) {
            lease.ask(amount);
        }
        self.changed = true;
        Err(Verdict::Wait)
    }

    /// The limit was cut, or more was billed than reserved: what is leased may not be used either, until
    /// it fits again.
    fn is_over_limit(&self) -> bool {
        let Balance { posted, suspense, leased, earlier, .. } = self.balance;
        let used = [posted, suspense, leased, earlier].into_iter().fold(0, i64::saturating_add);
        self.terms.hard && used > self.terms.limit
    }

    fn check_pressure(&self, priority: Priority, concurrency_max: usize) -> Result<(), Verdict> {
        if self.level() < Level::Throttled {
            return Ok(());
        }
        match priority {
            Priority::Low => Err(Verdict::No(Why::Paused)),
            Priority::Medium if self.open >= concurrency_max / 2 => Err(Verdict::No(Why::Crowded)),
            Priority::Medium | Priority::High | Priority::Critical | Priority::Emergency => Ok(()),
        }
    }

    /// Whether the allocator's last answer already says that so much is not to be had: it answered a
    /// report that carried this very claim, or it answered a moment ago.
    fn is_exhausted(
        &self,
        pool: Pool,
        amount: i64,
        claim: &Claim<'_>,
        answered: u64,
        mono: Duration,
    ) -> bool {
        let Some(lease) = self.leases.get(pool.index()) else { return true };
        let enough = lease.free().saturating_add(lease.available) >= amount;
        let heard = claim.waited.is_some_and(|ticket| answered >= ticket && self.asked_in <= answered);
        let fresh = self.heard_at.is_some_and(|at| mono.saturating_sub(at) < EXHAUSTED_FOR);
        !enough && (heard || fresh)
    }

    pub(super) fn part(&self, id: u64, pool: Pool, claim: &Claim<'_>) -> Part {
        Part {
            account: id,
            key: Arc::clone(&self.key),
            dimension: self.terms.dimension,
            pool,
            amount: claim.bound.of(self.terms.dimension),
        }
    }

    pub(super) fn exceeded(&self, why: Why, claim: &Claim<'_>, now_ms: i64) -> Shortfall {
        let pool = if claim.priority == Priority::Emergency { Pool::Emergency } else { Pool::Ordinary };
        let until = match self.terms.reach_ms {
            // The oldest bucket that counts leaves within the next bucket's length.
            Some(_) => now_ms.saturating_add(self.span.end_ms.saturating_sub(self.span.start_ms)),
            None => self.terms.end_ms,
        };
        Shortfall::Exceeded(Box::new(Exceeded {
            key: AccountKey::clone(&self.key),
            terms: self.terms,
            why,
            asked: claim.bound.of(self.terms.dimension),
            left: self.left(pool),
            shortage: self.shortage,
            of_target: self.of_target,
            until_ms: (until != i64::MAX).then_some(until),
        }))
    }

    /// What a pool could still give: what is free here and what the allocator had.
    pub(super) fn left(&self, pool: Pool) -> i64 {
        let here = |pool: Pool| self.leases.get(pool.index()).map_or(0, Lease::free).max(0);
        let there = self.leases.get(pool.index()).map_or(0, |lease| lease.available);
        let shared = if pool == Pool::Emergency { here(Pool::Ordinary) } else { 0 };
        here(pool).saturating_add(shared).saturating_add(there)
    }

    pub(super) fn hold(&mut self, part: &Part) {
        self.open = self.open.saturating_add(1);
        self.changed = true;
        if let Some(lease) = self.leases.get_mut(part.pool.index()) {
            lease.pending = lease.pending.saturating_add(part.amount);
            debug_assert!(
                !self.terms.hard || part.amount == 0 || lease.free() >= 0,
                "I-1: never more than leased"
            );
        }
    }

    /// Asks for more before the lease runs dry, while there is plenty.
    pub(super) fn wants_more(&mut self, pool: Pool) -> bool {
        let hard = self.terms.hard;
        let Some(lease) = self.leases.get_mut(pool.index()) else { return false };
        let usual = lease.pending / i64::try_from(self.open.max(1)).unwrap_or(i64::MAX);
        let low = lease.free() < usual.saturating_mul(4);
        let wants = hard && low && usual > 0 && lease.need == 0 && !is_scarce(usual, lease.available, 1);
        if wants {
            lease.ask(usual);
        }
        wants
    }

    pub(super) fn free(&mut self, part: &Part) {
        self.open = self.open.saturating_sub(1);
        self.changed = true;
        if let Some(lease) = self.leases.get_mut(part.pool.index()) {
            lease.pending = lease.pending.saturating_sub(part.amount);
        }
    }

    /// What was held becomes what was spent. More than was held comes out of what is free here; the
    /// allocator hears the truth in any case.
    pub(super) fn spend(&mut self, part: &Part, actual: i64) {
        self.free(part);
        let hard = self.terms.hard;
        if let Some(lease) = self.leases.get_mut(part.pool.index()).filter(|_| hard) {
            lease.spent = lease.spent.saturating_add(actual.min(lease.free().max(0)));
        }
    }

    pub(super) fn report(&mut self, sequence: u64) -> AccountReport {
        if self.life == Life::Retired && self.open == 0 {
            self.life = Life::Closing { wanted: false };
        }
        if self.life == Life::Retired || self.is_over_limit() {
            self.give_back();
        }
        self.changed = false;
        self.told_in = sequence;
        let closed = matches!(self.life, Life::Closing { .. });
        let waited_for = self.leases.iter().any(|lease| lease.need > 0);
        if waited_for {
            self.asked_in = sequence;
        }
        let leases = self.leases.each_mut().map(|lease| {
            let (need, want) = lease.asked();
            LeaseReport { spent: if closed { lease.granted } else { lease.spent }, need, want }
        });
        let pending = self.leases.iter().map(|lease| lease.pending).fold(0, i64::saturating_add);
        AccountReport { key: AccountKey::clone(&self.key), terms: self.terms, pending, leases, closed }
    }

    fn give_back(&mut self) {
        for lease in &mut self.leases {
            lease.spent = lease.spent.saturating_add(lease.free().max(0));
        }
    }

    pub(super) fn hear(&mut self, said: &AccountAnswer, mono: Duration) {
        self.balance = said.balance;
        (self.known, self.heard_at) = (true, Some(mono));
        for ((lease, granted), available) in self.leases.iter_mut().zip(said.granted).zip(said.available) {
            lease.granted = lease.granted.max(granted);
            lease.available = available;
        }
        self.pressure.hear(said.balance.committed(), self.terms.limit, mono);
        // What is given back is told at once, so that somebody can have it.
        self.changed |= self.is_over_limit() && self.leases.iter().any(|lease| lease.free() > 0);
    }

    pub(super) fn view(&self) -> AccountView {
        let sum = |of: fn(&Lease) -> i64| self.leases.iter().map(of).fold(0, i64::saturating_add);
        AccountView {
            key: AccountKey::clone(&self.key),
            terms: self.terms,
            balance: self.balance,
            pending_here: sum(|lease| lease.pending),
            free_here: sum(|lease| lease.free().max(0)),
        }
    }
}
