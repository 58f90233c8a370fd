//! What an envelope wants, whatever protocol it is written in: the question that decides whether a path
//! can carry it.

use outcrop_core::{Ask, Protocol};
use outcrop_wire::Envelope;

/// What is wanted, whatever the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Want {
    Chat,
    Embed,
    CountTokens,
    /// A model-native body that only its own protocol can carry.
    Native,
}

/// What an envelope wants. Only a native invoke body must be decoded to know.
pub(crate) fn want(envelope: &Envelope) -> Want {
    match envelope.protocol {
        Protocol::OpenAiChat
        | Protocol::AnthropicMessages
        | Protocol::BedrockConverse
        | Protocol::McpTool => Want::Chat,
        Protocol::OpenAiEmbeddings => Want::Embed,
        Protocol::AnthropicCountTokens | Protocol::BedrockCountTokens => Want::CountTokens,
        Protocol::BedrockInvoke => match envelope.ask() {
            Ok(Ask::Chat(_)) => Want::Chat,
            Ok(Ask::Embed(_)) => Want::Embed,
            Ok(Ask::CountTokens(_)) => Want::CountTokens,
            Ok(Ask::Opaque) | Err(_) => Want::Native,
        },
    }
}
