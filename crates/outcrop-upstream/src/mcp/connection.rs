//! The connection to one server: made when first needed, by one task, shared by all.
//!
//! Who needs it joins the attempt under way and leaves when its own deadline passes; the attempt
//! goes on for the others. A stdio server that ends is started again after a pause that grows, one
//! that talks garbage after a longer one. Nothing is ever sent twice here.

use std::sync::Arc;
use std::time::Duration;

use outcrop_core::{Class, Failure, Reason};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::task::TaskTracker;

use super::board::{Board, Dropped};
use super::live::{Endpoint, Era, Live};
use crate::spec::Progress;

/// A child that lived so long has its earlier ends forgiven.
const SETTLED_AFTER: Duration = Duration::from_secs(30);
const PAUSE_FIRST: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// Pause for a child that was stopped for garbage.
const QUARANTINE: Duration = Duration::from_secs(30);
/// A pause no longer than this is waited out instead of refused.
const PATIENCE: Duration = Duration::from_secs(1);

type Outcome = Result<Arc<Live>, Failure>;

/// The connection to one server.
#[derive(Debug, Clone)]
pub(crate) struct Connection {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    name: Arc<str>,
    endpoint: Endpoint,
    progress: Progress,
    dropped: Arc<Dropped>,
    tasks: TaskTracker,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    phase: Phase,
    era: Option<Era>,
    ends: u32,
    not_before: Option<Instant>,
}

#[derive(Debug, Default)]
enum Phase {
    #[default]
    Idle,
    Opening(watch::Receiver<Option<Outcome>>),
    Up(Arc<Live>),
    Closed,
}

enum Joined {
    Up(Arc<Live>),
    Opening(watch::Receiver<Option<Outcome>>),
}

impl Connection {
    pub(crate) fn new(name: &Arc<str>, endpoint: Endpoint, progress: Progress, tasks: &TaskTracker) -> Self {
        let shared = Shared {
            name: Arc::clone(name),
            endpoint,
            progress,
            dropped: Arc::default(),
            tasks: tasks.clone(),
            state: Mutex::default(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// What the server sent in vain.
    pub(crate) fn dropped(&self) -> &Arc<Dropped> {
        &self.shared.dropped
    }

    /// The connection, made if there is none. A failure proves that nothing was sent.
    pub(crate) async fn live(&self, deadline: Instant) -> Outcome {
        let mut opening = match self.join(Instant::now())? {
            Joined::Up(live) => return Ok(live),
            Joined::Opening(opening) => opening,
        };
        match timeout_at(deadline, opening.wait_for(Option::is_some)).await {
            Ok(Ok(outcome)) => outcome.clone().unwrap_or_else(|| Err(closed())),
            Ok(Err(_)) => {
                let detail = "the attempt to connect ended without an outcome";
                Err(Failure::network(Reason::Connect, Class::NotSent, detail))
            }
            Err(_) => {
                let detail = "the connection was not ready before the deadline";
                Err(Failure::network(Reason::Timeout, Class::NotSent, detail))
            }
        }
    }

    /// Gives up a connection whose session is lost, so that the next call makes another.
    pub(crate) fn retire(&self, lost: &Arc<Live>) {
        let mut state = self.shared.state.lock();
        if matches!(&state.phase, Phase::Up(live) if Arc::ptr_eq(live, lost)) {
            state.phase = Phase::Idle;
        }
        drop(state);
        let lost = Arc::clone(lost);
        self.shared.tasks.spawn(async move { lost.close().await });
    }

    /// Kills the server if it is a process of our own; whoever needs it next starts another.
    pub(crate) fn kill(&self) {
        self.shared.endpoint.kill();
    }

    /// Ends the connection for good.
    pub(crate) async fn close(&self) {
        let phase = std::mem::replace(&mut self.shared.state.lock().phase, Phase::Closed);
        if let Phase::Up(live) = phase {
            live.close().await;
        }
    }

    fn join(&self, now: Instant) -> Result<Joined, Failure> {
        let mut state = self.shared.state.lock();
        match &state.phase {
            Phase::Up(live) if live.is_open() => return Ok(Joined::Up(Arc::clone(live))),
            // A closed one belongs to an attempt that ended without a word.
            Phase::Opening(opening) if opening.has_changed().is_ok() => {
                return Ok(Joined::Opening(opening.clone()));
            }
            Phase::Closed => return Err(closed()),
            Phase::Up(live) => {
                let live = Arc::clone(live);
                state.phase = Phase::Idle;
                if self.shared.endpoint.is_child() {
                    state.note_end(&live, now);
                }
            }
            Phase::Idle | Phase::Opening(_) => {}
        }
        let pause = state.not_before.map_or(Duration::ZERO, |at| at.duration_since(now));
        if pause > PATIENCE {
            return Err(resting(pause));
        }
        let (tell, told) = watch::channel(None);
        state.phase = Phase::Opening(told.clone());
        let era = state.era;
        let shared = Arc::clone(&self.shared);
        self.shared.tasks.spawn(async move {
            tokio::time::sleep(pause).await;
            let outcome = shared.open(era).await;
            tell.send_replace(Some(shared.opened(outcome).await));
        });
        Ok(Joined::Opening(told))
    }
}

impl Shared {
    /// Tries the era that worked last, or the newer one, and then the other.
    async fn open(&self, known: Option<Era>) -> Outcome {
        let first = known.unwrap_or(Era::Stateless);
        let mut failed = None;
        for era in [first, first.other()] {
            let limit = self.endpoint.handshake_time(era);
            let board = Board::new(self.progress, &self.dropped);
            let live = Live::open(&self.name, &self.endpoint, board, era, &self.tasks);
            match timeout(limit, live).await {
                Ok(Ok(live)) => return Ok(Arc::new(live)),
                Ok(Err(failure)) if !may_be_era(&failure) => return Err(failure),
                Ok(Err(failure)) => failed = Some(failure),
                Err(_) => {
                    let detail = format!("no handshake within {limit:?}");
                    failed = Some(Failure::network(Reason::Timeout, Class::NotSent, detail));
                }
            }
        }
        Err(failed.unwrap_or_else(closed))
    }

    /// Files what came of it.
    async fn opened(&self, outcome: Outcome) -> Outcome {
        let unwanted = {
            let mut state = self.state.lock();
            let closing = matches!(state.phase, Phase::Closed);
            match &outcome {
                Ok(live) if closing => Some(Arc::clone(live)),
                Ok(live) => {
                    state.era = Some(live.era());
                    state.phase = Phase::Up(Arc::clone(live));
                    None
                }
                Err(_) => {
                    if !closing {
                        state.phase = Phase::Idle;
                    }
                    if self.endpoint.is_child() {
                        state.pause(Instant::now());
                    }
                    None
                }
            }
        };
        match unwanted {
            Some(live) => {
                live.close().await;
                Err(closed())
            }
            None => outcome,
        }
    }
}

impl State {
    fn note_end(&mut self, live: &Live, now: Instant) {
        let (reason, at) = live.board().ended().unwrap_or((Reason::Reset, now));
        if at.duration_since(live.since()) >= SETTLED_AFTER {
            self.ends = 0;
        }
        self.pause(at);
        if reason == Reason::Garbled {
            self.not_before = Some(at + QUARANTINE);
        }
    }

    fn pause(&mut self, from: Instant) {
        let doubled = PAUSE_FIRST.saturating_mul(2_u32.saturating_pow(self.ends));
        self.ends = self.ends.saturating_add(1);
        self.not_before = Some(from + doubled.min(PAUSE_MAX));
    }
}

/// Whether the server may only not speak this era; what says that it is down, busy or closed to us
/// would say the same in the other.
fn may_be_era(failure: &Failure) -> bool {
    !matches!(
        failure.reason,
        Reason::Dns
            | Reason::Connect
            | Reason::Tls
            | Reason::NoCredentials
            | Reason::CredentialsRefused
            | Reason::Forbidden
            | Reason::Throttled
            | Reason::Unavailable
    )
}

fn closed() -> Failure {
    Failure::network(Reason::Connect, Class::NotSent, "the path is being closed")
}

fn resting(pause: Duration) -> Failure {
    let detail = format!("the server process is not started again for {pause:?}");
    Failure { retry_after: Some(pause), ..Failure::network(Reason::Connect, Class::NotSent, detail) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mcp::stdio::Program;

    #[tokio::test]
    async fn an_attempt_that_died_does_not_stand_in_the_way_of_the_next() {
        let endpoint = Endpoint::Stdio(Program {
            command: vec!["/nonexistent".into()],
            env: Vec::new(),
            kill: Arc::default(),
        });
        let tasks = TaskTracker::new();
        let connection = Connection::new(&Arc::from("desk"), endpoint, Progress::LifeSign, &tasks);
        connection.shared.state.lock().phase = Phase::Opening(watch::channel(None).1);
        let failure = connection.live(Instant::now() + Duration::from_mins(1)).await.unwrap_err();
        assert_eq!((failure.class, failure.reason), (Class::NotSent, Reason::Connect));
        let state = connection.shared.state.lock();
        assert!(matches!(state.phase, Phase::Idle), "{:?}", state.phase);
        assert_eq!(state.ends, 1, "the program was tried");
    }
}
