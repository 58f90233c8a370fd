//! The benchmark of the gateway against a bare reverse proxy on the same hyper version.
//!
//! One program with several roles: without a subcommand it measures; `origin`, `bare` and `guard` are the processes
//! it starts of itself. It measures what the machine does and prints it; it does not judge the gateway's answers
//! beyond "complete and in order", and it never touches a network other than loopback.
//! Invariant: every process it starts ends when it ends, on every exit path (each role watches its standard input).
#![allow(
    clippy::disallowed_methods,
    reason = "a measuring program reads the clock, starts processes and spawns tasks by nature"
)]

mod args;
mod asks;
mod bare;
mod bars;
mod cells;
mod exposition;
mod gateway;
mod guard;
mod load;
mod machine;
mod measure;
mod metering;
mod origin;
mod recorded;
mod report;
mod requests;
mod role;
mod spread;
mod streams;
mod verify;

use std::process::ExitCode;

use clap::Parser as _;
use tokio::runtime::{Builder, Runtime};

use crate::args::{Cli, RoleCommand};

/// The gateway runs on mimalloc, so the bare proxy does too: the ratio compares the proxies, not the allocators.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What ends a role or a measurement early.
#[derive(Debug, thiserror::Error)]
enum BenchError {
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("{0}")]
    Measure(#[from] measure::MeasureError),
    #[error("{0}")]
    Load(#[from] load::LoadError),
    #[error("{0}")]
    Report(#[from] report::ReportError),
}

fn main() -> ExitCode {
    // Test runners ask every target for its list of tests; this one has none.
    if std::env::args().any(|arg| arg == "--list") {
        return ExitCode::SUCCESS;
    }
    match run(Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            anstream::eprintln!("gateway bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<ExitCode, BenchError> {
    match cli.role {
        Some(RoleCommand::Origin(args)) => {
            role::end_with_stdin();
            single_threaded()?.block_on(origin::serve(&args))?;
        }
        Some(RoleCommand::Bare(args)) => {
            role::end_with_stdin();
            // As many workers as the gateway's own runtime starts: one per core.
            Builder::new_multi_thread().enable_all().build()?.block_on(bare::serve(args.upstream))?;
        }
        Some(RoleCommand::Guard(args)) => {
            let code = single_threaded()?.block_on(guard::watch(&args))?;
            std::process::exit(code);
        }
        Some(RoleCommand::Load(args)) => {
            single_threaded()?.block_on(requests::drive_once(&args))?;
        }
        None if cli.measure.cells => report::print_cells(),
        None if !cli.bench => {
            anstream::eprintln!(
                "nothing measured: run through `scripts/bench` or `cargo bench`, which pass --bench"
            );
        }
        None => return single_threaded()?.block_on(measure_and_report(&cli.measure)),
    }
    Ok(ExitCode::SUCCESS)
}

fn single_threaded() -> std::io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

async fn measure_and_report(args: &args::MeasureArgs) -> Result<ExitCode, BenchError> {
    let outcome = tokio::select! {
        outcome = measure::everything(args) => outcome?,
        () = role::interrupted() => {
            // Dropping the measurement ends every process it started.
            anstream::eprintln!("gateway bench: interrupted, nothing reported");
            return Ok(ExitCode::from(130));
        }
    };
    report::print(&outcome);
    if let Some(path) = &args.json {
        report::write_json(&outcome, path)?;
    }
    let failed = outcome.broken() || (args.enforce && outcome.missed());
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
