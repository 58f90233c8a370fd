//! One exchange at a simulated target, start to end.
//!
//! The exchange runs in a task of its own, because a model goes on (and costs) when its caller has left; the
//! connection only waits for the head. Contents come from the target's service, delivery is [`crate::deliver`].

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use tokio::sync::oneshot;

use crate::{
    body::{BodyError, ReplyBody},
    deliver::Delivery,
    dice::Dice,
    exchange::{Bill, Exchange, Injected, Received, Reply, Subject, Whole},
    requests::Entry,
    script::{Fault, FaultKind, Spread},
    socket::{Fate, Line},
    target::Target,
};

/// Bodies beyond this are not read; every simulated service has a lower limit of its own.
const BODY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Answers one request of a connection. `Err` closes the connection.
pub(crate) async fn respond(
    target: Arc<Target>,
    line: Arc<Line>,
    request: Request<Incoming>,
) -> Result<Response<ReplyBody>, BodyError> {
    let received = receive(request).await?;
    let (answer, answered) = oneshot::channel();
    let (exchange, dice) = target.open(received);
    let entry = target.requests().open(&exchange);
    target.tasks().spawn(async move {
        let conduct = Conduct { exchange, entry, line, dice, answer };
        conduct.run().await;
    });
    match answered.await {
        Ok(response) => Ok(response),
        // The exchange chose not to answer; the connection waits for its end.
        Err(_) => std::future::pending().await,
    }
}

#[allow(clippy::disallowed_methods, reason = "collected under the lab's limit")]
async fn receive(request: Request<Incoming>) -> Result<Received, BodyError> {
    let (mut head, body) = request.into_parts();
    let body: Bytes = match Limited::new(body, BODY_BYTES_MAX).collect().await {
        Ok(collected) => collected.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => {
            return Err("request body beyond the lab's limit".into());
        }
        Err(error) => return Err(error),
    };
    if !head.headers.contains_key(header::HOST)
        && let Some(authority) = head.uri.authority()
        && let Ok(host) = HeaderValue::from_str(authority.as_str())
    {
        head.headers.insert(header::HOST, host);
    }
    Ok(Received {
        method: head.method,
        path: head.uri.path().to_owned(),
        query: head.uri.query().map(str::to_owned),
        headers: head.headers,
        body,
        version: head.version,
    })
}

/// The way one exchange goes.
struct Conduct {
    exchange: Exchange,
    entry: Arc<Entry>,
    line: Arc<Line>,
    dice: Dice,
    answer: oneshot::Sender<Response<ReplyBody>>,
}

impl Conduct {
    async fn run(mut self) {
        let target = Arc::clone(&self.exchange.target);
        let subject = target.service().subject(&self.exchange.received);
        if let Err(refusal) = target.service().authenticate(&self.exchange) {
            return self.delivery(subject, None).whole(refusal).await;
        }
        let fault = target.pick_fault(&subject, &mut self.dice);
        self.exchange.fault.clone_from(&fault);
        if !target.service().spares(&subject) {
            self.wait(self.exchange.script.latency_ms).await;
        }
        match fault.as_ref().map(|fault| fault.kind) {
            Some(FaultKind::Error | FaultKind::Throttle) => self.refuse(subject, fault).await,
            Some(FaultKind::Hang | FaultKind::ResetBefore) => self.stay_silent(subject, fault).await,
            _ => {
                let Some(reply) = self.reply().await else { return self.left() };
                self.delivery(subject, fault).reply(reply).await;
            }
        }
    }

    /// The service's answer; `None` if the caller left and that ends the work.
    async fn reply(&mut self) -> Option<Reply> {
        let service = self.exchange.target.service();
        let answering = service.answer(&self.exchange);
        if !self.exchange.stops_with_caller() {
            return Some(answering.await);
        }
        tokio::select! {
            biased;
            reply = answering => Some(reply),
            () = self.answer.closed() => None,
        }
    }

    /// Waits out the latency; a caller that leaves meanwhile shows in the log at once.
    async fn wait(&mut self, spread: Option<Spread>) {
        let Some(spread) = spread else { return };
        let delay = tokio::time::sleep(Duration::from_secs_f64(spread.draw_ms(&mut self.dice) / 1_000.0));
        let mut delay = std::pin::pin!(delay);
        let stop = self.exchange.target.stop();
        tokio::select! {
            () = &mut delay => return,
            () = stop.cancelled() => return,
            () = self.answer.closed() => self.left(),
        }
        if !self.exchange.stops_with_caller() {
            tokio::select! {
                () = delay => {}
                () = stop.cancelled() => {}
            }
        }
    }

    /// A scripted error as the whole answer; the model does not run unless the fault says so.
    async fn refuse(self, mut subject: Subject, fault: Option<Fault>) {
        let injected = fault.as_ref().map_or_else(Injected::default, Injected::of);
        let mut refusal = self.exchange.target.service().failure(&self.exchange, &injected);
        if fault.and_then(|fault| fault.executed) == Some(true) {
            refusal.bill = self.executed_bill(&mut subject).await;
        }
        self.delivery(subject, None).whole(refusal).await;
    }

    /// No answer at all: the request hangs or the connection is reset.
    async fn stay_silent(mut self, mut subject: Subject, fault: Option<Fault>) {
        let reset = fault.as_ref().is_some_and(|fault| fault.kind == FaultKind::ResetBefore);
        let bill = match fault.and_then(|fault| fault.executed) {
            Some(true) => self.executed_bill(&mut subject).await,
            _ => None,
        };
        if reset {
            self.entry.break_off();
            self.line.decide(Fate::Reset);
        }
        let stop = self.exchange.target.stop();
        tokio::select! {
            () = self.answer.closed() => {}
            () = stop.cancelled() => self.entry.break_off(),
        }
        self.left();
        self.delivery(subject, None).record_unseen(bill);
    }

    /// The connection is gone before any answer: by the caller's will, unless its fate was decided here.
    fn left(&self) {
        self.entry.end(self.line.fate().is_none());
    }

    async fn executed_bill(&self, subject: &mut Subject) -> Option<Bill> {
        match self.exchange.target.service().answer(&self.exchange).await {
            Reply::Whole(Whole { bill, .. }) => bill,
            Reply::Stream(streamed) => Some(streamed.bill),
            Reply::Foreign(response) => {
                // That server runs to the end of its answer and keeps its own record.
                let mut body = response.into_body();
                while let Some(Ok(_)) = body.frame().await {}
                subject.runs_model = false;
                None
            }
        }
    }

    fn delivery(self, subject: Subject, fault: Option<Fault>) -> Delivery {
        Delivery {
            exchange: self.exchange,
            subject,
            fault,
            entry: self.entry,
            line: self.line,
            dice: self.dice,
            answer: self.answer,
        }
    }
}
