//! A tool's answer as a stream of events.
//!
//! Where the operator says that progress is text, its pieces are passed on as they come, and the
//! result must then begin with exactly what was passed on; a result that says something else is a
//! failure, because the caller has already seen the other. Otherwise the result is the answer.
//! Invariants: `Done` is sent only once the result is there; what is kept for the comparison is bounded.

use std::collections::VecDeque;

use bytes::Bytes;
use outcrop_core::ask::Part;
use outcrop_core::event::{Block, Delta};
use outcrop_core::reply::ChatReply;
use outcrop_core::{Class, Event, Failure, Reason};
use outcrop_wire::Item;
use rmcp::model::CallToolResult;
use smallvec::SmallVec;

use super::call::{Call, Step};
use super::codec::Codec;

/// Most bytes of text that are passed on before the result.
const TOLD_BYTES_MAX: usize = 32 * 1024 * 1024;

/// A tool's answer as a stream of events.
#[derive(Debug)]
pub(crate) struct McpStream {
    source: Source,
    queue: VecDeque<Event>,
    /// Text passed on before the result.
    told: String,
}

#[derive(Debug)]
enum Source {
    Running(Box<(Call, Codec)>),
    Over,
}

impl McpStream {
    /// The stream of an answer that is there.
    pub(super) fn whole(reply: ChatReply) -> Self {
        let queue = reply.into_events().into();
        Self { source: Source::Over, queue, told: String::new() }
    }

    /// The stream of a call that said `first` already.
    pub(super) fn running(call: Call, codec: Codec, first: String) -> Result<Self, Failure> {
        let start = Event::Start { id: String::new(), model: String::new() };
        let queue = VecDeque::from([start, Event::Open { index: 0, block: Block::Text }]);
        let source = Source::Running(Box::new((call, codec)));
        let mut stream = Self { source, queue, told: String::new() };
        stream.tell(first)?;
        Ok(stream)
    }

    /// The next item; one without events is a sign of life. Cancel safe.
    pub(crate) async fn next(&mut self) -> Result<Option<Item>, Failure> {
        loop {
            if let Some(event) = self.queue.pop_front() {
                return Ok(Some(item(event)));
            }
            let Source::Running(running) = &mut self.source else { return Ok(None) };
            let (call, codec) = &mut **running;
            match call.next().await {
                Ok(Step::Life) => return Ok(Some(silent())),
                Ok(Step::Text(text)) => self.tell(text)?,
                Ok(Step::Done(result)) => {
                    let reply = decode(codec, &result);
                    self.source = Source::Over;
                    self.finish(reply?)?;
                }
                Err(error) => {
                    self.source = Source::Over;
                    return Err(error.into_failure());
                }
            }
        }
    }

    fn tell(&mut self, text: String) -> Result<(), Failure> {
        if self.told.len() + text.len() > TOLD_BYTES_MAX {
            self.source = Source::Over;
            let detail = "the text that its progress announced is too long";
            return Err(Failure::network(Reason::Oversized, Class::Ambiguous, detail));
        }
        self.told.push_str(&text);
        self.queue.push_back(Event::Delta { index: 0, delta: Delta::Text(text) });
        Ok(())
    }

    /// Adds what the result says beyond the text that was passed on.
    fn finish(&mut self, mut reply: ChatReply) -> Result<(), Failure> {
        let spoken = match reply.parts.first_mut() {
            Some(Part::Text(text)) => std::mem::take(text),
            _ => String::new(),
        };
        let Some(rest) = spoken.strip_prefix(&*self.told) else {
            let detail = "the result is not the text that its progress announced";
            return Err(Failure::network(Reason::Garbled, Class::Ambiguous, detail));
        };
        // The block is open already, so only what is left of its text and its end are told.
        if let Some(Part::Text(text)) = reply.parts.first_mut() {
            rest.clone_into(text);
        }
        let told = |event: &Event| {
            !matches!(event, Event::Start { .. } | Event::Open { index: 0, .. })
                && !matches!(event, Event::Delta { delta: Delta::Text(text), .. } if text.is_empty())
        };
        self.queue.extend(reply.into_events().into_iter().filter(told));
        Ok(())
    }
}

fn decode(codec: &Codec, result: &CallToolResult) -> Result<ChatReply, Failure> {
    codec.reply(result)
}

fn item(event: Event) -> Item {
    Item { raw: Bytes::new(), events: SmallVec::from_iter([event]) }
}

fn silent() -> Item {
    Item { raw: Bytes::new(), events: SmallVec::new() }
}

#[cfg(test)]
mod tests {
    use outcrop_core::Usage;
    use outcrop_core::event::StopReason;

    use super::*;

    fn reply(text: &str) -> ChatReply {
        ChatReply {
            parts: vec![
                Part::Text(text.into()),
                Part::ToolUse { id: "t".into(), name: "add".into(), input: serde_json::json!({}) },
            ],
            stop: Some(StopReason::ToolUse),
            usage: Usage::of(1, 2),
            ..ChatReply::default()
        }
    }

    /// What a caller gathers that was told `told` before the result said `text`.
    fn gathered(told: &[&str], text: &str) -> Result<ChatReply, Failure> {
        let mut stream = McpStream { source: Source::Over, queue: VecDeque::new(), told: String::new() };
        stream.queue.push_back(Event::Open { index: 0, block: Block::Text });
        for piece in told {
            stream.tell((*piece).to_owned())?;
        }
        stream.finish(reply(text))?;
        assert_eq!(stream.queue.back(), Some(&Event::Done));
        let mut gathered = ChatReply::default();
        stream.queue.into_iter().for_each(|event| gathered.absorb(event));
        Ok(gathered)
    }

    #[test]
    fn what_was_told_and_the_rest_are_the_result() {
        assert_eq!(gathered(&["one ", "two"], "one two").unwrap(), reply("one two"));
        assert_eq!(gathered(&["one ", "two"], "one two three").unwrap(), reply("one two three"));
    }

    #[test]
    fn text_without_end_is_a_failure() {
        let piece = "x".repeat(1024 * 1024);
        let all = piece.repeat(TOLD_BYTES_MAX / piece.len());
        let mut told = vec![&*piece; TOLD_BYTES_MAX / piece.len()];
        assert_eq!(gathered(&told, &all).unwrap(), reply(&all));
        told.push("x");
        assert_eq!(gathered(&told, &all).unwrap_err().reason, Reason::Oversized);
    }

    #[test]
    fn a_result_that_says_something_else_is_a_failure() {
        for text in ["one tw", "One two", "", "two one two"] {
            assert_eq!(gathered(&["one ", "two"], text).unwrap_err().reason, Reason::Garbled);
        }
    }
}
