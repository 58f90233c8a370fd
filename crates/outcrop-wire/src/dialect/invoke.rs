//! Bedrock `InvokeModel`: bodies in the model's own format.
//!
//! Claude's body is Anthropic's, read and written by that codec; embeddings of Titan and Cohere are
//! known. Every other body is opaque: it passes on this protocol only, and of its stream the usage,
//! the stop reason and the end are read.

mod decoder;
mod embeddings;
mod encoder;
mod observe;

#[cfg(test)]
mod tests;

pub(crate) use decoder::Decoder;
pub(crate) use embeddings::encode_embeddings;
pub(crate) use encoder::Encoder;

use bytes::Bytes;
use outcrop_core::reply::ChatReply;
use outcrop_core::{Ask, Chat, Reply};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::anthropic;
use crate::{AnswerContext, Garbled, Inexpressible, Rejection, TargetModel};

/// Reads a body: Claude's is told by its required `anthropic_version`.
pub(crate) fn decode_request(body: &[u8]) -> Result<Ask, Rejection> {
    #[derive(Deserialize)]
    struct Shape {
        anthropic_version: Option<IgnoredAny>,
    }
    match serde_json::from_slice::<Shape>(body) {
        Ok(Shape { anthropic_version: Some(_) }) => anthropic::decode_request(body),
        Ok(Shape { anthropic_version: None }) => Ok(Ask::Opaque),
        Err(error) => Err(Rejection::of("", format!("The body is not a valid JSON object: {error}."))),
    }
}

/// Writes Claude's body; whether it streams is said by the URL.
pub(crate) fn encode_request(
    chat: &Chat,
    _stream: bool,
    target: &TargetModel<'_>,
) -> Result<Bytes, Inexpressible> {
    anthropic::encode_form(chat, anthropic::Form::Invoke, target)
}

/// Reads a message of Claude or the vectors of a known embedding model.
pub(crate) fn decode_reply(body: &[u8]) -> Result<Reply, Garbled> {
    #[derive(Deserialize)]
    struct Shape {
        content: Option<IgnoredAny>,
    }
    match serde_json::from_slice::<Shape>(body) {
        Ok(Shape { content: Some(_) }) => anthropic::decode_reply(body).map(Reply::Chat),
        Ok(Shape { content: None }) => embeddings::decode_reply(body),
        Err(error) => Err(Garbled(format!("InvokeModel answer: {error}"))),
    }
}

/// Writes a message of Claude.
pub(crate) fn encode_reply(context: &AnswerContext, reply: &ChatReply) -> Bytes {
    anthropic::encode_reply(context, reply)
}
