//! Reading a stream of chunks.
//!
//! Blocks are made from the kinds of deltas: a delta of another kind, or of another call, closes the
//! open block and opens the next. Invariant: one block is open at a time, and deltas name it.

use std::borrow::Cow;

use outcrop_core::event::{Block, Delta, StopReason};
use outcrop_core::{Event, Protocol};
use serde::Deserialize;
use serde_json::Value;

use super::super::stop_reason;
use super::chunk::{self, Choice, Chunk, Peek, ToolDelta};
use crate::dialect::Events;
use crate::failure::stream_error;
use crate::framing::Frame;
use crate::json::is_object;
use crate::{Mode, StreamError};

/// Decodes chunks.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    started: bool,
    finished: bool,
    /// A refusal was streamed; it decides the reason of the end.
    refused: bool,
    /// Index of the next block.
    next: u32,
    open: Option<Open>,
    /// Calls of tools so far, those that are not open any more included.
    calls: Vec<Call>,
}

/// The open block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Open {
    Text,
    Thinking,
    /// Which of the calls.
    Call(usize),
}

/// A call of a tool.
#[derive(Debug)]
struct Call {
    /// The upstream's index of the call.
    index: u32,
    id: String,
    name: String,
    /// Arguments that came before the name.
    early: String,
    opened: bool,
}

impl Decoder {
    /// Reads one frame.
    pub(crate) fn frame(
        &mut self,
        frame: &Frame<'_>,
        mode: Mode,
        events: &mut Events,
    ) -> Result<(), StreamError> {
        let Frame::Sse { data, .. } = frame else {
            return Err(StreamError::Garbled("an event-stream frame among chunks".to_owned()));
        };
        match data.trim() {
            "" => Ok(()),
            "[DONE]" if self.finished => {
                events.push(Event::Done);
                Ok(())
            }
            "[DONE]" => Err(StreamError::Truncated),
            data => match mode {
                Mode::Observe => self.observe(data, events),
                Mode::Decode => self.decode(data, events),
            },
        }
    }

    fn observe(&mut self, data: &str, events: &mut Events) -> Result<(), StreamError> {
        let chunk: Chunk<'_, Peek> = read(data)?;
        let peek = chunk.choices.unwrap_or_default();
        self.start(chunk.id, chunk.model, peek.any, events);
        if peek.content {
            events.push(Event::Content { bytes: 0 });
        }
        if let Some(reason) = peek.finish {
            self.finished = true;
            events.push(Event::Stop { reason, sequence: None });
        }
        events.extend(chunk.usage.map(|usage| Event::Usage(usage.usage())));
        Ok(())
    }

    fn decode(&mut self, data: &str, events: &mut Events) -> Result<(), StreamError> {
        let chunk: Chunk<'_, Vec<Choice>> = read(data)?;
        let choices = chunk.choices.unwrap_or_default();
        self.start(chunk.id, chunk.model, !choices.is_empty(), events);
        for choice in choices.into_iter().filter(|choice| choice.index == 0) {
            if let Some(delta) = choice.delta {
                self.delta(delta, events)?;
            }
            if let Some(finish) = choice.finish_reason {
                self.close(events);
                self.finished = true;
                let reason = if self.refused { StopReason::Refusal } else { stop_reason(&finish) };
                events.push(Event::Stop { reason, sequence: None });
            }
        }
        events.extend(chunk.usage.map(|usage| Event::Usage(usage.usage())));
        Ok(())
    }

    /// The answer begins with the first chunk that names it or carries choices.
    fn start(
        &mut self,
        id: Option<Cow<'_, str>>,
        model: Option<Cow<'_, str>>,
        choices: bool,
        events: &mut Events,
    ) {
        let named = id.as_ref().is_some_and(|id| !id.is_empty());
        if self.started || !(named || choices) {
            return;
        }
        self.started = true;
        events.push(Event::Start {
            id: id.map(Cow::into_owned).unwrap_or_default(),
            model: model.map(Cow::into_owned).unwrap_or_default(),
        });
    }

    fn delta(&mut self, delta: chunk::Delta, events: &mut Events) -> Result<(), StreamError> {
        let filled = |text: Option<String>| text.filter(|text| !text.is_empty());
        if let Some(text) = filled(delta.reasoning_content) {
            self.piece(Open::Thinking, Delta::Thinking(text), events);
        }
        for block in delta.thinking_blocks.into_iter().flatten() {
            self.thinking_block(&block, events);
        }
        if let Some(text) = filled(delta.content) {
            self.piece(Open::Text, Delta::Text(text), events);
        }
        if let Some(text) = filled(delta.refusal) {
            self.refused = true;
            self.piece(Open::Text, Delta::Text(text), events);
        }
        for call in delta.tool_calls.into_iter().flatten() {
            self.call(call, events)?;
        }
        Ok(())
    }

    /// A signature, or encrypted reasoning; the text itself came as `reasoning_content`.
    fn thinking_block(&mut self, block: &Value, events: &mut Events) {
        let text = |key: &str| block.get(key).and_then(Value::as_str).filter(|t| !t.is_empty());
        if let Some(data) = text("data") {
            let index = self.open_block(Block::RedactedThinking(data.to_owned()), events);
            events.push(Event::Close { index });
        }
        if let Some(signature) = text("signature") {
            self.piece(Open::Thinking, Delta::Signature(signature.to_owned()), events);
        }
    }

    /// Adds a piece of text or reasoning to the open block of its kind, opened first if need be.
    fn piece(&mut self, kind: Open, delta: Delta, events: &mut Events) {
        if self.open != Some(kind) {
            let block = if kind == Open::Thinking { Block::Thinking } else { Block::Text };
            self.open_block(block, events);
            self.open = Some(kind);
        }
        events.push(Event::Delta { index: self.next.saturating_sub(1), delta });
    }

    fn call(&mut self, piece: ToolDelta, events: &mut Events) -> Result<(), StreamError> {
        let at = self.call_of(piece.index, piece.id.as_deref());
        let Some(call) = self.calls.get_mut(at) else { return Ok(()) };
        let function = piece.function.unwrap_or_default();
        if let (Some(id), true) = (piece.id, call.id.is_empty()) {
            call.id = id;
        }
        if let (Some(name), false) = (function.name, call.opened) {
            call.name.push_str(&name);
        }
        let mut arguments = function.arguments.unwrap_or_default();
        if !call.opened {
            if call.name.is_empty() {
                call.early.push_str(&arguments);
                return Ok(());
            }
            call.opened = true;
            if call.id.is_empty() {
                call.id = format!("call_{at}");
            }
            arguments.insert_str(0, &std::mem::take(&mut call.early));
            let block = Block::ToolUse { id: call.id.clone(), name: call.name.clone() };
            self.open_block(block, events);
            self.open = Some(Open::Call(at));
        } else if self.open != Some(Open::Call(at)) {
            return Err(StreamError::Garbled("a closed tool call goes on".to_owned()));
        }
        if !arguments.is_empty() {
            let delta = Delta::ToolInput(arguments);
            events.push(Event::Delta { index: self.next.saturating_sub(1), delta });
        }
        Ok(())
    }

    /// Position of the call with `index`, made if need be. Servers that send no index are told apart
    /// by their ids.
    fn call_of(&mut self, index: Option<u32>, id: Option<&str>) -> usize {
        let id = id.filter(|id| !id.is_empty());
        let known = match (index, id) {
            (Some(index), _) => self.calls.iter().position(|call| call.index == index),
            (None, Some(id)) => self.calls.iter().position(|call| call.id == id),
            (None, None) => self.calls.len().checked_sub(1),
        };
        known.unwrap_or_else(|| {
            let position = self.calls.len();
            let index = index.unwrap_or(u32::try_from(position).unwrap_or(u32::MAX));
            self.calls.push(Call {
                index,
                id: String::new(),
                name: String::new(),
                early: String::new(),
                opened: false,
            });
            position
        })
    }

    fn open_block(&mut self, block: Block, events: &mut Events) -> u32 {
        self.close(events);
        let index = self.next;
        self.next += 1;
        events.push(Event::Open { index, block });
        index
    }

    fn close(&mut self, events: &mut Events) {
        if self.open.take().is_some() {
            events.push(Event::Close { index: self.next.saturating_sub(1) });
        }
    }
}

/// Reads a chunk; an `error` in it is the upstream's, and an object without anything known says
/// nothing.
fn read<'de, C: Deserialize<'de>>(data: &'de str) -> Result<Chunk<'de, C>, StreamError> {
    if !is_object(data.as_bytes()) {
        return Err(StreamError::Garbled("a chunk that is no object".to_owned()));
    }
    let chunk: Chunk<'de, C> =
        serde_json::from_str(data).map_err(|error| StreamError::Garbled(format!("not a chunk: {error}")))?;
    if chunk.error.is_some() {
        let error = stream_error(Protocol::OpenAiChat, data.as_bytes());
        return Err(StreamError::Upstream(Box::new(error)));
    }
    Ok(chunk)
}
