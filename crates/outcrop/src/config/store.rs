//! Checks of `[store]`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use outcrop_store::Location;
use toml::Spanned;

use super::check::Findings;
use super::raw;

/// Where the store is unless the file says otherwise: beside it.
const URL: &str = "sqlite:outcrop.db";
/// Where the dispatch log of a replica is unless the file says otherwise: beside it.
const DISPATCH_LOG: &str = "outcrop.dispatch";
/// Longest wait for one answer of the store, unless the file says otherwise.
const GRANT_WAIT_MAX: Duration = Duration::from_millis(50);
/// How long entries of the journal are kept, unless the file says otherwise: 400 days.
const RETENTION: Duration = Duration::from_hours(24 * 400);

/// What a file says of its store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreSpec {
    /// Where it is.
    pub location: Location,
    /// The dispatch log; `None` keeps it in memory.
    pub dispatch_log: Option<PathBuf>,
    /// Longest wait for one answer of the store.
    pub grant_wait_max: Duration,
    /// How long entries of the journal are kept.
    pub retention: Duration,
}

/// Checks where the store is; `folder` is the file's own.
pub(crate) fn store(raw: &raw::Store, folder: &Path, findings: &mut Findings) -> StoreSpec {
    let text = raw.url.as_ref().map_or(URL, |url| &**url.get_ref());
    let location = Location::parse(text, folder).map_err(|error| error.to_string());
    let at = raw.url.as_ref().map_or(0..0, Spanned::span);
    let location = findings.take(at, location, Location::Memory);
    let named = raw.dispatch_log.as_ref().map(|path| folder.join(&**path));
    let usual = match &location {
        Location::Memory => None,
        Location::Sqlite(_) => location.dispatch_log(),
        Location::Postgres(_) => Some(folder.join(DISPATCH_LOG)),
    };
    StoreSpec {
        dispatch_log: named.or(usual),
        grant_wait_max: findings.duration(raw.grant_wait_max.as_ref(), GRANT_WAIT_MAX),
        retention: findings.duration(raw.retention.as_ref(), RETENTION),
        location,
    }
}
