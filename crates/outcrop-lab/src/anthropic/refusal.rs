//! Refusals as Anthropic spells them: status, `error` object with `request_id`, and the table from a
//! scripted type to both.
//!
//! Knows nothing about when a refusal is due. The same object is the payload of `event: error` inside a
//! stream, there without the request id.

use http::StatusCode;
use serde_json::{Value, json};

/// One refusal: an HTTP status and the members of the `error` object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// Status of the HTTP answer.
    pub(crate) status: StatusCode,
    /// `error.type`.
    pub(crate) kind: &'static str,
    /// Text for people.
    pub(crate) message: String,
    /// Seconds of the `retry-after` header.
    pub(crate) retry_after_s: Option<u64>,
}

/// `529` has no name in the registry of HTTP statuses.
const OVERLOADED: u16 = 529;

/// `error.type`, its status, and the service's usual text.
const SPELLINGS: [(&str, u16, &str); 9] = [
    ("invalid_request_error", 400, "Invalid request"),
    ("authentication_error", 401, "invalid x-api-key"),
    ("billing_error", 402, "Your credit balance is too low to access the Anthropic API."),
    ("permission_error", 403, "Your API key does not have permission to use the specified resource."),
    ("not_found_error", 404, "Not found"),
    ("request_too_large", 413, "Request exceeds the maximum size"),
    ("rate_limit_error", 429, "This request would exceed your organization's rate limit."),
    ("timeout_error", 504, "Request timed out"),
    ("overloaded_error", OVERLOADED, "Overloaded"),
];

impl Refusal {
    fn new(status: u16, kind: &'static str, message: impl Into<String>) -> Self {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self { status, kind, message: message.into(), retry_after_s: None }
    }

    /// A 400 with the service's own words, which begin with the path of the faulty member.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(400, "invalid_request_error", message)
    }

    /// The key is absent (`None`) or unknown.
    pub(crate) fn key(presented: Option<&str>) -> Self {
        let message = if presented.is_some() { "invalid x-api-key" } else { "x-api-key header is required" };
        Self::new(401, "authentication_error", message)
    }

    /// The model is not known.
    pub(crate) fn model(model: &str) -> Self {
        Self::new(404, "not_found_error", format!("model: {model}"))
    }

    /// The path is not known.
    pub(crate) fn path() -> Self {
        Self::new(404, "not_found_error", "Not found")
    }

    /// The path is known, the method is not.
    pub(crate) fn method() -> Self {
        Self::new(405, "invalid_request_error", "Method Not Allowed")
    }

    /// The tokens or requests of this minute are spent.
    pub(crate) fn rate_limit(retry_after_s: u64) -> Self {
        Self { retry_after_s: Some(retry_after_s), ..Self::scripted(Some("rate_limit_error"), None) }
    }

    /// The refusal a script asks for by `type`, by `status`, or by both.
    pub(crate) fn scripted(kind: Option<&str>, status: Option<u16>) -> Self {
        let by_kind = SPELLINGS.iter().find(|spelling| Some(spelling.0) == kind);
        let by_status = SPELLINGS.iter().find(|spelling| kind.is_none() && Some(spelling.1) == status);
        let &(kind, usual, message) =
            by_kind.or(by_status).unwrap_or(&("api_error", 500, "Internal server error"));
        Self::new(status.unwrap_or(usual), kind, message)
    }

    /// The payload of `event: error`.
    pub(crate) fn event(&self) -> Value {
        json!({"type": "error", "error": {"type": self.kind, "message": self.message}})
    }

    /// The JSON body of the refusal.
    pub(crate) fn body(&self, request_id: &str) -> Value {
        json!({"type": "error", "error": {"type": self.kind, "message": self.message}, "request_id": request_id})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripted_types_and_statuses_meet_their_spelling() {
        let check = |kind, status, expected: (u16, &str)| {
            let refusal = Refusal::scripted(kind, status);
            assert_eq!((refusal.status.as_u16(), refusal.kind), expected, "{kind:?} {status:?}");
        };
        check(Some("overloaded_error"), None, (529, "overloaded_error"));
        check(None, Some(529), (529, "overloaded_error"));
        check(None, Some(429), (429, "rate_limit_error"));
        check(None, Some(503), (503, "api_error"));
        check(Some("rate_limit_error"), Some(400), (400, "rate_limit_error"));
        check(None, None, (500, "api_error"));
    }

    #[test]
    fn the_event_has_no_request_id() {
        let refusal = Refusal::rate_limit(1);
        assert!(refusal.event().get("request_id").is_none());
        assert_eq!(refusal.body("req_1")["request_id"], "req_1");
    }
}
