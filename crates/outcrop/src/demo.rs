//! `outcrop demo`: the lab, the gateway and a scripted story on loopback.
//!
//! Real sockets from end to end: the traffic goes through the same listener that clients use, to
//! simulated upstreams that keep their own billing record. The table at the end is counted by the
//! caller's side of the sockets, and the bill by the upstreams.

mod caller;
mod show;
mod story;
mod tally;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use outcrop_lab::{Lab, LabConfig};
use outcrop_upstream::{CredentialSpec, KindSpec};

use crate::cli::{EX_UNAVAILABLE, refuse};
use crate::config::{self, Checked};
use crate::serve::Running;

use caller::Caller;
use show::Show;
use tally::Tally;

/// Options of `outcrop demo`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// End after the story, with exit code 0 if no caller saw an error.
    #[arg(long)]
    once: bool,
    /// Requests per second.
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..=500))]
    rate: u32,
    /// Seed of the simulated upstreams.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

pub(crate) fn run(options: &Options) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return refuse(&error, EX_UNAVAILABLE),
    };
    match runtime.block_on(tell(options)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => refuse(&message, EX_UNAVAILABLE),
    }
}

/// Tells the story; returns whether every request was answered.
async fn tell(options: &Options) -> Result<bool, String> {
    let config = LabConfig { seed: options.seed, ..LabConfig::ephemeral() };
    let lab = Arc::new(Lab::start(config).await.map_err(|error| error.to_string())?);
    let checked = configuration(&lab)?;
    let running = Running::start(&checked, None).await.map_err(|error| error.to_string())?;
    let show = Show::start(&lab, &running);
    let tally = Arc::new(Tally::default());
    let caller = Arc::new(Caller::new(running.data)?);
    for scene in story::scenes() {
        show.scene(&scene);
        scene.prepare(&lab).await?;
        story::play(&scene, &caller, &tally, options.rate, &show).await;
    }
    let passed = show.summary(&tally, &lab, &running);
    if !options.once {
        show::invitation(&lab, &running);
        tokio::signal::ctrl_c().await.map_err(|error| error.to_string())?;
    }
    running.stop().await;
    if let Some(lab) = Arc::into_inner(lab) {
        lab.shutdown().await;
    }
    Ok(passed)
}

/// The demo's own file with the lab's addresses and credentials put in.
fn configuration(lab: &Lab) -> Result<Checked, String> {
    let mut text = include_str!("demo/demo.toml")
        .replace("{data}", &free_or_any(8080).to_string())
        .replace("{admin}", &free_or_any(9090).to_string());
    for target in ["fra", "dub", "desk", "openai", "anthropic"] {
        let url = lab.url(target).map_err(|error| error.to_string())?;
        text = text.replace(&format!("{{{target}}}"), &url);
    }
    let mut checked = config::parse("demo.toml", &text).map_err(|problems| problems.to_string())?;
    for path in &mut checked.paths {
        if let KindSpec::Bedrock(bedrock) = &mut path.kind {
            bedrock.credentials = CredentialSpec::StaticKeys {
                id: "AKIAOUTCROPLAB000001".into(),
                secret: "outcrop-lab-secret-key-000000000000000001".to_owned().into(),
                session: None,
            };
        }
    }
    Ok(checked)
}

/// The usual port if it is free, else any.
fn free_or_any(port: u16) -> SocketAddr {
    let usual = SocketAddr::from(([127, 0, 0, 1], port));
    match std::net::TcpListener::bind(usual) {
        Ok(_) => usual,
        Err(_) => SocketAddr::from(([127, 0, 0, 1], 0)),
    }
}
