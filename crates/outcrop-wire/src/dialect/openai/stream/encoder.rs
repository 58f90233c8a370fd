//! Writing a stream of chunks.
//!
//! The part that all chunks share is written once and copied. Invariant: the finish reason comes only
//! from `Event::Stop`, and `[DONE]` only from `Event::Done`.

use bytes::{BufMut, BytesMut};
use outcrop_core::event::{Block, Delta};
use outcrop_core::{Dialect, Event, Usage};
use serde::Serialize;
use serde_json::{Value, json};
use smallvec::SmallVec;

use super::super::{Reported, finish_reason};
use crate::AnswerContext;
use crate::failure::{ErrorBody, error_json};
use crate::framing::sse;

/// Encodes events as chunks.
#[derive(Debug)]
pub(crate) struct Encoder {
    context: AnswerContext,
    /// Everything of a chunk up to its choices; empty until the answer began.
    head: Vec<u8>,
    /// Calls of tools so far; this protocol counts calls, not blocks.
    calls: u32,
    /// The open calls.
    open: SmallVec<[OpenCall; 1]>,
    usage: Usage,
}

/// A call that is being written.
#[derive(Debug, Clone, Copy)]
struct OpenCall {
    /// Index of its block.
    block: u32,
    /// Index of the call on the wire.
    number: u32,
    /// Whether its arguments have begun.
    begun: bool,
}

#[derive(Serialize)]
struct Choice<'a> {
    index: u32,
    delta: Piece<'a>,
    finish_reason: Option<&'static str>,
}

/// What a chunk adds.
#[derive(Serialize, Default)]
struct Piece<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking_blocks: Option<[Value; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_calls: Option<[ToolPiece<'a>; 1]>,
}

#[derive(Serialize)]
struct ToolPiece<'a> {
    index: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    function: FunctionPiece<'a>,
}

#[derive(Serialize)]
struct FunctionPiece<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    arguments: &'a str,
}

impl Encoder {
    /// An encoder for one answer.
    pub(crate) fn new(context: AnswerContext) -> Self {
        Self { context, head: Vec::new(), calls: 0, open: SmallVec::new(), usage: Usage::default() }
    }

    /// Writes what `event` is here.
    pub(crate) fn encode(&mut self, event: &Event, out: &mut BytesMut) {
        match event {
            Event::Start { id, .. } => self.start(id, out),
            Event::Open { index, block } => self.open(*index, block, out),
            Event::Delta { index, delta } => self.delta(*index, delta, out),
            Event::Close { index } => self.close(*index, out),
            Event::Stop { reason, .. } => {
                let delta = Piece::default();
                let finish_reason = Some(finish_reason(*reason));
                self.chunk(&[Choice { index: 0, delta, finish_reason }], out);
            }
            Event::Usage(usage) => self.usage.merge(*usage),
            Event::Content { .. } => {}
            Event::Done => self.done(out),
        }
    }

    /// Writes the error event.
    #[expect(clippy::unused_self, reason = "every codec offers the same functions")]
    pub(crate) fn fail(&mut self, error: &ErrorBody<'_>, out: &mut BytesMut) {
        sse::write(None, &error_json(Dialect::OpenAi, error), out);
    }

    fn start(&mut self, id: &str, out: &mut BytesMut) {
        if !self.head.is_empty() {
            return;
        }
        let id = if id.is_empty() { &self.context.request_id } else { id };
        let head = json!({
            "id": id,
            "object": "chat.completion.chunk",
            "created": self.context.created,
            "model": self.context.model,
        });
        let mut head = head.to_string().into_bytes();
        head.pop();
        head.extend_from_slice(b",\"choices\":");
        self.head = head;
        self.piece(Piece { role: Some("assistant"), content: Some(""), ..Piece::default() }, out);
    }

    fn open(&mut self, at: u32, block: &Block, out: &mut BytesMut) {
        match block {
            Block::Text | Block::Thinking => {}
            Block::ToolUse { id, name } => {
                let index = self.calls;
                self.open.push(OpenCall { block: at, number: index, begun: false });
                self.calls += 1;
                let function = FunctionPiece { name: Some(name), arguments: "" };
                let call = ToolPiece { index, id: Some(id), kind: Some("function"), function };
                self.piece(Piece { tool_calls: Some([call]), ..Piece::default() }, out);
            }
            Block::RedactedThinking(data) => {
                let block = json!({"type": "redacted_thinking", "data": data});
                self.piece(Piece { thinking_blocks: Some([block]), ..Piece::default() }, out);
            }
        }
    }

    fn delta(&mut self, at: u32, delta: &Delta, out: &mut BytesMut) {
        match delta {
            Delta::Text(text) => {
                self.piece(Piece { content: Some(text), ..Piece::default() }, out);
            }
            Delta::ToolInput(text) => self.arguments(at, text, out),
            Delta::Thinking(text) => {
                self.piece(Piece { reasoning_content: Some(text), ..Piece::default() }, out);
            }
            Delta::Signature(signature) => {
                let block = json!({"type": "thinking", "thinking": "", "signature": signature});
                self.piece(Piece { thinking_blocks: Some([block]), ..Piece::default() }, out);
            }
            // An OpenAI request cannot ask for citations.
            Delta::Citation(_) => {}
        }
    }

    fn arguments(&mut self, at: u32, text: &str, out: &mut BytesMut) {
        if text.is_empty() {
            return;
        }
        let Some(open) = self.open.iter_mut().find(|call| call.block == at) else { return };
        open.begun = true;
        let index = open.number;
        let function = FunctionPiece { name: None, arguments: text };
        let call = ToolPiece { index, id: None, kind: None, function };
        self.piece(Piece { tool_calls: Some([call]), ..Piece::default() }, out);
    }

    /// A call without arguments gets an empty object: clients parse what they gathered.
    fn close(&mut self, at: u32, out: &mut BytesMut) {
        if self.open.iter().any(|call| call.block == at && !call.begun) {
            self.arguments(at, "{}", out);
        }
        self.open.retain(|call| call.block != at);
    }

    fn done(&mut self, out: &mut BytesMut) {
        if self.context.stream_usage {
            self.begin(out);
            out.extend_from_slice(b"[],\"usage\":");
            let usage = Reported::of(self.usage);
            write_json(&usage, out);
            out.extend_from_slice(b"}\n\n");
        }
        out.extend_from_slice(b"data: [DONE]\n\n");
    }

    fn piece(&mut self, delta: Piece<'_>, out: &mut BytesMut) {
        self.chunk(&[Choice { index: 0, delta, finish_reason: None }], out);
    }

    fn chunk(&mut self, choices: &[Choice<'_>; 1], out: &mut BytesMut) {
        self.begin(out);
        write_json(choices, out);
        let end: &[u8] = if self.context.stream_usage { b",\"usage\":null}\n\n" } else { b"}\n\n" };
        out.extend_from_slice(end);
    }

    /// The shared part, after the chunk with the role if nothing began the answer yet.
    fn begin(&mut self, out: &mut BytesMut) {
        if self.head.is_empty() {
            self.start("", out);
        }
        out.extend_from_slice(b"data: ");
        out.extend_from_slice(&self.head);
    }
}

fn write_json(value: &impl Serialize, out: &mut BytesMut) {
    serde_json::to_writer(out.writer(), value)
        .expect("invariant: string keys, and a buffer takes every write");
}
