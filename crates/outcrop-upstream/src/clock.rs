//! The wall clock, which only signatures and the life of credentials depend on.
//!
//! Everything that measures or waits uses tokio's clock instead.

use std::time::SystemTime;

/// The time of day.
#[expect(clippy::disallowed_methods, reason = "the one place of this crate that reads the wall clock")]
pub(crate) fn wall() -> SystemTime {
    SystemTime::now()
}
