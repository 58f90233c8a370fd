//! Carry the answer back, and count what was used.
//!
//! Same protocol on both sides: the upstream's frames pass as they are. Otherwise events are encoded
//! in the caller's protocol. The stream is pulled by the caller's connection (on HTTP/2 by a task just ahead of it): a slow reader slows its
//! upstream, and a caller that leaves drops everything held here, which cancels the upstream and
//! settles the exchange. A broken upstream ends with an error event, never with an invented finish.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::stream;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Response, Version};
use outcrop_core::failure::{Class, Failure, Reason};
use outcrop_core::money::NanoUsd;
use outcrop_core::reply::ChatReply;
use outcrop_core::{Ask, Event, Protocol, Reply, Usage};
use outcrop_upstream::{AnswerStream, Whole};
use outcrop_wire::{AnswerContext, Envelope, Item, StreamEncoder, encode_reply};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use crate::admit::{Admission, Reservation};
use crate::body::Body;
use crate::failover::{Committed, CommittedBody, Cut};
use crate::gateway::{Gateway, Snapshot};
use crate::rates::tell;
use crate::refuse::body_of;
use crate::settle::{Ending, Record};

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
}

/// Makes the response: whole, or as a stream that is pulled by the caller's connection.
pub(crate) fn relay(
    gateway: &Gateway,
    delivery: Delivery,
    envelope: &Envelope,
    record: Record,
    version: Version,
) -> Response<Body> {
    let context = context_of(envelope, &record);
    let Delivery { committed, admission, snapshot } = delivery;
    let mut headers = headers_of(&committed, &record, envelope.protocol);
    match committed.body {
        CommittedBody::Whole(whole) => {
            let (rated, unix) = record.rating();
            let settled = settle_whole(envelope.protocol, &whole.reply, committed.reservation, record);
            cost_header(&mut headers, settled);
            if let Some(rated) = rated {
                let standing = gateway.rates.standing(&rated.whose, Instant::now().into_std());
                tell(&mut headers, envelope.protocol.dialect(), &standing, unix);
            }
            let (content_type, body) = if envelope.stream {
                streamed(whole.reply, envelope.protocol, context)
            } else {
                encoded(*whole, envelope.protocol, &context)
            };
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
            let account =
                Account { record, reservation: committed.reservation, _admission: admission, snapshot };
            let source = Source { seen: seen.into(), rest, cut };
            let reader_stall_max = account.snapshot.streams.reader_stall_max;
            let relay = Box::new(Relay::new(source, account, envelope, context));
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
    delivery: Delivery,
    record: Record,
    on_text: &mut (dyn FnMut(&str) + Send),
) -> Result<ChatReply, Failure> {
    let Delivery { committed, admission, snapshot } = delivery;
    match committed.body {
        CommittedBody::Whole(whole) => {
            settle_whole(Protocol::McpTool, &whole.reply, committed.reservation, record);
            match whole.reply {
                Reply::Chat(reply) => Ok(reply),
                Reply::Embeddings { .. } | Reply::TokenCount(_) | Reply::Native(_) => {
                    Err(Failure::network(Reason::Garbled, Class::Permanent, "not an answer to a chat"))
                }
            }
        }
        CommittedBody::Stream { seen, rest, cut } => {
            let mut account =
                Account { record, reservation: committed.reservation, _admission: admission, snapshot };
            let mut source = Source { seen: seen.into(), rest, cut };
            let mut reply = ChatReply::default();
            let ending = read_all(&mut source, &mut account, &mut reply, on_text).await;
            let ending = ending.map_err(Failure::after_content);
            account.close(ending.as_ref().err(), &reply.usage);
            ending.map(|()| reply)
        }
    }
}

async fn read_all(
    source: &mut Source,
    account: &mut Account,
    reply: &mut ChatReply,
    on_text: &mut (dyn FnMut(&str) + Send),
) -> Result<(), Failure> {
    while let Some(item) = source.next(account).await? {
        for event in item.events {
            if let Event::Delta { delta: outcrop_core::event::Delta::Text(text), .. } = &event {
                on_text(text);
            }
            reply.absorb(event);
        }
        account.record.counted(reply.usage);
    }
    Ok(())
}

/// Items as they come from the upstream, each within its time.
struct Source {
    seen: VecDeque<Item>,
    rest: AnswerStream,
    cut: Box<Cut>,
}

impl Source {
    /// The next item, unless an emergency stop comes before it.
    async fn next(&mut self, account: &Account) -> Result<Option<Item>, Failure> {
        let Self { seen, rest, cut } = self;
        tokio::select! {
            biased;
            failure = cut.come() => Err(failure),
            item = Self::item(seen, rest, account) => item,
        }
    }

    async fn item(
        seen: &mut VecDeque<Item>,
        rest: &mut AnswerStream,
        account: &Account,
    ) -> Result<Option<Item>, Failure> {
        if let Some(item) = seen.pop_front() {
            return Ok(Some(item));
        }
        let limits = &account.snapshot.streams;
        let stalled = Instant::now() + limits.stall_max;
        let too_long = account.record.accepted() + limits.total_max;
        match timeout_at(stalled.min(too_long), rest.next()).await {
            Ok(item) => item,
            Err(_) if too_long <= stalled => Err(Failure::deadline("the stream lived too long")),
            Err(_) => {
                Err(Failure::network(Reason::Stalled, Class::Partial, "no byte within the stall limit"))
            }
        }
    }
}

/// What is settled when the stream ends, however it ends.
struct Account {
    record: Record,
    reservation: Reservation,
    _admission: Admission,
    // Held to the end: a path that only this snapshot has must outlive what runs on it (I-8).
    snapshot: Arc<Snapshot>,
}

impl Account {
    fn close(self, failure: Option<&Failure>, usage: &Usage) {
        let Self { record, reservation, _admission, snapshot: _snapshot } = self;
        let usage = *usage;
        if let Some(failure) = failure {
            // What was counted so far is not what was made.
            reservation.fail(failure.class);
            record.settle(&Ending::Partial { failure, usage });
        } else {
            let cost = reservation.settle(&usage);
            record.settle(&Ending::Complete { usage, cost });
        }
    }
}

/// A stream under way.
struct Relay {
    source: Source,
    // `None` once the exchange is settled.
    account: Option<Account>,
    context: AnswerContext,
    protocol: Protocol,
    // `None` when the upstream's frames pass unchanged.
    encoder: Option<StreamEncoder>,
    // The caller did not ask for the usage chunk that we asked the upstream for.
    hides_usage: bool,
    usage: Usage,
    linger_until: Option<Instant>,
}

impl Relay {
    fn new(source: Source, account: Account, envelope: &Envelope, context: AnswerContext) -> Self {
        let protocol = envelope.protocol;
        let encoder = (!source.rest.passes_raw()).then(|| StreamEncoder::new(protocol, context.clone()));
        Self {
            source,
            account: Some(account),
            protocol,
            encoder,
            hides_usage: protocol == Protocol::OpenAiChat && !envelope.stream_usage,
            context,
            usage: Usage::default(),
            linger_until: None,
        }
    }

    /// The next piece for the caller; `None` when there is nothing more to say.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            let item = match &self.account {
                Some(account) => self.source.next(account).await,
                None => return self.linger().await,
            };
            match item {
                Ok(Some(item)) => {
                    let piece = self.carry(item);
                    if !piece.is_empty() {
                        return Some(piece);
                    }
                }
                Ok(None) => self.close(None),
                Err(failure) => return Some(self.break_off(failure)),
            }
        }
    }

    fn carry(&mut self, item: Item) -> Bytes {
        let mut out = BytesMut::new();
        let mut done = false;
        for event in &item.events {
            match event {
                Event::Usage(usage) => self.usage.merge(*usage),
                Event::Done => done = true,
                _ => {}
            }
            if let Some(encoder) = &mut self.encoder {
                encoder.encode(event, &mut out);
            }
        }
        if let Some(account) = &mut self.account {
            account.record.counted(self.usage);
        }
        if done {
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
        if let Some(account) = self.account.take() {
            account.close(failure, &self.usage);
        }
        let grace = if failure.is_none() { LINGER_MAX } else { Duration::ZERO };
        self.linger_until = Some(Instant::now() + grace);
    }

    /// The caller has everything; what the upstream still sends is read and dropped.
    async fn linger(&mut self) -> Option<Bytes> {
        let until = self.linger_until?;
        let drain = async { while let Ok(Some(_)) = self.source.rest.next().await {} };
        let _ = timeout_at(until, drain).await;
        None
    }
}

fn settle_whole(
    protocol: Protocol,
    reply: &Reply,
    reservation: Reservation,
    record: Record,
) -> Option<NanoUsd> {
    let mut usage = reply.usage();
    let cost = match protocol {
        Protocol::AnthropicCountTokens | Protocol::BedrockCountTokens => {
            reservation.void();
            None
        }
        Protocol::OpenAiEmbeddings => {
            usage.output = usage.output.or(Some(0));
            reservation.settle(&usage)
        }
        Protocol::OpenAiChat
        | Protocol::AnthropicMessages
        | Protocol::BedrockConverse
        | Protocol::BedrockInvoke
        | Protocol::McpTool => reservation.settle(&usage),
    };
    record.settle(&Ending::Complete { usage, cost });
    cost
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

fn cost_header(headers: &mut HeaderMap, cost: Option<NanoUsd>) {
    if let Some(cost) = cost {
        headers.insert("x-outcrop-cost-nusd", HeaderValue::from(cost.0));
    }
}

fn response(headers: HeaderMap, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.headers_mut() = headers;
    response
}
