//! Delivery of an answer: faults below the contents, the pace of streams, and the bill at the end.
//!
//! A record is written exactly once per exchange that runs or would run a model, after the transport is done with the
//! answer, so that it can tell whether the caller was still there.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use tokio::sync::{mpsc, oneshot};

use crate::{
    billing::Record,
    body::{Breakage, How, ReplyBody, Source},
    clock,
    dice::Dice,
    exchange::{Bill, Exchange, Frame, Injected, Reply, Streamed, Subject, Whole},
    requests::Entry,
    script::{Fault, FaultKind, Part, Spread},
    socket::{Fate, Line},
};

/// How long a record waits for the transport to finish an answer that is made.
const LINGER: Duration = Duration::from_secs(30);

/// Events made ahead of the transport where a leaving caller ends the work.
const EVENTS_AHEAD: usize = 8;

/// Random bytes sent for an answer of unknown length.
const GARBAGE_BYTES: usize = 512;

/// Everything needed to bring one answer to its caller.
pub(crate) struct Delivery {
    pub(crate) exchange: Exchange,
    pub(crate) subject: Subject,
    pub(crate) fault: Option<Fault>,
    pub(crate) entry: Arc<Entry>,
    pub(crate) line: Arc<Line>,
    pub(crate) dice: Dice,
    pub(crate) answer: oneshot::Sender<Response<ReplyBody>>,
}

/// What is left once the head is on its way.
struct Aftermath {
    exchange: Exchange,
    subject: Subject,
    entry: Arc<Entry>,
    dice: Dice,
}

impl Delivery {
    /// Delivers whatever the service answered.
    pub(crate) async fn reply(self, reply: Reply) {
        match reply {
            Reply::Whole(whole) => self.whole(whole).await,
            Reply::Stream(streamed) => self.stream(streamed).await,
            Reply::Foreign(response) => self.foreign(response),
        }
    }

    /// Delivers an answer in one piece.
    pub(crate) async fn whole(mut self, whole: Whole) {
        let body = if self.fault_is(FaultKind::Garbage) {
            Bytes::from(self.dice.bytes(whole.body.len().max(GARBAGE_BYTES)))
        } else {
            whole.body
        };
        let breakage = self.breakage();
        let announced = breakage.is_none() || !self.ends_http();
        let bytes = body.len() as u64;
        let source = Source::Pieces(pieces(body, breakage.is_some()));
        let mut reply = self.body(source, breakage);
        if announced {
            reply = reply.sized(bytes);
        }
        let gone = self.send(whole.status, whole.headers, reply);
        let mut aftermath = self.aftermath();
        aftermath.finish(whole.bill, None, gone).await;
    }

    /// Delivers a stream, making its events at the scripted pace.
    async fn stream(mut self, streamed: Streamed) {
        let Streamed { headers, frames, bill } = streamed;
        if self.fault_is(FaultKind::Garbage) {
            let noise = Source::Pieces(VecDeque::from([Bytes::from(self.dice.bytes(GARBAGE_BYTES))]));
            let reply = self.body(noise, None);
            let gone = self.send(StatusCode::OK, headers, reply);
            return self.aftermath().finish(Some(bill), None, gone).await;
        }
        let stops = self.exchange.stops_with_caller();
        let ahead = if stops { EVENTS_AHEAD } else { frames.len().max(1) };
        let (events, made) = mpsc::channel(ahead);
        let breakage = self.breakage();
        let reply = self.body(Source::Events(made), breakage);
        let gone = self.send(StatusCode::OK, headers, reply);
        let mut aftermath = self.aftermath();
        let output_tokens = aftermath.produce(frames, events).await;
        aftermath.finish(Some(bill), Some(output_tokens), gone).await;
    }

    fn foreign(mut self, response: Response<crate::exchange::ForeignBody>) {
        let (head, body) = response.into_parts();
        let source = if self.fault_is(FaultKind::Garbage) {
            Source::Pieces(VecDeque::from([Bytes::from(self.dice.bytes(GARBAGE_BYTES))]))
        } else {
            Source::Foreign(body)
        };
        let breakage = self.breakage();
        let reply = self.body(source, breakage);
        let mut headers = head.headers;
        headers.remove(header::CONTENT_LENGTH);
        // That server keeps its own billing records.
        self.send(head.status, headers, reply);
    }

    /// Records an exchange that never gets an answer.
    pub(crate) fn record_unseen(self, bill: Option<Bill>) {
        let client_gone = self.entry.is_aborted();
        self.aftermath().record(bill, None, client_gone);
    }

    fn fault_is(&self, kind: FaultKind) -> bool {
        self.fault.as_ref().is_some_and(|fault| fault.kind == kind)
    }

    fn ends_http(&self) -> bool {
        self.fault.as_ref().is_some_and(|fault| fault.http_end)
    }

    /// How the scripted fault breaks the body.
    fn breakage(&self) -> Option<Breakage> {
        let fault = self.fault.as_ref()?;
        let cut = || if fault.http_end { How::End } else { How::Line(Fate::Close) };
        let how = match fault.kind {
            FaultKind::HangStream => How::Hang,
            FaultKind::ResetInside if fault.at == Part::Body => How::Line(Fate::Reset),
            FaultKind::Cut => cut(),
            FaultKind::CutMidFrame => How::Halve(Box::new(cut())),
            FaultKind::BadCrc => How::Spoil(Arc::clone(&self.exchange.target)),
            FaultKind::StreamException => {
                let service = self.exchange.target.service();
                How::Insert(service.failure_event(&self.exchange, &Injected::of(fault)))
            }
            _ => return None,
        };
        Some(Breakage { after: fault.events_before(), how })
    }

    fn body(&self, source: Source, breakage: Option<Breakage>) -> ReplyBody {
        let fate = self.fault_is(FaultKind::ResetAfter).then_some(Fate::Reset);
        ReplyBody::new(source, breakage, Arc::clone(&self.line), Arc::clone(&self.entry)).then(fate)
    }

    /// Sends the head; `true` if the caller has left already.
    fn send(&mut self, status: StatusCode, headers: HeaderMap, body: ReplyBody) -> bool {
        if let Some(fault) = &self.fault {
            match fault.kind {
                FaultKind::SlowHeaders => {
                    self.line.slow_head(Duration::from_millis(fault.interval_ms.unwrap_or(20)));
                }
                FaultKind::ResetInside if fault.at == Part::Head => {
                    self.entry.break_off();
                    self.line.tear_head();
                }
                _ => {}
            }
        }
        let mut response = Response::new(body);
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        let date = clock::http_date(clock::skewed(self.exchange.script.clock_skew_s));
        if let Ok(date) = HeaderValue::from_str(&date) {
            response.headers_mut().insert(header::DATE, date);
        }
        self.entry.answered(status);
        let (closed, _) = oneshot::channel();
        std::mem::replace(&mut self.answer, closed).send(response).is_err()
    }

    fn aftermath(self) -> Aftermath {
        Aftermath { exchange: self.exchange, subject: self.subject, entry: self.entry, dice: self.dice }
    }
}

impl Aftermath {
    /// Makes the events of a stream; returns the output tokens made.
    async fn produce(&mut self, frames: Vec<Frame>, events: mpsc::Sender<Bytes>) -> u64 {
        let stops = self.exchange.stops_with_caller();
        let mut output_tokens = 0;
        let mut spread = self.exchange.script.ttft_ms;
        for frame in frames {
            self.pause(spread, &events, stops).await;
            spread = self.exchange.script.pace_ms;
            if stops && events.is_closed() {
                break;
            }
            // Without a reader the model goes on all the same.
            let taken = events.send(frame.bytes).await.is_ok();
            if taken || !stops {
                output_tokens += frame.output_tokens;
            }
        }
        output_tokens
    }

    async fn pause(&mut self, spread: Option<Spread>, events: &mpsc::Sender<Bytes>, stops: bool) {
        let Some(spread) = spread else { return };
        let delay = Duration::from_secs_f64(spread.draw_ms(&mut self.dice) / 1_000.0);
        tokio::select! {
            () = tokio::time::sleep(delay) => {}
            () = events.closed(), if stops => {}
            () = self.exchange.target.stop().cancelled() => {}
        }
    }

    /// Waits until the transport is done, then writes the record.
    async fn finish(&mut self, bill: Option<Bill>, output_tokens: Option<u64>, gone: bool) {
        tokio::select! {
            () = self.entry.ended() => {}
            () = self.exchange.target.stop().cancelled() => {}
            () = tokio::time::sleep(LINGER) => {}
        }
        self.record(bill, output_tokens, gone || self.entry.is_aborted());
    }

    /// Writes the record; `output_tokens` are those of a stream that may have been left early.
    fn record(&self, bill: Option<Bill>, output_tokens: Option<u64>, client_gone: bool) {
        let target = &self.exchange.target;
        if bill.is_none() && !self.subject.runs_model {
            return;
        }
        let executed = bill.is_some();
        let mut bill = bill.unwrap_or_default();
        let planned = bill.output_tokens;
        let whole_unseen = output_tokens.is_none() && client_gone && self.exchange.stops_with_caller();
        let made = if whole_unseen { 0 } else { output_tokens.unwrap_or(planned) };
        if let Some(reservation) = bill.reservation.take() {
            reservation.settle(bill.input_tokens, made);
        }
        let named = |own: String, asked: &str| if own.is_empty() { asked.to_owned() } else { own };
        target.billing().record(Record {
            request_id: self.exchange.request_id.clone(),
            tag: self.exchange.received.tag(),
            target: target.name().to_owned(),
            model: named(bill.model, &self.subject.model),
            operation: named(bill.operation, &self.subject.operation),
            stream: self.subject.stream,
            input_tokens: bill.input_tokens,
            output_tokens: made,
            cache_read_tokens: bill.cache_read_tokens,
            cache_write_tokens: bill.cache_write_tokens,
            cost_nusd: 0,
            executed,
            completed: executed && made == planned,
            client_gone,
            at_ms: self.exchange.at_ms,
            took_ms: 0,
        });
    }
}

/// A body in one piece, or in two halves if it is to break between them.
fn pieces(mut body: Bytes, halved: bool) -> VecDeque<Bytes> {
    if body.is_empty() {
        return VecDeque::new();
    }
    if !halved || body.len() < 2 {
        return VecDeque::from([body]);
    }
    let second = body.split_off(body.len() / 2);
    VecDeque::from([body, second])
}
