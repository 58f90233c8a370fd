//! The client APIs: how each asks the same question, and how a client of each reads what came back.
//!
//! The readers take the view of a careful client: what was said, whether the protocol's own end was
//! there, and which error it was told. They share no code with the gateway.

use aws_smithy_eventstream::frame::{DecodedFrame, MessageFrameDecoder};
use aws_smithy_types::event_stream::Message;
use base64::Engine as _;
use serde_json::{Value, json};

use crate::{client::Answer, house::House};

/// A client API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Api {
    OpenAi,
    Anthropic,
    Converse,
    Invoke,
    Mcp,
}

/// All of them.
pub(crate) const APIS: [Api; 5] = [Api::OpenAi, Api::Anthropic, Api::Converse, Api::Invoke, Api::Mcp];

/// What a client was told.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Told {
    pub(crate) text: String,
    /// How often the answer began.
    pub(crate) starts: usize,
    /// Anything that says that the answer is finished: a reason to stop, or the protocol's last event.
    pub(crate) ends: Vec<String>,
    /// Type and code of the errors.
    pub(crate) errors: Vec<(String, String)>,
}

impl Told {
    /// Whether the whole answer was there, once, and nothing else.
    pub(crate) fn is_complete(&self, api: Api) -> bool {
        let ends: &[&str] = match api {
            Api::OpenAi => &["stop", "[DONE]"],
            Api::Anthropic | Api::Invoke => &["end_turn", "message_stop"],
            Api::Converse => &["messageStop", "metadata"],
            Api::Mcp => &["result"],
        };
        self.starts == 1 && self.errors.is_empty() && self.ends == ends
    }
}

impl Api {
    /// The URL's path.
    pub(crate) fn route(self, model: &str, stream: bool) -> String {
        let bedrock = |verb: &str| format!("/model/{model}/{verb}");
        match (self, stream) {
            (Self::OpenAi, _) => "/v1/chat/completions".to_owned(),
            (Self::Anthropic, _) => "/v1/messages".to_owned(),
            (Self::Converse, false) => bedrock("converse"),
            (Self::Converse, true) => bedrock("converse-stream"),
            (Self::Invoke, false) => bedrock("invoke"),
            (Self::Invoke, true) => bedrock("invoke-with-response-stream"),
            (Self::Mcp, _) => "/mcp".to_owned(),
        }
    }

    /// The body that asks `text`.
    pub(crate) fn body(self, model: &str, text: &str, stream: bool) -> Value {
        let messages = json!([{"role": "user", "content": text}]);
        match self {
            Self::OpenAi | Self::Anthropic => {
                json!({"model": model, "messages": messages, "max_tokens": 4_000, "stream": stream})
            }
            Self::Converse => json!({
                "messages": [{"role": "user", "content": [{"text": text}]}],
                "inferenceConfig": {"maxTokens": 4_000}
            }),
            Self::Invoke => json!({
                "anthropic_version": "bedrock-2023-05-31", "messages": messages, "max_tokens": 4_000
            }),
            Self::Mcp => {
                let mut meta = json!({
                    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                    "io.modelcontextprotocol/clientInfo": {"name": "t", "version": "1"},
                    "io.modelcontextprotocol/clientCapabilities": {},
                });
                if stream {
                    meta["progressToken"] = 5.into();
                }
                let arguments = json!({"model": model, "messages": messages, "max_tokens": 4_000});
                json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {
                    "name": "converse", "arguments": arguments, "_meta": meta
                }})
            }
        }
    }

    /// Headers without which the API does not work.
    pub(crate) fn headers(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Anthropic => &[("anthropic-version", "2023-06-01")],
            Self::Mcp => &[
                ("accept", "application/json, text/event-stream"),
                ("mcp-protocol-version", "2026-07-28"),
                ("mcp-method", "tools/call"),
                ("mcp-name", "converse"),
            ],
            Self::OpenAi | Self::Converse | Self::Invoke => &[],
        }
    }

    /// Asks the gateway.
    pub(crate) async fn ask(
        self,
        house: &House,
        model: &str,
        text: &str,
        stream: bool,
        headers: &[(&str, &str)],
    ) -> Answer {
        let mut all = self.headers().to_vec();
        let more: Vec<(&str, &str)> = headers.to_vec();
        let mut both: Vec<(&str, &str)> = std::mem::take(&mut all);
        both.extend(more);
        house.post(&self.route(model, stream), &both, &self.body(model, text, stream)).await
    }

    /// What a client is told by an answer, whole or streamed, good or bad.
    pub(crate) fn hear(self, answer: &Answer) -> Told {
        let kind = answer.header("content-type").split(';').next().unwrap_or_default();
        if self == Self::Mcp {
            return mcp(answer);
        }
        if answer.status != 200 {
            let error = self.error(answer);
            return Told { errors: vec![error], ..Told::default() };
        }
        match (self, kind) {
            (Self::OpenAi, "text/event-stream") => openai_stream(answer),
            (Self::Anthropic, "text/event-stream") => anthropic_events(&sse(answer)),
            (Self::Converse, "application/vnd.amazon.eventstream") => converse_stream(answer),
            (Self::Invoke, "application/vnd.amazon.eventstream") => invoke_stream(answer),
            (_, "application/json") => self.whole(&answer.json()),
            _ => panic!("{self:?} cannot read this: {answer:?}"),
        }
    }

    /// Type and code of an error answer.
    pub(crate) fn error(self, answer: &Answer) -> (String, String) {
        let body = answer.json();
        let text =
            |pointer: &str| body.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        match self {
            Self::OpenAi | Self::Anthropic => (text("/error/type"), text("/error/code")),
            Self::Converse | Self::Invoke => {
                assert_eq!(answer.header("x-amzn-errortype"), text("/__type"), "{answer:?}");
                (text("/__type"), text("/code"))
            }
            Self::Mcp => (text("/error/data/type"), text("/error/data/code")),
        }
    }

    fn whole(self, body: &Value) -> Told {
        let text =
            |pointer: &str| body.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (said, ends) = match self {
            Self::OpenAi => (
                text("/choices/0/message/content"),
                vec![text("/choices/0/finish_reason"), "[DONE]".to_owned()],
            ),
            Self::Anthropic | Self::Invoke => {
                (text("/content/0/text"), vec![text("/stop_reason"), "message_stop".to_owned()])
            }
            _ => (
                text("/output/message/content/0/text"),
                vec!["messageStop".to_owned(), "metadata".to_owned()],
            ),
        };
        Told { text: said, starts: 1, ends, errors: Vec::new() }
    }
}

/// Calls the tool `echo` of the server `desk` through the MCP endpoint.
pub(crate) async fn echo(house: &House) -> Answer {
    let body = json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {
        "name": "desk__echo", "arguments": {"text": "hi"}, "_meta": {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
            "io.modelcontextprotocol/clientCapabilities": {},
        },
    }});
    let headers = [
        ("accept", "application/json, text/event-stream"),
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "tools/call"),
        ("mcp-name", "desk__echo"),
    ];
    house.post("/mcp", &headers, &body).await
}

/// The events of a server-sent stream: name and data.
pub(crate) fn sse(answer: &Answer) -> Vec<(String, String)> {
    let text = answer.text();
    assert!(text.is_empty() || text.ends_with("\n\n"), "the stream ends inside an event: {text}");
    let field = |block: &str, name: &str| {
        let lines = block.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        lines.map(|value| value.strip_prefix(' ').unwrap_or(value).to_owned()).collect::<Vec<_>>().join("\n")
    };
    let blocks = text.split("\n\n").map(|block| (field(block, "event"), field(block, "data")));
    blocks.filter(|(_, data)| !data.is_empty()).collect()
}

fn openai_stream(answer: &Answer) -> Told {
    let mut told = Told::default();
    for (_, data) in sse(answer) {
        if data == "[DONE]" {
            told.ends.push(data);
            continue;
        }
        let chunk: Value = serde_json::from_str(&data).unwrap();
        if chunk["error"].is_object() {
            told.errors.push(named(&chunk["error"], "type"));
            continue;
        }
        let choice = &chunk["choices"][0];
        told.starts += usize::from(choice["delta"]["role"].is_string());
        told.text.push_str(choice["delta"]["content"].as_str().unwrap_or_default());
        told.ends.extend(choice["finish_reason"].as_str().map(str::to_owned));
    }
    told
}

fn anthropic_events(events: &[(String, String)]) -> Told {
    let mut told = Told::default();
    for (name, data) in events {
        let event: Value = serde_json::from_str(data).unwrap();
        assert!(name.is_empty() || event["type"] == **name, "{name}: {data}");
        match event["type"].as_str().unwrap() {
            "message_start" => told.starts += 1,
            "content_block_delta" => told.text.push_str(event["delta"]["text"].as_str().unwrap_or_default()),
            "message_delta" => told.ends.extend(event["delta"]["stop_reason"].as_str().map(str::to_owned)),
            "message_stop" => told.ends.push("message_stop".to_owned()),
            "error" => told.errors.push(named(&event["error"], "type")),
            _ => {}
        }
    }
    told
}

fn converse_stream(answer: &Answer) -> Told {
    let mut told = Told::default();
    for frame in frames(answer) {
        let payload: Value = serde_json::from_slice(frame.payload()).unwrap();
        match header(&frame, ":event-type").as_str() {
            "messageStart" => told.starts += 1,
            "contentBlockDelta" => told.text.push_str(payload["delta"]["text"].as_str().unwrap_or_default()),
            end @ ("messageStop" | "metadata") => told.ends.push(end.to_owned()),
            "" => told.errors.push(exception(&frame, &payload)),
            _ => {}
        }
    }
    told
}

fn invoke_stream(answer: &Answer) -> Told {
    let mut events = Vec::new();
    let mut errors = Vec::new();
    for frame in frames(answer) {
        let payload: Value = serde_json::from_slice(frame.payload()).unwrap();
        if header(&frame, ":event-type") == "chunk" {
            let bytes = base64::engine::general_purpose::STANDARD.decode(payload["bytes"].as_str().unwrap());
            events.push((String::new(), String::from_utf8(bytes.unwrap()).unwrap()));
        } else {
            errors.push(exception(&frame, &payload));
        }
    }
    Told { errors, ..anthropic_events(&events) }
}

/// A call of the tool: its progress and its result.
fn mcp(answer: &Answer) -> Told {
    let messages: Vec<Value> = if answer.header("content-type").starts_with("application/json") {
        vec![answer.json()]
    } else {
        sse(answer).iter().map(|(_, data)| serde_json::from_str(data).unwrap()).collect()
    };
    let mut told = Told { starts: 1, ..Told::default() };
    for message in messages {
        if message["method"] == "notifications/progress" {
            told.text.push_str(message["params"]["message"].as_str().unwrap_or_default());
        } else if message["error"].is_object() {
            told.errors.push(named(&message["error"]["data"], "type"));
        } else {
            let content = message.pointer("/result/structuredContent/content").and_then(Value::as_str);
            content.unwrap_or_default().clone_into(&mut told.text);
            told.ends.push("result".to_owned());
        }
    }
    told
}

/// The frames of an event stream, each with a right checksum and nothing left over.
pub(crate) fn frames(answer: &Answer) -> Vec<Message> {
    let mut rest = &answer.body[..];
    let mut frames = Vec::new();
    while !rest.is_empty() {
        match MessageFrameDecoder::new().decode_frame(&mut rest) {
            Ok(DecodedFrame::Complete(message)) => frames.push(message),
            other => panic!("the stream ends with half a frame: {other:?}"),
        }
    }
    frames
}

/// A text header of a frame; empty if it has none of the name.
pub(crate) fn header(frame: &Message, name: &str) -> String {
    let found = frame.headers().iter().find(|header| header.name().as_str() == name);
    found.map_or_else(String::new, |header| header.value().as_string().unwrap().as_str().to_owned())
}

fn exception(frame: &Message, payload: &Value) -> (String, String) {
    assert_eq!(header(frame, ":message-type"), "exception");
    (header(frame, ":exception-type"), payload["code"].as_str().unwrap_or_default().to_owned())
}

fn named(error: &Value, kind: &str) -> (String, String) {
    let text = |name: &str| error[name].as_str().unwrap_or_default().to_owned();
    (text(kind), text("code"))
}
