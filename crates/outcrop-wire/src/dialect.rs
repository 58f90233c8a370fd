//! One codec per protocol; each knows only its own protocol and the core types.
//!
//! Every codec offers the same functions: `decode_request`, `encode_request`, `decode_reply`,
//! `encode_reply`, and a `Decoder` and an `Encoder` for streams. `inbound` and `outbound` choose
//! among them; no codec calls another's, except Bedrock invoke, whose bodies may be Anthropic's, and
//! the MCP tool, whose default arguments and results are OpenAI's.

pub(crate) mod anthropic;
pub(crate) mod converse;
pub(crate) mod count_tokens;
pub(crate) mod counted;
pub(crate) mod foreign;
pub(crate) mod guidance;
pub(crate) mod invoke;
pub(crate) mod lenient;
pub mod mcp;
pub(crate) mod object;
pub(crate) mod openai;
#[cfg(test)]
pub(crate) mod trial;

use outcrop_core::Event;
use smallvec::SmallVec;

/// Events of one frame; most frames carry one or two.
pub(crate) type Events = SmallVec<[Event; 2]>;
