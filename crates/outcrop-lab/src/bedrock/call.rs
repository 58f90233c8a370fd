//! Which operation a request addresses, read from its raw path.
//!
//! `POST /model/{id}/{operation}` with the identifier as one percent-encoded segment; anything else is unknown.

use http::Method;
use percent_encoding::percent_decode_str;

use super::refusal::Refusal;
use crate::exchange::Received;

/// The operations of the runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    Converse,
    ConverseStream,
    Invoke,
    InvokeStream,
    CountTokens,
}

/// A request's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Call {
    /// The model identifier, decoded.
    pub(super) identifier: String,
    pub(super) operation: Operation,
}

impl Operation {
    const ALL: [Self; 5] =
        [Self::Converse, Self::ConverseStream, Self::Invoke, Self::InvokeStream, Self::CountTokens];

    /// Its segment in the path, also its name in the billing record.
    pub(super) fn segment(self) -> &'static str {
        match self {
            Self::Converse => "converse",
            Self::ConverseStream => "converse-stream",
            Self::Invoke => "invoke",
            Self::InvokeStream => "invoke-with-response-stream",
            Self::CountTokens => "count-tokens",
        }
    }

    pub(super) fn streams(self) -> bool {
        matches!(self, Self::ConverseStream | Self::InvokeStream)
    }

    /// Whether the body is in the model's own schema.
    pub(super) fn is_native(self) -> bool {
        matches!(self, Self::Invoke | Self::InvokeStream)
    }

    pub(super) fn runs_model(self) -> bool {
        self != Self::CountTokens
    }
}

impl Call {
    pub(super) fn read(received: &Received) -> Result<Self, Refusal> {
        let segments: Vec<&str> = received.path.split('/').collect();
        let ["", "model", identifier, segment] = segments.as_slice() else {
            return Err(Refusal::unknown_operation());
        };
        let operation = Operation::ALL.into_iter().find(|operation| operation.segment() == *segment);
        let decoded = percent_decode_str(identifier).decode_utf8().ok();
        match (operation, decoded) {
            (Some(operation), Some(identifier)) if received.method == Method::POST => {
                Ok(Self { identifier: identifier.into_owned(), operation })
            }
            _ => Err(Refusal::unknown_operation()),
        }
    }
}
