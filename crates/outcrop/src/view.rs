//! What the admin listener sees of the gateway.

use std::sync::Arc;
use std::time::Duration;

use outcrop_admin::{LoadView, PathView, PriorityLoad, Readiness, TargetView, View};
use outcrop_core::TargetId;
use outcrop_core::decision::Decision;
use outcrop_policy::Wanted;
use outcrop_policy::admission::PRIORITIES;
use outcrop_policy::ledger::Totals;
use outcrop_policy::route::target_name;
use outcrop_proxy::{Auth, Gateway, Snapshot};
use outcrop_store::Administrator;
use prometheus_client::registry::Registry;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::clock::wall;

/// The gateway as the admin listener sees it.
pub(crate) struct GatewayView {
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) registry: Registry,
    pub(crate) drain: CancellationToken,
}

impl GatewayView {
    fn all_targets(&self, snapshot: &Snapshot) -> Vec<TargetView> {
        let now = Instant::now().into_std();
        let specs = (0u32..).map(TargetId).zip(&snapshot.routes.targets);
        specs
            .filter(|(_, spec)| !spec.model_id.is_empty())
            .map(|(id, spec)| {
                let name = target_name(&spec.path, &spec.model_id);
                let health = self.gateway.health.report(&name, now);
                let mut models: Vec<String> = (snapshot.routes.models.iter())
                    .filter(|(_, targets)| targets.contains(&id))
                    .map(|(alias, _)| alias.to_string())
                    .collect();
                models.sort_unstable();
                TargetView {
                    models,
                    enabled: spec.enabled,
                    serving: spec.enabled && health.is_serving(),
                    health,
                    name,
                }
            })
            .collect()
    }
}

impl View for GatewayView {
    fn asks_for_keys(&self) -> bool {
        matches!(self.gateway.snapshot().auth, Auth::Keys(_))
    }

    fn administrator(&self, key: &str) -> Option<Administrator> {
        let now = Duration::try_from(wall().as_duration()).unwrap_or_default();
        match &self.gateway.snapshot().auth {
            Auth::Open(_) => None,
            Auth::Keys(ring) => ring.find(key, now).map(|holder| holder.administrator()),
        }
    }

    fn readiness(&self) -> Readiness {
        let snapshot = self.gateway.snapshot();
        let targets = self.all_targets(&snapshot);
        let mut reasons = Vec::new();
        if self.drain.is_cancelled() {
            reasons.push("draining: this process is about to end".to_owned());
        }
        if let Some(stop) = self.gateway.stops.in_force().of_everything() {
            reasons.push(format!("everything is stopped: {}", stop.reason));
        }
        if !targets.is_empty() && !targets.iter().any(|t| t.serving) {
            reasons.push("no target serves: each failed its last attempts".to_owned());
        }
        if !self.gateway.keeper.health().borrow().ok {
            reasons.push("the ledger's store is not available: nothing may be spent".to_owned());
        }
        Readiness { ready: reasons.is_empty(), reasons, snapshot: snapshot.version }
    }

    fn paths(&self) -> Vec<PathView> {
        let snapshot = self.gateway.snapshot();
        let now = Instant::now().into_std();
        let mut views: Vec<PathView> = Vec::new();
        for spec in &snapshot.routes.targets {
            let known = views.iter().position(|v| v.name == spec.path);
            let at = known.unwrap_or_else(|| {
                let (name, region) = (Arc::clone(&spec.path), spec.region.clone());
                views.push(PathView { name, kind: spec.kind, region, targets: 0, serving: 0 });
                views.len() - 1
            });
            let health = self.gateway.health.report(&target_name(&spec.path, &spec.model_id), now);
            if let Some(view) = views.get_mut(at).filter(|_| !spec.model_id.is_empty()) {
                view.targets += 1;
                view.serving += usize::from(spec.enabled && health.is_serving());
            }
        }
        views
    }

    fn targets(&self) -> Vec<TargetView> {
        self.all_targets(&self.gateway.snapshot())
    }

    fn load(&self) -> LoadView {
        let (slots, memory) = self.gateway.slots.view();
        let priorities = PRIORITIES.into_iter().zip(slots.in_use.into_iter().zip(slots.waiting));
        LoadView {
            limit: slots.limit,
            priorities: priorities
                .map(|(priority, (in_flight, waiting))| PriorityLoad { priority, in_flight, waiting })
                .collect(),
            waiting_bytes: slots.waiting_bytes,
            memory_used: memory.used,
            memory_max: memory.max,
            memory: slots.rung,
        }
    }

    fn totals(&self) -> Totals {
        self.gateway.ledger().totals()
    }

    fn decision(&self, request_id: &str) -> Option<Arc<Decision>> {
        self.gateway.decisions.get(request_id)
    }

    fn decisions(&self, wanted: &Wanted, count: usize) -> Vec<Arc<Decision>> {
        self.gateway.decisions.recent(wanted, count)
    }

    fn open_metrics(&self) -> String {
        for path in self.paths() {
            self.gateway.metrics.path_health(&path.name, path.serving, path.targets);
        }
        for target in self.targets() {
            self.gateway.metrics.breaker_state(&target.name, target.health.breaker);
        }
        self.gateway.metrics.budgets(&self.gateway.ledger().accounts());
        self.gateway.metrics.stops_in_force(&self.gateway.stops.in_force());
        let (slots, memory) = self.gateway.slots.view();
        self.gateway.metrics.load(&slots, memory.used as f64 / memory.max.max(1) as f64);
        let mut text = String::new();
        // Writing into a string cannot fail.
        let _ = prometheus_client::encoding::text::encode(&mut text, &self.registry);
        text
    }
}
