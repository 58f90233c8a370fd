//! Errors on the wire: reading an upstream's, writing the caller's, and the one table between.
//!
//! The same table serves a status with a body and an error inside a 200 stream, so an exception means
//! the same in both positions. It does not decide what follows; it only names class and reason.
//! Invariant: every caller-facing error carries our stable code beside the type its dialect expects.

mod decode;
mod encode;
mod table;

#[cfg(test)]
mod tests;

use bytes::Bytes;
use outcrop_core::failure::{Code, Reason, UpstreamError};

pub use decode::{decode_error, retry_hint};
pub use encode::encode_error;
pub use table::{bedrock_status, classify};

pub(crate) use decode::{bedrock_exception, stream_error};
pub(crate) use encode::{error_json, exception_frame};

/// An error as the caller will see it.
#[derive(Debug, Clone)]
pub struct ErrorBody<'a> {
    /// Our stable code.
    pub code: Code,
    /// Why; it names the exception where a signature is not believed.
    pub reason: Reason,
    /// Text for the caller.
    pub message: &'a str,
    /// Our request id.
    pub request_id: &'a str,
    /// The last upstream's own error, whose status and type the caller gets in its dialect.
    pub upstream: Option<&'a UpstreamError>,
    /// Another status for a refusal by the gateway itself, with the type that the dialect has for it;
    /// our code stays. For clients that know 429 in place of 402.
    pub status_override: Option<u16>,
}

/// An encoded error answer.
#[derive(Debug, Clone)]
pub struct ErrorAnswer {
    /// HTTP status.
    pub status: u16,
    /// Headers of the dialect, `content-type` among them; lower-case names.
    pub headers: Vec<(&'static str, String)>,
    /// Body.
    pub body: Bytes,
}
