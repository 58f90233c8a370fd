//! One try at one target, from its dispatch to its first content.
//!
//! It owns everything it needs, so that it can outlive its caller: an upstream that goes on and bills
//! in full when a caller leaves is read to its end, because only then is it known what is owed.

use std::pin::Pin;
use std::sync::Arc;

use outcrop_core::AttemptId;
use outcrop_core::failure::{Class, Failure, Reason};
use outcrop_core::path::AbortBilling;
use outcrop_policy::route::{Choice, TargetSpec};
use outcrop_upstream::{AnswerBody, AnswerStream, Attempt};
use outcrop_wire::{Item, TargetModel};
use tokio::time::{Instant, timeout_at};

use crate::drain::{self, Opened};
use crate::gateway::{Gateway, Snapshot};
use crate::intake::Call;
use crate::reserve::Reservation;

/// Most bytes that may precede the first content of a stream.
const PRELUDE_BYTES_MAX: usize = 1024 * 1024;

type Work = Pin<Box<dyn Future<Output = Result<Opened, Failure>> + Send>>;

/// A try that has not come to its first content.
pub(crate) struct Opening {
    gateway: Arc<Gateway>,
    // Both `None` once it has ended for its caller.
    work: Option<Work>,
    reservation: Option<Reservation>,
    billing: AbortBilling,
}

/// What is tried.
pub(crate) struct Try {
    pub(crate) id: AttemptId,
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) call: Arc<Call>,
    pub(crate) choice: Choice,
    /// Until then there must be content.
    pub(crate) by: Instant,
    /// From then on its connection is suspected.
    pub(crate) slow_at: Instant,
}

impl Opening {
    /// Nothing is sent before it is polled.
    pub(crate) fn new(gateway: &Arc<Gateway>, spec: &TargetSpec, one: Try, reservation: Reservation) -> Self {
        let (cap, tier) = (reservation.cap(), reservation.tier());
        let default = spec.max_tokens_default;
        let dispatch = reservation.dispatch();
        let path = Arc::clone(&spec.path);
        let work = async move {
            let Try { id, snapshot, call, choice, by, slow_at } = one;
            let path = snapshot.upstreams.path(&path).ok_or_else(|| {
                Failure::network(Reason::Connect, Class::NotSent, "the path is not part of this snapshot")
            })?;
            let attempt = Attempt {
                id: &id,
                envelope: &call.envelope,
                model: TargetModel { id: &choice.model_id, max_tokens_default: default, max_tokens_cap: cap },
                deadline: by,
                slow_at,
                headers: &call.travelling,
                tier,
                dispatch: &dispatch,
            };
            let mut answer = path.attempt(attempt).await?;
            let mut seen = Vec::new();
            if let AnswerBody::Stream(stream) = &mut answer.body {
                read_prelude(stream, &mut seen).await?;
            }
            Ok((answer, seen))
        };
        let billing = spec.abort_billing;
        let gateway = Arc::clone(gateway);
        Self { gateway, work: Some(Box::pin(work)), reservation: Some(reservation), billing }
    }

    /// Waits for the first content until `by`. Cancel safe: a caller that leaves drops the whole.
    pub(crate) async fn first_content(&mut self, by: Instant) -> Result<Opened, Failure> {
        match &mut self.work {
            Some(work) => timeout_at(by, work).await.unwrap_or_else(|_| Err(out_of_time())),
            None => Err(out_of_time()),
        }
    }

    /// It has ended for its caller, one way or the other.
    pub(crate) fn end(mut self) -> Reservation {
        self.work = None;
        self.reservation
            .take()
            .expect("invariant: only `end`, which consumes the opening, and `drop` take it")
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        let (Some(work), Some(reservation)) = (self.work.take(), self.reservation.take()) else { return };
        if reservation.is_sent() && self.billing == AbortBilling::ContinuesAndBillsFull {
            drain::opening(&self.gateway, work, reservation);
        }
    }
}

async fn read_prelude(stream: &mut AnswerStream, seen: &mut Vec<Item>) -> Result<(), Failure> {
    let mut bytes = 0usize;
    loop {
        let Some(item) = stream.next().await? else {
            let detail = "the stream ended without content";
            return Err(Failure::network(Reason::Truncated, Class::Ambiguous, detail));
        };
        bytes = bytes.saturating_add(item.raw.len());
        if bytes > PRELUDE_BYTES_MAX {
            let detail = "no content within the first MiB";
            return Err(Failure::network(Reason::Oversized, Class::Ambiguous, detail));
        }
        let content = item.events.iter().any(outcrop_core::Event::is_content);
        seen.push(item);
        if content {
            return Ok(());
        }
    }
}

pub(crate) fn out_of_time() -> Failure {
    Failure::network(Reason::Timeout, Class::Ambiguous, "no content within the attempt's share of time")
}
