//! What an operator could change of the machine and its limits, and what was measured that says so.
//!
//! Changes of an operation's order or strategy are the optimizer's, which replays them first.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Forecast, Reading};

/// Windows that are looked at: the newest ten seconds each, five minutes in all.
const LOOKED_AT: usize = 30;
/// Fewest answered exchanges that say anything.
const SAMPLES_MIN: u64 = 200;
/// A core share above this leaves no room for a peak.
const BUSY_PERCENT: f64 = 70.0;
/// Below this share of the cores more could be served at once.
const IDLE_PERCENT: f64 = 50.0;
/// One request in so many that is turned away is worth a change.
const TURNED_AWAY_MIN_PERCENT: f64 = 1.0;
/// Own time that waits for leases must have at least.
const LEASE_MIN_PERCENT: f64 = 1.0;

/// A change that would help.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Advice {
    /// `add_replica`, `raise_inflight_max`, `enlarge_lease`.
    pub kind: &'static str,
    /// What to change.
    pub change: String,
    /// What is expected of it, in percent of what `gain_of` names.
    pub expected_gain_percent: f64,
    /// Of what.
    pub gain_of: &'static str,
    /// What was measured.
    pub evidence: BTreeMap<&'static str, f64>,
}

/// What the windows came to, together.
struct Seen {
    answered: u64,
    turned_away: u64,
    lease_waits: u64,
    cpu_percent: f64,
    runtime_percent: f64,
    memory_percent: f64,
    lease_ms_each: f64,
    lease_percent_of_time: f64,
    slots: u64,
}

pub(super) fn of(readings: &[Reading], forecast: &Forecast) -> Vec<Advice> {
    let newest = readings.get(readings.len().saturating_sub(LOOKED_AT + 1)..).unwrap_or_default();
    let Some(seen) = Seen::of(newest).filter(|seen| seen.answered >= SAMPLES_MIN) else { return Vec::new() };
    [replica(&seen, forecast), slots(&seen), leases(&seen)].into_iter().flatten().collect()
}

impl Seen {
    fn of(readings: &[Reading]) -> Option<Self> {
        let (from, to) = (readings.first()?, readings.last()?);
        let seconds = to.at.checked_sub(from.at).filter(|passed| !passed.is_zero())?.as_secs_f64();
        let cpu = to.cpu.saturating_sub(from.cpu).as_secs_f64();
        let busy = to.busy.saturating_sub(from.busy).as_secs_f64();
        let (total, waited) =
            (to.total.saturating_sub(from.total), to.lease_waited.saturating_sub(from.lease_waited));
        let lease_waits = to.lease_waits.saturating_sub(from.lease_waits);
        Some(Self {
            answered: to.answered.saturating_sub(from.answered),
            turned_away: to.turned_away.saturating_sub(from.turned_away),
            lease_waits,
            cpu_percent: cpu * 100.0 / (seconds * to.cores.max(0.01)),
            runtime_percent: busy * 100.0 / (seconds * to.workers.max(1) as f64),
            memory_percent: to.memory.percent().unwrap_or(0.0),
            lease_ms_each: waited.as_secs_f64() * 1e3 / lease_waits.max(1) as f64,
            lease_percent_of_time: waited.as_secs_f64() * 100.0 / total.as_secs_f64().max(1e-9),
            slots: to.slots.max,
        })
    }

    fn busiest(&self) -> f64 {
        self.cpu_percent.max(self.runtime_percent)
    }
}

fn replica(seen: &Seen, forecast: &Forecast) -> Option<Advice> {
    let Forecast::Known { requests_per_s, now_per_s, limited_by, .. } = forecast else { return None };
    let is_near = *limited_by == "cpu" && now_per_s * 100.0 >= requests_per_s * BUSY_PERCENT;
    (seen.busiest() >= BUSY_PERCENT || is_near).then(|| Advice {
        kind: "add_replica",
        change: "add a replica that shares the store, and spread the traffic over both".to_owned(),
        expected_gain_percent: 100.0,
        gain_of: "requests a second before saturation",
        evidence: BTreeMap::from([
            ("answered", seen.answered as f64),
            ("cpu_percent", seen.cpu_percent),
            ("runtime_percent", seen.runtime_percent),
            ("now_per_s", *now_per_s),
            ("saturates_at_per_s", *requests_per_s),
        ]),
    })
}

fn slots(seen: &Seen) -> Option<Advice> {
    let asked = (seen.answered + seen.turned_away) as f64;
    let turned_away_percent = seen.turned_away as f64 * 100.0 / asked;
    let has_room = seen.busiest() < IDLE_PERCENT && seen.memory_percent < IDLE_PERCENT;
    (has_room && turned_away_percent >= TURNED_AWAY_MIN_PERCENT).then(|| {
        // As much as the busiest resource allows up to where it is busy, and not more than double at once.
        let factor = (BUSY_PERCENT / seen.busiest().max(1.0)).min(2.0);
        let to = (seen.slots as f64 * factor).ceil();
        Advice {
            kind: "raise_inflight_max",
            change: format!("raise `inflight_max` (and `inflight_min`) from {} to {to}", seen.slots),
            expected_gain_percent: turned_away_percent.min((factor - 1.0) * 100.0),
            gain_of: "requests that are served instead of turned away",
            evidence: BTreeMap::from([
                ("answered", seen.answered as f64),
                ("turned_away", seen.turned_away as f64),
                ("cpu_percent", seen.cpu_percent),
                ("runtime_percent", seen.runtime_percent),
                ("memory_percent", seen.memory_percent),
            ]),
        }
    })
}

fn leases(seen: &Seen) -> Option<Advice> {
    (seen.lease_percent_of_time >= LEASE_MIN_PERCENT && seen.lease_waits * 100 >= seen.answered).then(|| {
        Advice {
            kind: "enlarge_lease",
            change:
                "leases are a share of what is left of a limit: raise the tightest budget's limit, or have \
                 fewer replicas share it"
                    .to_owned(),
            expected_gain_percent: seen.lease_percent_of_time,
            gain_of: "the time of an exchange",
            evidence: BTreeMap::from([
                ("answered", seen.answered as f64),
                ("lease_waits", seen.lease_waits as f64),
                ("lease_wait_ms_each", seen.lease_ms_each),
                ("lease_percent_of_time", seen.lease_percent_of_time),
            ]),
        }
    })
}
