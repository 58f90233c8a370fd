//! An answer in flight, from whichever source it comes.
//!
//! Invariant: `Ok(None)` is returned only after the protocol's terminal event; any other end is a
//! failure, so a cut answer can never be taken for a whole one. Dropping the stream cancels the
//! upstream request.

use outcrop_core::Failure;
use outcrop_wire::Item;

use crate::call::HttpStream;
use crate::mcp::McpStream;

/// An answer in flight.
#[derive(Debug)]
pub struct AnswerStream {
    source: Source,
    passes_raw: bool,
}

#[derive(Debug)]
enum Source {
    Http(Box<HttpStream>),
    Mcp(Box<McpStream>),
}

impl AnswerStream {
    pub(crate) fn http(stream: HttpStream, passes_raw: bool) -> Self {
        Self { source: Source::Http(Box::new(stream)), passes_raw }
    }

    /// A stream of MCP events; their raw bytes are never the caller's protocol.
    pub(crate) fn mcp(stream: McpStream) -> Self {
        Self { source: Source::Mcp(Box::new(stream)), passes_raw: false }
    }

    /// The next item; `None` once the answer is complete. Cancel safe.
    pub async fn next(&mut self) -> Result<Option<Item>, Failure> {
        match &mut self.source {
            Source::Http(stream) => stream.next().await,
            Source::Mcp(stream) => stream.next().await,
        }
    }

    /// Whether the raw bytes of the items may be sent to the caller unchanged.
    pub fn passes_raw(&self) -> bool {
        self.passes_raw
    }
}
