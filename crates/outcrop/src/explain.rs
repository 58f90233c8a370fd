//! `outcrop explain`: why a request went where it went, or where a described one would go.
//!
//! By request id it shows the record that the running gateway keeps. A described request is decided by the
//! running gateway with what it knows of its targets; with `--offline` by a configuration file alone.

mod show;

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use http::Method;
use outcrop_core::Priority;
use outcrop_policy::Residency;
use outcrop_proxy::explain::World;
use outcrop_proxy::{Described, explain};
use serde_json::json;

use crate::cli::{EX_USAGE, refuse};
use crate::clock::unix;
use crate::config;
use crate::operator::{Options, say};

pub(crate) use self::show::{ms, usd};

/// Options of `outcrop explain`.
#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// The request, as `x-outcrop-request-id` names it.
    #[arg(long, value_name = "ID", required_unless_present = "model", conflicts_with_all = ["model", "offline"])]
    request_id: Option<String>,
    #[command(flatten)]
    described: Description,
    /// Decide by the configuration file alone, without a running gateway: nothing is known of the targets.
    #[arg(long)]
    offline: bool,
    #[command(flatten)]
    gateway: Options,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// A request as somebody describes it.
#[derive(Debug, Args)]
struct Description {
    /// Alias or raw id of the model.
    #[arg(long)]
    model: Option<String>,
    /// Operation. Default: `standard`.
    #[arg(long)]
    operation: Option<String>,
    /// `eu`: it stays inside the EU.
    #[arg(long, value_parser = residency)]
    residency: Option<Residency>,
    /// emergency, critical, high, medium or low; never higher than the operation's.
    #[arg(long, value_parser = priority)]
    priority: Option<Priority>,
    /// Milliseconds to its deadline; never longer than the operation's.
    #[arg(long, value_name = "MS")]
    deadline_ms: Option<u64>,
    /// Kind or name of the path that goes first, if it is legal.
    #[arg(long)]
    path: Option<String>,
    /// It asks for a stream.
    #[arg(long)]
    stream: bool,
    /// It offers tools.
    #[arg(long)]
    tools: bool,
    /// It asks for embeddings.
    #[arg(long)]
    embeddings: bool,
    /// A budget of it is nearly used up.
    #[arg(long)]
    money_is_short: bool,
    /// Its input tokens. Default: 1000.
    #[arg(long, value_name = "N")]
    input_tokens: Option<u64>,
    /// Its output tokens. Default: 500.
    #[arg(long, value_name = "N")]
    output_tokens: Option<u64>,
    /// Randomness; the same gives the same decision.
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

/// `outcrop explain`.
pub(crate) fn run(options: &Explain) -> ExitCode {
    if let Some(id) = &options.request_id {
        if !id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') || id.is_empty() {
            return refuse(&"a request id has letters, digits and hyphens only", EX_USAGE);
        }
        let record = options.gateway.call(Method::GET, &format!("/admin/v1/decisions/{id}"), None);
        return say(record, options.json, show::record);
    }
    let described = options.described.described();
    if options.offline {
        return offline(options, &described);
    }
    let explained = options.gateway.call(Method::POST, "/admin/v1/explain", Some(&json!(described)));
    say(explained, options.json, show::explained)
}

fn offline(options: &Explain, described: &Described) -> ExitCode {
    let checked = match config::load(options.gateway.config()) {
        Ok(checked) => checked,
        Err(problems) => return refuse(&problems, EX_USAGE),
    };
    let unix = Duration::from_secs(unix());
    let world = World { routes: &checked.routes, snapshot: 0, health: None, unix };
    match explain(world, described) {
        Ok(explained) => say(Ok(json!(explained)), options.json, show::explained),
        Err(failure) => refuse(&failure.message, EX_USAGE),
    }
}

impl Description {
    fn described(&self) -> Described {
        Described {
            model: self.model.clone().unwrap_or_default(),
            operation: self.operation.clone(),
            residency: self.residency,
            priority: self.priority,
            deadline_ms: self.deadline_ms,
            path: self.path.clone(),
            stream: self.stream,
            tools: self.tools,
            embeddings: self.embeddings,
            money_is_short: self.money_is_short,
            input_tokens: self.input_tokens,
            output_tokens: self.output_tokens,
            seed: self.seed,
        }
    }
}

fn residency(text: &str) -> Result<Residency, String> {
    Residency::parse(text).ok_or_else(|| "the residency there is: eu".to_owned())
}

fn priority(text: &str) -> Result<Priority, String> {
    let known = [Priority::Emergency, Priority::Critical, Priority::High, Priority::Medium, Priority::Low];
    let found = known.into_iter().find(|priority| priority.label() == text);
    found.ok_or_else(|| format!("one of {}", known.map(Priority::label).join(", ")))
}
