//! What the gateway shows of itself to an operator.

use std::sync::Arc;

use outcrop_core::Priority;
use outcrop_core::decision::Decision;
use outcrop_core::path::PathKind;
use outcrop_policy::Wanted;
use outcrop_policy::admission::Rung;
use outcrop_policy::health::Report;
use outcrop_policy::ledger::Totals;
use outcrop_store::Administrator;
use serde::Serialize;

/// What the gateway shows of itself. All calls return at once.
pub trait View: Send + Sync + 'static {
    /// Whether the network door asks for keys.
    fn asks_for_keys(&self) -> bool {
        false
    }
    /// The holder of this whole key, whatever its role.
    fn administrator(&self, _key: &str) -> Option<Administrator> {
        None
    }
    /// Whether requests can be served.
    fn readiness(&self) -> Readiness;
    /// The configured paths.
    fn paths(&self) -> Vec<PathView>;
    /// The configured targets and their health.
    fn targets(&self) -> Vec<TargetView>;
    /// How busy the process is.
    fn load(&self) -> LoadView;
    /// What this process has spent.
    fn totals(&self) -> Totals;
    /// The record of one exchange.
    fn decision(&self, request_id: &str) -> Option<Arc<Decision>>;
    /// The newest records that are wanted.
    fn decisions(&self, wanted: &Wanted, count: usize) -> Vec<Arc<Decision>>;
    /// Metrics in OpenMetrics text.
    fn open_metrics(&self) -> String;
}

/// How busy the process is.
#[derive(Debug, Clone, Default, Serialize)]
pub struct LoadView {
    /// Requests that may be served at once.
    pub limit: usize,
    /// Requests that are, and that wait, by priority.
    pub priorities: Vec<PriorityLoad>,
    /// Memory of those that wait, in bytes.
    pub waiting_bytes: usize,
    /// Memory of the process in bytes.
    pub memory_used: u64,
    /// What it may use; 0 while that is not known.
    pub memory_max: u64,
    /// What is given up for lack of memory: `normal`, `lean`, `short`, `critical`.
    pub memory: Rung,
}

/// How many requests of one priority there are.
#[derive(Debug, Clone, Serialize)]
pub struct PriorityLoad {
    /// Which.
    pub priority: Priority,
    /// Being served.
    pub in_flight: usize,
    /// Waiting for a slot.
    pub waiting: usize,
}

/// Whether requests can be served, and why not.
#[derive(Debug, Clone, Serialize)]
pub struct Readiness {
    /// The answer.
    pub ready: bool,
    /// Why not; empty when ready.
    pub reasons: Vec<String>,
    /// Version of the snapshot in force.
    pub snapshot: u64,
}

/// A configured path.
#[derive(Debug, Clone, Serialize)]
pub struct PathView {
    /// Name.
    pub name: Arc<str>,
    /// Kind.
    pub kind: PathKind,
    /// Declared region.
    pub region: Option<Arc<str>>,
    /// Targets on it.
    pub targets: usize,
    /// Targets on it that serve.
    pub serving: usize,
}

/// A configured target.
#[derive(Debug, Clone, Serialize)]
pub struct TargetView {
    /// `path/model id`.
    pub name: String,
    /// Aliases that lead to it.
    pub models: Vec<String>,
    /// Switched on by the operator.
    pub enabled: bool,
    /// Whether an attempt would probably be answered.
    pub serving: bool,
    /// What the attempts said.
    pub health: Report,
}
