//! The gateway as an MCP client: who it says it is, and what it lets servers ask of it.
//!
//! It declares no capability: sampling, elicitation and roots are refused by the SDK's defaults, so
//! a server can never make the gateway call a model or a human on its behalf.

use std::sync::Arc;

use rmcp::model::{ClientCapabilities, ClientConfig, Implementation, ProtocolVersion};
use rmcp::service::NotificationContext;
use rmcp::{ClientHandler, RoleClient};

use super::board::Board;

/// The gateway as an MCP client.
#[derive(Debug)]
pub(crate) struct Handler {
    board: Arc<Board>,
}

impl Handler {
    pub(crate) fn new(board: Arc<Board>) -> Self {
        Self { board }
    }
}

impl ClientHandler for Handler {
    fn get_info(&self) -> ClientConfig {
        let name = Implementation::new("outcrop", env!("CARGO_PKG_VERSION"));
        ClientConfig::new(ClientCapabilities::default(), name)
            .with_protocol_version(ProtocolVersion::V_2025_11_25)
    }

    async fn on_tool_list_changed(&self, _context: NotificationContext<RoleClient>) {
        self.board.tools_changed();
    }
}
