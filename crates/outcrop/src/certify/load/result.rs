//! What a run of the generator found, as a table or as JSON.

use std::time::Duration;

use comfy_table::{Table, presets};
use hdrhistogram::Histogram;
use outcrop_lab::load::tally::{Counts, ms_at};
use serde_json::{Value, json};

use super::{Options, Plan};

/// Percentiles that are printed.
const PERCENTILES: [(&str, f64); 5] =
    [("p50", 50.0), ("p90", 90.0), ("p99", 99.0), ("p99.9", 99.9), ("max", 100.0)];

/// A finished or interrupted run.
pub(super) struct Outcome {
    counts: Counts,
    /// From the first request due to the last answer.
    seconds: f64,
    pub(super) partial: bool,
    void: Option<String>,
}

impl Outcome {
    /// Judges the counts; without a time the run was interrupted.
    pub(super) fn new(counts: Counts, plan: &Plan, elapsed: Option<Duration>) -> Self {
        let void = counts.void(plan.lag_max);
        let seconds = elapsed.unwrap_or(counts.window * counts.windows.len() as u32).as_secs_f64();
        Self { counts, seconds, partial: elapsed.is_none(), void }
    }

    /// Whether every request was completely answered, and the run counts.
    pub(super) fn is_good(&self) -> bool {
        self.void.is_none() && self.counts.complete == self.counts.due
    }

    /// Whether not a single request found a connection.
    pub(super) fn is_unreachable(&self) -> bool {
        let refused = self.counts.failures.get("no connection").map_or(0, |(count, _)| *count);
        self.counts.due > 0 && refused == self.counts.due
    }

    pub(super) fn print(&self, options: &Options) {
        if options.json {
            anstream::println!("{}", self.json(options));
        } else {
            self.table();
        }
    }

    fn throughput(&self) -> f64 {
        self.counts.complete as f64 / self.seconds.max(0.001)
    }

    fn json(&self, options: &Options) -> Value {
        let failures: serde_json::Map<String, Value> = self
            .counts
            .failures
            .iter()
            .map(|(label, (count, example))| (label.clone(), json!({"count": count, "example": example})))
            .collect();
        let windows: Vec<Value> = self
            .counts
            .windows
            .iter()
            .map(|window| {
                let mean_us = window.sum_us as f64 / window.complete.max(1) as f64;
                json!({"due": window.due, "complete": window.complete,
                       "mean_ms": mean_us / 1_000.0, "slowest_ms": window.slowest_us as f64 / 1_000.0})
            })
            .collect();
        json!({
            "target": options.target, "model": options.model, "arrival": options.arrival, "rate": options.rate,
            "stream": options.stream, "seed": options.seed, "seconds": self.seconds,
            "partial": self.partial, "void": self.void,
            "due": self.counts.due, "complete": self.counts.complete, "failed": self.counts.failed(),
            "unsent": self.counts.unsent, "failures": failures, "throughput": self.throughput(),
            "latency_ms": percentiles(&self.counts.latency),
            "first_content_ms": percentiles(&self.counts.first),
            "generator_lag_ms": percentiles(&self.counts.lag),
            "window_seconds": self.counts.window.as_secs_f64(), "windows": windows,
        })
    }

    fn table(&self) {
        let counts = &self.counts;
        if self.partial {
            anstream::println!("PARTIAL: ended by Ctrl-C; what was in flight is not counted\n");
        }
        anstream::println!(
            "{} due, {} complete, {} failed, {} not sent; {:.1} answers/s over {:.1} s",
            counts.due,
            counts.complete,
            counts.failed(),
            counts.unsent,
            self.throughput(),
            self.seconds,
        );
        let mut table = Table::new();
        table.load_style(presets::UTF8_BORDERS_ONLY);
        let names = PERCENTILES.iter().map(|(name, _)| (*name).to_owned());
        table.set_header(std::iter::once("ms".to_owned()).chain(names));
        let rows =
            [("latency", &counts.latency), ("first content", &counts.first), ("generator lag", &counts.lag)];
        for (name, histogram) in rows.into_iter().filter(|(_, histogram)| !histogram.is_empty()) {
            let values = PERCENTILES.iter().map(|(_, at)| format!("{:.2}", ms_at(histogram, *at)));
            table.add_row(std::iter::once(name.to_owned()).chain(values));
        }
        anstream::println!("{table}");
        for (label, (count, example)) in &counts.failures {
            anstream::println!("{count} x {label}   {example}");
        }
        if let Some(void) = &self.void {
            anstream::println!("VOID: {void}");
        }
    }
}

/// Percentiles in milliseconds; `null` if nothing was recorded.
fn percentiles(histogram: &Histogram<u64>) -> Value {
    if histogram.is_empty() {
        return Value::Null;
    }
    let values = PERCENTILES.iter().map(|(name, at)| ((*name).to_owned(), ms_at(histogram, *at).into()));
    Value::Object(values.collect())
}
