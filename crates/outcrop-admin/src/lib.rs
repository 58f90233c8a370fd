//! The operator's view: health, metrics, paths, targets and decision records, on sockets of its own:
//! one on loopback, one a file.
//!
//! It reads what the gateway shows through `View` and changes nothing. It knows nothing of the request
//! path: the data plane never waits for it (I-4), and the admin listener runs on its own thread.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic, reason = "tests stop at the first surprise"))]

pub mod access;
pub mod budgets;
mod exposition;
pub mod impact;
mod keyed;
mod keys;
mod listen;
mod local;
mod order;
mod refusal;
mod routes;
pub mod steering;
pub mod stops;
pub mod takeover;
pub mod view;

pub use budgets::budgets;
pub use impact::{Impact, impact};
pub use keyed::keyed;
pub use keys::{Keys, keys};
pub use listen::{Listener, serve, serve_until};
pub use local::Door;
pub use routes::router;
pub use steering::steering;
pub use stops::stops;
pub use takeover::takeover;
pub use view::{LoadView, PathView, PriorityLoad, Readiness, TargetView, View};
