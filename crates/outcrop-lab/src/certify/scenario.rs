//! What is played and what is asked of it, checked: nothing here can fail any more.
//!
//! A file is read in two steps, as it is written (`raw`) and as it is meant ([`Scenario`]); the one conversion
//! between them finds every mistake and says where it lies and what would do.

mod raw;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{measure::Measure, outcome::Bar};
use crate::{
    load::{call::Mix, schedule::Arrivals},
    script::Script,
};

pub use self::raw::{ScenarioError, parse};

/// One scenario.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// Short name, unique within its suite.
    pub name: String,
    /// The suite it belongs to.
    pub suite: String,
    /// What it shows, as a sentence.
    pub title: String,
    /// Profiles that play it.
    pub profiles: Vec<Profile>,
    /// Seed of all draws.
    pub seed: u64,
    /// How late the generator may be for 1 % of its requests before nothing can be concluded.
    pub lag_max: Duration,
    /// What part of the machine others may take before nothing can be concluded of missed times.
    pub foreign_max: f64,
    /// From due to end; what takes longer is given up.
    pub patience: Duration,
    /// Appended to the configuration that the gateway is started with.
    pub gateway: String,
    /// Whether some requests open connections and sessions before anything is measured; they spend, too.
    pub warm_up: bool,
    /// How the upstreams behave from the start.
    pub targets: BTreeMap<String, Script>,
    /// What is asked.
    pub mix: Arc<Mix>,
    /// The stretches of load, in order.
    pub phases: Vec<Phase>,
    /// What goes wrong, by time.
    pub faults: Vec<Fault>,
    /// What an operator, or a power cut, does meanwhile, by time.
    pub orders: Vec<Order>,
    /// Keys that are made before anything is asked; `{name}` in a header of the mix becomes the key.
    pub keys: Vec<Key>,
    /// Rounds straight to an upstream, in turns with rounds through the gateway.
    pub paired: Option<Paired>,
    /// How many requests are to be open at once; where the process may not open two descriptors for each, rates are
    /// lowered to what it may.
    pub open_at_once: Option<u32>,
    /// What is asked of the measurements; empty where the suite is not yet certified.
    pub bars: Vec<Asked>,
    /// The file as it was read.
    pub text: String,
}

/// How much time a run may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    /// At most 3 minutes in all, on two cores.
    Quick,
    /// At most 20 minutes.
    Standard,
    /// At least 30 minutes at ten times the load.
    Endurance,
}

/// One stretch of load.
#[derive(Debug, Clone, PartialEq)]
pub struct Phase {
    /// Its name, for bars and plots.
    pub name: String,
    /// Its length.
    pub length: Duration,
    /// When requests are due.
    pub arrivals: Arrivals,
}

/// Something that goes wrong at one upstream.
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    /// The upstream.
    pub target: String,
    /// When it begins, from the scenario's start.
    pub at: Duration,
    /// When the upstream behaves as at the start again; absent: never.
    pub until: Option<Duration>,
    /// How it behaves meanwhile.
    pub script: Script,
    /// What it is, for people.
    pub label: String,
}

/// Something that is done to the gateway itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Order {
    /// When, from the scenario's start.
    pub at: Duration,
    /// What.
    pub act: Act,
}

/// What can be done to the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Act {
    /// The emergency stop of everything, level `stop`.
    Stop,
    /// Its end.
    Resume,
    /// `kill -9`, and a start over the same store.
    Kill,
}

/// A key of the gateway.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// Its name.
    pub name: String,
    /// Whose it is.
    pub team: String,
}

/// Rounds straight to an upstream beside those through the gateway.
#[derive(Debug, Clone, PartialEq)]
pub struct Paired {
    /// The upstream.
    pub target: String,
    /// The model as the upstream names it.
    pub model: String,
    /// Rounds of each kind.
    pub rounds: u32,
}

/// One bar of a scenario.
#[derive(Debug, Clone, PartialEq)]
pub struct Asked {
    /// The promise, as a sentence.
    pub promise: String,
    /// What is measured.
    pub measure: Measure,
    /// What is asked of it.
    pub bar: Bar,
    /// The number that the measure needs beside the bar ([`Measure::parameter`]); zero if it needs none.
    pub parameter: f64,
    /// Only requests of these, if any are named.
    pub scope: Scope,
}

/// Which requests a measurement looks at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scope {
    /// Only those due in this phase.
    pub phase: Option<u16>,
    /// Only those of this operation.
    pub operation: Option<String>,
    /// Only those due while a fault was in force.
    pub faulted: bool,
    /// Only those that were answered this way, by the upstreams' records.
    pub way: Option<Way>,
}

/// The two ways to a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// Straight to its service.
    Direct,
    /// Over the MCP server.
    Mcp,
}

impl Profile {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Quick, Self::Standard, Self::Endurance];

    /// Its name on the command line and in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Quick => "quick",
            Self::Standard => "standard",
            Self::Endurance => "endurance",
        }
    }
}

impl Asked {
    /// Whether callers see it alone, so that a gateway elsewhere can be asked for it.
    pub fn is_seen_by_callers(&self) -> bool {
        self.measure.is_seen_by_callers() && self.scope.way.is_none()
    }
}

impl Act {
    /// What it is, for people.
    pub fn label(self) -> &'static str {
        match self {
            Self::Stop => "gateway: emergency stop",
            Self::Resume => "gateway: resume",
            Self::Kill => "gateway: kill -9 and start",
        }
    }
}

impl Scenario {
    /// Length of all phases, of both kinds of rounds if they are paired.
    pub fn length(&self) -> Duration {
        let once: Duration = self.phases.iter().map(|phase| phase.length).sum();
        self.paired.as_ref().map_or(once, |paired| once * 2 * paired.rounds)
    }

    /// Operations of the mix that are named, each once.
    pub fn operations(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.mix.calls().filter_map(|call| call.operation.as_deref()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}
