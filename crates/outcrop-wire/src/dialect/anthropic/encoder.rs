//! Writing a stream of a message.
//!
//! `message_start` waits for the next event, because it must carry usage and some upstreams count
//! the input first. The stop reason waits for `Event::Done`, so a stream that fails after it has no
//! finish. Invariant: a block is closed before the next one opens.

use bytes::{BufMut, BytesMut};
use outcrop_core::event::{Block, Delta, StopReason};
use outcrop_core::{Dialect, Event, Usage};
use serde::Serialize;
use serde_json::{Value, json};

use super::reply::start;
use super::stop_name;
use super::usage::Reported;
use crate::AnswerContext;
use crate::failure::{ErrorBody, error_json};

/// Writes the events of one message, as server-sent events or as bare JSON for other framing.
#[derive(Debug)]
pub(crate) struct Encoder {
    context: AnswerContext,
    /// Id of a message that begins with the next event.
    waiting: Option<String>,
    begun: bool,
    open: Option<u32>,
    stop: Option<(StopReason, Option<String>)>,
    usage: Usage,
}

#[derive(Serialize)]
struct DeltaEvent<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    index: u32,
    delta: Piece<'a>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Piece<'a> {
    #[serde(rename = "text_delta")]
    Text { text: &'a str },
    #[serde(rename = "input_json_delta")]
    Input { partial_json: &'a str },
    #[serde(rename = "thinking_delta")]
    Thinking { thinking: &'a str },
    #[serde(rename = "signature_delta")]
    Signature { signature: &'a str },
    #[serde(rename = "citations_delta")]
    Citation { citation: &'a Value },
}

impl Encoder {
    /// A stream that has not begun.
    pub(crate) fn new(context: AnswerContext) -> Self {
        Self { context, waiting: None, begun: false, open: None, stop: None, usage: Usage::default() }
    }

    /// Writes what `event` is.
    pub(crate) fn encode(&mut self, event: &Event, out: &mut BytesMut) {
        self.each(event, &mut |kind, json| write_sse(kind, json, out));
    }

    /// Writes an error event.
    #[expect(clippy::unused_self, reason = "the encoders of all protocols are called alike")]
    pub(crate) fn fail(&mut self, error: &ErrorBody<'_>, out: &mut BytesMut) {
        write_sse("error", &error_json(Dialect::Anthropic, error), out);
    }

    /// Hands the name and the JSON of every event that `event` becomes to `write`.
    pub(crate) fn each(&mut self, event: &Event, write: &mut dyn FnMut(&str, &[u8])) {
        match event {
            Event::Start { id, .. } => self.waiting = Some(id.clone()),
            Event::Usage(usage) => self.usage.merge(*usage),
            Event::Stop { reason, sequence } => self.stop = Some((*reason, sequence.clone())),
            Event::Open { index, block } => {
                self.begin(write);
                self.close(write);
                self.open = Some(*index);
                let block = opened(block);
                let kind = "content_block_start";
                send(kind, &json!({"type": kind, "index": index, "content_block": block}), write);
            }
            Event::Delta { index, delta } => {
                self.begin(write);
                if let Some(delta) = piece(delta) {
                    let kind = "content_block_delta";
                    send(kind, &DeltaEvent { kind, index: *index, delta }, write);
                }
            }
            Event::Close { index } => {
                if self.open == Some(*index) {
                    self.close(write);
                }
            }
            Event::Content { .. } => {}
            Event::Done => self.done(write),
        }
    }

    fn begin(&mut self, write: &mut dyn FnMut(&str, &[u8])) {
        if !self.begun {
            self.begun = true;
            let id = self.waiting.take().unwrap_or_default();
            send("message_start", &start(&id, &self.context, self.usage), write);
        }
    }

    fn close(&mut self, write: &mut dyn FnMut(&str, &[u8])) {
        if let Some(index) = self.open.take() {
            let kind = "content_block_stop";
            send(kind, &json!({"type": kind, "index": index}), write);
        }
    }

    fn done(&mut self, write: &mut dyn FnMut(&str, &[u8])) {
        self.begin(write);
        self.close(write);
        let (reason, sequence) = self.stop.take().unwrap_or((StopReason::EndTurn, None));
        let delta = json!({"stop_reason": stop_name(reason), "stop_sequence": sequence});
        let usage = Reported::from(self.usage);
        let kind = "message_delta";
        send(kind, &json!({"type": kind, "delta": delta, "usage": usage}), write);
        send("message_stop", &json!({"type": "message_stop"}), write);
    }
}

fn opened(block: &Block) -> Value {
    match block {
        Block::Text => json!({"type": "text", "text": ""}),
        Block::ToolUse { id, name } => {
            json!({"type": "tool_use", "id": id, "name": name, "input": {}})
        }
        Block::Thinking => json!({"type": "thinking", "thinking": "", "signature": ""}),
        Block::RedactedThinking(data) => json!({"type": "redacted_thinking", "data": data}),
    }
}

/// The piece as Anthropic spells it; a citation only where it came in Anthropic's own form.
fn piece(delta: &Delta) -> Option<Piece<'_>> {
    Some(match delta {
        Delta::Text(text) => Piece::Text { text },
        Delta::ToolInput(partial_json) => Piece::Input { partial_json },
        Delta::Thinking(thinking) => Piece::Thinking { thinking },
        Delta::Signature(signature) => Piece::Signature { signature },
        Delta::Citation(citation) => {
            citation.get("type")?;
            Piece::Citation { citation }
        }
    })
}

fn send(kind: &str, json: &impl Serialize, write: &mut dyn FnMut(&str, &[u8])) {
    write(kind, &serde_json::to_vec(json).expect("invariant: every key is a string"));
}

fn write_sse(kind: &str, json: &[u8], out: &mut BytesMut) {
    out.reserve(kind.len().saturating_add(json.len()).saturating_add(16));
    out.put_slice(b"event: ");
    out.put_slice(kind.as_bytes());
    out.put_slice(b"\ndata: ");
    out.put_slice(json);
    out.put_slice(b"\n\n");
}
