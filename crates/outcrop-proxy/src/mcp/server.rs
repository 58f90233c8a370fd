//! The endpoint as the SDK calls it: which tools there are, and what a call of one does.

use std::sync::Arc;

use http::request::Parts;
use outcrop_core::failure::{Code, Failure};
use outcrop_policy::Attribution;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, ErrorData, Implementation,
    JsonObject, ListToolsResult, PaginatedRequestParams, ServerCapabilities, ServerConfig, Tool,
    ToolAnnotations,
};
use rmcp::service::RequestContext;
use rmcp::{RoleServer, ServerHandler};
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::CALL_TIME_MAX;
use super::federation::{Errand, Wish};
use super::pieces::Pieces;
use super::{converse, federation, refusal};
use crate::admit::admit_tool;
use crate::authenticate::Caller;
use crate::clock::unix_now;
use crate::exchange;
use crate::gateway::{Gateway, Snapshot};
use crate::headers::{self, Wishes};
use crate::models::usable;
use crate::rates::rate_tool;

const MODELS: &str = "models";

/// Who asks, and of which gateway; travels with each HTTP request.
#[derive(Clone)]
pub(super) struct Asker {
    pub(super) gateway: Arc<Gateway>,
    pub(super) caller: Caller,
    /// The end of the session that the request belongs to; never comes where there is none.
    pub(super) session_end: CancellationToken,
}

/// The endpoint as the SDK calls it.
pub(super) struct Server;

impl ServerHandler for Server {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(Implementation::new("outcrop", env!("CARGO_PKG_VERSION")))
            .with_instructions(
                "`converse` answers with one of the models that `models` lists; tools named \
                 `<path>__<tool>` belong to other MCP servers behind this gateway.",
            )
    }

    async fn list_tools(
        &self,
        _request: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let (asker, head) = asked(&context)?;
        let snapshot = asker.gateway.snapshot();
        let wishes =
            Wishes::read(&head.headers, unix_now()).map_err(|failure| refusal::error(&failure, ""))?;
        let wish = wish(asker, &snapshot, &wishes);
        let mut tools = vec![converse::tool(&usable(&snapshot, &asker.caller)), models_tool()];
        tools.extend(federation::tools(wish).await);
        Ok(ListToolsResult::with_all_items(tools))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let gone = context.ct.clone();
        let ended = asked(&context)?.0.session_end.clone();
        tokio::select! {
            biased;
            // Dropping the call is what cancels it, all the way to the upstream.
            () = gone.cancelled() => Err(refusal::error(&Failure::caller_gone(), "")),
            // Whoever ends a session does not always cancel what runs in it.
            () = ended.cancelled() => Err(refusal::error(&Failure::caller_gone(), "")),
            called = call(request, context) => called.map(Into::into),
        }
    }
}

async fn call(
    request: CallToolRequestParams,
    context: RequestContext<RoleServer>,
) -> Result<CallToolResult, ErrorData> {
    let (asker, head) = asked(&context)?;
    let refused = |failure: Failure| refusal::error(&failure, "");
    match &*request.name {
        converse::NAME => talk(asker, head, request.arguments, &context).await.map_err(refused),
        MODELS => Ok(models(asker)),
        name => {
            let snapshot = asker.gateway.snapshot();
            let wishes = Wishes::read(&head.headers, unix_now()).map_err(refused)?;
            let wish = wish(asker, &snapshot, &wishes);
            let by = Instant::now() + CALL_TIME_MAX;
            let _admission = admit_tool(&asker.gateway, &asker.caller, &wishes, by).await.map_err(refused)?;
            let whose = Attribution { tool: Attribution::value(name), ..asker.caller.attribution(&wishes) };
            rate_tool(&asker.gateway, &whose).map_err(refused)?;
            let key = key_of(&context, &wishes).map_err(refused)?;
            let errand = Errand { name, arguments: request.arguments, key };
            match federation::call(wish, errand).await {
                Some(called) => called.map_err(refused),
                None => Err(refused(unknown_tool(name))),
            }
        }
    }
}

/// One exchange, with its text as progress when the caller gave a token for it.
async fn talk(
    asker: &Asker,
    head: &Parts,
    arguments: Option<JsonObject>,
    context: &RequestContext<RoleServer>,
) -> Result<CallToolResult, Failure> {
    let token = context.meta.get_progress_token();
    let limits = asker.gateway.snapshot().limits;
    let call = converse::decode(arguments, head, token.is_some(), &limits)?;
    let model = call.envelope.model.clone();
    let pieces = Pieces::default();
    let talking = async {
        let mut on_text = |text: &str| pieces.push(text);
        let conversed = exchange::converse(&asker.gateway, &asker.caller, call, &mut on_text).await;
        pieces.end();
        conversed
    };
    let telling = async {
        if let Some(token) = &token {
            pieces.tell(&context.peer, token).await;
        }
    };
    let (conversed, ()) = tokio::join!(talking, telling);
    converse::encode(conversed?, &model)
}

fn models_tool() -> Tool {
    let input = JsonObject::from_iter([("type".to_owned(), "object".into())]);
    Tool::new(MODELS, "Lists the models that you may use with `converse`.", input)
        .with_annotations(ToolAnnotations::new().read_only(true).open_world(false))
}

fn models(asker: &Asker) -> CallToolResult {
    let snapshot = asker.gateway.snapshot();
    let names = usable(&snapshot, &asker.caller);
    let mut result = CallToolResult::structured(json!({"models": names}));
    result.content = vec![ContentBlock::text(names.join("\n"))];
    result
}

fn wish<'a>(asker: &'a Asker, snapshot: &'a Snapshot, wishes: &'a Wishes) -> Wish<'a> {
    Wish { snapshot, gateway: &asker.gateway, caller: &asker.caller, wishes }
}

/// The idempotency key of a call: its own, or that of the request which carries it.
fn key_of(context: &RequestContext<RoleServer>, wishes: &Wishes) -> Result<Option<Arc<str>>, Failure> {
    match context.meta.0.get("idempotency-key") {
        Some(Value::String(key)) => headers::idempotency_key(key).map(Some),
        Some(_) => Err(Failure::refusal(Code::InvalidRequest, "_meta: idempotency-key must be a text.")),
        None => Ok(wishes.idempotency_key.clone()),
    }
}

fn unknown_tool(name: &str) -> Failure {
    let name: String = name.chars().take(128).collect();
    Failure::refusal(
        Code::InvalidRequest,
        format!("There is no tool `{name}` here; tools/list names those there are."),
    )
}

fn asked(context: &RequestContext<RoleServer>) -> Result<(&Asker, &Parts), ErrorData> {
    let head = context.extensions.get::<Parts>();
    let asked = head.and_then(|head| head.extensions.get::<Asker>().map(|asker| (asker, head)));
    asked.ok_or_else(|| ErrorData::internal_error("a request without its caller", None))
}
