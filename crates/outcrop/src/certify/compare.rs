//! `outcrop certify compare`: two reports as a table, the worst first.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use comfy_table::{ContentArrangement, Table, presets};
use outcrop_lab::certify::report::compare::{CHANGE_MIN, Change, Comparison, Row};
use serde_json::{Value, json};

use super::publish;
use crate::cli::{EX_USAGE, refuse};

/// Options of `outcrop certify compare`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// JSON file of the earlier report.
    before: PathBuf,
    /// JSON file of the later one.
    after: PathBuf,
    /// Show what stayed the same, too.
    #[arg(long)]
    all: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(options: &Options) -> ExitCode {
    let both =
        publish::read(&options.before).and_then(|before| Ok((before.1, publish::read(&options.after)?.1)));
    let (before, after) = match both {
        Ok(both) => both,
        Err(error) => return refuse(&error, EX_USAGE),
    };
    let comparison = match Comparison::of(&before.outcome, &after.outcome) {
        Ok(comparison) => comparison,
        Err(error) => return refuse(&error, EX_USAGE),
    };
    if options.json {
        anstream::println!("{:#}", as_json(&comparison));
    } else {
        show(&comparison, options.all);
    }
    if comparison.holds() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn show(comparison: &Comparison, all: bool) {
    let rows: Vec<_> = comparison.rows.iter().filter(|row| all || row.change != Change::Same).collect();
    if !rows.is_empty() {
        let mut table = Table::new();
        table.load_style(presets::UTF8_BORDERS_ONLY).set_content_arrangement(ContentArrangement::Dynamic);
        table.set_header(["", "where", "what", "before", "now", "change", "why"]);
        for row in rows {
            let cells =
                [row.change.word(), &row.place, &row.what, &row.before, &row.after, &relative(row), &row.why];
            table.add_row(cells);
        }
        anstream::println!("{table}");
    }
    for difference in &comparison.differences {
        anstream::println!("differs: {difference}");
    }
    anstream::println!("{}", summary(comparison));
}

fn summary(comparison: &Comparison) -> String {
    let changes = [
        Change::Broken,
        Change::Regressed,
        Change::Missing,
        Change::Mended,
        Change::Improved,
        Change::Noise,
        Change::Added,
        Change::Same,
    ];
    let counted: Vec<_> = changes.iter().map(|c| format!("{} {}", comparison.count(*c), c.word())).collect();
    let verdict = if comparison.holds() { "Nothing got worse" } else { "Something got worse" };
    let percent = CHANGE_MIN * 100.0;
    format!("{verdict}: {} (a change counts above {percent} % and beyond the margins).", counted.join(", "))
}

fn relative(row: &Row) -> String {
    row.relative.map_or_else(String::new, |change| format!("{:+.1} %", change * 100.0))
}

fn as_json(comparison: &Comparison) -> Value {
    let row = |row: &Row| {
        json!({
            "change": row.change.word(),
            "fails": row.change.fails(),
            "place": row.place,
            "what": row.what,
            "before": row.before,
            "after": row.after,
            "relative": row.relative,
            "why": row.why,
        })
    };
    json!({
        "holds": comparison.holds(),
        "rows": comparison.rows.iter().map(row).collect::<Vec<_>>(),
        "differences": comparison.differences,
    })
}
