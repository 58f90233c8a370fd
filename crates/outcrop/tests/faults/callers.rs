//! Callers at a fixed rate, whatever becomes of the earlier ones, and what they saw.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::Method;
use serde_json::json;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use crate::client;

/// What each caller says it waits at most.
pub(crate) const DEADLINE: Duration = Duration::from_secs(4);

/// How much later than its deadline an answer may be.
const GRACE: Duration = Duration::from_millis(100);

/// Where and how they ask.
#[derive(Debug, Clone)]
pub(crate) struct Callers {
    pub(crate) gateway: SocketAddr,
    pub(crate) operation: &'static str,
}

/// What came of one request.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    /// Since the first request of its load.
    pub(crate) at: Duration,
    pub(crate) status: u16,
    pub(crate) path: String,
    pub(crate) attempts: usize,
    /// To the whole answer, or the head of a stream.
    pub(crate) took: Duration,
    /// How late this process itself was at the worst during the load: the machine's fault, nobody else's.
    pub(crate) lag: Duration,
    /// A stream that broke after it had begun.
    pub(crate) broke: bool,
    pub(crate) said: String,
}

impl Told {
    pub(crate) fn is_error(&self) -> bool {
        self.status != 200
    }

    /// The machine-readable code of a refusal, as far as one was said.
    pub(crate) fn code(&self) -> &str {
        let found = self.said.split_once("\"code\":\"").and_then(|(_, rest)| rest.split_once('"'));
        found.map_or("", |(code, _)| code)
    }

    pub(crate) fn is_late(&self) -> bool {
        self.took > DEADLINE + GRACE + self.lag
    }
}

impl Callers {
    /// Asks `count` times for a model, with a pause between two begins; every second answer is a stream.
    pub(crate) async fn load(&self, model: &str, count: usize, pause: Duration) -> Vec<Told> {
        let mut ticks = interval(pause);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let lag = Arc::new(AtomicU64::new(0));
        let watch = tokio::spawn(watch_lag(Arc::clone(&lag)));
        let start = Instant::now();
        let mut running = Vec::with_capacity(count);
        for number in 0..count {
            ticks.tick().await;
            let (callers, model) = (self.clone(), model.to_owned());
            running.push(tokio::spawn(async move {
                let at = start.elapsed();
                Told { at, ..callers.ask(&model, number % 2 == 1).await }
            }));
        }
        let mut all = Vec::with_capacity(count);
        for one in running {
            all.push(one.await.unwrap());
        }
        watch.abort();
        let lag = Duration::from_micros(lag.load(Ordering::Relaxed));
        for told in &mut all {
            told.lag = lag;
        }
        all
    }

    /// Asks once.
    pub(crate) async fn ask(&self, model: &str, stream: bool) -> Told {
        let start = Instant::now();
        let asked = timeout(DEADLINE * 2, self.ask_for(model, stream, start)).await;
        asked.unwrap_or_else(|_| Err("no answer at all".to_owned())).unwrap_or_else(|said| Told {
            at: Duration::ZERO,
            status: 0,
            path: String::new(),
            attempts: 0,
            took: start.elapsed(),
            lag: Duration::ZERO,
            broke: false,
            said,
        })
    }

    async fn ask_for(&self, model: &str, stream: bool, start: Instant) -> Result<Told, String> {
        let body = json!({
            "model": model, "stream": stream, "max_tokens": 16,
            "messages": [{"role": "user", "content": "[[tokens=4]]"}],
        });
        let deadline = DEADLINE.as_millis().to_string();
        let headers = [
            ("content-type", "application/json"),
            ("x-outcrop-operation", self.operation),
            ("x-outcrop-deadline-ms", &deadline),
        ];
        let path = "/v1/chat/completions";
        let response = client::open(self.gateway, Method::POST, path, &headers, body.to_string()).await?;
        let head = start.elapsed();
        let answer = client::read(response).await;
        let whole = answer.whole && (!stream || answer.text().contains("[DONE]"));
        let took = if stream { head } else { start.elapsed() };
        // A whole answer that is cut is an error; a stream that is cut had begun.
        let status = if answer.status == 200 && !whole && !stream { 0 } else { answer.status };
        Ok(Told {
            at: Duration::ZERO,
            status,
            path: answer.header("x-outcrop-path").to_owned(),
            attempts: answer.header("x-outcrop-attempts").parse().unwrap_or(0),
            took,
            lag: Duration::ZERO,
            broke: stream && answer.status == 200 && !whole,
            said: if answer.status == 200 { String::new() } else { answer.text() },
        })
    }
}

/// Keeps the longest oversleep, in microseconds.
async fn watch_lag(lag: Arc<AtomicU64>) {
    let pause = Duration::from_millis(5);
    loop {
        let start = Instant::now();
        sleep(pause).await;
        lag.fetch_max(start.elapsed().saturating_sub(pause).as_micros() as u64, Ordering::Relaxed);
    }
}

/// The time below which this share of requests was answered.
pub(crate) fn quantile(told: &[&Told], share: f64) -> Duration {
    let mut times: Vec<Duration> = told.iter().map(|told| told.took).collect();
    times.sort();
    let at = ((times.len() as f64 * share).ceil() as usize).clamp(1, times.len().max(1)) - 1;
    times.get(at).copied().unwrap_or_default()
}
