//! The requests the load sends: bodies of an exact size and their paths.
//!
//! Text carries quotes and line breaks, so that a decoder meets escapes. It holds no measuring code.

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HOST, HeaderMap, HeaderValue};
use http::{Method, Request, Uri};
use http_body_util::Full;
use serde_json::{Value, json};

use crate::cells::{Lane, Pair};

/// Alias the gateway resolves to a Bedrock model.
pub(crate) const BEDROCK_ALIAS: &str = "bench-bedrock";
/// Alias the gateway resolves to an OpenAI model.
pub(crate) const OPENAI_ALIAS: &str = "bench-openai";

const PROSE: &str =
    "The relay said \"ready\" at 04:12.\nWe checked the pump, the valve and the log, then waited. ";
const TURNS_BYTES: usize = 2_400;

/// Everything of a request but the connection: cloned for each send.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    uri: Uri,
    headers: HeaderMap,
    /// The encoded body.
    pub(crate) body: Bytes,
}

impl Call {
    /// The whole (not streamed) request of a cell for one of the two proxies.
    pub(crate) fn whole(pair: Pair, lane: Lane, body_bytes: usize) -> Self {
        match pair {
            Pair::BedrockBedrock => Self::json(
                &format!("/model/{BEDROCK_ALIAS}/converse"),
                converse_body(body_bytes),
                "application/json",
            ),
            Pair::OpenAiOpenAi | Pair::OpenAiBedrock => {
                let body = chat_body(chat_model(pair, lane), body_bytes, false);
                Self::json("/v1/chat/completions", body, "application/json")
            }
        }
    }

    /// The streamed request of a cell for one of the two proxies.
    pub(crate) fn stream(pair: Pair, lane: Lane, body_bytes: usize) -> Self {
        match pair {
            Pair::BedrockBedrock => {
                let path = format!("/model/{BEDROCK_ALIAS}/converse-stream");
                Self::json(&path, converse_body(body_bytes), "application/vnd.amazon.eventstream")
            }
            Pair::OpenAiOpenAi | Pair::OpenAiBedrock => {
                let body = chat_body(chat_model(pair, lane), body_bytes, true);
                Self::json("/v1/chat/completions", body, "text/event-stream")
            }
        }
    }

    fn json(path: &str, body: Bytes, accept: &'static str) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_static("localhost"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(ACCEPT, HeaderValue::from_static(accept));
        let uri = path.parse().expect("invariant: the paths above are valid origin-form URIs");
        Self { uri, headers, body }
    }

    /// A request ready to send.
    pub(crate) fn request(&self) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(self.body.clone()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        request
    }
}

fn chat_model(pair: Pair, lane: Lane) -> &'static str {
    match (pair, lane) {
        (Pair::OpenAiBedrock, Lane::Subject) => BEDROCK_ALIAS,
        _ => OPENAI_ALIAS,
    }
}

/// An OpenAI chat body of exactly `bytes` bytes (or the smallest possible, if that is more).
fn chat_body(model: &str, bytes: usize, stream: bool) -> Bytes {
    fit(bytes, |prose| {
        let mut messages = vec![json!({"role": "system", "content": "Answer briefly."})];
        messages.extend(turns(prose).map(|(role, text)| json!({"role": role, "content": text})));
        let mut body = json!({"model": model, "messages": messages, "max_tokens": 64, "temperature": 0.2});
        if stream {
            body["stream"] = Value::Bool(true);
            body["stream_options"] = json!({"include_usage": true});
        }
        body
    })
}

/// A Converse body of exactly `bytes` bytes (or the smallest possible, if that is more).
fn converse_body(bytes: usize) -> Bytes {
    fit(bytes, |prose| {
        let messages: Vec<Value> =
            turns(prose).map(|(role, text)| json!({"role": role, "content": [{"text": text}]})).collect();
        json!({
            "messages": messages,
            "system": [{"text": "Answer briefly."}],
            "inferenceConfig": {"maxTokens": 64, "temperature": 0.2},
        })
    })
}

/// Alternating turns, the last one the user's; ASCII prose may be cut anywhere.
fn turns(prose: &str) -> impl Iterator<Item = (&'static str, &str)> {
    let count = (prose.len() / TURNS_BYTES) | 1;
    let part = prose.len() / count;
    (0..count).map(move |index| {
        let role = if index % 2 == 0 { "user" } else { "assistant" };
        let end = if index + 1 == count { prose.len() } else { (index + 1) * part };
        (role, &prose[index * part..end])
    })
}

/// Grows the prose until the encoded body has the wanted size; the number of turns depends on the prose, hence the
/// correction of the estimate.
fn fit(bytes: usize, make: impl Fn(&str) -> Value) -> Bytes {
    let encoded_len = |prose: &str| make(prose).to_string().len();
    let mut prose_bytes = bytes.saturating_sub(encoded_len("x")) + 1;
    for _ in 0..8 {
        let got = encoded_len(&prose_of_encoded_length(prose_bytes));
        if got == bytes {
            break;
        }
        prose_bytes = (prose_bytes + bytes).saturating_sub(got).max(1);
    }
    Bytes::from(make(&prose_of_encoded_length(prose_bytes)).to_string())
}

/// Text whose JSON form (without its outer quotes) has exactly `bytes` bytes.
fn prose_of_encoded_length(bytes: usize) -> String {
    let mut text = String::with_capacity(bytes);
    let mut left = bytes;
    for letter in PROSE.chars().cycle() {
        if left == 0 {
            break;
        }
        let cost = if matches!(letter, '"' | '\n') { 2 } else { 1 };
        text.push(if cost > left { 'x' } else { letter });
        left -= cost.min(left);
    }
    text
}
