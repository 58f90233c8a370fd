//! Streams of chat completions.
//!
//! The order on the wire: a chunk with the role, chunks with deltas, one with the finish reason, one
//! with usage and no choices where it was asked for, then `[DONE]`. `[DONE]` without a finish reason
//! is a cut stream, not an end.

mod chunk;
mod decoder;
mod encoder;

pub(crate) use decoder::Decoder;
pub(crate) use encoder::Encoder;
