//! Attempts over real sockets: what leaves, what comes back, and how each failure is classified.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "tests stop at the first surprise, and own their tasks, clocks and environment"
)]

mod bedrock;
mod connections;
mod credentials;
mod fake;
mod http2;
mod leaving;
mod requests;
mod simulated;
mod streams;
mod whole;
mod world;
