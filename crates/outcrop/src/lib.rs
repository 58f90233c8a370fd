//! The binary's parts: command line, configuration, wiring and signals.
//!
//! This crate alone knows all others. It decides nothing about requests: it reads the configuration,
//! builds the parts in dependency order, and hands sockets over.
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::panic,
        clippy::indexing_slicing,
        reason = "tests stop at the first surprise"
    )
)]

mod admin;
mod authority;
mod budget;
mod budgeting;
pub mod certify;
mod check;
pub mod cli;
mod clock;
pub mod config;
mod demo;
mod explain;
pub mod export;
mod flag;
mod impact;
mod impacting;
mod key;
mod lab;
mod logging;
pub mod memory;
pub mod operator;
mod optimizing;
mod overlay;
mod recommendations;
mod reload;
mod secret_file;
mod replay;
mod steering;
mod stop;
mod stopping;
pub mod serve;
pub mod snapshot;
mod store;
mod takeover;
mod target;
mod tls;
mod view;
