//! The framework and the simulated Bedrock over bare sockets: signatures, every fault, the bill, the control API.
#![allow(clippy::unwrap_used, clippy::panic, clippy::disallowed_methods, reason = "tests")]

mod caller;
mod wire;

mod bedrock;
mod billing;
mod control;
mod faults;
mod seed;
