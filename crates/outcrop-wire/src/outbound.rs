//! Encoding: requests towards an upstream, answers towards the caller.
//!
//! Where both sides speak the same protocol the original bytes leave, and only the values that the
//! gateway must change are replaced (`splice`); everything else is translated from the decoded ask.
//! Invariant: bytes that say "this answer is complete" are written for `Event::Done` only.

mod family;
mod splice;

use bytes::{Bytes, BytesMut};
use outcrop_core::{Ask, Event, Protocol, Reply};

use crate::Envelope;
use crate::dialect::guidance::capped;
use crate::dialect::{anthropic, converse, count_tokens, foreign, invoke, mcp, openai};
use crate::failure::ErrorBody;

/// The concrete model a request is encoded for.
#[derive(Debug, Clone, Copy)]
pub struct TargetModel<'a> {
    /// The id the upstream knows.
    pub id: &'a str,
    /// Output limit to inject where the caller set none; `None` leaves same-protocol bytes alone and
    /// falls back to 4096 where the protocol requires a limit.
    pub max_tokens_default: Option<u64>,
    /// Most output tokens that the request may ask for, whatever the caller asked; `None` is no cap.
    ///
    /// A caller's larger limit is replaced, and where the caller set none the cap is injected. A
    /// thinking budget that the caller set is left as it is: where it does not fit below the cap the
    /// upstream refuses the request, and nothing is spent.
    pub max_tokens_cap: Option<u64>,
}

impl TargetModel<'_> {
    /// The output limit that leaves where the caller asked for `asked`.
    pub(crate) fn limit(&self, asked: Option<u64>) -> Option<u64> {
        capped(asked.or(self.max_tokens_default), self.max_tokens_cap)
    }
}

/// The request cannot be said in that protocol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Inexpressible(
    /// What cannot be said, for the caller.
    pub String,
);

/// What an answer needs to know of its exchange.
#[derive(Debug, Clone)]
pub struct AnswerContext {
    /// Our request id, used where the upstream gave no id.
    pub request_id: String,
    /// The model as the caller named it.
    pub model: String,
    /// Seconds since the Unix epoch.
    pub created: u64,
    /// OpenAI only: send a usage chunk before `[DONE]`.
    pub stream_usage: bool,
    /// OpenAI embeddings only: vectors as base64.
    pub base64: bool,
    /// Milliseconds from accept, for Bedrock's `metrics.latencyMs`.
    pub latency_ms: u64,
}

/// An encoded answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// Value of the `content-type` header.
    pub content_type: &'static str,
    /// Body.
    pub body: Bytes,
}

/// `content-type` of JSON bodies.
const JSON: &str = "application/json";
/// `content-type` of server-sent events.
const SSE: &str = "text/event-stream; charset=utf-8";
/// `content-type` of Amazon event streams.
const EVENT_STREAM: &str = "application/vnd.amazon.eventstream";

/// The body that leaves for `target`.
pub fn encode_request(
    protocol: Protocol,
    envelope: &Envelope,
    target: &TargetModel<'_>,
) -> Result<Bytes, Inexpressible> {
    if let Some(body) = splice::request(protocol, envelope, target)? {
        return Ok(body);
    }
    let ask = envelope.ask().map_err(|rejection| Inexpressible(rejection.message.clone()))?;
    if let Ask::Chat(chat) = ask {
        foreign::refuse_empty(chat)?;
    }
    match (protocol, ask) {
        (Protocol::OpenAiChat, Ask::Chat(chat)) => openai::encode_request(chat, envelope.stream, target),
        (Protocol::AnthropicMessages, Ask::Chat(chat)) => {
            anthropic::encode_request(chat, envelope.stream, target)
        }
        (Protocol::BedrockConverse, Ask::Chat(chat)) => {
            converse::encode_request(chat, envelope.stream, target)
        }
        (Protocol::BedrockInvoke, Ask::Chat(chat)) => invoke::encode_request(chat, envelope.stream, target),
        (Protocol::McpTool, Ask::Chat(_)) => mcp::encode_request(envelope, target),
        (Protocol::OpenAiEmbeddings, Ask::Embed(embed)) => openai::embeddings::encode_request(embed, target),
        (Protocol::BedrockInvoke, Ask::Embed(embed)) => single(invoke::encode_embeddings(embed, target)?),
        (Protocol::AnthropicCountTokens | Protocol::BedrockCountTokens, Ask::CountTokens(chat)) => {
            count_tokens::encode_request(protocol, chat, target)
        }
        (_, Ask::Chat(_)) => Err(cannot("a conversation", protocol)),
        (_, Ask::Embed(_)) => Err(cannot("an embedding request", protocol)),
        (_, Ask::CountTokens(_)) => Err(cannot("counting of tokens", protocol)),
        (_, Ask::Opaque) => Err(cannot("a body in a model's own format", protocol)),
    }
}

/// Embeddings towards Bedrock: one body per `InvokeModel` call, by the family of the model id
/// (Titan: one input each; Cohere: up to 96).
pub fn encode_embeddings_invoke(
    envelope: &Envelope,
    target: &TargetModel<'_>,
) -> Result<Vec<Bytes>, Inexpressible> {
    match envelope.ask() {
        Ok(Ask::Embed(embed)) => invoke::encode_embeddings(embed, target),
        Ok(_) => Err(Inexpressible("Only embedding requests become embedding calls.".to_owned())),
        Err(rejection) => Err(Inexpressible(rejection.message.clone())),
    }
}

/// A whole answer in the caller's protocol. `Reply::Native` has no bytes of its own (its original
/// bytes are passed on instead) and is an empty object here.
pub fn encode_reply(protocol: Protocol, context: &AnswerContext, reply: &Reply) -> Encoded {
    let body = match (protocol, reply) {
        (Protocol::OpenAiChat, Reply::Chat(chat)) => openai::encode_reply(context, chat),
        (Protocol::AnthropicMessages, Reply::Chat(chat)) => anthropic::encode_reply(context, chat),
        (Protocol::BedrockConverse, Reply::Chat(chat)) => converse::encode_reply(context, chat),
        (Protocol::BedrockInvoke, Reply::Chat(chat)) => invoke::encode_reply(context, chat),
        (Protocol::McpTool, Reply::Chat(chat)) => mcp::encode_reply(context, chat),
        (_, Reply::Embeddings { vectors, usage, .. }) => {
            openai::embeddings::encode_reply(context, vectors, *usage)
        }
        (_, Reply::TokenCount(tokens)) => count_tokens::encode_reply(protocol, *tokens),
        (_, Reply::Chat(_) | Reply::Native(_)) => Bytes::from_static(b"{}"),
    };
    Encoded { content_type: JSON, body }
}

/// Encodes an answer as it streams in.
#[derive(Debug)]
pub struct StreamEncoder(Codec);

#[derive(Debug)]
enum Codec {
    OpenAi(openai::Encoder),
    Anthropic(anthropic::Encoder),
    Converse(converse::Encoder),
    Invoke(invoke::Encoder),
    /// The protocol has no stream; nothing is written.
    Whole,
}

impl StreamEncoder {
    /// An encoder of `protocol`.
    pub fn new(protocol: Protocol, context: AnswerContext) -> Self {
        Self(match protocol {
            Protocol::OpenAiChat => Codec::OpenAi(openai::Encoder::new(context)),
            Protocol::AnthropicMessages => Codec::Anthropic(anthropic::Encoder::new(context)),
            Protocol::BedrockConverse => Codec::Converse(converse::Encoder::new(context)),
            Protocol::BedrockInvoke => Codec::Invoke(invoke::Encoder::new(context)),
            Protocol::OpenAiEmbeddings
            | Protocol::AnthropicCountTokens
            | Protocol::BedrockCountTokens
            | Protocol::McpTool => Codec::Whole,
        })
    }

    /// Value of the `content-type` header of a stream.
    pub fn content_type(protocol: Protocol) -> &'static str {
        match protocol {
            Protocol::OpenAiChat | Protocol::AnthropicMessages | Protocol::McpTool => SSE,
            Protocol::BedrockConverse | Protocol::BedrockInvoke => EVENT_STREAM,
            Protocol::OpenAiEmbeddings | Protocol::AnthropicCountTokens | Protocol::BedrockCountTokens => {
                JSON
            }
        }
    }

    /// Writes what `event` is in this protocol; terminal bytes only for `Event::Done`.
    pub fn encode(&mut self, event: &Event, out: &mut BytesMut) {
        match &mut self.0 {
            Codec::OpenAi(encoder) => encoder.encode(event, out),
            Codec::Anthropic(encoder) => encoder.encode(event, out),
            Codec::Converse(encoder) => encoder.encode(event, out),
            Codec::Invoke(encoder) => encoder.encode(event, out),
            Codec::Whole => {}
        }
    }

    /// Writes the protocol's own error event, and no finish. Also right behind frames of the same
    /// protocol that passed unchanged.
    pub fn fail(&mut self, error: &ErrorBody<'_>, out: &mut BytesMut) {
        match &mut self.0 {
            Codec::OpenAi(encoder) => encoder.fail(error, out),
            Codec::Anthropic(encoder) => encoder.fail(error, out),
            Codec::Converse(encoder) => encoder.fail(error, out),
            Codec::Invoke(encoder) => encoder.fail(error, out),
            Codec::Whole => {}
        }
    }
}

fn single(bodies: Vec<Bytes>) -> Result<Bytes, Inexpressible> {
    let mut bodies = bodies.into_iter();
    match (bodies.next(), bodies.next()) {
        (Some(body), None) => Ok(body),
        _ => Err(Inexpressible("This many inputs need several calls of this model.".to_owned())),
    }
}

fn cannot(what: &str, protocol: Protocol) -> Inexpressible {
    let path = match protocol {
        Protocol::OpenAiChat => "an OpenAI chat completion",
        Protocol::OpenAiEmbeddings => "an OpenAI embedding",
        Protocol::AnthropicMessages => "an Anthropic message",
        Protocol::AnthropicCountTokens => "Anthropic's counting of tokens",
        Protocol::BedrockConverse => "Bedrock Converse",
        Protocol::BedrockInvoke => "Bedrock InvokeModel",
        Protocol::BedrockCountTokens => "Bedrock CountTokens",
        Protocol::McpTool => "an MCP tool",
    };
    Inexpressible(format!("{what} cannot travel as {path}."))
}
