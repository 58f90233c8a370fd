//! The tools of the configured MCP servers, under the name of their path.
//!
//! A federated call goes to its server and never anywhere else; what the operator says that a second run
//! would do decides whether it may be sent there again (`keyed.rs` for those with a key). The tool that a path answers chats with is left out: it is reached
//! through `converse`, where policy applies. A caller whose key is limited to certain models has only
//! the tools that are named among them. A server that does not answer is left out of the list.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use outcrop_core::failure::{Class, Code, Failure, Reason};
use outcrop_core::path::Effect;
use outcrop_core::{AttemptId, PathKind, RequestId, Usage};
use outcrop_policy::Attribution;
use outcrop_policy::price::Asked;
use outcrop_policy::residency::Place;
use outcrop_policy::stops::Phase;
use outcrop_policy::tools::{Ended, Tried};
use outcrop_upstream::Path;
use outcrop_upstream::mcp::{Catalogue, McpPath, ToolCall};
use rmcp::model::{CallToolResult, JsonObject, ResultType, Tool};
use tokio::time::Instant;

use super::CALL_TIME_MAX;
use super::keyed::{Kept, Running};
use super::refusal::unknown_outcome;
use super::{keyed, refusal};
use crate::authenticate::Caller;
use crate::clock::unix_now;
use crate::gateway::{Gateway, Snapshot};
use crate::headers::Wishes;
use crate::payer::{Asking, Payer};
use crate::reserve::{Reservation, reserve};

/// Between the name of a path and the name of its tool.
const SEPARATOR: &str = "__";
/// Longest name of a tool (MCP 2025-11-25, "Tool Names").
const NAME_CHARS_MAX: usize = 128;
/// Longest wait for one server's list; a slow server is missing from the list, not holding it up.
const LIST_TIME_MAX: Duration = Duration::from_secs(5);

/// Longest wait for the end of a call that runs under the same key.
const KEY_WAIT_MAX: Duration = Duration::from_secs(30);

/// Who wants a federated tool, and where it may run.
#[derive(Clone, Copy)]
pub(super) struct Wish<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) gateway: &'a Arc<Gateway>,
    pub(super) caller: &'a Caller,
    pub(super) wishes: &'a Wishes,
}

/// A configured server.
struct Server<'a> {
    name: &'a str,
    path: &'a McpPath,
    region: Option<&'a str>,
}

/// The tools of all servers that answer, as far as the caller may use them.
pub(super) async fn tools(wish: Wish<'_>) -> Vec<Tool> {
    let deadline = Instant::now() + LIST_TIME_MAX;
    // A path that is stopped is not even asked: that could start its process again.
    let runs = |server: &Server<'_>| wish.may_start(&wish.whose(server, "")).is_ok();
    let legal = servers(wish.snapshot).filter(|server| wish.admits(server) && runs(server));
    let lists = legal.map(|server| async move {
        match server.path.list_tools(deadline).await {
            Ok(catalogue) => federated(&server, &catalogue),
            Err(failure) => {
                tracing::debug!(path = server.name, failure.detail, "tools are not listed");
                Vec::new()
            }
        }
    });
    let tools = join_all(lists).await.into_iter().flatten();
    tools.filter(|tool| wish.caller.may_use(&tool.name, true)).collect()
}

fn federated(server: &Server<'_>, catalogue: &Arc<Catalogue>) -> Vec<Tool> {
    let others = catalogue.tools.iter().filter(|tool| tool.name != server.path.tool());
    others
        .map(|tool| {
            let mut tool = tool.clone();
            tool.name = format!("{}{SEPARATOR}{}", server.name, tool.name).into();
            tool
        })
        .filter(|tool| tool.name.chars().count() <= NAME_CHARS_MAX)
        .collect()
}

/// A federated call.
pub(super) struct Errand<'a> {
    /// The tool, with its path.
    pub(super) name: &'a str,
    pub(super) arguments: Option<JsonObject>,
    /// The idempotency key, if the caller gave one.
    pub(super) key: Option<Arc<str>>,
}

/// Calls a federated tool; `None` when no server has that name.
pub(super) async fn call(wish: Wish<'_>, errand: Errand<'_>) -> Option<Result<CallToolResult, Failure>> {
    let (server, tool) = find(wish.snapshot, errand.name)?;
    if let Err(refused) = wish.check(&server, errand.name, tool) {
        return Some(Err(refused));
    }
    Some(by_effect(wish, &server, tool, errand).await)
}

/// Runs a call as often as its effect allows.
async fn by_effect(
    wish: Wish<'_>,
    server: &Server<'_>,
    tool: &str,
    errand: Errand<'_>,
) -> Result<CallToolResult, Failure> {
    let Errand { name, arguments, key } = errand;
    let effect = server.path.effect_of(tool);
    let call = ToolCall { tool, arguments, repeatable: effect.may_repeat() };
    let Some(key) = key.filter(|_| effect == Effect::Keyed) else {
        return run(wish, server, (name, call), None).await;
    };
    let store = wish.gateway.keeper.store();
    let by = Instant::now() + wish.wishes.deadline.unwrap_or(KEY_WAIT_MAX).min(KEY_WAIT_MAX);
    let begun = keyed::Begin { store, tasks: &wish.gateway.connections, caller: &wish.caller.name, key };
    match begun.wait((name, &call), by).await? {
        Kept::Result(result) => Ok(*result),
        Kept::Nothing(running) => run(wish, server, (name, call), Some(running)).await,
    }
}

/// Pays for a call and runs it; a running call that is kept learns how it ends.
async fn run(
    wish: Wish<'_>,
    server: &Server<'_>,
    (name, call): (&str, ToolCall<'_>),
    kept: Option<Running>,
) -> Result<CallToolResult, Failure> {
    let tried = Tried {
        caller: Arc::clone(&wish.caller.name),
        tool: name.into(),
        arguments: keyed::fingerprint(name, &call),
    };
    let tools = &wish.gateway.tools;
    if let Some(rest) = tools.rests(&tried, Instant::now().into_std()) {
        return Ok(refusal::do_not_retry(name, rest));
    }
    let whose = wish.whose(server, name);
    let mut stop = wish.gateway.stops.listen();
    let by = Instant::now() + CALL_TIME_MAX;
    let reservation = wish.reserve(&whose, call.tool, by).await?;
    let dispatch = reservation.dispatch();
    let dispatch = kept.as_ref().map_or(dispatch.clone(), |kept| kept.dispatch(dispatch));
    let called = tokio::select! {
        biased;
        failure = stop.cut(&whose, Phase::Whole) => Err(failure),
        called = server.path.call_tool(call, &dispatch, by) => called,
    };
    match &called {
        Ok(_) => drop(reservation.settle(&Usage::of(0, 0), 0)),
        Err(failure) => reservation.fail(failure.class),
    }
    // A server of the older era says nothing of the kind of its result; the newer one requires it.
    let called = called.map(|mut result| {
        result.result_type.get_or_insert(ResultType::COMPLETE);
        result
    });
    if let Some(ended) = ended(&called) {
        tools.ended(&tried, ended, Instant::now().into_std());
    }
    if let Some(kept) = kept {
        kept.end(&called).await;
    }
    called.map_err(unknown_outcome)
}

/// What a call says of its tool, if it says anything.
fn ended(called: &Result<CallToolResult, Failure>) -> Option<Ended> {
    let failure = match called {
        Ok(result) if result.is_error == Some(true) => return Some(Ended::SaidError),
        Ok(_) => return Some(Ended::Served),
        Err(failure) => failure,
    };
    // What the gateway itself refused or stopped says nothing of the tool.
    if failure.reason == Reason::Policy {
        return None;
    }
    match failure.class {
        Class::NotSent | Class::Ambiguous | Class::Partial | Class::Credential => Some(Ended::Failed),
        Class::Permanent | Class::NotHere => Some(Ended::SaidError),
        // It has its own hint when to come back.
        Class::Refused | Class::CallerGone => None,
    }
}

impl Wish<'_> {
    fn check(&self, server: &Server<'_>, name: &str, tool: &str) -> Result<(), Failure> {
        if tool == server.path.tool() {
            let text = "This tool answers chats; call `converse` with a model of this path instead.";
            return Err(Failure::refusal(Code::InvalidRequest, text));
        }
        if !self.caller.may_use(name, true) {
            let text = "Your key is limited to certain models, and this tool is not among them; its \
                        owner can add the tool's name there.";
            return Err(Failure::refusal(Code::Forbidden, text));
        }
        if !self.admits(server) {
            let text = "The server of this tool may run outside the required residency.";
            return Err(Failure::refusal(Code::NoLegalTarget, text));
        }
        Ok(())
    }

    fn admits(&self, server: &Server<'_>) -> bool {
        let place = Place { kind: PathKind::Mcp, region: server.region, destinations: &[], model_id: "" };
        let residency = self.caller.residency.or(self.wishes.residency);
        residency.is_none_or(|residency| residency.admits(&place))
    }

    /// Whose a call of a server's tool is.
    fn whose(&self, server: &Server<'_>, tool: &str) -> Attribution {
        Attribution {
            path: server.name.into(),
            region: server.region.unwrap_or("").into(),
            tool: Attribution::value(tool),
            ..self.caller.attribution(self.wishes)
        }
    }

    /// Whether no emergency stop speaks of it. A federated call is an exchange of its own; this is its id.
    fn may_start(&self, whose: &Attribution) -> Result<String, Failure> {
        let id = uuid::Uuid::now_v7().to_string();
        self.gateway.stops.may_start(whose, &id, unix_now).map(|()| id)
    }

    /// Whether it may start, and be paid for.
    async fn reserve(&self, whose: &Attribution, tool: &str, by: Instant) -> Result<Reservation, Failure> {
        let request = RequestId::new(self.may_start(whose)?);
        let region = Some(&*whose.region).filter(|region| !region.is_empty());
        let asked = Asked { path: &whose.path, kind: PathKind::Mcp, region, model_id: tool };
        let price = self.snapshot.routes.prices.of(&asked, unix_now().as_secs());
        let payer = Arc::new(Payer::of_tool(whose.clone()));
        let quote = payer.quote_tool(price, tool);
        let id = AttemptId { request, number: 1 };
        reserve(Asking { gateway: self.gateway, payer: &payer, id: &id, by }, quote, None).await
    }
}

/// The server and its tool; where one path's name begins another's, the longer one is meant.
fn find<'a>(snapshot: &'a Snapshot, name: &'a str) -> Option<(Server<'a>, &'a str)> {
    let fitting = servers(snapshot).filter_map(|server| {
        let tool = name.strip_prefix(server.name)?.strip_prefix(SEPARATOR)?;
        (!tool.is_empty()).then_some((server, tool))
    });
    fitting.min_by_key(|(_, tool)| tool.len())
}

fn servers(snapshot: &Snapshot) -> impl Iterator<Item = Server<'_>> {
    let upstreams = &snapshot.upstreams;
    upstreams.names().into_iter().filter_map(|name| match upstreams.path(name)? {
        Path::Mcp(path) => {
            let region = upstreams.spec(name).and_then(|spec| spec.region.as_deref());
            Some(Server { name, path, region })
        }
        Path::Bedrock(_) | Path::OpenAi(_) | Path::Anthropic(_) => None,
    })
}
