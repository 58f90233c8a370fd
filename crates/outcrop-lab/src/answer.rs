//! What a simulated model says: planned from the prompt alone, before anything is sent.
//!
//! Every simulator reduces its request to a [`Prompt`], gets a [`Plan`] and dresses it in its own protocol. The plan
//! is a pure function of (seed, prompt), numbered word by word so that loss and reordering show.
//! One [`Piece`](Block::Text) is one output token and one streamed event.

mod directive;
mod sample;

use serde_json::Value;

pub use directive::Directives;
pub use sample::from_schema;

use crate::{dice::Dice, tokens};

/// Words of an answer that no directive sizes.
const WORDS_DEFAULT: u64 = 12;

/// A request reduced to what steers the answer.
#[derive(Debug, Clone, Default)]
pub struct Prompt {
    /// Name of the answering target, spoken in the default text.
    pub target: String,
    /// All text of the last user message.
    pub last_user_text: String,
    /// Text of the tool results in the last message, if it carries any.
    pub tool_result: Option<String>,
    /// The tools on offer.
    pub tools: Vec<Tool>,
    /// How the caller steers their use.
    pub choice: Choice,
    /// Output tokens at most.
    pub max_tokens: Option<u64>,
    /// Texts that end the answer before they appear.
    pub stop_sequences: Vec<String>,
    /// The answer must be JSON, following the schema if there is one.
    pub json: Option<Option<Value>>,
    /// The caller allows a thinking block without the directive (for instance `thinking.type = enabled`).
    pub thinking: bool,
}

/// A tool on offer.
#[derive(Debug, Clone)]
pub struct Tool {
    /// Its name.
    pub name: String,
    /// JSON schema of its arguments.
    pub schema: Value,
}

/// Whether a tool must, may or may not be called.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Choice {
    /// The model decides: the directive `[[tool]]` does.
    #[default]
    Auto,
    /// No tool.
    None,
    /// Some tool: the first.
    Any,
    /// This tool.
    Named(String),
}

/// A planned answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Content in order.
    pub blocks: Vec<Block>,
    /// Why it ends.
    pub stop: Stop,
}

/// One block of content.
#[derive(Debug, Clone, PartialEq)]
pub enum Block {
    /// Thinking, always first.
    Thinking {
        /// Pieces whose concatenation is the text.
        pieces: Vec<String>,
        /// Opaque signature (base64) that a caller must return byte for byte.
        signature: String,
    },
    /// Text, in pieces whose concatenation is the text.
    Text {
        /// The pieces.
        pieces: Vec<String>,
    },
    /// A call to a tool.
    Tool {
        /// Letters and digits, unique within the seed and prompt; the protocol adds its prefix.
        id: String,
        /// The tool.
        name: String,
        /// Its arguments.
        input: Value,
        /// The arguments' JSON text in pieces.
        pieces: Vec<String>,
    },
}

/// Why an answer ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// It is complete.
    End,
    /// The output limit is reached.
    MaxTokens,
    /// It calls a tool.
    Tool,
    /// One of the caller's stop sequences would have come next.
    Sequence(String),
    /// The content filter stepped in (`[[filter]]`).
    Filtered,
}

impl Block {
    /// The pieces in which the block streams; one is one output token.
    pub fn pieces(&self) -> &[String] {
        match self {
            Self::Thinking { pieces, .. } | Self::Text { pieces } | Self::Tool { pieces, .. } => pieces,
        }
    }

    /// All pieces as one.
    pub fn text(&self) -> String {
        self.pieces().concat()
    }
}

impl Plan {
    /// Output tokens of the whole answer.
    pub fn output_tokens(&self) -> u64 {
        self.blocks.iter().map(|block| block.pieces().len() as u64).sum()
    }

    /// Plans the answer to a prompt.
    pub fn new(prompt: &Prompt, seed: u64) -> Self {
        let directives = Directives::read(&prompt.last_user_text);
        let mut dice = Dice::new(seed, [prompt.target.as_bytes(), prompt.last_user_text.as_bytes()]);
        let mut blocks = Vec::new();
        if directives.think || prompt.thinking {
            blocks.push(thinking(&mut dice));
        }
        let stop = if let Some(tool) = tool_to_call(prompt, &directives) {
            blocks.push(call(tool, &directives, &mut dice));
            Stop::Tool
        } else {
            let (text, stop) = spoken(prompt, &directives, &mut dice);
            blocks.push(Block::Text { pieces: split_words(&text) });
            stop
        };
        let mut plan = Self { blocks, stop };
        plan.limit(prompt.max_tokens);
        plan
    }

    /// Cuts the plan after so many output tokens.
    fn limit(&mut self, max_tokens: Option<u64>) {
        let Some(mut left) = max_tokens else { return };
        if self.output_tokens() <= left {
            return;
        }
        self.stop = Stop::MaxTokens;
        self.blocks.retain_mut(|block| {
            let keep = (block.pieces().len() as u64).min(left);
            left -= keep;
            match block {
                Block::Thinking { pieces, .. } | Block::Text { pieces } => pieces.truncate(keep as usize),
                // A call cut in the middle has no valid arguments; real services drop or break it, we drop it.
                Block::Tool { pieces, .. } if (keep as usize) < pieces.len() => return false,
                Block::Tool { .. } => {}
            }
            keep > 0
        });
        if self.blocks.is_empty() {
            self.blocks.push(Block::Text { pieces: Vec::new() });
        }
    }
}

fn thinking(dice: &mut Dice) -> Block {
    use base64::Engine as _;
    Block::Thinking {
        pieces: split_words("Let me think about this step by step."),
        signature: base64::engine::general_purpose::STANDARD.encode(dice.bytes(48)),
    }
}

fn tool_to_call<'a>(prompt: &'a Prompt, directives: &Directives) -> Option<&'a Tool> {
    let named = |name: &str| prompt.tools.iter().find(|tool| tool.name == name);
    // A result is always answered in words, or an agent's loop would never end.
    if prompt.tool_result.is_some() {
        return None;
    }
    match &prompt.choice {
        Choice::Named(name) => named(name),
        Choice::Any => directives.tool_name.as_deref().and_then(named).or(prompt.tools.first()),
        Choice::Auto if directives.tool => match directives.tool_name.as_deref() {
            Some(name) => named(name),
            None => prompt.tools.first(),
        },
        Choice::Auto | Choice::None => None,
    }
}

fn call(tool: &Tool, directives: &Directives, dice: &mut Dice) -> Block {
    let input = directives.arguments.clone().unwrap_or_else(|| from_schema(&tool.schema, dice));
    Block::Tool {
        id: dice.letters(22),
        name: tool.name.clone(),
        pieces: split_tokens(&input.to_string()),
        input,
    }
}

/// The text of an answer without a call, and why it ends.
fn spoken(prompt: &Prompt, directives: &Directives, dice: &mut Dice) -> (String, Stop) {
    let text = if let Some(schema) = &prompt.json {
        json_text(schema.as_ref(), dice)
    } else if let Some(result) = &prompt.tool_result {
        format!("Tool said: {result}")
    } else if let Some(say) = &directives.say {
        say.clone()
    } else {
        numbered(&prompt.target, directives.tokens.unwrap_or(WORDS_DEFAULT))
    };
    if directives.filter {
        return (text, Stop::Filtered);
    }
    if directives.stop {
        return (text, Stop::Sequence(prompt.stop_sequences.first().cloned().unwrap_or_default()));
    }
    let first_stop = prompt
        .stop_sequences
        .iter()
        .filter(|stop| !stop.is_empty())
        .filter_map(|stop| text.find(stop.as_str()).map(|at| (at, stop)))
        .min_by_key(|(at, _)| *at);
    match first_stop {
        Some((at, stop)) => (text[..at].to_owned(), Stop::Sequence(stop.clone())),
        None => (text, Stop::End),
    }
}

fn numbered(target: &str, words: u64) -> String {
    use std::fmt::Write as _;
    let mut text = format!("Simulated answer from {target}:");
    for word in 1..=words {
        // Writing to a String cannot fail.
        let _ = write!(text, " tok-{word}");
    }
    text
}

fn json_text(schema: Option<&Value>, dice: &mut Dice) -> String {
    match schema {
        Some(schema) => from_schema(schema, dice).to_string(),
        None => serde_json::json!({"answer": "simulated", "value": dice.below(1000)}).to_string(),
    }
}

/// One piece per word; the words before the first numbered one, or before the first space after a colon, ride on
/// its piece, so that N numbered words are N tokens.
fn split_words(text: &str) -> Vec<String> {
    let preamble = text.find(": ").map_or(0, |at| at + 2);
    let mut pieces: Vec<String> = Vec::new();
    let mut start = 0;
    for (at, _) in text.match_indices(' ') {
        if at >= preamble && at > start {
            pieces.push(text[start..at].to_owned());
            start = at;
        }
    }
    if start < text.len() {
        pieces.push(text[start..].to_owned());
    }
    pieces
}

/// JSON text in pieces of four characters.
fn split_tokens(text: &str) -> Vec<String> {
    let chars: Vec<char> = text.chars().collect();
    let pieces: Vec<String> = chars.chunks(4).map(|chunk| chunk.iter().collect()).collect();
    debug_assert_eq!(pieces.len() as u64, tokens::of_text(text));
    pieces
}

#[cfg(test)]
mod tests;
