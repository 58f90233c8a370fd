//! The command line.
//!
//! What can fail on bad input fails here, before a runtime exists, with its own exit code: 64 bad
//! input, 69 something needed is not reachable, 1 failed.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::{
    budget, certify, check, config, demo, explain, flag, impact, key, lab, recommendations, replay, serve,
    stop, target,
};

/// Exit code of bad input (sysexits.h `EX_USAGE`).
pub const EX_USAGE: u8 = 64;
/// Exit code of something needed that cannot be had (sysexits.h `EX_UNAVAILABLE`).
pub const EX_UNAVAILABLE: u8 = 69;

/// A hybrid routing gateway for AI operations: Amazon Bedrock, MCP and other providers behind the
/// APIs that people already use, each request within its deadline, with failover before the caller
/// notices.
#[derive(Debug, Parser)]
#[command(name = "outcrop", version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// See it work: simulated upstreams, the gateway and a scripted story on loopback.
    Demo(demo::Options),
    /// Serve the gateway.
    Serve(serve::Options),
    /// Check a configuration and show what is in force.
    Check(Check),
    /// Run the simulated upstreams alone.
    Lab(lab::Options),
    /// Prove what is promised: load, latency, cost, failover, measured by callers and upstreams.
    Certify(certify::Options),
    /// Stop at once: everything, or one key, model, path, tool and so on.
    Stop(stop::Stop),
    /// Take a stop back.
    Resume(stop::Resume),
    /// See what is left of budgets, what is blocked, when it runs out; set limits, give evidence.
    #[command(subcommand)]
    Budget(budget::Command),
    /// Make keys.
    #[command(subcommand)]
    Key(key::Command),
    /// Say why a request went where it went, or where a described one would go.
    Explain(explain::Explain),
    /// Say what a new configuration would have changed, over recorded decisions.
    Replay(replay::Replay),
    /// Turn switches, paths, models and operations on and off at run time.
    #[command(subcommand)]
    Flag(flag::Command),
    /// See what the optimizer proposes, why, and what became of it.
    Recommendations(recommendations::Recommendations),
    /// See what the gateway itself takes: its time by step, its machine, alarms, at which rate it saturates.
    Impact(impact::Shown),
    /// See the health of targets; hold one serving or tripped by hand.
    #[command(subcommand)]
    Target(target::Command),
}

/// The configuration file.
#[derive(Debug, Clone, Args)]
pub struct File {
    /// Configuration file.
    #[arg(long, short, default_value = "outcrop.toml", env = "OUTCROP_CONFIG")]
    pub config: PathBuf,
}

#[derive(Debug, Args)]
struct Check {
    #[command(flatten)]
    file: File,
    /// Print the JSON schema of the configuration file instead.
    #[arg(long)]
    schema: bool,
    /// Show what every target costs, and who says so, instead.
    #[arg(long, conflicts_with = "schema")]
    prices: bool,
    /// Print JSON instead of tables.
    #[arg(long)]
    json: bool,
}

/// Runs the command line of this process.
pub fn run() -> ExitCode {
    let cli = match Cli::try_parse_from(certify::spelled(std::env::args_os())) {
        Ok(cli) => cli,
        Err(error) => {
            let code = if error.use_stderr() { EX_USAGE } else { 0 };
            // Nothing is left to do when the terminal is gone.
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    match cli.command {
        Command::Demo(options) => demo::run(&options),
        Command::Serve(options) => with_config(&options.file, |checked| serve::run(&checked, &options)),
        Command::Check(options) if options.schema => check::schema(),
        Command::Check(options) if options.prices => {
            with_config(&options.file, |checked| check::prices::run(&checked, options.json))
        }
        Command::Check(options) => with_config(&options.file, |checked| check::run(&checked, options.json)),
        Command::Lab(options) => lab::run(&options),
        Command::Certify(options) => certify::run(&options),
        Command::Stop(options) => stop::stop(&options),
        Command::Resume(options) => stop::resume(&options),
        Command::Budget(command) => budget::run(&command),
        Command::Key(command) => key::run(&command),
        Command::Explain(options) => explain::run(&options),
        Command::Replay(options) => replay::run(&options),
        Command::Flag(command) => flag::run(&command),
        Command::Recommendations(options) => recommendations::run(&options),
        Command::Impact(options) => impact::run(&options),
        Command::Target(command) => target::run(&command),
    }
}

/// Loads the file, or says what is wrong with it.
pub(crate) fn with_config(file: &File, run: impl FnOnce(config::Checked) -> ExitCode) -> ExitCode {
    match config::load(&file.config) {
        Ok(checked) => run(checked),
        Err(problems) => refuse(&problems, EX_USAGE),
    }
}

/// One message on stderr, and the exit code that goes with it.
pub(crate) fn refuse(message: &dyn std::fmt::Display, code: u8) -> ExitCode {
    anstream::eprintln!("outcrop: {message}");
    ExitCode::from(code)
}
