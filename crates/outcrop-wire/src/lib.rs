//! Bytes to core types and back, for every protocol the gateway speaks.
//!
//! Pure: no socket, no clock, no runtime, no log. Decoders take bytes as they come ("incomplete" is a
//! normal result) and hold their own limits; encoders write into a buffer. Knows nothing of routes,
//! budgets or who calls. One internal form (`outcrop_core::{Ask, Event, Reply}`) keeps N dialects and
//! M upstream protocols at N + M codecs.
#![warn(clippy::indexing_slicing)]
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        reason = "tests stop at the first surprise"
    )
)]

pub mod bounds;
mod dialect;
pub mod envelope;
pub mod failure;
mod framing;
pub mod inbound;
mod json;
pub mod outbound;

pub use bounds::{InputBounds, bounds};
pub use dialect::count_tokens::count_of;
pub use dialect::mcp;
pub use envelope::{Envelope, Limits, Rejection, Route};
pub use failure::{ErrorAnswer, ErrorBody, bedrock_status, classify, decode_error, encode_error, retry_hint};
pub use inbound::{Garbled, Item, Mode, StreamDecoder, StreamError, decode_reply};
pub use outbound::{
    AnswerContext, Encoded, Inexpressible, StreamEncoder, TargetModel, encode_embeddings_invoke,
    encode_reply, encode_request,
};
