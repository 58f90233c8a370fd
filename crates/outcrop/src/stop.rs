//! `outcrop stop` and `outcrop resume`: the emergency stop from a shell.

use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use comfy_table::{ContentArrangement, Table, presets};
use http::Method;
use outcrop_admin::stops::{ResumeOrder, StopOrder};
use outcrop_policy::Level;
use serde_json::{Value, json};

use crate::operator::{Options, say};

/// Options of `outcrop stop`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Stop {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    gateway: Options,
    /// What: `all`, or org, team, key, user, run, model, path, region, operation, tool with a name
    /// behind a colon (`key:ci`), joined with `+`.
    #[arg(long, default_value = "all")]
    scope: String,
    /// How hard: `drain` lets nothing new in, `stop` ends streams as well, `kill` cuts everything.
    #[arg(long, value_enum, default_value = "stop")]
    level: Hardness,
    /// Why; callers see it.
    #[arg(long, default_value = "no reason was given")]
    reason: String,
    #[command(flatten)]
    who: Who,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the stops in force.
    List(List),
}

#[derive(Debug, Args)]
struct List {
    #[command(flatten)]
    gateway: Options,
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
}

/// Options of `outcrop resume`.
#[derive(Debug, Args)]
pub(crate) struct Resume {
    /// Id of the stop, as `outcrop stop list` shows it.
    #[arg(conflicts_with = "scope")]
    id: Option<String>,
    /// Resume all stops of exactly this scope. Without an id or a scope: those of everything.
    #[arg(long)]
    scope: Option<String>,
    /// Let requests in little by little: 10 %, 50 %, all.
    #[arg(long)]
    staged: bool,
    #[command(flatten)]
    gateway: Options,
    #[command(flatten)]
    who: Who,
}

#[derive(Debug, Args)]
struct Who {
    /// Who you are, for the record and for `two_person_resume`.
    #[arg(long = "as", value_name = "NAME", env = "USER", default_value = "operator")]
    by: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Hardness {
    Drain,
    Stop,
    Kill,
}

impl From<Hardness> for Level {
    fn from(hardness: Hardness) -> Self {
        match hardness {
            Hardness::Drain => Self::Drain,
            Hardness::Stop => Self::Stop,
            Hardness::Kill => Self::Kill,
        }
    }
}

/// `outcrop stop`.
pub(crate) fn stop(options: &Stop) -> ExitCode {
    if let Some(Command::List(list)) = &options.command {
        let stops = list.gateway.call(Method::GET, "/admin/v1/stops", None);
        return say(stops, list.json, |stops| anstream::println!("{}", table(stops)));
    }
    let order = StopOrder {
        scope: Some(options.scope.clone()),
        level: Some(options.level.into()),
        reason: Some(options.reason.clone()),
        by: Some(options.who.by.clone()),
    };
    let done = options.gateway.call(Method::POST, "/admin/v1/stop", Some(&json!(order)));
    say(done, options.who.json, |done| {
        let stop = &done["stop"];
        let word = |field: &str| stop[field].as_str().unwrap_or_default().to_owned();
        anstream::println!("stopped {} ({}): {}", word("scope"), word("level"), word("id"));
        warn(done);
    })
}

/// `outcrop resume`.
pub(crate) fn resume(options: &Resume) -> ExitCode {
    let order = ResumeOrder {
        id: options.id.clone(),
        scope: options.scope.clone(),
        staged: options.staged,
        by: Some(options.who.by.clone()),
    };
    let done = options.gateway.call(Method::POST, "/admin/v1/resume", Some(&json!(order)));
    say(done, options.who.json, |done| {
        for word in ["resumed", "staged", "asked"] {
            for id in done[word].as_array().into_iter().flatten() {
                anstream::println!("{word} {}", id.as_str().unwrap_or_default());
            }
        }
        warn(done);
    })
}

fn warn(done: &Value) {
    if let Some(message) = done["message"].as_str() {
        anstream::eprintln!("outcrop: {message}");
    }
}

fn table(stops: &Value) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(["id", "scope", "level", "by", "reason", "since", "state"]);
    for stop in stops.as_array().into_iter().flatten() {
        let word = |field: &str| stop[field].as_str().unwrap_or_default().to_owned();
        let since = stop["since_ms"].as_i64().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
        let since = since.map(|at| at.strftime("%F %T UTC").to_string()).unwrap_or_default();
        table.add_row([
            word("id"),
            word("scope"),
            word("level"),
            word("by"),
            word("reason"),
            since,
            state(stop),
        ]);
    }
    table
}

fn state(stop: &Value) -> String {
    if let Some(percent) = stop["percent"].as_u64() {
        return format!("{percent} % let in");
    }
    if let Some(by) = stop["resume_asked_by"].as_str() {
        return format!("resume asked by {by}");
    }
    match stop["kept"].as_str() {
        Some("pending") => "not journalled".to_owned(),
        Some("outside") => "follows a cause".to_owned(),
        _ => "in force".to_owned(),
    }
}
