//! Tells once of what somebody should look at: crossed thresholds, budgets that burn too fast.

use std::collections::BTreeSet;
use std::time::Duration;

use outcrop_store::Administrator;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::{Desk, burning};

/// How often paces are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(15);

/// Tells until `stop`.
pub(crate) async fn watch(desk: Desk, stop: CancellationToken) {
    let mut crossings = desk.gateway.keeper.crossings();
    let mut ticks = interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut told = BTreeSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            crossed = crossings.recv() => match crossed {
                Ok(crossing) => tracing::warn!(
                    budget = &*crossing.key.budget, scope = &*crossing.key.scope, level = crossing.level.label(),
                    committed = crossing.committed, limit = crossing.limit, "a budget crossed a threshold"
                ),
                Err(RecvError::Lagged(missed)) => {
                    tracing::warn!(missed, "crossings of budgets were not told; /admin/v1/alerts has them");
                }
                Err(RecvError::Closed) => return,
            },
            _ = ticks.tick() => look(&desk, &mut told).await,
        }
    }
}

async fn look(desk: &Desk, told: &mut BTreeSet<String>) {
    let everybody = Administrator::of_the_machine("watch");
    // A store that cannot be read is told of by the keeper.
    let Ok((accounts, _)) = desk.accounts(&desk.limits.rows(), None, &everybody).await else { return };
    let Ok(suspended) = desk.suspended(&everybody).await else { return };
    let nusd = suspended.iter().map(|entry| entry.settled.entry.cost_nusd).fold(0, i64::saturating_add);
    let firing = burning(&accounts);
    desk.gateway.metrics.alerts(firing.len(), nusd);
    let mut still = BTreeSet::new();
    for alert in &firing {
        let what = format!("{} {} {}", alert["budget"], alert["scope"], alert["burn"]["threshold_tenths"]);
        if !told.contains(&what) {
            tracing::warn!(alert = %alert, "a budget burns too fast");
        }
        still.insert(what);
    }
    *told = still;
}
