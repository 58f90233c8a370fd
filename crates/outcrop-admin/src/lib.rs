//! The operator's view: health, metrics, paths, targets and decision records, on a socket of its own.
//!
//! It reads what the gateway shows through `View` and changes nothing. It knows nothing of the request
//! path: the data plane never waits for it (I-4), and the admin listener runs on its own thread.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic, reason = "tests stop at the first surprise"))]

mod exposition;
mod listen;
mod local;
mod routes;
pub mod view;

pub use listen::{serve, serve_until};
pub use routes::router;
pub use view::{PathView, Readiness, TargetView, View};
