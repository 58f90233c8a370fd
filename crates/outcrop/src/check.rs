//! `outcrop check`: what a file puts in force.

pub(crate) mod prices;

use std::process::ExitCode;

use comfy_table::{ContentArrangement, Table, presets};
use outcrop_core::Usage;
use outcrop_core::decision::Standing;
use outcrop_core::operation::Operation;
use outcrop_policy::admission::{Class, Settings, Shares};
use outcrop_policy::ledger::{Amount, BudgetSpec};
use outcrop_policy::route::{Circumstances, Question, Routes, TargetSpec, target_name};
use outcrop_policy::{RateSpec, Residency};
use serde_json::{Value, json};

use crate::clock;
use crate::config::{self, Checked};

/// Prints the JSON schema of the file.
pub(crate) fn schema() -> ExitCode {
    anstream::println!("{:#}", config::schema());
    ExitCode::SUCCESS
}

/// Prints what is in force: for people as tables, for programs as JSON.
pub(crate) fn run(checked: &Checked, as_json: bool) -> ExitCode {
    if as_json {
        anstream::println!("{:#}", summary(checked));
        return ExitCode::SUCCESS;
    }
    anstream::println!("Listeners and limits");
    anstream::println!("{}", limits(checked));
    anstream::println!("\nOperations");
    anstream::println!("{}", operations(&checked.routes));
    if !checked.rates.is_empty() {
        anstream::println!("\nRate limits");
        anstream::println!("{}", rates(&checked.rates));
    }
    if !checked.budgets.is_empty() {
        anstream::println!("\nBudgets");
        anstream::println!("{}", budgets(&checked.budgets));
    }
    anstream::println!("\nLegal targets, in the order in which they are tried");
    anstream::println!("{}", targets(&checked.routes));
    ExitCode::SUCCESS
}

const RESIDENCIES: [(&str, Option<Residency>); 2] = [("any", None), ("eu", Some(Residency::Eu))];

/// An empty table for people.
pub(crate) fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(header);
    table
}

fn limits(checked: &Checked) -> Table {
    let mut table = table(&["what", "value"]);
    let listen = &checked.listen;
    let auth = if checked.open { "open (loopback only)" } else { "keys" };
    let tls = if listen.tls.is_some() { "yes" } else { "no" };
    for (what, value) in [
        ("data listener", listen.data.to_string()),
        ("TLS on it", tls.to_owned()),
        ("admin listener", listen.admin.to_string()),
        ("authentication", auth.to_owned()),
        ("request body", format!("{} bytes after decompression", checked.limits.body_bytes_max)),
        (
            "JSON",
            format!("depth {}, {} values", checked.limits.json.depth_max, checked.limits.json.nodes_max),
        ),
        (
            "request head",
            format!(
                "{} bytes, {} fields, read in {} s",
                listen.limits.header_bytes_max,
                listen.limits.header_fields_max,
                listen.limits.header_read_max.as_secs()
            ),
        ),
        ("connections", listen.limits.connections_max.to_string()),
        ("requests at once", format!("{}; {} when busy", checked.slots.max, checked.slots.min)),
        ("shares of them", shares(checked.slots.settings.shares)),
        ("queue", queue(&checked.slots.settings)),
        ("stream silence", format!("{} s", checked.streams.stall_max.as_secs())),
        ("stream life", format!("{} s", checked.streams.total_max.as_secs())),
        ("stalled reader", format!("{} s", checked.streams.reader_stall_max.as_secs())),
        ("drain", format!("{} s", listen.limits.drain_max.as_secs())),
    ] {
        table.add_row([what.to_owned(), value]);
    }
    table
}

fn shares(shares: Shares) -> String {
    let [emergency, critical, standard, low] =
        [Class::Emergency, Class::Critical, Class::Standard, Class::Low].map(|class| shares.percent(class));
    format!("emergency {emergency} %, critical {critical} %, high and medium {standard} %, low {low} %")
}

fn queue(settings: &Settings) -> String {
    let Settings { queue_max, queue_bytes_max, wait_max, .. } = settings;
    format!("{queue_max} requests, {queue_bytes_max} bytes, {} ms", wait_max.as_millis())
}

fn operations(routes: &Routes) -> Table {
    let mut table = table(&["operation", "priority", "deadline"]);
    for operation in &routes.operations {
        let deadline = format!("{} s", operation.deadline.as_secs_f64());
        table.add_row([&*operation.name, operation.priority.label(), &deadline]);
    }
    table
}

fn rates(rates: &[RateSpec]) -> Table {
    let mut table = table(&["scope", "limit", "at once"]);
    for rate in rates {
        table.add_row([rate.scope.to_string(), rate.to_string(), rate.burst().to_string()]);
    }
    table
}

fn budgets(budgets: &[BudgetSpec]) -> Table {
    let mut table = table(&["scope", "window", "limit", "kind", "for emergencies"]);
    for budget in budgets {
        let show = |amount: i64| Amount { amount, dimension: budget.dimension }.to_string();
        let kind = if budget.hard { "hard" } else { "soft" };
        let (scope, window) = (budget.scope.to_string(), budget.window.to_string());
        table.add_row([scope, window, show(budget.limit), kind.to_owned(), show(budget.carve_out)]);
    }
    table
}

/// One row per set of targets: operations and residencies that lead to the same ones stand together.
fn targets(routes: &Routes) -> Table {
    let mut table = table(&["model", "residency", "targets", "operations"]);
    for model in sorted(routes) {
        for (residency, required) in RESIDENCIES {
            let mut rows: Vec<(Vec<String>, Vec<&str>)> = Vec::new();
            for operation in &routes.operations {
                let legal = legal(routes, model, operation, required);
                match rows.iter_mut().find(|(targets, _)| *targets == legal) {
                    Some((_, names)) => names.push(&operation.name),
                    None => rows.push((legal, vec![&operation.name])),
                }
            }
            for (targets, names) in rows {
                let cell = if targets.is_empty() { "none".to_owned() } else { targets.join("\n") };
                table.add_row([model, residency, &cell, &names.join(", ")]);
            }
        }
    }
    table
}

fn sorted(routes: &Routes) -> Vec<&str> {
    let mut models: Vec<&str> = routes.models.keys().map(|m| &**m).collect();
    models.sort_unstable();
    models
}

/// The plan of a request that every path could carry.
fn legal(routes: &Routes, model: &str, operation: &Operation, residency: Option<Residency>) -> Vec<String> {
    let can_carry = |_: &TargetSpec, _: &str| true;
    let question = Question {
        model,
        operation,
        residency,
        hint: None,
        allowed: true,
        unix: clock::unix(),
        can_carry: &can_carry,
        standing: &|_, _| Standing::default(),
        usage: Usage::of(1_000, 500),
        circumstances: Circumstances::of(operation),
    };
    let choices = routes.plan(&question).map(|plan| plan.choices).unwrap_or_default();
    choices.iter().map(|c| target_name(&routes.target(c.target).path, &c.model_id)).collect()
}

fn summary(checked: &Checked) -> Value {
    let routes = &checked.routes;
    let mut legal_targets = Vec::new();
    for model in sorted(routes) {
        for operation in &routes.operations {
            for (residency, required) in RESIDENCIES {
                legal_targets.push(json!({
                    "model": model,
                    "operation": operation.name,
                    "residency": residency,
                    "targets": legal(routes, model, operation, required),
                }));
            }
        }
    }
    json!({
        "listen": {"data": checked.listen.data, "admin": checked.listen.admin, "tls": checked.listen.tls.is_some()},
        "auth": if checked.open { "open" } else { "keys" },
        "limits": {
            "body_bytes_max": checked.limits.body_bytes_max,
            "json_depth_max": checked.limits.json.depth_max,
            "json_nodes_max": checked.limits.json.nodes_max,
            "header_bytes_max": checked.listen.limits.header_bytes_max,
            "connections_max": checked.listen.limits.connections_max,
            "inflight_max": checked.slots.max,
            "inflight_min": checked.slots.min,
            "queue_max": checked.slots.settings.queue_max,
            "queue_bytes_max": checked.slots.settings.queue_bytes_max,
            "queue_wait_max_s": checked.slots.settings.wait_max.as_secs_f64(),
            "memory_max": checked.memory.max,
            "stream_stall_max_s": checked.streams.stall_max.as_secs_f64(),
            "stream_total_max_s": checked.streams.total_max.as_secs_f64(),
            "drain_max_s": checked.listen.limits.drain_max.as_secs_f64(),
        },
        "operations": routes.operations,
        "rates": checked.rates.iter().map(|rate| json!({
            "scope": rate.scope.to_string(), "limit": rate.to_string(), "burst": rate.burst(),
        })).collect::<Vec<_>>(),
        "budgets": checked.budgets.iter().map(|budget| json!({
            "id": budget.id, "scope": budget.scope.to_string(), "window": budget.window.to_string(),
            "dimension": budget.dimension, "limit": budget.limit, "hard": budget.hard,
            "carve_out": budget.carve_out, "shortage": budget.shortage, "input_count": budget.input_count,
        })).collect::<Vec<_>>(),
        "legal_targets": legal_targets,
    })
}
