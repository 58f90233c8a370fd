//! `outcrop budget`: what is left, what is blocked and why, when it runs out; and the ways to change it.
//!
//! Every command asks the running gateway over the operator's socket.

mod csv;
mod show;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use http::Method;
use outcrop_admin::budgets::{LimitOrder, ReconcileOrder};
use serde_json::{Value, json};

use crate::cli::{EX_USAGE, refuse};
use crate::operator::{OperatorError, Options};

/// Records of a log that go into one order.
const RECORDS_PER_ORDER: usize = 500;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// What is left of every budget, and when it runs out.
    List(Plain),
    /// One budget or scope: also what is in suspense and why, and which thresholds were crossed.
    Show(Show),
    /// Set a limit over that of the file; or take it back with `--file-limit`.
    Set(Set),
    /// Give evidence for what is in suspense.
    Reconcile(Reconcile),
    /// Print what was spent, attempt groups by day, as CSV.
    Export(Export),
    /// What was spent, by whom and for what.
    Spend(Spend),
    /// Thresholds that were crossed, budgets that burn too fast, and what the gateway takes too much of.
    Alerts(Plain),
    /// The wall clock is right although it has run ahead.
    ConfirmClock(Plain),
}

#[derive(Debug, Args)]
pub(crate) struct Plain {
    #[command(flatten)]
    gateway: Options,
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Show {
    /// Id of a budget, its scope (`key:*`), or the scope of one account (`key:ci`).
    scope: String,
    #[command(flatten)]
    plain: Plain,
}

#[derive(Debug, Args)]
pub(crate) struct Set {
    /// Id or scope of a budget of the file.
    scope: String,
    /// The limit: "200 USD", "5 Mtok", "1000 requests".
    #[arg(long, required_unless_present = "file_limit")]
    limit: Option<String>,
    /// Take back what was set: the limit of the file holds again.
    #[arg(long, conflicts_with = "limit")]
    file_limit: bool,
    #[command(flatten)]
    who: Who,
}

#[derive(Debug, Args)]
pub(crate) struct Who {
    #[command(flatten)]
    plain: Plain,
    /// Who you are, for the record.
    #[arg(long = "as", value_name = "NAME", env = "USER", default_value = "operator")]
    by: String,
}

#[derive(Debug, Args)]
#[group(id = "evidence", required = true, multiple = false, args = ["attempt", "log", "replica"])]
pub(crate) struct Reconcile {
    /// An attempt in suspense, as `show` lists it.
    #[arg(long, requires = "reason")]
    attempt: Option<String>,
    /// What it has cost: "0.01 USD".
    #[arg(long, requires = "attempt")]
    cost: Option<String>,
    /// Its input tokens.
    #[arg(long, requires = "attempt")]
    input_tokens: Option<u64>,
    /// Its output tokens.
    #[arg(long, requires = "attempt")]
    output_tokens: Option<u64>,
    /// A Bedrock model invocation log, one JSON record a line.
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// A replica that has ended without a word and never comes back.
    #[arg(long, value_name = "ID")]
    replica: Option<String>,
    /// Why this is so.
    #[arg(long)]
    reason: Option<String>,
    #[command(flatten)]
    who: Who,
}

#[derive(Debug, Args)]
pub(crate) struct Period {
    /// First day (2026-01-31) or moment.
    #[arg(long)]
    from: Option<String>,
    /// Last day, or the moment before which.
    #[arg(long)]
    to: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Export {
    /// Print CSV (RFC 4180).
    #[arg(long, required = true)]
    csv: bool,
    /// How it is grouped.
    #[arg(long, default_value = "day,org,team,key,user,run,model,path,operation")]
    by: String,
    #[command(flatten)]
    period: Period,
    #[command(flatten)]
    gateway: Options,
}

#[derive(Debug, Args)]
pub(crate) struct Spend {
    /// Of org, team, key, user, run, model, path, operation, tool, target, day.
    #[arg(long, default_value = "key")]
    by: String,
    #[command(flatten)]
    period: Period,
    #[command(flatten)]
    plain: Plain,
}

pub(crate) fn run(command: &Command) -> ExitCode {
    let get = |plain: &Plain, path: &str| plain.gateway.call(Method::GET, path, None);
    match command {
        Command::List(plain) => say(get(plain, "/admin/v1/budgets"), plain.json, show::list),
        Command::Show(options) => {
            let path = format!("/admin/v1/budgets?{}", query(&[("budget", Some(&options.scope))]));
            say(get(&options.plain, &path), options.plain.json, show::one)
        }
        Command::Set(options) => set(options),
        Command::Reconcile(options) => reconcile(options),
        Command::Export(options) => {
            let spent = options.gateway.call(Method::GET, &spend(&options.by, &options.period), None);
            say(spent, false, csv::of)
        }
        Command::Spend(options) => {
            let spent = get(&options.plain, &spend(&options.by, &options.period));
            say(spent, options.plain.json, show::spend)
        }
        Command::Alerts(plain) => say(get(plain, "/admin/v1/alerts"), plain.json, show::alerts),
        Command::ConfirmClock(plain) => {
            let done = plain.gateway.call(Method::POST, "/admin/v1/clock/confirm", None);
            say(done, plain.json, |done| match done["was_frozen"].as_bool() {
                Some(true) => "the wall clock is believed again\n".to_owned(),
                Some(false) | None => "the wall clock was not in doubt\n".to_owned(),
            })
        }
    }
}

fn say(done: Result<Value, OperatorError>, as_json: bool, show: impl FnOnce(&Value) -> String) -> ExitCode {
    match done {
        Ok(done) if as_json => anstream::println!("{done:#}"),
        Ok(done) => anstream::print!("{}", show(&done)),
        Err(error) => return error.refuse(),
    }
    ExitCode::SUCCESS
}

fn query(pairs: &[(&str, Option<&String>)]) -> String {
    let mut text = url::form_urlencoded::Serializer::new(String::new());
    for (name, value) in pairs {
        if let Some(value) = value {
            text.append_pair(name, value);
        }
    }
    text.finish()
}

fn spend(by: &String, period: &Period) -> String {
    let pairs = [("by", Some(by)), ("from", period.from.as_ref()), ("to", period.to.as_ref())];
    format!("/admin/v1/spend?{}", query(&pairs))
}

fn set(options: &Set) -> ExitCode {
    let order = LimitOrder {
        budget: options.scope.clone(),
        limit: options.limit.clone(),
        by: Some(options.who.by.clone()),
    };
    let done = options.who.plain.gateway.call(Method::PUT, "/admin/v1/budgets", Some(&json!(order)));
    say(done, options.who.plain.json, |done| {
        let limit = show::amount(&done["limit"], &done["dimension"]);
        format!("{} has a limit of {limit}\n", done["id"].as_str().unwrap_or_default())
    })
}

fn reconcile(options: &Reconcile) -> ExitCode {
    let order = ReconcileOrder {
        attempt: options.attempt.clone(),
        cost: options.cost.clone(),
        input_tokens: options.input_tokens,
        output_tokens: options.output_tokens,
        log: Vec::new(),
        replica: options.replica.clone(),
        reason: options.reason.clone(),
        by: Some(options.who.by.clone()),
    };
    let records = match options.log.as_deref().map(records).transpose() {
        Ok(records) => records,
        Err(message) => return refuse(&message, EX_USAGE),
    };
    let plain = &options.who.plain;
    let tell =
        |order: &ReconcileOrder| plain.gateway.call(Method::POST, "/admin/v1/reconcile", Some(&json!(order)));
    let Some(records) = records else { return say(tell(&order), plain.json, show::reconciled) };
    let (mut resolved, mut refused, mut unmatched) = (Vec::new(), Vec::new(), 0);
    for batch in records.chunks(RECORDS_PER_ORDER) {
        match tell(&ReconcileOrder { log: batch.to_vec(), ..order.clone() }) {
            Ok(done) => {
                resolved.extend(done["resolved"].as_array().into_iter().flatten().cloned());
                refused.extend(done["refused"].as_array().into_iter().flatten().cloned());
                unmatched += done["unmatched"].as_u64().unwrap_or(0);
            }
            Err(error) => return error.refuse(),
        }
    }
    let is_whole = refused.is_empty();
    let all = json!({"resolved": resolved, "refused": refused, "unmatched": unmatched});
    let code = say(Ok(all), plain.json, show::reconciled);
    if is_whole { code } else { ExitCode::FAILURE }
}

/// The records of a log, without the prompts and answers that stand in it too.
fn records(file: &Path) -> Result<Vec<Value>, String> {
    let text = std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let slim = |(n, line): (usize, &str)| {
        let at = |error| format!("{}:{}: this is no JSON: {error}", file.display(), n + 1);
        let record: Value = serde_json::from_str(line).map_err(at)?;
        let counts = |side: &str, names: &[&str]| -> Value {
            names.iter().map(|name| ((*name).to_owned(), record[side][*name].clone())).collect()
        };
        let input = ["inputTokenCount", "cacheReadInputTokenCount", "cacheWriteInputTokenCount"];
        Ok(json!({
            "requestId": record["requestId"],
            "input": counts("input", &input),
            "output": counts("output", &["outputTokenCount"]),
        }))
    };
    lines.map(slim).collect()
}
