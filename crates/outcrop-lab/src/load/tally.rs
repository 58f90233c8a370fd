//! Counts and distributions of a run, in bounded memory whatever its length.
//!
//! Latencies lie in HDR histograms with three significant digits; the course over time is kept per window, and
//! windows are joined in pairs when there are too many of them.

use std::{collections::BTreeMap, time::Duration};

use hdrhistogram::Histogram;
use parking_lot::Mutex;

use super::{
    client::Ending,
    drive::{Observer, Sample},
};

/// Longest time that is told apart, in microseconds: ten minutes.
const MICROS_MAX: u64 = 600_000_000;
/// Most windows kept.
const WINDOWS_MAX: usize = 600;
/// Most different ends counted apart; the rest is `other`.
const ENDINGS_MAX: usize = 24;
/// Requests that may go unsent, as a share, before nothing can be concluded.
const UNSENT_SHARE_MAX: f64 = 0.001;

/// What was seen so far; shared by all requests of a run.
#[derive(Debug)]
pub struct Tally {
    inner: Mutex<Counts>,
}

/// A copy of the counts at one moment.
#[derive(Debug, Clone)]
pub struct Counts {
    /// Requests that were due, sent or not.
    pub due: u64,
    /// Complete answers.
    pub complete: u64,
    /// Requests that were not sent because too many were in flight.
    pub unsent: u64,
    /// How often each other end was seen, with the first detail.
    pub failures: BTreeMap<String, (u64, String)>,
    /// From due to the end of complete answers, in microseconds.
    pub latency: Histogram<u64>,
    /// From due to the first content of complete answers, in microseconds.
    pub first: Histogram<u64>,
    /// From due to begun of all sent requests, in microseconds.
    pub lag: Histogram<u64>,
    /// The course over time.
    pub windows: Vec<Window>,
    /// Length of a window.
    pub window: Duration,
}

/// One stretch of time, by when requests were due.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Window {
    /// Requests due in it.
    pub due: u64,
    /// Of these, the completely answered ones.
    pub complete: u64,
    /// The slowest of these, in microseconds.
    pub slowest_us: u64,
    /// Sum of their latencies, in microseconds.
    pub sum_us: u64,
}

impl Default for Tally {
    fn default() -> Self {
        Self { inner: Mutex::new(Counts::empty()) }
    }
}

impl Observer for Tally {
    fn observe(&self, sample: Sample) {
        self.inner.lock().add(&sample);
    }
}

impl Tally {
    /// The counts so far.
    pub fn counts(&self) -> Counts {
        self.inner.lock().clone()
    }
}

impl Default for Counts {
    fn default() -> Self {
        Self::empty()
    }
}

impl Counts {
    fn empty() -> Self {
        Self {
            due: 0,
            complete: 0,
            unsent: 0,
            failures: BTreeMap::new(),
            latency: micros(),
            first: micros(),
            lag: micros(),
            windows: Vec::new(),
            window: Duration::from_secs(1),
        }
    }

    /// Counts one sample.
    pub fn add(&mut self, sample: &Sample) {
        self.due += 1;
        let complete = matches!(sample.ending, Some(Ending::Complete));
        match &sample.ending {
            None => self.unsent += 1,
            Some(Ending::Complete) => {
                self.complete += 1;
                record(&mut self.latency, sample.latency);
                if let Some(first) = sample.first {
                    record(&mut self.first, first);
                }
            }
            Some(ending) => self.fail(ending),
        }
        if sample.ending.is_some() {
            record(&mut self.lag, sample.lag);
        }
        let window = self.window_at(sample.due);
        window.due += 1;
        if complete {
            let latency = sample.latency.as_micros() as u64;
            window.complete += 1;
            window.slowest_us = window.slowest_us.max(latency);
            window.sum_us = window.sum_us.saturating_add(latency);
        }
    }

    /// Adds the counts of another run, as far as they judge the generator; its course over time is left out.
    pub fn join(&mut self, other: &Self) {
        self.due += other.due;
        self.complete += other.complete;
        self.unsent += other.unsent;
        for (label, (count, example)) in &other.failures {
            self.failures.entry(label.clone()).or_insert_with(|| (0, example.clone())).0 += count;
        }
        // Histograms with the same bounds always add up.
        let _ = self.lag.add(&other.lag);
    }

    /// Requests that were sent and not completely answered.
    pub fn failed(&self) -> u64 {
        self.failures.values().map(|(count, _)| count).sum()
    }

    /// Why nothing can be concluded, if the generator itself was the bottleneck.
    pub fn void(&self, lag_max: Duration) -> Option<String> {
        let lag_ms = self.lag.value_at_quantile(0.99) as f64 / 1_000.0;
        if self.unsent as f64 > UNSENT_SHARE_MAX * self.due as f64 {
            return Some(format!(
                "{} of {} requests were not sent, because too many were in flight: raise the limit in flight, or lower the rate",
                self.unsent, self.due
            ));
        }
        (lag_ms > lag_max.as_secs_f64() * 1_000.0).then(|| {
            format!(
                "the generator itself was the bottleneck: 1 % of its requests began {lag_ms:.1} ms late or more \
                 (allowed: {:.1} ms); lower the rate, or give it a machine of its own",
                lag_max.as_secs_f64() * 1_000.0
            )
        })
    }

    fn fail(&mut self, ending: &Ending) {
        let label = ending.label();
        let known = self.failures.contains_key(&label) || self.failures.len() < ENDINGS_MAX;
        let label = if known { label } else { "other".to_owned() };
        self.failures.entry(label).or_insert_with(|| (0, ending.detail().to_owned())).0 += 1;
    }

    fn window_at(&mut self, due: Duration) -> &mut Window {
        let mut index = index(due, self.window);
        while index >= WINDOWS_MAX {
            self.windows = self.windows.chunks(2).map(Window::joined).collect();
            self.window *= 2;
            index /= 2;
        }
        if self.windows.len() <= index {
            self.windows.resize(index + 1, Window::default());
        }
        &mut self.windows[index]
    }
}

impl Window {
    fn joined(windows: &[Self]) -> Self {
        windows.iter().fold(Self::default(), |sum, window| Self {
            due: sum.due + window.due,
            complete: sum.complete + window.complete,
            slowest_us: sum.slowest_us.max(window.slowest_us),
            sum_us: sum.sum_us.saturating_add(window.sum_us),
        })
    }
}

/// An empty histogram of microseconds up to ten minutes, three significant digits.
#[allow(clippy::missing_panics_doc, reason = "the bounds are constants")]
pub fn micros() -> Histogram<u64> {
    Histogram::new_with_bounds(1, MICROS_MAX, 3)
        .expect("invariant: 1 < MICROS_MAX and three digits are bounds")
}

/// A percentile (0 to 100) in milliseconds; 0 if nothing was recorded.
pub fn ms_at(histogram: &Histogram<u64>, percentile: f64) -> f64 {
    histogram.value_at_percentile(percentile) as f64 / 1_000.0
}

fn record(histogram: &mut Histogram<u64>, time: Duration) {
    histogram.saturating_record((time.as_micros() as u64).min(MICROS_MAX));
}

fn index(due: Duration, window: Duration) -> usize {
    (due.as_nanos() / window.as_nanos().max(1)) as usize
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Counts, WINDOWS_MAX, ms_at};
    use crate::load::{
        client::{Ending, Route},
        drive::Sample,
    };

    fn sample(due_s: u64, latency_ms: u64, ending: Option<Ending>) -> Sample {
        Sample {
            n: 0,
            phase: 0,
            call: 0,
            due: Duration::from_secs(due_s),
            lag: Duration::from_micros(100),
            latency: Duration::from_millis(latency_ms),
            first: None,
            ending,
            route: Route::default(),
        }
    }

    #[test]
    fn only_complete_answers_have_a_latency() {
        let mut counts = Counts::default();
        counts.add(&sample(0, 10, Some(Ending::Complete)));
        counts.add(&sample(0, 9_000, Some(Ending::Refused(503, "overloaded".to_owned()))));
        counts.add(&sample(0, 9_000, Some(Ending::Refused(503, "again".to_owned()))));
        assert_eq!((counts.due, counts.complete, counts.failed()), (3, 1, 2));
        assert_eq!(counts.failures["status 503"], (2, "overloaded".to_owned()));
        assert!((ms_at(&counts.latency, 100.0) - 10.0).abs() < 0.1);
    }

    #[test]
    fn a_long_run_keeps_its_counts_in_few_windows() {
        let mut counts = Counts::default();
        (0..5_000).for_each(|second| counts.add(&sample(second, 10, Some(Ending::Complete))));
        assert!(counts.windows.len() <= WINDOWS_MAX);
        assert_eq!(counts.windows.iter().map(|window| window.due).sum::<u64>(), 5_000);
        assert_eq!(counts.windows.first().map(|window| window.due), Some(counts.window.as_secs()));
    }

    #[test]
    fn a_run_is_void_when_the_generator_was_late_or_full() {
        let bound = Duration::from_millis(10);
        let mut counts = Counts::default();
        (0..1_000).for_each(|_| counts.add(&sample(0, 10, Some(Ending::Complete))));
        assert_eq!(counts.void(bound), None);
        let mut late = counts.clone();
        (0..20).for_each(|_| {
            late.add(&Sample { lag: Duration::from_millis(30), ..sample(0, 10, Some(Ending::Complete)) });
        });
        assert!(late.void(bound).is_some_and(|reason| reason.contains("bottleneck")));
        (0..2).for_each(|_| counts.add(&sample(0, 0, None)));
        assert!(counts.void(bound).is_some_and(|reason| reason.contains("not sent")));
    }
}
