//! The slots of the process: who holds one, who waits, and what tells how many there are.
//!
//! The decisions are the policy's (`outcrop_policy::admission`); here they meet tasks. A slot is a guard,
//! and a slot for somebody who waits travels as that guard: whoever leaves meanwhile drops it, so none is
//! ever lost. The limit follows the delay with which the gateway's own tasks run, never the latency of
//! models: a slow model fills slots, and says nothing of this process.

mod delay;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use outcrop_core::Priority;
use outcrop_policy::admission::{
    Admissions, Arrival, Ladder, Marks, Notice, Place, Rung, Settings, Shed, Verdict, View,
};
use outcrop_policy::concurrency::{Bounds, Limit, Outcome};
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

pub use delay::watch as watch_delay;

use crate::metrics::Metrics;

/// A delay up to this is no sign of saturation; its windows may average twice that before the limit
/// shrinks.
pub const DELAY_QUICK: Duration = Duration::from_millis(5);

/// So often a task of an exchange waits for its turn until an answer is through, here and on the machine.
const TURNS: u64 = 8;

/// A delay is a mean of about so many looks.
const DELAY_FADES: u64 = 8;

/// How many slots there are and who is sure of them.
#[derive(Debug, Clone, Copy)]
pub struct SlotLimits {
    /// Most slots.
    pub max: usize,
    /// Slots that are left however busy the process is; `max` for a limit that stays.
    pub min: usize,
    /// Shares and queue.
    pub settings: Settings,
    /// When memory counts as short.
    pub marks: Marks,
}

impl SlotLimits {
    /// So many slots, whatever comes.
    pub fn fixed(max: usize) -> Self {
        Self { max, min: max, settings: Settings::default(), marks: Marks::default() }
    }
}

/// A reading of the process' memory, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MemoryReading {
    /// What it uses.
    pub used: u64,
    /// What it may use.
    pub max: u64,
}

/// The slots of the process.
pub struct Slots {
    // A sync mutex: held for a few map look-ups; never across an await (I-5), and never while a waiter
    // is told.
    state: Mutex<State>,
    metrics: Metrics,
    // For lack of a slot.
    turned_away: AtomicU64,
    // How late tasks run of late, in microseconds.
    delay_us: AtomicU64,
}

struct State {
    admissions: Admissions<oneshot::Sender<Answer>>,
    limit: Limit,
    ladder: Ladder,
    memory: MemoryReading,
}

/// What one who waits is told.
type Answer = Result<Admission, Shed>;

/// The right of one exchange to be served; lives until its last event.
pub(crate) struct Admission {
    slots: Arc<Slots>,
    priority: Priority,
    tenant: Arc<str>,
    since: Instant,
}

/// What becomes of a request that asks for a slot.
pub(crate) enum Arrived {
    Admitted(Admission),
    Waits(Waiting),
    Shed(Shed),
}

/// A place in the queue; dropping it leaves the queue.
pub(crate) struct Waiting {
    slots: Arc<Slots>,
    place: Place,
    since: Instant,
    until: Instant,
    answer: oneshot::Receiver<Answer>,
}

impl Slots {
    /// All slots are free.
    pub fn new(limits: SlotLimits, metrics: Metrics) -> Arc<Self> {
        let SlotLimits { max, min, settings, marks } = limits;
        let limit = Limit::over_known_floor(Bounds { min, max, initial: max, quick: DELAY_QUICK });
        let admissions = Admissions::new(settings, limit.limit(), Instant::now().into_std());
        let ladder = Ladder::new(marks);
        let state = State { admissions, limit, ladder, memory: MemoryReading::default() };
        Arc::new(Self {
            state: Mutex::new(state),
            metrics,
            turned_away: AtomicU64::new(0),
            delay_us: AtomicU64::new(0),
        })
    }

    /// A request asks for a slot.
    pub(crate) fn arrive(self: &Arc<Self>, arrival: Arrival) -> Arrived {
        let now = Instant::now();
        let (priority, tenant) = (arrival.priority, Arc::clone(&arrival.tenant));
        let mut hears = None;
        let (verdict, notices) = self.state.lock().admissions.arrive(now.into_std(), arrival, || {
            let (tells, answer) = oneshot::channel();
            hears = Some(answer);
            tells
        });
        self.tell(notices);
        match (verdict, hears) {
            (Verdict::Queued(place, until), Some(answer)) => {
                let (slots, until) = (Arc::clone(self), Instant::from_std(until));
                Arrived::Waits(Waiting { slots, place, since: now, until, answer })
            }
            (Verdict::Shed(why), _) => Arrived::Shed(self.count(priority, why)),
            (Verdict::Admitted | Verdict::Queued(..), _) => Arrived::Admitted(self.given(priority, tenant)),
        }
    }

    /// A task of the gateway's own ran so much later than it should have.
    pub fn hear_delay(self: &Arc<Self>, delay: Duration) {
        let before = self.delay_us.load(Ordering::Relaxed);
        let heard = u64::try_from(delay.as_micros()).unwrap_or(u64::MAX);
        self.delay_us.store(before - before / DELAY_FADES + heard / DELAY_FADES, Ordering::Relaxed);
        let now = Instant::now().into_std();
        let notices = {
            let State { admissions, limit, .. } = &mut *self.state.lock();
            limit.on_end(now, delay, admissions.in_use(), Outcome::Ok);
            admissions.set_limit(now, limit.limit())
        };
        self.tell(notices);
    }

    /// The process uses so much memory. The rung of the ladder from here on, and the one before.
    pub fn hear_memory(self: &Arc<Self>, reading: MemoryReading) -> (Rung, Rung) {
        let (before, rung, notices) = {
            let State { admissions, ladder, memory, .. } = &mut *self.state.lock();
            *memory = reading;
            let before = admissions.rung();
            let rung = ladder.hear(reading.used, reading.max);
            (before, rung, admissions.set_rung(rung))
        };
        self.tell(notices);
        (rung, before)
    }

    /// Whether there is memory for work that nobody waits for (`optional`).
    pub fn allow_optional_work(&self) -> bool {
        self.state.lock().admissions.rung().allows_optional_work()
    }

    /// How much of the time that an answer takes may be the gateway's own, as late as its tasks run.
    pub(crate) fn own_delay(&self) -> Duration {
        Duration::from_micros(self.delay_us.load(Ordering::Relaxed).saturating_mul(TURNS))
    }

    /// Requests that were turned away for lack of a slot, since the process began.
    pub fn turned_away(&self) -> u64 {
        self.turned_away.load(Ordering::Relaxed)
    }

    /// What an operator may see.
    pub fn view(&self) -> (View, MemoryReading) {
        let state = self.state.lock();
        (state.admissions.view(), state.memory)
    }

    fn tell(self: &Arc<Self>, notices: Vec<Notice<oneshot::Sender<Answer>>>) {
        for Notice { waiter, priority, tenant, verdict } in notices {
            let answer = verdict.map(|()| self.given(priority, tenant));
            // One that left meanwhile gives its slot back as it is dropped.
            drop(waiter.send(answer));
        }
    }

    fn given(self: &Arc<Self>, priority: Priority, tenant: Arc<str>) -> Admission {
        self.metrics.inflight.inc();
        Admission { slots: Arc::clone(self), priority, tenant, since: Instant::now() }
    }

    fn count(&self, priority: Priority, why: Shed) -> Shed {
        self.metrics.shed(priority, why);
        if why != Shed::Memory {
            self.turned_away.fetch_add(1, Ordering::Relaxed);
        }
        why
    }
}

impl Waiting {
    /// Waits for a slot, as long as it may.
    pub(crate) async fn end(mut self, priority: Priority) -> Answer {
        let heard = match timeout_at(self.until, &mut self.answer).await {
            Ok(heard) => heard.ok(),
            Err(_) if self.leave() => None,
            // A notice is on its way.
            Err(_) => (&mut self.answer).await.ok(),
        };
        self.slots.metrics.queue_seconds.observe(self.since.elapsed().as_secs_f64());
        let answer = heard.unwrap_or(Err(Shed::WaitedOut));
        answer.map_err(|why| self.slots.count(priority, why))
    }

    /// Whether it was still in the queue.
    fn leave(&self) -> bool {
        let left = self.slots.state.lock().admissions.leave(&self.place);
        left.is_some()
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.leave();
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.slots.metrics.inflight.dec();
        let (now, held) = (Instant::now().into_std(), self.since.elapsed());
        let notices = self.slots.state.lock().admissions.release(now, self.priority, &self.tenant, held);
        self.slots.tell(notices);
    }
}
