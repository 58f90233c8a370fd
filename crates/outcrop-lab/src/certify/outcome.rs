//! What a certification run yields: plain data, complete enough to be judged and shown without the run.
//!
//! Nothing here measures or prints. Every number is finite, every list is bounded by whoever fills it
//! ([`SERIES_POINTS_MAX`]), and a promise that could not be measured is not silently met: its scenario is void.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Most points of one series; longer ones are thinned before they get here.
pub const SERIES_POINTS_MAX: usize = 2_000;

/// One run of the certification suite.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Outcome {
    /// `quick`, `standard`, `endurance`, or `custom` for files of the user's own.
    pub profile: String,
    /// When it began, in seconds since 1970.
    pub started_unix: u64,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// Whether it was ended before all scenarios were played.
    pub partial: bool,
    /// Where it ran: versions, processors, memory, kernel, the address under test; name and value for people.
    pub environment: BTreeMap<String, String>,
    /// The suites in the order they were played.
    pub suites: Vec<SuiteOutcome>,
}

/// What one suite yielded.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SuiteOutcome {
    /// `load`, `latency`, `efficiency`, `cost`, `failover`, `impact`, `security`, or the user's own word.
    pub name: String,
    /// The scenarios in the order they were played.
    pub scenarios: Vec<ScenarioOutcome>,
}

/// What one scenario yielded.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ScenarioOutcome {
    /// Short name, unique within its suite.
    pub name: String,
    /// What it shows, as a sentence.
    pub title: String,
    /// Seed of everything that is drawn in it.
    pub seed: u64,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// Everything needed to repeat it: the scenario's file (TOML), then the gateway's configuration as it was started.
    pub configuration: String,
    /// One verdict per promise.
    pub verdicts: Vec<Verdict>,
    /// What was measured, for plots.
    pub series: Vec<Series>,
    /// What a reader must know beside the verdicts, a sentence each.
    pub notes: Vec<String>,
    /// Why nothing can be concluded, for instance because the load generator itself was the bottleneck. A void
    /// scenario has neither passed nor failed, whatever its verdicts say.
    pub void: Option<String>,
}

/// One promise, held against what was measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Verdict {
    /// The promise, as a sentence.
    pub promise: String,
    /// What was asked.
    pub bar: Bar,
    /// What was measured, in `unit`.
    pub measured: f64,
    /// Unit of `measured`, of the bar and of the margin: `ms`, `us`, `%`, `requests`, `USD`, …
    pub unit: String,
    /// How many observations `measured` rests on.
    pub samples: u64,
    /// Half the width of the 95 % confidence interval of `measured`, in `unit`; absent where the value was
    /// counted out and has none.
    pub margin: Option<f64>,
    /// Whether the bar was met.
    pub passed: bool,
}

/// What is asked of a measured value.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Bar {
    /// No more than this.
    AtMost(f64),
    /// No less than this.
    AtLeast(f64),
    /// Exactly this.
    Exactly(f64),
}

/// Something measured many times.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Series {
    /// Values over time, with what was done to the system meanwhile.
    Time {
        /// What it shows.
        name: String,
        /// Unit of the values.
        unit: String,
        /// Seconds since the scenario's start, ascending, and the value.
        points: Vec<(f64, f64)>,
        /// Faults and phases on the same axis of time.
        marks: Vec<Mark>,
        /// A line to hold the values against, for instance a budget's limit.
        limit: Option<f64>,
    },
    /// A distribution by its percentiles.
    Percentiles {
        /// What it shows.
        name: String,
        /// Unit of the values.
        unit: String,
        /// Percentile (0 to 100), ascending, and the value.
        points: Vec<(f64, f64)>,
        /// How many observations it rests on.
        samples: u64,
    },
    /// A distribution by its classes.
    Distribution {
        /// What it shows.
        name: String,
        /// Unit of the class limits.
        unit: String,
        /// The classes, ascending and without overlap.
        classes: Vec<Class>,
    },
}

/// Something that happened during a scenario.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Mark {
    /// Seconds since the scenario's start.
    pub at_s: f64,
    /// When it ended; absent for a moment, or for what lasted to the end.
    pub until_s: Option<f64>,
    /// What it is, for people: `fra: down`, `spike`.
    pub label: String,
    /// Whether something was broken by it, as against a change of load.
    pub fault: bool,
}

/// One class of a distribution.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Class {
    /// Lower limit, included.
    pub from: f64,
    /// Upper limit, excluded.
    pub to: f64,
    /// Observations in it.
    pub count: u64,
}

impl Bar {
    /// Whether a value meets it; a value that is no number never does.
    #[allow(clippy::float_cmp, reason = "`Exactly` is asked of counts, which a float holds exactly")]
    pub fn is_met_by(self, measured: f64) -> bool {
        match self {
            Self::AtMost(limit) => measured <= limit,
            Self::AtLeast(limit) => measured >= limit,
            Self::Exactly(value) => measured == value,
        }
    }
}

impl Verdict {
    /// Holds a value against its bar.
    pub fn new(promise: impl Into<String>, bar: Bar, measured: f64, unit: &str, samples: u64) -> Self {
        let passed = bar.is_met_by(measured);
        Self { promise: promise.into(), bar, measured, unit: unit.to_owned(), samples, margin: None, passed }
    }

    /// With a margin of error.
    #[must_use]
    pub fn with_margin(mut self, margin: f64) -> Self {
        self.margin = margin.is_finite().then_some(margin);
        self
    }
}

impl ScenarioOutcome {
    /// Whether every promise was kept and the run counts.
    pub fn passed(&self) -> bool {
        self.void.is_none() && self.verdicts.iter().all(|verdict| verdict.passed)
    }
}

impl SuiteOutcome {
    /// Whether every scenario passed.
    pub fn passed(&self) -> bool {
        self.scenarios.iter().all(ScenarioOutcome::passed)
    }
}

impl Outcome {
    /// Whether every suite passed and nothing is missing.
    pub fn passed(&self) -> bool {
        !self.partial && self.suites.iter().all(SuiteOutcome::passed)
    }
}

#[cfg(test)]
mod tests {
    use super::{Bar, Outcome, ScenarioOutcome, Series, SuiteOutcome, Verdict};

    #[test]
    fn a_bar_is_met_up_to_its_limit_and_never_by_no_number() {
        for (bar, value, met) in [
            (Bar::AtMost(5.0), 5.0, true),
            (Bar::AtMost(5.0), 5.1, false),
            (Bar::AtLeast(98.0), 98.0, true),
            (Bar::AtLeast(98.0), 97.9, false),
            (Bar::Exactly(0.0), 0.0, true),
            (Bar::Exactly(0.0), 1.0, false),
            (Bar::AtMost(5.0), f64::NAN, false),
            (Bar::AtLeast(5.0), f64::NAN, false),
        ] {
            assert_eq!(bar.is_met_by(value), met, "{bar:?} {value}");
        }
    }

    #[test]
    fn one_missed_bar_or_void_scenario_fails_the_run() {
        let good = Verdict::new("answers", Bar::AtMost(5.0), 1.0, "s", 10);
        let outcome = |verdicts, void| Outcome {
            suites: vec![SuiteOutcome {
                name: "load".to_owned(),
                scenarios: vec![ScenarioOutcome { verdicts, void, ..ScenarioOutcome::default() }],
            }],
            ..Outcome::default()
        };
        let bad = Verdict { passed: false, ..good.clone() };
        assert!(outcome(vec![good.clone()], None).passed());
        assert!(!outcome(vec![good.clone(), bad], None).passed());
        assert!(!outcome(vec![good.clone()], Some("the generator lagged".to_owned())).passed());
        assert!(!Outcome { partial: true, ..outcome(vec![good], None) }.passed());
    }

    #[test]
    fn it_survives_json() {
        let series = Series::Percentiles {
            name: "latency".to_owned(),
            unit: "ms".to_owned(),
            points: vec![(50.0, 1.5), (99.0, 9.25)],
            samples: 100,
        };
        let text = serde_json::to_string(&series).unwrap();
        assert_eq!(serde_json::from_str::<Series>(&text).unwrap(), series);
        let verdict = Verdict::new("answers", Bar::AtMost(5.0), 1.0, "s", 10).with_margin(0.1);
        let text = serde_json::to_string(&verdict).unwrap();
        assert!(text.contains(r#""bar":{"at_most":5.0}"#), "{text}");
        assert_eq!(serde_json::from_str::<Verdict>(&text).unwrap(), verdict);
    }
}
