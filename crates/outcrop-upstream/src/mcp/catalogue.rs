//! The tools a server offers, listed within bounds.
//!
//! A server decides how many pages there are and what its cursors mean, so the list ends by count,
//! by time, by a cursor seen before, or by size; what was read until then is kept. Definitions are
//! hashed so that a change can be told later; nothing is judged here.

use std::collections::HashSet;
use std::fmt::Write;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use outcrop_core::Reason;
use rmcp::RoleClient;
use rmcp::model::{PaginatedRequestParams, Tool};
use rmcp::service::Peer;
use tokio::time::Instant;

use super::outcome::{self, CallError};

const PAGES_MAX: usize = 100;
const LIST_TIME_MAX: Duration = Duration::from_secs(10);
const CATALOGUE_BYTES_MAX: usize = 256 * 1024;

/// The tools of one server.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Catalogue {
    /// The tools, as the server describes them, each name once.
    pub tools: Vec<Tool>,
    /// SHA-256 over the definitions, in lower-case hexadecimal.
    pub sha256: String,
    /// Why the list may be incomplete.
    pub cut: Option<Cut>,
}

/// Why a list was ended before the server ended it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// More than 100 pages.
    Pages,
    /// More than 10 seconds, or the deadline.
    Time,
    /// A cursor came twice.
    Cycle,
    /// More than 256 KiB of definitions.
    Bytes,
}

/// Lists the tools of a server until `deadline` at most.
pub(super) async fn list(peer: &Peer<RoleClient>, deadline: Instant) -> Result<Catalogue, CallError> {
    let deadline = deadline.min(Instant::now() + LIST_TIME_MAX);
    let mut gathered = Gathered::default();
    let mut cursor = None;
    for _ in 0..PAGES_MAX {
        let params = PaginatedRequestParams::default().with_cursor(cursor.take());
        let listed = tokio::time::timeout_at(deadline, peer.list_tools(Some(params))).await;
        let page = match listed {
            Ok(Ok(page)) => page,
            Ok(Err(error)) if gathered.tools.is_empty() => {
                return Err(outcome::of_call(error, Reason::Reset));
            }
            Err(_) if gathered.tools.is_empty() => {
                let late = crate::outcome::late("tools/list was not answered in time");
                return Err(CallError::Failed(late));
            }
            Ok(Err(_)) | Err(_) => return Ok(gathered.seal(Some(Cut::Time))),
        };
        if !page.tools.into_iter().all(|tool| gathered.add(tool)) {
            return Ok(gathered.seal(Some(Cut::Bytes)));
        }
        match page.next_cursor {
            // An empty cursor is a valid one, so only a cursor seen before ends the list.
            Some(next) if gathered.cursors.insert(next.clone()) => cursor = Some(next),
            Some(_) => return Ok(gathered.seal(Some(Cut::Cycle))),
            None => return Ok(gathered.seal(None)),
        }
    }
    Ok(gathered.seal(Some(Cut::Pages)))
}

#[derive(Default)]
struct Gathered {
    tools: Vec<Tool>,
    names: HashSet<String>,
    cursors: HashSet<String>,
    bytes: usize,
    text: Vec<u8>,
}

impl Gathered {
    /// Adds a tool whose name is not there yet; `false` when it no longer fits.
    fn add(&mut self, tool: Tool) -> bool {
        if self.names.contains(&*tool.name) {
            return true;
        }
        let definition = serde_json::to_vec(&tool).unwrap_or_default();
        self.bytes += definition.len();
        if self.bytes > CATALOGUE_BYTES_MAX {
            return false;
        }
        self.text.extend_from_slice(&definition);
        self.text.push(b'\n');
        self.names.insert(tool.name.to_string());
        self.tools.push(tool);
        true
    }

    fn seal(self, cut: Option<Cut>) -> Catalogue {
        let mut sha256 = String::with_capacity(64);
        for byte in digest(&SHA256, &self.text).as_ref() {
            // Writing into a string cannot fail.
            let _ = write!(sha256, "{byte:02x}");
        }
        Catalogue { tools: self.tools, sha256, cut }
    }
}
