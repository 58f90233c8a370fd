//! Real faults of real processes: a lab that is killed, stopped or cut off, in front of it the real binary.
//!
//! Each test breaks the preferred target while requests keep coming, at a fixed rate and whatever became of
//! the earlier ones, and judges by what the callers saw: no error as long as the other kind is alive, none
//! later than its deadline, and the preferred target back in use soon after it has healed.
//!
//! Small by default. `OUTCROP_FAULT_REQUESTS=3000` asks so often per fault and direction and prints the time
//! that a failover adds; `OUTCROP_FAULT_PAUSE_MS` sets the pause between two requests (20). `OUTCROP_RECOVERY_TRIALS=50` breaks so many targets side by side, each for a time of
//! its own, and prints how long they take to come back. Links are cut in network namespaces, so those tests
//! need Linux, root and `ip`; where the user is not root they say so and end.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::cast_sign_loss,
    clippy::format_push_string,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "tests stop at the first surprise, spawn what their runtime ends, and print their figures"
)]

#[allow(dead_code, reason = "this suite needs a part of it")]
#[path = "../it/client.rs"]
mod client;

mod callers;
mod door;
mod fault;
mod gateway;
mod lab;
mod network;
mod scene;

mod hung;
mod lost;
mod mcp;
mod names;
mod outage;
mod refusing;
mod slow;
