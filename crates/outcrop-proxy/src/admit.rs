//! May they be served? A slot for the exchange, as a guard that lives until its last event.
//!
//! What an attempt may spend is reserved apart, in `reserve`, once its target is known.

use std::sync::Arc;
use std::time::Duration;

use outcrop_core::failure::{Code, Failure};
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

impl Drop for Admission {
    fn drop(&mut self) {
        self.gateway.metrics.inflight.dec();
    }
}
