//! An MCP tool that answers chats, and the other tools of its server.
//!
//! The official SDK speaks the protocol; these files give it connections, processes, limits and the
//! gateway's rules about effects: a call is sent at most once, and again only when the server lost
//! the session and the operator says that a second run does no harm. The connection is made when it
//! is first needed. Invariant: one bad server delays no other, because nothing here is shared
//! between paths.

mod board;
mod call;
mod catalogue;
mod codec;
mod connection;
mod effect;
mod handler;
mod http;
mod live;
mod outcome;
mod stdio;
mod stream;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ::http::HeaderValue;
use outcrop_core::path::Effect;
use outcrop_core::{Failure, Protocol, Reply};
use parking_lot::Mutex;
use rmcp::model::{CallToolResult, JsonObject};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use url::Url;

pub use board::Dropped;
pub use catalogue::{Catalogue, Cut};
pub(crate) use stream::McpStream;

use self::call::{Call, Step};
use self::codec::Codec;
use self::connection::Connection;
use self::http::McpHttp;
use self::live::{Endpoint, Live};
use self::outcome::CallError;
use self::stdio::Program;
use crate::client::HttpClient;
use crate::{
    Answer, AnswerBody, AnswerStream, Attempt, BuildError, Dispatch, McpSpec, McpTransport, PathSpec, Whole,
};

/// Largest message of a server.
pub(crate) const MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// How long a list of tools is taken for current, unless the server says that it changed.
const CATALOGUE_AGE_MAX: Duration = Duration::from_mins(1);

/// A tool of an MCP server, used as a path.
#[derive(Debug)]
pub struct McpPath {
    connection: Connection,
    tool: String,
    effects: BTreeMap<String, Effect>,
    codec: Codec,
    call_timeout_max: Duration,
    tasks: TaskTracker,
    listed: Mutex<Option<(Instant, Arc<Catalogue>)>>,
}

/// A call of one of a server's tools.
#[derive(Debug, Clone)]
pub struct ToolCall<'a> {
    /// The tool, as its server names it.
    pub tool: &'a str,
    /// Its arguments.
    pub arguments: Option<JsonObject>,
    /// Whether it may be sent again when its session was lost.
    pub repeatable: bool,
}

/// How a call is sent.
#[derive(Clone, Copy)]
struct Sending<'a> {
    dispatch: &'a Dispatch,
    limit: Instant,
    // Whether it may be sent again when its session was lost.
    repeatable: bool,
}

impl McpPath {
    /// `client` is there for the HTTP transport only.
    pub(crate) fn build(
        spec: &PathSpec,
        mcp: &McpSpec,
        client: Option<HttpClient>,
        tasks: &TaskTracker,
    ) -> Result<Self, BuildError> {
        let endpoint = endpoint(mcp, client)
            .map_err(|problem| BuildError::Mcp { path: Arc::clone(&spec.name), problem })?;
        Ok(Self {
            connection: Connection::new(&spec.name, endpoint, mcp.progress, tasks),
            tool: mcp.tool.clone(),
            effects: mcp.effects.clone(),
            codec: Codec::new(mcp.template.as_ref(), mcp.effect),
            call_timeout_max: mcp.call_timeout_max,
            tasks: tasks.clone(),
            listed: Mutex::new(None),
        })
    }

    pub(crate) async fn attempt(&self, attempt: Attempt<'_>) -> Result<Answer, Failure> {
        let arguments = self.codec.arguments(attempt.envelope, &attempt.model)?;
        let call_limit = Instant::now() + self.call_timeout_max;
        let limit = attempt.deadline.min(call_limit);
        let streams = attempt.envelope.stream;
        let repeatable = self.codec.effect().may_repeat();
        let (mut call, first) = self
            .send(&self.tool, Some(arguments), Sending { dispatch: attempt.dispatch, limit, repeatable })
            .await?;
        let body = match first {
            First::Text(text) if streams => {
                // The attempt's deadline is for its first content; the relay times the rest.
                call.limit_to(call_limit);
                let stream = McpStream::running(call, self.codec.clone(), text)?;
                AnswerBody::Stream(AnswerStream::mcp(stream))
            }
            First::Text(_) => self.body(streams, &finish(call).await?)?,
            First::Done(result) => self.body(streams, &result)?,
        };
        Ok(Answer {
            protocol: Protocol::McpTool,
            upstream_request_id: String::new(),
            headers: Vec::new(),
            body,
        })
    }

    /// The tools of the server, listed now or within the last minute.
    pub async fn list_tools(&self, deadline: Instant) -> Result<Arc<Catalogue>, Failure> {
        let live = self.connection.live(deadline).await?;
        let changed = live.board().take_tools_changed();
        let listed = self.listed.lock().clone();
        if let Some((at, catalogue)) = listed
            && !changed
            && at.elapsed() < CATALOGUE_AGE_MAX
            && at >= live.since()
        {
            return Ok(catalogue);
        }
        let catalogue = match catalogue::list(live.peer(), deadline).await {
            Ok(catalogue) => Arc::new(catalogue),
            Err(CallError::Expired) => {
                self.connection.retire(&live);
                let live = self.connection.live(deadline).await?;
                let again = catalogue::list(live.peer(), deadline).await;
                Arc::new(again.map_err(CallError::into_failure)?)
            }
            Err(CallError::Failed(failure)) => return Err(failure),
        };
        *self.listed.lock() = Some((Instant::now(), Arc::clone(&catalogue)));
        Ok(catalogue)
    }

    /// Calls any tool of the server and passes its result on unchanged. A failure of class `Ambiguous`
    /// means that the tool may have run.
    pub async fn call_tool(
        &self,
        call: ToolCall<'_>,
        dispatch: &Dispatch,
        deadline: Instant,
    ) -> Result<CallToolResult, Failure> {
        let limit = deadline.min(Instant::now() + self.call_timeout_max);
        let ToolCall { tool, arguments, repeatable } = call;
        match self.send(tool, arguments, Sending { dispatch, limit, repeatable }).await? {
            (_, First::Done(result)) => Ok(result),
            (call, First::Text(_)) => finish(call).await,
        }
    }

    /// What the operator says that a second run of a tool would do.
    pub fn effect_of(&self, tool: &str) -> Effect {
        if tool == self.tool {
            self.codec.effect()
        } else {
            self.effects.get(tool).copied().unwrap_or_default()
        }
    }

    /// What the server sent in vain.
    pub fn dropped(&self) -> &Dropped {
        self.connection.dropped()
    }

    /// Name of the tool that answers chats.
    pub fn tool(&self) -> &str {
        &self.tool
    }

    /// Kills the server's process group if it is a child, and with it every call that runs there. The
    /// next call starts another.
    pub fn kill(&self) {
        self.connection.kill();
    }

    pub(crate) async fn close(&self) {
        self.connection.close().await;
    }

    /// Sends a call and waits for its first word. A lost session is made anew, and the call sent
    /// again only if that is harmless.
    async fn send(
        &self,
        tool: &str,
        arguments: Option<JsonObject>,
        sending: Sending<'_>,
    ) -> Result<(Call, First), Failure> {
        let Sending { dispatch, limit, repeatable } = sending;
        let mut repeats = u8::from(repeatable);
        loop {
            let live = self.connection.live(limit).await?;
            dispatch.leave()?;
            let arguments = arguments.clone();
            let mut call = Call::start(live, tool, arguments, limit, &self.tasks).await?;
            match first(&mut call).await {
                Ok(first) => return Ok((call, first)),
                Err(CallError::Failed(failure)) => return Err(failure),
                Err(CallError::Expired) => {
                    self.connection.retire(call.live());
                    if repeats == 0 || !self.may_repeat(tool, limit).await {
                        self.reconnect(limit);
                        return Err(CallError::Expired.into_failure());
                    }
                    repeats -= 1;
                }
            }
        }
    }

    /// Whether the server itself does not say that a second run of the tool does harm. A server that
    /// cannot be asked is taken at its worst.
    async fn may_repeat(&self, tool: &str, deadline: Instant) -> bool {
        let listed = self.list_tools(deadline).await;
        listed.is_ok_and(|catalogue| effect::stricter(self.effect_of(tool), tool, &catalogue).may_repeat())
    }

    /// Makes the next session ahead of the call that will need it.
    fn reconnect(&self, deadline: Instant) {
        let connection = self.connection.clone();
        self.tasks.spawn(async move {
            // Whoever calls next learns of a failure by its own attempt.
            let _: Result<Arc<Live>, Failure> = connection.live(deadline).await;
        });
    }

    fn body(&self, streams: bool, result: &CallToolResult) -> Result<AnswerBody, Failure> {
        let reply = self.codec.reply(result)?;
        Ok(if streams {
            AnswerBody::Stream(AnswerStream::mcp(McpStream::whole(reply)))
        } else {
            let content_type = HeaderValue::from_static("application/json");
            AnswerBody::Whole(Whole { raw: None, content_type, reply: Reply::Chat(reply) })
        })
    }
}

/// The first word of a call.
enum First {
    Text(String),
    Done(CallToolResult),
}

async fn first(call: &mut Call) -> Result<First, CallError> {
    loop {
        match call.next().await? {
            Step::Life => {}
            Step::Text(text) => return Ok(First::Text(text)),
            Step::Done(result) => return Ok(First::Done(result)),
        }
    }
}

/// The result of a call whose text nobody reads piece by piece.
async fn finish(mut call: Call) -> Result<CallToolResult, Failure> {
    loop {
        match call.next().await.map_err(CallError::into_failure)? {
            Step::Life | Step::Text(_) => {}
            Step::Done(result) => return Ok(result),
        }
    }
}

fn endpoint(mcp: &McpSpec, client: Option<HttpClient>) -> Result<Endpoint, String> {
    match (&mcp.transport, client) {
        (McpTransport::Stdio { command, env }, _) => {
            stdio::check(command).map_err(|error| error.to_string())?;
            let program = Program { command: command.clone(), env: env.clone(), kill: Arc::default() };
            Ok(Endpoint::Stdio(program))
        }
        (McpTransport::Http { url, bearer }, Some(client)) => {
            let client = McpHttp::new(client, host(url).ok_or("the URL has no usable host")?);
            let client = Box::new(client);
            Ok(Endpoint::Http { client, url: Arc::from(url.as_str()), bearer: bearer.clone() })
        }
        (McpTransport::Http { .. }, None) => Err("there is no connection pool".into()),
    }
}

fn host(url: &Url) -> Option<HeaderValue> {
    let host = url.host_str()?;
    let text = match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    };
    HeaderValue::from_str(&text).ok()
}
