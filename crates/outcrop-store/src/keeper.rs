//! The keeper: it carries the ledger's reports to the store and brings the answers back.
//!
//! One task per process. It is woken when somebody waits for a lease, gathers settlements for a
//! moment, and beats once a second. A report that failed is sent again as it is; meanwhile nothing new
//! is admitted beyond what the leases hold, and whoever waits is told at once (I-4: nobody waits for
//! the disk who need not). Service resumes by itself.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use outcrop_policy::Ledger;
use outcrop_policy::ledger::{Answer, BudgetSpec, Crossing, LedgerClock, Now, Report};
use tokio::sync::{Notify, broadcast, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::allocate::{Beat, Beginning, Begun};
use crate::dispatch::{DispatchLog, Recovered};
use crate::{EngineKind, Store, StoreError, machine};

/// How often a replica is heard at least.
pub const HEARTBEAT: Duration = Duration::from_secs(1);
/// How often it is looked whether a lease runs low.
const LOOK: Duration = Duration::from_millis(20);
/// How long settlements are gathered at most. After each report the request path finds what it debits in
/// the cache of another core, so reports are not more frequent than they need to be.
pub const GATHER: Duration = Duration::from_millis(100);
/// How long the leases of one of several replicas may be used after it was heard: two seconds, less
/// one hundredth, by which its clock may be slow.
pub const LEASES_VALID: Duration = Duration::from_millis(1_980);
/// After this time without an answer the store counts as not available.
const STALLED_AFTER: Duration = Duration::from_secs(1);
/// Pause before a failed report is sent again: at first, and at most.
const PAUSES: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(200));
/// Tries of a report once the keeper is to end.
const LAST_TRIES: usize = 10;
/// Heartbeats between two looks for what is older than the retention.
const BEATS_PER_PRUNING: u32 = 60;
/// Crossings that a slow listener may be behind.
const CROSSINGS_BEHIND_MAX: usize = 1024;
/// Records of the dispatch log that are wiped after a heartbeat at most.
const TIDIED_PER_BEAT: usize = 256;

/// What a keeper needs to know.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Budgets in force at first.
    pub budgets: Vec<BudgetSpec>,
    /// Exchanges that run at once at most.
    pub concurrency_max: usize,
    /// For how long entries of the journal are kept.
    pub retention: Duration,
}

/// How the keeper and the store get on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeeperHealth {
    /// The last report that was answered: whoever waits with a ticket up to it may try again.
    pub answered: u64,
    /// Whether the last try succeeded.
    pub ok: bool,
    /// Since when that is so, by the wall clock, in milliseconds since the epoch.
    pub since_ms: i64,
    /// What is wrong, for the log.
    pub problem: Option<Arc<str>>,
}

/// The handle on the keeper. Clones share it.
#[derive(Debug, Clone)]
pub struct Keeper {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    ledger: Arc<Ledger>,
    store: Store,
    log: Arc<DispatchLog>,
    beat: Beat,
    wake: Notify,
    health: watch::Sender<KeeperHealth>,
    crossings: broadcast::Sender<Crossing>,
    retention_ms: i64,
    ending: CancellationToken,
    ended: CancellationToken,
}

impl Keeper {
    /// Takes up what the process before left, and begins to keep. When this returns, the ledger may be
    /// used.
    pub async fn start(
        store: &Store,
        (log, recovered): (DispatchLog, Recovered),
        setup: Setup,
        tasks: &TaskTracker,
    ) -> Result<Self, StoreError> {
        let before = machine::now();
        let (beat, begun) = take_up(store, &log, recovered, before).await?;
        let clock = clock(&begun, machine::now());
        let ledger = Ledger::new(setup.budgets, clock, setup.concurrency_max);
        ledger.valid_until(is_far(store).then(|| before.mono.saturating_add(LEASES_VALID)));
        let health = KeeperHealth { answered: 0, ok: true, since_ms: before.wall_ms, problem: None };
        let shared = Arc::new(Shared {
            ledger: Arc::new(ledger),
            store: store.clone(),
            log: Arc::new(log),
            beat,
            wake: Notify::new(),
            health: watch::Sender::new(health),
            crossings: broadcast::Sender::new(CROSSINGS_BEHIND_MAX),
            retention_ms: i64::try_from(setup.retention.as_millis()).unwrap_or(i64::MAX),
            ending: CancellationToken::new(),
            ended: CancellationToken::new(),
        });
        tasks.spawn(Arc::clone(&shared).keep());
        Ok(Self { shared })
    }

    /// The ledger of this process.
    pub fn ledger(&self) -> &Arc<Ledger> {
        &self.shared.ledger
    }

    /// The store itself.
    pub fn store(&self) -> &Store {
        &self.shared.store
    }

    /// What the clocks say, as the ledger wants to know it.
    pub fn now(&self) -> Now {
        machine::now()
    }

    /// Where an attempt is noted before it is sent.
    pub fn dispatch(&self) -> &Arc<DispatchLog> {
        &self.shared.log
    }

    /// Somebody waits for the store's answer: it is asked at once.
    pub fn wake(&self) {
        self.shared.wake.notify_one();
    }

    /// How the keeper and the store get on, and word of every answer.
    pub fn health(&self) -> watch::Receiver<KeeperHealth> {
        self.shared.health.subscribe()
    }

    /// Thresholds as this replica notices that they are crossed. The store keeps them all.
    pub fn crossings(&self) -> broadcast::Receiver<Crossing> {
        self.shared.crossings.subscribe()
    }

    /// An operator says that the wall clock is right although it has run ahead.
    pub fn confirm_clock(&self) {
        self.shared.ledger.confirm_clock(machine::now());
    }

    /// Tells the store all there is to tell and gives the leases back. To be called when no exchange is
    /// under way any more; what still is stays leased until the next start.
    pub async fn shutdown(&self) {
        self.shared.ending.cancel();
        self.shared.ended.cancelled().await;
    }
}

impl Shared {
    async fn keep(self: Arc<Self>) {
        let mut beats = interval(HEARTBEAT);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut gathering_since = Instant::now();
        let mut until_pruning = 0_u32;
        loop {
            let (is_beat, is_due) = tokio::select! {
                biased;
                () = self.ending.cancelled() => break,
                _ = beats.tick() => (true, true),
                // A wake-up may have been answered by the report before.
                () = self.wake.notified() => (false, self.ledger.is_due()),
                now = looks.tick() => {
                    let is_gathered = now.saturating_duration_since(gathering_since) >= GATHER;
                    (false, self.ledger.wants_leases() || (is_gathered && self.ledger.is_due()))
                }
            };
            if !is_due {
                continue;
            }
            gathering_since = Instant::now();
            self.tell(is_beat).await;
            if is_beat {
                until_pruning = self.prune(until_pruning).await;
                self.log.tidy(TIDIED_PER_BEAT);
            }
        }
        self.end().await;
        self.log.tidy(usize::MAX);
        self.ended.cancel();
    }

    /// Sends the report that is due until it is answered. `false` when the keeper is to end and the
    /// store is not to be had.
    async fn tell(&self, all: bool) -> bool {
        let report = self.ledger.report(machine::now(), all);
        let (mut pause, longest) = PAUSES;
        let mut tries_left = LAST_TRIES;
        loop {
            let sent = machine::now();
            match self.ask(sent, &report).await {
                Ok(answer) => {
                    self.hear(&answer, sent);
                    return true;
                }
                Err(error) => self.fail(&error),
            }
            if self.ending.is_cancelled() {
                tries_left = tries_left.saturating_sub(1);
                if tries_left == 0 {
                    return false;
                }
            }
            sleep(pause).await;
            pause = (pause * 2).min(longest);
        }
    }

    async fn ask(&self, sent: Now, report: &Arc<Report>) -> Result<Answer, StoreError> {
        let beat = Beat { wall_ms: sent.wall_ms, mono_ms: millis(sent.mono), ..self.beat.clone() };
        let mut answer = pin!(self.store.report(beat, Arc::clone(report)));
        tokio::select! {
            answer = &mut answer => return answer,
            () = sleep(STALLED_AFTER) => {}
        }
        self.fail(&StoreError::Unavailable("it does not answer".to_owned()));
        answer.await
    }

    fn hear(&self, answer: &Answer, sent: Now) {
        let now = machine::now();
        let durable = self.ledger.answered(answer, now);
        self.log.durable(&durable);
        if is_far(&self.store) {
            // From before the report was sent, so that the store believes in it at least as long.
            self.ledger.valid_until(Some(sent.mono.saturating_add(LEASES_VALID)));
        }
        for crossing in &answer.crossings {
            // Nobody may be listening; the store has noted it.
            drop(self.crossings.send(crossing.clone()));
        }
        self.health.send_modify(|health| {
            if !health.ok {
                (health.ok, health.since_ms, health.problem) = (true, now.wall_ms, None);
            }
            health.answered = answer.sequence;
        });
    }

    fn fail(&self, error: &StoreError) {
        match error {
            // Another process goes by this name: nothing that is held here may be used.
            StoreError::Refused(_) => self.ledger.valid_until(Some(Duration::ZERO)),
            StoreError::Unavailable(_) | StoreError::Unreadable(_) => {}
        }
        let since_ms = machine::now().wall_ms;
        let problem = error.to_string();
        self.health.send_if_modified(|health| {
            let is_news = health.ok || health.problem.as_deref() != Some(&*problem);
            if health.ok {
                (health.ok, health.since_ms) = (false, since_ms);
            }
            health.problem = Some(problem.into());
            is_news
        });
    }

    /// Looks for what is older than the retention; after how many beats to look again.
    async fn prune(&self, until: u32) -> u32 {
        if until > 0 {
            return until - 1;
        }
        let before_ms = self.ledger.time_ms(machine::now()).saturating_sub(self.retention_ms);
        // What could not be forgotten today is forgotten later.
        let gone = self.store.prune(before_ms).await.unwrap_or(0);
        if gone > 0 { 0 } else { BEATS_PER_PRUNING }
    }

    /// Closes all accounts, which gives their leases back, and leaves.
    async fn end(&self) {
        // One that is open already goes first; then what was settled since, and the closing.
        self.ledger.configure(Vec::new());
        for _ in 0..3 {
            if !self.tell(true).await {
                return;
            }
            if self.ledger.accounts().is_empty() && !self.ledger.is_due() {
                break;
            }
        }
        // A replica that could not say goodbye counts for a few seconds more.
        drop(self.store.end(self.beat.clone()).await);
    }
}

/// Takes up what a dispatch log holds: what was sent is told to the store, and the log begins anew.
async fn take_up(
    store: &Store,
    log: &DispatchLog,
    recovered: Recovered,
    now: Now,
) -> Result<(Beat, Begun), StoreError> {
    let mut beat = beat(&recovered.replica, now);
    let beginning = Beginning {
        beat: beat.clone(),
        settled: recovered.settled.into(),
        complete: recovered.complete,
        name: recovered.beginning,
    };
    let begun = store.begin(beginning).await?;
    beat.epoch = begun.epoch;
    let unusable = |e| StoreError::Unavailable(format!("the dispatch log cannot be written: {e}"));
    log.begun().map_err(unusable)?;
    Ok((beat, begun))
}

/// Settles what a process has left that used `log` and has ended, and gives its leases back.
pub(crate) async fn settle_for(
    store: &Store,
    (log, recovered): (DispatchLog, Recovered),
) -> Result<(), StoreError> {
    let (beat, _) = take_up(store, &log, recovered, machine::now()).await?;
    store.end(beat).await
}

/// Whether the store may be out of reach while others use it: then leases are good for a moment only.
fn is_far(store: &Store) -> bool {
    store.kind() == EngineKind::Postgres
}

fn beat(replica: &Arc<str>, now: Now) -> Beat {
    Beat {
        replica: Arc::clone(replica),
        epoch: 0,
        wall_ms: now.wall_ms,
        mono_ms: millis(now.mono),
        boot: machine::boot().into(),
    }
}

/// Ledger time goes on where it stood. In the same boot the machine knows how long that is ago, so a
/// wall clock that has run ahead meanwhile is noticed; after another one it has to be believed.
fn clock(begun: &Begun, now: Now) -> LedgerClock {
    let highest_ms = begun.highest_ms.unwrap_or(now.wall_ms);
    let Some((own_ms, mono_ms)) = begun.own else {
        return LedgerClock::since(highest_ms.max(now.wall_ms), now.mono);
    };
    let mono = Duration::from_millis(u64::try_from(mono_ms).unwrap_or(0));
    let mut clock = LedgerClock::since(own_ms, mono);
    if clock.tick(now) >= highest_ms { clock } else { LedgerClock::since(highest_ms, now.mono) }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
