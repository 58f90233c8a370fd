//! What the callers saw, per operation.

use std::collections::BTreeMap;
use std::sync::Mutex;

use hdrhistogram::Histogram;
use outcrop_policy::operations;

use super::caller::Seen;

/// Counts per operation.
#[derive(Default)]
pub(crate) struct Tally {
    rows: Mutex<BTreeMap<&'static str, Row>>,
}

/// Counts of one operation.
#[derive(Clone)]
pub(crate) struct Row {
    pub(crate) requests: u64,
    pub(crate) errors: u64,
    pub(crate) met: u64,
    pub(crate) failovers: u64,
    pub(crate) paths: BTreeMap<String, u64>,
    pub(crate) first_error: Option<String>,
    micros: Histogram<u64>,
}

/// Longest time the histogram tells apart: ten minutes in microseconds.
const MICROS_MAX: u64 = 600_000_000;

impl Row {
    fn empty() -> Self {
        let micros = Histogram::new_with_bounds(1, MICROS_MAX, 3)
            .expect("invariant: 1 < MICROS_MAX and 3 digits are what the histogram asks for");
        Self {
            requests: 0,
            errors: 0,
            met: 0,
            failovers: 0,
            paths: BTreeMap::new(),
            first_error: None,
            micros,
        }
    }

    /// A percentile in milliseconds.
    pub(crate) fn ms_at(&self, percentile: f64) -> f64 {
        self.micros.value_at_percentile(percentile) as f64 / 1000.0
    }
}

impl Tally {
    /// Counts one answer.
    pub(crate) fn count(&self, operation: &'static str, seen: &Seen) {
        let deadline = operations::shipped().iter().find(|o| *o.name == *operation).map(|o| o.deadline);
        let mut rows = self.rows.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let row = rows.entry(operation).or_insert_with(Row::empty);
        row.requests += 1;
        row.errors += u64::from(!seen.complete);
        row.met += u64::from(seen.complete && deadline.is_some_and(|d| seen.answered <= d));
        row.failovers += u64::from(seen.attempts > 1);
        if !seen.path.is_empty() {
            *row.paths.entry(seen.path.clone()).or_default() += 1;
        }
        if row.first_error.is_none() {
            row.first_error.clone_from(&seen.error);
        }
        row.micros.saturating_record(u64::try_from(seen.answered.as_micros()).unwrap_or(MICROS_MAX));
    }

    /// The rows in the order of the shipped table.
    pub(crate) fn rows(&self) -> Vec<(String, Row)> {
        let rows = self.rows.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        operations::shipped()
            .iter()
            .filter_map(|o| rows.get(&*o.name).map(|row| (o.name.to_string(), row.clone())))
            .collect()
    }
}
