//! Requests for chat completions: reading a caller's, writing an upstream's.
//!
//! Only translation comes here; between two OpenAI sides the caller's bytes are spliced.

mod decode;
mod encode;

pub(crate) use decode::decode_request;
pub(super) use decode::{parts, reasoning};
pub(crate) use encode::{encode_request, messages, response_format, tool_choice, tools};
