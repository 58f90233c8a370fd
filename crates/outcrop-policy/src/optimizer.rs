//! The optimizer: proposes changes of an operation's strategy or order, and takes back what does harm.
//!
//! Pure: the records and `now_ms` come in, recommendations and tunings go out (I-7). Each proposal is
//! replayed over recorded decisions first. What is applied is compared with what was measured before it,
//! and rolled back when it is worse. It never widens what is legal, and changes nothing but an order of
//! paths that the operator has named, and what decides among equals.

mod measure;
mod propose;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use outcrop_core::decision::Decision;
use outcrop_core::operation::{Operation, Preference, Strategy};
use serde::Serialize;

use crate::replay::Summary;
use crate::route::Routes;

pub use self::measure::Measured;

/// How often it proposes.
pub const EVERY: Duration = Duration::from_mins(5);
/// Fewest requests of an operation that say anything.
pub const SAMPLES_MIN: usize = 100;
/// Most requests of an operation that are looked at, the newest.
pub const SAMPLES_MAX: usize = 1000;
/// Most proposals at once.
pub const PROPOSALS_MAX: usize = 3;
/// Least gain that is worth a change.
pub const GAIN_MIN_PERCENT: f64 = 3.0;
/// A change that loses more than this is taken back.
pub const LOSS_MAX_PERCENT: f64 = 5.0;
/// For how long a change that did harm is not proposed again.
pub const BARRED_FOR: Duration = Duration::from_hours(1);
/// Recommendations that are remembered.
const KEPT_MAX: usize = 50;

/// What the optimizer may change of an operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Setting {
    /// What decides among equals.
    pub strategy: Strategy,
    /// Paths in order of preference.
    pub order: Vec<Preference>,
}

/// A change that is in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Tuning {
    /// Of which operation.
    pub operation: Box<str>,
    /// As it was; where the operation is something else it does nothing.
    pub was: Setting,
    /// As it is.
    pub is: Setting,
}

/// What becomes of a recommendation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// For people to read: nothing was changed.
    Proposed,
    /// In force, and compared with what was before.
    OnTrial,
    /// In force, and it did no harm.
    Kept,
    /// It was in force, did harm and was taken back.
    RolledBack,
    /// Taken back because the optimizer was switched off, or the operator changed the operation.
    Withdrawn,
}

/// A change that would help.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Recommendation {
    /// Counts up.
    pub id: u64,
    /// When it was made, in milliseconds since the Unix epoch.
    pub made_at_ms: u64,
    /// What is to change.
    #[serde(flatten)]
    pub tuning: Tuning,
    /// What becomes of it.
    pub stage: Stage,
    /// What was measured before it.
    pub evidence: Measured,
    /// By how much less time, money and failures the replay expects, in percent.
    pub expected_gain_percent: f64,
    /// The recorded decisions, made again with it.
    pub replay: Summary,
    /// What was measured while it was in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Measured>,
    /// What it has gained by that, in percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub measured_gain_percent: Option<f64>,
}

/// What it looks at.
#[derive(Clone, Copy)]
pub struct World<'a> {
    /// The routes in force, with its own tunings.
    pub routes: &'a Routes,
    /// Recorded decisions, newest first.
    pub records: &'a [Arc<Decision>],
    /// Milliseconds since the Unix epoch.
    pub now_ms: u64,
}

/// Proposes, compares and takes back.
#[derive(Debug, Default)]
pub struct Optimizer {
    recommendations: VecDeque<Recommendation>,
    made: u64,
    proposed_at_ms: Option<u64>,
}

impl Setting {
    /// As an operation is.
    pub fn of(operation: &Operation) -> Self {
        Self { strategy: operation.strategy, order: operation.order.clone() }
    }
}

impl Routes {
    /// Puts a tuning in force where it fits; elsewhere it does nothing.
    pub fn tune(&mut self, tuning: &Tuning) {
        let operation = self.operations.iter_mut().find(|operation| operation.name == tuning.operation);
        if let Some(operation) = operation.filter(|operation| Setting::of(operation) == tuning.was) {
            operation.strategy = tuning.is.strategy;
            operation.order.clone_from(&tuning.is.order);
        }
    }
}

impl Stage {
    fn is_in_force(self) -> bool {
        matches!(self, Self::OnTrial | Self::Kept)
    }
}

impl Optimizer {
    /// All that it has recommended lately, newest first.
    pub fn recommendations(&self) -> impl Iterator<Item = &Recommendation> {
        self.recommendations.iter().rev()
    }

    /// What of it is to be in force, in this order.
    pub fn tunings(&self) -> Vec<Tuning> {
        let in_force = self.recommendations.iter().filter(|r| r.stage.is_in_force());
        in_force.map(|r| r.tuning.clone()).collect()
    }

    /// Compares what is on trial, and proposes where it is time; `applies` says whether proposals take force.
    pub fn turn(&mut self, world: World<'_>, applies: bool) {
        self.review(world, applies);
        let due = self.proposed_at_ms.is_none_or(|at| world.now_ms >= at.saturating_add(millis(EVERY)));
        // Where nothing can be said yet, the first word does not have to wait for the next round.
        if due && world.routes.operations.iter().any(|operation| self.evidence(operation, world).is_some()) {
            self.proposed_at_ms = Some(world.now_ms);
            self.propose(world, applies);
        }
    }

    fn review(&mut self, world: World<'_>, applies: bool) {
        for at in 0..self.recommendations.len() {
            let is_last = self.is_last_in_force(at);
            let Some(one) = self.recommendations.get_mut(at).filter(|one| one.stage.is_in_force()) else {
                continue;
            };
            let stands = world.routes.operation(&one.tuning.operation).map(Setting::of);
            if !applies || (is_last && stands.as_ref() != Some(&one.tuning.is)) {
                one.stage = Stage::Withdrawn;
            } else if one.stage == Stage::OnTrial {
                one.compare(world);
            }
        }
    }

    /// Whether no later change of the same operation lies over this one.
    fn is_last_in_force(&self, at: usize) -> bool {
        let operation = self.recommendations.get(at).map(|one| &one.tuning.operation);
        let mut later = self.recommendations.iter().skip(at + 1);
        !later.any(|one| one.stage.is_in_force() && Some(&one.tuning.operation) == operation)
    }

    fn propose(&mut self, world: World<'_>, applies: bool) {
        // What was only proposed was proposed from what is old by now.
        self.recommendations.retain(|one| one.stage != Stage::Proposed);
        let mut found: Vec<Recommendation> =
            world.routes.operations.iter().filter_map(|operation| self.best_for(operation, world)).collect();
        found.sort_by(|a, b| b.expected_gain_percent.total_cmp(&a.expected_gain_percent));
        for mut one in found.into_iter().take(PROPOSALS_MAX) {
            self.made += 1;
            one.id = self.made;
            one.stage = if applies { Stage::OnTrial } else { Stage::Proposed };
            self.remember(one);
        }
    }

    fn remember(&mut self, one: Recommendation) {
        if self.recommendations.len() >= KEPT_MAX {
            // What is in force must be remembered, or nobody could take it back.
            let oldest = self.recommendations.iter().position(|one| !one.stage.is_in_force());
            let Some(oldest) = oldest else { return };
            self.recommendations.remove(oldest);
        }
        self.recommendations.push_back(one);
    }

    /// Since when an operation has been as it is; what was measured before says nothing of it.
    fn settled_at_ms(&self, operation: &Operation) -> u64 {
        let own = self.recommendations.iter().filter(|one| *one.tuning.operation == *operation.name);
        let changes = own.filter(|one| one.stage != Stage::Proposed);
        changes.map(|one| one.after.as_ref().map_or(one.made_at_ms, |after| after.to_ms)).max().unwrap_or(0)
    }

    /// What was measured of an operation as it is; `None` when that is too little, or is still on trial.
    fn evidence(&self, operation: &Operation, world: World<'_>) -> Option<Measured> {
        if self.is_on_trial(operation) {
            return None;
        }
        let from_ms = self.settled_at_ms(operation);
        let measured = Measured::of(world.records, &operation.name, from_ms, world.now_ms);
        (measured.samples >= SAMPLES_MIN).then_some(measured)
    }

    fn is_barred(&self, tuning: &Tuning, now_ms: u64) -> bool {
        let until = |one: &Recommendation| one.made_at_ms.saturating_add(millis(BARRED_FOR));
        self.recommendations
            .iter()
            .any(|one| one.stage == Stage::RolledBack && one.tuning == *tuning && now_ms < until(one))
    }

    fn is_on_trial(&self, operation: &Operation) -> bool {
        let own = |one: &&Recommendation| *one.tuning.operation == *operation.name;
        self.recommendations.iter().filter(own).any(|one| one.stage == Stage::OnTrial)
    }
}

impl Recommendation {
    /// Compares before and after; what does harm goes, what had its time and did none stays.
    fn compare(&mut self, world: World<'_>) {
        let after = Measured::of(world.records, &self.tuning.operation, self.made_at_ms, world.now_ms);
        if after.samples < SAMPLES_MIN {
            return;
        }
        let gain = after.gain_percent_over(&self.evidence);
        self.after = Some(after);
        self.measured_gain_percent = Some(gain);
        if gain < -LOSS_MAX_PERCENT {
            self.stage = Stage::RolledBack;
        } else if world.now_ms >= self.made_at_ms.saturating_add(millis(EVERY)) {
            self.stage = Stage::Kept;
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
