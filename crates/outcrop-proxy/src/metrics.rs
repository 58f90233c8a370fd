//! The metrics of the request path, with the names of the public contract (prefix `outcrop_`).
//!
//! Label values come from closed sets or from the configuration, never from a caller, so the number
//! of series is bounded.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use outcrop_core::Priority;
use outcrop_core::decision::{BreakerState, Decision, OutcomeRecord};
use outcrop_policy::admission::{PRIORITIES, Shed, View};
use outcrop_policy::impact::Standing;
use outcrop_policy::ledger::{AccountView, Dimension};
use outcrop_policy::stops::{LEVELS, Stops};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::stages::{Stage, Stages};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    api: &'static str,
    operation: Arc<str>,
    path: Arc<str>,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OperationLabels {
    api: &'static str,
    operation: Arc<str>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AttemptLabels {
    path: Arc<str>,
    class: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FailoverLabels {
    from: Arc<str>,
    to: Arc<str>,
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TokenLabels {
    direction: &'static str,
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ScopeLabels {
    scope_kind: Arc<str>,
}

/// Most accounts that are told of.
const BUDGET_SCOPES_MAX: usize = 1_000;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BudgetLabels {
    scope: String,
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PathLabels {
    path: Arc<str>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ShedLabels {
    priority: &'static str,
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PriorityLabels {
    priority: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResourceLabels {
    resource: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LevelLabels {
    level: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TransitionLabels {
    target: Box<str>,
    state: &'static str,
}

/// Counters and histograms of the request path.
#[derive(Debug, Clone)]
pub struct Metrics {
    requests: Family<RequestLabels, Counter>,
    request_seconds: Family<OperationLabels, Histogram, fn() -> Histogram>,
    first_content_seconds: Family<OperationLabels, Histogram, fn() -> Histogram>,
    /// How long each step takes of the gateway's own time.
    pub stages: Stages,
    pub(crate) decision_seconds: Histogram,
    /// Records that the export did not take.
    pub decisions_dropped: Counter,
    attempts: Family<AttemptLabels, Counter>,
    failovers: Family<FailoverLabels, Counter>,
    breaker_transitions: Family<TransitionLabels, Counter>,
    breaker_state: Family<TransitionLabels, Gauge>,
    tokens: Family<TokenLabels, Counter>,
    cost_nusd: Counter,
    rate_limited: Family<ScopeLabels, Counter>,
    path_health: Family<PathLabels, Gauge<f64, AtomicU64>>,
    stops_in_force: Family<LevelLabels, Gauge>,
    budget_nusd: Family<BudgetLabels, Gauge>,
    suspense_nusd: Gauge,
    leases: Gauge,
    alerts_firing: Gauge,
    pub(crate) inflight: Gauge,
    inflight_limit: Gauge,
    shed: Family<ShedLabels, Counter>,
    pub(crate) queue_seconds: Histogram,
    queue_length: Family<PriorityLabels, Gauge>,
    memory_ratio: Gauge<f64, AtomicU64>,
    impact: ImpactGauges,
}

/// How many alerts of each kind fire.
#[derive(Debug, Default)]
struct Firing {
    burning: AtomicU64,
    impact: AtomicU64,
}

/// What the gateway itself takes.
#[derive(Debug, Clone, Default)]
struct ImpactGauges {
    firing: Arc<Firing>,
    percent: Family<ResourceLabels, Gauge<f64, AtomicU64>>,
    alarm: Family<ResourceLabels, Gauge>,
}

impl ImpactGauges {
    fn register(self, registry: &mut Registry) {
        registry.register("impact_percent", "What the gateway itself takes, in percent", self.percent);
        registry.register("impact_alarm", "1 while that is too much", self.alarm);
    }
}

impl Metrics {
    /// Registers the metrics with `registry`, whose prefix must be `outcrop`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            requests: Family::default(),
            request_seconds: Family::new_with_constructor(latency as fn() -> Histogram),
            first_content_seconds: Family::new_with_constructor(latency as fn() -> Histogram),
            stages: Stages::default(),
            decision_seconds: decision(),
            decisions_dropped: Counter::default(),
            attempts: Family::default(),
            failovers: Family::default(),
            breaker_transitions: Family::default(),
            breaker_state: Family::default(),
            tokens: Family::default(),
            cost_nusd: Counter::default(),
            rate_limited: Family::default(),
            path_health: Family::default(),
            stops_in_force: Family::default(),
            budget_nusd: Family::default(),
            suspense_nusd: Gauge::default(),
            leases: Gauge::default(),
            alerts_firing: Gauge::default(),
            inflight: Gauge::default(),
            inflight_limit: Gauge::default(),
            shed: Family::default(),
            queue_seconds: queueing(),
            queue_length: Family::default(),
            memory_ratio: Gauge::default(),
            impact: ImpactGauges::default(),
        };
        let m = metrics.clone();
        registry.register("requests", "Exchanges by how they ended", m.requests);
        registry.register("request_seconds", "From accept to the end of the answer", m.request_seconds);
        registry.register(
            "time_to_first_content_seconds",
            "From accept to the first content of a stream",
            m.first_content_seconds,
        );
        registry.register("overhead_seconds", "Time that the gateway itself added, by step", m.stages);
        registry.register("decision_seconds", "Time of the routing decision", m.decision_seconds);
        registry.register("decisions_dropped", "Records the export did not take", m.decisions_dropped);
        registry.register("attempts", "Attempts by path and outcome class", m.attempts);
        registry.register("failovers", "Attempts that followed a failed one", m.failovers);
        registry.register(
            "breaker_transitions",
            "Changes of a target's breaker, by the state after it",
            m.breaker_transitions,
        );
        registry.register("breaker_state", "1 for the state that a target's breaker is in", m.breaker_state);
        registry.register("tokens", "Tokens as counted by the upstreams", m.tokens);
        registry.register("cost_nusd", "Settled cost in nano-dollars", m.cost_nusd);
        registry.register(
            "rate_limited",
            "Requests refused by a rate limit, by its kind of scope",
            m.rate_limited,
        );
        registry.register("path_health", "Share of a path's targets that serve", m.path_health);
        registry.register("stops_in_force", "Emergency stops in force", m.stops_in_force);
        registry.register("budget_nusd", "Budgets of money this process has used", m.budget_nusd);
        registry.register("suspense_nusd", "Sent, and its cost is not known", m.suspense_nusd);
        registry.register("leases", "Accounts of which this process holds a part", m.leases);
        registry.register("alerts_firing", "Alerts and alarms that fire", m.alerts_firing);
        registry.register("inflight", "Exchanges being served", m.inflight);
        registry.register("inflight_limit", "Exchanges that may be served at once", m.inflight_limit);
        registry.register("shed", "Requests turned away under load, by priority and reason", m.shed);
        registry.register("queue_seconds", "Waits of those who waited for a slot", m.queue_seconds);
        registry.register("queue_length", "Requests that wait for a slot", m.queue_length);
        m.impact.register(registry);
        registry.register("memory_ratio", "Memory in use, as a part of what may be", m.memory_ratio);
        metrics
    }

    /// Sets the share of a path's targets that serve; the operator's view calls it before a scrape.
    pub fn path_health(&self, path: &Arc<str>, serving: usize, targets: usize) {
        let share = serving as f64 / targets.max(1) as f64;
        self.path_health.get_or_create(&PathLabels { path: Arc::clone(path) }).set(share);
    }

    /// Sets the state of a target's breaker; the operator's view calls it before a scrape.
    pub fn breaker_state(&self, target: &str, state: BreakerState) {
        for other in
            [BreakerState::Serving, BreakerState::Ramping, BreakerState::Probing, BreakerState::Tripped]
        {
            let labels = TransitionLabels { target: target.into(), state: other.label() };
            self.breaker_state.get_or_create(&labels).set(i64::from(other == state));
        }
    }

    /// Counts a change of a target's breaker.
    pub fn breaker_transition(&self, target: &str, state: &'static str) {
        self.breaker_transitions.get_or_create(&TransitionLabels { target: target.into(), state }).inc();
    }

    /// Sets how many emergency stops are in force; the operator's view calls it before a scrape.
    pub fn stops_in_force(&self, stops: &Stops) {
        for level in LEVELS {
            let gauge = self.stops_in_force.get_or_create(&LevelLabels { level: level.label() });
            gauge.set(i64::try_from(stops.count(level)).unwrap_or(i64::MAX));
        }
    }

    /// Sets what the ledger knows of its accounts; the operator's view calls it before a scrape.
    pub fn budgets(&self, accounts: &[AccountView]) {
        self.budget_nusd.clear();
        let usd = accounts.iter().filter(|account| account.terms.dimension == Dimension::Usd);
        for account in usd.take(BUDGET_SCOPES_MAX) {
            let balance = &account.balance;
            for (kind, nusd) in [
                ("posted", balance.posted),
                ("pending", balance.pending),
                ("suspense", balance.suspense),
                ("limit", account.terms.limit),
            ] {
                // The budget's id names its scope; of a star each value is told apart.
                let scope = format!("{} {}", account.key.budget, account.key.scope);
                self.budget_nusd.get_or_create(&BudgetLabels { scope, kind }).set(nusd);
            }
        }
        let held = accounts.iter().filter(|account| account.free_here > 0 || account.pending_here > 0);
        self.leases.set(i64::try_from(held.count()).unwrap_or(i64::MAX));
    }

    /// Sets how many burn-rate alerts fire, and what is in suspense altogether.
    pub fn alerts(&self, firing: usize, suspense_nusd: i64) {
        self.fire(&self.impact.firing.burning, firing);
        self.suspense_nusd.set(suspense_nusd);
    }

    /// Sets what the slots say of themselves; the operator's view calls it before a scrape.
    pub fn load(&self, view: &View, memory_ratio: f64) {
        self.inflight_limit.set(i64::try_from(view.limit).unwrap_or(i64::MAX));
        self.memory_ratio.set(memory_ratio);
        for (priority, waiting) in PRIORITIES.into_iter().zip(view.waiting) {
            let gauge = self.queue_length.get_or_create(&PriorityLabels { priority: priority.label() });
            gauge.set(i64::try_from(waiting).unwrap_or(i64::MAX));
        }
    }

    /// Sets what the gateway itself takes.
    pub fn impact(&self, standings: &[Standing]) {
        for standing in standings {
            let labels = ResourceLabels { resource: standing.resource.label() };
            self.impact.alarm.get_or_create(&labels).set(i64::from(standing.alarmed));
            self.impact.percent.get_or_create(&labels).set(standing.percent.unwrap_or(0.0));
        }
        let firing = standings.iter().filter(|standing| standing.alarmed).count();
        self.fire(&self.impact.firing.impact, firing);
    }

    /// So many of one kind fire.
    fn fire(&self, of_kind: &AtomicU64, firing: usize) {
        of_kind.store(firing as u64, Ordering::Relaxed);
        let load = |kind: &AtomicU64| kind.load(Ordering::Relaxed);
        let all = load(&self.impact.firing.burning).saturating_add(load(&self.impact.firing.impact));
        self.alerts_firing.set(i64::try_from(all).unwrap_or(i64::MAX));
    }

    pub(crate) fn shed(&self, priority: Priority, why: Shed) {
        let labels = ShedLabels { priority: priority.label(), reason: why.label() };
        self.shed.get_or_create(&labels).inc();
    }

    pub(crate) fn attempt(&self, path: &Arc<str>, class: &'static str) {
        let labels = AttemptLabels { path: Arc::clone(path), class };
        self.attempts.get_or_create(&labels).inc();
    }

    pub(crate) fn rate_limited(&self, scope_kind: &Arc<str>) {
        self.rate_limited.get_or_create(&ScopeLabels { scope_kind: Arc::clone(scope_kind) }).inc();
    }

    pub(crate) fn failover(&self, from: &Arc<str>, to: &Arc<str>, reason: &'static str) {
        let labels = FailoverLabels { from: Arc::clone(from), to: Arc::clone(to), reason };
        self.failovers.get_or_create(&labels).inc();
    }

    pub(crate) fn exchange(
        &self,
        decision: &Decision,
        path: &Arc<str>,
        outcome: &OutcomeRecord,
        answered_after: Option<Duration>,
    ) {
        let api = decision.api.label();
        let operation: Arc<str> = decision.operation.as_str().into();
        self.requests
            .get_or_create(&RequestLabels {
                api,
                operation: Arc::clone(&operation),
                path: Arc::clone(path),
                outcome: outcome.label.label(),
            })
            .inc();
        let labels = OperationLabels { api, operation };
        self.request_seconds.get_or_create(&labels).observe(seconds(outcome.total_us));
        if let Some(first) = answered_after.filter(|_| decision.stream) {
            self.first_content_seconds.get_or_create(&labels).observe(first.as_secs_f64());
        }
        self.stages.observe(Stage::Total, Duration::from_micros(outcome.overhead_us));
        self.usage(outcome);
    }

    fn usage(&self, outcome: &OutcomeRecord) {
        let usage = &outcome.usage;
        for (direction, kind, tokens) in [
            ("input", "uncached", usage.input),
            ("input", "cache_read", usage.cache_read),
            ("input", "cache_write", usage.cache_write),
            ("output", "all", usage.output),
            ("output", "reasoning", usage.reasoning),
        ] {
            if let Some(tokens) = tokens.filter(|t| *t > 0) {
                self.tokens.get_or_create(&TokenLabels { direction, kind }).inc_by(tokens);
            }
        }
        if let Some(cost) = outcome.cost_nusd.and_then(|c| u64::try_from(c).ok()) {
            self.cost_nusd.inc_by(cost);
        }
    }
}

fn seconds(us: u64) -> f64 {
    us as f64 / 1e6
}

fn latency() -> Histogram {
    Histogram::new([
        0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 600.0,
    ])
}

fn queueing() -> Histogram {
    Histogram::new([1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3, 75e-3, 0.1, 0.15, 0.25])
}

fn decision() -> Histogram {
    Histogram::new([1e-6, 2e-6, 5e-6, 10e-6, 20e-6, 50e-6, 100e-6, 250e-6, 1e-3, 5e-3])
}
