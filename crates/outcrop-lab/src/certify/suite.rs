//! Plays scenarios one after the other and judges each.

mod shipped;

use std::{collections::BTreeMap, fs, sync::Arc, time::Duration};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    course, descriptors, measure,
    outcome::{Outcome, ScenarioOutcome, SuiteOutcome},
    play::{PlayError, Played, Subject, Watch, play},
    scenario::{Profile, Scenario, ScenarioError, parse},
};
use crate::{clock, load::tally::Counts};

pub use self::shipped::SUITES;

/// Kinds of failure that are noted of a scenario.
const FAILURES_NOTED: usize = 8;
/// How often a scenario that is void is played again.
const REPEATS_MAX: usize = 2;

/// Told of the run while it goes on.
pub trait Show: Send + Sync {
    /// A scenario begins.
    fn begins(&self, at: &Position<'_>);
    /// It goes on; `left` is what is left of all scenarios together.
    fn beat(&self, counts: &Counts, left: Duration);
    /// It has been judged.
    fn ends(&self, outcome: &ScenarioOutcome);
}

/// Where a run is.
#[derive(Debug)]
pub struct Position<'a> {
    /// The scenario that begins.
    pub scenario: &'a Scenario,
    /// Its number, from 1.
    pub number: usize,
    /// Of how many.
    pub of: usize,
}

/// The scenarios that ship, as a profile plays them, of these suites; of all if none is named.
pub fn shipped(profile: Profile, suites: &[String]) -> Result<Vec<Scenario>, ScenarioError> {
    let all = shipped::FILES.iter().map(|(file, text)| parse(file, text, profile));
    let all: Vec<Scenario> = all.collect::<Result<_, _>>()?;
    let wanted = |scenario: &Scenario| {
        scenario.profiles.contains(&profile) && (suites.is_empty() || suites.contains(&scenario.suite))
    };
    Ok(all.into_iter().filter(wanted).collect())
}

/// Plays and judges all scenarios. Cancelling `stop` ends the run with what has been judged until then.
pub async fn run(
    profile: &str,
    scenarios: Vec<Scenario>,
    subject: &Subject,
    show: &dyn Show,
    stop: &CancellationToken,
) -> Outcome {
    let began = Instant::now();
    let mut outcome = Outcome {
        profile: profile.to_owned(),
        started_unix: clock::now_ms() / 1_000,
        environment: environment(subject),
        ..Outcome::default()
    };
    let of = scenarios.len();
    let lengths: Vec<Duration> = scenarios.iter().map(Scenario::length).collect();
    for (index, scenario) in scenarios.into_iter().enumerate() {
        if stop.is_cancelled() {
            outcome.partial = true;
            break;
        }
        show.begins(&Position { scenario: &scenario, number: index + 1, of });
        let later = lengths.iter().skip(index + 1).sum();
        let suite = scenario.suite.clone();
        let judged = one(Arc::new(scenario), subject, &Ahead { show, later }, stop).await;
        outcome.partial |= stop.is_cancelled();
        show.ends(&judged);
        file(&mut outcome.suites, &suite, judged);
    }
    outcome.seconds = began.elapsed().as_secs_f64();
    outcome
}

/// Passes the beat on with the time of the scenarios to come.
struct Ahead<'a> {
    show: &'a dyn Show,
    later: Duration,
}

impl Watch for Ahead<'_> {
    fn beat(&self, counts: &Counts, left: Duration) {
        self.show.beat(counts, left + self.later);
    }
}

async fn one(
    scenario: Arc<Scenario>,
    subject: &Subject,
    watch: &dyn Watch,
    stop: &CancellationToken,
) -> ScenarioOutcome {
    let began = Instant::now();
    let mut outcome = ScenarioOutcome {
        name: scenario.name.clone(),
        title: scenario.title.clone(),
        seed: scenario.seed,
        configuration: scenario.text.clone(),
        ..ScenarioOutcome::default()
    };
    if scenario.bars.is_empty() {
        outcome.notes.push("not yet certified".to_owned());
        return outcome;
    }
    let (scenario, fitted) = descriptors::fitted(scenario, descriptors::limit());
    outcome.notes.extend(fitted);
    let mut void: Vec<String> = Vec::new();
    loop {
        let mut attempt = outcome.clone();
        match play(&scenario, subject, watch, stop).await {
            Ok(played) => judge(&mut attempt, &played, subject),
            Err(error @ PlayError::NeedsLab) => attempt.notes.push(format!("not played: it {error}")),
            Err(error) => attempt.void = Some(error.to_string()),
        }
        let again = void.len() < REPEATS_MAX && !stop.is_cancelled();
        if let Some(reason) = attempt.void.clone().filter(|_| again) {
            void.push(reason);
            continue;
        }
        if !void.is_empty() {
            attempt
                .notes
                .insert(0, format!("played {} times; void before: {}", void.len() + 1, void.join("; ")));
        }
        attempt.seconds = began.elapsed().as_secs_f64();
        return attempt;
    }
}

fn judge(outcome: &mut ScenarioOutcome, played: &Played, subject: &Subject) {
    let Played { evidence, configuration } = played;
    let outside = matches!(subject, Subject::Address { .. });
    let asked = evidence.scenario.bars.iter().filter(|asked| !outside || asked.is_seen_by_callers());
    let judged: Vec<_> = asked.map(|asked| (asked.measure, measure::verdict(evidence, asked))).collect();
    let (mut missed, mut timed) = (0, 0);
    for (measure, _) in judged.iter().filter(|(_, verdict)| !verdict.passed) {
        missed += 1;
        timed += u32::from(measure.is_timed());
    }
    outcome.verdicts = judged.into_iter().map(|(_, verdict)| verdict).collect();
    outcome.series = course::series(evidence);
    // What is counted stands however busy the machine was; of what is timed nothing can be concluded then.
    let allowed = evidence.scenario.foreign_max;
    let disturbed = evidence.foreign_share.filter(|share| *share > allowed && missed > 0 && missed == timed);
    let disturbed = disturbed.map(|share| disturbance(share, allowed));
    outcome.void = disturbed.or_else(|| evidence.counts.void(evidence.scenario.lag_max));
    if !configuration.is_empty() {
        outcome.configuration = format!("{}\n# The gateway\n\n{configuration}", outcome.configuration);
    }
    note(outcome, played);
}

fn disturbance(share: f64, allowed: f64) -> String {
    format!(
        "other processes took {:.0} % of the machine (allowed: {:.0} %), and only promises about time were missed",
        100.0 * share,
        100.0 * allowed
    )
}

fn note(outcome: &mut ScenarioOutcome, played: &Played) {
    let evidence = &played.evidence;
    let counts = &evidence.counts;
    outcome.notes.push(format!("{} requests due, {} completely answered", counts.due, counts.complete));
    if let Some(share) = evidence.foreign_share {
        outcome.notes.push(format!("other processes took {:.0} % of the machine", 100.0 * share));
    }
    outcome.notes.extend(measure::notes(evidence));
    let mut failures: Vec<_> = counts.failures.iter().collect();
    failures.sort_by_key(|(_, (count, _))| std::cmp::Reverse(*count));
    for (label, (count, example)) in failures.into_iter().take(FAILURES_NOTED) {
        outcome.notes.push(format!("{count} x {label}: {example}"));
    }
    if counts.unsent > 0 {
        outcome.notes.push(format!("{} requests were not sent: too many in flight", counts.unsent));
    }
}

/// Puts a scenario into its suite, which is made if it is the first of it.
fn file(suites: &mut Vec<SuiteOutcome>, name: &str, scenario: ScenarioOutcome) {
    match suites.iter_mut().find(|suite| suite.name == name) {
        Some(suite) => suite.scenarios.push(scenario),
        None => suites.push(SuiteOutcome { name: name.to_owned(), scenarios: vec![scenario] }),
    }
}

fn environment(subject: &Subject) -> BTreeMap<String, String> {
    let line = |file: &str, name: &str| {
        let text = fs::read_to_string(file).ok()?;
        let found = text.lines().find(|line| line.starts_with(name))?;
        Some(found.trim_start_matches(name).trim_matches([' ', '\t', ':']).to_owned())
    };
    let mut known = BTreeMap::from([
        ("version".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
        ("build".to_owned(), if cfg!(debug_assertions) { "debug" } else { "release" }.to_owned()),
        ("system".to_owned(), format!("{} {}", std::env::consts::OS, std::env::consts::ARCH)),
        ("processors".to_owned(), std::thread::available_parallelism().map_or(0, usize::from).to_string()),
    ]);
    for (name, found) in [
        ("kernel", line("/proc/sys/kernel/osrelease", "")),
        ("processor", line("/proc/cpuinfo", "model name")),
        ("memory", line("/proc/meminfo", "MemTotal")),
        ("load average", line("/proc/loadavg", "")),
    ] {
        known.extend(found.map(|found| (name.to_owned(), found)));
    }
    let target = match subject {
        Subject::Broken(..) => "a gateway that is broken on purpose".to_owned(),
        Subject::Binary(_) => "this binary, started for each scenario, with the lab behind it".to_owned(),
        Subject::Address { url, .. } => url.clone(),
    };
    known.insert("target".to_owned(), target);
    known
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, time::Duration};

    use super::{SUITES, shipped};
    use crate::certify::scenario::Profile;

    #[test]
    fn every_shipped_scenario_is_one_in_every_profile() {
        for profile in Profile::ALL {
            let scenarios = shipped(profile, &[]).unwrap();
            let names: BTreeSet<_> =
                scenarios.iter().map(|scenario| (scenario.suite.clone(), scenario.name.clone())).collect();
            assert_eq!(names.len(), scenarios.len(), "names are unique within a suite");
            let suites: BTreeSet<_> = names.iter().map(|(suite, _)| suite.as_str()).collect();
            assert_eq!(suites, SUITES.into(), "{profile:?} plays every suite");
        }
    }

    #[test]
    fn profiles_keep_to_their_times() {
        let length = |profile| -> Duration {
            shipped(profile, &[]).unwrap().iter().map(super::Scenario::length).sum()
        };
        // Starts, last answers and stops take about one and a half seconds more for each scenario.
        assert!(length(Profile::Quick) < Duration::from_secs(140), "{:?}", length(Profile::Quick));
        assert!(length(Profile::Standard) < Duration::from_mins(18), "{:?}", length(Profile::Standard));
        assert!(length(Profile::Endurance) > Duration::from_mins(30), "{:?}", length(Profile::Endurance));
    }

    #[test]
    fn one_suite_can_be_chosen() {
        let cost = shipped(Profile::Quick, &["cost".to_owned()]).unwrap();
        assert!(!cost.is_empty() && cost.iter().all(|scenario| scenario.suite == "cost"));
    }
}
