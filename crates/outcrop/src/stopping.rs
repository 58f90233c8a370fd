//! The emergency stop of a process: orders come in, the gate obeys at once, the register remembers.
//!
//! A stop is in force before it is journalled and journalled before it is acknowledged; a resume is
//! journalled before it takes effect. All of it runs on the admin listener's thread, which answers
//! when the data plane is busy. Orders come from the operator's API, from the register (other
//! replicas), from the triggers in the gate, and from a file.

mod file;
mod journal;
mod keeper;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use outcrop_admin::stops::{Answering, NotDone, ResumeOrder, StopOrder, Stopping, may_order};
use outcrop_policy::stops::{Kept, LEVELS, Level};
use outcrop_policy::{Scope, Stop};
use outcrop_proxy::Gateway;
use outcrop_store::{Administrator, Register};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use self::journal::Journal;
use self::keeper::{Command, Keeper};
use crate::clock::unix_ms;
use crate::config::{StopRules, beside};

/// Orders that may wait for the keeper.
const WAITING_MAX: usize = 64;
/// Longest wait for an order to be carried out; two changes of the register fit in.
const DONE_MAX: Duration = Duration::from_secs(11);
/// Longest name or reason, in characters.
const TEXT_CHARS_MAX: usize = 300;

/// The operator's handle.
pub(crate) struct Stopper {
    gateway: Arc<Gateway>,
    journal: Journal,
    // Whether the register outlives the process.
    is_kept: bool,
    commands: mpsc::Sender<Command>,
}

/// Puts in force what the register and the file say, and gives the handle and the work that goes on.
/// `base` is the configuration file; the register says whether it outlives the process.
pub(crate) fn start(
    rules: &StopRules,
    base: &Path,
    gateway: &Arc<Gateway>,
    (register, is_kept): (Register, bool),
) -> (Arc<Stopper>, impl Future<Output = ()> + Send + use<>) {
    gateway.stops.set_triggers(rules.triggers.iter().cloned());
    let journal = Journal::new(register);
    let (commands, orders) = mpsc::channel(WAITING_MAX);
    let keeper = Keeper::new(rules, Arc::clone(gateway), journal.clone(), orders);
    keeper.follow();
    let file = rules.file.as_ref().map(|file| beside(base, file));
    if let Some(file) = &file {
        file::apply(gateway, file, file::read(file));
    }
    let stopper = Stopper { gateway: Arc::clone(gateway), journal, is_kept, commands };
    let (for_file, for_children) = (Arc::clone(gateway), Arc::clone(gateway));
    let work = async move {
        let watching = async {
            if let Some(file) = file {
                file::watch(&for_file, file).await;
            }
        };
        tokio::join!(keeper.run(), watching, keeper::end_children(&for_children));
    };
    (Arc::new(stopper), work)
}

impl Stopping for Stopper {
    fn list(&self) -> Value {
        let now_ms = unix_ms();
        let in_force = self.gateway.stops.in_force();
        let shown = in_force.held().iter().map(|held| {
            let mut shown = json!(held);
            if let Some(staged) = held.stop.staged {
                shown["percent"] = staged.percent(now_ms).into();
            }
            if let Some(ask) = self.journal.asked(&held.stop.id) {
                shown["resume_asked_by"] = ask.by.into();
            }
            shown
        });
        Value::Array(shown.collect())
    }

    fn stop(&self, order: StopOrder, who: Administrator) -> Answering {
        let raised = self.raise(&order, &who);
        let (commands, is_kept) = (self.commands.clone(), self.is_kept);
        Box::pin(async move {
            let stop = raised?;
            let (done, told) = oneshot::channel();
            let sent = commands.try_send(Command::Journal { id: stop.id.clone(), done });
            let journalled = match sent {
                Ok(()) => matches!(tokio::time::timeout(DONE_MAX, told).await, Ok(Ok(true))),
                Err(_) => false,
            };
            let durable = journalled && is_kept;
            let mut answer = json!({"stop": stop, "in_force": true, "durable": durable});
            if !journalled {
                answer["message"] = "The stop is in force, but it is not journalled: it would not survive \
                                     this process. It is tried again every second."
                    .into();
            } else if !is_kept {
                answer["message"] = "The stop is in force as long as this process lives: without a \
                                     `[store]` nothing outlives it."
                    .into();
            }
            Ok(answer)
        })
    }

    fn resume(&self, order: ResumeOrder, who: Administrator) -> Answering {
        let commands = self.commands.clone();
        Box::pin(async move {
            let (done, told) = oneshot::channel();
            let sent = commands.try_send(Command::Resume { order, who, done });
            sent.map_err(|_| busy())?;
            match tokio::time::timeout(DONE_MAX, told).await {
                Ok(Ok(answer)) => answer,
                Ok(Err(_)) | Err(_) => Err(busy()),
            }
        })
    }
}

impl Stopper {
    /// Reads an order and puts it in force.
    fn raise(&self, order: &StopOrder, who: &Administrator) -> Result<Stop, NotDone> {
        let now_ms = unix_ms();
        let scope = scope(order.scope.as_deref())?;
        may_order(who, &scope)?;
        let stop = Stop {
            id: format!("{now_ms:x}-{:04x}", rand::random::<u16>()),
            scope,
            level: order.level.unwrap_or(Level::Stop),
            by: plain(&who.name),
            reason: plain(order.reason.as_deref().unwrap_or("no reason was given")),
            since_ms: now_ms,
            staged: None,
        };
        let raised = self.gateway.stops.raise(stop.clone());
        raised.map_err(|error| NotDone::new(StatusCode::CONFLICT, error.to_string()))?;
        tracing::error!(
            stop = stop.id, scope = %stop.scope, level = stop.level.label(), by = stop.by,
            reason = stop.reason, "emergency stop"
        );
        Ok(stop)
    }
}

/// The scope of an order; everything if it names none.
fn scope(text: Option<&str>) -> Result<Scope, NotDone> {
    let parsed = Scope::parse(text.unwrap_or("all"));
    parsed.map_err(|error| NotDone::new(StatusCode::BAD_REQUEST, error.to_string()))
}

fn busy() -> NotDone {
    let text = "The order was not carried out in time; look at the list of stops, then try again.";
    NotDone::new(StatusCode::SERVICE_UNAVAILABLE, text)
}

/// A name or a reason as it may stand in a log and in an answer.
fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(TEXT_CHARS_MAX).collect()
}

/// The level of that name.
fn level(text: &str) -> Option<Level> {
    LEVELS.into_iter().find(|level| level.label() == text)
}

/// Whether a stop is one that an order cannot take back.
fn follows_file(id: &str, kept: Kept) -> bool {
    kept == Kept::Outside && id == file::ID
}

#[cfg(test)]
mod tests;
