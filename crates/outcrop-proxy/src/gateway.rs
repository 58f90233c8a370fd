//! What all exchanges share: the immutable snapshot, and the few handles that outlive it.
//!
//! A reload swaps the snapshot whole; an exchange keeps the one it began with (I-8).

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use outcrop_core::decision::Decision;
use outcrop_policy::Ledger;
use outcrop_policy::tools::ToolBreakers;
use outcrop_policy::{DecisionLog, Health, RateSpec, Rates, Routes, Stop};
use outcrop_store::Keeper;
use outcrop_upstream::Upstreams;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::authenticate::Auth;
use crate::gate::Gate;
use crate::metrics::Metrics;
use crate::optional::{Because, Shed, Work};
use crate::slots::{SlotLimits, Slots};
use crate::throughput::Floor;

/// Most memory for the bodies of all requests at once, in KiB: 2 GiB.
const BODIES_KIB_MAX: usize = 2 * 1024 * 1024;

/// Most answers that are read on at once after their callers left.
const DRAINS_MAX: usize = 32;

/// Limits on one request.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Largest body in bytes, after decompression. Bedrock itself takes 25,000,000.
    pub body_bytes_max: usize,
    /// Longest wait for the next piece of a body.
    pub body_idle_max: Duration,
    /// Limits on its JSON.
    pub json: outcrop_wire::Limits,
    /// Most answers (`n`) one request may ask for.
    pub answers_max: u64,
    /// Output tokens of a request that sets no limit, where a hard budget counts it and the model's row says
    /// nothing.
    pub output_tokens_default: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes_max: 10 * 1024 * 1024,
            body_idle_max: Duration::from_secs(10),
            json: outcrop_wire::Limits::default(),
            answers_max: 8,
            output_tokens_default: 4096,
        }
    }
}

/// Limits on a stream after its first content.
#[derive(Debug, Clone, Copy)]
pub struct StreamLimits {
    /// Longest silence of the upstream.
    pub stall_max: Duration,
    /// Least that the upstream must send while it is waited for.
    pub floor: Floor,
    /// Longest life, from accept.
    pub total_max: Duration,
    /// Longest wait for an HTTP/2 caller to take a piece; on HTTP/1.1 the connection itself is watched.
    pub reader_stall_max: Duration,
}

impl Default for StreamLimits {
    fn default() -> Self {
        Self {
            stall_max: Duration::from_secs(10),
            floor: Floor::default(),
            total_max: Duration::from_mins(10),
            reader_stall_max: Duration::from_mins(1),
        }
    }
}

/// One immutable view of the configuration.
#[derive(Clone)]
pub struct Snapshot {
    /// Counts up with every reload and every flag that is turned.
    pub version: u64,
    /// Targets, models, operations.
    pub routes: Routes,
    /// Rate limits.
    pub rates: Vec<RateSpec>,
    /// The paths out.
    pub upstreams: Arc<Upstreams>,
    /// Who may call.
    pub auth: Auth,
    /// Limits on requests.
    pub limits: Limits,
    /// Limits on streams.
    pub streams: StreamLimits,
    /// Host names (besides loopback) that the MCP endpoint answers to.
    pub mcp_hosts: Vec<String>,
}

/// What all exchanges share.
pub struct Gateway {
    snapshot: ArcSwap<Snapshot>,
    /// Health of targets.
    pub health: Health,
    /// Breakers of federated tools.
    pub tools: ToolBreakers,
    /// Emergency stops.
    pub stops: Gate,
    /// The ledger and what makes it durable.
    pub keeper: Keeper,
    /// Longest wait for one answer of the store, when the leases do not hold enough.
    pub grant_wait_max: Duration,
    /// Rate limits and their state; those of a snapshot take force with it.
    pub rates: Rates,
    /// Recent decision records.
    pub decisions: DecisionLog,
    export: OnceLock<mpsc::Sender<Arc<Decision>>>,
    /// Counters and histograms.
    pub metrics: Metrics,
    /// Connections: a drain waits for them.
    pub connections: TaskTracker,
    /// Background work of the paths (credential refresh, MCP sessions): ended after the drain.
    pub background: TaskTracker,
    /// Who is served at once, and who waits.
    pub slots: Arc<Slots>,
    pub(crate) body_kib: Arc<Semaphore>,
    pub(crate) drains: Arc<Semaphore>,
    pub(crate) shed: Shed,
}

/// What a gateway is made of, beside its first snapshot.
pub struct Parts {
    /// Counters and histograms.
    pub metrics: Metrics,
    /// The ledger and what makes it durable.
    pub keeper: Keeper,
    /// How many are served at once, and who first.
    pub slots: SlotLimits,
    /// Longest wait for one answer of the store, when the leases do not hold enough.
    pub grant_wait_max: Duration,
    /// The tracker that the snapshot's upstreams were built with.
    pub background: TaskTracker,
}

impl Gateway {
    /// A gateway over its first snapshot.
    pub fn new(snapshot: Snapshot, parts: Parts) -> Self {
        let Parts { metrics, keeper, slots, grant_wait_max, background } = parts;
        let rates = Rates::new(Instant::now().into_std());
        rates.enforce(&snapshot.rates);
        Self {
            rates,
            snapshot: ArcSwap::from_pointee(snapshot),
            health: Health::default(),
            tools: ToolBreakers::default(),
            stops: Gate::default(),
            keeper,
            grant_wait_max,
            decisions: DecisionLog::new(outcrop_policy::record::RECORDS_KEPT),
            export: OnceLock::new(),
            slots: Slots::new(slots, metrics.clone()),
            metrics,
            connections: TaskTracker::new(),
            background,
            body_kib: Arc::new(Semaphore::new(BODIES_KIB_MAX)),
            drains: Arc::new(Semaphore::new(DRAINS_MAX)),
            shed: Shed::default(),
        }
    }

    /// Keeps a finished record, and hands it to the export if there is one; that never waits (I-4).
    pub(crate) fn keep(&self, decision: Decision) {
        let decision = Arc::new(decision);
        if let Some(export) = self.export.get()
            && (!self.does(Work::Export) || export.try_send(Arc::clone(&decision)).is_err())
        {
            self.metrics.decisions_dropped.inc();
        }
        self.decisions.put(decision);
    }

    /// Stops this optional work, and lets all other go on.
    pub fn shed(&self, works: &[Work]) {
        self.shed.only(works);
    }

    /// Why some optional work is not done at present; `None` where it is.
    pub fn off_because(&self, work: Work) -> Option<Because> {
        self.shed.because(work, || self.slots.allow_optional_work())
    }

    /// Whether some optional work is done at present.
    pub fn does(&self, work: Work) -> bool {
        self.off_because(work).is_none()
    }

    /// Hands every finished record to `export` from here on; what it does not take is counted and dropped.
    pub fn export_to(&self, export: mpsc::Sender<Arc<Decision>>) {
        // A second one would take what the first one is owed.
        let _ = self.export.set(export);
    }

    /// The ledger.
    pub fn ledger(&self) -> &Ledger {
        self.keeper.ledger()
    }

    /// The snapshot in force.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// Kills the child processes of the paths that a stop covers.
    pub fn kill_children(&self, stop: &Stop) {
        self.snapshot.load().upstreams.kill(|path, region| stop.covers_path(path, region));
    }

    /// Puts a new snapshot in force; exchanges under way keep theirs.
    pub fn swap(&self, snapshot: Snapshot) -> Arc<Snapshot> {
        self.rates.enforce(&snapshot.rates);
        self.snapshot.swap(Arc::new(snapshot))
    }
}
