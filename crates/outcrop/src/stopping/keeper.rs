//! The one task that writes stops to the register and takes them back, so that no two changes cross.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use outcrop_admin::stops::{NotDone, ResumeOrder, may_order};
use outcrop_policy::stops::{Held, Kept, Level, Staged};
use outcrop_policy::{Scope, Stop};
use outcrop_proxy::Gateway;
use outcrop_store::{Administrator, StoreError};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio::time::MissedTickBehavior;

use super::journal::{Ask, Journal, Read};
use super::{follows_file, plain, scope};
use crate::clock::unix_ms;
use crate::config::StopRules;

/// The id of the stop that stands for documents which cannot be read.
pub(super) const UNREADABLE: &str = "unreadable";
/// How often what could not be journalled is tried again, and the staged are looked at.
const AGAIN_EVERY: Duration = Duration::from_secs(1);
/// How often children are killed while a kill is in force: one that was starting has ended then.
const CHILDREN_EVERY: Duration = Duration::from_millis(250);
/// An unconfirmed request to resume counts for so long.
const ASK_MS_MAX: u64 = 3_600_000;

/// What the keeper is asked for.
pub(super) enum Command {
    /// To journal a stop, and to tell whether it is durable.
    Journal { id: String, done: oneshot::Sender<bool> },
    /// To resume.
    Resume { order: ResumeOrder, who: Administrator, done: oneshot::Sender<Result<Value, NotDone>> },
}

/// Writes stops and takes them back.
pub(super) struct Keeper {
    gateway: Arc<Gateway>,
    journal: Journal,
    orders: mpsc::Receiver<Command>,
    two_person: bool,
    staged_over_ms: u64,
}

impl Keeper {
    pub(super) fn new(
        rules: &StopRules,
        gateway: Arc<Gateway>,
        journal: Journal,
        orders: mpsc::Receiver<Command>,
    ) -> Self {
        let staged_over_ms = u64::try_from(rules.staged_over.as_millis()).unwrap_or(u64::MAX);
        Self { gateway, journal, orders, two_person: rules.two_person_resume, staged_over_ms }
    }

    /// Works until nobody can give an order any more.
    pub(super) async fn run(mut self) {
        let mut documents = self.journal.watch();
        let mut in_force = self.gateway.stops.watch();
        let mut tick = tokio::time::interval(AGAIN_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // What was written since the start and before the watch.
        self.follow();
        loop {
            tokio::select! {
                order = self.orders.recv() => match order {
                    Some(order) => self.obey(order).await,
                    None => return,
                },
                changed = documents.changed() => match changed {
                    Ok(()) => self.follow(),
                    Err(_) => return,
                },
                // Triggers put stops in force that nobody has journalled.
                _ = in_force.changed() => self.journal_pending().await,
                _ = tick.tick() => {
                    self.journal_pending().await;
                    self.end_staged().await;
                }
            }
        }
    }

    /// Puts in force what the register says. What cannot be read stops everything.
    pub(super) fn follow(&self) {
        let Read { stops, unreadable } = self.journal.read();
        let unreadable = (!unreadable.is_empty()).then(|| unreadable_stop(&unreadable));
        if let Some(stop) = &unreadable
            && self.gateway.stops.in_force().get(UNREADABLE).is_none()
        {
            tracing::error!(reason = stop.reason, "stops cannot be read, so everything is stopped");
        }
        self.gateway.stops.change(|set| {
            set.follow(stops);
            match unreadable {
                // Everything can always be stopped.
                Some(stop) => {
                    let _ = set.put(stop, Kept::Outside);
                }
                None => set.remove(UNREADABLE),
            }
        });
    }

    async fn obey(&mut self, order: Command) {
        // Whoever left does not hear of it; it is done all the same.
        match order {
            Command::Journal { id, done } => {
                self.journal_pending().await;
                let kept = self.gateway.stops.in_force().get(&id).map(|held| held.kept);
                let _ = done.send(kept == Some(Kept::Durable));
            }
            Command::Resume { order, who, done } => {
                let _ = done.send(self.resume(&order, &who).await);
            }
        }
    }

    async fn journal_pending(&self) {
        let pending: Vec<Stop> = self.gateway.stops.in_force().pending().cloned().collect();
        for stop in pending {
            match self.journal.put(&stop).await {
                Ok(()) => self.follow(),
                Err(error) => {
                    tracing::error!(stop = stop.id, %error, "a stop is in force and not journalled");
                    return;
                }
            }
        }
    }

    /// Takes out the stops that let everybody in by now.
    async fn end_staged(&self) {
        let now_ms = unix_ms();
        let over: Vec<Held> = (self.gateway.stops.in_force().held().iter())
            .filter(|held| held.stop.staged.is_some_and(|staged| staged.is_over(now_ms)))
            .cloned()
            .collect();
        for held in over {
            if let Err(error) = self.take_back(&held.stop).await {
                tracing::warn!(stop = held.stop.id, %error, "a resumed stop is not taken back yet");
            }
        }
    }

    async fn resume(&self, order: &ResumeOrder, who: &Administrator) -> Result<Value, NotDone> {
        let meant = self.meant(order)?;
        meant.iter().try_for_each(|stop| may_order(who, &stop.scope))?;
        let by = plain(&who.name);
        let (mut resumed, mut staged, mut asked) = (Vec::new(), Vec::new(), Vec::new());
        for stop in meant {
            let id = stop.id.clone();
            let stepwise = match self.confirmed(&stop, order.staged, &by).await? {
                Confirmed::Yes { staged } => staged,
                Confirmed::Asked => {
                    asked.push(id);
                    continue;
                }
            };
            if stepwise && id != UNREADABLE {
                self.let_in(stop).await.map_err(|error| not_journalled(&error))?;
                staged.push(id.clone());
            } else {
                self.take_back(&stop).await.map_err(|error| not_journalled(&error))?;
                resumed.push(id.clone());
            }
            tracing::warn!(stop = id, by = by, staged = stepwise, "emergency stop resumed");
        }
        let mut answer = json!({"resumed": resumed, "staged": staged, "asked": asked});
        if !asked.is_empty() {
            answer["message"] = "Another person has to confirm: the same order by somebody else.".into();
        }
        Ok(answer)
    }

    /// The stops that an order speaks of.
    fn meant(&self, order: &ResumeOrder) -> Result<Vec<Stop>, NotDone> {
        let wanted = scope(order.scope.as_deref())?;
        let in_force = self.gateway.stops.in_force();
        let fits = |held: &&Held| match &order.id {
            Some(id) => held.stop.id == *id,
            None => held.stop.scope == wanted,
        };
        let (file, meant): (Vec<&Held>, Vec<&Held>) =
            in_force.held().iter().filter(fits).partition(|held| follows_file(&held.stop.id, held.kept));
        if !meant.is_empty() {
            return Ok(meant.into_iter().map(|held| held.stop.clone()).collect());
        }
        if !file.is_empty() {
            let text = "This stop follows the stop file; remove the file.";
            return Err(NotDone::new(StatusCode::CONFLICT, text));
        }
        let all: Vec<String> =
            in_force.held().iter().map(|held| format!("{} ({})", held.stop.id, held.stop.scope)).collect();
        let all = if all.is_empty() { "nothing is stopped".to_owned() } else { all.join(", ") };
        Err(NotDone::new(StatusCode::NOT_FOUND, format!("There is no such stop; in force: {all}.")))
    }

    /// Whether enough people want it.
    async fn confirmed(&self, stop: &Stop, staged: bool, by: &str) -> Result<Confirmed, NotDone> {
        if !self.two_person {
            return Ok(Confirmed::Yes { staged });
        }
        let now_ms = unix_ms();
        let fresh = |ask: &Ask| now_ms.saturating_sub(ask.at_ms) < ASK_MS_MAX;
        match self.journal.asked(&stop.id).filter(fresh) {
            Some(ask) if ask.by == by => {
                let text = format!("{by} has asked already; another person has to confirm.");
                Err(NotDone::new(StatusCode::CONFLICT, text))
            }
            Some(ask) => Ok(Confirmed::Yes { staged: ask.staged }),
            None => {
                let ask = Ask { by: by.to_owned(), at_ms: now_ms, staged };
                self.journal.ask(&stop.id, &ask).await.map_err(|error| not_journalled(&error))?;
                Ok(Confirmed::Asked)
            }
        }
    }

    /// Begins a staged resume.
    async fn let_in(&self, mut stop: Stop) -> Result<(), StoreError> {
        stop.staged = Some(Staged { since_ms: unix_ms(), over_ms: self.staged_over_ms });
        self.journal.put(&stop).await?;
        self.follow();
        Ok(())
    }

    /// Takes a stop back, first where it is written.
    async fn take_back(&self, stop: &Stop) -> Result<(), StoreError> {
        if stop.id == UNREADABLE {
            for id in self.journal.read().unreadable {
                self.journal.remove(&id).await?;
            }
        }
        self.journal.remove(&stop.id).await?;
        self.gateway.stops.change(|stops| stops.remove(&stop.id));
        self.follow();
        Ok(())
    }
}

/// Whether a resume may take effect.
enum Confirmed {
    Yes { staged: bool },
    Asked,
}

fn not_journalled(error: &StoreError) -> NotDone {
    let text = format!("Nothing is resumed, because it cannot be journalled: {error}");
    NotDone::new(StatusCode::SERVICE_UNAVAILABLE, text)
}

fn unreadable_stop(ids: &[String]) -> Stop {
    Stop {
        id: UNREADABLE.to_owned(),
        scope: Scope::all(),
        level: Level::Drain,
        by: "gateway".to_owned(),
        reason: format!(
            "{} stop(s) in the register cannot be read; `outcrop resume {UNREADABLE}` discards them",
            ids.len()
        ),
        since_ms: unix_ms(),
        staged: None,
    }
}

/// Ends the children of the paths that a kill covers, and again as long as it is in force.
pub(super) async fn end_children(gateway: &Gateway) {
    let mut in_force = gateway.stops.watch();
    loop {
        let stops = Arc::clone(&in_force.borrow_and_update());
        let kills = stops.held().iter().map(|held| &held.stop);
        let kills: Vec<&Stop> =
            kills.filter(|stop| stop.level == Level::Kill && stop.staged.is_none()).collect();
        for stop in &kills {
            gateway.kill_children(stop);
        }
        if kills.is_empty() {
            if in_force.changed().await.is_err() {
                return;
            }
        } else {
            // Either way it is time to look again.
            let _ = tokio::time::timeout(CHILDREN_EVERY, in_force.changed()).await;
        }
    }
}
