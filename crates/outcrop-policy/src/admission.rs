//! Who is served, who waits and who is turned away when not everybody can be served at once.
//!
//! Slots up to a limit; a share of them for each class of priorities; a short queue; a ladder of what is
//! shed when memory runs out. A state machine: it wakes nobody and waits for nothing. Whoever drives it
//! tells it of arrivals, departures and time (I-7), and passes its notices on. It does not know what a
//! slot is spent on.
//!
//! What holds at every moment: no slot is given beyond the limit; a request takes no slot that is kept for a
//! class above it, which is the unused part of that class' share or of what it needs; nobody waits
//! while a slot is free for them; within a priority the next slot goes to the tenant that holds the fewest.

mod demand;
mod memory;
mod pace;
mod queue;
mod shares;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, Instant};

use outcrop_core::Priority;

pub use memory::{Ladder, Marks, NotALadder, Rung};
pub use queue::Place;
pub use shares::{CLASSES, Class, NotShares, Shares};

use self::demand::Demand;
use self::pace::Pace;
use self::queue::{Queue, Waiting};

/// All priorities, the first served first.
pub const PRIORITIES: [Priority; 5] =
    [Priority::Emergency, Priority::Critical, Priority::High, Priority::Medium, Priority::Low];

/// What part of the time to its deadline a request may wait.
const WAIT_PART: u32 = 10;
/// How much longer than the others those may wait that are served first. What they need is kept for them, so
/// their turn comes; only chance puts it off, and a refusal would cost them more than that.
const URGENT_WAIT: u32 = 10;
/// What is foretold may be wrong by so much before it turns away one that is urgent.
const URGENT_DOUBT: f64 = 1.5;

/// How much may wait, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// What each class is sure of.
    pub shares: Shares,
    /// Most requests that wait; 0 for no queue.
    pub queue_max: usize,
    /// Most memory of those that wait, in bytes.
    pub queue_bytes_max: usize,
    /// Longest wait, of `critical` and `emergency` ten times that; a tenth of the time to the deadline
    /// where that is shorter.
    pub wait_max: Duration,
}

impl Settings {
    /// How long one of that priority waits at the longest, if its deadline is far.
    pub fn wait_max_of(&self, priority: Priority) -> Duration {
        self.wait_max.saturating_mul(if priority >= Priority::Critical { URGENT_WAIT } else { 1 })
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            shares: Shares::default(),
            queue_max: 1_000,
            queue_bytes_max: 32 * 1024 * 1024,
            wait_max: Duration::from_millis(100),
        }
    }
}

/// A request that asks for a slot.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// Its priority.
    pub priority: Priority,
    /// Who shares with whom: requests of one tenant count together.
    pub tenant: Arc<str>,
    /// When its answer is worth nothing any more.
    pub deadline: Instant,
    /// Memory that it holds while it waits.
    pub bytes: usize,
}

/// What becomes of an arrival.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It has a slot.
    Admitted,
    /// It waits at a place, until then at the longest; a notice may come first.
    Queued(Place, Instant),
    /// It is turned away.
    Shed(Shed),
}

/// Why a request is turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Shed {
    /// Memory is short, and its priority is not served then.
    Memory,
    /// At the pace at which slots come free it would wait longer than it may.
    Hopeless,
    /// The queue is full of requests that are no less urgent.
    QueueFull,
    /// It waited, and its place was needed for one that is more urgent.
    PushedOut,
    /// It waited as long as it may.
    WaitedOut,
}

impl Shed {
    /// The bounded metric label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Hopeless => "hopeless",
            Self::QueueFull => "queue_full",
            Self::PushedOut => "pushed_out",
            Self::WaitedOut => "waited_out",
        }
    }
}

/// What became of one that waited.
#[derive(Debug)]
#[must_use = "whoever waits must hear of it"]
pub struct Notice<W> {
    /// The one that waited.
    pub waiter: W,
    /// Its priority.
    pub priority: Priority,
    /// Whose it is.
    pub tenant: Arc<str>,
    /// Whether it has a slot.
    pub verdict: Result<(), Shed>,
}

/// What an operator may see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// Slots altogether.
    pub limit: usize,
    /// Slots in use, by priority in the order of `PRIORITIES`.
    pub in_use: [usize; 5],
    /// Requests that wait, in the same order.
    pub waiting: [usize; 5],
    /// Slots that are kept for each class, used or not, in the order of `CLASSES`.
    pub kept: [usize; 4],
    /// Memory of those that wait, in bytes.
    pub waiting_bytes: usize,
    /// How short memory is.
    pub rung: Rung,
}

/// The slots, their holders and those who wait for one. `W` is how a waiter is told.
#[derive(Debug)]
pub struct Admissions<W> {
    settings: Settings,
    limit: usize,
    rung: Rung,
    // By class.
    used: [usize; 4],
    queue: Queue<W>,
    pace: Pace,
    demand: Demand,
    // Slots kept for each class from those below; from one event to the next it stays.
    kept: [usize; 4],
}

impl<W> Admissions<W> {
    /// All slots are free.
    pub fn new(settings: Settings, limit: usize, now: Instant) -> Self {
        let (queue, pace, demand) = (Queue::default(), Pace::new(now), Demand::new(now, settings.wait_max));
        let kept = CLASSES.map(|class| settings.shares.reserve(class, limit));
        Self { settings, limit, rung: Rung::Normal, used: [0; 4], queue, pace, demand, kept }
    }

    /// A request asks for a slot. `waiter` is made if it has to wait. The notices are for those that
    /// lost their place to it, or got a slot before it.
    pub fn arrive(
        &mut self,
        now: Instant,
        arrival: Arrival,
        waiter: impl FnOnce() -> W,
    ) -> (Verdict, Vec<Notice<W>>) {
        let priority = arrival.priority;
        self.demand.arrived(Class::of(priority));
        if !self.rung.serves(priority) {
            return (Verdict::Shed(Shed::Memory), Vec::new());
        }
        let mut notices = self.fill(now);
        if self.has_room(priority) {
            self.take(now, priority);
            self.queue.hold(priority, &arrival.tenant);
            return (Verdict::Admitted, notices);
        }
        self.pace.contended(now);
        let left = arrival.deadline.saturating_duration_since(now);
        let may_wait = (left / WAIT_PART).min(self.settings.wait_max_of(priority));
        let ahead = self.queue.ahead_of(priority, &arrival.tenant);
        let bearable = if priority >= Priority::Critical { may_wait.mul_f64(URGENT_DOUBT) } else { may_wait };
        if may_wait.is_zero() || self.pace.is_hopeless(now, (priority, ahead), bearable) {
            return (Verdict::Shed(Shed::Hopeless), notices);
        }
        if !self.make_place(&arrival, &mut notices) {
            return (Verdict::Shed(Shed::QueueFull), notices);
        }
        let until = now + may_wait;
        let waiting = Waiting { waiter: waiter(), until, bytes: arrival.bytes };
        let place = self.queue.push(priority, arrival.tenant, arrival.deadline, waiting);
        (Verdict::Queued(place, until), notices)
    }

    /// One that waited leaves: its caller is gone, or its time is over. `None` if a notice was made of it
    /// before.
    pub fn leave(&mut self, place: &Place) -> Option<W> {
        self.queue.remove(place).map(|waiting| waiting.waiter)
    }

    /// A slot comes free that was held for so long.
    pub fn release(
        &mut self,
        now: Instant,
        priority: Priority,
        tenant: &str,
        held: Duration,
    ) -> Vec<Notice<W>> {
        self.demand.released(Class::of(priority), held);
        let used = self.used_by(priority);
        *used = used.saturating_sub(1);
        self.queue.let_go(priority, tenant);
        self.pace.released(now);
        self.fill(now)
    }

    /// The limit moves. Below what is in use it takes nothing back.
    pub fn set_limit(&mut self, now: Instant, limit: usize) -> Vec<Notice<W>> {
        self.limit = limit;
        self.fill(now)
    }

    /// Memory is as short as that. Those that are not served then lose their places.
    pub fn set_rung(&mut self, rung: Rung) -> Vec<Notice<W>> {
        self.rung = rung;
        let mut notices = Vec::new();
        for priority in PRIORITIES.into_iter().filter(|priority| !rung.serves(*priority)) {
            while let Some((tenant, waiting)) = self.queue.push_out(priority) {
                notices.push(shed(waiting, priority, tenant, Shed::Memory));
            }
        }
        notices
    }

    /// How short memory is.
    pub fn rung(&self) -> Rung {
        self.rung
    }

    /// Slots in use.
    pub fn in_use(&self) -> usize {
        self.used.iter().sum()
    }

    /// Requests that wait.
    pub fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// What an operator may see.
    pub fn view(&self) -> View {
        View {
            limit: self.limit,
            in_use: PRIORITIES.map(|priority| self.queue.held(priority)),
            waiting: PRIORITIES.map(|priority| self.queue.waiting(priority)),
            kept: self.kept,
            waiting_bytes: self.queue.bytes(),
            rung: self.rung,
        }
    }

    /// Whether a slot is free for a priority: one that is kept for no class above it.
    fn has_room(&self, priority: Priority) -> bool {
        let own = Class::of(priority);
        let above = CLASSES.into_iter().zip(self.kept.into_iter().zip(self.used));
        let owed = above.filter(|(class, _)| *class > own).map(|(_, (kept, used))| kept.saturating_sub(used));
        self.limit.saturating_sub(self.in_use()) > owed.fold(0, usize::saturating_add)
    }

    /// What is kept for each class from those below: its share, or what it needs where that is more.
    fn keep(&mut self, now: Instant) {
        self.demand.pass(now);
        for ((class, kept), needed) in CLASSES.into_iter().zip(&mut self.kept).zip(self.demand.slots()) {
            *kept = self.settings.shares.reserve(class, self.limit).max(needed).min(self.limit);
        }
    }

    fn used_by(&mut self, priority: Priority) -> &mut usize {
        let [low, standard, critical, emergency] = &mut self.used;
        match Class::of(priority) {
            Class::Low => low,
            Class::Standard => standard,
            Class::Critical => critical,
            Class::Emergency => emergency,
        }
    }

    fn take(&mut self, now: Instant, priority: Priority) {
        let used = self.used_by(priority);
        *used = used.saturating_add(1);
        self.pace.admitted(now, priority);
    }

    /// Gives free slots to those who wait. A class that has no room leaves none for those below it.
    fn fill(&mut self, now: Instant) -> Vec<Notice<W>> {
        self.keep(now);
        let mut notices = Vec::new();
        for priority in PRIORITIES {
            while self.has_room(priority) {
                let Some((tenant, waiting)) = self.queue.pop(priority) else { break };
                if waiting.until < now {
                    notices.push(shed(waiting, priority, tenant, Shed::WaitedOut));
                    continue;
                }
                self.take(now, priority);
                self.queue.hold(priority, &tenant);
                notices.push(Notice { waiter: waiting.waiter, priority, tenant, verdict: Ok(()) });
            }
        }
        notices
    }

    /// Makes a place in the queue: less urgent ones lose theirs, then those of tenants that wait with
    /// more. Whether there is one; `notices` are for those that lost theirs.
    fn make_place(&mut self, arrival: &Arrival, notices: &mut Vec<Notice<W>>) -> bool {
        let Settings { queue_max, queue_bytes_max, .. } = self.settings;
        if queue_max == 0 || arrival.bytes > queue_bytes_max {
            return false;
        }
        while self.queue.len() >= queue_max
            || self.queue.bytes().saturating_add(arrival.bytes) > queue_bytes_max
        {
            let Some(priority) = self.weakest_below(arrival) else { return false };
            let Some((tenant, waiting)) = self.queue.push_out(priority) else { return false };
            notices.push(shed(waiting, priority, tenant, Shed::PushedOut));
        }
        true
    }

    /// The lowest priority with somebody who has less right to a place than the arrival.
    fn weakest_below(&self, arrival: &Arrival) -> Option<Priority> {
        let lowest = PRIORITIES.into_iter().rev().find(|priority| self.queue.waiting(*priority) > 0)?;
        let own = self.queue.waiting_of(arrival.priority, &arrival.tenant);
        let yields = lowest < arrival.priority
            || (lowest == arrival.priority && self.queue.most_of_one(lowest) > own.saturating_add(1));
        yields.then_some(lowest)
    }
}

fn shed<W>(waiting: Waiting<W>, priority: Priority, tenant: Arc<str>, why: Shed) -> Notice<W> {
    Notice { waiter: waiting.waiter, priority, tenant, verdict: Err(why) }
}
