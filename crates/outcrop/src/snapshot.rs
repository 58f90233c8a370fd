//! From a checked configuration to the snapshot that requests see.

use std::sync::Arc;

use outcrop_proxy::Snapshot;
use outcrop_upstream::{BuildError, Upstreams};
use tokio_util::task::TaskTracker;

use crate::config::Checked;

/// Builds version `version` of the snapshot; paths that did not change keep their pools.
pub fn build(
    checked: &Checked,
    version: u64,
    previous: Option<&Upstreams>,
    tasks: &TaskTracker,
) -> Result<Snapshot, BuildError> {
    let upstreams = Upstreams::build(&checked.paths, previous, tasks)?;
    Ok(Snapshot {
        version,
        routes: checked.routes.clone(),
        rates: checked.rates.clone(),
        upstreams: Arc::new(upstreams),
        auth: checked.auth.clone(),
        limits: checked.limits,
        streams: checked.streams,
        mcp_hosts: checked.mcp_hosts.clone(),
    })
}
