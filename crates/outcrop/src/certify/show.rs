//! What a person sees of a run: live progress on a terminal, a line per scenario without one, verdicts at the end.

use std::io::IsTerminal as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use comfy_table::{Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use outcrop_lab::certify::outcome::{Bar, Outcome, ScenarioOutcome, Verdict};
use outcrop_lab::certify::scenario::Scenario;
use outcrop_lab::certify::suite::{Position, Show};
use outcrop_lab::load::tally::{Counts, ms_at};

/// Progress of a run.
pub(super) struct Live {
    bar: ProgressBar,
    /// Complete answers at the last beat, for the rate.
    complete: AtomicU64,
    last: std::sync::Mutex<tokio::time::Instant>,
}

impl Live {
    pub(super) fn start() -> Self {
        let terminal = std::io::stderr().is_terminal();
        let bar = if terminal { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
        if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix}  {msg}") {
            bar.set_style(style);
        }
        Self { bar, complete: AtomicU64::new(0), last: std::sync::Mutex::new(tokio::time::Instant::now()) }
    }
}

impl Show for Live {
    fn begins(&self, at: &Position<'_>) {
        self.complete.store(0, Ordering::Relaxed);
        let scenario = at.scenario;
        self.bar.set_prefix(format!("{}/{} {} {}", at.number, at.of, scenario.suite, scenario.name));
        self.bar.set_message(scenario.title.clone());
        if self.bar.is_hidden() {
            anstream::eprintln!(
                "[{}/{}] {} {}: {}",
                at.number,
                at.of,
                scenario.suite,
                scenario.name,
                scenario.title
            );
        }
    }

    fn beat(&self, counts: &Counts, left: Duration) {
        let now = tokio::time::Instant::now();
        let since =
            std::mem::replace(&mut *self.last.lock().unwrap_or_else(std::sync::PoisonError::into_inner), now);
        let before = self.complete.swap(counts.complete, Ordering::Relaxed);
        let rate = counts.complete.saturating_sub(before) as f64 / (now - since).as_secs_f64().max(0.001);
        self.bar.set_message(format!(
            "{rate:>6.0}/s   p99 {:>7.1} ms   {} not answered   {} s left",
            ms_at(&counts.latency, 99.0),
            counts.failed(),
            left.as_secs(),
        ));
        self.bar.tick();
    }

    fn ends(&self, outcome: &ScenarioOutcome) {
        let line = format!("{} {} ({:.1} s)", word(outcome), outcome.name, outcome.seconds);
        if self.bar.is_hidden() {
            anstream::eprintln!("  {line}");
        } else {
            self.bar.println(line);
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// The verdicts as a table, and what else a reader must know.
pub(super) fn summary(outcome: &Outcome) {
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY);
    table.set_header(["suite", "scenario", "", "promise", "bar", "measured", "samples"]);
    for (suite, scenario) in scenarios(outcome) {
        for verdict in &scenario.verdicts {
            table.add_row([
                suite.to_owned(),
                scenario.name.clone(),
                if verdict.passed { "met" } else { "MISSED" }.to_owned(),
                verdict.promise.clone(),
                bar(verdict),
                measured(verdict),
                verdict.samples.to_string(),
            ]);
        }
    }
    anstream::println!("{table}");
    for (suite, scenario) in scenarios(outcome) {
        if let Some(void) = &scenario.void {
            anstream::println!("VOID {suite} {}: {void}", scenario.name);
        }
        if scenario.void.is_some() || !scenario.passed() || scenario.verdicts.is_empty() {
            for note in &scenario.notes {
                anstream::println!("     {suite} {}: {note}", scenario.name);
            }
        }
    }
    if outcome.partial {
        anstream::println!("PARTIAL: ended before everything was played");
    }
    let verdicts: Vec<&Verdict> = scenarios(outcome).flat_map(|(_, scenario)| &scenario.verdicts).collect();
    let missed = verdicts.iter().filter(|verdict| !verdict.passed).count();
    anstream::println!("{} promises, {missed} missed, in {:.0} s", verdicts.len(), outcome.seconds);
}

fn scenarios(outcome: &Outcome) -> impl Iterator<Item = (&str, &ScenarioOutcome)> {
    outcome
        .suites
        .iter()
        .flat_map(|suite| suite.scenarios.iter().map(|scenario| (suite.name.as_str(), scenario)))
}

fn word(outcome: &ScenarioOutcome) -> &'static str {
    match outcome {
        outcome if outcome.void.is_some() => "VOID",
        outcome if outcome.verdicts.is_empty() => "not certified",
        outcome if outcome.passed() => "passed",
        _ => "MISSED",
    }
}

fn bar(verdict: &Verdict) -> String {
    let (sign, value) = match verdict.bar {
        Bar::AtMost(limit) => ("≤ ", limit),
        Bar::AtLeast(limit) => ("≥ ", limit),
        Bar::Exactly(value) => ("", value),
    };
    format!("{sign}{value} {}", verdict.unit)
}

fn measured(verdict: &Verdict) -> String {
    match verdict.margin {
        _ if verdict.samples == 0 && !verdict.passed => "nothing to measure".to_owned(),
        None => format!("{:.3}", verdict.measured),
        Some(margin) => format!("{:.3} ± {margin:.3}", verdict.measured),
    }
}

/// What would be played: suite, scenario, seconds of load, title; then the sum.
pub(super) fn plan(scenarios: &[Scenario]) {
    for scenario in scenarios {
        let seconds = scenario.length().as_secs_f64();
        anstream::println!(
            "{:<11} {:<12} {seconds:>7.1} s  {}",
            scenario.suite,
            scenario.name,
            scenario.title
        );
    }
    let sum: f64 = scenarios.iter().map(|scenario| scenario.length().as_secs_f64()).sum();
    anstream::println!(
        "{} scenarios, {sum:.0} s of load; each start and end takes about 2 s more",
        scenarios.len()
    );
}
