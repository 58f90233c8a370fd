//! Which change of an operation promises most, by replay over recorded decisions.

use std::sync::Arc;

use outcrop_core::decision::Decision;
use outcrop_core::operation::{Operation, Strategy};

use super::measure::{gain_percent, ratio};
use super::{GAIN_MIN_PERCENT, Optimizer, Recommendation, SAMPLES_MAX, Setting, Stage, Tuning, World};
use crate::replay::{Summary, replay};
use crate::route::Routes;

/// All there are.
const STRATEGIES: [Strategy; 5] = [
    Strategy::LatencyFirst,
    Strategy::SuccessFirst,
    Strategy::CostEfficient,
    Strategy::Balanced,
    Strategy::Adaptive,
];

impl Optimizer {
    /// The change of an operation that promises most, if any is worth it.
    pub(super) fn best_for(&self, operation: &Operation, world: World<'_>) -> Option<Recommendation> {
        let evidence = self.evidence(operation, world)?;
        let from_ms = evidence.from_ms;
        let own = |decision: &&Arc<Decision>| {
            decision.operation == *operation.name
                && decision.accepted_at_ms > from_ms
                && decision.basis.is_some()
        };
        let records: Vec<&Decision> =
            world.records.iter().filter(own).take(SAMPLES_MAX).map(|d| &**d).collect();
        let mut routes = world.routes.clone();
        let mut best: Option<Recommendation> = None;
        for is in settings(operation) {
            let was = Setting::of(operation);
            let tuning = Tuning { operation: operation.name.clone(), was, is };
            if self.is_barred(&tuning, world.now_ms) {
                continue;
            }
            let summary = tried(&mut routes, &tuning, &records);
            let gain = expected_gain_percent(&summary);
            if gain >= GAIN_MIN_PERCENT && best.as_ref().is_none_or(|best| gain > best.expected_gain_percent)
            {
                best = Some(Recommendation {
                    id: 0,
                    made_at_ms: world.now_ms,
                    tuning,
                    stage: Stage::Proposed,
                    evidence,
                    expected_gain_percent: gain,
                    replay: summary,
                    after: None,
                    measured_gain_percent: None,
                });
            }
        }
        best
    }
}

/// One step from what is: another strategy, or another path first.
fn settings(operation: &Operation) -> Vec<Setting> {
    let now = Setting::of(operation);
    let strategies = STRATEGIES.into_iter().filter(|strategy| *strategy != now.strategy);
    let strategies = strategies.map(|strategy| Setting { strategy, ..now.clone() });
    let orders = (1..now.order.len()).map(|at| {
        let mut order = now.order.clone();
        if let Some(front) = order.get_mut(..=at) {
            front.rotate_right(1);
        }
        Setting { order, ..now.clone() }
    });
    strategies.chain(orders).collect()
}

fn tried(routes: &mut Routes, tuning: &Tuning, records: &[&Decision]) -> Summary {
    routes.tune(tuning);
    let mut summary = Summary::default();
    for decision in records {
        summary.add(replay(routes, decision).as_ref());
    }
    let back = Tuning { was: tuning.is.clone(), is: tuning.was.clone(), operation: tuning.operation.clone() };
    routes.tune(&back);
    summary
}

/// By how much less time, money and failures are expected. What would refuse more is no gain at all.
fn expected_gain_percent(summary: &Summary) -> f64 {
    let Summary { before, after, .. } = summary;
    if after.refused > before.refused || summary.replayed == 0 {
        return f64::NEG_INFINITY;
    }
    let count = summary.replayed as f64;
    let failing = (after.failing_permille as f64 - before.failing_permille as f64) / 1000.0 / count;
    let late = (after.late as f64 - before.late as f64) / count;
    let time = ratio(after.expected_us as f64, before.expected_us as f64);
    let cost = ratio(after.expected_nusd as f64, before.expected_nusd as f64);
    gain_percent(time, cost, failing + late)
}
