//! The gate of the emergency stop: what may start, and what is cut while it runs.
//!
//! An exchange asks before it is planned to its end, and again right before each attempt is
//! dispatched; whatever waits for an upstream waits for a stop at the same time, so a stop reaches it
//! without polling. While nothing is stopped, asking is one atomic load.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use outcrop_core::failure::{Class, Code, Failure};
use outcrop_policy::scope::{Attribution, Scope};
use outcrop_policy::stops::automatic::{Automatic, Observation, Trigger};
use outcrop_policy::stops::{Kept, Phase, Stop, Stops, TooMany};
use tokio::sync::watch;

/// When a stopped caller may ask again; how long a stop lasts, nobody knows.
const RETRY_AFTER: Duration = Duration::from_secs(30);

/// The stops in force, and everybody who waits for the next one.
pub struct Gate {
    // Written after the set, read before it: while it is false there is nothing to read.
    any: AtomicBool,
    stops: watch::Sender<Arc<Stops>>,
    automatic: ArcSwap<Automatic>,
}

impl Default for Gate {
    fn default() -> Self {
        Self {
            any: AtomicBool::new(false),
            stops: watch::Sender::new(Arc::default()),
            automatic: ArcSwap::default(),
        }
    }
}

impl Gate {
    /// The stops in force.
    pub fn in_force(&self) -> Arc<Stops> {
        Arc::clone(&self.stops.borrow())
    }

    /// The stops in force, and word of every change.
    pub fn watch(&self) -> watch::Receiver<Arc<Stops>> {
        self.stops.subscribe()
    }

    /// Changes the set; in force everywhere in this process when it returns.
    pub fn change(&self, edit: impl FnOnce(&mut Stops)) {
        self.stops.send_modify(|stops| {
            let mut next = Stops::clone(stops);
            edit(&mut next);
            self.any.store(!next.none(), Ordering::Release);
            *stops = Arc::new(next);
        });
    }

    /// Puts a stop in force that is not journalled yet.
    pub fn raise(&self, stop: Stop) -> Result<(), TooMany> {
        let mut raised = Ok(());
        self.change(|stops| raised = stops.put(stop, Kept::Pending));
        raised
    }

    /// Replaces the automatic triggers; what the former ones had counted is forgotten.
    pub fn set_triggers(&self, triggers: impl IntoIterator<Item = Trigger>) {
        self.automatic.store(Arc::new(Automatic::new(triggers)));
    }

    /// Tells the automatic triggers what an exchange came to; the stop that it calls for is in force
    /// when this returns.
    pub fn observe(&self, whose: &Attribution, seen: Observation, now_ms: u64) {
        let Some(stop) = self.automatic.load().observe(whose, seen, now_ms) else { return };
        if self.in_force().has_like(&stop) {
            return;
        }
        tracing::error!(
            stop = stop.id, scope = %stop.scope, level = stop.level.label(), by = stop.by, reason = stop.reason,
            "emergency stop"
        );
        if let Err(error) = self.raise(stop) {
            tracing::error!(%error, "the stop is not in force");
        }
    }

    /// Whether such a request may be dispatched. `now` is the time since the Unix epoch.
    pub(crate) fn may_start(
        &self,
        whose: &Attribution,
        request: &str,
        now: impl FnOnce() -> Duration,
    ) -> Result<(), Failure> {
        if !self.any.load(Ordering::Acquire) {
            return Ok(());
        }
        let now_ms = u64::try_from(now().as_millis()).unwrap_or(u64::MAX);
        match self.stops.borrow().verdict(whose, Phase::Start { request, now_ms }) {
            Some(stop) => Err(refusal(stop)),
            None => Ok(()),
        }
    }

    /// Listens for stops that cut what is about to begin: before the last `may_start`, so that no stop
    /// falls between the two.
    pub(crate) fn listen(&self) -> Ear {
        Ear { stops: self.stops.subscribe() }
    }
}

/// Waits for a stop.
pub(crate) struct Ear {
    stops: watch::Receiver<Arc<Stops>>,
}

impl Ear {
    /// Ends when a stop cuts such an exchange in such a phase, and not before.
    pub(crate) async fn cut(&mut self, whose: &Attribution, phase: Phase<'_>) -> Failure {
        loop {
            if let Some(failure) = self.is_cut(whose, phase) {
                return failure;
            }
            if self.stops.changed().await.is_err() {
                // The gateway is gone, and nobody can stop anything any more.
                std::future::pending::<()>().await;
            }
        }
    }

    fn is_cut(&mut self, whose: &Attribution, phase: Phase<'_>) -> Option<Failure> {
        let stops = self.stops.borrow_and_update();
        if stops.none() {
            return None;
        }
        // What was sent may have run.
        stops.verdict(whose, phase).map(|stop| Failure { class: Class::Ambiguous, ..refusal(stop) })
    }
}

/// What a caller of a stopped scope is told. Nothing was sent, so another target may be free.
fn refusal(stop: &Stop) -> Failure {
    let scope = if stop.scope == Scope::all() { "everything".to_owned() } else { stop.scope.to_string() };
    let text = format!("An emergency stop is in force for {scope}: {}", stop.reason);
    let mut failure = Failure::refusal(Code::Stopped, text).with_detail(format!("stop {}", stop.id));
    failure.class = Class::NotSent;
    failure.retry_after = Some(RETRY_AFTER);
    failure
}

#[cfg(test)]
mod tests {
    use outcrop_policy::stops::Level;

    use super::*;

    fn stop(scope: &str, level: Level) -> Stop {
        Stop {
            id: scope.into(),
            scope: Scope::parse(scope).unwrap(),
            level,
            by: "ada".into(),
            reason: "drill".into(),
            since_ms: 0,
            staged: None,
        }
    }

    fn whose(key: &str) -> Attribution {
        Attribution { key: key.into(), ..Attribution::default() }
    }

    #[test]
    fn a_stop_is_in_force_when_it_is_raised_and_gone_when_it_is_taken_out() {
        let gate = Gate::default();
        let may = |key: &str| gate.may_start(&whose(key), "r", Duration::default);
        assert_eq!(may("ci"), Ok(()));
        gate.raise(stop("key:ci", Level::Drain)).unwrap();
        let failure = may("ci").unwrap_err();
        assert_eq!((failure.code, failure.class), (Code::Stopped, Class::NotSent));
        assert!(failure.message.contains("key:ci") && failure.message.contains("drill"), "{failure}");
        assert!(failure.retry_after.is_some());
        assert_eq!(may("cd"), Ok(()));
        gate.change(|stops| stops.remove("key:ci"));
        assert_eq!(may("ci"), Ok(()));
    }

    #[tokio::test]
    async fn whoever_waits_is_woken_by_the_stop_that_means_it_and_by_no_other() {
        let gate = Gate::default();
        let mut ear = gate.listen();
        let ci = whose("ci");
        let mut waiting = tokio_test(ear.cut(&ci, Phase::Stream));
        for (scope, level) in [("key:cd", Level::Kill), ("key:ci", Level::Drain)] {
            gate.raise(stop(scope, level)).unwrap();
            assert!(waiting.poll().is_none(), "{scope}");
        }
        gate.raise(stop("all", Level::Stop)).unwrap();
        let failure = waiting.poll().unwrap();
        assert_eq!((failure.code, failure.class), (Code::Stopped, Class::Ambiguous));
    }

    #[test]
    fn a_trigger_that_is_pulled_twice_stops_once() {
        use outcrop_policy::stops::automatic::Kind;
        let gate = Gate::default();
        let kind = Kind::ConsecutiveFailures { count: 2 };
        gate.set_triggers([Trigger { scope: Scope::all(), kind, level: Level::Drain }]);
        for now_ms in 0..8 {
            gate.observe(&whose("ci"), Observation { failed: Some(true), cost_nusd: 0 }, now_ms);
        }
        assert_eq!(gate.in_force().pending().count(), 1);
    }

    /// A future that is polled by hand.
    struct ByHand<F>(std::pin::Pin<Box<F>>);

    fn tokio_test<F: Future>(future: F) -> ByHand<F> {
        ByHand(Box::pin(future))
    }

    impl<F: Future> ByHand<F> {
        fn poll(&mut self) -> Option<F::Output> {
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            match self.0.as_mut().poll(&mut context) {
                std::task::Poll::Ready(output) => Some(output),
                std::task::Poll::Pending => None,
            }
        }
    }
}
