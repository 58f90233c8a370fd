//! What is owed for an answer that its caller left, where the upstream goes on and bills all of it.
//!
//! The answer is read to its end, detached from the caller, and its usage settled. Bounded in number
//! and time: what is not known by then stays in suspense.

use std::sync::Arc;
use std::time::Duration;

use outcrop_core::{Event, Failure, Usage};
use outcrop_upstream::{Answer, AnswerBody, AnswerStream};
use outcrop_wire::Item;
use tokio::runtime::Handle;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout_at};

use crate::gateway::{Gateway, Snapshot};
use crate::optional::Work;
use crate::reserve::Reservation;

/// Longest reading of a stream that its caller left.
const DRAIN_MAX: Duration = Duration::from_mins(1);

/// An answer, and what was read of it up to its first content.
pub(crate) type Opened = (Answer, Vec<Item>);

/// What is counted of a stream so far.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counted {
    pub(crate) usage: Usage,
    pub(crate) bytes: u64,
    pub(crate) done: bool,
}

impl Counted {
    /// Counts one item.
    pub(crate) fn count(&mut self, item: &Item) {
        self.bytes = self.bytes.saturating_add(item.raw.len() as u64);
        for event in &item.events {
            match event {
                Event::Usage(usage) => self.usage.merge(*usage),
                Event::Done => self.done = true,
                _ => {}
            }
        }
    }
}

/// Reads on a stream of which `counted` has been read. `snapshot` keeps its path alive.
pub(crate) fn stream(
    gateway: &Arc<Gateway>,
    mut rest: AnswerStream,
    counted: Counted,
    reservation: Reservation,
    snapshot: Arc<Snapshot>,
) {
    let Some(permit) = room(gateway) else { return };
    gateway.connections.spawn(async move {
        let _held = (permit, snapshot);
        finish(&mut rest, counted, reservation, Instant::now() + DRAIN_MAX).await;
    });
}

/// Reads on a try whose caller left before its first content. It ends by its own deadline.
pub(crate) fn opening(
    gateway: &Arc<Gateway>,
    work: impl Future<Output = Result<Opened, Failure>> + Send + 'static,
    reservation: Reservation,
) {
    let Some(permit) = room(gateway) else { return };
    gateway.connections.spawn(async move {
        let _held = permit;
        let (answer, seen) = match work.await {
            Ok(opened) => opened,
            Err(failure) => return reservation.fail(failure.class),
        };
        match answer.body {
            AnswerBody::Whole(whole) => {
                reservation.settle(&whole.reply.usage(), u64::MAX);
            }
            AnswerBody::Stream(mut rest) => {
                let mut counted = Counted::default();
                for item in &seen {
                    counted.count(item);
                }
                finish(&mut rest, counted, reservation, Instant::now() + DRAIN_MAX).await;
            }
        }
    });
}

/// `None` when as many are read on as may be, memory is short, or the process is ending.
fn room(gateway: &Gateway) -> Option<OwnedSemaphorePermit> {
    Handle::try_current().ok()?;
    if !gateway.does(Work::ReadingOn) {
        return None;
    }
    Arc::clone(&gateway.drains).try_acquire_owned().ok()
}

async fn finish(rest: &mut AnswerStream, mut counted: Counted, reservation: Reservation, until: Instant) {
    while !counted.done {
        match timeout_at(until, rest.next()).await {
            Ok(Ok(Some(item))) => counted.count(&item),
            // A clean end.
            Ok(Ok(None)) => break,
            // Dropped, so in suspense.
            Ok(Err(_)) | Err(_) => return,
        }
    }
    reservation.settle(&counted.usage, counted.bytes);
}
