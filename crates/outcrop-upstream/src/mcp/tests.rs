//! The MCP path against servers on the official SDK and against real child processes.

mod http;
mod listing;
mod server;
mod stdio;
mod table;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use outcrop_core::path::Effect;
use outcrop_core::reply::ChatReply;
use outcrop_core::{AttemptId, Failure, Protocol, Reply, RequestId};
use outcrop_wire::{Envelope, Limits, Route, TargetModel};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::McpPath;
use crate::{
    AnswerBody, Attempt, Connect, Dispatch, KindSpec, McpSpec, McpTransport, Path, PathSpec, Progress,
    Upstreams,
};

/// Long enough for a process to start on a busy machine.
const PLENTY: Duration = Duration::from_mins(1);

/// One path and what keeps it alive.
struct Fixture {
    upstreams: Upstreams,
    tasks: TaskTracker,
}

impl Fixture {
    fn new(transport: McpTransport, change: impl FnOnce(&mut McpSpec)) -> Self {
        let mut mcp = McpSpec {
            effects: std::collections::BTreeMap::new(),
            transport,
            tool: "converse".into(),
            effect: Effect::ReadOnly,
            template: None,
            call_timeout_max: PLENTY,
            progress: Progress::LifeSign,
        };
        change(&mut mcp);
        let spec = PathSpec {
            name: Arc::from("desk"),
            region: None,
            connect: Connect { allow_private: true, ..Connect::default() },
            kind: KindSpec::Mcp(mcp),
        };
        let tasks = TaskTracker::new();
        let upstreams = Upstreams::build(&[spec], None, &tasks).unwrap();
        Self { upstreams, tasks }
    }

    fn path(&self) -> &McpPath {
        match self.upstreams.path("desk") {
            Some(Path::Mcp(path)) => path,
            other => panic!("no MCP path: {other:?}"),
        }
    }

    async fn whole(&self, text: &str) -> Result<ChatReply, Failure> {
        match self.attempt(text, false, PLENTY).await? {
            AnswerBody::Whole(whole) => match whole.reply {
                Reply::Chat(reply) => Ok(reply),
                other => panic!("not a chat: {other:?}"),
            },
            AnswerBody::Stream(_) => panic!("a stream was not asked for"),
        }
    }

    /// The gathered answer of a stream, and how many pieces of text it came in.
    async fn stream(&self, text: &str) -> Result<(ChatReply, usize), Failure> {
        let AnswerBody::Stream(mut stream) = self.attempt(text, true, PLENTY).await? else {
            panic!("a stream was asked for")
        };
        assert!(!stream.passes_raw());
        let (mut reply, mut pieces) = (ChatReply::default(), 0);
        while let Some(item) = stream.next().await? {
            for event in item.events {
                pieces += usize::from(matches!(event, outcrop_core::Event::Delta { .. }));
                reply.absorb(event);
            }
        }
        Ok((reply, pieces))
    }

    async fn attempt(&self, text: &str, stream: bool, time: Duration) -> Result<AnswerBody, Failure> {
        let envelope = ask(text, stream);
        let id = AttemptId { request: RequestId::new("r"), number: 1 };
        let attempt = Attempt {
            tier: None,
            id: &id,
            envelope: &envelope,
            model: TargetModel { id: "sonnet", max_tokens_default: None, max_tokens_cap: None },
            deadline: Instant::now() + time,
            slow_at: Instant::now() + time,
            headers: &[],
            dispatch: &Dispatch::untold(),
        };
        self.path().attempt(attempt).await.map(|answer| answer.body)
    }

    async fn close(self) {
        self.upstreams.close().await;
        self.tasks.close();
        self.tasks.wait().await;
    }
}

fn ask(text: &str, stream: bool) -> Envelope {
    let body = serde_json::json!({
        "model": "sonnet",
        "stream": stream,
        "messages": [{"role": "user", "content": text}],
    });
    let route = Route { protocol: Protocol::OpenAiChat, model: None, stream: None };
    Envelope::open(&route, Bytes::from(body.to_string()), &Limits::default()).unwrap()
}

fn text_of(reply: &ChatReply) -> String {
    let texts = reply.parts.iter().filter_map(|part| match part {
        outcrop_core::ask::Part::Text(text) => Some(text.as_str()),
        _ => None,
    });
    texts.collect()
}
