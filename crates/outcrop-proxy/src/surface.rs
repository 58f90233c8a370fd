//! Which API a request calls: the route table of the data listener.
//!
//! What is not in the table is not served. A Bedrock model id is one path segment, decoded exactly
//! once; an id that could change its meaning on a further decoding or in a URL is refused.

use http::Method;
use outcrop_core::failure::{Code, Failure, Reason};
use outcrop_core::{Dialect, Protocol};
use outcrop_wire::Route;
use percent_encoding::percent_decode_str;

/// Longest Bedrock model id or ARN in characters (AWS API reference).
const MODEL_ID_CHARS_MAX: usize = 2048;

/// What a request calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Surface {
    /// A call that asks a model.
    Call(Route),
    /// `GET /v1/models`, or one of them.
    Models(Option<String>),
}

/// The dialect of a path, known even when the request turns out to be wrong, so that the refusal can
/// be read by the client that caused it.
pub fn dialect_of(path: &str) -> Dialect {
    if path.starts_with("/model/") {
        Dialect::Bedrock
    } else if path == "/v1/messages" || path.starts_with("/v1/messages/") {
        Dialect::Anthropic
    } else {
        Dialect::OpenAi
    }
}

/// The method of a route, for whoever used another one.
pub fn method_of(path: &str) -> &'static str {
    if path == "/v1/models" || path.starts_with("/v1/models/") { "GET" } else { "POST" }
}

impl Surface {
    /// Finds the API behind a method and a raw (undecoded) path.
    pub fn find(method: &Method, path: &str) -> Result<Self, Failure> {
        if let Some(rest) = path.strip_prefix("/model/") {
            return post(method, path).and_then(|()| bedrock(rest)).map(Self::Call);
        }
        let protocol = match path {
            "/v1/chat/completions" => Protocol::OpenAiChat,
            "/v1/embeddings" => Protocol::OpenAiEmbeddings,
            "/v1/messages" => Protocol::AnthropicMessages,
            "/v1/messages/count_tokens" => Protocol::AnthropicCountTokens,
            "/v1/responses" => return Err(responses()),
            _ => return models(method, path),
        };
        post(method, path)?;
        Ok(Self::Call(Route { protocol, model: None, stream: None }))
    }
}

fn models(method: &Method, path: &str) -> Result<Surface, Failure> {
    let Some(rest) = path.strip_prefix("/v1/models") else { return Err(unknown(path)) };
    let one = match rest.strip_prefix('/') {
        None if rest.is_empty() => None,
        Some(id) if !id.is_empty() => Some(model_id(id)?),
        _ => return Err(unknown(path)),
    };
    if method == Method::GET { Ok(Surface::Models(one)) } else { Err(not_allowed(path, "GET")) }
}

fn bedrock(rest: &str) -> Result<Route, Failure> {
    let Some((id, verb)) = rest.split_once('/') else { return Err(unknown(rest)) };
    let (protocol, stream) = match verb {
        "converse" => (Protocol::BedrockConverse, false),
        "converse-stream" => (Protocol::BedrockConverse, true),
        "invoke" => (Protocol::BedrockInvoke, false),
        "invoke-with-response-stream" => (Protocol::BedrockInvoke, true),
        "count-tokens" => (Protocol::BedrockCountTokens, false),
        _ => return Err(unknown(rest)),
    };
    Ok(Route { protocol, model: Some(model_id(id)?), stream: Some(stream) })
}

/// Decodes a model id once. What is left must be plain: no second layer of encoding, nothing that a
/// URL or a path would read as syntax.
fn model_id(segment: &str) -> Result<String, Failure> {
    let refused = || {
        Failure::refusal(
            Code::InvalidRequest,
            "The model id in the path is not valid: use letters, digits and - _ . : / + @ =, \
             percent-encoded once as a single segment.",
        )
    };
    let decoded = percent_decode_str(segment).decode_utf8().map_err(|_| refused())?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.:/+@=".contains(c);
    let climbs = decoded.split('/').any(|part| matches!(part, "" | "." | ".."));
    if decoded.len() > MODEL_ID_CHARS_MAX || climbs || !decoded.chars().all(plain) {
        return Err(refused());
    }
    Ok(decoded.into_owned())
}

fn post(method: &Method, path: &str) -> Result<(), Failure> {
    if method == Method::POST { Ok(()) } else { Err(not_allowed(path, "POST")) }
}

fn not_allowed(path: &str, method: &str) -> Failure {
    let path: String = path.chars().take(80).collect();
    let failure = Failure::refusal(Code::InvalidRequest, format!("{path} answers to {method} only."));
    Failure { reason: Reason::WrongMethod, ..failure }
}

fn unknown(path: &str) -> Failure {
    let path: String = path.chars().take(80).collect();
    let mut failure = Failure::refusal(
        Code::InvalidRequest,
        format!(
            "There is no API at {path}. Served here: /v1/chat/completions, /v1/embeddings, /v1/models, \
             /v1/messages, /v1/messages/count_tokens, /model/{{id}}/converse (-stream), \
             /model/{{id}}/invoke (-with-response-stream), /model/{{id}}/count-tokens, /mcp."
        ),
    );
    failure.reason = Reason::NotFound;
    failure
}

fn responses() -> Failure {
    Failure::refusal(
        Code::InvalidRequest,
        "The Responses API is not served yet; use /v1/chat/completions (in the OpenAI SDK: \
         client.chat.completions.create).",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bedrock_model(path: &str) -> Option<String> {
        match Surface::find(&Method::POST, path) {
            Ok(Surface::Call(route)) => route.model,
            _ => None,
        }
    }

    #[test]
    fn a_model_id_is_one_segment_decoded_once() {
        let arn = "arn:aws:bedrock:eu-central-1:1:inference-profile/eu.anthropic.claude-3:0";
        for (path, expected) in [
            ("/model/eu.amazon.nova-lite-v1:0/converse", Some("eu.amazon.nova-lite-v1:0")),
            ("/model/eu.amazon.nova-lite-v1%3A0/invoke", Some("eu.amazon.nova-lite-v1:0")),
            (
                "/model/arn%3Aaws%3Abedrock%3Aeu-central-1%3A1%3Ainference-profile%2Feu.anthropic.claude-3%3A0/converse",
                Some(arn),
            ),
            ("/model/..%2f..%2fadmin/converse", None),
            ("/model/a%252f..%252fb/converse", None),
            ("/model/a%3fb/converse", None),
            ("/model/a%23b/converse", None),
            ("/model/a%5cb/converse", None),
            ("/model/a%0d%0ab/converse", None),
            ("/model/a%00/converse", None),
            ("/model/a%ff/converse", None),
            ("/model//converse", None),
            ("/model/a/b/converse", None),
            ("/model/a/unknown", None),
        ] {
            assert_eq!(bedrock_model(path).as_deref(), expected, "{path}");
        }
        let long = format!("/model/{}/converse", "a".repeat(MODEL_ID_CHARS_MAX + 1));
        assert_eq!(bedrock_model(&long), None);
    }

    #[test]
    fn what_is_not_in_the_table_is_refused_with_the_way_out() {
        for (method, path, says) in [
            (Method::GET, "/v1/chat/completions", "POST only"),
            (Method::POST, "/v1/models", "GET only"),
            (Method::POST, "/v1/responses", "chat/completions"),
            (Method::GET, "/", "Served here"),
            (Method::POST, "/v1/modelsx", "Served here"),
        ] {
            let failure = Surface::find(&method, path).unwrap_err();
            assert!(failure.message.contains(says), "{path}: {}", failure.message);
        }
    }
}
