//! Sends requests when they are due, over as many connections as that takes.
//!
//! A thread of its own keeps the times, because a runtime's timer is a millisecond coarse and waits for its turn.
//! Memory is bounded by [`Setting::in_flight_max`]: what is due beyond it is not sent, and counted as such.

use std::{
    io,
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::{
    runtime::Handle,
    sync::{Semaphore, oneshot},
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    call::Mix,
    client::{Client, ClientError, Ending, Heard, Route},
    credential::Credential,
    schedule::Schedule,
};

/// Longest sleep of the timing thread, so that it sees a stop.
const NAP_MAX: Duration = Duration::from_millis(50);

/// What stays the same for all phases of a run.
#[derive(Debug, Clone)]
pub struct Setting {
    /// Base address, for instance `http://127.0.0.1:8080`.
    pub base: String,
    /// Who asks.
    pub credential: Credential,
    /// Seed of all draws.
    pub seed: u64,
    /// From due to end; what takes longer is given up.
    pub patience: Duration,
    /// Requests in flight at most.
    pub in_flight_max: usize,
}

/// One stretch of requests.
#[derive(Debug)]
pub struct Phase {
    /// Its number, for the samples.
    pub number: u16,
    /// When requests are due, from the phase's beginning.
    pub schedule: Schedule,
    /// What is asked.
    pub mix: Arc<Mix>,
}

/// What became of one request that was due.
#[derive(Debug, Clone)]
pub struct Sample {
    /// Number of the request in its run, from 0.
    pub n: u64,
    /// Number of its phase.
    pub phase: u16,
    /// Which kind of the phase's mix it was.
    pub call: usize,
    /// When it was due, from the run's beginning.
    pub due: Duration,
    /// How much later it was begun.
    pub lag: Duration,
    /// From due to its end.
    pub latency: Duration,
    /// From due to its first content, if any came.
    pub first: Option<Duration>,
    /// How it ended; absent if it was not sent, because too many were in flight.
    pub ending: Option<Ending>,
    /// The way it came.
    pub route: Route,
}

/// Takes samples as they end, from many tasks at once.
pub trait Observer: Send + Sync + 'static {
    /// One request ended, or was not sent.
    fn observe(&self, sample: Sample);
}

/// Why requests cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum DriveError {
    /// No client.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// No thread.
    #[error("the timing thread cannot be started: {0}")]
    Thread(#[from] io::Error),
}

/// A run: phases one after the other, while earlier requests may still be in flight.
#[derive(Debug)]
pub struct Driver {
    shared: Arc<Shared>,
    tasks: TaskTracker,
    sent: u64,
}

struct Shared {
    setting: Setting,
    client: Client,
    observer: Arc<dyn Observer>,
    room: Arc<Semaphore>,
    /// Ends everything at once.
    stop: CancellationToken,
    origin: Instant,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("setting", &self.setting).finish_non_exhaustive()
    }
}

/// Everything one request needs.
struct Due {
    n: u64,
    phase: u16,
    call: usize,
    at: Instant,
}

impl Driver {
    /// A run that begins now. Cancelling `stop` ends it at once; what is in flight is dropped and not observed.
    pub fn new(
        setting: Setting,
        observer: Arc<dyn Observer>,
        stop: CancellationToken,
    ) -> Result<Self, DriveError> {
        let shared = Shared {
            client: Client::new()?,
            room: Arc::new(Semaphore::new(setting.in_flight_max.min(Semaphore::MAX_PERMITS))),
            setting,
            observer,
            stop,
            origin: Instant::now(),
        };
        Ok(Self { shared: Arc::new(shared), tasks: TaskTracker::new(), sent: 0 })
    }

    /// Seconds of the run's own time.
    pub fn elapsed(&self) -> Duration {
        self.shared.origin.elapsed()
    }

    /// Requests in flight.
    pub fn in_flight(&self) -> usize {
        self.tasks.len()
    }

    /// Sends all requests of a phase; returns when the last is sent, not when it is answered.
    pub async fn play(&mut self, phase: Phase) -> Result<(), DriveError> {
        let (done, ended) = oneshot::channel();
        let (shared, tasks, handle) = (Arc::clone(&self.shared), self.tasks.clone(), Handle::current());
        let first = self.sent;
        std::thread::Builder::new().name("load-times".to_owned()).spawn(move || {
            // A receiver that is gone wants no count.
            let _ = done.send(keep_times(phase, first, &shared, &tasks, &handle));
        })?;
        // A thread that is gone has sent nothing more.
        self.sent = ended.await.unwrap_or(first);
        Ok(())
    }

    /// Waits until every request has ended.
    pub async fn drain(&self) {
        self.tasks.close();
        self.tasks.wait().await;
        self.tasks.reopen();
    }
}

/// The timing thread: spawns each request when it is due. Returns the number of the next request.
fn keep_times(phase: Phase, first: u64, shared: &Arc<Shared>, tasks: &TaskTracker, handle: &Handle) -> u64 {
    let began = Instant::now();
    let Phase { number, schedule, mix } = phase;
    let mut n = first;
    for offset in schedule {
        let at = began + offset;
        if !wait_until(at, &shared.stop) {
            break;
        }
        let due = Due { n, phase: number, call: mix.pick(shared.setting.seed, n), at };
        n += 1;
        match Arc::clone(&shared.room).try_acquire_owned() {
            Ok(permit) => {
                let (shared, mix) = (Arc::clone(shared), Arc::clone(&mix));
                tasks.spawn_on(
                    async move {
                        let _permit = permit;
                        tokio::select! {
                            () = shared.stop.cancelled() => {}
                            () = ask(&shared, &mix, due) => {}
                        }
                    },
                    handle,
                );
            }
            Err(_) => shared.observer.observe(due.unsent(shared.origin)),
        }
    }
    n
}

/// Sleeps until a moment; returns false if the run is stopped meanwhile.
fn wait_until(at: Instant, stop: &CancellationToken) -> bool {
    loop {
        if stop.is_cancelled() {
            return false;
        }
        let left = at.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return true;
        }
        std::thread::sleep(left.min(NAP_MAX));
    }
}

async fn ask(shared: &Shared, mix: &Mix, due: Due) {
    let begun = Instant::now();
    let Some(call) = mix.call(due.call) else { return };
    let heard = match call.request(&shared.setting.base, due.n) {
        Ok(mut request) => {
            let body = request.body().clone();
            match shared.setting.credential.put(&mut request, &body, signing_time()) {
                Ok(()) => shared.client.ask(call, request, due.at + shared.setting.patience).await,
                Err(error) => failed(error.to_string()),
            }
        }
        Err(error) => failed(error.to_string()),
    };
    let sample = Sample {
        n: due.n,
        phase: due.phase,
        call: due.call,
        due: due.at - shared.origin,
        lag: begun - due.at,
        latency: due.at.elapsed(),
        first: heard.first.map(|first| first - due.at),
        ending: Some(heard.ending),
        route: heard.route,
    };
    shared.observer.observe(sample);
}

fn failed(reason: String) -> Heard {
    Heard { ending: Ending::Broken(reason), first: None, route: Route::default() }
}

fn signing_time() -> SystemTime {
    crate::clock::now()
}

impl Due {
    fn unsent(self, origin: Instant) -> Sample {
        Sample {
            n: self.n,
            phase: self.phase,
            call: self.call,
            due: self.at - origin,
            lag: Duration::ZERO,
            latency: Duration::ZERO,
            first: None,
            ending: None,
            route: Route::default(),
        }
    }
}
