//! One simulated upstream: its script, its records and its service.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    billing::Billing,
    clock,
    dice::Dice,
    exchange::{Exchange, Received, Service, Subject},
    quota::Quota,
    requests::Requests,
    script::{Fault, Script},
};

/// One simulated upstream.
pub struct Target {
    name: String,
    /// The protocol, for people.
    kind: &'static str,
    seed: AtomicU64,
    /// Requests so far; the n-th request draws its faults and delays from (seed, name, n).
    arrivals: AtomicU64,
    active: Mutex<Active>,
    billing: Billing,
    requests: Requests,
    quota: Quota,
    service: Box<dyn Service>,
    /// Exchanges go on here after their caller left.
    tasks: TaskTracker,
    stop: CancellationToken,
}

#[derive(Debug, Default)]
struct Active {
    script: Arc<Script>,
    /// How often each fault may still happen; `None` without end.
    left: Vec<Option<u64>>,
}

impl Target {
    /// A healthy target.
    pub fn new(name: &str, kind: &'static str, seed: u64, service: Box<dyn Service>) -> Arc<Self> {
        Arc::new(Self {
            name: name.to_owned(),
            kind,
            seed: AtomicU64::new(seed),
            arrivals: AtomicU64::new(0),
            active: Mutex::default(),
            billing: Billing::default(),
            requests: Requests::default(),
            quota: Quota::default(),
            service,
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        })
    }

    /// Its name in scripts, records and texts.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its protocol, for people.
    pub fn kind(&self) -> &'static str {
        self.kind
    }

    /// The lab's seed.
    pub fn seed(&self) -> u64 {
        self.seed.load(Ordering::Relaxed)
    }

    /// Its billing records.
    pub fn billing(&self) -> &Billing {
        &self.billing
    }

    /// The requests it saw.
    pub fn requests(&self) -> &Requests {
        &self.requests
    }

    /// Its tokens per minute.
    pub fn quota(&self) -> &Quota {
        &self.quota
    }

    /// What it simulates.
    pub fn service(&self) -> &dyn Service {
        &*self.service
    }

    /// The script in force.
    pub fn script(&self) -> Arc<Script> {
        Arc::clone(&self.active.lock().script)
    }

    /// Tasks that outlive a connection.
    pub(crate) fn tasks(&self) -> &TaskTracker {
        &self.tasks
    }

    /// Cancelled when the lab ends.
    pub(crate) fn stop(&self) -> &CancellationToken {
        &self.stop
    }

    /// Replaces the script; opening and closing the port is the listener's part.
    pub(crate) fn set_script(&self, script: Script) {
        self.service.scripted(&script);
        *self.active.lock() = Active {
            left: script.faults.iter().map(|fault| fault.times).collect(),
            script: Arc::new(script),
        };
        self.quota.clear();
    }

    /// Starts over with a seed: no script, no records, the first arrival next.
    pub(crate) fn reset(&self, seed: u64) {
        self.set_script(Script::default());
        self.seed.store(seed, Ordering::Relaxed);
        self.arrivals.store(0, Ordering::Relaxed);
        self.billing.reset(clock::now_ms());
        self.requests.clear();
        self.service.reset();
    }

    /// Opens an exchange for a request, with the dice of its arrival.
    pub(crate) fn open(self: &Arc<Self>, received: Received) -> (Exchange, Dice) {
        let arrival = self.arrivals.fetch_add(1, Ordering::Relaxed);
        let mut dice = Dice::new(self.seed(), [self.name.as_bytes(), &arrival.to_le_bytes()]);
        let exchange = Exchange {
            request_id: dice.uuid(),
            script: self.script(),
            fault: None,
            target: Arc::clone(self),
            received,
            at_ms: clock::now_ms(),
        };
        (exchange, dice)
    }

    /// Draws the fault of a request, using up one of its times.
    pub(crate) fn pick_fault(&self, subject: &Subject, dice: &mut Dice) -> Option<Fault> {
        let spared = self.service.spares(subject);
        let mut active = self.active.lock();
        let Active { script, left } = &mut *active;
        script.faults.iter().zip(left).find_map(|(fault, left)| {
            let due = fault.applies(subject, spared) && *left != Some(0) && dice.fraction() < fault.rate;
            due.then(|| {
                *left = left.map(|times| times - 1);
                fault.clone()
            })
        })
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target").field("name", &self.name).field("kind", &self.kind).finish_non_exhaustive()
    }
}
