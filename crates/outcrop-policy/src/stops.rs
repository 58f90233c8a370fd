//! Emergency stops: what may not run, and how hard.
//!
//! A stop speaks of a scope at one of three levels. `drain`: nothing new is dispatched, what runs goes
//! on; a further attempt of a running request is new. `stop`: streams end as well, between two events;
//! whole answers that are under way are finished, they are paid for. `kill`: everything ends at once.
//! This is the set and its verdicts only: who holds it, journals it and cuts connections is elsewhere.

pub mod automatic;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::scope::{Attribution, Scope};

/// How hard a stop is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Nothing new is dispatched.
    Drain,
    /// Streams end as well.
    Stop,
    /// Everything ends at once.
    Kill,
}

/// All levels, the mildest first.
pub const LEVELS: [Level; 3] = [Level::Drain, Level::Stop, Level::Kill];

impl Level {
    /// The word for it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Drain => "drain",
            Self::Stop => "stop",
            Self::Kill => "kill",
        }
    }
}

/// One stop, as it is journalled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stop {
    /// Names it among all stops.
    pub id: String,
    /// Which requests it speaks of.
    #[serde(serialize_with = "write_scope", deserialize_with = "read_scope")]
    pub scope: Scope,
    /// How hard.
    pub level: Level,
    /// Who stopped.
    pub by: String,
    /// Why; shown to callers.
    pub reason: String,
    /// Since when, in milliseconds since the Unix epoch.
    pub since_ms: u64,
    /// The way back, if it has begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub staged: Option<Staged>,
}

/// A staged resume: more and more requests are let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Staged {
    /// When it began, in milliseconds since the Unix epoch.
    pub since_ms: u64,
    /// How long it takes.
    pub over_ms: u64,
}

impl Staged {
    /// Share of requests that is let in, in percent: 10, after half the time 50, at its end all.
    pub fn percent(self, now_ms: u64) -> u64 {
        let elapsed = now_ms.saturating_sub(self.since_ms);
        if elapsed >= self.over_ms {
            100
        } else if elapsed >= self.over_ms / 2 {
            50
        } else {
            10
        }
    }

    /// Whether everything is let in.
    pub fn is_over(self, now_ms: u64) -> bool {
        self.percent(now_ms) == 100
    }
}

/// What a request is about to do, or is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase<'a> {
    /// It would be dispatched.
    Start {
        /// The request: each of its attempts gets the same answer.
        request: &'a str,
        /// Milliseconds since the Unix epoch.
        now_ms: u64,
    },
    /// A stream, or the wait for its first content.
    Stream,
    /// The wait for a whole answer.
    Whole,
}

impl Stop {
    /// Whether it forbids this.
    pub fn forbids(&self, whose: &Attribution, phase: Phase<'_>) -> bool {
        let hard_enough = match (phase, self.staged) {
            (Phase::Start { request, now_ms }, Some(staged)) => hundredth(request) >= staged.percent(now_ms),
            (Phase::Start { .. }, None) => true,
            // Whoever runs now was let in.
            (Phase::Stream | Phase::Whole, Some(_)) => false,
            (Phase::Stream, None) => self.level >= Level::Stop,
            (Phase::Whole, None) => self.level >= Level::Kill,
        };
        hard_enough && self.scope.matches(whose)
    }

    /// Whether it speaks of everything that a path does, so that a kill ends the path's process.
    pub fn covers_path(&self, path: &str, region: Option<&str>) -> bool {
        let of_path =
            Attribution { path: path.into(), region: region.unwrap_or("").into(), ..Attribution::default() };
        self.scope.facets().all(crate::Facet::is_of_target) && self.scope.matches(&of_path)
    }
}

/// A number below 100 that is always the same for a request, and even over many (FNV-1a, finished by a
/// multiplication because its low bits alone are weak).
fn hundredth(request: &str) -> u64 {
    let hash = request.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let mixed = (hash ^ (hash >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    (mixed * 100) >> 32
}

/// What is known of a stop's survival.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kept {
    /// In force in this process only, so far.
    Pending,
    /// Journalled.
    Durable,
    /// It follows something else: a file that is there, a journal that cannot be read.
    Outside,
}

/// A stop and what is known of its survival.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Held {
    /// The stop.
    #[serde(flatten)]
    pub stop: Stop,
    /// Whether it survives the process.
    pub kept: Kept,
}

/// Most stops in force at once.
pub const STOPS_MAX: usize = 1000;

/// The stops in force.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stops {
    held: Vec<Held>,
}

impl Stops {
    /// Whether nothing is stopped.
    pub fn none(&self) -> bool {
        self.held.is_empty()
    }

    /// All of them.
    pub fn held(&self) -> &[Held] {
        &self.held
    }

    /// The hardest stop that forbids this.
    pub fn verdict(&self, whose: &Attribution, phase: Phase<'_>) -> Option<&Stop> {
        let forbidding = self.held.iter().map(|held| &held.stop).filter(|stop| stop.forbids(whose, phase));
        forbidding.max_by_key(|stop| stop.level)
    }

    /// The stop of everything, if there is one that lets nobody in.
    pub fn of_everything(&self) -> Option<&Stop> {
        let all = Scope::all();
        self.held.iter().map(|held| &held.stop).find(|stop| stop.scope == all && stop.staged.is_none())
    }

    /// How many are in force at a level.
    pub fn count(&self, level: Level) -> usize {
        self.held.iter().filter(|held| held.stop.level == level).count()
    }

    /// The stop of that id.
    pub fn get(&self, id: &str) -> Option<&Held> {
        self.held.iter().find(|held| held.stop.id == id)
    }

    /// Those that are not journalled yet.
    pub fn pending(&self) -> impl Iterator<Item = &Stop> {
        self.held.iter().filter(|held| held.kept == Kept::Pending).map(|held| &held.stop)
    }

    /// Takes a stop into the set, or its new form. Refuses one too many.
    pub fn put(&mut self, stop: Stop, kept: Kept) -> Result<(), TooMany> {
        let held = Held { stop, kept };
        if let Some(before) = self.held.iter_mut().find(|before| before.stop.id == held.stop.id) {
            *before = held;
        } else if self.held.len() < STOPS_MAX || held.stop.scope == Scope::all() {
            self.held.push(held);
        } else {
            return Err(TooMany);
        }
        Ok(())
    }

    /// Takes a stop out of the set.
    pub fn remove(&mut self, id: &str) {
        self.held.retain(|held| held.stop.id != id);
    }

    /// Makes the set what the journal says, beside what is not in it yet.
    pub fn follow(&mut self, journal: Vec<Stop>) {
        let journalled = |stop: &Stop| journal.iter().any(|other| other.id == stop.id);
        self.held.retain(|held| match held.kept {
            Kept::Pending => !journalled(&held.stop),
            Kept::Durable => false,
            Kept::Outside => true,
        });
        self.held.extend(journal.into_iter().map(|stop| Held { stop, kept: Kept::Durable }));
    }

    /// Whether the same stop is there already: as wide, at least as hard, by the same hand.
    pub fn has_like(&self, stop: &Stop) -> bool {
        self.held.iter().map(|held| &held.stop).any(|there| {
            there.scope == stop.scope
                && there.level >= stop.level
                && there.by == stop.by
                && there.staged.is_none()
        })
    }
}

/// There are as many stops as there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooMany;

impl std::fmt::Display for TooMany {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{STOPS_MAX} stops are in force; stop a wider scope, or resume some")
    }
}

impl std::error::Error for TooMany {}

fn write_scope<S: Serializer>(scope: &Scope, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(scope)
}

fn read_scope<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Scope, D::Error> {
    let text = String::deserialize(deserializer)?;
    Scope::parse(&text).map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests;
