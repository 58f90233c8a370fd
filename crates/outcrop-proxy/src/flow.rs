//! A stream under way: its items, each within its time, and everything that is settled at its end.
//!
//! It ends once: by its terminal event, by a failure, or by being dropped, because its caller left. What
//! is owed then depends on what the upstream does (`AbortBilling`).

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use outcrop_core::Usage;
use outcrop_core::failure::{Class, Failure, Reason};
use outcrop_core::path::AbortBilling;
use outcrop_upstream::AnswerStream;
use outcrop_wire::Item;
use tokio::time::{Instant, timeout_at};

use crate::admit::Admission;
use crate::committed::Cut;
use crate::drain::{self, Counted};
use crate::gateway::{Gateway, Snapshot};
use crate::reserve::Reservation;
use crate::settle::{Ending, Record};
use crate::throughput::Throughput;
use crate::trial::Trial;

/// A stream under way.
pub(crate) struct Flow {
    // `None` once it was handed over to be read on.
    source: Option<Source>,
    // `None` once the exchange is settled.
    account: Option<Account>,
    counted: Counted,
    // What an attempt counted that this one continues: it is paid for by itself.
    before: Usage,
    throughput: Throughput,
    passes_raw: bool,
}

/// Items as they come from the upstream.
pub(crate) struct Source {
    pub(crate) seen: VecDeque<Item>,
    pub(crate) rest: AnswerStream,
    pub(crate) cut: Box<Cut>,
}

/// What is settled when the stream ends, however it ends.
pub(crate) struct Account {
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) record: Record,
    pub(crate) reservation: Reservation,
    pub(crate) billing: AbortBilling,
    pub(crate) admission: Admission,
    pub(crate) trial: Trial,
    /// Held to the end: a path that only this snapshot has must outlive what runs on it (I-8).
    pub(crate) snapshot: Arc<Snapshot>,
}

/// What is left of an exchange whose stream broke.
pub(crate) struct HandedOver {
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) record: Record,
    pub(crate) admission: Admission,
    /// What was counted of it.
    pub(crate) usage: Usage,
}

impl Flow {
    pub(crate) fn new(source: Source, account: Account) -> Self {
        let passes_raw = source.rest.passes_raw();
        Self {
            source: Some(source),
            account: Some(account),
            counted: Counted::default(),
            before: Usage::default(),
            throughput: Throughput::default(),
            passes_raw,
        }
    }

    /// The same, where it continues an answer of which so much was counted.
    pub(crate) fn after(mut self, before: Usage) -> Self {
        self.before = before;
        self
    }

    /// Whether the upstream's frames may pass as they are.
    pub(crate) fn passes_raw(&self) -> bool {
        self.passes_raw
    }

    /// What was counted of the answer, by all its attempts.
    pub(crate) fn usage(&self) -> Usage {
        self.counted.usage.after(self.before)
    }

    /// Whether the exchange is not settled.
    pub(crate) fn is_open(&self) -> bool {
        self.account.is_some()
    }

    /// The next item, unless an emergency stop comes before it; `None` at the upstream's end.
    pub(crate) async fn next(&mut self) -> Result<Option<Item>, Failure> {
        let (Some(source), Some(account)) = (&mut self.source, &mut self.account) else { return Ok(None) };
        let Source { seen, rest, cut } = source;
        let item = tokio::select! {
            biased;
            failure = cut.come() => Err(failure),
            item = within_its_time(seen, rest, account, &mut self.throughput) => item,
        }?;
        if let Some(item) = &item {
            self.counted.count(item);
            account.record.counted(self.counted.usage.after(self.before));
        }
        Ok(item)
    }

    /// Settles the attempt, which broke, and hands the exchange over to another one.
    pub(crate) fn hand_over(&mut self, failure: &Failure) -> Option<HandedOver> {
        let Account { gateway, record, reservation, mut trial, admission, .. } = self.account.take()?;
        self.source = None;
        trial.failed(failure);
        reservation.fail(Class::Partial);
        Some(HandedOver { gateway, record, admission, usage: self.usage() })
    }

    /// The pieces took so long to make.
    pub(crate) fn relayed(&mut self, took: Duration) {
        if let Some(account) = &mut self.account {
            account.record.relayed(took);
        }
    }

    /// Settles the exchange: answered whole, or broken off by a failure.
    pub(crate) fn close(&mut self, failure: Option<&Failure>) {
        let Some(account) = self.account.take() else { return };
        let Account { record, reservation, mut trial, admission: _admission, snapshot: _snapshot, .. } =
            account;
        let (Counted { usage, bytes, .. }, all) = (self.counted, self.usage());
        if let Some(failure) = failure {
            // What was counted so far is not what was made.
            trial.failed(failure);
            reservation.fail(failure.class);
            record.settle(&Ending::Partial { failure, usage: all });
        } else {
            trial.used(&usage);
            let cost = reservation.settle(&usage, bytes).map(|paid| paid.cost);
            record.settle(&Ending::Complete { usage: all, cost });
        }
    }

    /// Reads and drops what the upstream still sends after its terminal event, so that its connection can
    /// be used again.
    pub(crate) async fn linger(&mut self, until: Instant) {
        let Some(source) = &mut self.source else { return };
        let rest = async { while let Ok(Some(_)) = source.rest.next().await {} };
        // What is not over by then is given up with the connection.
        let _ = timeout_at(until, rest).await;
    }
}

impl Drop for Flow {
    /// The caller left.
    fn drop(&mut self) {
        let (Some(account), Some(source)) = (self.account.take(), self.source.take()) else { return };
        let Account { gateway, reservation, billing, snapshot, .. } = account;
        let Counted { usage, bytes, .. } = self.counted;
        match billing {
            AbortBilling::StopsAndBillsSeen => reservation.cut_off(&usage, bytes),
            AbortBilling::ContinuesAndBillsFull => {
                let mut counted = self.counted;
                for item in &source.seen {
                    counted.count(item);
                }
                drain::stream(&gateway, source.rest, counted, reservation, snapshot);
            }
            // Dropped, so in suspense.
            AbortBilling::Unknown => {}
        }
    }
}

async fn within_its_time(
    seen: &mut VecDeque<Item>,
    rest: &mut AnswerStream,
    account: &Account,
    throughput: &mut Throughput,
) -> Result<Option<Item>, Failure> {
    if let Some(item) = seen.pop_front() {
        return Ok(Some(item));
    }
    let limits = &account.snapshot.streams;
    let (from, floor) = (Instant::now(), limits.floor);
    let stalled = from + limits.stall_max;
    let too_slow = throughput.patience(floor).map_or(stalled, |patience| from + patience);
    let too_long = account.record.accepted() + limits.total_max;
    let stands = |detail| Err(Failure::network(Reason::Stalled, Class::Partial, detail));
    match timeout_at(stalled.min(too_slow).min(too_long), rest.next()).await {
        Ok(item) => {
            let bytes = item.as_ref().ok().and_then(Option::as_ref).map_or(0, |item| item.raw.len());
            throughput.came(floor, from.elapsed(), bytes);
            item
        }
        Err(_) if too_long <= stalled.min(too_slow) => Err(Failure::deadline("the stream lived too long")),
        Err(_) if too_slow < stalled => stands("fewer bytes than the least throughput"),
        Err(_) => stands("no byte within the stall limit"),
    }
}
