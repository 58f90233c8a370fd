//! Bedrock's errors: names, statuses and texts as the service spells them.
//!
//! One table serves both positions: the name in the `x-amzn-ErrorType` header of an answer, and (in lower camel case)
//! in the `:exception-type` header of a frame inside a stream.

use http::StatusCode;
use serde_json::json;

use crate::exchange::{Injected, Whole};

/// An error answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    /// The shape's name, for instance `ValidationException`.
    pub(super) name: String,
    pub(super) status: StatusCode,
    pub(super) message: String,
    pub(super) retry_after_s: Option<u64>,
}

/// Name, status and usual text of every documented error of the runtime.
const TABLE: [(&str, u16, &str); 20] = [
    ("AccessDeniedException", 403, "You don't have access to the model with the specified model ID."),
    ("ConflictException", 400, "Error occurred because of a conflict while performing an operation."),
    ("ExpiredTokenException", 403, "The security token included in the request is expired"),
    (
        "IncompleteSignatureException",
        400,
        "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.",
    ),
    (
        "InternalServerException",
        500,
        "The system encountered an unexpected error during processing. Try your request again.",
    ),
    (
        "InvalidSignatureException",
        403,
        "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details.",
    ),
    ("MissingAuthenticationTokenException", 403, "Missing Authentication Token"),
    (
        "ModelErrorException",
        424,
        "The system encountered an unexpected error during processing. Try your request again.",
    ),
    ("ModelNotReadyException", 429, "Model is not ready for inference. Wait and try your request again."),
    (
        "ModelStreamErrorException",
        424,
        "The system encountered an unexpected error during processing. Try your request again.",
    ),
    ("ModelTimeoutException", 408, "Model has timed out in processing the request. Try your request again."),
    ("RequestEntityTooLargeException", 413, "Request body exceeds the limit of 25000000 bytes."),
    (
        "ResourceNotFoundException",
        404,
        "Could not resolve the foundation model from the provided model identifier.",
    ),
    ("SerializationException", 400, "Request body is not valid JSON."),
    ("ServiceQuotaExceededException", 400, "Your request exceeds the service quota for your account."),
    ("ServiceUnavailableException", 503, "Bedrock is unable to process your request."),
    ("ThrottlingException", 429, "Too many requests, please wait before trying again."),
    ("UnknownOperationException", 404, "The requested operation is not recognized by the service."),
    ("UnrecognizedClientException", 403, "The security token included in the request is invalid."),
    ("ValidationException", 400, "The provided request is not valid."),
];

impl Refusal {
    /// A documented error with its usual text.
    pub(super) fn usual(name: &str) -> Self {
        let (status, message) = TABLE
            .iter()
            .find(|(known, _, _)| *known == name)
            .map_or((500, "Unexpected error."), |(_, status, message)| (*status, *message));
        Self {
            name: name.to_owned(),
            status: StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            message: message.to_owned(),
            retry_after_s: None,
        }
    }

    /// A documented error with a text of its own.
    pub(super) fn named(name: &str, message: impl Into<String>) -> Self {
        Self { message: message.into(), ..Self::usual(name) }
    }

    /// A request the service does not accept.
    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::named("ValidationException", message)
    }

    /// No such operation.
    pub(super) fn unknown_operation() -> Self {
        Self::usual("UnknownOperationException")
    }

    /// The error a script asks for: by its name, else by its status, else an internal one.
    pub(super) fn scripted(injected: &Injected) -> Self {
        let named = injected.error_type.as_deref().map(upper_camel);
        let by_status = injected.status.and_then(name_of_status).map(str::to_owned);
        let name = named.or(by_status).unwrap_or_else(|| "InternalServerException".to_owned());
        let usual = Self::usual(&name);
        Self {
            status: injected.status.unwrap_or(usual.status),
            retry_after_s: injected.retry_after_s,
            ..usual
        }
    }

    /// The name inside a stream.
    pub(super) fn name_in_stream(&self) -> String {
        let mut letters = self.name.chars();
        letters
            .next()
            .map_or_else(String::new, |first| first.to_ascii_lowercase().to_string() + letters.as_str())
    }

    /// The error as an answer.
    pub(super) fn answer(&self, request_id: &str) -> Whole {
        // The service appends an address that clients must cut off.
        let header = format!("{}:http://internal.amazon.com/coral/com.amazon.bedrock/", self.name);
        let answer = Whole::json(self.status, &json!({"message": self.message}))
            .header("x-amzn-requestid", request_id)
            .header("x-amzn-errortype", &header);
        match self.retry_after_s {
            Some(seconds) => answer
                .header("retry-after", &seconds.to_string())
                .header("x-amz-retry-after", &(seconds * 1_000).to_string()),
            None => answer,
        }
    }
}

fn upper_camel(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().map_or_else(String::new, |first| first.to_ascii_uppercase().to_string() + letters.as_str())
}

fn name_of_status(status: StatusCode) -> Option<&'static str> {
    match status.as_u16() {
        400 => Some("ValidationException"),
        403 => Some("AccessDeniedException"),
        404 => Some("ResourceNotFoundException"),
        408 => Some("ModelTimeoutException"),
        413 => Some("RequestEntityTooLargeException"),
        424 => Some("ModelErrorException"),
        429 => Some("ThrottlingException"),
        500 => Some("InternalServerException"),
        503 => Some("ServiceUnavailableException"),
        _ => None,
    }
}
