//! The MCP server behind the gateway.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, ErrorData, ListToolsResult,
    PaginatedRequestParams, ProgressNotificationParam, ServerCapabilities, ServerConfig, Tool,
};
use rmcp::service::RequestContext;
use rmcp::{RoleServer, ServerHandler};
use serde_json::{Value, json};
use tokio::sync::Notify;

/// What the server saw.
#[derive(Default)]
pub(super) struct Desk {
    pub(super) calls: AtomicUsize,
    pub(super) reached: Notify,
    pub(super) cancelled: Notify,
    /// Lets a pausing answer go on after its first word.
    pub(super) go_on: Notify,
}

#[derive(Clone, Default)]
pub(super) struct Handler(pub(super) Arc<Desk>);

impl ServerHandler for Handler {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let tools = ["converse", "note", "hang"];
        let tools = tools.map(|name| Tool::new(name, format!("the {name}"), serde_json::Map::new()));
        Ok(ListToolsResult::with_all_items(tools.to_vec()))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        self.0.calls.fetch_add(1, Ordering::SeqCst);
        let arguments = Value::Object(request.arguments.unwrap_or_default());
        match &*request.name {
            "note" => {
                let mut result = CallToolResult::structured(json!({"kept": arguments, "n": null}));
                result.content = vec![ContentBlock::image("aGk=", "image/png")];
                Ok(result.into())
            }
            "hang" => self.hang(&context).await,
            _ => self.converse(&arguments, &context).await,
        }
    }
}

impl Handler {
    async fn converse(
        &self,
        arguments: &Value,
        context: &RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let text = arguments["messages"][0]["content"].as_str().unwrap_or_default().to_owned();
        match &*text {
            "hang" => return self.hang(context).await,
            "fail" => return Ok(CallToolResult::error(vec![ContentBlock::text("broken")]).into()),
            _ => {}
        }
        let token = context.meta.get_progress_token();
        for (step, word) in (1_u32..).zip(["one ", "two ", "three"]) {
            let Some(token) = &token else { break };
            let notice = ProgressNotificationParam::new(token.clone(), f64::from(step));
            let sent = context.peer.notify_progress(notice.with_message(word)).await;
            sent.map_err(|error| ErrorData::internal_error(error.to_string(), None))?;
            if text == "pause" && step == 1 {
                self.0.go_on.notified().await;
            }
        }
        Ok(CallToolResult::structured(json!({
            "model": "sonnet", "role": "assistant", "content": "one two three",
            "finish_reason": "stop",
            "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7},
        }))
        .into())
    }

    async fn hang(&self, context: &RequestContext<RoleServer>) -> Result<CallToolResponse, ErrorData> {
        self.0.reached.notify_one();
        context.ct.cancelled().await;
        self.0.cancelled.notify_one();
        Err(ErrorData::internal_error("cancelled", None))
    }
}
