//! One attempt at one target: the only outbound sockets of the gateway.
//!
//! An attempt takes a request envelope and a concrete model, speaks the target's protocol (signed,
//! with credentials of the operator) and gives back an answer or a classified failure. It knows no
//! routes, no budgets and no callers, and never tries twice except once after fresh credentials.
//! Invariant: the upstream request is built here from allow-listed parts, never copied.
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::panic,
        clippy::indexing_slicing,
        reason = "tests stop at the first surprise"
    )
)]

pub mod attempt;
pub mod dispatch;
pub mod path;
pub mod spec;
pub mod stream;
pub mod tier;
mod upstreams;

pub mod anthropic;
pub mod bedrock;
pub mod mcp;
pub mod openai;

mod call;
mod client;
mod clock;
mod connect;
mod endpoint;
mod outcome;
mod want;

pub use attempt::{Answer, AnswerBody, Attempt, Whole};
pub use dispatch::Dispatch;
pub use path::{Path, speaks};
pub use spec::{
    BedrockSpec, Connect, CredentialSpec, HttpSpec, KindSpec, McpSpec, McpTransport, PathSpec, Progress,
};
pub use stream::AnswerStream;
pub use tier::has_tiers;
pub use upstreams::{BuildError, Upstreams};
