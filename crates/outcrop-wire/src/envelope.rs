//! A request as it arrived: the few fields that routing needs, the original bytes, and the full
//! decoding on demand.
//!
//! Same-protocol requests are never decoded beyond the envelope, so unknown fields survive and the
//! bytes that leave are the bytes that came. Invariant: `body` is the caller's, unchanged.

mod fields;

use std::ops::Range;
use std::sync::OnceLock;

use bytes::Bytes;
use outcrop_core::money::Tier;
use outcrop_core::{Ask, Protocol};
use smallvec::SmallVec;

use crate::bounds::Tally;
use crate::dialect::{anthropic, converse, count_tokens, invoke, mcp, openai};
use crate::json;
use fields::Fields;

/// Bytes of a body that are searched for a marker of a prompt cache.
const PREFIX_SOUGHT_IN: usize = 64 * 1024;

/// Bytes that tell one prompt prefix from another.
const PREFIX_BYTES: usize = 1024;

/// Limits on a JSON body, checked while it is scanned once.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Deepest nesting of arrays and objects.
    pub depth_max: usize,
    /// Most values (numbers, strings, objects, …) in the document.
    pub nodes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { depth_max: 64, nodes_max: 100_000 }
    }
}

/// What the URL says about a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Which protocol the route speaks.
    pub protocol: Protocol,
    /// The model, where the URL names it (Bedrock): percent-decoded exactly once.
    pub model: Option<String>,
    /// Whether the route streams, where the URL decides it (Bedrock).
    pub stream: Option<bool>,
}

/// A request that cannot be read. The message names the cause and the way out and is meant for the
/// caller.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Rejection {
    /// For the caller.
    pub message: String,
    /// The field at fault, as a path (`messages[2].content`); empty if none.
    pub field: String,
}

/// A request as it arrived.
#[derive(Debug)]
pub struct Envelope {
    /// The protocol it is written in.
    pub protocol: Protocol,
    /// The model as the caller named it.
    pub model: String,
    /// Whether a stream is asked for.
    pub stream: bool,
    /// Most output tokens asked for, if the caller set a limit.
    pub max_tokens: Option<u64>,
    /// Who the caller says the request is for: OpenAI's `safety_identifier` or `user`, Anthropic's
    /// `metadata.user_id`; its first 200 characters.
    pub user: Option<String>,
    /// The service tier that is asked for, where it has prices of its own.
    pub tier: Option<Tier>,
    /// Whether the body says anything of a tier.
    pub says_tier: bool,
    /// How many answers are asked for (OpenAI `n`); 1 elsewhere.
    pub answers: u64,
    /// Whether tools are offered.
    pub has_tools: bool,
    /// OpenAI only: the caller wants a usage chunk at the end of the stream.
    pub stream_usage: bool,
    /// Values of the `anthropic-beta` header, in order; set by the intake.
    pub betas: Vec<String>,
    /// The original bytes.
    pub body: Bytes,
    pub(crate) spans: Spans,
    pub(crate) ask: OnceLock<Result<Ask, Rejection>>,
    /// What the body holds, added up on first use.
    pub(crate) tally: OnceLock<Tally>,
}

/// Where the values are that a same-protocol request may have to change; `None` where absent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Spans {
    /// Just behind the brace that opens the body.
    pub(crate) open: usize,
    /// `model`.
    pub(crate) model: Option<Range<usize>>,
    /// Every field that limits output, even when it is null.
    pub(crate) limits: SmallVec<[LimitSpan; 1]>,
    /// OpenAI `stream_options`.
    pub(crate) stream_options: Option<Range<usize>>,
    /// Converse `inferenceConfig`.
    pub(crate) inference: Option<Range<usize>>,
    /// Titan's `textGenerationConfig`.
    pub(crate) text_generation: Option<Range<usize>>,
}

/// A field that limits output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LimitSpan {
    /// The member of the body that is it, or holds it.
    pub(crate) key: &'static str,
    /// Where its value is.
    pub(crate) span: Range<usize>,
    /// Its value; `None` is null, and what is no count is above every cap.
    pub(crate) value: Option<u64>,
}

impl Rejection {
    /// A rejection of `field`.
    pub(crate) fn of(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { message: message.into(), field: field.into() }
    }
}

impl Envelope {
    /// Reads a request: one pass over the body with `limits`, then the fields that routing needs.
    pub fn open(route: &Route, body: Bytes, limits: &Limits) -> Result<Envelope, Rejection> {
        let mut envelope = Self::read(route, &body, limits)?;
        envelope.body = body;
        Ok(envelope)
    }

    /// Everything but the body.
    fn read(route: &Route, body: &[u8], limits: &Limits) -> Result<Envelope, Rejection> {
        let members = json::scan(body, limits, fields::KEPT)?;
        let fields = Fields { body, members: &members };
        fields.require_content(route.protocol)?;
        let (max_tokens, limits) = fields.max_tokens(route.protocol)?;
        Ok(Envelope {
            protocol: route.protocol,
            model: match &route.model {
                Some(model) => model.clone(),
                None => fields.model()?,
            },
            stream: match route.stream {
                Some(stream) => stream,
                None => fields.flag("stream")?,
            },
            max_tokens,
            user: fields.user(route.protocol),
            tier: fields.tier(),
            says_tier: fields.span("service_tier").or_else(|| fields.span("serviceTier")).is_some(),
            answers: match route.protocol {
                Protocol::OpenAiChat => fields.answers()?,
                _ => 1,
            },
            has_tools: fields.has_tools(),
            stream_usage: fields.stream_usage()?,
            betas: Vec::new(),
            body: Bytes::new(),
            spans: Spans {
                open: fields.open(),
                model: fields.span("model"),
                limits,
                stream_options: fields.span("stream_options"),
                inference: fields.span("inferenceConfig"),
                text_generation: fields.span("textGenerationConfig"),
            },
            ask: OnceLock::new(),
            tally: OnceLock::new(),
        })
    }

    /// The beginning of the prompt, if the caller asks for it to be cached: what two requests share that
    /// can use one cache. At most 1 KiB, as it stands in the body.
    pub fn cached_prefix(&self) -> Option<&[u8]> {
        let body = self.body.get(..self.body.len().min(PREFIX_SOUGHT_IN))?;
        let find = |what: &[u8]| memchr::memmem::find(body, what);
        let markers: [&[u8]; 3] = [b"\"cache_control\"", b"\"cachePoint\"", b"\"prompt_cache_key\""];
        markers.into_iter().find_map(find)?;
        let prompts: [&[u8]; 4] = [b"\"prompt_cache_key\"", b"\"system\"", b"\"tools\"", b"\"messages\""];
        let start = prompts.into_iter().find_map(find)?;
        let prefix = body.get(start..)?;
        prefix.get(..prefix.len().min(PREFIX_BYTES))
    }

    /// The full decoding, done once on first use.
    pub fn ask(&self) -> Result<&Ask, &Rejection> {
        self.ask.get_or_init(|| decode(self.protocol, &self.body)).as_ref()
    }
}

fn decode(protocol: Protocol, body: &[u8]) -> Result<Ask, Rejection> {
    match protocol {
        Protocol::OpenAiChat => openai::decode_request(body),
        Protocol::OpenAiEmbeddings => openai::embeddings::decode_request(body).map(Ask::Embed),
        Protocol::AnthropicMessages => anthropic::decode_request(body),
        Protocol::BedrockConverse => converse::decode_request(body),
        Protocol::BedrockInvoke => invoke::decode_request(body),
        Protocol::AnthropicCountTokens | Protocol::BedrockCountTokens => {
            count_tokens::decode_request(protocol, body)
        }
        Protocol::McpTool => mcp::decode_request(body),
    }
}

#[cfg(test)]
mod tests;
