//! OpenAI chat completions and embeddings.
//!
//! Also read and written where others borrowed the shapes: OpenAI-compatible servers, and the default
//! mapping of MCP tools. Beyond OpenAI's own fields it knows `reasoning_content` and `thinking_blocks`,
//! the widespread extension that carries signed reasoning, and `cache_control` on text parts. What no
//! other protocol can say is refused by name when a request is translated (`foreign`).

pub(crate) mod embeddings;
mod message;
mod reply;
mod request;
mod stream;
mod usage;

pub(crate) use reply::{
    Message, MessageOut, answer, decode_reply, encode_reply, finish_reason, message_out, stop_reason,
};
pub(crate) use request::{decode_request, encode_request, messages, response_format, tool_choice, tools};
pub(crate) use stream::{Decoder, Encoder};
pub(crate) use usage::Reported;

#[cfg(test)]
mod tests;
