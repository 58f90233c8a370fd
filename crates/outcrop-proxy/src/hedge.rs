//! A second leg beside a slow one, for what is urgent.
//!
//! Off unless the operator switches it on. Only for emergencies and critical requests without tools whose
//! budgets are not nearly used up, while neither memory nor the gateway's impact forbids it, after the time that 95 % of the target's answers take, for one request
//! in twenty at most. Both legs are reserved; the loser is left as a caller leaves.

use outcrop_core::Priority;
use outcrop_core::failure::Failure;
use outcrop_policy::ledger::Level;
use tokio::time::{Instant, sleep_until};

use crate::committed::Committed;
use crate::leg::{Exchange, Leg, Start};
use crate::optional::Work;
use crate::settle::Record;

/// Whether a request may have a second leg at all.
pub(crate) fn is_urgent(exchange: Exchange<'_>, record: &Record) -> bool {
    let switches = &exchange.snapshot.routes.switches;
    switches.hedging
        && record.priority() >= Priority::Critical
        && !exchange.call.envelope.has_tools
        && exchange.gateway.does(Work::Hedging)
        && exchange.gateway.ledger().level(&exchange.payer.whose) < Level::Throttled
}

/// What came of a leg, and whether the spare target was used.
pub(crate) struct Raced {
    pub(crate) result: Result<Committed, Failure>,
    pub(crate) used_spare: bool,
}

/// Waits for a leg, and from its usual time on for another one beside it.
pub(crate) async fn race<'a>(
    exchange: Exchange<'a>,
    mut first: Leg<'a>,
    spare: Start<'a>,
    record: &mut Record,
) -> Raced {
    let health = &exchange.gateway.health;
    health.could_hedge(Instant::now().into_std());
    let alone = |result| Raced { result, used_spare: false };
    let Some(at) = first.hedges_at() else {
        let opened = first.first_content().await;
        return alone(first.conclude(opened, record));
    };
    tokio::select! {
        biased;
        opened = first.first_content() => return alone(first.conclude(opened, record)),
        () = sleep_until(at) => {}
    }
    let second = if health.may_hedge(Instant::now().into_std()) {
        Leg::begin(exchange, spare, record).await.ok()
    } else {
        None
    };
    let Some(second) = second else {
        let opened = first.first_content().await;
        return alone(first.conclude(opened, record));
    };
    Raced { result: both(first, second, record).await, used_spare: true }
}

/// The first of two legs that answers; where one fails, the other.
async fn both(mut first: Leg<'_>, mut second: Leg<'_>, record: &mut Record) -> Result<Committed, Failure> {
    let (quicker, slower, opened) = tokio::select! {
        opened = first.first_content() => (first, second, opened),
        opened = second.first_content() => (second, first, opened),
    };
    let result = quicker.conclude(opened, record);
    let mut slower = slower;
    if result.is_ok() {
        slower.lose(record);
        return result;
    }
    let opened = slower.first_content().await;
    slower.conclude(opened, record)
}
