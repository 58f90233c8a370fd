//! Carry the answer back, and count what was used.
//!
//! Same protocol on both sides: the upstream's frames pass as they are. Otherwise events are encoded
//! in the caller's protocol. The stream is pulled by the caller's connection (on HTTP/2 by a task just ahead of it): a slow reader slows its
//! upstream, and a caller that leaves drops everything held here, which cancels the upstream and
//! settles the exchange. A broken upstream ends with an error event, never with an invented finish.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::stream;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Response, Version};
use outcrop_core::failure::{Class, Failure, Reason};
use outcrop_core::reply::ChatReply;
use outcrop_core::{Ask, Event, Protocol, Reply};
use outcrop_upstream::Whole;
use outcrop_wire::{AnswerContext, Envelope, Item, StreamEncoder, encode_reply};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::admit::Admission;
use crate::body::Body;
use crate::committed::{Committed, CommittedBody};
use crate::flow::{Account, Flow, Source};
use crate::gateway::{Gateway, Snapshot};
use crate::rates::tell;
use crate::refuse::body_of;
use crate::reserve::{Paid, Reservation};
use crate::resume::{Resume, Resumed, Seam};
use crate::settle::{Ending, Record};
use crate::stages::Sampled;
use crate::trial::Trial;

/// After the terminal event the upstream's connection is read to its end, so that it can be reused; it
/// is given up after this long.
const LINGER_MAX: Duration = Duration::from_secs(1);
/// Pieces made ahead of an HTTP/2 caller.
const PIECES_AHEAD: usize = 2;

/// An answer on its way to its caller, with everything that is settled at its end.
pub(crate) struct Delivery {
    pub(crate) committed: Committed,
    pub(crate) admission: Admission,
    pub(crate) snapshot: Arc<Snapshot>,
    /// What it takes to go on where its stream breaks, where that is allowed.
    pub(crate) resume: Option<Box<Resume>>,
}

/// Makes the response: whole, or as a stream that is pulled by the caller's connection.
pub(crate) fn relay(
    gateway: &Arc<Gateway>,
    delivery: Delivery,
    envelope: &Envelope,
    record: Record,
    version: Version,
) -> Response<Body> {
    let context = context_of(envelope, &record);
    let Delivery { committed, admission, snapshot, resume } = delivery;
    let mut headers = headers_of(&committed, &record, envelope.protocol);
    match committed.body {
        CommittedBody::Whole(whole) => {
            let (rated, unix) = record.rating();
            let paid =
                settle_whole(envelope.protocol, &whole, (committed.reservation, committed.trial), record);
            money_headers(&mut headers, paid);
            if let Some(rated) = rated {
                let standing = gateway.rates.standing(&rated.whose, Instant::now().into_std());
                tell(&mut headers, envelope.protocol.dialect(), &standing, unix);
            }
            let began = Instant::now();
            let (content_type, body) = if envelope.stream {
                streamed(whole.reply, envelope.protocol, context)
            } else {
                encoded(*whole, envelope.protocol, &context)
            };
            gateway.metrics.stages.relayed(began.elapsed());
            headers.insert(CONTENT_TYPE, content_type);
            headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
            response(headers, Body::whole(body))
        }
        CommittedBody::Stream { seen, rest, cut } => {
            let content_type = StreamEncoder::content_type(envelope.protocol);
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
            if let (Some(rated), unix) = record.rating() {
                tell(&mut headers, envelope.protocol.dialect(), &rated.standing, unix);
            }
            budget_header(&mut headers, committed.reservation.remaining_nusd());
            let reader_stall_max = snapshot.streams.reader_stall_max;
            let account = Account {
                gateway: Arc::clone(gateway),
                record,
                reservation: committed.reservation,
                billing: committed.billing,
                admission,
                trial: committed.trial,
                snapshot,
            };
            let flow = Flow::new(Source { seen: seen.into(), rest, cut }, account);
            let relay = Box::new(Relay::new(flow, envelope, context, resume));
            let body = match version {
                Version::HTTP_2 => pushed(gateway, relay, reader_stall_max),
                _ => pulled(relay),
            };
            response(headers, body)
        }
    }
}

/// The caller's connection pulls each piece; a reader that stops is noticed by the connection.
fn pulled(relay: Box<Relay>) -> Body {
    Body::stream(stream::unfold(
        relay,
        |mut relay| async move { relay.next().await.map(|piece| (piece, relay)) },
    ))
}

/// On HTTP/2 a caller can close its window and keep the connection alive, and then nothing is pulled
/// any more: a task of its own gives the stream up when a piece is not taken.
fn pushed(gateway: &Gateway, mut relay: Box<Relay>, reader_stall_max: Duration) -> Body {
    let (pieces, taken) = mpsc::channel(PIECES_AHEAD);
    gateway.connections.spawn(async move {
        loop {
            let piece = tokio::select! {
                () = pieces.closed() => return,
                piece = relay.next() => piece,
            };
            let Some(piece) = piece else { return };
            let sent = tokio::time::timeout(reader_stall_max, pieces.send(piece)).await;
            if !matches!(sent, Ok(Ok(()))) {
                return;
            }
        }
    });
    Body::stream(stream::unfold(
        taken,
        |mut taken| async move { taken.recv().await.map(|piece| (piece, taken)) },
    ))
}

/// Reads the whole answer for a caller that wants it decoded, telling it of text as it comes.
pub(crate) async fn gather(
    gateway: &Arc<Gateway>,
    delivery: Delivery,
    record: Record,
    on_text: &mut (dyn FnMut(&str) + Send),
) -> Result<ChatReply, Failure> {
    let Delivery { committed, admission, snapshot, .. } = delivery;
    let Committed { reservation, billing, body, trial, .. } = committed;
    match body {
        CommittedBody::Whole(whole) => {
            settle_whole(Protocol::McpTool, &whole, (reservation, trial), record);
            match whole.reply {
                Reply::Chat(reply) => Ok(reply),
                Reply::Embeddings { .. } | Reply::TokenCount(_) | Reply::Native(_) => {
                    Err(Failure::network(Reason::Garbled, Class::Permanent, "not an answer to a chat"))
                }
            }
        }
        CommittedBody::Stream { seen, rest, cut } => {
            let gateway = Arc::clone(gateway);
            let account = Account { gateway, record, reservation, billing, admission, trial, snapshot };
            let mut flow = Flow::new(Source { seen: seen.into(), rest, cut }, account);
            let mut reply = ChatReply::default();
            let ending = read_all(&mut flow, &mut reply, on_text).await;
            let ending = ending.map_err(Failure::after_content);
            flow.close(ending.as_ref().err());
            ending.map(|()| reply)
        }
    }
}

async fn read_all(
    flow: &mut Flow,
    reply: &mut ChatReply,
    on_text: &mut (dyn FnMut(&str) + Send),
) -> Result<(), Failure> {
    while let Some(item) = flow.next().await? {
        for event in item.events {
            if let Event::Delta { delta: outcrop_core::event::Delta::Text(text), .. } = &event {
                on_text(text);
            }
            reply.absorb(event);
        }
    }
    Ok(())
}

/// A stream on its way to its caller.
struct Relay {
    flow: Flow,
    context: AnswerContext,
    protocol: Protocol,
    // `None` when the upstream's frames pass unchanged.
    encoder: Option<StreamEncoder>,
    // The caller did not ask for the usage chunk that we asked the upstream for.
    hides_usage: bool,
    linger_until: Option<Instant>,
    // `None` where the stream may not go on after it broke, or has done so.
    resume: Option<Box<Resume>>,
    // There once the stream has gone on.
    seam: Option<Seam>,
    making: Sampled,
}

impl Relay {
    fn new(flow: Flow, envelope: &Envelope, context: AnswerContext, mut resume: Option<Box<Resume>>) -> Self {
        let protocol = envelope.protocol;
        if let Some(resume) = resume.as_mut().filter(|_| flow.passes_raw()) {
            resume.listen_aside(protocol, &context);
        }
        let encoder = (!flow.passes_raw()).then(|| StreamEncoder::new(protocol, context.clone()));
        Self {
            flow,
            protocol,
            encoder,
            hides_usage: protocol == Protocol::OpenAiChat && !envelope.stream_usage,
            context,
            linger_until: None,
            resume,
            seam: None,
            making: Sampled::default(),
        }
    }

    /// The next piece for the caller; `None` when there is nothing more to say.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if !self.flow.is_open() {
                // The caller has everything.
                self.flow.linger(self.linger_until?).await;
                return None;
            }
            match self.flow.next().await {
                Ok(Some(item)) => {
                    let began = self.making.is_due().then(Instant::now);
                    let piece = self.carry(item);
                    if let Some(began) = began {
                        self.making.took(began.elapsed());
                    }
                    if !piece.is_empty() {
                        return Some(piece);
                    }
                }
                Ok(None) => self.close(None),
                Err(failure) => {
                    if !self.go_on(&failure).await {
                        return Some(self.break_off(failure));
                    }
                    let mark = Seam::mark(self.protocol);
                    if !mark.is_empty() {
                        return Some(Bytes::from_static(mark));
                    }
                }
            }
        }
    }

    /// Goes on where the stream broke, if that is allowed and possible.
    async fn go_on(&mut self, failure: &Failure) -> bool {
        let Some(resume) = self.resume.take().filter(|resume| resume.suits(failure)) else { return false };
        let Some(handed) = self.flow.hand_over(failure) else { return false };
        let usage = self.flow.usage();
        match resume.go_on(handed, failure).await {
            Ok(Resumed { flow, seam, encoder }) => {
                self.flow = flow;
                self.seam = Some(seam);
                self.encoder = self.encoder.take().or(encoder);
                true
            }
            Err(record) => {
                let failure = &failure.clone().after_content();
                record.settle(&Ending::Partial { failure, usage });
                false
            }
        }
    }

    fn carry(&mut self, mut item: Item) -> Bytes {
        if let Some(resume) = &mut self.resume {
            resume.hear(&item);
        }
        if let Some(seam) = &mut self.seam {
            item.events = item.events.into_iter().filter_map(|event| seam.join(event)).collect();
        }
        let mut out = BytesMut::new();
        if let Some(encoder) = &mut self.encoder {
            for event in &item.events {
                encoder.encode(event, &mut out);
            }
        }
        if item.events.iter().any(|event| matches!(event, Event::Done)) {
            self.close(None);
        }
        match &self.encoder {
            Some(_) => out.freeze(),
            None if self.hides_usage && item.is_usage_only() => Bytes::new(),
            None => item.raw,
        }
    }

    /// The upstream broke after content: the error of the caller's protocol, and no finish.
    fn break_off(&mut self, failure: Failure) -> Bytes {
        let failure = failure.after_content();
        let mut out = BytesMut::new();
        let encoder =
            self.encoder.get_or_insert_with(|| StreamEncoder::new(self.protocol, self.context.clone()));
        encoder.fail(&body_of(&failure, &self.context.request_id), &mut out);
        self.close(Some(&failure));
        out.freeze()
    }

    fn close(&mut self, failure: Option<&Failure>) {
        self.flow.relayed(self.making.estimate());
        self.flow.close(failure);
        let grace = if failure.is_none() { LINGER_MAX } else { Duration::ZERO };
        self.linger_until = Some(Instant::now() + grace);
    }
}

fn settle_whole(
    protocol: Protocol,
    whole: &Whole,
    (reservation, mut trial): (Reservation, Trial),
    record: Record,
) -> Option<Paid> {
    let mut usage = whole.reply.usage();
    trial.used(&usage);
    let bytes = whole.raw.as_ref().map_or(u64::MAX, |raw| raw.len() as u64);
    let paid = match protocol {
        Protocol::AnthropicCountTokens | Protocol::BedrockCountTokens => {
            reservation.void();
            None
        }
        Protocol::OpenAiEmbeddings => {
            usage.output = usage.output.or(Some(0));
            reservation.settle(&usage, bytes)
        }
        Protocol::OpenAiChat
        | Protocol::AnthropicMessages
        | Protocol::BedrockConverse
        | Protocol::BedrockInvoke
        | Protocol::McpTool => reservation.settle(&usage, bytes),
    };
    record.settle(&Ending::Complete { usage, cost: paid.map(|paid| paid.cost) });
    paid
}

fn encoded(whole: Whole, protocol: Protocol, context: &AnswerContext) -> (HeaderValue, Bytes) {
    if let Some(raw) = whole.raw {
        return (whole.content_type, raw);
    }
    let encoded = encode_reply(protocol, context, &whole.reply);
    (HeaderValue::from_static(encoded.content_type), encoded.body)
}

/// A whole answer for a caller that asked for a stream.
fn streamed(reply: Reply, protocol: Protocol, context: AnswerContext) -> (HeaderValue, Bytes) {
    let mut out = BytesMut::new();
    if let Reply::Chat(reply) = reply {
        let mut encoder = StreamEncoder::new(protocol, context);
        for event in reply.into_events() {
            encoder.encode(&event, &mut out);
        }
    }
    (HeaderValue::from_static(StreamEncoder::content_type(protocol)), out.freeze())
}

fn context_of(envelope: &Envelope, record: &Record) -> AnswerContext {
    AnswerContext {
        request_id: record.id().to_string(),
        model: record.model().to_owned(),
        created: record.created(),
        stream_usage: envelope.stream_usage,
        base64: wants_base64(envelope),
        latency_ms: u64::try_from(record.accepted().elapsed().as_millis()).unwrap_or(u64::MAX),
    }
}

fn wants_base64(envelope: &Envelope) -> bool {
    envelope.protocol == Protocol::OpenAiEmbeddings
        && matches!(envelope.ask(), Ok(Ask::Embed(embed)) if embed.base64)
}

fn headers_of(committed: &Committed, record: &Record, protocol: Protocol) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(16);
    if committed.protocol == protocol {
        headers.extend(committed.headers.iter().cloned());
    }
    let mut put = |name: &'static str, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    };
    put("x-outcrop-request-id", record.id().as_str());
    put("x-outcrop-operation", record.operation());
    put("x-outcrop-path", &committed.path);
    put("x-outcrop-target", &committed.target);
    if let Some(region) = &committed.region {
        put("x-outcrop-region", region);
    }
    headers.insert("x-outcrop-attempts", HeaderValue::from(record.attempts()));
    headers.insert("x-outcrop-overhead-us", HeaderValue::from(record.overhead_us()));
    headers
}

fn money_headers(headers: &mut HeaderMap, paid: Option<Paid>) {
    if let Some(paid) = paid {
        headers.insert("x-outcrop-cost-nusd", HeaderValue::from(paid.cost.0));
        budget_header(headers, paid.remaining_nusd);
    }
}

fn budget_header(headers: &mut HeaderMap, remaining_nusd: Option<i64>) {
    if let Some(remaining) = remaining_nusd {
        headers.insert("x-outcrop-budget-remaining-nusd", HeaderValue::from(remaining.max(0)));
    }
}

fn response(headers: HeaderMap, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.headers_mut() = headers;
    response
}
