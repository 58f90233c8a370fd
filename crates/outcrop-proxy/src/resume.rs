//! Go on where a stream broke: the operator's opt-in `resume = "continue"`.
//!
//! Another attempt is asked to continue the text that the caller has. Only for text: no tools, no required
//! shape of the answer, one answer; at most once for an exchange, planned anew under the same rules (so in
//! the same residency), with a reservation of its own. The seam stands in the decision record, and in the
//! stream where its dialect has comments. It never makes up an end: where the continuation breaks as well,
//! the caller is told.

use std::sync::Arc;

use bytes::BytesMut;
use outcrop_core::event::{Block, Delta};
use outcrop_core::failure::{Class, Code, Failure, Reason};
use outcrop_core::operation::Operation;
use outcrop_core::{Event, Protocol, Usage};
use outcrop_policy::route::target_name;
use outcrop_wire::{AnswerContext, Item, Mode, Route, StreamDecoder, StreamEncoder, TargetModel};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::authenticate::Caller;
use crate::clock::unix_now;
use crate::committed::{Committed, CommittedBody};
use crate::failover::failover;
use crate::flow::{Account, Flow, HandedOver, Source};
use crate::gateway::{Gateway, Snapshot};
use crate::intake::{self, Call};
use crate::leg::Exchange;
use crate::payer::Payer;
use crate::plan::{Planning, plan};
use crate::settle::Record;

/// What the model is asked.
const GO_ON: &str = "Your last message was cut off in transit. Continue it from exactly where it stops: do not \
                     repeat any of it, and add nothing in front.";
/// What the caller's stream says at the seam, where its dialect has comments.
const SEAM: &[u8] = b": outcrop-resumed\n\n";
/// Longest text that is continued, in bytes.
const SAID_BYTES_MAX: usize = 1024 * 1024;

/// What it takes to continue a stream.
pub(crate) struct Resume {
    snapshot: Arc<Snapshot>,
    call: Arc<Call>,
    caller: Caller,
    operation: Box<str>,
    heard: Heard,
    // What makes sense of frames that pass unchanged, and the encoder that goes on in their place.
    aside: Option<Box<(StreamDecoder, StreamEncoder)>>,
}

/// What the caller has.
#[derive(Debug, Default)]
struct Heard {
    said: String,
    /// The text block that is open.
    open: Option<u32>,
    /// Blocks so far.
    blocks: u32,
    /// Something other than text came, or the end of the text.
    is_more: bool,
}

/// A stream that goes on.
pub(crate) struct Resumed {
    pub(crate) flow: Flow,
    pub(crate) seam: Seam,
    /// Goes on where frames passed unchanged.
    pub(crate) encoder: Option<StreamEncoder>,
}

/// How the events of the continuation become those of the stream that broke.
#[derive(Debug)]
pub(crate) struct Seam {
    open: Option<u32>,
    blocks: u32,
    // What the attempt that broke had counted.
    before: Usage,
    // Text blocks of the continuation, and what the caller knows them as.
    known: Vec<(u32, u32)>,
}

impl Resume {
    /// What it takes to continue the stream of an exchange, where the operator allows it.
    pub(crate) fn offered(
        exchange: Exchange<'_>,
        caller: &Caller,
        operation: &Operation,
    ) -> Option<Box<Self>> {
        let Exchange { snapshot, call, .. } = exchange;
        let envelope = &call.envelope;
        let suits = envelope.stream && !envelope.has_tools && envelope.answers == 1;
        if !suits || !snapshot.routes.resumes.allow(&operation.name, &envelope.model) {
            return None;
        }
        Some(Box::new(Self {
            snapshot: Arc::clone(snapshot),
            call: Arc::clone(call),
            caller: caller.clone(),
            operation: operation.name.clone(),
            heard: Heard::default(),
            aside: None,
        }))
    }

    /// Makes ready for frames that pass unchanged.
    pub(crate) fn listen_aside(&mut self, protocol: Protocol, context: &AnswerContext) {
        let decoder = StreamDecoder::new(protocol, Mode::Decode);
        let encoder = StreamEncoder::new(protocol, context.clone());
        self.aside = Some(Box::new((decoder, encoder)));
    }

    /// Hears what the caller gets.
    pub(crate) fn hear(&mut self, item: &Item) {
        let Some(aside) = &mut self.aside else {
            for event in &item.events {
                self.heard.note(event);
            }
            return;
        };
        let (decoder, encoder) = &mut **aside;
        decoder.push(item.raw.clone());
        let mut said_already = BytesMut::new();
        while let Ok(Some(item)) = decoder.next() {
            for event in &item.events {
                self.heard.note(event);
                encoder.encode(event, &mut said_already);
            }
        }
    }

    /// Whether the stream may go on after such a failure.
    pub(crate) fn suits(&self, failure: &Failure) -> bool {
        let broke = match failure.class {
            Class::Ambiguous | Class::Partial | Class::Refused => true,
            Class::NotSent | Class::Permanent | Class::NotHere | Class::Credential | Class::CallerGone => {
                false
            }
        };
        let ended_here = matches!(failure.code, Code::Stopped | Code::DeadlineExceeded);
        broke && !ended_here && !self.heard.is_more && !self.heard.said.is_empty()
    }

    /// Asks for the rest. `Err` gives the record back: nothing goes on.
    pub(crate) async fn go_on(self, handed: HandedOver, failure: &Failure) -> Result<Resumed, Box<Record>> {
        let HandedOver { gateway, mut record, admission, usage: before } = handed;
        record.resumes(failure.reason, self.heard.said.len());
        match self.ask(&gateway, &mut record).await {
            Ok(Committed {
                reservation,
                billing,
                trial,
                body: CommittedBody::Stream { seen, rest, cut },
                ..
            }) => {
                let Self { snapshot, heard, aside, .. } = self;
                let account = Account { gateway, record, reservation, billing, admission, trial, snapshot };
                Ok(Resumed {
                    flow: Flow::new(Source { seen: seen.into(), rest, cut }, account).after(before),
                    seam: Seam { open: heard.open, blocks: heard.blocks, before, known: Vec::new() },
                    encoder: aside.map(|aside| aside.1),
                })
            }
            Ok(_) => Err(Box::new(record)),
            Err(second) => {
                tracing::debug!(reason = second.reason.label(), second.detail, "a stream is not continued");
                Err(Box::new(record))
            }
        }
    }

    async fn ask(&self, gateway: &Arc<Gateway>, record: &mut Record) -> Result<Committed, Failure> {
        let Self { snapshot, caller, .. } = self;
        let cannot = || Failure::network(Reason::Inexpressible, Class::Permanent, "it cannot be asked again");
        let call = Arc::new(self.continuation().ok_or_else(cannot)?);
        let operation = snapshot.routes.operation(&self.operation).ok_or_else(cannot)?;
        let payer = Arc::new(Payer::of(&call, caller, operation, record.priority()));
        // It is the same request.
        payer.count();
        let promised = record.deadline();
        record.set_deadline(Instant::now() + operation.deadline);
        let committed = async {
            let pressure = gateway.ledger().level(&payer.whose);
            let health = &gateway.health;
            let planning = Planning { snapshot, caller, call: &call, operation, pressure, health };
            let broken = record.last_target();
            let mut plan = plan(planning, record)?;
            // Whoever broke off is asked last.
            plan.choices.sort_by_key(|choice| {
                let spec = snapshot.routes.target(choice.target);
                target_name(&spec.path, &choice.model_id) == broken
            });
            gateway.stops.may_start(&payer.whose, record.id().as_str(), unix_now)?;
            failover(Exchange { gateway, snapshot, call: &call, payer: &payer }, &plan, record).await
        }
        .await;
        record.set_deadline(promised);
        committed
    }

    /// The conversation with what was said of its answer, and the wish for the rest.
    fn continuation(&self) -> Option<Call> {
        let envelope = &self.call.envelope;
        let model = TargetModel { id: &envelope.model, max_tokens_default: None, max_tokens_cap: None };
        let mut body = outcrop_wire::mcp::arguments(envelope, &model).ok()?;
        if body.contains_key("tools") || body.contains_key("response_format") {
            return None;
        }
        let said = self.heard.said.as_str();
        let messages = body.get_mut("messages")?.as_array_mut()?;
        messages.push(json!({"role": "assistant", "content": said}));
        messages.push(json!({"role": "user", "content": GO_ON}));
        if let Some(most) = body.get("max_tokens").and_then(Value::as_u64) {
            // Four bytes are about a token.
            let left = most.saturating_sub(said.len() as u64 / 4).max(1);
            body.insert("max_tokens".into(), left.into());
        }
        body.insert("stream".into(), true.into());
        let route = Route { protocol: Protocol::McpTool, model: None, stream: None };
        let mut call =
            intake::open(&route, Value::Object(body).to_string().into(), &self.snapshot.limits).ok()?;
        call.wishes = self.call.wishes.clone();
        call.envelope.user.clone_from(&envelope.user);
        Some(call)
    }
}

impl Heard {
    fn note(&mut self, event: &Event) {
        match event {
            Event::Open { index, block } => {
                self.blocks = self.blocks.max(index.saturating_add(1));
                self.open = matches!(block, Block::Text).then_some(*index);
                self.is_more |= !matches!(block, Block::Text);
            }
            Event::Delta { delta: Delta::Text(text), .. } => {
                self.said.push_str(text);
                self.is_more |= self.said.len() > SAID_BYTES_MAX;
            }
            Event::Close { .. } => self.open = None,
            Event::Delta { .. } | Event::Stop { .. } | Event::Done | Event::Content { .. } => {
                self.is_more = true;
            }
            Event::Start { .. } | Event::Usage(_) => {}
        }
    }
}

impl Seam {
    /// What the caller's stream says at the seam.
    pub(crate) fn mark(protocol: Protocol) -> &'static [u8] {
        match protocol {
            Protocol::OpenAiChat | Protocol::AnthropicMessages => SEAM,
            _ => b"",
        }
    }

    /// An event of the continuation as one of the stream that broke; `None` where it says nothing there.
    pub(crate) fn join(&mut self, event: Event) -> Option<Event> {
        let known = |index: u32, known: &[(u32, u32)]| {
            known.iter().find(|(of, _)| *of == index).map(|(_, known)| *known)
        };
        match event {
            Event::Open { index, block: Block::Text } => {
                if let Some(open) = self.open.take() {
                    self.known.push((index, open));
                    return None;
                }
                self.known.push((index, self.blocks));
                self.blocks = self.blocks.saturating_add(1);
                Some(Event::Open { index: self.blocks - 1, block: Block::Text })
            }
            Event::Delta { index, delta: delta @ Delta::Text(_) } => {
                known(index, &self.known).map(|index| Event::Delta { index, delta })
            }
            Event::Close { index } => known(index, &self.known).map(|index| Event::Close { index }),
            // Reasoning is not continued, and there are no tools.
            Event::Start { .. } | Event::Open { .. } | Event::Delta { .. } => None,
            // The caller pays for both.
            Event::Usage(usage) => Some(Event::Usage(usage.after(self.before))),
            Event::Stop { .. } | Event::Content { .. } | Event::Done => Some(event),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(index: u32, text: &str) -> Event {
        Event::Delta { index, delta: Delta::Text(text.into()) }
    }

    fn joined(open: Option<u32>, blocks: u32, events: Vec<Event>) -> Vec<Event> {
        let mut seam = Seam { open, blocks, before: Usage::of(3, 4), known: Vec::new() };
        events.into_iter().filter_map(|event| seam.join(event)).collect()
    }

    #[test]
    fn a_continuation_goes_on_in_the_block_that_is_open() {
        let start = || Event::Start { id: "b".into(), model: "m".into() };
        let open = |index, block| Event::Open { index, block };
        let second = || {
            vec![
                start(),
                open(0, Block::Thinking),
                Event::Delta { index: 0, delta: Delta::Thinking("hm".into()) },
                Event::Close { index: 0 },
                open(1, Block::Text),
                text(1, "x"),
                Event::Close { index: 1 },
                Event::Usage(Usage::of(5, 6)),
                Event::Done,
            ]
        };
        let both = || Event::Usage(Usage::of(8, 10));
        let goes_on = [text(0, "x"), Event::Close { index: 0 }, both(), Event::Done];
        assert_eq!(joined(Some(0), 1, second()), goes_on);
        let anew = [open(1, Block::Text), text(1, "x"), Event::Close { index: 1 }, both(), Event::Done];
        assert_eq!(joined(None, 1, second()), anew);
    }

    #[test]
    fn only_unfinished_text_is_continued() {
        let heard = |events: &[Event]| {
            let mut heard = Heard::default();
            for event in events {
                heard.note(event);
            }
            heard
        };
        let begun = [Event::Open { index: 0, block: Block::Text }, text(0, "a")];
        assert!(!heard(&begun).is_more);
        let stop = Event::Stop { reason: outcrop_core::event::StopReason::EndTurn, sequence: None };
        assert!(heard(&[&begun[..], &[stop]].concat()).is_more);
        let block = Block::ToolUse { id: "t".into(), name: "n".into() };
        assert!(heard(&[&begun[..], &[Event::Open { index: 1, block }]].concat()).is_more);
    }
}
