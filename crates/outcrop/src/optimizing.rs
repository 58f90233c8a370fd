//! The optimizer of a process: shows it the records, puts its tunings in force and takes them back.
//!
//! It learns from this process alone, as health does, and forgets with it. What it decides is in the policy;
//! this file gives it the clock and logs what changes.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use outcrop_policy::Wanted;
use outcrop_policy::optimizer::{Optimizer, Recommendation, Stage, World};
use outcrop_policy::record::RECORDS_KEPT;
use outcrop_proxy::{Gateway, Work};
use serde_json::{Value, json};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::clock::unix_ms;
use crate::overlay::Overlay;

/// How often what is on trial is looked at; proposals are rarer.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// The optimizer of a process. Clones share it.
#[derive(Clone)]
pub(crate) struct Optimizing {
    gateway: Arc<Gateway>,
    overlay: Overlay,
    // Held for one turn, on a thread that may block; never across an await (I-5).
    optimizer: Arc<Mutex<Optimizer>>,
}

impl Optimizing {
    pub(crate) fn new(gateway: Arc<Gateway>, overlay: Overlay) -> Self {
        Self { gateway, overlay, optimizer: Arc::default() }
    }

    /// One look at the records, as of this moment.
    pub(crate) fn turn(&self, now_ms: u64) {
        // What is on trial meanwhile stays as it is.
        if !self.gateway.does(Work::Optimizer) {
            return;
        }
        let mut optimizer = self.optimizer.lock().unwrap_or_else(PoisonError::into_inner);
        let snapshot = self.gateway.snapshot();
        let records = self.gateway.decisions.recent(&Wanted::default(), RECORDS_KEPT);
        let before = stages(&optimizer);
        let world = World { routes: &snapshot.routes, records: &records, now_ms };
        optimizer.turn(world, snapshot.routes.switches.optimizer);
        self.overlay.tune(optimizer.tunings());
        for one in optimizer.recommendations().filter(|one| !before.contains(&(one.id, one.stage))) {
            tell(one);
        }
    }

    /// What it has recommended, newest first.
    pub(crate) fn recommendations(&self) -> Value {
        let optimizer = self.optimizer.lock().unwrap_or_else(PoisonError::into_inner);
        optimizer.recommendations().map(|one| json!(one)).collect()
    }

    /// Looks again and again, until `stop`.
    pub(crate) async fn watch(self, stop: CancellationToken) {
        let mut ticks = interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            let own = self.clone();
            // The replays take milliseconds: too long for a thread that serves.
            if tokio::task::spawn_blocking(move || own.turn(unix_ms())).await.is_err() {
                tracing::error!("the optimizer failed and is off until a restart");
                self.overlay.tune(Vec::new());
                return;
            }
        }
    }
}

fn stages(optimizer: &Optimizer) -> Vec<(u64, Stage)> {
    optimizer.recommendations().map(|one| (one.id, one.stage)).collect()
}

fn tell(one: &Recommendation) {
    let Recommendation { id, tuning, stage, expected_gain_percent, measured_gain_percent, .. } = one;
    let change = json!(tuning).to_string();
    let stage = json!(stage);
    tracing::warn!(
        id,
        operation = &*tuning.operation,
        stage = stage.as_str().unwrap_or_default(),
        change,
        expected_gain_percent,
        measured_gain_percent,
        by = "optimizer",
        "recommendation"
    );
}
