//! Paths, envelopes and attempts in few words.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use outcrop_core::{AttemptId, Event, Failure, Protocol, RequestId};
use outcrop_upstream::{
    Answer, AnswerBody, AnswerStream, Attempt, BedrockSpec, Connect, CredentialSpec, Dispatch, HttpSpec,
    KindSpec, PathSpec, Upstreams, Whole,
};
use outcrop_wire::{Envelope, Limits, Route, TargetModel};
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use url::Url;

/// One path and what is needed to use it.
pub(crate) struct World {
    pub(crate) upstreams: Upstreams,
    pub(crate) tasks: TaskTracker,
    pub(crate) deadline: Duration,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) dispatch: Dispatch,
}

impl World {
    pub(crate) fn new(connect: Connect, kind: KindSpec) -> Self {
        let spec = PathSpec { name: "p".into(), region: None, connect, kind };
        let tasks = TaskTracker::new();
        let upstreams = Upstreams::build(&[spec], None, &tasks).unwrap();
        Self {
            upstreams,
            tasks,
            deadline: Duration::from_secs(20),
            headers: Vec::new(),
            dispatch: Dispatch::untold(),
        }
    }

    pub(crate) fn openai(base: Url) -> Self {
        Self::new(local(), KindSpec::OpenAi(HttpSpec { base, key: Some("k-1".into()) }))
    }

    pub(crate) fn anthropic(base: Url) -> Self {
        Self::new(local(), KindSpec::Anthropic(HttpSpec { base, key: Some("k-2".into()) }))
    }

    pub(crate) fn bedrock(base: Url, credentials: CredentialSpec) -> Self {
        let spec = BedrockSpec { region: "eu-central-1".into(), endpoint: Some(base), credentials };
        Self::new(local(), KindSpec::Bedrock(spec))
    }

    pub(crate) fn within(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    pub(crate) fn with_header(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.push((HeaderName::from_static(name), HeaderValue::from_static(value)));
        self
    }

    pub(crate) async fn attempt(&self, envelope: &Envelope, model: &str) -> Result<Answer, Failure> {
        let id = AttemptId { request: RequestId::new("r"), number: 1 };
        let attempt = Attempt {
            tier: None,
            id: &id,
            envelope,
            model: TargetModel { id: model, max_tokens_default: None, max_tokens_cap: None },
            deadline: Instant::now() + self.deadline,
            slow_at: Instant::now() + self.deadline,
            headers: &self.headers,
            dispatch: &self.dispatch,
        };
        self.upstreams.path("p").unwrap().attempt(attempt).await
    }

    pub(crate) async fn whole(&self, envelope: &Envelope, model: &str) -> Result<Whole, Failure> {
        match self.attempt(envelope, model).await?.body {
            AnswerBody::Whole(whole) => Ok(whole),
            AnswerBody::Stream(_) => panic!("expected a whole answer"),
        }
    }

    pub(crate) async fn stream(&self, envelope: &Envelope, model: &str) -> Result<AnswerStream, Failure> {
        match self.attempt(envelope, model).await?.body {
            AnswerBody::Stream(stream) => Ok(stream),
            AnswerBody::Whole(_) => panic!("expected a stream"),
        }
    }
}

/// Connections to loopback are what tests make.
pub(crate) fn local() -> Connect {
    Connect { allow_private: true, ..Connect::default() }
}

pub(crate) fn keys(id: &str) -> CredentialSpec {
    CredentialSpec::StaticKeys { id: id.into(), secret: "secret".into(), session: None }
}

/// A request as a caller would send it.
pub(crate) fn envelope(protocol: Protocol, model: Option<&str>, stream: bool, body: &Value) -> Envelope {
    let in_url = matches!(
        protocol,
        Protocol::BedrockConverse | Protocol::BedrockInvoke | Protocol::BedrockCountTokens
    );
    let route = Route { protocol, model: model.map(ToOwned::to_owned), stream: in_url.then_some(stream) };
    Envelope::open(&route, Bytes::from(body.to_string()), &Limits::default()).unwrap()
}

pub(crate) fn openai_chat(stream: bool) -> Envelope {
    let body = json!({"model": "alias", "stream": stream,
        "messages": [{"role": "user", "content": "hi"}]});
    envelope(Protocol::OpenAiChat, None, stream, &body)
}

pub(crate) fn anthropic_messages(stream: bool) -> Envelope {
    let body = json!({"model": "alias", "stream": stream, "max_tokens": 5,
        "messages": [{"role": "user", "content": "hi"}]});
    envelope(Protocol::AnthropicMessages, None, stream, &body)
}

pub(crate) fn converse(stream: bool) -> Envelope {
    let body = json!({"messages": [{"role": "user", "content": [{"text": "hi"}]}]});
    envelope(Protocol::BedrockConverse, Some("alias"), stream, &body)
}

/// Reads a stream to its end, or to its failure.
pub(crate) async fn drain(stream: &mut AnswerStream) -> (Vec<Event>, Result<(), Failure>) {
    let mut events = Vec::new();
    loop {
        match stream.next().await {
            Ok(Some(item)) => events.extend(item.events),
            Ok(None) => return (events, Ok(())),
            Err(failure) => return (events, Err(failure)),
        }
    }
}
