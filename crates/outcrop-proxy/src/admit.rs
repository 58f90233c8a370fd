//! May they? A slot for the exchange and a reservation for each attempt, both as guards.
//!
//! Dropping a guard tells the truth: an exchange gives its slot back, an attempt that was dispatched
//! and not settled is suspended, because what it cost is unknown (I-1, I-2).

use std::sync::Arc;
use std::time::Duration;

use outcrop_core::Usage;
use outcrop_core::failure::{Class, Code, Failure};
use outcrop_core::money::{NanoUsd, Price, Terms};
use tokio::sync::OwnedSemaphorePermit;

use crate::gateway::Gateway;

/// The right of one exchange to be served; lives until its last event.
pub(crate) struct Admission {
    gateway: Arc<Gateway>,
    _permit: OwnedSemaphorePermit,
}

/// Takes a slot, or refuses at once.
pub(crate) fn admit(gateway: &Arc<Gateway>) -> Result<Admission, Failure> {
    let permit = Arc::clone(&gateway.permits)
        .try_acquire_owned()
        .map_err(|_| overloaded("The gateway serves as many requests as it may; try again shortly."))?;
    gateway.metrics.inflight.inc();
    Ok(Admission { gateway: Arc::clone(gateway), _permit: permit })
}

/// A refusal that costs nothing and may be repeated shortly.
pub(crate) fn overloaded(message: &'static str) -> Failure {
    let mut failure = Failure::refusal(Code::Overloaded, message);
    failure.retry_after = Some(Duration::from_secs(1));
    failure
}

impl Admission {
    /// Opens the account of one attempt.
    pub(crate) fn reserve(&self, price: Arc<Price>) -> Reservation {
        self.gateway.book.open();
        Reservation { gateway: Some(Arc::clone(&self.gateway)), price }
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.gateway.metrics.inflight.dec();
    }
}

/// The account of one attempt.
pub(crate) struct Reservation {
    // `None` once it is settled.
    gateway: Option<Arc<Gateway>>,
    price: Arc<Price>,
}

impl Reservation {
    /// The attempt ended with this usage; unknown usage is suspended, never counted as nothing.
    pub(crate) fn settle(mut self, usage: &Usage) -> Option<NanoUsd> {
        let gateway = self.gateway.take()?;
        if !usage.is_complete() {
            gateway.book.suspend();
            return None;
        }
        let cost = self.price.cost(usage, &Terms::default());
        gateway.book.post(cost);
        cost
    }

    /// Nothing was to be paid for: counting tokens is free.
    pub(crate) fn void(mut self) {
        if let Some(gateway) = self.gateway.take() {
            gateway.book.void();
        }
    }

    /// The attempt failed: void where it provably did not run, else suspended.
    pub(crate) fn fail(mut self, class: Class) {
        let Some(gateway) = self.gateway.take() else { return };
        match class {
            Class::NotSent | Class::Refused | Class::Permanent | Class::NotHere | Class::Credential => {
                gateway.book.void();
            }
            Class::Ambiguous | Class::Partial | Class::CallerGone => gateway.book.suspend(),
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if let Some(gateway) = self.gateway.take() {
            gateway.book.suspend();
        }
    }
}
