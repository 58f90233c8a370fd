//! What the gateway itself takes: of the time of its exchanges, and of its machine.
//!
//! Pure: readings of counters come in, each with its time (I-7); shares, alarms, a forecast and
//! recommendations go out. The history is bounded: a minute of readings, an hour of windows (I-6).

mod advice;
mod alarm;
mod forecast;

use std::collections::VecDeque;
use std::time::Duration;

use serde::Serialize;

pub use self::advice::Advice;
use self::alarm::Alarm;
pub use self::alarm::Change;
pub use self::forecast::{Ceiling, Confidence, Forecast};

/// Readings that the fine history holds: a minute at the usual two seconds.
const FINE: usize = 31;
/// Readings of a window.
const WINDOW: usize = 5;
/// Windows that are remembered: an hour at the usual two seconds.
const WINDOWS: usize = 361;
/// Fewest answered exchanges that say something of the latency.
pub const ANSWERED_MIN: u64 = 20;
/// Below this own time an exchange the share does not alarm: next to an upstream that answers within a
/// millisecond any gateway is a large part of very little.
pub const OWN_ALARMS_FROM: Duration = Duration::from_millis(1);

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Resource {
    /// Own time as a share of the time of answered exchanges.
    Latency,
    /// CPU time of the process as a share of the cores it may use.
    Cpu,
    /// Resident memory as a share of what it may be.
    Memory,
    /// Open files as a share of what may be open.
    Descriptors,
    /// Time that the workers of the runtime were busy.
    Runtime,
}

/// All of them.
pub const RESOURCES: [Resource; 5] =
    [Resource::Latency, Resource::Cpu, Resource::Memory, Resource::Descriptors, Resource::Runtime];

/// How much of something is in use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Part {
    /// In use.
    pub used: u64,
    /// What may be; 0 where that is not known.
    pub max: u64,
}

/// Counters of the process, as they stood at one moment. All grow but the parts and what is in flight.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Reading {
    /// When, since the process began.
    pub at: Duration,
    /// CPU time.
    pub cpu: Duration,
    /// Cores that the process may use; a quota may be a part of one.
    pub cores: f64,
    /// Time that all workers together were busy.
    pub busy: Duration,
    /// Workers.
    pub workers: u64,
    /// Memory in bytes.
    pub memory: Part,
    /// Open files.
    pub descriptors: Part,
    /// Exchanges served, and how many may be.
    pub slots: Part,
    /// Exchanges that an upstream answered.
    pub answered: u64,
    /// Their time.
    pub total: Duration,
    /// What of it was the gateway's own.
    pub own: Duration,
    /// Requests that waited too long for a slot, or did not even get a place to wait.
    pub turned_away: u64,
    /// Times that somebody waited for a lease.
    pub lease_waits: u64,
    /// How long, together.
    pub lease_waited: Duration,
}

/// From how many percent on a resource alarms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Thresholds(pub [u8; RESOURCES.len()]);

/// How large the impact on latency is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Below 2 %.
    Minimal,
    /// Below 5 %.
    Low,
    /// Below 10 %.
    Moderate,
    /// Below 20 %.
    High,
    /// 20 % or more.
    Critical,
}

/// A resource as it stands.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Standing {
    /// Which.
    pub resource: Resource,
    /// The share in percent; `None` where too little was seen.
    pub percent: Option<f64>,
    /// From how many percent on it alarms.
    pub alarm_percent: u8,
    /// Whether it does.
    pub alarmed: bool,
}

/// What is known of the impact of this process.
#[derive(Debug)]
pub struct Impact {
    thresholds: Thresholds,
    fine: VecDeque<Reading>,
    windows: VecDeque<Reading>,
    readings: u64,
    alarms: [Alarm; RESOURCES.len()],
}

impl Default for Thresholds {
    fn default() -> Self {
        Self([5, 80, 80, 80, 80])
    }
}

impl Resource {
    /// The bounded label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Latency => "latency",
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::Descriptors => "descriptors",
            Self::Runtime => "runtime",
        }
    }
}

impl Class {
    /// Of a share in percent.
    pub fn of(percent: f64) -> Self {
        let bounds = [(2.0, Self::Minimal), (5.0, Self::Low), (10.0, Self::Moderate), (20.0, Self::High)];
        bounds.into_iter().find(|(bound, _)| percent < *bound).map_or(Self::Critical, |(_, class)| class)
    }
}

impl Part {
    fn percent(self) -> Option<f64> {
        (self.max > 0).then(|| self.used as f64 * 100.0 / self.max as f64)
    }
}

impl Impact {
    /// Nothing is known.
    pub fn new(thresholds: Thresholds) -> Self {
        Self {
            thresholds,
            fine: VecDeque::with_capacity(FINE),
            windows: VecDeque::new(),
            readings: 0,
            alarms: [Alarm::default(); RESOURCES.len()],
        }
    }

    /// Hears a reading; the alarms that it raises or clears.
    pub fn hear(&mut self, reading: Reading) -> Vec<Change> {
        push(&mut self.fine, reading, FINE);
        if self.readings.is_multiple_of(WINDOW as u64) {
            push(&mut self.windows, reading, WINDOWS);
        }
        self.readings += 1;
        let mut changes = Vec::new();
        for (at, resource) in RESOURCES.into_iter().enumerate() {
            let percent = self.percent(resource);
            let counts = percent.filter(|_| resource != Resource::Latency || self.own_is_felt());
            let (Some(alarm), Some(threshold)) = (self.alarms.get_mut(at), self.thresholds.0.get(at)) else {
                continue;
            };
            if let Some(raised) = alarm.hear(counts, *threshold) {
                changes.push(Change { resource, raised, percent, alarm_percent: *threshold });
            }
        }
        changes
    }

    /// Whether any resource alarms.
    pub fn is_alarmed(&self) -> bool {
        self.alarms.iter().any(|alarm| alarm.is_raised())
    }

    /// How each resource stands.
    pub fn standings(&self) -> [Standing; RESOURCES.len()] {
        let mut alarms = self.alarms.iter().map(|alarm| alarm.is_raised()).zip(self.thresholds.0);
        RESOURCES.map(|resource| {
            let (alarmed, alarm_percent) = alarms.next().unwrap_or_default();
            Standing { resource, percent: self.percent(resource), alarm_percent, alarmed }
        })
    }

    /// How large the impact on latency is; `None` where too few exchanges were answered.
    pub fn class(&self) -> Option<Class> {
        self.percent(Resource::Latency).map(Class::of)
    }

    /// The newest reading.
    pub fn newest(&self) -> Option<&Reading> {
        self.fine.back()
    }

    /// Exchanges answered in the fine history, their time and the gateway's part of it.
    pub fn minute(&self) -> (u64, Duration, Duration) {
        let (Some(from), Some(to)) = (self.fine.front(), self.fine.back()) else { return Default::default() };
        let answered = to.answered.saturating_sub(from.answered);
        (answered, to.total.saturating_sub(from.total), to.own.saturating_sub(from.own))
    }

    /// At which rate this machine saturates.
    pub fn forecast(&self) -> Forecast {
        forecast::of(&self.hour())
    }

    /// What would help, each with what was measured.
    pub fn advice(&self) -> Vec<Advice> {
        advice::of(&self.hour(), &self.forecast())
    }

    /// The windows, oldest first.
    fn hour(&self) -> Vec<Reading> {
        self.windows.iter().copied().collect()
    }

    fn percent(&self, resource: Resource) -> Option<f64> {
        let to = self.fine.back()?;
        match resource {
            Resource::Memory => return to.memory.percent(),
            Resource::Descriptors => return to.descriptors.percent(),
            Resource::Latency => {
                let (answered, total, own) = self.minute();
                return (answered >= ANSWERED_MIN).then(|| share(own, total)).flatten();
            }
            Resource::Cpu | Resource::Runtime => {}
        }
        let from = self.fine.get(self.fine.len().saturating_sub(1 + WINDOW))?;
        let passed = to.at.saturating_sub(from.at);
        match resource {
            Resource::Cpu => share(to.cpu.saturating_sub(from.cpu), passed.mul_f64(to.cores.max(0.01))),
            _ => share(to.busy.saturating_sub(from.busy), passed.mul_f64(to.workers.max(1) as f64)),
        }
    }

    fn own_is_felt(&self) -> bool {
        let (answered, _, own) = self.minute();
        answered > 0 && own.div_f64(answered as f64) >= OWN_ALARMS_FROM
    }
}

fn share(part: Duration, whole: Duration) -> Option<f64> {
    (!whole.is_zero()).then(|| part.as_secs_f64() * 100.0 / whole.as_secs_f64())
}

fn push(history: &mut VecDeque<Reading>, reading: Reading, max: usize) {
    if history.len() >= max {
        history.pop_front();
    }
    history.push_back(reading);
}

#[cfg(test)]
mod tests;
