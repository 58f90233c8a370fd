//! `outcrop impact`: what a gateway itself takes.

pub(crate) mod show;

use std::process::ExitCode;

use clap::Args;
use http::Method;

use crate::operator;

/// Options of `outcrop impact`.
#[derive(Debug, Args)]
pub(crate) struct Shown {
    #[command(flatten)]
    gateway: operator::Options,
    /// Print JSON instead of tables.
    #[arg(long)]
    json: bool,
}

/// `outcrop impact`.
pub(crate) fn run(options: &Shown) -> ExitCode {
    let report = options.gateway.call(Method::GET, "/admin/v1/impact", None);
    operator::say(report, options.json, show::show)
}
