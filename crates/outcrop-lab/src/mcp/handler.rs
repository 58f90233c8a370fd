//! The server as the SDK calls it: who it is, what it offers, and the way to each tool.
//!
//! One handler serves all sessions and both transports. Over HTTP each request brings its [`Call`]; over stdio the
//! handler opens one itself and carries out the script, because there is no HTTP below it to break.

use std::{
    borrow::Cow,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use rmcp::{
    ErrorData, RoleServer, ServerHandler,
    model::{
        CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, Implementation,
        ListToolsResult, PaginatedRequestParams, ProtocolVersion, ServerCapabilities, ServerConfig, Tool,
    },
    service::RequestContext,
};
use serde_json::Value;

use super::{
    call::{Call, Gone},
    catalogue::{self, CONVERSE},
    converse::converse,
    stdio::Pipe,
    tools,
};
use crate::script::FaultKind;

/// Bytes a result grows by under the fault `huge`.
const HUGE_BYTES: usize = 20 * 1024 * 1024;

/// The MCP server behind every session.
#[derive(Debug, Clone, Default)]
pub(super) struct Handler {
    /// Executions of `write_note`.
    notes: Arc<AtomicU64>,
    /// Set where the server speaks over stdio.
    pipe: Option<Arc<Pipe>>,
}

impl Handler {
    /// A handler for stdio.
    pub(super) fn on(pipe: Arc<Pipe>) -> Self {
        Self { pipe: Some(pipe), ..Self::default() }
    }

    /// Forgets all notes.
    pub(super) fn reset(&self) {
        self.notes.store(0, Ordering::Relaxed);
    }

    async fn run(
        &self,
        call: &mut Call,
        request: CallToolRequestParams,
        context: &RequestContext<RoleServer>,
    ) -> Result<CallToolResult, Gone> {
        let arguments = Value::Object(request.arguments.unwrap_or_default());
        match request.name.as_ref() {
            CONVERSE => converse(call, &arguments, context).await,
            "slow" => tools::slow(call, &arguments, context).await,
            "echo" => Ok(tools::echo(call, &arguments)),
            "fail" => Ok(tools::fail(call, &arguments)),
            "add" => Ok(tools::add(call, &arguments)),
            _ => Ok(tools::write_note(call, &arguments, &self.notes)),
        }
    }

    /// The call that came with the HTTP request, or a fresh one over stdio.
    fn call(&self, tool: &str, context: &RequestContext<RoleServer>) -> Result<Call, ErrorData> {
        if let Some(pipe) = &self.pipe {
            return Ok(pipe.open(tool, context.meta.get_progress_token().is_some()));
        }
        let parts = context.extensions.get::<http::request::Parts>();
        let call = parts.and_then(|parts| parts.extensions.get::<Call>());
        call.cloned().ok_or_else(|| ErrorData::internal_error("request without its exchange", None))
    }
}

impl ServerHandler for Handler {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(Implementation::new("outcrop-lab", env!("CARGO_PKG_VERSION")))
            .with_instructions("Call `converse` to talk to a simulated model.")
    }

    fn supported_protocol_versions(&self) -> Cow<'static, [ProtocolVersion]> {
        Cow::Borrowed(ProtocolVersion::KNOWN_VERSIONS)
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        catalogue::find(name).cloned()
    }

    async fn list_tools(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(catalogue::tools().to_vec()))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        if catalogue::find(&request.name).is_none() {
            return Err(ErrorData::invalid_params(format!("Unknown tool: {}", request.name), None));
        }
        let mut call = self.call(&request.name, &context)?;
        if let Some(pipe) = &self.pipe
            && let Some(result) = pipe.interfere(&mut call, &context).await?
        {
            return Ok(result.into());
        }
        let outcome = self.run(&mut call, request, &context).await;
        if let Some(pipe) = &self.pipe {
            pipe.save_records().map_err(|error| ErrorData::internal_error(error.to_string(), None))?;
        }
        match outcome {
            Ok(mut result) => {
                if call.fault.is_some_and(|fault| fault.kind == FaultKind::Huge) {
                    result.content.push(ContentBlock::text("x".repeat(HUGE_BYTES)));
                }
                Ok(result.into())
            }
            // Nobody reads it: a cancelled request gets no answer.
            Err(Gone) => Err(ErrorData::internal_error("cancelled", None)),
        }
    }
}
