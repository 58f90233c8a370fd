//! `outcrop lab`: the simulated upstreams alone.

use std::net::{IpAddr, Ipv4Addr};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use outcrop_lab::{Lab, LabConfig};

use crate::cli::{EX_UNAVAILABLE, refuse};

/// Options of `outcrop lab`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    command: Option<Sub>,
    /// First of six consecutive ports: control, fra, desk (MCP), dub, openai, anthropic. 0 takes free
    /// ports.
    #[arg(long, default_value_t = 9100)]
    port_base: u16,
    /// Address of all listeners. Nothing of the lab is authenticated: keep it where only your tests are.
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    host: IpAddr,
    /// Seed of all randomness.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Print the listeners as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Sub {
    /// The MCP server alone, on standard input and output.
    McpStdio,
}

pub(crate) fn run(options: &Options) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return refuse(&error, EX_UNAVAILABLE),
    };
    let ended = runtime.block_on(async {
        match options.command {
            Some(Sub::McpStdio) => outcrop_lab::mcp::serve_stdio().await.map_err(|error| error.to_string()),
            None => serve(options).await,
        }
    });
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => refuse(&message, EX_UNAVAILABLE),
    }
}

async fn serve(options: &Options) -> Result<(), String> {
    let port = |n: u16| match options.port_base {
        0 => 0,
        base => base.saturating_add(n),
    };
    let config = LabConfig {
        host: options.host,
        control: port(0),
        fra: port(1),
        desk: port(2),
        dub: port(3),
        openai: port(4),
        anthropic: port(5),
        seed: options.seed,
    };
    let lab = Lab::start(config).await.map_err(|error| error.to_string())?;
    announce(&lab, options.json);
    tokio::signal::ctrl_c().await.map_err(|error| error.to_string())?;
    lab.shutdown().await;
    Ok(())
}

fn announce(lab: &Lab, json: bool) {
    let listeners = lab.listeners();
    if json {
        let map: serde_json::Map<String, serde_json::Value> =
            listeners.iter().map(|l| (l.name.clone(), l.url.clone().into())).collect();
        anstream::println!("{}", serde_json::Value::Object(map));
        return;
    }
    for listener in &listeners {
        anstream::println!("{:<10} {}", listener.name, listener.url);
    }
    anstream::println!("\nstop with Ctrl-C; scripts and billing records: see docs/lab.md");
}
