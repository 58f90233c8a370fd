//! One tool call: the script it runs under and the billing record it leaves.
//!
//! Exactly one record per call that runs, written by [`Meter`] when it is dropped, so that a call whose future is
//! thrown away is recorded too.

use std::{sync::Arc, time::Duration};

use rmcp::{
    RoleServer,
    model::{ProgressNotificationParam, ProgressToken},
    service::{Peer, RequestContext},
};
use tokio_util::sync::CancellationToken;

use crate::{
    billing::Record,
    dice::Dice,
    exchange::Exchange,
    quota::Reservation,
    script::{Fault, Script, Spread},
    target::Target,
};

/// What a call inherits from the request that carries it.
#[derive(Debug, Clone)]
pub(super) struct Call {
    /// The target, which keeps the records.
    pub(super) target: Arc<Target>,
    /// The script in force at arrival.
    pub(super) script: Arc<Script>,
    /// The fault drawn for this request.
    pub(super) fault: Option<Fault>,
    request_id: String,
    tag: Option<u64>,
    at_ms: u64,
    dice: Dice,
}

impl Call {
    /// The call inside an exchange.
    pub(super) fn of(exchange: &Exchange) -> Self {
        Self {
            target: Arc::clone(&exchange.target),
            script: Arc::clone(&exchange.script),
            fault: exchange.fault.clone(),
            request_id: exchange.request_id.clone(),
            tag: exchange.received.tag(),
            at_ms: exchange.at_ms,
            dice: exchange.dice(),
        }
    }

    /// Draws a delay.
    pub(super) fn draw(&mut self, spread: Option<Spread>) -> Option<Duration> {
        spread.map(|spread| Duration::from_secs_f64(spread.draw_ms(&mut self.dice) / 1_000.0))
    }

    /// Opens the record of an execution.
    pub(super) fn meter(&self, operation: &str, model: &str, input_tokens: u64) -> Meter {
        let record = Record {
            request_id: self.request_id.clone(),
            tag: self.tag,
            target: self.target.name().to_owned(),
            model: model.to_owned(),
            operation: operation.to_owned(),
            stream: false,
            input_tokens,
            output_tokens: 0,
            cache_read_tokens: 0,
            cache_write_tokens: 0,
            cost_nusd: 0,
            executed: true,
            completed: false,
            client_gone: false,
            at_ms: self.at_ms,
            took_ms: 0,
        };
        Meter { target: Arc::clone(&self.target), record: Some(record), reservation: None }
    }
}

/// The running record of one execution.
#[derive(Debug)]
pub(super) struct Meter {
    target: Arc<Target>,
    record: Option<Record>,
    reservation: Option<Reservation>,
}

impl Meter {
    /// Settles this reservation with the record.
    pub(super) fn reserve(&mut self, reservation: Option<Reservation>) {
        self.reservation = reservation;
    }

    /// Notes that progress is reported.
    pub(super) fn streams(&mut self, streams: bool) {
        if let Some(record) = &mut self.record {
            record.stream = streams;
        }
    }

    /// Notes tokens made.
    pub(super) fn made(&mut self, tokens: u64) {
        if let Some(record) = &mut self.record {
            record.output_tokens += tokens;
        }
    }

    /// Notes that the work was refused before it began.
    pub(super) fn refuse(mut self) {
        if let Some(record) = &mut self.record {
            record.executed = false;
        }
    }

    /// Notes that the work is done; without it the record says that the caller left.
    pub(super) fn complete(mut self) {
        if let Some(record) = &mut self.record {
            record.completed = true;
        }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        let Some(mut record) = self.record.take() else { return };
        record.client_gone = record.executed && !record.completed;
        if let Some(reservation) = self.reservation.take() {
            reservation.settle(record.input_tokens, record.output_tokens);
        }
        self.target.billing().record(record);
    }
}

/// The caller cancelled, or its connection is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gone;

/// The progress of one call, as told to a caller that asked for it.
pub(super) struct Progress<'a> {
    peer: &'a Peer<RoleServer>,
    token: Option<ProgressToken>,
    cancelled: &'a CancellationToken,
    done: u64,
    total: u64,
}

impl<'a> Progress<'a> {
    /// The progress of the request in `context`, which takes `total` steps.
    pub(super) fn new(context: &'a RequestContext<RoleServer>, total: u64) -> Self {
        Self {
            peer: &context.peer,
            token: context.meta.get_progress_token(),
            cancelled: &context.ct,
            done: 0,
            total,
        }
    }

    /// Whether the caller asked for progress.
    pub(super) fn is_wanted(&self) -> bool {
        self.token.is_some()
    }

    /// Waits, unless the caller leaves first.
    pub(super) async fn pause(&self, delay: Option<Duration>) -> Result<(), Gone> {
        let wait = async {
            if let Some(delay) = delay {
                tokio::time::sleep(delay).await;
            }
        };
        tokio::select! {
            biased;
            () = self.cancelled.cancelled() => Err(Gone),
            () = wait => Ok(()),
        }
    }

    /// Takes one step and tells the caller.
    pub(super) async fn step(&mut self, message: &str) -> Result<(), Gone> {
        self.done += 1;
        let Some(token) = &self.token else { return Ok(()) };
        let notice = ProgressNotificationParam::new(token.clone(), self.done as f64)
            .with_total(self.total as f64)
            .with_message(message);
        tokio::select! {
            biased;
            () = self.cancelled.cancelled() => Err(Gone),
            sent = self.peer.notify_progress(notice) => sent.map_err(|_| Gone),
        }
    }
}
