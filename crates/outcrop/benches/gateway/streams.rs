//! Measures a stream cell: many paced streams at once through one proxy, each checked event by event.
//!
//! Every run starts a fresh process, because memory that an earlier run left behind would hide what streams need.
//! Memory per stream is (highest resident size while streams are open - resident size before) / streams.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use hdrhistogram::Histogram;
use http::StatusCode;
use http_body_util::BodyExt as _;
use serde::Serialize;

use crate::args::MeasureArgs;
use crate::asks::Call;
use crate::cells::{Lane, Pair, SMALL_BODY_BYTES, StreamCell};
use crate::gateway::{Proxy, ProxyError};
use crate::load::{Connection, LoadError, connect, latency_histogram};
use crate::metering::{CpuMark, Memory};
use crate::spread::Spread;
use crate::verify::{StreamCheck, StreamFault};

/// Beyond the time the pace asks for, a stream may take this long.
const GRACE: Duration = Duration::from_secs(30);
const MEMORY_EVERY: Duration = Duration::from_millis(50);
/// Envelope events around the content, at most: they are paced too.
const ENVELOPE_EVENTS: usize = 4;

/// Why a stream run could not be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StreamsError {
    /// A proxy did not start.
    #[error(transparent)]
    Proxy(#[from] ProxyError),
    /// `/proc`.
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

/// Why one stream failed.
#[derive(Debug, thiserror::Error)]
enum StreamError {
    #[error("{0}")]
    Connect(#[from] LoadError),
    #[error("connection: {0}")]
    Connection(#[from] hyper::Error),
    #[error("status {0}")]
    Status(StatusCode),
    #[error("{0}")]
    Fault(#[from] StreamFault),
    #[error("not complete in time")]
    Late,
}

/// One proxy in one round.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct StreamRound {
    pub(crate) lane: Lane,
    pub(crate) streams: usize,
    pub(crate) complete: usize,
    pub(crate) first_error: Option<String>,
    /// Most streams that had begun and not ended at one moment.
    pub(crate) open_at_once: usize,
    pub(crate) events: usize,
    pub(crate) seconds: f64,
    pub(crate) cpu_us_per_stream: f64,
    pub(crate) cpu_exact: bool,
    pub(crate) first_event_p50_us: f64,
    pub(crate) first_event_p99_us: f64,
    pub(crate) idle: Memory,
    pub(crate) peak_rss_kib: u64,
    pub(crate) kib_per_stream: f64,
}

/// All rounds of a cell and what follows from them.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct StreamResult {
    pub(crate) cell: String,
    pub(crate) translated: bool,
    /// CPU time per stream, subject over bare.
    pub(crate) cpu_ratio: Option<Spread>,
    /// Memory of the subject.
    pub(crate) kib_per_stream: Option<Spread>,
    /// Memory of the bare proxy, for comparison.
    pub(crate) bare_kib_per_stream: Option<Spread>,
    /// Streams of both proxies that were not complete and in order.
    pub(crate) errors: usize,
    pub(crate) first_error: Option<String>,
    /// The least of all rounds, so that no round was less concurrent than it claims.
    pub(crate) open_at_once: usize,
    pub(crate) rounds: Vec<[StreamRound; 2]>,
}

/// Combines the rounds of a cell.
pub(crate) fn summarise(cell: StreamCell, rounds: Vec<[StreamRound; 2]>) -> StreamResult {
    let all = || rounds.iter().flatten();
    StreamResult {
        cell: cell.name(),
        translated: cell.pair.translated(),
        cpu_ratio: Spread::of(
            rounds.iter().map(|[bare, subject]| subject.cpu_us_per_stream / bare.cpu_us_per_stream),
        ),
        kib_per_stream: Spread::of(rounds.iter().map(|[_, subject]| subject.kib_per_stream)),
        bare_kib_per_stream: Spread::of(rounds.iter().map(|[bare, _]| bare.kib_per_stream)),
        errors: all().map(|round| round.streams - round.complete).sum(),
        first_error: all().find_map(|round| round.first_error.clone()),
        open_at_once: all().map(|round| round.open_at_once).min().unwrap_or_default(),
        rounds,
    }
}

/// What the streams of a run have in common.
struct Run<'a> {
    call: Call,
    check: fn() -> StreamCheck,
    events_due: usize,
    within: Duration,
    tally: &'a Tally,
}

struct Tally {
    complete: Cell<usize>,
    events: Cell<usize>,
    open: Cell<usize>,
    open_most: Cell<usize>,
    first_error: RefCell<Option<String>>,
    first_event_ns: RefCell<Histogram<u64>>,
}

/// Runs all streams of a cell once through `proxy`.
pub(crate) async fn one_round(
    cell: StreamCell,
    lane: Lane,
    proxy: &Proxy,
    args: &MeasureArgs,
) -> Result<StreamRound, StreamsError> {
    let tally = Tally::new();
    let run = Run {
        call: Call::stream(cell.pair, lane, SMALL_BODY_BYTES),
        check: if cell.pair == Pair::BedrockBedrock { StreamCheck::event_stream } else { StreamCheck::sse },
        events_due: args.events,
        within: GRACE + Duration::from_millis(args.pace_ms) * (args.events + ENVELOPE_EVENTS) as u32,
        tally: &tally,
    };
    let before = CpuMark::read(proxy.pid)?;
    let started = Instant::now();
    let sampled_kib = Cell::new(proxy.idle.rss_kib);
    tokio::select! {
        () = all_streams(&run, proxy.address, args) => {}
        failed = sample_memory(proxy.pid, &sampled_kib) => failed?,
    }
    let seconds = started.elapsed().as_secs_f64();
    let spent = CpuMark::read(proxy.pid)?.since(&before);
    let peak_rss_kib = peak_kib(&proxy.idle, &Memory::read(proxy.pid)?, sampled_kib.get());
    let first_event_us =
        |quantile| tally.first_event_ns.borrow().value_at_quantile(quantile) as f64 / 1_000.0;
    Ok(StreamRound {
        lane,
        streams: args.streams,
        complete: tally.complete.get(),
        open_at_once: tally.open_most.get(),
        events: tally.events.get(),
        seconds,
        cpu_us_per_stream: spent.ns as f64 / 1_000.0 / args.streams.max(1) as f64,
        cpu_exact: spent.exact,
        first_event_p50_us: first_event_us(0.5),
        first_event_p99_us: first_event_us(0.99),
        idle: proxy.idle,
        peak_rss_kib,
        kib_per_stream: peak_rss_kib.saturating_sub(proxy.idle.rss_kib) as f64 / args.streams.max(1) as f64,
        first_error: tally.first_error.take(),
    })
}

/// The kernel's own high-water mark if the streams raised it, else the highest sample: a start may have needed more
/// memory than the streams do.
fn peak_kib(idle: &Memory, after: &Memory, sampled_kib: u64) -> u64 {
    if after.peak_kib > idle.peak_kib { after.peak_kib } else { sampled_kib }
}

async fn sample_memory(pid: u32, highest_kib: &Cell<u64>) -> Result<(), StreamsError> {
    loop {
        highest_kib.set(highest_kib.get().max(Memory::read(pid)?.rss_kib));
        tokio::time::sleep(MEMORY_EVERY).await;
    }
}

/// Starts the streams evenly over a fifth of their length: all of them are open together for most of the run, and
/// neither the connects nor the events fall on one moment.
async fn all_streams(run: &Run<'_>, target: SocketAddr, args: &MeasureArgs) {
    let length = Duration::from_millis(args.pace_ms) * args.events as u32;
    let apart = length / 5 / args.streams.max(1) as u32;
    let first = Instant::now();
    let streams = (0..args.streams).map(|index| async move {
        tokio::time::sleep_until((first + apart * index as u32).into()).await;
        run.tally.count(timed_stream(run, target).await);
    });
    join_all(streams).await;
}

async fn timed_stream(run: &Run<'_>, target: SocketAddr) -> Result<(), StreamError> {
    match tokio::time::timeout(run.within, one_stream(run, target)).await {
        Ok(outcome) => outcome,
        Err(_elapsed) => Err(StreamError::Late),
    }
}

async fn one_stream(run: &Run<'_>, target: SocketAddr) -> Result<(), StreamError> {
    let mut connection: Connection = connect(target).await?;
    let asked = Instant::now();
    let response = connection.send_request(run.call.request()).await?;
    if response.status() != StatusCode::OK {
        return Err(StreamError::Status(response.status()));
    }
    let _open = run.tally.opened();
    let mut check = (run.check)();
    let mut body = response.into_body();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else {
            continue;
        };
        let had = check.events();
        check.push(&data)?;
        if had == 0 && check.events() > 0 {
            run.tally.first_event_ns.borrow_mut().saturating_record(asked.elapsed().as_nanos() as u64);
        }
        run.tally.events.set(run.tally.events.get() + check.events() - had);
    }
    Ok(check.finish(run.events_due)?)
}

impl Tally {
    fn new() -> Self {
        Self {
            complete: Cell::new(0),
            events: Cell::new(0),
            open: Cell::new(0),
            open_most: Cell::new(0),
            first_error: RefCell::new(None),
            first_event_ns: RefCell::new(latency_histogram()),
        }
    }

    fn opened(&self) -> Open<'_> {
        self.open.set(self.open.get() + 1);
        self.open_most.set(self.open_most.get().max(self.open.get()));
        Open(&self.open)
    }

    fn count(&self, outcome: Result<(), StreamError>) {
        match outcome {
            Ok(()) => self.complete.set(self.complete.get() + 1),
            Err(error) => {
                self.first_error.borrow_mut().get_or_insert_with(|| error.to_string());
            }
        }
    }
}

/// A stream that has begun and not ended.
struct Open<'a>(&'a Cell<usize>);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}
