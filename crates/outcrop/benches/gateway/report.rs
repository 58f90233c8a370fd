//! The figures for people (tables) and for programs (JSON).
//!
//! It computes nothing: every number is the one in the JSON.

use std::path::Path;

use comfy_table::{Table, presets};

use crate::cells::{request_cells, stream_cells};
use crate::measure::Outcome;
use crate::requests::{RequestResult, RequestRound};
use crate::role;
use crate::spread::Spread;
use crate::streams::{StreamResult, StreamRound};

/// Share of the machine in percent that others may use before a reader is warned.
const FOREIGN_CPU_PERCENT: f64 = 5.0;

/// Why the JSON was not written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReportError {
    /// The file.
    #[error("cannot write the figures: {0}")]
    Io(#[from] std::io::Error),
    /// The figures.
    #[error("cannot encode the figures: {0}")]
    Json(#[from] serde_json::Error),
}

/// Writes everything measured as JSON.
pub(crate) fn write_json(outcome: &Outcome, path: &Path) -> Result<(), ReportError> {
    let mut text = serde_json::to_string_pretty(outcome)?;
    text.push('\n');
    Ok(std::fs::write(path, text)?)
}

/// Prints the names of all cells.
pub(crate) fn print_cells() {
    for cell in request_cells(&[]) {
        role::announce(cell.name());
    }
    for cell in stream_cells(&[]) {
        role::announce(cell.name());
    }
}

/// Prints the tables.
pub(crate) fn print(outcome: &Outcome) {
    let (machine, method) = (&outcome.machine, &outcome.method);
    anstream::println!(
        "\n{} x {}, {} MiB, Linux {}, load before {}",
        machine.cores,
        machine.cpu,
        machine.memory_mib,
        machine.kernel,
        machine.load_average
    );
    anstream::println!(
        "commit {}, {}, {} build, {}",
        machine.commit,
        machine.libraries.join(", "),
        machine.profile,
        machine.started_at
    );
    anstream::println!(
        "{} rounds of {} s per proxy, {} rounds of {} streams of {} events {} ms apart; against the bare proxy: {}",
        method.rounds,
        method.seconds_per_proxy_and_round,
        method.stream_rounds,
        method.streams,
        method.events_per_stream,
        method.pace_ms,
        method.subject
    );
    if !outcome.requests.is_empty() {
        anstream::println!("\n{}", request_table(&outcome.requests));
    }
    if !outcome.streams.is_empty() {
        anstream::println!("\n{}", stream_table(&outcome.streams));
    }
    anstream::println!("\n{}", verdict_table(outcome));
    warn(outcome);
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header(header.to_vec());
    table
}

fn request_table(results: &[RequestResult]) -> Table {
    let mut table = table(&[
        "cell",
        "CPU/req bare us",
        "CPU/req us",
        "ratio (min-max)",
        "p50 bare us",
        "p50 us",
        "added p50 us (min-max)",
        "p99 bare us",
        "p99 us",
        "req/s bare",
        "req/s",
        "errors",
    ]);
    for result in results {
        let pair = |figure: fn(&RequestRound) -> f64, digits: usize| {
            [0, 1].map(|lane| {
                let spread = Spread::of(result.rounds.iter().map(|round| figure(&round[lane])));
                spread.map_or_else(String::new, |spread| format!("{:.digits$}", spread.median))
            })
        };
        let [bare_cpu, cpu] = pair(|round| round.cpu_us_per_request, 2);
        let [bare_p50, p50] = pair(|round| round.p50_us, 1);
        let [bare_p99, p99] = pair(|round| round.p99_us, 1);
        let [bare_rate, rate] = pair(|round| round.requests_per_second, 0);
        table.add_row(vec![
            result.cell.clone(),
            bare_cpu,
            cpu,
            spread(result.cpu_ratio, 2),
            bare_p50,
            p50,
            spread(result.added_p50_us, 1),
            bare_p99,
            p99,
            bare_rate,
            rate,
            result.errors.to_string(),
        ]);
    }
    table
}

fn stream_table(results: &[StreamResult]) -> Table {
    let mut table = table(&[
        "cell",
        "CPU/stream bare us",
        "CPU/stream us",
        "ratio (min-max)",
        "KiB/stream bare",
        "KiB/stream (min-max)",
        "first event p50 bare us",
        "first event p50 us",
        "open at once",
        "errors",
    ]);
    for result in results {
        let pair = |figure: fn(&StreamRound) -> f64| {
            [0, 1].map(|lane| {
                let spread = Spread::of(result.rounds.iter().map(|round| figure(&round[lane])));
                spread.map_or_else(String::new, |spread| format!("{:.0}", spread.median))
            })
        };
        let [bare_cpu, cpu] = pair(|round| round.cpu_us_per_stream);
        let [bare_first, first] = pair(|round| round.first_event_p50_us);
        table.add_row(vec![
            result.cell.clone(),
            bare_cpu,
            cpu,
            spread(result.cpu_ratio, 2),
            spread(result.bare_kib_per_stream, 1),
            spread(result.kib_per_stream, 1),
            bare_first,
            first,
            result.open_at_once.to_string(),
            result.errors.to_string(),
        ]);
    }
    table
}

fn verdict_table(outcome: &Outcome) -> Table {
    let mut table = table(&["what", "bar", "measured", "verdict"]);
    for verdict in &outcome.verdicts {
        let met = match verdict.met {
            Some(true) => "met",
            Some(false) => "NOT MET",
            None => "-",
        };
        table.add_row(vec![verdict.what, &verdict.bar, &verdict.measured, met]);
    }
    table
}

fn spread(spread: Option<Spread>, digits: usize) -> String {
    spread.map_or_else(String::new, |Spread { median, min, max }| {
        format!("{median:.digits$} ({min:.digits$}-{max:.digits$})")
    })
}

/// Says what makes the figures doubtful.
fn warn(outcome: &Outcome) {
    let rounds = || outcome.requests.iter().flat_map(|result| result.rounds.iter().flatten());
    let foreign = rounds().map(|round| round.foreign_cpu_percent).fold(0.0, f64::max);
    if foreign > FOREIGN_CPU_PERCENT {
        anstream::println!(
            "\nwarning: other processes used up to {foreign:.0} % of the machine during a round"
        );
    }
    let inexact = rounds().filter(|round| !round.cpu_exact).count();
    if inexact > 0 {
        anstream::println!("warning: {inexact} rounds fell back to CPU time in 10 ms ticks");
    }
    let errors =
        outcome.requests.iter().filter_map(|result| Some((&result.cell, result.first_error.as_ref()?)));
    let errors = errors.chain(
        outcome.streams.iter().filter_map(|result| Some((&result.cell, result.first_error.as_ref()?))),
    );
    for (cell, error) in errors {
        anstream::println!("error in {cell}: {error}");
    }
    if cfg!(debug_assertions) {
        anstream::println!("warning: this is a debug build; its figures mean nothing");
    }
}
