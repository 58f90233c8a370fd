//! What is asked: one kind of request, and weighted mixes of them.
//!
//! The prompt is filler of a given size. Against the lab it also carries directives, so that the answer's text can
//! be checked word by word and its record can be found by the request's number.

use std::fmt;

use bytes::Bytes;
use http::{Request, header};
use serde_json::{Value, json};

use crate::dice::Dice;

/// A client API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Api {
    /// OpenAI chat completions.
    OpenAi,
    /// Anthropic messages.
    Anthropic,
    /// Bedrock Converse, ConverseStream.
    Bedrock,
    /// Bedrock InvokeModel, with a body in Anthropic's form.
    Invoke,
    /// A tool call over MCP's streamable HTTP, stateless revision 2026-07-28, tool `converse`.
    Mcp,
}

/// Revision of MCP that is spoken: without handshake and session.
const MCP_REVISION: &str = "2026-07-28";
/// Largest prompt that may be asked for, in bytes.
pub const PROMPT_BYTES_MAX: usize = 8 * 1024 * 1024;

/// One kind of request.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// The API.
    pub api: Api,
    /// The model as the client names it.
    pub model: String,
    /// Whether the answer is to be streamed.
    pub stream: bool,
    /// `x-outcrop-operation`; absent where the target is no Outcrop.
    pub operation: Option<String>,
    /// Size of the prompt's text, in bytes.
    pub prompt_bytes: usize,
    /// Longest answer, in tokens.
    pub answer_tokens: u64,
    /// Whether to steer the lab: exactly `answer_tokens` numbered words, and the request's number in its record.
    pub directives: bool,
    /// Further headers.
    pub headers: Vec<(String, String)>,
}

/// Several kinds of request, each as often as its weight says.
#[derive(Debug, Clone, PartialEq)]
pub struct Mix {
    calls: Vec<(f64, Call)>,
    total: f64,
}

/// Why a mix is refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum MixError {
    /// Nothing to ask.
    #[error("a mix needs at least one kind of request")]
    Empty,
    /// A weight that is none.
    #[error("a weight of {0} is not possible; it must be above 0")]
    Weight(f64),
    /// A prompt beyond the limit.
    #[error("a prompt of {0} bytes is too large; at most {PROMPT_BYTES_MAX}")]
    Prompt(usize),
}

impl Api {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::OpenAi, Self::Anthropic, Self::Bedrock, Self::Invoke, Self::Mcp];

    /// Its name on the command line and in scenarios.
    pub fn name(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::Anthropic => "anthropic",
            Self::Bedrock => "bedrock",
            Self::Invoke => "invoke",
            Self::Mcp => "mcp",
        }
    }
}

impl fmt::Display for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Call {
    /// The request number `n` towards a base address such as `http://127.0.0.1:8080`.
    pub fn request(&self, base: &str, n: u64) -> Result<Request<Bytes>, http::Error> {
        let prompt = self.prompt(n);
        let (path, body) = match self.api {
            Api::OpenAi => ("/v1/chat/completions".to_owned(), self.openai(&prompt)),
            Api::Anthropic => ("/v1/messages".to_owned(), self.anthropic(&prompt)),
            Api::Bedrock => (self.bedrock_path("converse", "converse-stream"), self.converse(&prompt)),
            Api::Invoke => (self.bedrock_path("invoke", "invoke-with-response-stream"), self.invoke(&prompt)),
            Api::Mcp => ("/mcp".to_owned(), self.mcp(&prompt, n)),
        };
        let mut request = Request::post(self.address(base, &path))
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::USER_AGENT, "outcrop-certify");
        if self.api == Api::Anthropic {
            request = request.header("anthropic-version", "2023-06-01");
        }
        if self.api == Api::Mcp {
            request = request
                .header(header::ACCEPT, "application/json, text/event-stream")
                .header("mcp-protocol-version", MCP_REVISION)
                .header("mcp-method", "tools/call")
                .header("mcp-name", "converse");
        }
        if let Some(operation) = &self.operation {
            request = request.header("x-outcrop-operation", operation);
        }
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        request.body(Bytes::from(body.to_string()))
    }

    /// Numbered words that the answer must hold, if that is known.
    pub fn words_due(&self) -> Option<u64> {
        self.directives.then_some(self.answer_tokens)
    }

    /// A base that already ends in the API's own beginning is taken as it is, as SDKs do.
    fn address(&self, base: &str, path: &str) -> String {
        let base = base.trim_end_matches('/');
        let own = if self.api == Api::Mcp { "/mcp" } else { "/v1" };
        match path.strip_prefix(own) {
            Some(rest) if base.ends_with(own) => format!("{base}{rest}"),
            _ => format!("{base}{path}"),
        }
    }

    fn bedrock_path(&self, whole: &str, stream: &str) -> String {
        let model = percent_encoding::utf8_percent_encode(&self.model, percent_encoding::NON_ALPHANUMERIC);
        // Unreserved characters stay as they are (RFC 3986): signatures are made over this spelling.
        let model = model.to_string().replace("%2D", "-").replace("%2E", ".").replace("%5F", "_");
        format!("/model/{model}/{}", if self.stream { stream } else { whole })
    }

    fn prompt(&self, n: u64) -> String {
        const FILLER: &str = "Summarise the state of the cluster in a few words. ";
        let mut prompt = if self.directives {
            format!("[[tokens={}]][[id={n}]] ", self.answer_tokens)
        } else {
            // Every prompt differs, so that no cache answers for the model.
            format!("Request {n}. ")
        };
        while prompt.len() < self.prompt_bytes {
            let left = self.prompt_bytes - prompt.len();
            prompt.push_str(&FILLER[..left.min(FILLER.len())]);
        }
        prompt
    }

    fn openai(&self, prompt: &str) -> Value {
        let mut body = json!({
            "model": self.model,
            "max_tokens": self.answer_tokens,
            "messages": [{"role": "user", "content": prompt}],
        });
        if self.stream {
            body["stream"] = true.into();
        }
        body
    }

    fn anthropic(&self, prompt: &str) -> Value {
        let mut body = self.openai(prompt);
        body["stream"] = self.stream.into();
        body
    }

    fn converse(&self, prompt: &str) -> Value {
        json!({
            "messages": [{"role": "user", "content": [{"text": prompt}]}],
            "inferenceConfig": {"maxTokens": self.answer_tokens},
        })
    }

    fn invoke(&self, prompt: &str) -> Value {
        json!({
            "anthropic_version": "bedrock-2023-05-31",
            "max_tokens": self.answer_tokens,
            "messages": [{"role": "user", "content": prompt}],
        })
    }

    fn mcp(&self, prompt: &str, n: u64) -> Value {
        let mut meta = json!({
            "io.modelcontextprotocol/protocolVersion": MCP_REVISION,
            "io.modelcontextprotocol/clientInfo": {"name": "outcrop-certify", "version": env!("CARGO_PKG_VERSION")},
            "io.modelcontextprotocol/clientCapabilities": {},
        });
        if self.stream {
            meta["progressToken"] = n.into();
        }
        let arguments = json!({
            "model": self.model,
            "max_tokens": self.answer_tokens,
            "messages": [{"role": "user", "content": prompt}],
        });
        json!({
            "jsonrpc": "2.0", "id": n, "method": "tools/call",
            "params": {"name": "converse", "arguments": arguments, "_meta": meta},
        })
    }
}

impl Mix {
    /// Checks a mix.
    pub fn new(calls: Vec<(f64, Call)>) -> Result<Self, MixError> {
        if calls.is_empty() {
            return Err(MixError::Empty);
        }
        for (weight, call) in &calls {
            if !(weight.is_finite() && *weight > 0.0) {
                return Err(MixError::Weight(*weight));
            }
            if call.prompt_bytes > PROMPT_BYTES_MAX {
                return Err(MixError::Prompt(call.prompt_bytes));
            }
        }
        let total = calls.iter().map(|(weight, _)| weight).sum();
        Ok(Self { calls, total })
    }

    /// The kinds, in the order they were given.
    pub fn calls(&self) -> impl Iterator<Item = &Call> {
        self.calls.iter().map(|(_, call)| call)
    }

    /// The kinds with their weights.
    pub fn weighted(&self) -> impl Iterator<Item = (f64, &Call)> {
        self.calls.iter().map(|(weight, call)| (*weight, call))
    }

    /// Which kind request number `n` is; the same seed gives the same choice.
    pub fn pick(&self, seed: u64, n: u64) -> usize {
        let mut left = Dice::new(seed, [b"mix".as_slice(), &n.to_le_bytes()]).fraction() * self.total;
        for (index, (weight, _)) in self.calls.iter().enumerate() {
            if left < *weight {
                return index;
            }
            left -= weight;
        }
        self.calls.len().saturating_sub(1)
    }

    /// One kind.
    pub fn call(&self, index: usize) -> Option<&Call> {
        self.calls.get(index).map(|(_, call)| call)
    }
}
