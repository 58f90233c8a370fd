//! Measures a request cell: both proxies in turn, round by round, in front of the same upstream.
//!
//! CPU time is the proxy process' own, divided by the answers it gave in the same window. Ratios and latency
//! differences are formed within a round.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::BytesMut;
use serde::Serialize;

use crate::args::LoadArgs;
use crate::asks::Call;
use crate::cells::{Lane, RequestCell};
use crate::gateway::Proxy;
use crate::load::{self, Fleet, LoadError};
use crate::metering::{CpuMark, MachineMark};
use crate::spread::Spread;

/// The processes of the request cells.
pub(crate) struct Bench {
    /// Process id of the upstream.
    pub(crate) origin_pid: u32,
    /// The yardstick.
    pub(crate) bare: Proxy,
    /// What is measured.
    pub(crate) subject: Proxy,
}

/// One proxy in one round.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct RequestRound {
    pub(crate) lane: Lane,
    pub(crate) requests: u64,
    /// Failures, those of the warm-up included.
    pub(crate) errors: u64,
    pub(crate) first_error: Option<String>,
    pub(crate) seconds: f64,
    pub(crate) requests_per_second: f64,
    pub(crate) cpu_us_per_request: f64,
    /// The same from clock ticks of 10 ms.
    pub(crate) cpu_tick_us_per_request: f64,
    pub(crate) cpu_exact: bool,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    /// Share of the machine that other processes used meanwhile.
    pub(crate) foreign_cpu_percent: f64,
}

/// All rounds of a cell and what follows from them.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct RequestResult {
    pub(crate) cell: String,
    pub(crate) translated: bool,
    pub(crate) connections: usize,
    pub(crate) body_bytes: usize,
    /// CPU time per request, subject over bare.
    pub(crate) cpu_ratio: Option<Spread>,
    /// Median latency, subject minus bare.
    pub(crate) added_p50_us: Option<Spread>,
    pub(crate) errors: u64,
    pub(crate) first_error: Option<String>,
    /// Bare and subject, in the order they were measured.
    pub(crate) rounds: Vec<[RequestRound; 2]>,
}

/// Measures `cell` in `rounds` interleaved rounds.
pub(crate) async fn measure(
    cell: &RequestCell,
    bench: &Bench,
    rounds: usize,
    window: Duration,
) -> Result<RequestResult, LoadError> {
    let mut pairs = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        let bare = one_round(cell, bench, Lane::Bare, window).await?;
        let subject = one_round(cell, bench, Lane::Subject, window).await?;
        pairs.push([bare, subject]);
    }
    Ok(RequestResult {
        cell: cell.name(),
        translated: cell.pair.translated(),
        connections: cell.connections,
        body_bytes: cell.body_bytes,
        cpu_ratio: Spread::of(
            pairs.iter().map(|[bare, subject]| subject.cpu_us_per_request / bare.cpu_us_per_request),
        ),
        added_p50_us: Spread::of(pairs.iter().map(|[bare, subject]| subject.p50_us - bare.p50_us)),
        errors: pairs.iter().flatten().map(|round| round.errors).sum(),
        first_error: pairs.iter().flatten().find_map(|round| round.first_error.clone()),
        rounds: pairs,
    })
}

async fn one_round(
    cell: &RequestCell,
    bench: &Bench,
    lane: Lane,
    window: Duration,
) -> Result<RequestRound, LoadError> {
    let proxy = if lane == Lane::Bare { &bench.bare } else { &bench.subject };
    let ask = Call::whole(cell.pair, lane, cell.body_bytes);
    let mut fleet = Fleet::connect(proxy.address, cell.connections).await?;
    let warmed = fleet.run(&ask, warm_up(window)).await;

    let own = [std::process::id(), bench.origin_pid, bench.bare.pid, bench.subject.pid];
    let (own_before, machine_before) = (marks(&own)?, MachineMark::read());
    let before = CpuMark::read(proxy.pid)?;
    let sample = fleet.run(&ask, window).await;
    let spent = CpuMark::read(proxy.pid)?.since(&before);
    let (own_after, machine_after) = (marks(&own)?, MachineMark::read());

    let own_ns = own_after.iter().zip(&own_before).map(|(after, before)| after.since(before).ns).sum();
    let answers = sample.requests.max(1) as f64;
    Ok(RequestRound {
        lane,
        requests: sample.requests,
        errors: warmed.errors + sample.errors,
        seconds: sample.elapsed.as_secs_f64(),
        requests_per_second: sample.requests as f64 / sample.elapsed.as_secs_f64(),
        cpu_us_per_request: spent.ns as f64 / 1_000.0 / answers,
        cpu_tick_us_per_request: spent.tick_ns as f64 / 1_000.0 / answers,
        cpu_exact: spent.exact,
        p50_us: sample.latency_us(0.5),
        p99_us: sample.latency_us(0.99),
        first_error: warmed.first_error.or(sample.first_error),
        foreign_cpu_percent: machine_after.foreign_percent_since(&machine_before, own_ns),
    })
}

fn marks(pids: &[u32]) -> Result<Vec<CpuMark>, LoadError> {
    pids.iter().map(|&pid| CpuMark::read(pid).map_err(LoadError::from)).collect()
}

fn warm_up(window: Duration) -> Duration {
    (window / 4).clamp(Duration::from_millis(50), Duration::from_millis(500))
}

/// Asks once for the whole answer, so that a wrong configuration is seen before a long measurement.
pub(crate) async fn try_once(target: SocketAddr, call: &Call) -> Result<(), LoadError> {
    let attempt = async {
        let mut connection = load::connect(target).await?;
        load::exchange(&mut connection, call, &mut BytesMut::new()).await
    };
    tokio::time::timeout(load::GRACE, attempt).await.unwrap_or(Err(LoadError::Silent))
}

/// The `load` role: one closed loop against one address, in plain words.
pub(crate) async fn drive_once(args: &LoadArgs) -> Result<(), LoadError> {
    let call = Call::whole(args.pair, Lane::Subject, args.body_bytes);
    if let Some(path) = &args.dump_body {
        return Ok(std::fs::write(path, &call.body)?);
    }
    let window = Duration::from_secs_f64(args.seconds.clamp(0.05, 600.0));
    let mut fleet = Fleet::connect(args.target, args.connections).await?;
    fleet.run(&call, warm_up(window)).await;
    let before = args.pid.map(CpuMark::read).transpose()?;
    let sample = fleet.run(&call, window).await;
    let after = args.pid.map(CpuMark::read).transpose()?;
    anstream::println!(
        "{} answers, {} errors, {:.0}/s, p50 {:.1} us, p99 {:.1} us",
        sample.requests,
        sample.errors,
        sample.requests as f64 / sample.elapsed.as_secs_f64(),
        sample.latency_us(0.5),
        sample.latency_us(0.99),
    );
    if let (Some(before), Some(after)) = (before, after) {
        let spent = after.since(&before);
        let per_request = |ns: u64| ns as f64 / 1_000.0 / sample.requests.max(1) as f64;
        anstream::println!(
            "CPU {:.2} us per answer ({:.2} from ticks)",
            per_request(spent.ns),
            per_request(spent.tick_ns)
        );
    }
    if let Some(error) = sample.first_error {
        anstream::println!("first error: {error}");
    }
    Ok(())
}
