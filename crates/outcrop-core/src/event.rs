//! One item of an answer in flight.
//!
//! Every upstream decodes to these and every dialect encodes from them; that is what keeps the
//! translators at N + M. `outcrop-wire` keeps two promises about a sequence: `Done` is the last item
//! and comes only from the protocol's own terminal event, and deltas name a block that was opened.

use serde_json::Value;

use crate::Usage;

/// One item of an answer in flight.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The answer begins. Not content: a failure after it can still go elsewhere.
    Start {
        /// The upstream's id of the answer; empty if it has none.
        id: String,
        /// The upstream's name of the model; empty if it has none.
        model: String,
    },
    /// A block begins.
    Open {
        /// Position among the blocks of the answer, from 0.
        index: u32,
        /// What kind of block.
        block: Block,
    },
    /// More of an open block.
    Delta {
        /// Which block.
        index: u32,
        /// The piece.
        delta: Delta,
    },
    /// A block ends.
    Close {
        /// Which block.
        index: u32,
    },
    /// Why the model stopped.
    Stop {
        /// The reason.
        reason: StopReason,
        /// The stop sequence that was met.
        sequence: Option<String>,
    },
    /// Usage so far; merged, never replaced.
    Usage(Usage),
    /// Content passed that was not decoded, because both sides speak the same protocol.
    Content {
        /// Bytes of the frame.
        bytes: u32,
    },
    /// The protocol's terminal event: the answer is complete.
    Done,
}

/// Kinds of blocks.
#[derive(Debug, Clone, PartialEq)]
pub enum Block {
    /// Text.
    Text,
    /// A call of a tool; its arguments follow as JSON pieces.
    ToolUse {
        /// Id of the call.
        id: String,
        /// Name of the tool.
        name: String,
    },
    /// Reasoning.
    Thinking,
    /// Encrypted reasoning, whole.
    RedactedThinking(String),
}

/// A piece of a block.
#[derive(Debug, Clone, PartialEq)]
pub enum Delta {
    /// Text.
    Text(String),
    /// A piece of the JSON text of a tool's arguments; only the concatenation is valid JSON.
    ToolInput(String),
    /// Reasoning.
    Thinking(String),
    /// The signature of the reasoning.
    Signature(String),
    /// A citation, as the originating protocol spells it.
    Citation(Value),
}

/// Why the model stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopReason {
    /// It was finished.
    EndTurn,
    /// The token limit.
    MaxTokens,
    /// A stop sequence.
    StopSequence,
    /// It waits for the result of a tool.
    ToolUse,
    /// A filter or guardrail of the provider cut the answer.
    Filtered,
    /// The model refused.
    Refusal,
    /// The context window was full.
    ContextWindow,
    /// The provider paused a long turn (Anthropic `pause_turn`).
    Pause,
    /// The provider could not read the model's own output (Bedrock `malformed_*`).
    Malformed,
}

impl Event {
    /// Whether the caller would see content: after it there is no failover (I-3).
    ///
    /// Lifecycle items (`Start`, usage) and the opening of an empty text or thinking block do not
    /// count; a tool call's name does.
    pub fn is_content(&self) -> bool {
        match self {
            Self::Open { block, .. } => !matches!(block, Block::Text | Block::Thinking),
            Self::Delta { .. } | Self::Content { .. } | Self::Stop { .. } | Self::Done => true,
            Self::Start { .. } | Self::Close { .. } | Self::Usage(_) => false,
        }
    }
}
