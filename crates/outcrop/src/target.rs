//! `outcrop target`: what is known of the targets, and holding one in a state by hand.

use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use http::Method;
use outcrop_admin::steering::ForceOrder;
use outcrop_policy::health::Forced;
use serde_json::{Value, json};

use crate::check::table;
use crate::operator::{Options, Order, say};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the targets with their health.
    List(List),
    /// Hold a target: `serving` whatever its attempts say, or `tripped` so that it gets none.
    Force(Force),
    /// Let a target go: its attempts decide again.
    Release(Release),
}

#[derive(Debug, Args)]
pub(crate) struct List {
    #[command(flatten)]
    gateway: Options,
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Force {
    /// The target, as `path/model id`.
    target: String,
    /// The state.
    #[arg(value_enum)]
    state: State,
    #[command(flatten)]
    order: Order,
}

#[derive(Debug, Args)]
pub(crate) struct Release {
    /// The target, as `path/model id`.
    target: String,
    #[command(flatten)]
    order: Order,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum State {
    Serving,
    Tripped,
}

/// `outcrop target`.
pub(crate) fn run(command: &Command) -> ExitCode {
    match command {
        Command::List(list) => {
            let targets = list.gateway.call(Method::GET, "/admin/v1/targets", None);
            say(targets, list.json, show)
        }
        Command::Force(force) => {
            let state = match force.state {
                State::Serving => Forced::Serving,
                State::Tripped => Forced::Tripped,
            };
            hold(&force.target, Some(state), &force.order)
        }
        Command::Release(release) => hold(&release.target, None, &release.order),
    }
}

fn hold(target: &str, state: Option<Forced>, order: &Order) -> ExitCode {
    let body = json!(ForceOrder { state, reason: order.reason.clone(), by: Some(order.by.clone()) });
    let done = order.gateway.call(Method::POST, &force_path(target), Some(&body));
    say(done, order.json, |done| {
        let held =
            done["forced"].as_str().map_or_else(|| "released".to_owned(), |state| format!("held {state}"));
        anstream::println!(
            "{target} is {held}; its breaker is {}",
            done["breaker"].as_str().unwrap_or_default()
        );
    })
}

/// The name is one segment of the path, whatever is in it.
fn force_path(target: &str) -> String {
    let kept = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte);
    let hex = |digit: u8| char::from_digit(u32::from(digit), 16).unwrap_or('0').to_ascii_uppercase();
    let mut path = String::from("/admin/v1/targets/");
    for byte in target.bytes() {
        if kept(byte) {
            path.push(char::from(byte));
        } else {
            path.extend(['%', hex(byte >> 4), hex(byte & 15)]);
        }
    }
    path + "/force"
}

fn show(targets: &Value) {
    let mut table = table(&["target", "models", "breaker", "held", "in flight", "success", "p50 / p95"]);
    for target in targets.as_array().into_iter().flatten() {
        let health = &target["health"];
        let models: Vec<&str> =
            target["models"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let breaker =
            if target["enabled"] == false { "off" } else { health["breaker"].as_str().unwrap_or_default() };
        let success = health["success_permille"].as_f64().map(|share| format!("{:.1} %", share / 10.0));
        table.add_row([
            target["name"].as_str().unwrap_or_default().to_owned(),
            models.join(", "),
            breaker.to_owned(),
            health["forced"].as_str().unwrap_or_default().to_owned(),
            health["in_flight"].to_string(),
            success.unwrap_or_default(),
            times(health),
        ]);
    }
    anstream::println!("{table}");
}

/// Half and 95 % of the answers of the shape of which more is known.
fn times(health: &Value) -> String {
    let of = |shape: &str| {
        let (p50, p95) = (health[shape]["p50_ms"].as_f64()?, health[shape]["p95_ms"].as_f64()?);
        Some(format!("{p50:.0} / {p95:.0} ms"))
    };
    let shown =
        [("streams", "stream "), ("wholes", "")].map(|(shape, word)| of(shape).map(|t| word.to_owned() + &t));
    shown.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_segment() {
        assert_eq!(force_path("fra/eu.x:0"), "/admin/v1/targets/fra%2Feu.x:0/force");
        assert_eq!(force_path("a/../%2f?"), "/admin/v1/targets/a%2F..%2F%252f%3F/force");
    }
}
