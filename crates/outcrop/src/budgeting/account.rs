//! One account as an operator sees it: the three numbers apart, what is left, how fast it goes.

use crate::clock::time;
use outcrop_policy::ledger::burn::{LOOK_BACK_MS, SLOT_MS, Slot, burn, forecast};
use outcrop_policy::ledger::{AccountRow, Balance, BudgetSpec, Burn, Dimension, Level};
use outcrop_store::journal::Pace;
use outcrop_store::{Store, StoreError};
use serde::Serialize;

/// An account in force. Amounts are in units of the dimension.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Account {
    pub(super) budget: String,
    pub(super) scope: String,
    pub(super) dimension: Dimension,
    start: Option<String>,
    end: Option<String>,
    #[serde(skip)]
    pub(super) start_ms: i64,
    pub(super) limit: i64,
    hard: bool,
    posted: i64,
    pending: i64,
    suspense: i64,
    /// Handed out to replicas; `pending` is a part of it.
    leased: i64,
    /// Of a rolling window: what its earlier parts hold.
    earlier: i64,
    pub(super) committed: i64,
    left: i64,
    /// What is left for others than emergencies.
    left_ordinary: i64,
    carve_out: i64,
    level: Level,
    /// What the level does to requests.
    effect: &'static str,
    forecast: Ahead,
    pub(super) burn: Vec<Burn>,
}

#[derive(Debug, Clone, Serialize)]
struct Ahead {
    per_hour: i64,
    exhausted_at: Option<String>,
    seconds: Option<i64>,
}

/// What a level does to the requests of a budget.
fn effect(level: Level, hard: bool) -> &'static str {
    match (level, hard) {
        (_, false) => "a soft limit: it is only told",
        (Level::Calm | Level::Half, true) => "nothing",
        (Level::Throttled, true) => "low priority pauses, medium runs at half concurrency",
        (Level::Degraded, true) => "cheaper targets are taken where they are configured, low priority pauses",
        (Level::Exhausted, true) => "requests are refused",
    }
}

impl Account {
    /// How an account of `spec` stands, with its pace.
    pub(super) async fn of(
        store: &Store,
        spec: &BudgetSpec,
        (row, balance): &(AccountRow, Balance),
        now_ms: i64,
    ) -> Result<Self, StoreError> {
        let from_ms = now_ms.saturating_sub(LOOK_BACK_MS).saturating_sub(SLOT_MS);
        let to_ms = now_ms.saturating_add(1);
        let pace = store.pace(&row.key.budget, &row.key.scope, from_ms, to_ms).await?;
        let slot = |pace: &Pace| Slot {
            start_ms: pace.slot_ms,
            amount: pace.posted.saturating_add(pace.suspense.max(0)),
        };
        let slots: Vec<Slot> = pace.iter().map(slot).collect();
        Ok(Self::at(spec, row, balance, &slots, now_ms))
    }

    fn at(spec: &BudgetSpec, row: &AccountRow, balance: &Balance, slots: &[Slot], now_ms: i64) -> Self {
        let (committed, limit) = (balance.committed(), spec.limit);
        let left = limit.saturating_sub(committed).max(0);
        let ordinary = committed.saturating_sub(row.emergency);
        let left_ordinary = limit.saturating_sub(spec.carve_out).saturating_sub(ordinary).clamp(0, left);
        let level = Level::of(committed, limit);
        let start_ms = row.terms.reach_ms.map_or(row.key.start_ms, |reach| now_ms.saturating_sub(reach));
        let is_open = row.terms.reach_ms.is_some() || row.terms.end_ms == i64::MAX;
        let end_ms = (!is_open).then_some(row.terms.end_ms);
        let length_ms = row.terms.reach_ms.or(end_ms.map(|end| end.saturating_sub(start_ms)));
        let ahead = forecast(slots, left, end_ms, now_ms);
        Self {
            budget: row.key.budget.to_string(),
            scope: row.key.scope.to_string(),
            dimension: spec.dimension,
            start: (start_ms > 0).then(|| time(start_ms)).flatten(),
            end: end_ms.and_then(time),
            start_ms: row.key.start_ms,
            limit,
            hard: spec.hard,
            posted: balance.posted,
            pending: balance.pending,
            suspense: balance.suspense,
            leased: balance.leased,
            earlier: balance.earlier,
            committed,
            left,
            left_ordinary,
            carve_out: spec.carve_out,
            level,
            effect: effect(level, spec.hard),
            forecast: Ahead {
                per_hour: ahead.per_hour,
                exhausted_at: ahead.exhausted_at_ms.and_then(time),
                seconds: ahead.exhausted_at_ms.map(|at| at.saturating_sub(now_ms) / 1000),
            },
            burn: length_ms.map(|length| burn(slots, limit, length, now_ms).to_vec()).unwrap_or_default(),
        }
    }
}
