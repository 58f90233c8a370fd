//! The gateway as its users meet it: the real one in this process on free ports, in front of a real lab.
//!
//! One module per capability. Every test has a lab and a gateway of its own, so all run in parallel. What
//! ran how often is read from the lab's billing records, never from the gateway.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::cast_sign_loss,
    clippy::format_collect,
    clippy::format_push_string,
    reason = "tests stop at the first surprise, spawn what their runtime ends, and are no hot path"
)]

mod advice;
mod api;
mod client;
mod house;

mod aborts;
mod admin;
mod answers;
mod auth;
mod bounds;
mod budget_admin;
mod budgets;
mod budgets_crash;
mod budgets_exact;
mod certify_report;
mod command_line;
mod config;
mod credentials;
mod deadlines;
mod decisions;
mod drain;
mod errors;
mod failover;
mod flags;
mod hostile;
mod impact;
mod input_count;
mod keyed;
mod keys;
mod limits;
mod overload;
mod pass_through;
mod prices;
mod rates;
mod reload;
mod residency;
mod resume;
mod routing;
mod side_effects;
mod spending;
mod stop;
mod streaming;
mod tiers;
