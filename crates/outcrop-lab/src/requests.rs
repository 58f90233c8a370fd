//! The log of requests as a target saw them, for tests that ask what really went over the wire.
//!
//! Bounded; secrets in headers are shortened, because the log is readable over HTTP.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::exchange::Exchange;

/// Requests kept per target.
const REQUESTS_MAX: usize = 10_000;

/// Characters of a credential that stay readable.
const SECRET_CHARS_SHOWN: usize = 100;

/// One request as the target saw it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// The exchange's id.
    pub request_id: String,
    /// The method.
    pub method: String,
    /// The path and query, byte for byte.
    pub path: String,
    /// `HTTP/1.1` or `HTTP/2.0`.
    pub version: String,
    /// Headers with lower-case names; repeated ones joined by `, `.
    pub headers: BTreeMap<String, String>,
    /// SHA-256 of the body in hexadecimal.
    pub body_sha256: String,
    /// Length of the body.
    pub body_bytes: u64,
    /// Status of the answer; 0 while there is none.
    pub status: u16,
    /// Whether the caller left before the end of the answer.
    pub aborted_by_peer: bool,
    /// Events (or pieces of a whole body) handed to the transport.
    pub events_sent: u64,
    /// Whether the exchange is over, well or badly.
    pub ended: bool,
    /// Milliseconds since 1970 at arrival.
    pub at_ms: u64,
}

/// The running entry of one request; its counters move while the answer does.
#[derive(Debug)]
pub struct Entry {
    seen: Seen,
    status: AtomicU16,
    aborted: AtomicBool,
    /// The script broke the answer, so a caller that leaves afterwards did not abort it.
    broken: AtomicBool,
    events: AtomicU64,
    ended: CancellationToken,
}

/// The log of one target.
#[derive(Debug, Default)]
pub struct Requests {
    entries: Mutex<VecDeque<Arc<Entry>>>,
}

impl Requests {
    /// Opens the entry of an exchange.
    pub(crate) fn open(&self, exchange: &Exchange) -> Arc<Entry> {
        let entry = Arc::new(Entry::new(exchange));
        let mut entries = self.entries.lock();
        if entries.len() == REQUESTS_MAX {
            entries.pop_front();
        }
        entries.push_back(Arc::clone(&entry));
        entry
    }

    /// All kept requests, oldest first.
    pub fn list(&self) -> Vec<Seen> {
        let entries: Vec<Arc<Entry>> = self.entries.lock().iter().cloned().collect();
        entries.iter().map(|entry| entry.seen()).collect()
    }

    /// Forgets everything.
    pub fn clear(&self) {
        self.entries.lock().clear();
    }
}

impl Entry {
    fn new(exchange: &Exchange) -> Self {
        let received = &exchange.received;
        let path = match &received.query {
            Some(query) => format!("{}?{query}", received.path),
            None => received.path.clone(),
        };
        let mut headers: BTreeMap<String, String> = BTreeMap::new();
        for (name, value) in &received.headers {
            let text = shown(name.as_str(), &String::from_utf8_lossy(value.as_bytes()));
            headers
                .entry(name.as_str().to_owned())
                .and_modify(|all| {
                    all.push_str(", ");
                    all.push_str(&text);
                })
                .or_insert(text);
        }
        Self {
            seen: Seen {
                request_id: exchange.request_id.clone(),
                method: received.method.to_string(),
                path,
                version: format!("{:?}", received.version),
                headers,
                body_sha256: sha256_hex(&received.body),
                body_bytes: received.body.len() as u64,
                status: 0,
                aborted_by_peer: false,
                events_sent: 0,
                ended: false,
                at_ms: exchange.at_ms,
            },
            status: AtomicU16::new(0),
            aborted: AtomicBool::new(false),
            broken: AtomicBool::new(false),
            events: AtomicU64::new(0),
            ended: CancellationToken::new(),
        }
    }

    fn seen(&self) -> Seen {
        Seen {
            status: self.status.load(Ordering::Acquire),
            aborted_by_peer: self.aborted.load(Ordering::Acquire),
            events_sent: self.events.load(Ordering::Acquire),
            ended: self.ended.is_cancelled(),
            ..self.seen.clone()
        }
    }

    pub(crate) fn answered(&self, status: http::StatusCode) {
        self.status.store(status.as_u16(), Ordering::Release);
    }

    pub(crate) fn sent_event(&self) {
        self.events.fetch_add(1, Ordering::AcqRel);
    }

    pub(crate) fn break_off(&self) {
        self.broken.store(true, Ordering::Release);
    }

    pub(crate) fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Acquire)
    }

    pub(crate) fn is_aborted(&self) -> bool {
        self.aborted.load(Ordering::Acquire)
    }

    /// Waits until the transport is done with the answer.
    pub(crate) async fn ended(&self) {
        self.ended.cancelled().await;
    }

    /// Ends the entry; `early` tells that the peer gave up before the answer's end.
    pub(crate) fn end(&self, early: bool) {
        if early && !self.is_broken() {
            self.aborted.store(true, Ordering::Release);
        }
        self.ended.cancel();
    }
}

/// SHA-256 in hexadecimal.
pub fn sha256_hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    digest.as_ref().iter().fold(String::with_capacity(64), |mut hex, byte| {
        // Writing to a String cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// Credentials are shortened to what tells them apart; the parts of a signature that are public stay.
fn shown(name: &str, value: &str) -> String {
    let chars_max = match name {
        "authorization" if value.starts_with("AWS4") => {
            value.find("Signature=").unwrap_or(SECRET_CHARS_SHOWN)
        }
        "authorization" | "x-api-key" | "x-amz-security-token" => SECRET_CHARS_SHOWN,
        _ => return value.to_owned(),
    };
    if value.chars().count() <= chars_max {
        return value.to_owned();
    }
    let start: String = value.chars().take(chars_max).collect();
    format!("{start}…")
}
