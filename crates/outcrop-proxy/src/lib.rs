//! The life of one request, one file per step, in the order in which a request meets them.
//!
//! Start reading at `exchange.rs`: it is the whole story as one function. This crate decides nothing
//! by itself (`outcrop-policy` does), reads no protocol by itself (`outcrop-wire` does) and opens no
//! outbound socket (`outcrop-upstream` does). It knows nothing of the admin listener.
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::panic,
        clippy::indexing_slicing,
        reason = "tests stop at the first surprise"
    )
)]

mod admit;
pub mod authenticate;
mod body;
mod clock;
mod committed;
mod count;
pub mod exchange;
pub mod explain;
mod drain;
mod failover;
mod flow;
pub mod gate;
pub mod gateway;
mod headers;
mod hedge;
pub mod intake;
mod leg;
pub mod listen;
pub mod mcp;
pub mod metrics;
mod models;
mod opening;
pub mod optional;
mod patience;
mod payer;
mod plan;
pub mod probe;
mod rates;
mod refuse;
mod relay;
mod reserve;
mod resume;
mod settle;
pub mod slots;
pub mod stages;
pub mod surface;
mod throughput;
mod trial;

pub use authenticate::{Auth, Caller, Holder, KeyTable, Keyring, StoredKeys};
pub use explain::{Described, Explained, explain};
pub use gate::Gate;
pub use gateway::{Gateway, Limits, Parts, Snapshot, StreamLimits};
pub use listen::{Ending, ListenLimits, serve};
pub use metrics::Metrics;
pub use optional::Work;
pub use slots::{MemoryReading, SlotLimits, Slots};
pub use throughput::Floor;
