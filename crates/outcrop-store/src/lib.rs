//! What outlives a process: the ledger's allocator and journal, and the documents that replicas share.
//!
//! It decides nothing: it makes durable what others decide, hands out leases as the ledger's rules
//! say, and tells everybody who watches. The request path never waits for it (I-4). It knows nothing
//! of sockets, protocols or targets.
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::panic,
        clippy::indexing_slicing,
        reason = "tests stop at the first surprise"
    )
)]

mod allocate;
pub mod dispatch;
mod documents;
mod engine;
pub mod journal;
pub mod keeper;
pub mod keyed;
pub mod keys;
mod location;
mod machine;
mod neighbour;
pub mod register;
mod rows;
mod schema;
mod session;
mod store;
mod work;

pub use allocate::{AccountFilter, ReplicaView, SILENT_AFTER_MS};
pub use dispatch::{DispatchLog, Recovered, Slot};
pub use engine::EngineKind;
pub use keeper::{Keeper, KeeperHealth};
pub use keys::{Administrator, KeyDesk, KeyRecord, Pepper};
pub use location::Location;
pub use neighbour::Logs;
pub use register::{Documents, Register};
pub use store::Store;

/// Why the store cannot do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The engine refused or failed; nothing was changed, or it is not known whether it was.
    #[error("the store is not available: {0}")]
    Unavailable(String),
    /// What is stored cannot be read.
    #[error("the store holds something that cannot be read: {0}")]
    Unreadable(String),
    /// Another process uses it, or it was made by a newer version.
    #[error("the store cannot be used: {0}")]
    Refused(String),
}

#[cfg(test)]
mod tests;
