//! `outcrop flag`: switches, paths, models and operations, on or off at run time.

use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use http::Method;
use outcrop_admin::steering::FlagOrder;
use serde_json::{Value, json};

use crate::check::table;
use crate::operator::{Options, Order, say};

/// The path of the flags in the operator's API.
const FLAGS: &str = "/admin/v1/flags";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the flags, how they stand, and who turned them.
    List(List),
    /// Turn a flag on or off; in force at once, on every replica within a second.
    Set(Set),
    /// Let the configuration file say again how a flag stands.
    Reset(Reset),
}

#[derive(Debug, Args)]
pub(crate) struct List {
    #[command(flatten)]
    gateway: Options,
    /// Only what was turned.
    #[arg(long)]
    set: bool,
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Set {
    /// A switch (`hedging`), or `path:`, `model:`, `operation:` and a name.
    flag: String,
    /// How it is to stand.
    #[arg(value_enum)]
    to: OnOff,
    #[command(flatten)]
    order: Order,
}

#[derive(Debug, Args)]
pub(crate) struct Reset {
    /// A switch (`hedging`), or `path:`, `model:`, `operation:` and a name.
    flag: String,
    #[command(flatten)]
    order: Order,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum OnOff {
    On,
    Off,
}

/// `outcrop flag`.
pub(crate) fn run(command: &Command) -> ExitCode {
    match command {
        Command::List(list) => {
            let flags = list.gateway.call(Method::GET, FLAGS, None);
            say(flags, list.json, |flags| show(flags, list.set))
        }
        Command::Set(set) => turn(&set.flag, Some(set.to == OnOff::On), &set.order),
        Command::Reset(reset) => turn(&reset.flag, None, &reset.order),
    }
}

fn turn(flag: &str, on: Option<bool>, order: &Order) -> ExitCode {
    let (reason, by) = (order.reason.clone(), Some(order.by.clone()));
    let body = json!(FlagOrder { flag: flag.to_owned(), on, reason, by });
    let done = order.gateway.call(Method::POST, FLAGS, Some(&body));
    say(done, order.json, |done| {
        anstream::println!("{flag} is {} (was {})", word(&done["on"]), word(&done["was"]));
        if done["durable"] == false && on.is_some() {
            anstream::eprintln!("outcrop: it holds as long as the gateway lives: its store is in memory");
        }
    })
}

fn show(flags: &Value, only_set: bool) {
    let mut table = table(&["flag", "is", "by the file", "turned by", "reason"]);
    for row in flags.as_array().into_iter().flatten().filter(|row| !only_set || row["set"].is_object()) {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        table.add_row([
            text(&row["flag"]),
            word(&row["on"]).to_owned(),
            word(&row["file"]).to_owned(),
            text(&row["set"]["by"]),
            text(&row["set"]["reason"]),
        ]);
    }
    anstream::println!("{table}");
}

fn word(on: &Value) -> &'static str {
    if on == true { "on" } else { "off" }
}
