//! The words of the domain: what is asked, what is answered, where it may go and how it can fail.
//!
//! Everything here is plain data. This crate knows no protocol, no socket, no clock and no
//! configuration file; every other crate speaks in its terms, so a word has one meaning (see
//! `ARCHITECTURE.md`, "Words").
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic, reason = "tests"))]

pub mod ask;
pub mod decision;
pub mod event;
pub mod failure;
pub mod id;
pub mod money;
pub mod operation;
pub mod path;
pub mod protocol;
pub mod reply;
pub mod role;
pub mod usage;

pub use ask::{Ask, Chat, Embed};
pub use event::Event;
pub use failure::{Class, Code, Failure, Origin, Reason};
pub use id::{AttemptId, RequestId, TargetId};
pub use operation::{Operation, Priority};
pub use path::PathKind;
pub use protocol::{Dialect, Protocol};
pub use reply::Reply;
pub use role::Role;
pub use usage::Usage;
