//! How long each step of an exchange takes of the gateway's own time.
//!
//! Counted without a lock: a step costs one look at the clock and two additions. Buckets grow by a quarter of
//! an octave, so a percentile read from them is right within an eighth. What an upstream or a caller takes
//! is no stage, but for `receive`, which is told apart for that reason.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::{MetricType, TypedMetric};
use serde::Serialize;

/// A step of an exchange, in the order in which a request meets them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// From accept until it is known who calls, what is promised and whether their rate allows it.
    Authenticate,
    /// Until there is a slot, a wait for one included.
    Admit,
    /// Until the caller has sent the body: mostly the caller's time.
    Receive,
    /// Until the body is read: proof, encoding, envelope.
    Intake,
    /// Until targets are chosen and ordered.
    Plan,
    /// One attempt's health, stop and money; a wait for a lease included.
    Reserve,
    /// Of `reserve`, a wait for the store because the leases held too little; only where there was one.
    Lease,
    /// Making what the caller gets of what the upstream sent; of a stream, all its pieces together.
    Relay,
    /// Writing down what an exchange came to.
    Settle,
    /// From accept to the first content, less the waits for upstreams: what `x-outcrop-overhead-us` says.
    Total,
}

/// All of them, in order.
pub const STAGES: [Stage; 10] = [
    Stage::Authenticate,
    Stage::Admit,
    Stage::Receive,
    Stage::Intake,
    Stage::Plan,
    Stage::Reserve,
    Stage::Lease,
    Stage::Relay,
    Stage::Settle,
    Stage::Total,
];

/// Below so many nanoseconds is one bucket: 2^8.
const FIRST_OCTAVE: u32 = 8;
/// Octaves above it; the last bucket ends at 2^35 ns, half a minute, and holds what is longer.
const OCTAVES: usize = 27;
/// Parts of an octave.
const PARTS: usize = 4;
const BUCKETS: usize = 1 + OCTAVES * PARTS;

/// The times of all stages. Clones share them.
#[derive(Debug, Clone)]
pub struct Stages {
    all: Arc<[Times; STAGES.len()]>,
    exchanges: Arc<Exchanges>,
}

/// What exchanges that an upstream answered came to.
#[derive(Debug, Default)]
struct Exchanges {
    count: AtomicU64,
    total_ns: AtomicU64,
    own_ns: AtomicU64,
}

/// The times of one stage.
#[derive(Debug)]
struct Times {
    buckets: [AtomicU64; BUCKETS],
    sum_ns: AtomicU64,
}

/// How long the pieces of a stream take to make, from one in eight of them.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sampled {
    pieces: u32,
    timed: u32,
    took: Duration,
}

/// What is known of a stage since the process began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct StageView {
    /// How often it was passed.
    pub count: u64,
    /// Its median in microseconds.
    pub p50_us: f64,
    /// What 99 % do not exceed, in microseconds.
    pub p99_us: f64,
    /// All its time in microseconds.
    pub sum_us: f64,
}

/// The exchanges that an upstream answered, since the process began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Answered {
    /// How many.
    pub count: u64,
    /// From accept to the end of the answer, together.
    pub total: Duration,
    /// What the gateway itself took of that.
    pub own: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StageLabels {
    stage: &'static str,
}

impl Stage {
    /// The bounded label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Authenticate => "authenticate",
            Self::Admit => "admit",
            Self::Receive => "receive",
            Self::Intake => "intake",
            Self::Plan => "plan",
            Self::Reserve => "reserve",
            Self::Lease => "lease",
            Self::Relay => "relay",
            Self::Settle => "settle",
            Self::Total => "total",
        }
    }
}

impl Default for Stages {
    fn default() -> Self {
        Self { all: Arc::new(std::array::from_fn(|_| Times::default())), exchanges: Arc::default() }
    }
}

impl Stages {
    /// A stage took so long once.
    pub(crate) fn observe(&self, stage: Stage, took: Duration) {
        if let Some(times) = self.all.get(stage as usize) {
            times.observe(took);
        }
    }

    /// An exchange that an upstream answered has ended.
    pub(crate) fn answered(&self, total: Duration, own: Duration) {
        self.exchanges.count.fetch_add(1, Ordering::Relaxed);
        self.exchanges.total_ns.fetch_add(nanos(total), Ordering::Relaxed);
        self.exchanges.own_ns.fetch_add(nanos(own), Ordering::Relaxed);
    }

    /// A whole answer was made for its caller, after its exchange was settled.
    pub(crate) fn relayed(&self, took: Duration) {
        self.observe(Stage::Relay, took);
        self.exchanges.own_ns.fetch_add(nanos(took), Ordering::Relaxed);
    }

    /// What is known of each stage, in order.
    pub fn views(&self) -> impl Iterator<Item = (Stage, StageView)> {
        STAGES.into_iter().zip(self.all.iter()).map(|(stage, times)| (stage, times.view()))
    }

    /// What is known of one stage.
    pub fn view(&self, stage: Stage) -> StageView {
        self.all.get(stage as usize).map_or_else(StageView::default, Times::view)
    }

    /// The exchanges that an upstream answered.
    pub fn exchanges(&self) -> Answered {
        let load = |value: &AtomicU64| value.load(Ordering::Relaxed);
        Answered {
            count: load(&self.exchanges.count),
            total: Duration::from_nanos(load(&self.exchanges.total_ns)),
            own: Duration::from_nanos(load(&self.exchanges.own_ns)),
        }
    }
}

impl Sampled {
    /// Counts a piece; whether it is to be timed.
    pub(crate) fn is_due(&mut self) -> bool {
        let is_due = self.pieces.is_multiple_of(8);
        self.pieces = self.pieces.saturating_add(1);
        is_due
    }

    /// One that was to be timed took so long.
    pub(crate) fn took(&mut self, took: Duration) {
        self.timed += 1;
        self.took += took;
    }

    /// All pieces together.
    pub(crate) fn estimate(&self) -> Duration {
        self.took.checked_div(self.timed).unwrap_or_default().saturating_mul(self.pieces)
    }
}

impl Default for Times {
    fn default() -> Self {
        Self { buckets: std::array::from_fn(|_| AtomicU64::new(0)), sum_ns: AtomicU64::new(0) }
    }
}

impl Times {
    fn observe(&self, took: Duration) {
        let ns = nanos(took);
        if let Some(bucket) = self.buckets.get(bucket_of(ns)) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.sum_ns.fetch_add(ns, Ordering::Relaxed);
    }

    fn counts(&self) -> [u64; BUCKETS] {
        std::array::from_fn(|at| self.buckets.get(at).map_or(0, |bucket| bucket.load(Ordering::Relaxed)))
    }

    fn view(&self) -> StageView {
        let counts = self.counts();
        StageView {
            count: counts.iter().sum(),
            p50_us: quantile(&counts, 50) / 1e3,
            p99_us: quantile(&counts, 99) / 1e3,
            sum_us: self.sum_ns.load(Ordering::Relaxed) as f64 / 1e3,
        }
    }
}

impl EncodeMetric for Stages {
    fn encode(&self, mut encoder: MetricEncoder) -> Result<(), fmt::Error> {
        for (stage, times) in STAGES.into_iter().zip(self.all.iter()) {
            let counts = times.counts();
            let sum = times.sum_ns.load(Ordering::Relaxed) as f64 / 1e9;
            let labels = StageLabels { stage: stage.label() };
            let octaves = octaves(&counts);
            encoder.encode_family(&labels)?.encode_histogram::<NoLabelSet>(
                sum,
                counts.iter().sum(),
                &octaves,
                None,
            )?;
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

impl TypedMetric for Stages {
    const TYPE: MetricType = MetricType::Histogram;
}

/// The bucket of a time.
fn bucket_of(ns: u64) -> usize {
    let Some(octave) = ns.checked_ilog2().and_then(|log| log.checked_sub(FIRST_OCTAVE)) else { return 0 };
    // The two bits after the leading one.
    let part = (ns >> (octave + FIRST_OCTAVE - 2)) & 3;
    (1 + octave as usize * PARTS + part as usize).min(BUCKETS - 1)
}

/// Where a bucket begins, in nanoseconds.
fn begin_of(bucket: usize) -> u64 {
    let Some(above) = bucket.checked_sub(1) else { return 0 };
    let octave = 1_u64 << (FIRST_OCTAVE as usize + above / PARTS);
    octave + octave / PARTS as u64 * (above % PARTS) as u64
}

/// The middle of the bucket that so many percent reach, in nanoseconds; 0 where nothing was counted.
fn quantile(counts: &[u64; BUCKETS], percent: u64) -> f64 {
    let rank = (counts.iter().sum::<u64>() * percent).div_ceil(100);
    let mut below = 0;
    let reached = counts.iter().position(|count| {
        below += count;
        rank > 0 && below >= rank
    });
    reached.map_or(0.0, |at| f64::midpoint(begin_of(at) as f64, begin_of(at + 1) as f64))
}

/// What is exported: an octave a bucket, in seconds.
fn octaves(counts: &[u64; BUCKETS]) -> Vec<(f64, u64)> {
    let (first, rest) = counts.split_at(1);
    let mut out = vec![(begin_of(1) as f64 / 1e9, first.iter().sum())];
    let ends = (1..=OCTAVES).map(|octave| begin_of(1 + octave * PARTS) as f64 / 1e9);
    out.extend(ends.zip(rest.chunks(PARTS).map(|parts| parts.iter().sum())));
    // The library names the last one `+Inf`.
    if let Some(last) = out.last_mut() {
        last.0 = f64::MAX;
    }
    out
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_time_is_in_the_bucket_that_holds_it() {
        for ns in [0, 1, 255, 256, 319, 320, 511, 512, 1_000, 25_000, 1_000_000, 999_999_999] {
            let at = bucket_of(ns);
            assert!(begin_of(at) <= ns && ns < begin_of(at + 1), "{ns}: {at}");
        }
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
        for at in 1..BUCKETS {
            assert_eq!(bucket_of(begin_of(at)), at);
        }
    }

    #[test]
    fn percentiles_are_right_within_an_eighth() {
        let stages = Stages::default();
        for us in 1..=1_000 {
            stages.observe(Stage::Plan, Duration::from_micros(us));
        }
        let (_, view) = stages.views().find(|(stage, _)| *stage == Stage::Plan).unwrap();
        assert_eq!((view.count, view.sum_us), (1_000, 500_500.0));
        assert!((view.p50_us - 500.0).abs() < 500.0 / 8.0, "{view:?}");
        assert!((view.p99_us - 990.0).abs() < 990.0 / 8.0, "{view:?}");
        let (_, other) = stages.views().find(|(stage, _)| *stage == Stage::Settle).unwrap();
        assert_eq!(other, StageView::default());
    }
}
