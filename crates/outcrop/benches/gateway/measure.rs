//! The whole measurement: request cells on one set of processes, stream cells on fresh ones.
//!
//! Nothing else of the benchmark runs while a proxy is measured. Progress goes to standard error.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::args::MeasureArgs;
use crate::asks::Call;
use crate::bars::{self, Verdict};
use crate::cells::{Lane, RequestCell, StreamCell, request_cells, stream_cells};
use crate::exposition::{DecisionBuckets, DecisionTime};
use crate::gateway::{GatewaySetup, Proxy, ProxyError, Subject};
use crate::load::LoadError;
use crate::machine::Machine;
use crate::requests::{self, Bench, RequestResult};
use crate::role::{Role, StartError};
use crate::streams::{self, StreamResult, StreamRound, StreamsError};

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MeasureError {
    /// The upstream did not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A proxy did not start.
    #[error(transparent)]
    Proxy(#[from] ProxyError),
    /// The load did not run.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The streams did not run.
    #[error(transparent)]
    Streams(#[from] StreamsError),
    /// A proxy does not give the recorded answer.
    #[error("{cell} through the {lane:?} proxy: {source}")]
    Wrong {
        /// Cell.
        cell: String,
        /// Proxy.
        lane: Lane,
        /// What came instead.
        source: LoadError,
    },
    /// Paths.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// Command line or files.
    #[error("{0}")]
    Setup(String),
}

/// How long and how often, as used.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Method {
    pub(crate) rounds: usize,
    pub(crate) seconds_per_proxy_and_round: f64,
    pub(crate) stream_rounds: usize,
    pub(crate) streams: usize,
    pub(crate) events_per_stream: usize,
    pub(crate) pace_ms: u64,
    pub(crate) subject: String,
}

/// Everything measured.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Outcome {
    pub(crate) machine: Machine,
    pub(crate) method: Method,
    pub(crate) self_check: bool,
    pub(crate) requests: Vec<RequestResult>,
    pub(crate) streams: Vec<StreamResult>,
    /// Resident memory of each started subject before its first request.
    pub(crate) idle_mib: Vec<f64>,
    /// The same of the bare proxies.
    pub(crate) bare_idle_mib: Vec<f64>,
    pub(crate) decision: Option<DecisionTime>,
    pub(crate) verdicts: Vec<Verdict>,
}

impl Outcome {
    /// Whether a bar was measured and missed.
    pub(crate) fn missed(&self) -> bool {
        self.verdicts.iter().any(|verdict| verdict.met == Some(false))
    }

    /// Whether the harness itself is at fault: a self-check must find itself even.
    pub(crate) fn broken(&self) -> bool {
        self.self_check && self.missed()
    }
}

/// What the processes showed besides the cells.
#[derive(Default)]
struct Sightings {
    idle_mib: Vec<f64>,
    bare_idle_mib: Vec<f64>,
    decisions: DecisionBuckets,
}

impl Sightings {
    fn started(&mut self, bare: &Proxy, subject: &Proxy) {
        let mib = |proxy: &Proxy| proxy.idle.rss_kib as f64 / 1024.0;
        self.bare_idle_mib.push(mib(bare));
        self.idle_mib.push(mib(subject));
    }

    async fn ending(&mut self, subject: &Proxy) {
        if let Some(page) = subject.metrics().await {
            self.decisions.add(&page);
        }
    }
}

/// Measures every wanted cell.
pub(crate) async fn everything(args: &MeasureArgs) -> Result<Outcome, MeasureError> {
    let machine = Machine::here();
    let subject = subject(args)?;
    let (request_cells, stream_cells) = (request_cells(&args.only), stream_cells(&args.only));
    if request_cells.is_empty() && stream_cells.is_empty() {
        return Err(MeasureError::Setup("no cell matches --only; --cells lists them".to_owned()));
    }
    let mut seen = Sightings::default();
    let requests = measure_requests(args, &subject, &request_cells, &mut seen).await?;
    let streams = measure_streams(args, &subject, &stream_cells, &mut seen).await?;
    let decision = seen.decisions.p99();
    let verdicts = if args.self_check {
        bars::judge_self_check(&requests, &streams)
    } else {
        bars::judge(&requests, &streams, &seen.idle_mib, decision.as_ref())
    };
    Ok(Outcome {
        machine,
        method: method(args, &subject),
        self_check: args.self_check,
        requests,
        streams,
        idle_mib: seen.idle_mib,
        bare_idle_mib: seen.bare_idle_mib,
        decision,
        verdicts,
    })
}

fn method(args: &MeasureArgs, subject: &Subject) -> Method {
    Method {
        rounds: args.rounds(),
        seconds_per_proxy_and_round: args.window().as_secs_f64(),
        stream_rounds: args.stream_rounds(),
        streams: args.streams,
        events_per_stream: args.events,
        pace_ms: args.pace_ms,
        subject: match subject {
            Subject::Bare => "a second bare proxy".to_owned(),
            Subject::Gateway(setup) => setup.binary.display().to_string(),
        },
    }
}

async fn measure_requests(
    args: &MeasureArgs,
    subject: &Subject,
    cells: &[RequestCell],
    seen: &mut Sightings,
) -> Result<Vec<RequestResult>, MeasureError> {
    let mut results = Vec::with_capacity(cells.len());
    if cells.is_empty() {
        return Ok(results);
    }
    let (origin, address) = start_origin(&[])?;
    let bare = Proxy::bare(address).await?;
    let subject = Proxy::subject(subject, address).await?;
    seen.started(&bare, &subject);
    let bench = Bench { origin_pid: origin.pid(), bare, subject };
    for cell in cells {
        preflight(cell, &bench).await?;
    }
    for cell in cells {
        progress(&cell.name());
        results.push(requests::measure(cell, &bench, args.rounds(), args.window()).await?);
    }
    seen.ending(&bench.subject).await;
    Ok(results)
}

async fn preflight(cell: &RequestCell, bench: &Bench) -> Result<(), MeasureError> {
    for (lane, proxy) in [(Lane::Bare, &bench.bare), (Lane::Subject, &bench.subject)] {
        let ask = Call::whole(cell.pair, lane, cell.body_bytes);
        let tried = requests::try_once(proxy.address, &ask).await;
        tried.map_err(|source| MeasureError::Wrong { cell: cell.name(), lane, source })?;
    }
    Ok(())
}

async fn measure_streams(
    args: &MeasureArgs,
    subject: &Subject,
    cells: &[StreamCell],
    seen: &mut Sightings,
) -> Result<Vec<StreamResult>, MeasureError> {
    let mut results = Vec::with_capacity(cells.len());
    for &cell in cells {
        let pace = [
            "--pace-ms".to_owned(),
            args.pace_ms.to_string(),
            "--events".to_owned(),
            args.events.to_string(),
        ];
        let (_origin, address) = start_origin(&pace)?;
        let mut rounds: Vec<[StreamRound; 2]> = Vec::with_capacity(args.stream_rounds());
        for round in 1..=args.stream_rounds() {
            progress(&format!("{} round {round}", cell.name()));
            let bare = Proxy::bare(address).await?;
            let bare_round = streams::one_round(cell, Lane::Bare, &bare, args).await?;
            let subject = Proxy::subject(subject, address).await?;
            let subject_round = streams::one_round(cell, Lane::Subject, &subject, args).await?;
            seen.started(&bare, &subject);
            seen.ending(&subject).await;
            rounds.push([bare_round, subject_round]);
        }
        results.push(streams::summarise(cell, rounds));
    }
    Ok(results)
}

fn start_origin(further: &[String]) -> Result<(Role, SocketAddr), StartError> {
    let mut args = vec!["origin".to_owned()];
    args.extend_from_slice(further);
    let origin = Role::start(&args, &[])?;
    let address = origin.address()?;
    Ok((origin, address))
}

fn subject(args: &MeasureArgs) -> Result<Subject, MeasureError> {
    if args.self_check {
        return Ok(Subject::Bare);
    }
    let binary = args.gateway.clone().or_else(built_gateway);
    let binary = binary.and_then(|path| path.canonicalize().ok());
    let binary =
        binary.ok_or_else(|| MeasureError::Setup("no gateway binary; give one with --gateway".to_owned()))?;
    let env = args.gateway_env.iter().map(|pair| {
        let (name, value) =
            pair.split_once('=').ok_or_else(|| MeasureError::Setup(format!("not NAME=VALUE: {pair}")))?;
        Ok((name.to_owned(), value.to_owned()))
    });
    let config_extra = match &args.gateway_config_extra {
        Some(path) => read(path)?,
        None => String::new(),
    };
    Ok(Subject::Gateway(GatewaySetup {
        binary,
        env: env.collect::<Result<_, MeasureError>>()?,
        config_extra,
        log: args.gateway_log.as_deref().map(std::path::absolute).transpose()?,
    }))
}

/// Cargo builds the binary together with this program and says where it is.
fn built_gateway() -> Option<PathBuf> {
    option_env!("CARGO_BIN_EXE_outcrop").map(PathBuf::from)
}

fn read(path: &Path) -> Result<String, MeasureError> {
    std::fs::read_to_string(path).map_err(|error| MeasureError::Setup(format!("{}: {error}", path.display())))
}

fn progress(what: &str) {
    anstream::eprintln!("measuring {what}");
}
