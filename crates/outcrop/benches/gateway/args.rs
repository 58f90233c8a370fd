//! The command line: what to measure, and the roles the program starts of itself.
//!
//! It knows nothing of how a figure is taken. Defaults here are the published method; `--quick` only shortens it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::cells::Pair;

/// Benchmark of the gateway against a bare reverse proxy.
#[derive(Parser)]
#[command(name = "gateway", args_conflicts_with_subcommands = false)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) role: Option<RoleCommand>,
    #[command(flatten)]
    pub(crate) measure: MeasureArgs,
    /// Passed by `cargo bench`; without it nothing is measured, so that `cargo test --all-targets` stays quick.
    #[arg(long, hide = true, global = true)]
    pub(crate) bench: bool,
}

/// What to measure and for how long.
#[derive(Args)]
pub(crate) struct MeasureArgs {
    /// Short rounds: 2 rounds of 0.5 s, one round of streams. For a look, not for publication
    #[arg(long)]
    pub(crate) quick: bool,
    /// Only cells whose name contains this; may be repeated
    #[arg(long, value_name = "CELL")]
    pub(crate) only: Vec<String>,
    /// Print the names of the cells and end
    #[arg(long)]
    pub(crate) cells: bool,
    /// Measure the bare proxy against a second bare proxy: the ratio must be 1
    #[arg(long)]
    pub(crate) self_check: bool,
    /// Interleaved rounds per request cell
    #[arg(long)]
    rounds: Option<usize>,
    /// Seconds measured per proxy and round
    #[arg(long)]
    seconds: Option<f64>,
    /// Interleaved rounds per stream cell, each on fresh processes
    #[arg(long)]
    stream_rounds: Option<usize>,
    /// Concurrent streams
    #[arg(long, default_value_t = 1000)]
    pub(crate) streams: usize,
    /// Content events per stream
    #[arg(long, default_value_t = 50)]
    pub(crate) events: usize,
    /// Milliseconds between two events of a stream
    #[arg(long, default_value_t = 100)]
    pub(crate) pace_ms: u64,
    /// The gateway's binary; by default the one built beside this program
    #[arg(long, value_name = "FILE")]
    pub(crate) gateway: Option<PathBuf>,
    /// Environment for the gateway, NAME=VALUE; may be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) gateway_env: Vec<String>,
    /// Lines appended to the generated configuration of the gateway
    #[arg(long, value_name = "FILE")]
    pub(crate) gateway_config_extra: Option<PathBuf>,
    /// Keep what the gateway writes to its standard output and error, the last start's, in this file
    #[arg(long, value_name = "FILE")]
    pub(crate) gateway_log: Option<PathBuf>,
    /// Write every figure as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Exit 1 if a bar is missed
    #[arg(long)]
    pub(crate) enforce: bool,
}

impl MeasureArgs {
    /// Rounds per request cell.
    pub(crate) fn rounds(&self) -> usize {
        self.rounds.unwrap_or(if self.quick { 2 } else { 5 }).max(1)
    }

    /// Rounds per stream cell.
    pub(crate) fn stream_rounds(&self) -> usize {
        self.stream_rounds.unwrap_or(if self.quick { 1 } else { 3 }).max(1)
    }

    /// Measured time per proxy and round.
    pub(crate) fn window(&self) -> Duration {
        let default = if self.quick { 0.5 } else { 2.0 };
        Duration::from_secs_f64(self.seconds.unwrap_or(default).clamp(0.05, 600.0))
    }
}

/// The processes this program starts of itself; they end when their standard input does.
#[derive(Subcommand)]
pub(crate) enum RoleCommand {
    /// The instant upstream; prints its address
    Origin(OriginArgs),
    /// The bare reverse proxy; prints its address
    Bare(BareArgs),
    /// Runs another program and ends it when standard input ends; prints its process id
    Guard(GuardArgs),
    /// Drives one address once, to cross-check with another load generator
    Load(LoadArgs),
}

/// The upstream's answers.
#[derive(Args)]
pub(crate) struct OriginArgs {
    /// Answer chat completions as streams, with this pause between events; without it, whole and at once
    #[arg(long)]
    pub(crate) pace_ms: Option<u64>,
    /// Content events per stream
    #[arg(long, default_value_t = 50)]
    pub(crate) events: usize,
}

/// Where the bare proxy sends everything.
#[derive(Args)]
pub(crate) struct BareArgs {
    /// The one upstream
    #[arg(long)]
    pub(crate) upstream: SocketAddr,
}

/// The guarded program.
#[derive(Args)]
pub(crate) struct GuardArgs {
    /// The program's working directory
    #[arg(long)]
    pub(crate) directory: PathBuf,
    /// File for the program's standard output and error
    #[arg(long)]
    pub(crate) log: PathBuf,
    /// Program and arguments
    #[arg(last = true, required = true)]
    pub(crate) command: Vec<String>,
}

/// One closed-loop run against one address.
#[derive(Args)]
pub(crate) struct LoadArgs {
    /// Address of the proxy or the upstream
    #[arg(long)]
    pub(crate) target: SocketAddr,
    /// What to send
    #[arg(long, value_enum, default_value = "openai-openai")]
    pub(crate) pair: Pair,
    /// Bytes of the request body
    #[arg(long, default_value_t = 300)]
    pub(crate) body_bytes: usize,
    /// Connections
    #[arg(long, default_value_t = 64)]
    pub(crate) connections: usize,
    /// Seconds
    #[arg(long, default_value_t = 2.0)]
    pub(crate) seconds: f64,
    /// Process whose CPU time is charged to the requests
    #[arg(long)]
    pub(crate) pid: Option<u32>,
    /// Write the request body to this file and end, for other load generators
    #[arg(long, value_name = "FILE")]
    pub(crate) dump_body: Option<PathBuf>,
}
