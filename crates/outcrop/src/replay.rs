//! `outcrop replay`: what a new configuration would have changed, over recorded decisions.
//!
//! It reads the records that `[decisions] export` or `GET /admin/v1/decisions` gave, decides each again with
//! the new file and compares. No gateway is asked, and the same input gives the same answer.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use outcrop_core::decision::Decision;
use outcrop_policy::Routes;
use outcrop_policy::replay::{Outlook, Replayed, Side, Summary, replay};
use serde::Serialize;
use serde_json::json;

use crate::check::table;
use crate::cli::{EX_USAGE, refuse};
use crate::config;
use crate::explain::{ms, usd};

/// Longest line of a file of records, in bytes.
const LINE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Options of `outcrop replay`.
#[derive(Debug, Args)]
pub(crate) struct Replay {
    /// Decision records: JSON lines, or the JSON list of the operator's API.
    #[arg(long, value_name = "FILE")]
    decisions: PathBuf,
    /// The new configuration file.
    #[arg(long, short, value_name = "FILE")]
    config: PathBuf,
    /// Most changed records that are shown; all are counted.
    #[arg(long, value_name = "N", default_value_t = 20)]
    show: usize,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// What came of it.
#[derive(Debug, Default, Serialize)]
struct Report {
    summary: Summary,
    /// Lines that are no record.
    unreadable: u64,
    changed: Vec<Replayed>,
}

/// `outcrop replay`.
pub(crate) fn run(options: &Replay) -> ExitCode {
    let checked = match config::load(&options.config) {
        Ok(checked) => checked,
        Err(problems) => return refuse(&problems, EX_USAGE),
    };
    let report = match compare(&options.decisions, &checked.routes, options.show) {
        Ok(report) => report,
        Err(error) => return refuse(&format!("{}: {error}", options.decisions.display()), EX_USAGE),
    };
    if report.summary.replayed + report.summary.undecided == 0 {
        let text = format!(
            "{}: there is no decision record in it; `[decisions] export` writes them",
            options.decisions.display()
        );
        return refuse(&text, EX_USAGE);
    }
    if options.json {
        anstream::println!("{:#}", json!(report));
    } else {
        print(&report);
    }
    ExitCode::SUCCESS
}

fn compare(file: &Path, routes: &Routes, show: usize) -> io::Result<Report> {
    let mut report = Report::default();
    each(file, |read| {
        let Some(decision) = read else {
            report.unreadable += 1;
            return;
        };
        let replayed = replay(routes, &decision);
        report.summary.add(replayed.as_ref());
        if let Some(replayed) = replayed.filter(|r| r.has_changed() && report.changed.len() < show) {
            report.changed.push(replayed);
        }
    })?;
    Ok(report)
}

/// Every record of a file; `None` for a line that is none.
fn each(file: &Path, mut take: impl FnMut(Option<Decision>)) -> io::Result<()> {
    let mut lines = BufReader::new(File::open(file)?);
    let mut line = Vec::new();
    loop {
        line.clear();
        let mut bounded = (&mut lines).take(LINE_BYTES_MAX as u64);
        if bounded.read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        let text = line.trim_ascii();
        if text.starts_with(b"[") {
            return list(text, &mut lines, &mut take);
        }
        if !text.is_empty() {
            take(serde_json::from_slice(text).ok());
        }
    }
}

/// The list of the operator's API: it has a thousand records at most, so it is read whole.
fn list(begin: &[u8], rest: &mut impl BufRead, take: &mut impl FnMut(Option<Decision>)) -> io::Result<()> {
    let mut text = begin.to_vec();
    rest.take(16 * LINE_BYTES_MAX as u64).read_to_end(&mut text)?;
    let records: Vec<serde_json::Value> = serde_json::from_slice(&text)?;
    for record in records {
        take(serde_json::from_value(record).ok());
    }
    Ok(())
}

fn print(report: &Report) {
    let Report { summary, unreadable, changed } = report;
    anstream::println!(
        "{} decisions made again, {} change, {} of them travel elsewhere; {} never came to a decision, {unreadable} \
         lines are no record",
        summary.replayed,
        summary.changed,
        summary.moved,
        summary.undecided,
    );
    let mut sides = table(&["", "as recorded", "with the new file"]);
    let Summary { before, after, .. } = summary;
    let both = |what: &str, show: &dyn Fn(&Side) -> String| [what.to_owned(), show(before), show(after)];
    sides.add_row(both("refused", &|side| side.refused.to_string()));
    sides.add_row(both("expected in time", &|side| side.in_time.to_string()));
    sides.add_row(both("expected late", &|side| side.late.to_string()));
    sides.add_row(both("expected cost", &|side| usd(side.expected_nusd as f64)));
    sides.add_row(both("expected time, summed", &|side| ms(side.expected_us as f64)));
    anstream::println!("{sides}");
    if changed.is_empty() {
        return;
    }
    let mut rows = table(&["request", "operation", "as recorded", "with the new file"]);
    for replayed in changed {
        let Replayed { request_id, operation, before, after, .. } = replayed;
        rows.add_row([request_id.clone(), operation.clone(), outlook(before), outlook(after)]);
    }
    anstream::println!("{rows}");
}

fn outlook(outlook: &Outlook) -> String {
    let Some(target) = &outlook.target else {
        let why = outlook.refused.map(|why| json!(why));
        return format!(
            "refused: {}",
            why.as_ref().and_then(serde_json::Value::as_str).unwrap_or("no target")
        );
    };
    let cost = outlook.expected_nusd.map(|nusd| format!(", {}", usd(nusd as f64))).unwrap_or_default();
    let time = outlook.expected_us.map(|us| format!(", {}", ms(us as f64))).unwrap_or_default();
    let late = if outlook.in_time == Some(false) { ", late" } else { "" };
    format!("{target}{cost}{time}{late}")
}
