//! Reads one histogram out of the gateway's metrics page: its routing decisions.
//!
//! The gateway times its own decisions; from outside they cannot be told from the rest. The figure is therefore the
//! gateway's word, and only as fine as the histogram's buckets: the quantile is given as the bound it lies under.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

const BUCKET: &str = "outcrop_decision_seconds_bucket{";

/// Cumulative counts by upper bound in nanoseconds, summed over all label sets and processes.
#[derive(Debug, Default)]
pub(crate) struct DecisionBuckets {
    cumulative: BTreeMap<u64, u64>,
}

/// How long decisions took.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct DecisionTime {
    /// Decisions counted.
    pub(crate) count: u64,
    /// The 99th percentile lies at or under this bucket bound.
    pub(crate) p99_at_most_us: f64,
    /// Linear within that bucket: an estimate.
    pub(crate) p99_estimate_us: f64,
    /// The bounds that hold counts, in microseconds, with their cumulative counts.
    pub(crate) buckets_us: Vec<(f64, u64)>,
}

impl DecisionBuckets {
    /// Adds the buckets of one metrics page.
    pub(crate) fn add(&mut self, page: &str) {
        for line in page.lines() {
            let Some((labels, rest)) = line.strip_prefix(BUCKET).and_then(|line| line.split_once('}')) else {
                continue;
            };
            let bound = labels.split(',').find_map(|label| label.strip_prefix("le=\"")?.strip_suffix('"'));
            let count = rest.split_whitespace().next().and_then(|count| count.parse::<u64>().ok());
            if let (Some(bound), Some(count)) = (bound.and_then(bound_ns), count) {
                *self.cumulative.entry(bound).or_default() += count;
            }
        }
    }

    /// The 99th percentile, if anything was counted.
    pub(crate) fn p99(&self) -> Option<DecisionTime> {
        let count = *self.cumulative.values().next_back()?;
        let wanted = (count * 99).div_ceil(100);
        let mut below = (0, 0);
        for (&bound, &cumulative) in &self.cumulative {
            if count > 0 && cumulative >= wanted {
                let share = (wanted - below.1) as f64 / (cumulative - below.1).max(1) as f64;
                let estimate = below.0 as f64 + share * (bound - below.0) as f64;
                return Some(DecisionTime {
                    count,
                    p99_at_most_us: micros(bound),
                    p99_estimate_us: estimate / 1_000.0,
                    buckets_us: self
                        .cumulative
                        .iter()
                        .map(|(&bound, &count)| (micros(bound), count))
                        .collect(),
                });
            }
            below = (bound, cumulative);
        }
        None
    }
}

fn bound_ns(text: &str) -> Option<u64> {
    let seconds: f64 = text.parse().ok()?;
    // A minute stands for `+Inf`: no decision is that slow, and JSON knows no infinity.
    Some(Duration::try_from_secs_f64(seconds.min(60.0)).ok()?.as_nanos() as u64)
}

fn micros(ns: u64) -> f64 {
    ns as f64 / 1_000.0
}
