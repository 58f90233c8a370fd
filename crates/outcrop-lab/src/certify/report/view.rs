//! An outcome as a page shows it: texts, anchors and plots, in reading order.
//!
//! Decides what is seen first (what failed, what is void, what is missing), not how it looks.

mod figure;
mod glance;

use std::collections::BTreeSet;

use super::standing::{self, Counts, Standing};
use super::{Provenance, figures};
use crate::certify::outcome::{Outcome, ScenarioOutcome, SuiteOutcome, Verdict};

pub(super) use figure::Figure;

/// A page.
pub(super) struct View {
    pub standing: Standing,
    pub headline: String,
    pub notices: Vec<String>,
    pub facts: Vec<(String, String)>,
    pub broken: Vec<Promise>,
    pub voids: Vec<(String, String, String)>,
    pub glance: Vec<Figure>,
    pub suites: Vec<Suite>,
    pub environment: Vec<(String, String)>,
    pub command: String,
    pub seeds: Vec<(String, String, u64)>,
    pub provenance: Provenance,
}

/// One suite of a page.
pub(super) struct Suite {
    pub anchor: String,
    pub name: String,
    pub standing: Standing,
    pub tally: String,
    pub scenarios: Vec<Scenario>,
}

/// One scenario of a page.
pub(super) struct Scenario {
    pub anchor: String,
    pub name: String,
    pub title: String,
    pub standing: Standing,
    pub seed: u64,
    pub length: String,
    pub void: Option<String>,
    pub promises: Vec<Promise>,
    pub figures: Vec<Figure>,
    pub notes: Vec<String>,
    pub configuration: String,
    pub configuration_lines: usize,
}

/// One verdict of a page.
pub(super) struct Promise {
    pub anchor: String,
    pub place: String,
    pub words: String,
    pub bar: String,
    pub measured: String,
    pub margin: String,
    pub samples: String,
    pub passed: bool,
}

/// Gives each place of a page a name of its own.
#[derive(Default)]
struct Anchors {
    taken: BTreeSet<String>,
    figures: usize,
}

impl View {
    pub(super) fn new(outcome: &Outcome, provenance: &Provenance) -> Self {
        let mut anchors = Anchors::default();
        let glance = glance::figures(outcome, &mut anchors);
        let suites: Vec<_> = outcome.suites.iter().map(|suite| Suite::new(suite, &mut anchors)).collect();
        let scenarios = || suites.iter().flat_map(|suite| &suite.scenarios);
        let broken = scenarios().filter(|scenario| scenario.void.is_none());
        let broken = broken.flat_map(|scenario| &scenario.promises).filter(|promise| !promise.passed);
        let voids = suites.iter().flat_map(|suite| {
            suite.scenarios.iter().filter_map(|scenario| {
                let why = scenario.void.clone()?;
                Some((scenario.anchor.clone(), format!("{} / {}", suite.name, scenario.name), why))
            })
        });
        let seeds = outcome.suites.iter().flat_map(|suite| {
            suite.scenarios.iter().map(|scenario| (suite.name.clone(), scenario.name.clone(), scenario.seed))
        });
        Self {
            standing: Standing::of(outcome),
            headline: standing::headline(outcome),
            notices: notices(outcome),
            facts: facts(outcome),
            broken: broken.map(Promise::again).collect(),
            voids: voids.collect(),
            glance,
            environment: outcome.environment.iter().map(|(k, v)| (k.clone(), v.clone())).collect(),
            command: command(outcome),
            seeds: seeds.collect(),
            provenance: provenance.clone(),
            suites,
        }
    }
}

impl Suite {
    fn new(suite: &SuiteOutcome, anchors: &mut Anchors) -> Self {
        let counts = Counts::of(std::slice::from_ref(suite));
        Self {
            anchor: anchors.name(&["suite", &suite.name]),
            name: suite.name.clone(),
            standing: Standing::of_suite(suite),
            tally: tally(counts),
            scenarios: suite.scenarios.iter().map(|s| Scenario::new(suite, s, anchors)).collect(),
        }
    }
}

impl Scenario {
    fn new(suite: &SuiteOutcome, scenario: &ScenarioOutcome, anchors: &mut Anchors) -> Self {
        let anchor = anchors.name(&["scenario", &suite.name, &scenario.name]);
        let place = format!("{} / {}", suite.name, scenario.name);
        Self {
            name: scenario.name.clone(),
            title: scenario.title.clone(),
            standing: Standing::of_scenario(scenario),
            seed: scenario.seed,
            length: figures::duration(scenario.seconds),
            void: scenario.void.clone(),
            promises: scenario.verdicts.iter().map(|v| Promise::new(&anchor, &place, v)).collect(),
            figures: figure::of_scenario(&suite.name, scenario, anchors),
            notes: scenario.notes.clone(),
            configuration_lines: scenario.configuration.lines().count(),
            configuration: scenario.configuration.clone(),
            anchor,
        }
    }
}

impl Promise {
    fn new(anchor: &str, place: &str, verdict: &Verdict) -> Self {
        Self {
            anchor: anchor.to_owned(),
            place: place.to_owned(),
            words: verdict.promise.clone(),
            bar: figures::bar(verdict.bar, &verdict.unit),
            measured: figures::measured(verdict),
            margin: figures::margin(verdict),
            samples: figures::count(verdict.samples),
            passed: verdict.passed,
        }
    }

    fn again(&self) -> Self {
        Self {
            anchor: self.anchor.clone(),
            place: self.place.clone(),
            words: self.words.clone(),
            bar: self.bar.clone(),
            measured: self.measured.clone(),
            margin: self.margin.clone(),
            samples: self.samples.clone(),
            passed: self.passed,
        }
    }
}

impl Anchors {
    /// A name from words: letters and digits, the rest dashes; numbered where it is taken.
    fn name(&mut self, words: &[&str]) -> String {
        let slug = |word: &&str| -> String {
            word.chars()
                .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' })
                .collect()
        };
        let wanted = words.iter().map(slug).collect::<Vec<_>>().join("-");
        let mut name = wanted.clone();
        let mut nth = 1;
        while !self.taken.insert(name.clone()) {
            nth += 1;
            name = format!("{wanted}-{nth}");
        }
        name
    }

    fn figure(&mut self) -> String {
        self.figures += 1;
        format!("figure-{}", self.figures)
    }
}

/// What must be known before anything else is read.
pub(super) fn notices(outcome: &Outcome) -> Vec<String> {
    let mut notices = Vec::new();
    if outcome.partial {
        notices.push(
            "This report is partial: the run was ended before all scenarios were played. What is missing has neither \
             passed nor failed."
                .to_owned(),
        );
    }
    let empty: Vec<_> =
        outcome.suites.iter().filter(|suite| suite.scenarios.is_empty()).map(|s| s.name.as_str()).collect();
    if !empty.is_empty() {
        notices.push(format!("Not certified, because nothing was played: {}.", empty.join(", ")));
    }
    notices
}

fn facts(outcome: &Outcome) -> Vec<(String, String)> {
    let counts = Counts::of(&outcome.suites);
    let pair = |name: &str, value: String| (name.to_owned(), value);
    vec![
        pair("Profile", outcome.profile.clone()),
        pair("Begun", figures::moment(outcome.started_unix)),
        pair("Took", figures::duration(outcome.seconds)),
        pair("Suites", outcome.suites.len().to_string()),
        pair("Scenarios", counts.scenarios.to_string()),
        pair("Promises", tally(counts)),
    ]
}

/// What was kept, of how much.
pub(super) fn tally(counts: Counts) -> String {
    let kept = counts.promises.saturating_sub(counts.broken);
    let void = match counts.void {
        0 => String::new(),
        1 => "; 1 scenario is void".to_owned(),
        n => format!("; {n} scenarios are void"),
    };
    match counts.promises {
        0 if counts.void == 0 => "nothing measured".to_owned(),
        promises => format!("{kept} of {promises} kept{void}"),
    }
}

/// The command that plays the run again.
pub(super) fn command(outcome: &Outcome) -> String {
    let names: Vec<_> = outcome.suites.iter().map(|suite| suite.name.as_str()).collect();
    format!("outcrop certify {} --profile {}", names.join(" "), outcome.profile)
}

/// Every promise that was not kept, with where it stands.
pub(super) fn broken(outcome: &Outcome) -> impl Iterator<Item = (String, &Verdict)> {
    standing::verdicts(&outcome.suites)
        .filter(|(.., verdict)| !verdict.passed)
        .map(|(suite, scenario, verdict)| (format!("{} / {}", suite.name, scenario.name), verdict))
}
