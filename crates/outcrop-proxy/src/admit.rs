//! May they be served? A slot for the exchange, as a guard that lives until its last event.
//!
//! Decided from the head alone, before the body is read, so that turning away is cheap. What an attempt may
//! spend is reserved apart, in `reserve`, once its target is known.

use std::sync::Arc;
use std::time::Duration;

use outcrop_core::Priority;
use outcrop_core::failure::{Code, Failure};
use outcrop_core::operation::Operation;
use outcrop_policy::admission::{Arrival, Shed};
use tokio::time::Instant;

use crate::authenticate::Caller;
use crate::gateway::Gateway;
use crate::headers::Wishes;
pub(crate) use crate::slots::Admission;
use crate::slots::Arrived;

/// Memory that a waiting request holds beside its own bytes: its task, its head, its connection's buffers.
const WAITER_BYTES: usize = 16 * 1024;

/// Who asks for a slot, and what for.
pub(crate) struct Seeker<'a> {
    pub(crate) caller: &'a Caller,
    pub(crate) operation: &'a Operation,
    pub(crate) priority: Priority,
    pub(crate) deadline: Instant,
    /// Bytes of its body that are already read.
    pub(crate) body_bytes: usize,
}

/// Takes a slot for an exchange; waits for one a short while, or refuses at once.
pub(crate) async fn admit(gateway: &Gateway, seeker: Seeker<'_>) -> Result<Admission, Failure> {
    let Seeker { caller, operation, priority, deadline, body_bytes } = seeker;
    // Before it takes a slot of a class that its key may not use.
    if !caller.may_ask_for(&operation.name) {
        return Err(Failure::refusal(Code::Forbidden, "Your key may not ask for this operation."));
    }
    let bytes = WAITER_BYTES.saturating_add(body_bytes);
    let (tenant, deadline) = (tenant(caller), deadline.into_std());
    take(gateway, Arrival { priority, tenant, deadline, bytes }).await
}

/// Takes a slot for one call of a federated tool, which has no record and ends by `by`.
pub(crate) async fn admit_tool(
    gateway: &Gateway,
    caller: &Caller,
    wishes: &Wishes,
    by: Instant,
) -> Result<Admission, Failure> {
    let priority = wishes.priority.map_or(Priority::default(), |wished| wished.min(Priority::default()));
    let (tenant, deadline) = (tenant(caller), by.into_std());
    take(gateway, Arrival { priority, tenant, deadline, bytes: WAITER_BYTES }).await
}

/// A refusal that costs nothing and may be repeated shortly.
pub(crate) fn overloaded(message: &'static str, priority: Priority) -> Failure {
    let mut failure = Failure::refusal(Code::Overloaded, message);
    failure.retry_after = Some(retry_after(priority));
    failure
}

async fn take(gateway: &Gateway, arrival: Arrival) -> Result<Admission, Failure> {
    let priority = arrival.priority;
    let answer = match gateway.slots.arrive(arrival) {
        Arrived::Admitted(admission) => Ok(admission),
        Arrived::Shed(why) => Err(why),
        Arrived::Waits(waiting) => waiting.end(priority).await,
    };
    answer.map_err(|why| {
        let mut failure = overloaded(message(why), priority);
        failure.detail = why.label().into();
        failure
    })
}

/// Who shares with whom: a team; a key without one is for itself.
fn tenant(caller: &Caller) -> Arc<str> {
    Arc::clone(if caller.team.is_empty() { &caller.name } else { &caller.team })
}

fn message(why: Shed) -> &'static str {
    match why {
        Shed::Memory => {
            "The gateway is short of memory and serves only more urgent requests; try again shortly."
        }
        Shed::Hopeless | Shed::QueueFull | Shed::PushedOut | Shed::WaitedOut => {
            "The gateway serves as many requests as it may; try again shortly."
        }
    }
}

/// When to come again: spread, so that those who are turned away together do not come back together, and
/// later for those who are served last.
fn retry_after(priority: Priority) -> Duration {
    let latest = match priority {
        Priority::Emergency | Priority::Critical => 2.0,
        Priority::High | Priority::Medium => 4.0,
        Priority::Low => 8.0,
    };
    Duration::from_secs_f64(rand::random_range(0.0..latest))
}
