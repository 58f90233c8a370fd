//! What this gateway itself takes: reads the counters of the process, tells the policy, and stops optional
//! work while it says that it is too much.
//!
//! What the readings mean is the policy's (`outcrop_policy::impact`). A reading costs some ten system calls;
//! what they have taken altogether is part of the report.

mod source;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use outcrop_policy::impact::{Change, Impact, Reading, Resource, Thresholds};
use outcrop_proxy::optional::SHEDDABLE;
use outcrop_proxy::{Gateway, Work};
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use self::source::Source;
use crate::clock::{time, unix_ms};
use crate::memory;

/// When the impact alarms, and what is stopped then.
#[derive(Debug, Clone)]
pub struct ImpactSpec {
    /// Between two readings.
    pub every: Duration,
    /// From how many percent on each resource alarms.
    pub thresholds: Thresholds,
    /// What is stopped.
    pub shed: Vec<Work>,
    /// Last change to a reading: how a test has a machine that is busy, or idle.
    pub adjust: fn(Reading) -> Reading,
}

/// The impact of this process. Clones share it.
#[derive(Clone)]
pub(crate) struct Impacting {
    gateway: Arc<Gateway>,
    spec: Arc<ImpactSpec>,
    source: Arc<Source>,
    state: Arc<Mutex<State>>,
}

struct State {
    impact: Impact,
    readings: u64,
    // Since when what alarms does, by the wall clock.
    raised_ms: BTreeMap<Resource, u64>,
    // By how much the newest reading came late, and the latest of all.
    lag: Duration,
    lag_max: Duration,
    // What reading has taken, and since when.
    took: Duration,
    began: Instant,
}

impl Impacting {
    pub(crate) fn new(gateway: Arc<Gateway>, spec: ImpactSpec, memory: &memory::Source) -> Self {
        let began = Instant::now();
        let impact = Impact::new(spec.thresholds);
        let (zero, raised_ms) = (Duration::ZERO, BTreeMap::new());
        let state = State { impact, readings: 0, raised_ms, lag: zero, lag_max: zero, took: zero, began };
        let source = Source::new(Arc::clone(&gateway), memory, began);
        Self { gateway, spec: Arc::new(spec), source: Arc::new(source), state: Arc::new(Mutex::new(state)) }
    }

    /// Its routes in the operator's API.
    pub(crate) fn routes(&self) -> axum::Router {
        outcrop_admin::impact(Arc::new(self.clone()))
    }

    /// Reads again and again, until `stop`.
    pub(crate) async fn watch(self, stop: CancellationToken) {
        let mut ticks = interval(self.spec.every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                due = ticks.tick() => self.read(due),
            }
        }
    }

    /// One reading, and what follows from it.
    fn read(&self, due: Instant) {
        let began = Instant::now();
        let reading = (self.spec.adjust)(self.source.read());
        let (changes, is_alarmed, standings) = {
            let state = &mut *self.state.lock();
            let changes = state.impact.hear(reading);
            state.note(&changes);
            state.lag = began.saturating_duration_since(due);
            state.lag_max = state.lag_max.max(state.lag);
            state.readings += 1;
            state.took += began.elapsed();
            (changes, state.impact.is_alarmed(), state.impact.standings())
        };
        self.gateway.metrics.impact(&standings);
        if changes.is_empty() {
            return;
        }
        self.gateway.shed(if is_alarmed { &self.spec.shed } else { &[] });
        for change in &changes {
            self.tell(change, is_alarmed);
        }
    }

    fn tell(&self, change: &Change, is_alarmed: bool) {
        let Change { resource, raised, percent, alarm_percent } = *change;
        let (resource, percent) = (resource.label(), percent.unwrap_or(0.0));
        if raised {
            let stopped = json!(self.spec.shed).to_string();
            tracing::warn!(resource, percent, alarm_percent, stopped, "the gateway takes too much");
        } else {
            tracing::info!(
                resource,
                percent,
                alarm_percent,
                still_alarmed = is_alarmed,
                "the impact is well again"
            );
        }
    }

    /// What alarms, and since when.
    pub(crate) fn alarms(&self) -> Vec<Value> {
        let state = self.state.lock();
        let standings = state.impact.standings();
        let alarmed = standings.iter().filter(|standing| standing.alarmed);
        let shown = alarmed.map(|standing| {
            let since = state.raised_ms.get(&standing.resource).and_then(|ms| i64::try_from(*ms).ok());
            json!({
                "resource": standing.resource, "percent": standing.percent,
                "alarm_percent": standing.alarm_percent, "since": since.and_then(time),
                "stopped": self.spec.shed,
            })
        });
        shown.collect()
    }

    /// What would help, with what was measured.
    pub(crate) fn advice(&self) -> Vec<Value> {
        self.state.lock().impact.advice().iter().map(|one| json!(one)).collect()
    }

    /// Each step's times since the process began.
    fn stages(&self) -> Value {
        let views = self.gateway.metrics.stages.views();
        let stages: Map<String, Value> =
            views.map(|(stage, view)| (stage.label().to_owned(), json!(view))).collect();
        Value::Object(stages)
    }

    fn optional_work(&self) -> Value {
        let of = |work: Work| {
            let because = self.gateway.off_because(work);
            (work.label().to_owned(), json!({"on": because.is_none(), "off_because": because}))
        };
        Value::Object(SHEDDABLE.into_iter().chain([Work::ReadingOn]).map(of).collect())
    }
}

impl State {
    fn note(&mut self, changes: &[Change]) {
        for change in changes {
            if change.raised {
                self.raised_ms.insert(change.resource, unix_ms());
            } else {
                self.raised_ms.remove(&change.resource);
            }
        }
    }
}

impl outcrop_admin::Impact for Impacting {
    fn report(&self) -> Value {
        let state = self.state.lock();
        let State { impact, readings, took, began, lag, lag_max, .. } = &*state;
        let (answered, total, own) = impact.minute();
        let micros = |time: Duration| time.as_secs_f64() * 1e6 / answered.max(1) as f64;
        let newest = impact.newest().copied().unwrap_or_default();
        json!({
            "class": impact.class(),
            "alarmed": impact.is_alarmed(),
            "resources": impact.standings(),
            "latency": {
                "answered": answered,
                "own_us_each": micros(own),
                "total_us_each": micros(total),
            },
            "process": {
                "cores": newest.cores,
                "workers": newest.workers,
                "threads": source::threads(),
                "memory_bytes": newest.memory,
                "descriptors": newest.descriptors,
                "slots": newest.slots,
            },
            "lag": {"newest_us": lag.as_secs_f64() * 1e6, "longest_us": lag_max.as_secs_f64() * 1e6},
            "stages": self.stages(),
            "optional_work": self.optional_work(),
            "forecast": impact.forecast(),
            "recommendations": impact.advice(),
            "sampling": {
                "every_ms": u64::try_from(self.spec.every.as_millis()).unwrap_or(u64::MAX),
                "readings": readings,
                "us_each": took.as_secs_f64() * 1e6 / (*readings).max(1) as f64,
                "percent_of_a_core": took.as_secs_f64() * 100.0 / began.elapsed().as_secs_f64().max(1e-3),
            },
        })
    }
}
