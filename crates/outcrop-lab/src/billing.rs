//! The billing record: the independent witness of what ran and what it costs.
//!
//! One record per request that asked a model for something, written when the execution ends, whoever saw the
//! answer. Money is in integers of a billionth of a dollar, rounded up once per record.

use std::collections::VecDeque;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::{clock, prices};

/// Records kept per target; the totals go on counting.
const RECORDS_MAX: usize = 200_000;

/// One request to a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The exchange's id, also in the answer's headers.
    pub request_id: String,
    /// The number that the prompt's directive `[[id=…]]` gave the request, to find it again behind a gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<u64>,
    /// The target.
    pub target: String,
    /// The model as the caller named it.
    pub model: String,
    /// The operation.
    pub operation: String,
    /// Whether a stream was asked for.
    pub stream: bool,
    /// Prompt tokens not read from the cache.
    pub input_tokens: u64,
    /// Tokens made.
    pub output_tokens: u64,
    /// Prompt tokens read from the cache.
    pub cache_read_tokens: u64,
    /// Prompt tokens written to the cache.
    pub cache_write_tokens: u64,
    /// Price of the execution in billionths of a dollar.
    pub cost_nusd: u64,
    /// Whether the model ran.
    pub executed: bool,
    /// Whether the answer was made to its end.
    pub completed: bool,
    /// Whether the caller left before the end of the answer.
    pub client_gone: bool,
    /// Milliseconds since 1970 at the request's arrival.
    pub at_ms: u64,
    /// Milliseconds from the arrival until the record was made: what the upstream itself took.
    #[serde(default)]
    pub took_ms: u64,
}

/// Sums over all records since the last clearing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Requests.
    pub requests: u64,
    /// Of these, the executed ones.
    pub executed: u64,
    /// Prompt tokens not read from a cache.
    pub input_tokens: u64,
    /// Tokens made.
    pub output_tokens: u64,
    /// Prompt tokens read from a cache.
    pub cache_read_tokens: u64,
    /// Prompt tokens written to a cache.
    pub cache_write_tokens: u64,
    /// Billionths of a dollar.
    pub cost_nusd: u64,
}

/// The records of one target.
#[derive(Debug)]
pub struct Billing {
    kept: Mutex<Kept>,
    /// Wakes those who wait for a number of records.
    count: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Kept {
    records: VecDeque<Record>,
    totals: Totals,
    /// Requests that arrived earlier belong to a time that was reset.
    not_before_ms: u64,
}

impl Default for Billing {
    fn default() -> Self {
        Self { kept: Mutex::default(), count: watch::Sender::new(0) }
    }
}

impl Billing {
    /// Adds a record; its cost and its time are computed here and nowhere else.
    pub fn record(&self, mut record: Record) {
        record.cost_nusd = if record.executed { cost_nusd(&record) } else { 0 };
        record.took_ms = clock::now_ms().saturating_sub(record.at_ms);
        let requests = {
            let mut kept = self.kept.lock();
            if record.at_ms < kept.not_before_ms {
                return;
            }
            kept.totals.add(&record);
            if kept.records.len() == RECORDS_MAX {
                kept.records.pop_front();
            }
            kept.records.push_back(record);
            kept.totals.requests
        };
        self.count.send_replace(requests);
    }

    /// All kept records, oldest first.
    pub fn records(&self) -> Vec<Record> {
        self.kept.lock().records.iter().cloned().collect()
    }

    /// The sums.
    pub fn totals(&self) -> Totals {
        self.kept.lock().totals
    }

    /// Waits until at least so many records were made since the last clearing.
    pub async fn reached(&self, requests: u64) {
        let mut count = self.count.subscribe();
        // The sender lives in `self`, so the wait cannot fail while we borrow it.
        let _ = count.wait_for(|made| *made >= requests).await;
    }

    /// Forgets everything, and what is still to come of requests that arrived before `now_ms`: the bill of
    /// a stream that its caller left comes late.
    pub fn reset(&self, now_ms: u64) {
        *self.kept.lock() = Kept { not_before_ms: now_ms, ..Kept::default() };
        self.count.send_replace(0);
    }

    /// Forgets everything.
    pub fn clear(&self) {
        *self.kept.lock() = Kept::default();
        self.count.send_replace(0);
    }
}

/// The cost of a record's tokens, rounded up.
fn cost_nusd(record: &Record) -> u64 {
    let price = prices::of_model(&record.model);
    let thousandths = record.input_tokens * price.input
        + record.output_tokens * price.output
        + record.cache_read_tokens * price.cache_read
        + record.cache_write_tokens * price.cache_write;
    thousandths.div_ceil(1_000)
}

impl Totals {
    /// Adds one record.
    pub fn add(&mut self, record: &Record) {
        self.merge(&Self {
            requests: 1,
            executed: u64::from(record.executed),
            input_tokens: record.input_tokens,
            output_tokens: record.output_tokens,
            cache_read_tokens: record.cache_read_tokens,
            cache_write_tokens: record.cache_write_tokens,
            cost_nusd: record.cost_nusd,
        });
    }

    /// Adds other sums.
    pub fn merge(&mut self, other: &Self) {
        self.requests += other.requests;
        self.executed += other.executed;
        self.input_tokens += other.input_tokens;
        self.output_tokens += other.output_tokens;
        self.cache_read_tokens += other.cache_read_tokens;
        self.cache_write_tokens += other.cache_write_tokens;
        self.cost_nusd += other.cost_nusd;
    }
}
