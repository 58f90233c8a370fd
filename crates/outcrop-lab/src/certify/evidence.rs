//! What a scenario left behind: the callers' view, the upstreams' records, the process' use of the machine.
//!
//! The gateway's own word is no evidence. What its headers say is used against it only.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;

use serde_json::Value;

use super::{
    gateway::Usage,
    scenario::{Act, Scenario},
};
use crate::{
    billing::Record,
    load::{
        call::Call,
        client::Ending,
        drive::{Observer, Sample},
        tally::{Counts, Tally},
    },
    script::Script,
};

/// Most samples kept of one scenario.
const SAMPLES_MAX: usize = 2_000_000;

/// Takes samples while a scenario is played.
#[derive(Debug, Default)]
pub(super) struct Recorder {
    samples: Mutex<Vec<Sample>>,
    tally: Tally,
}

/// Everything that a verdict may rest on. Times are seconds since the scenario's start.
#[derive(Debug)]
pub struct Evidence {
    /// What was played.
    pub scenario: Arc<Scenario>,
    /// Requests through the gateway, by when they were due.
    pub samples: Vec<Sample>,
    /// Requests straight to an upstream, of paired scenarios.
    pub direct: Vec<Sample>,
    /// The upstreams' records of the measured requests, by arrival; their times are milliseconds since 1970.
    pub records: Vec<Record>,
    /// The upstreams' records of requests that no caller sent: the gateway's own.
    pub own: Vec<Record>,
    /// The scenario's start, in milliseconds since 1970.
    pub origin_ms: u64,
    /// The gateway's process over time; empty where it is not ours.
    pub usage: Vec<(f64, Usage)>,
    /// Faults as they were really put in force.
    pub faults: Vec<Happened>,
    /// Orders as they were really given.
    pub orders: Vec<Ordered>,
    /// What the gateway claims at the end, to be held against the records; absent where it is not ours.
    pub claims: Option<Claims>,
    /// What part of the machine's time went to others than gateway, upstreams and generator; absent where unknown.
    pub foreign_share: Option<f64>,
    /// The generator's own counts over both kinds of rounds.
    pub counts: Counts,
}

/// A fault that was put in force.
#[derive(Debug, Clone, PartialEq)]
pub struct Happened {
    /// The upstream.
    pub target: String,
    /// What it was.
    pub label: String,
    /// How the upstream behaved meanwhile.
    pub script: Script,
    /// When it was in force.
    pub at_s: f64,
    /// When it was healed, if it was.
    pub until_s: Option<f64>,
}

/// Something that was done to the gateway.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ordered {
    /// What.
    pub act: Act,
    /// When it was begun.
    pub at_s: f64,
    /// When it was acknowledged; for a kill, when the gateway served again.
    pub done_s: f64,
}

/// What the gateway says of itself.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Claims {
    /// Its budgets with their accounts.
    pub budgets: Value,
    /// Its spending by key, team and model, in the order of [`Claims::GROUPS`].
    pub spend: Vec<Value>,
    /// What it thinks somebody should look at.
    pub alerts: Value,
    /// What each stage of the exchange took.
    pub impact: Value,
}

impl Claims {
    /// What spending is asked by.
    pub const GROUPS: [&'static str; 3] = ["key", "team", "model"];

    /// The rows of all accounts.
    pub(super) fn accounts(&self) -> impl Iterator<Item = &Value> {
        self.budgets["budgets"]
            .as_array()
            .into_iter()
            .flatten()
            .flat_map(|budget| budget["accounts"].as_array().into_iter().flatten())
    }
}

impl Observer for Recorder {
    fn observe(&self, sample: Sample) {
        let mut samples = self.samples.lock();
        if samples.len() < SAMPLES_MAX {
            samples.push(sample.clone());
        }
        drop(samples);
        self.tally.observe(sample);
    }
}

impl Recorder {
    pub(super) fn counts(&self) -> Counts {
        self.tally.counts()
    }

    pub(super) fn take(&self) -> Vec<Sample> {
        let mut samples = std::mem::take(&mut *self.samples.lock());
        samples.sort_unstable_by_key(|sample| sample.n);
        samples
    }
}

impl Evidence {
    /// The kind of request a sample was.
    pub(super) fn call(&self, sample: &Sample) -> Option<&Call> {
        self.scenario.mix.call(sample.call)
    }

    /// Seconds since the start at which a record's request arrived.
    pub(super) fn arrival_s(&self, record: &Record) -> f64 {
        (record.at_ms as f64 - self.origin_ms as f64) / 1_000.0
    }

    /// Whether a fault was in force when a request was due.
    pub(super) fn is_faulted(&self, due: Duration) -> bool {
        let due = due.as_secs_f64();
        self.faults.iter().any(|fault| fault.at_s <= due && fault.until_s.is_none_or(|until| due < until))
    }
}

/// Whether a sample is a complete answer.
pub(super) fn is_complete(sample: &Sample) -> bool {
    sample.ending == Some(Ending::Complete)
}

/// When a caller had its answer: a stream with its first content, a whole one at its end.
pub(super) fn answered_after(sample: &Sample, call: &Call) -> Duration {
    if call.stream { sample.first.unwrap_or(sample.latency) } else { sample.latency }
}
