//! A second leg beside a slow one, for what is urgent.
//!
//! Off unless the operator switches it on. Only for emergencies and critical requests without tools whose
//! budgets are not nearly used up, while neither memory nor the gateway's impact forbids it, after the time that 95 % of the target's answers take, for one request
//! in twenty at most. Both legs are reserved; the loser is left as a caller leaves.

use outcrop_core::Priority;
use outcrop_policy::ledger::Level;
use outcrop_policy::route::Plan;
use tokio::time::Instant;

use crate::gateway::Gateway;
use crate::leg::{Exchange, Leg};
use crate::optional::Work;
use crate::settle::Record;

/// Whether an exchange may have a second leg; it has one at most.
pub(crate) struct Hedge {
    is_offered: bool,
}

impl Hedge {
    pub(crate) fn of(exchange: Exchange<'_>, plan: &Plan, record: &Record) -> Self {
        let is_offered = plan.choices.len() > 1 && is_urgent(exchange, record);
        if is_offered {
            exchange.gateway.health.could_hedge(Instant::now().into_std());
        }
        Self { is_offered }
    }

    /// When the second leg may begin beside this one.
    pub(crate) fn at(&self, leg: &Leg<'_>) -> Option<Instant> {
        leg.hedges_at().filter(|_| self.is_offered && leg.spec().effect.may_repeat())
    }

    /// Takes the right to a second leg.
    pub(crate) fn take(&mut self, gateway: &Gateway) -> bool {
        let offered = std::mem::take(&mut self.is_offered);
        offered && gateway.health.may_hedge(Instant::now().into_std())
    }
}

/// Whether a request may have a second leg at all.
fn is_urgent(exchange: Exchange<'_>, record: &Record) -> bool {
    let switches = &exchange.snapshot.routes.switches;
    switches.hedging
        && record.priority() >= Priority::Critical
        && !exchange.call.envelope.has_tools
        && exchange.gateway.does(Work::Hedging)
        && exchange.gateway.ledger().level(&exchange.payer.whose) < Level::Throttled
}
