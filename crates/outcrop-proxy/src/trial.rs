//! May the target be asked? An attempt as health sees it, with the log line and the count of what
//! changes by it.

use std::sync::Arc;
use std::time::Duration;

use outcrop_core::Usage;
use outcrop_core::decision::{BreakerState, Exclusion};
use outcrop_core::failure::{Class, Code, Failure};
use outcrop_policy::health::{self, Denied, Errand, Transition};
use tokio::time::Instant;

use crate::gateway::Gateway;

/// One attempt at a target, from its start to its last event.
pub(crate) struct Trial {
    gateway: Arc<Gateway>,
    target: Arc<str>,
    inner: health::Trial,
}

impl Trial {
    /// Begins an attempt at a target (`path/model id`), or says why there may be none.
    pub(crate) fn begin(gateway: &Arc<Gateway>, target: &str, errand: Errand) -> Result<Self, Denied> {
        let inner = gateway.health.begin(target, errand, now())?;
        Ok(Self { gateway: Arc::clone(gateway), target: target.into(), inner })
    }

    /// How long it may be waited for while another target could answer.
    pub(crate) fn patience(&self) -> Option<Duration> {
        self.inner.patience()
    }

    /// After how long another leg may be started beside it.
    pub(crate) fn hedges_after(&self) -> Option<Duration> {
        self.inner.hedges_after()
    }

    /// Its first content, or its whole answer, is here.
    pub(crate) fn answered(&mut self) {
        let change = self.inner.answered(now(), rand::random());
        self.tell(change);
    }

    /// Another target is asked in its stead, and its answer may come yet.
    pub(crate) fn turn_late(&mut self) {
        let change = self.inner.turn_late(now(), rand::random());
        self.tell(change);
    }

    /// It failed, before its first content or after it.
    pub(crate) fn failed(&mut self, failure: &Failure) {
        // What a stop of ours cut says nothing about its target.
        if failure.code == Code::Stopped {
            return;
        }
        let change = self.inner.failed(failure, now(), rand::random());
        self.tell(change);
    }

    /// What the upstream counted.
    pub(crate) fn used(&mut self, usage: &Usage) {
        self.inner.used(usage.input_total(), usage.output_or_zero(), now());
    }

    fn tell(&self, change: Option<Transition>) {
        if let Some(change) = change {
            tell(&self.gateway, &self.target, change);
        }
    }
}

/// Logs and counts a change of a breaker.
pub(crate) fn tell(gateway: &Gateway, target: &str, change: Transition) {
    let (from, to) = (change.from.label(), change.to.label());
    gateway.metrics.breaker_transition(target, to);
    if change.to == BreakerState::Tripped {
        tracing::warn!(target_name = target, from, to, "breaker");
    } else {
        tracing::info!(target_name = target, from, to, "breaker");
    }
}

/// Why a target was passed over, for the record.
pub(crate) fn exclusion(denied: Denied) -> Exclusion {
    match denied {
        Denied::Tripped { .. } | Denied::NoRetry | Denied::Held => Exclusion::Tripped,
        Denied::Resting { .. } => Exclusion::Resting,
    }
}

/// What the caller is told when no target that may serve the request may be asked now.
pub(crate) fn refusal(denied: Denied) -> Failure {
    let (text, wait) = match denied {
        Denied::Tripped { wait } => ("failed its last attempts; it is asked again shortly.", Some(wait)),
        Denied::Resting { wait } => {
            ("is left alone for a while, as it asked or because it refuses our credentials.", Some(wait))
        }
        Denied::Held => ("is held back by whoever runs this gateway.", None),
        Denied::NoRetry => ("is in trouble and gets no further retries for now.", None),
    };
    let text = format!("The path that may serve this request {text}");
    let code = match denied {
        Denied::Resting { .. } => Code::Overloaded,
        Denied::Tripped { .. } | Denied::NoRetry | Denied::Held => Code::UpstreamFailed,
    };
    let mut failure = Failure::refusal(code, text);
    failure.class = Class::NotSent;
    failure.retry_after = wait.map(|wait| wait.max(Duration::from_secs(1)));
    failure
}

fn now() -> std::time::Instant {
    Instant::now().into_std()
}
