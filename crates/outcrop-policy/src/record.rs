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
    pub fn put(&self, decision: Decision) {
        let decision = Arc::new(decision);
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

    /// The newest `count` records, newest first.
    pub fn recent(&self, count: usize) -> Vec<Arc<Decision>> {
        self.lock().order.iter().rev().take(count).cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use outcrop_core::{Dialect, Priority};

    fn decision(id: &str) -> Decision {
        Decision {
            request_id: RequestId::new(id),
            accepted_at_ms: 0,
            api: Dialect::OpenAi,
            caller: String::new(),
            model: String::new(),
            stand_in: None,
            resumed: None,
            stream: false,
            operation: String::new(),
            priority: Priority::Medium,
            deadline_ms: 0,
            snapshot: 0,
            candidates: Vec::new(),
            decided_in_ns: 0,
            attempts: Vec::new(),
            outcome: None,
        }
    }

    #[test]
    fn the_ring_forgets_the_oldest() {
        let log = DecisionLog::new(2);
        for id in ["a", "b", "c"] {
            log.put(decision(id));
        }
        assert!(log.get("a").is_none() && log.get("b").is_some());
        let newest: Vec<_> = log.recent(9).iter().map(|d| d.request_id.to_string()).collect();
        assert_eq!(newest, ["c", "b"]);
    }
}
