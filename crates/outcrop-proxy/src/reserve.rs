//! May they spend it? The reservation of one attempt, as a guard.
//!
//! It holds the attempt's upper bound in every budget that counts it, from before its first byte until
//! its end is known. Right before the first byte leaves the dispatch log hears of it, so that a killed
//! process cannot have spent what nobody knows of. Dropping the guard tells the truth: what was never
//! sent costs nothing, what was sent and not settled is in suspense (I-1, I-2).

use std::mem::take;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use outcrop_core::decision::InputCounted;
use outcrop_core::failure::{Class, Code, Failure, Reason};
use outcrop_core::money::{NanoUsd, Tier};
use outcrop_core::{AttemptId, Usage};
use outcrop_policy::Attribution;
use outcrop_policy::ledger::{
    Amounts, Claim, Entry, EntryState, Exceeded, Reserved, Settled, Shortage, Shortfall, Why,
};
use outcrop_policy::stops::automatic::Observation;
use outcrop_store::dispatch::Slot;
use outcrop_upstream::Dispatch;
use parking_lot::Mutex;
use tokio::time::{Instant, timeout_at};

use crate::clock::{unix_ms, unix_now};
use crate::count::Counter;
use crate::gateway::Gateway;
use crate::payer::{Asking, Payer, Quote};
use crate::stages::Stage;

/// The reservation of one attempt.
pub(crate) struct Reservation {
    // `None` once it has ended.
    open: Option<Box<Open>>,
}

struct Open {
    gateway: Arc<Gateway>,
    payer: Arc<Payer>,
    quote: Quote,
    reserved: Reserved,
    attempt: Arc<str>,
    entry: Entry,
    parcel: Arc<Parcel>,
}

/// What the moment of dispatch needs to know.
struct Parcel {
    gateway: Arc<Gateway>,
    whose: Attribution,
    /// How the attempt stands if nothing is ever heard of it again.
    worst: Settled,
    sent: AtomicBool,
    // Its place in the dispatch log, from the first byte on.
    slot: Mutex<Option<Slot>>,
}

/// What an attempt has cost.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Paid {
    pub(crate) cost: NanoUsd,
    /// What is left in the tightest hard budget of money, in nano-dollars.
    pub(crate) remaining_nusd: Option<i64>,
}

/// Reserves an attempt, waiting for the allocator where the leases do not hold enough. What does not fit
/// may have its input counted once, then its output made smaller once, where the budgets say so.
pub(crate) async fn reserve(
    asking: Asking<'_>,
    mut quote: Quote,
    mut counter: Option<Counter<'_>>,
) -> Result<Reservation, Failure> {
    let mut may_clamp = true;
    loop {
        let no = match hold(asking, &quote).await {
            Ok(reserved) => return Ok(Reservation::new(asking, quote, reserved)),
            Err(Refused::Exceeded(no)) => no,
            Err(Refused::Failed(failure)) => return Err(failure),
        };
        let known = match counter.take() {
            Some(counter) => counter.counted(asking, &quote, &no).await,
            None => None,
        };
        let other = known.or_else(|| if take(&mut may_clamp) { smaller(&quote, &no) } else { None });
        match other {
            Some(other) => quote = other,
            None => return Err(Refused::Exceeded(no).into_failure(asking.gateway, &quote)),
        }
    }
}

enum Refused {
    Exceeded(Box<Exceeded>),
    Failed(Failure),
}

impl Refused {
    /// A target with an account of its own, or a cheaper one, may still have room: then nothing was sent
    /// for the gateway's own sake, and another target may be tried.
    fn into_failure(self, gateway: &Gateway, quote: &Quote) -> Failure {
        match self {
            Self::Failed(failure) => failure,
            Self::Exceeded(no) => {
                let mut failure = exceeded(&no, gateway.keeper.now().wall_ms);
                if let Some(counted) = quote.input_counted {
                    failure =
                        failure.with_detail(format!("its input was counted to {} tokens", counted.tokens));
                }
                let elsewhere = no.of_target || no.shortage == Shortage::Cheaper;
                if elsewhere { unsent(failure) } else { failure }
            }
        }
    }
}

/// The attempt with the output that still fits, where the budget says so.
fn smaller(quote: &Quote, no: &Exceeded) -> Option<Quote> {
    let Shortage::Clamp { floor_tokens } = no.shortage else { return None };
    if no.why != Why::Full {
        return None;
    }
    quote.clamped(|amounts| amounts.of(no.terms.dimension) <= no.left, floor_tokens)
}

async fn hold(asking: Asking<'_>, quote: &Quote) -> Result<Reserved, Refused> {
    let Asking { gateway, payer, by, .. } = asking;
    let mut health = gateway.keeper.health();
    let (mut waited, began) = (None, Instant::now());
    loop {
        let claim = Claim { whose: &quote.whose, bound: quote.amounts, priority: payer.priority, waited };
        let ticket = match gateway.ledger().reserve(&claim, gateway.keeper.now()) {
            Ok(reserved) => {
                if waited.is_some() {
                    gateway.metrics.stages.observe(Stage::Lease, began.elapsed());
                }
                return Ok(reserved);
            }
            Err(Shortfall::Wait(ticket)) => ticket,
            Err(Shortfall::Exceeded(no)) => return Err(Refused::Exceeded(no)),
            Err(Shortfall::Unavailable) => return Err(Refused::Failed(unavailable("the leases ran out"))),
            Err(Shortfall::TooManyAccounts) => return Err(Refused::Failed(too_many_accounts())),
        };
        waited = Some(ticket);
        gateway.keeper.wake();
        // The wait is for one answer; the next one has its own.
        let until = by.min(Instant::now() + gateway.grant_wait_max);
        let answer = health.wait_for(|health| !health.ok || health.answered >= ticket);
        match timeout_at(until, answer).await {
            Ok(Ok(health)) if health.ok => {}
            Ok(_) => return Err(Refused::Failed(unavailable("the store does not answer"))),
            Err(_) => return Err(Refused::Failed(unavailable("the store did not answer in time"))),
        }
    }
}

impl Reservation {
    fn new(asking: Asking<'_>, quote: Quote, reserved: Reserved) -> Self {
        let Asking { gateway, payer, id, .. } = asking;
        let attempt: Arc<str> = id.to_string().into();
        let entry = entry(&quote, &reserved, id);
        let worst =
            reserved.settled(Arc::clone(&attempt), EntryState::Suspense, entry.clone(), &Amounts::default());
        let parcel = Arc::new(Parcel {
            gateway: Arc::clone(gateway),
            whose: quote.whose.clone(),
            worst,
            sent: AtomicBool::new(false),
            slot: Mutex::new(None),
        });
        let (gateway, payer) = (Arc::clone(gateway), Arc::clone(payer));
        Self { open: Some(Box::new(Open { gateway, payer, quote, reserved, attempt, entry, parcel })) }
    }

    /// Most output tokens that the request may ask for; `None` leaves it as it is.
    pub(crate) fn cap(&self) -> Option<u64> {
        self.open.as_ref().and_then(|open| open.quote.cap)
    }

    /// Service tier to ask for; `None` leaves the request as it is.
    pub(crate) fn tier(&self) -> Option<Tier> {
        self.open.as_ref().and_then(|open| open.quote.tier)
    }

    /// What its input was counted to, where its bytes did not fit.
    pub(crate) fn input_counted(&self) -> Option<InputCounted> {
        self.open.as_ref().and_then(|open| open.quote.input_counted)
    }

    /// What is left in the tightest hard budget of money after it, in nano-dollars.
    pub(crate) fn remaining_nusd(&self) -> Option<i64> {
        self.open.as_ref().and_then(|open| open.reserved.remaining_nusd)
    }

    /// Whom the attempt tells when it leaves.
    pub(crate) fn dispatch(&self) -> Dispatch {
        match &self.open {
            Some(open) => {
                let parcel = Arc::clone(&open.parcel);
                Dispatch::new(move || parcel.leave())
            }
            None => Dispatch::untold(),
        }
    }

    /// Whether its first byte has left.
    pub(crate) fn is_sent(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.parcel.sent.load(Ordering::Acquire))
    }

    /// The upstream has named the request.
    pub(crate) fn answered(&mut self, upstream_request_id: &str) {
        if let Some(open) = &mut self.open {
            upstream_request_id.clone_into(&mut open.entry.upstream_request_id);
        }
    }

    /// The attempt came to a clean end with this usage. What the upstream did not count is taken for
    /// the most it can have been: the input's bound, and a token for each byte that came.
    pub(crate) fn settle(mut self, usage: &Usage, seen_bytes: u64) -> Option<Paid> {
        let open = self.open.take()?;
        let (remaining, bound) = (open.reserved.remaining_nusd, open.quote.amounts.nusd);
        let cost = open.post(usage, seen_bytes);
        let freed = bound.saturating_sub(cost.0);
        Some(Paid { cost, remaining_nusd: remaining.map(|left| left.saturating_add(freed)) })
    }

    /// Its caller left, and the upstream stops there: input and what was seen are owed.
    pub(crate) fn cut_off(mut self, usage: &Usage, seen_bytes: u64) {
        if let Some(open) = self.open.take() {
            // What was reported in passing is not the end of the count.
            let usage = Usage { output: None, ..*usage };
            open.post(&usage, seen_bytes);
        }
    }

    /// Nothing is to be paid for.
    pub(crate) fn void(mut self) {
        if let Some(open) = self.open.take() {
            open.void();
        }
    }

    /// The attempt failed: void where it provably did not run, else in suspense.
    pub(crate) fn fail(mut self, class: Class) {
        let Some(open) = self.open.take() else { return };
        match class {
            Class::NotSent | Class::Refused | Class::Permanent | Class::NotHere | Class::Credential => {
                open.void();
            }
            Class::Ambiguous | Class::Partial | Class::CallerGone => open.end(),
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if let Some(open) = self.open.take() {
            open.end();
        }
    }
}

impl Open {
    fn post(self: Box<Self>, usage: &Usage, seen_bytes: u64) -> NanoUsd {
        let Self { gateway, payer, quote, reserved, attempt, mut entry, .. } = *self;
        let counted = in_full(usage, &quote, seen_bytes);
        let cost = quote.price.cost(&counted, &quote.terms).unwrap_or(NanoUsd(quote.amounts.nusd));
        let amount = |tokens: u64| i64::try_from(tokens).unwrap_or(i64::MAX);
        let actual = Amounts {
            nusd: cost.0,
            input_tokens: amount(counted.input_total()),
            output_tokens: amount(counted.output_or_zero()),
            ..quote.amounts
        };
        (entry.usage, entry.cost_nusd, entry.estimated) = (counted, cost.0, !usage.is_complete());
        if cost.0 > quote.amounts.nusd {
            let (cost_nusd, bound_nusd) = (cost.0, quote.amounts.nusd);
            tracing::warn!(%attempt, cost_nusd, bound_nusd, "overshoot: an attempt cost more than was reserved");
        }
        payer.count();
        let settled = reserved.settled(attempt, EntryState::Posted, entry, &actual);
        gateway.ledger().settle(&reserved, settled);
        gateway.keeper.wake();
        gateway.stops.observe(&quote.whose, spent(cost.0), unix_ms());
        cost
    }

    fn void(self: Box<Self>) {
        if let Some(slot) = self.parcel.slot.lock().take() {
            self.gateway.keeper.dispatch().clear(slot);
        }
        self.gateway.ledger().void(&self.reserved);
    }

    /// Nobody knows what it cost: in suspense, unless it was never sent.
    fn end(self: Box<Self>) {
        if !self.parcel.sent.load(Ordering::Acquire) {
            return self.void();
        }
        let Self { gateway, payer, quote, reserved, attempt, entry, .. } = *self;
        payer.count();
        let settled = reserved.settled(attempt, EntryState::Suspense, entry, &Amounts::default());
        gateway.ledger().settle(&reserved, settled);
        gateway.keeper.wake();
        gateway.stops.observe(&quote.whose, spent(quote.amounts.nusd), unix_ms());
    }
}

impl Parcel {
    /// Right before the first byte: the leases must still be good, and the dispatch log must know.
    fn leave(&self) -> Result<(), Failure> {
        if self.sent.load(Ordering::Acquire) {
            return Ok(());
        }
        let keeper = &self.gateway.keeper;
        let request = &self.worst.entry.request_id;
        self.gateway.stops.may_start(&self.whose, request, unix_now).map_err(unsent)?;
        if !self.gateway.ledger().is_valid(keeper.now()) {
            return Err(unsent(unavailable("the leases ran out before dispatch")));
        }
        let dispatch = keeper.dispatch();
        let slot = dispatch.take().ok_or_else(|| unsent(unavailable("the dispatch log is full")))?;
        if let Err(error) = dispatch.write(&slot, &self.worst) {
            dispatch.clear(slot);
            return Err(unsent(
                unavailable("the dispatch log cannot be written").with_detail(error.to_string()),
            ));
        }
        *self.slot.lock() = Some(slot);
        self.sent.store(true, Ordering::Release);
        Ok(())
    }
}

/// What the automatic stops are to know of an attempt's end, however its exchange ends.
fn spent(cost_nusd: i64) -> Observation {
    Observation { failed: None, cost_nusd }
}

/// The usage with what the upstream did not report taken for the most it can have been.
fn in_full(usage: &Usage, quote: &Quote, seen_bytes: u64) -> Usage {
    let output = usage.output.unwrap_or_else(|| seen_bytes.min(quote.bounds.output_total()));
    let input = usage.input.unwrap_or(quote.bounds.input_tokens);
    Usage { input: Some(input), output: Some(output), ..*usage }
}

fn entry(quote: &Quote, reserved: &Reserved, id: &AttemptId) -> Entry {
    let whose = quote.whose.clone();
    Entry {
        request_id: id.request.as_str().into(),
        at_ms: reserved.at_ms,
        org: whose.org,
        team: whose.team,
        key: whose.key,
        user: whose.user,
        run: whose.run,
        model: whose.model,
        path: whose.path,
        target: Arc::clone(&quote.model_id),
        operation: whose.operation,
        tool: whose.tool,
        upstream_request_id: String::new(),
        price_version: Arc::clone(&quote.price.version),
        usage: Usage::default(),
        bound_nusd: quote.amounts.nusd,
        cost_nusd: quote.amounts.nusd,
        estimated: false,
    }
}

/// A refusal over money, with the numbers.
fn exceeded(no: &Exceeded, now_ms: i64) -> Failure {
    let until = no.until_ms.and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    let message = match (no.why, until) {
        (Why::Crowded, _) => no.to_string(),
        (Why::Full | Why::Paused, Some(until)) => format!("{no} Its window ends at {until:.0}."),
        (Why::Full | Why::Paused, None) => format!("{no} Whoever runs this gateway can raise it."),
    };
    let mut failure = Failure::refusal(Code::BudgetExceeded, message);
    failure.retry_after = match no.why {
        Why::Crowded => Some(Duration::from_secs(1)),
        Why::Full | Why::Paused => no
            .until_ms
            .and_then(|ms| u64::try_from(ms.saturating_sub(now_ms)).ok())
            .map(Duration::from_millis),
    };
    failure
}

fn unavailable(detail: &'static str) -> Failure {
    let mut failure = Failure::refusal(
        Code::LedgerUnavailable,
        "The ledger cannot record what this request would spend, so it is not sent; try again shortly.",
    )
    .with_detail(detail);
    failure.retry_after = Some(Duration::from_secs(1));
    failure
}

fn too_many_accounts() -> Failure {
    Failure::refusal(
        Code::LedgerUnavailable,
        "The request is counted by more budgets than the ledger can hold open; name fewer users or runs, or \
         join the budgets.",
    )
}

fn unsent(failure: Failure) -> Failure {
    Failure { class: Class::NotSent, reason: Reason::Policy, ..failure }
}
