//! A scenario as it is written in TOML, and its conversion.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde::Deserialize;

use super::{Act, Asked, Fault, Key, Order, Paired, Phase, Profile, Scenario, Scope, Way};
use crate::{
    certify::{control::FOREIGN_MAX, measure::Measure, outcome::Bar},
    load::{
        call::{Api, Call, Mix},
        schedule::{Arrivals, Shape},
    },
    script::Script,
};

/// Upstreams that a scenario may script.
const TARGETS: [&str; 5] = ["fra", "dub", "desk", "openai", "anthropic"];
/// Longest scenario, in seconds: a day.
const SECONDS_MAX: f64 = 86_400.0;

/// Why a file is no scenario.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}: {why}")]
pub struct ScenarioError {
    /// The file's name.
    pub file: String,
    /// What is wrong, and what would do.
    pub why: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawScenario {
    name: String,
    suite: String,
    title: String,
    #[serde(default = "all_profiles")]
    profiles: Vec<Profile>,
    #[serde(default = "first_seed")]
    seed: u64,
    #[serde(default)]
    lag_max_ms: Option<f64>,
    #[serde(default)]
    patience_s: Option<f64>,
    /// Lengths and rates of the profiles, as factors.
    #[serde(default)]
    quick: RawScale,
    #[serde(default)]
    standard: RawScale,
    #[serde(default)]
    endurance: RawScale,
    #[serde(default)]
    gateway: String,
    #[serde(default = "yes")]
    warm_up: bool,
    #[serde(default)]
    targets: BTreeMap<String, Script>,
    #[serde(default)]
    mix: Vec<RawCall>,
    #[serde(default)]
    phase: Vec<RawPhase>,
    #[serde(default)]
    fault: Vec<RawFault>,
    #[serde(default)]
    order: Vec<RawOrder>,
    #[serde(default)]
    key: Vec<Key>,
    #[serde(default)]
    paired: Option<RawPaired>,
    #[serde(default)]
    open_at_once: Option<u32>,
    #[serde(default)]
    bar: Vec<RawBar>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawScale {
    length: f64,
    rate: f64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCall {
    #[serde(default = "one")]
    weight: f64,
    api: RawApi,
    model: String,
    operation: Option<String>,
    #[serde(default)]
    stream: bool,
    #[serde(default = "usual_prompt")]
    prompt_bytes: usize,
    #[serde(default = "usual_answer")]
    answer_tokens: u64,
    #[serde(default)]
    headers: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum RawApi {
    Openai,
    Anthropic,
    Bedrock,
    Invoke,
    Mcp,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPhase {
    name: String,
    seconds: f64,
    rate: Option<f64>,
    ramp: Option<(f64, f64)>,
    steps: Option<Vec<f64>>,
    #[serde(default)]
    poisson: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFault {
    target: String,
    at: f64,
    until: Option<f64>,
    script: Script,
    label: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawOrder {
    at: f64,
    act: Act,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPaired {
    target: String,
    model: String,
    rounds: u32,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawBar {
    promise: String,
    measure: Measure,
    at_most: Option<f64>,
    at_least: Option<f64>,
    exactly: Option<f64>,
    within_ms: Option<f64>,
    limit_usd: Option<f64>,
    phase: Option<String>,
    operation: Option<String>,
    #[serde(default)]
    faulted: bool,
    way: Option<Way>,
    /// Profiles that are long enough to show it.
    #[serde(default = "all_profiles")]
    profiles: Vec<Profile>,
}

impl Default for RawScale {
    fn default() -> Self {
        Self { length: 1.0, rate: 1.0 }
    }
}

/// Reads a scenario as a profile plays it.
pub fn parse(file: &str, text: &str, profile: Profile) -> Result<Scenario, ScenarioError> {
    let wrong = |why: String| ScenarioError { file: file.to_owned(), why };
    let raw: RawScenario =
        toml::from_str(text).map_err(|error| wrong(error.to_string().trim().to_owned()))?;
    raw.check(text, profile).map_err(wrong)
}

impl RawScenario {
    fn check(self, text: &str, profile: Profile) -> Result<Scenario, String> {
        let scale = match profile {
            Profile::Quick => self.quick,
            Profile::Standard => self.standard,
            Profile::Endurance => self.endurance,
        };
        for (target, script) in &self.targets {
            known_target(target)?;
            script.check().map_err(|error| format!("targets.{target}: {error}"))?;
        }
        let phases: Vec<Phase> =
            self.phase.iter().map(|phase| phase.check(scale)).collect::<Result<_, _>>()?;
        let calls = self.mix.into_iter().map(|call| (call.weight, call.checked())).collect();
        let mix = Mix::new(calls).map_err(|error| format!("[[mix]]: {error}"))?;
        let faults: Vec<Fault> =
            self.fault.into_iter().map(|fault| fault.check(scale)).collect::<Result<_, _>>()?;
        let paired = self.paired.map(RawPaired::check).transpose()?;
        let length: Duration = phases.iter().map(|phase| phase.length).sum();
        if let Some(late) = faults.iter().find(|fault| fault.at >= length) {
            return Err(format!("the fault `{}` begins after the last phase has ended", late.label));
        }
        let orders = orders(&self.order, scale, length)?;
        let bars = self.bar.into_iter().filter(|bar| bar.profiles.contains(&profile));
        let bars: Vec<Asked> = bars.map(|bar| bar.check(&phases, &mix)).collect::<Result<_, _>>()?;
        if let Some(asked) = bars.iter().find(|asked| asked.measure.needs_pairs() && paired.is_none()) {
            return Err(format!("bar `{}`: its measure needs [paired] rounds", asked.promise));
        }
        Ok(Scenario {
            name: self.name,
            suite: self.suite,
            title: self.title,
            profiles: self.profiles,
            seed: self.seed,
            lag_max: seconds("lag_max_ms", self.lag_max_ms.unwrap_or(50.0) / 1_000.0)?,
            foreign_max: FOREIGN_MAX,
            patience: seconds("patience_s", self.patience_s.unwrap_or(60.0))?,
            gateway: self.gateway,
            warm_up: self.warm_up,
            targets: self.targets,
            mix: Arc::new(mix),
            phases,
            faults,
            orders,
            keys: self.key,
            paired,
            open_at_once: self.open_at_once,
            bars,
            text: text.to_owned(),
        })
    }
}

impl RawCall {
    fn checked(self) -> Call {
        let api = match self.api {
            RawApi::Openai => Api::OpenAi,
            RawApi::Anthropic => Api::Anthropic,
            RawApi::Bedrock => Api::Bedrock,
            RawApi::Invoke => Api::Invoke,
            RawApi::Mcp => Api::Mcp,
        };
        Call {
            api,
            model: self.model,
            stream: self.stream,
            operation: self.operation,
            prompt_bytes: self.prompt_bytes,
            answer_tokens: self.answer_tokens,
            directives: true,
            headers: self.headers.into_iter().collect(),
        }
    }
}

impl RawPhase {
    fn check(&self, scale: RawScale) -> Result<Phase, String> {
        let named = |why: String| format!("phase `{}`: {why}", self.name);
        let shape = match (self.rate, self.ramp, &self.steps) {
            (Some(rate), None, None) => Shape::Constant(rate),
            (None, Some((from, to)), None) => Shape::Ramp(from, to),
            (None, None, Some(steps)) => Shape::Steps(steps.clone()),
            _ => return Err(named("needs exactly one of rate, ramp and steps".to_owned())),
        };
        let arrivals = Arrivals::new(shape, self.poisson)
            .and_then(|arrivals| arrivals.scaled(scale.rate))
            .map_err(|error| named(error.to_string()))?;
        let length = seconds("seconds", self.seconds * scale.length).map_err(named)?;
        Ok(Phase { name: self.name.clone(), length, arrivals })
    }
}

impl RawFault {
    fn check(self, scale: RawScale) -> Result<Fault, String> {
        known_target(&self.target)?;
        let label = self.label.unwrap_or_else(|| describe(&self.script));
        let named = |why: String| format!("fault at {} s of `{}`: {why}", self.at, self.target);
        self.script.check().map_err(|error| named(error.to_string()))?;
        let at = moment(self.at * scale.length).map_err(named)?;
        let until = self.until.map(|until| moment(until * scale.length)).transpose().map_err(named)?;
        if until.is_some_and(|until| until <= at) {
            return Err(named("it ends before it begins; `until` must be later than `at`".to_owned()));
        }
        Ok(Fault {
            label: format!("{}: {label}", self.target),
            target: self.target,
            at,
            until,
            script: self.script,
        })
    }
}

/// The orders by their times.
fn orders(raw: &[RawOrder], scale: RawScale, length: Duration) -> Result<Vec<Order>, String> {
    let mut orders: Vec<Order> = raw.iter().map(|order| order.check(scale)).collect::<Result<_, _>>()?;
    orders.sort_unstable_by_key(|order| order.at);
    match orders.iter().find(|order| order.at >= length) {
        Some(late) => Err(format!("the order `{}` comes after the last phase has ended", late.act.label())),
        None => Ok(orders),
    }
}

impl RawOrder {
    fn check(&self, scale: RawScale) -> Result<Order, String> {
        let at = moment(self.at * scale.length).map_err(|why| format!("[[order]]: {why}"))?;
        Ok(Order { at, act: self.act })
    }
}

impl RawPaired {
    fn check(self) -> Result<Paired, String> {
        known_target(&self.target)?;
        if self.rounds < 2 {
            return Err("paired.rounds: at least 2, or there is no interval of confidence".to_owned());
        }
        Ok(Paired { target: self.target, model: self.model, rounds: self.rounds })
    }
}

impl RawBar {
    fn check(self, phases: &[Phase], mix: &Mix) -> Result<Asked, String> {
        let named = |why: String| format!("bar `{}`: {why}", self.promise);
        let bar = match (self.at_most, self.at_least, self.exactly) {
            (Some(limit), None, None) => Bar::AtMost(limit),
            (None, Some(limit), None) => Bar::AtLeast(limit),
            (None, None, Some(value)) => Bar::Exactly(value),
            _ => return Err(named("needs exactly one of at_most, at_least and exactly".to_owned())),
        };
        let phase = match &self.phase {
            None => None,
            Some(name) => {
                let found = phases.iter().position(|phase| phase.name == *name);
                let known: Vec<&str> = phases.iter().map(|phase| phase.name.as_str()).collect();
                let unknown = || named(format!("no phase is named `{name}`; there are {}", known.join(", ")));
                Some(found.ok_or_else(unknown)? as u16)
            }
        };
        if let Some(operation) = &self.operation
            && !mix.calls().any(|call| call.operation.as_ref() == Some(operation))
        {
            return Err(named(format!("no [[mix]] asks for the operation `{operation}`")));
        }
        let parameter = self.parameter().map_err(named)?;
        let scope = Scope { phase, operation: self.operation, faulted: self.faulted, way: self.way };
        Ok(Asked { promise: self.promise, measure: self.measure, bar, parameter, scope })
    }
}

impl RawBar {
    /// The one number that the measure needs, and no other.
    fn parameter(&self) -> Result<f64, String> {
        let given = [("within_ms", self.within_ms), ("limit_usd", self.limit_usd)];
        let needed = self.measure.parameter();
        if let Some((key, _)) = given.iter().find(|(key, value)| value.is_some() && needed != Some(*key)) {
            return Err(format!("its measure has no use for {key}"));
        }
        match needed {
            None => Ok(0.0),
            Some(needed) => given
                .iter()
                .find_map(|(key, value)| value.filter(|_| *key == needed))
                .ok_or_else(|| format!("its measure needs {needed}")),
        }
    }
}

/// A script in a few words.
fn describe(script: &Script) -> String {
    let mut words: Vec<String> = script.faults.iter().map(|fault| format!("{:?}", fault.kind)).collect();
    if script.down {
        words.push("down".to_owned());
    }
    if script.latency_ms.is_some() || script.ttft_ms.is_some() || script.pace_ms.is_some() {
        words.push("another latency".to_owned());
    }
    if words.is_empty() { "scripted".to_owned() } else { words.join(", ") }
}

fn known_target(name: &str) -> Result<(), String> {
    if TARGETS.contains(&name) {
        Ok(())
    } else {
        Err(format!("no upstream is named `{name}`; there are {}", TARGETS.join(", ")))
    }
}

fn seconds(what: &str, seconds: f64) -> Result<Duration, String> {
    if seconds > 0.0 && seconds <= SECONDS_MAX {
        Ok(Duration::from_secs_f64(seconds))
    } else {
        Err(format!("{what} = {seconds} is not possible; it must be above 0 and at most a day"))
    }
}

fn moment(seconds: f64) -> Result<Duration, String> {
    Duration::try_from_secs_f64(seconds).map_err(|_| format!("{seconds} s is no moment of the scenario"))
}

fn all_profiles() -> Vec<Profile> {
    Profile::ALL.to_vec()
}

fn first_seed() -> u64 {
    1
}

fn yes() -> bool {
    true
}

fn one() -> f64 {
    1.0
}

fn usual_prompt() -> usize {
    400
}

fn usual_answer() -> u64 {
    20
}

#[cfg(test)]
mod tests;
