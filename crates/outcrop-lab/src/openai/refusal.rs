//! Refusals as OpenAI spells them: status, `error` object, and the table from a scripted type to both.
//!
//! Knows nothing about when a refusal is due; the wording is the service's own so that a client that
//! matches on text or code meets here what it meets there.

use http::StatusCode;
use serde_json::{Value, json};

/// One refusal: an HTTP status and the members of the `error` object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// Status of the HTTP answer.
    pub(crate) status: StatusCode,
    /// Text for people.
    pub(crate) message: String,
    /// `error.type`.
    pub(crate) kind: &'static str,
    /// `error.param`: the member of the request that is at fault.
    pub(crate) param: Option<String>,
    /// `error.code`.
    pub(crate) code: Option<&'static str>,
    /// Seconds of the `retry-after` header.
    pub(crate) retry_after_s: Option<u64>,
}

const INVALID_REQUEST: &str = "invalid_request_error";

impl Refusal {
    /// A 400 about the member `param`.
    pub(crate) fn invalid(param: &str, code: Option<&'static str>, message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            message: message.into(),
            kind: INVALID_REQUEST,
            param: Some(param.to_owned()),
            code,
            retry_after_s: None,
        }
    }

    /// A refusal that names no member of the request.
    fn plain(
        status: StatusCode,
        kind: &'static str,
        code: Option<&'static str>,
        message: impl Into<String>,
    ) -> Self {
        Self { status, message: message.into(), kind, param: None, code, retry_after_s: None }
    }

    /// The body is not JSON.
    pub(crate) fn not_json() -> Self {
        Self::plain(
            StatusCode::BAD_REQUEST,
            INVALID_REQUEST,
            None,
            "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your HTTP \
             library correctly. The OpenAI API expects a JSON payload, but what was sent was not valid JSON.)",
        )
    }

    /// The key is absent or unknown.
    pub(crate) fn key(presented: Option<&str>) -> Self {
        let message = match presented {
            None => "You didn't provide an API key. You need to provide your API key in an Authorization header using \
                     Bearer auth (i.e. Authorization: Bearer YOUR_KEY)."
                .to_owned(),
            Some(key) => format!("Incorrect API key provided: {}.", masked(key)),
        };
        let code = presented.map(|_| "invalid_api_key");
        Self::plain(StatusCode::UNAUTHORIZED, INVALID_REQUEST, code, message)
    }

    /// The model is not known.
    pub(crate) fn model(model: &str) -> Self {
        Self::plain(
            StatusCode::NOT_FOUND,
            INVALID_REQUEST,
            Some("model_not_found"),
            format!("The model `{model}` does not exist or you do not have access to it."),
        )
    }

    /// The path is not known.
    pub(crate) fn path(method: &http::Method, path: &str) -> Self {
        Self::plain(StatusCode::NOT_FOUND, INVALID_REQUEST, None, format!("Invalid URL ({method} {path})"))
    }

    /// The path is known, the method is not.
    pub(crate) fn method(method: &http::Method, path: &str) -> Self {
        Self::plain(
            StatusCode::METHOD_NOT_ALLOWED,
            INVALID_REQUEST,
            Some("method_not_supported"),
            format!(
                "Not allowed to {method} on {path}. (HINT: Perhaps you meant to use a different HTTP method?)"
            ),
        )
    }

    /// The tokens or requests of this minute are spent.
    pub(crate) fn rate_limit(model: &str, retry_after_s: u64) -> Self {
        let message = format!(
            "Rate limit reached for {model} in organization org-lab on tokens per min (TPM). Please try again in \
             {retry_after_s}s. Visit https://platform.openai.com/account/rate-limits to learn more."
        );
        Self {
            retry_after_s: Some(retry_after_s),
            ..Self::plain(StatusCode::TOO_MANY_REQUESTS, "tokens", Some("rate_limit_exceeded"), message)
        }
    }

    /// The refusal a script asks for by `type`, by `status`, or by both.
    pub(crate) fn scripted(kind: Option<&str>, status: Option<u16>, model: &str) -> Self {
        let mut refusal = match (kind, status) {
            (Some("insufficient_quota"), _) => Self::plain(
                StatusCode::TOO_MANY_REQUESTS,
                "insufficient_quota",
                Some("insufficient_quota"),
                "You exceeded your current quota, please check your plan and billing details.",
            ),
            (Some("context_length_exceeded"), _) => Self::invalid(
                "messages",
                Some("context_length_exceeded"),
                "This model's maximum context length is 128000 tokens. Please reduce the length of the messages.",
            ),
            (Some("content_policy_violation"), _) => Self::plain(
                StatusCode::BAD_REQUEST,
                INVALID_REQUEST,
                Some("content_policy_violation"),
                "Your request was rejected as a result of our safety system.",
            ),
            (Some("rate_limit_exceeded" | "tokens" | "requests"), _) | (None, Some(429)) => {
                Self::rate_limit(model, 1)
            }
            (Some("invalid_api_key"), _) | (None, Some(401)) => Self::key(Some("sk-expired0000")),
            (Some("model_not_found"), _) | (None, Some(404)) => Self::model(model),
            (Some("invalid_request_error"), _) | (None, Some(400)) => {
                Self::plain(StatusCode::BAD_REQUEST, INVALID_REQUEST, None, "Invalid request.")
            }
            (Some("overloaded" | "service_unavailable"), _) | (None, Some(503)) => Self::plain(
                StatusCode::SERVICE_UNAVAILABLE,
                "server_error",
                None,
                "The engine is currently overloaded, please try again later.",
            ),
            (None, Some(403)) => Self::plain(
                StatusCode::FORBIDDEN,
                INVALID_REQUEST,
                Some("unsupported_country_region_territory"),
                "Country, region, or territory not supported",
            ),
            _ => Self::plain(
                StatusCode::INTERNAL_SERVER_ERROR,
                "server_error",
                None,
                "The server had an error while processing your request. Sorry about that!",
            ),
        };
        if let Some(status) = status.and_then(|code| StatusCode::from_u16(code).ok()) {
            refusal.status = status;
        }
        refusal
    }

    /// The JSON body of the refusal; the same object is the payload of an error inside a stream.
    pub(crate) fn body(&self) -> Value {
        json!({"error": {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}})
    }
}

/// The service shows only the ends of a key it refuses.
fn masked(key: &str) -> String {
    let chars: Vec<char> = key.chars().collect();
    if chars.len() < 12 {
        return "*".repeat(chars.len());
    }
    let head: String = chars.iter().take(4).collect();
    let tail: String = chars.iter().skip(chars.len() - 4).collect();
    format!("{head}{}{tail}", "*".repeat(chars.len() - 8))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripted_types_and_statuses_meet_their_spelling() {
        let check = |kind, status, expected: (u16, &str, Option<&str>)| {
            let refusal = Refusal::scripted(kind, status, "gpt-4o-mini");
            assert_eq!(
                (refusal.status.as_u16(), refusal.kind, refusal.code),
                expected,
                "{kind:?} {status:?}"
            );
        };
        check(None, Some(429), (429, "tokens", Some("rate_limit_exceeded")));
        check(Some("insufficient_quota"), None, (429, "insufficient_quota", Some("insufficient_quota")));
        check(None, Some(500), (500, "server_error", None));
        check(None, Some(502), (502, "server_error", None));
        check(Some("overloaded"), None, (503, "server_error", None));
        check(None, Some(401), (401, "invalid_request_error", Some("invalid_api_key")));
        check(
            Some("context_length_exceeded"),
            None,
            (400, "invalid_request_error", Some("context_length_exceeded")),
        );
    }

    #[test]
    fn a_refused_key_is_shown_only_by_its_ends() {
        assert_eq!(masked("sk-0123456789"), "sk-0*****6789");
        assert_eq!(masked("short"), "*****");
    }
}
