//! Decisions: which targets may serve a request, in which order, and what their health is.
//!
//! Pure: no socket, no runtime, no log, no clock (I-7: `now` is a parameter). Knows nothing of bytes
//! on a wire, of HTTP or of configuration files.
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::panic,
        clippy::indexing_slicing,
        reason = "tests stop at the first surprise"
    )
)]

pub mod admission;
pub mod concurrency;
mod choose;
pub mod flags;
pub mod health;
pub mod impact;
pub mod ledger;
pub mod local;
pub mod operations;
pub mod optimizer;
pub mod price;
pub mod rates;
pub mod record;
pub mod replay;
pub mod residency;
pub mod resumes;
pub mod route;
pub mod scope;
pub mod stops;
pub mod switches;
pub mod tools;
pub mod walk;

pub use flags::Flag;
pub use health::Health;
pub use ledger::Ledger;
pub use price::PriceBook;
pub use rates::{RateSpec, Rates};
pub use record::{DecisionLog, Wanted};
pub use residency::Residency;
pub use resumes::Resumes;
pub use route::{Choice, Plan, Question, Routes, TargetSpec};
pub use scope::{Attribution, Facet, Scope};
pub use stops::{Level, Stop, Stops};
pub use switches::{Off, Switch, Switches};
