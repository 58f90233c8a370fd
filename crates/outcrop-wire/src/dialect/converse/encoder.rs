//! Writing a Converse stream.
//!
//! `contentBlockStart` is written for tool calls only, because `start` may not be empty. The stop
//! reason waits for `Event::Done`, so a stream that fails after it has no finish.

use bytes::{Bytes, BytesMut};
use outcrop_core::event::{Block, Delta, StopReason};
use outcrop_core::{Event, Usage};
use serde::Serialize;
use serde_json::{Value, json};

use super::reply::Metrics;
use super::stop_name;
use super::usage::Reported;
use crate::AnswerContext;
use crate::failure::{ErrorBody, exception_frame};
use crate::framing::event_stream;

/// Writes the events of one answer.
#[derive(Debug)]
pub(crate) struct Encoder {
    context: AnswerContext,
    begun: bool,
    open: Option<Opened>,
    stop: Option<(StopReason, Option<String>)>,
    usage: Usage,
}

#[derive(Debug)]
struct Opened {
    index: u32,
    /// A tool call whose arguments have not begun; without any they are `{}`.
    awaits_input: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DeltaEvent<'a> {
    content_block_index: u32,
    delta: Piece<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum Piece<'a> {
    Text(&'a str),
    ToolUse { input: &'a str },
    ReasoningContent(Reasoning<'a>),
    Citation(&'a Value),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum Reasoning<'a> {
    Text(&'a str),
    Signature(&'a str),
    RedactedContent(&'a str),
}

impl Encoder {
    /// A stream that has not begun.
    pub(crate) fn new(context: AnswerContext) -> Self {
        Self { context, begun: false, open: None, stop: None, usage: Usage::default() }
    }

    /// Writes what `event` is.
    pub(crate) fn encode(&mut self, event: &Event, out: &mut BytesMut) {
        match event {
            Event::Start { .. } => self.begin(out),
            Event::Usage(usage) => self.usage.merge(*usage),
            Event::Stop { reason, sequence } => self.stop = Some((*reason, sequence.clone())),
            Event::Open { index, block } => {
                self.begin(out);
                self.close(out);
                self.open(*index, block, out);
            }
            Event::Delta { index, delta } => {
                self.begin(out);
                self.delta(*index, delta, out);
            }
            Event::Close { index } => {
                if self.open.as_ref().is_some_and(|open| open.index == *index) {
                    self.close(out);
                }
            }
            Event::Content { .. } => {}
            Event::Done => self.done(out),
        }
    }

    /// Writes an exception frame.
    #[expect(clippy::unused_self, reason = "the encoders of all protocols are called alike")]
    pub(crate) fn fail(&mut self, error: &ErrorBody<'_>, out: &mut BytesMut) {
        exception_frame(error, false, out);
    }

    fn begin(&mut self, out: &mut BytesMut) {
        if !self.begun {
            self.begun = true;
            send("messageStart", &json!({"role": "assistant"}), out);
        }
    }

    fn open(&mut self, index: u32, block: &Block, out: &mut BytesMut) {
        self.open = Some(Opened { index, awaits_input: matches!(block, Block::ToolUse { .. }) });
        match block {
            Block::ToolUse { id, name } => {
                let start = json!({"toolUse": {"toolUseId": id, "name": name}});
                let data = json!({"contentBlockIndex": index, "start": start});
                send("contentBlockStart", &data, out);
            }
            Block::RedactedThinking(data) => {
                let piece = Piece::ReasoningContent(Reasoning::RedactedContent(data));
                send_piece(index, piece, out);
            }
            Block::Text | Block::Thinking => {}
        }
    }

    fn delta(&mut self, index: u32, delta: &Delta, out: &mut BytesMut) {
        let piece = match delta {
            Delta::Text(text) => Piece::Text(text),
            Delta::ToolInput(input) => {
                if let Some(open) = &mut self.open {
                    open.awaits_input = false;
                }
                Piece::ToolUse { input }
            }
            Delta::Thinking(text) => Piece::ReasoningContent(Reasoning::Text(text)),
            Delta::Signature(text) => Piece::ReasoningContent(Reasoning::Signature(text)),
            // Only Converse's own citations have no `type`.
            Delta::Citation(value) if value.get("type").is_none() => Piece::Citation(value),
            Delta::Citation(_) => return,
        };
        send_piece(index, piece, out);
    }

    fn close(&mut self, out: &mut BytesMut) {
        if let Some(Opened { index, awaits_input }) = self.open.take() {
            if awaits_input {
                send_piece(index, Piece::ToolUse { input: "{}" }, out);
            }
            send("contentBlockStop", &json!({"contentBlockIndex": index}), out);
        }
    }

    fn done(&mut self, out: &mut BytesMut) {
        self.begin(out);
        self.close(out);
        let (reason, sequence) = self.stop.take().unwrap_or((StopReason::EndTurn, None));
        let mut stop = json!({"stopReason": stop_name(reason)});
        if let (Some(sequence), Some(fields)) = (sequence, stop.as_object_mut()) {
            let named = json!({"stop_sequence": sequence});
            fields.insert("additionalModelResponseFields".into(), named);
        }
        send("messageStop", &stop, out);
        let usage = Reported::from(self.usage);
        let metrics = Metrics { latency_ms: self.context.latency_ms };
        send("metadata", &json!({"usage": usage, "metrics": metrics}), out);
    }
}

fn send_piece(content_block_index: u32, delta: Piece<'_>, out: &mut BytesMut) {
    send("contentBlockDelta", &DeltaEvent { content_block_index, delta }, out);
}

fn send(kind: &str, data: &impl Serialize, out: &mut BytesMut) {
    let payload = serde_json::to_vec(data).expect("invariant: every key is a string");
    event_stream::write("event", kind, Bytes::from(payload), out);
}
