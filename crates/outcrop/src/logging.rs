//! Structured logs: one JSON line each on standard error, written by a thread of their own.

use std::io::BufWriter;

use tracing_appender::non_blocking::WorkerGuard;
use tracing_subscriber::EnvFilter;

/// Our own lines from `info`; of the libraries only what is wrong.
const DEFAULT: &str = "warn,rmcp=error,outcrop=info,outcrop_proxy=info,outcrop_upstream=info";

/// Starts logging; lines are flushed when the guard is dropped. `OUTCROP_LOG` sets the levels, in the
/// syntax of `RUST_LOG`. A log nobody reads loses lines; requests never wait.
pub(crate) fn start() -> WorkerGuard {
    // The writer's thread flushes when it has caught up: under load many lines are one write.
    let stderr = BufWriter::with_capacity(64 * 1024, std::io::stderr());
    let (writer, guard) = tracing_appender::non_blocking(stderr);
    let filter = EnvFilter::try_from_env("OUTCROP_LOG").unwrap_or_else(|_| EnvFilter::new(DEFAULT));
    // A second start in one process (tests) keeps the first subscriber.
    let _ = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false)
        .with_writer(writer)
        .with_env_filter(filter)
        .try_init();
    guard
}
