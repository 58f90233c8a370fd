//! The recent decision records, in a ring of fixed size.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use outcrop_core::RequestId;
use outcrop_core::decision::Decision;

/// Records kept by default.
pub const RECORDS_KEPT: usize = 4096;

/// The recent decision records; the oldest leaves when a new one comes to a full ring.
#[derive(Debug)]
pub struct DecisionLog {
    // A sync mutex: held for one insertion or look-up, never across an await (I-5).
    ring: Mutex<Ring>,
    capacity: usize,
}

/// Which records are wanted; what is `None` is not asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Accepted then or later, in milliseconds since the Unix epoch.
    pub since_ms: Option<u64>,
    /// Of this caller.
    pub caller: Option<String>,
    /// For this model, as the caller named it.
    pub model: Option<String>,
    /// Of this operation.
    pub operation: Option<String>,
    /// Tried on this path.
    pub path: Option<String>,
    /// With this end (`ok`, `partial`, `caller_gone`, `failed`) or this code.
    pub outcome: Option<String>,
}

impl Wanted {
    fn fits(&self, decision: &Decision) -> bool {
        let is = |wanted: &Option<String>, given: &str| wanted.as_ref().is_none_or(|w| w == given);
        let on_path = |path: &String| {
            decision
                .attempts
                .iter()
                .any(|a| a.target.strip_prefix(path.as_str()).is_some_and(|r| r.starts_with('/')))
        };
        let ended = |wanted: &String| {
            decision.outcome.as_ref().is_some_and(|outcome| {
                outcome.label.label() == wanted || outcome.code.is_some_and(|code| code.label() == wanted)
            })
        };
        self.since_ms.is_none_or(|since| decision.accepted_at_ms >= since)
            && is(&self.caller, &decision.caller)
            && is(&self.model, &decision.model)
            && is(&self.operation, &decision.operation)
            && self.path.as_ref().is_none_or(on_path)
            && self.outcome.as_ref().is_none_or(ended)
    }
}

#[derive(Debug, Default)]
struct Ring {
    order: VecDeque<Arc<Decision>>,
    by_id: HashMap<RequestId, Arc<Decision>>,
}

impl DecisionLog {
    /// A ring of `capacity` records.
    pub fn new(capacity: usize) -> Self {
        Self { ring: Mutex::default(), capacity: capacity.max(1) }
    }

    /// Adds a record.
    pub fn put(&self, decision: Arc<Decision>) {
        let mut ring = self.lock();
        if ring.order.len() == self.capacity
            && let Some(oldest) = ring.order.pop_front()
        {
            ring.by_id.remove(&oldest.request_id);
        }
        ring.by_id.insert(decision.request_id.clone(), Arc::clone(&decision));
        ring.order.push_back(decision);
    }

    /// The record of one exchange.
    pub fn get(&self, id: &str) -> Option<Arc<Decision>> {
        self.lock().by_id.get(&RequestId::new(id)).cloned()
    }

    /// The newest `count` records that are wanted, newest first.
    pub fn recent(&self, wanted: &Wanted, count: usize) -> Vec<Arc<Decision>> {
        // A copy of the pointers, so that whoever settles an exchange does not wait for the search.
        let all: Vec<Arc<Decision>> = self.lock().order.iter().rev().cloned().collect();
        all.into_iter().filter(|decision| wanted.fits(decision)).take(count).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use outcrop_core::decision::{AttemptRecord, End, OutcomeRecord};
    use outcrop_core::{Code, Dialect, Usage};

    fn decision(id: &str) -> Decision {
        Decision::opened(RequestId::new(id), 0, Dialect::OpenAi)
    }

    #[test]
    fn the_ring_forgets_the_oldest() {
        let log = DecisionLog::new(2);
        for id in ["a", "b", "c"] {
            log.put(Arc::new(decision(id)));
        }
        assert!(log.get("a").is_none() && log.get("b").is_some());
        assert_eq!(ids(&log, &Wanted::default()), ["c", "b"]);
    }

    fn ids(log: &DecisionLog, wanted: &Wanted) -> Vec<String> {
        log.recent(wanted, 9).iter().map(|d| d.request_id.to_string()).collect()
    }

    #[test]
    fn each_filter_finds_its_own() {
        let log = DecisionLog::new(9);
        let target = |target: &str| AttemptRecord {
            target: target.into(),
            started_us: 0,
            took_us: 0,
            failed: None,
            upstream_request_id: String::new(),
            input_counted: None,
        };
        let failed = OutcomeRecord {
            code: Some(Code::Stopped),
            label: End::Failed,
            usage: Usage::default(),
            cost_nusd: None,
            total_us: 0,
            overhead_us: 0,
            deadline_met: false,
        };
        log.put(Arc::new(Decision { accepted_at_ms: 7, ..decision("late") }));
        log.put(Arc::new(Decision { caller: "ci".into(), ..decision("caller") }));
        log.put(Arc::new(Decision { model: "m".into(), ..decision("model") }));
        log.put(Arc::new(Decision { operation: "o".into(), ..decision("operation") }));
        log.put(Arc::new(Decision { attempts: vec![target("fra2/x"), target("fra/x")], ..decision("path") }));
        log.put(Arc::new(Decision { outcome: Some(failed), ..decision("outcome") }));
        let own = |text: &str| Some(text.to_owned());
        for (wanted, expected) in [
            (Wanted { since_ms: Some(7), ..Wanted::default() }, "late"),
            (Wanted { caller: own("ci"), ..Wanted::default() }, "caller"),
            (Wanted { model: own("m"), ..Wanted::default() }, "model"),
            (Wanted { operation: own("o"), ..Wanted::default() }, "operation"),
            (Wanted { path: own("fra"), ..Wanted::default() }, "path"),
            (Wanted { outcome: own("failed"), ..Wanted::default() }, "outcome"),
            (Wanted { outcome: own("stopped"), ..Wanted::default() }, "outcome"),
        ] {
            assert_eq!(ids(&log, &wanted), [expected], "{wanted:?}");
        }
        assert!(ids(&log, &Wanted { path: own("fr"), ..Wanted::default() }).is_empty());
    }
}
