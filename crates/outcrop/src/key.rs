//! `outcrop key`: keys are shown once and stored as a hash.
//!
//! The commands ask the running gateway over the operator's socket. Where none runs and the store is
//! durable, they open the store themselves. `row` needs neither: it prints a row for the file.

mod local;
mod row;
mod show;

use std::process::ExitCode;

use clap::{Args, Subcommand};
use http::Method;
use outcrop_core::Role;
use outcrop_policy::Residency;
use outcrop_store::keys::Wanted;
use serde_json::{Value, json};

use crate::cli::{EX_USAGE, refuse};
use crate::operator::{self, OperatorError};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a key: prints it once.
    New(New),
    /// List keys; never what is secret about them.
    List(List),
    /// Revoke a key by its name, its prefix or its access key id; at once, and for good.
    Revoke(Revoke),
    /// Make a key for the file: prints it once, and the row that goes into the configuration.
    Row(row::Row),
}

#[derive(Debug, Args)]
pub(crate) struct New {
    #[command(flatten)]
    gateway: operator::Options,
    /// Name of the key: budgets, limits and stops can speak of it.
    #[arg(long)]
    name: String,
    /// Team of the key.
    #[arg(long, default_value = "")]
    team: String,
    /// Organisation of the key.
    #[arg(long, default_value = "")]
    org: String,
    /// What it is for: client (calls models), viewer, operator or admin (use the operator's API).
    #[arg(long, default_value = "client", value_parser = role)]
    role: Role,
    /// What an operator's key may administer, as scopes. Default: its team, or everything.
    #[arg(long, value_delimiter = ',')]
    manages: Vec<String>,
    /// Models it may use. Default: all.
    #[arg(long, value_delimiter = ',')]
    models: Option<Vec<String>>,
    /// Operations it may ask for. Default: all.
    #[arg(long, value_delimiter = ',')]
    operations: Option<Vec<String>>,
    /// `eu`: its requests stay inside the EU.
    #[arg(long, value_parser = residency)]
    residency: Option<Residency>,
    /// When it ends: 90d, 2027-01-31 or 2027-01-31T12:00:00Z. Default: never.
    #[arg(long)]
    expires: Option<String>,
    /// Make an AWS pair too, for clients that sign.
    #[arg(long)]
    aws: bool,
    /// It may name raw Bedrock ids.
    #[arg(long)]
    raw_models: bool,
    /// A refusal for lack of budget is a 429 instead of a 402.
    #[arg(long)]
    refusal_429: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct List {
    #[command(flatten)]
    gateway: operator::Options,
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Revoke {
    #[command(flatten)]
    gateway: operator::Options,
    /// Name, prefix or access key id; a name revokes every key of that name.
    #[arg(value_name = "NAME|PREFIX")]
    which: String,
}

fn role(text: &str) -> Result<Role, String> {
    Role::parse(text).ok_or_else(|| "known: client, viewer, operator, admin".to_owned())
}

fn residency(text: &str) -> Result<Residency, String> {
    if text == "eu" { Ok(Residency::Eu) } else { Err("known: eu".to_owned()) }
}

pub(crate) fn run(command: &Command) -> ExitCode {
    match command {
        Command::New(new) => done(make(new)),
        Command::List(list) => done(ask(&list.gateway, &Method::GET, KEYS, None).map(|keys| {
            if list.json {
                anstream::println!("{keys:#}");
            } else {
                anstream::println!("{}", show::table(&keys));
            }
        })),
        Command::Revoke(which) => revoke(which),
        Command::Row(row) => row::run(row),
    }
}

const KEYS: &str = "/admin/v1/keys";

fn done(result: Result<(), OperatorError>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => error.refuse(),
    }
}

/// Asks the gateway, or the store where no gateway runs.
fn ask(
    gateway: &operator::Options,
    method: &Method,
    path: &str,
    body: Option<&Value>,
) -> Result<Value, OperatorError> {
    match gateway.call(method.clone(), path, body) {
        Err(unreachable @ OperatorError::Unreachable { .. }) => {
            local::ask(gateway.config(), method, path, body).unwrap_or(Err(unreachable))
        }
        answered => answered,
    }
}

fn make(new: &New) -> Result<(), OperatorError> {
    let wanted = Wanted {
        org: new.org.clone(),
        team: new.team.clone(),
        manages: new.manages.clone(),
        models: new.models.clone(),
        operations: new.operations.clone(),
        residency: new.residency,
        raw_models: new.raw_models,
        refusal_429: new.refusal_429,
        expires: new.expires.clone(),
        aws: new.aws,
        ..Wanted::named(&new.name, new.role)
    };
    let made = ask(&new.gateway, &Method::POST, KEYS, Some(&json!(wanted)))?;
    if made["kept"] == false {
        anstream::eprintln!("There is no durable store: this key ends when the gateway does.");
    }
    if new.json {
        anstream::println!("{made:#}");
        return Ok(());
    }
    anstream::eprintln!("The key, shown this once:");
    anstream::println!("{}", made["key"].as_str().unwrap_or_default());
    if let (Some(id), Some(secret)) = (made["access_key_id"].as_str(), made["secret_access_key"].as_str()) {
        anstream::eprintln!("\nThe AWS pair, shown this once; any region will do:");
        anstream::println!("AWS_ACCESS_KEY_ID={id}\nAWS_SECRET_ACCESS_KEY={secret}");
    }
    Ok(())
}

fn revoke(options: &Revoke) -> ExitCode {
    let keys = match ask(&options.gateway, &Method::GET, KEYS, None) {
        Ok(keys) => keys,
        Err(error) => return error.refuse(),
    };
    let which = options.which.as_str();
    let prefixes = show::named(&keys, which);
    if prefixes.is_empty() {
        let text = format!("no key that could be revoked is called `{which}`; `outcrop key list` shows them");
        return refuse(&text, EX_USAGE);
    }
    for prefix in prefixes {
        if let Err(error) = ask(&options.gateway, &Method::DELETE, &format!("{KEYS}/{prefix}"), None) {
            return error.refuse();
        }
        anstream::println!("revoked {prefix}");
    }
    ExitCode::SUCCESS
}
