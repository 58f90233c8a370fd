//! AWS credentials: got once, kept ready, renewed ahead of their end.
//!
//! The providers of aws-config do not cache, so this does: the current credentials are one atomic
//! read; a background task renews them at 80 % of their life (and at least 60 s ahead of its end);
//! all who need other credentials wait for the same fetch; a failed fetch leaves the present ones in
//! use until they end. Every fetch builds its provider afresh, so that edited files are seen.

mod source;

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwapOption;
use aws_credential_types::Credentials;
use aws_smithy_runtime_api::client::identity::Identity;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use parking_lot::Mutex;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

pub(crate) use self::source::Source;
use crate::clock;

/// Credentials are renewed at least this long ahead of their end.
const AHEAD_MIN: Duration = Duration::from_mins(1);
/// Longest time of one fetch.
const FETCH_MAX: Duration = Duration::from_secs(15);
/// The background task looks at the clock at least this often, because it may jump.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// Pause after a failed fetch, doubled up to `LOOK_EVERY`.
const RETRY_MIN: Duration = Duration::from_secs(1);
/// A fetch that failed or brought the same keys is not repeated within this time.
const FRUITLESS_MIN: Duration = Duration::from_secs(2);

/// Credentials as they were issued.
pub(crate) struct Issued {
    /// What requests are signed with.
    pub(crate) identity: Identity,
    credentials: Credentials,
    since: SystemTime,
    serial: u64,
}

type Fetched = Result<Arc<Issued>, Arc<str>>;
type Flight = Shared<BoxFuture<'static, Fetched>>;

/// The credentials of one path.
pub(crate) struct CredentialCache {
    inner: Arc<Inner>,
    /// Whether the background task runs.
    kept: AtomicBool,
    /// Ends the background task when the path is gone.
    ends: DropGuard,
}

struct Inner {
    path: Arc<str>,
    source: Source,
    current: ArcSwapOption<Issued>,
    serials: AtomicU64,
    state: Mutex<State>,
    tasks: TaskTracker,
}

#[derive(Default)]
struct State {
    flight: Option<Flight>,
    fruitless: Option<(Instant, Fetched)>,
}

impl CredentialCache {
    /// Starts to keep credentials ready.
    pub(crate) fn start(source: Source, path: &Arc<str>, tasks: &TaskTracker) -> Self {
        let inner = Arc::new(Inner {
            path: Arc::clone(path),
            source,
            current: ArcSwapOption::empty(),
            serials: AtomicU64::new(1),
            state: Mutex::default(),
            tasks: tasks.clone(),
        });
        if let Source::Fixed(credentials) = &inner.source {
            inner.install(credentials.clone());
        }
        let ends = CancellationToken::new().drop_guard();
        let cache = Self { inner, kept: AtomicBool::new(false), ends };
        cache.keep();
        cache
    }

    /// Starts the background task, once and only inside a runtime.
    fn keep(&self) {
        let fixed = matches!(self.inner.source, Source::Fixed(_));
        if fixed || tokio::runtime::Handle::try_current().is_err() || self.kept.swap(true, Ordering::Relaxed)
        {
            return;
        }
        let keeping = keep_ready(Arc::downgrade(&self.inner));
        let stopped = self.ends.token().clone();
        self.inner.tasks.spawn(stopped.run_until_cancelled_owned(keeping));
    }

    /// Credentials that are valid at `now`.
    pub(crate) fn current(&self, now: SystemTime) -> Option<Arc<Issued>> {
        self.inner.current.load_full().filter(|issued| !issued.has_ended(now))
    }

    /// Waits for the first or the next credentials.
    pub(crate) async fn obtain(&self) -> Fetched {
        self.keep();
        let seen = self.inner.current.load_full().map_or(0, |issued| issued.serial);
        Inner::fetch(&self.inner, seen).await
    }

    /// Waits for credentials issued after `refused`.
    pub(crate) async fn renew(&self, refused: &Issued) -> Fetched {
        Inner::fetch(&self.inner, refused.serial).await
    }

    /// Ends the background task.
    pub(crate) fn stop(&self) {
        self.ends.token().cancel();
    }
}

impl Inner {
    /// Credentials later than the `seen` ones; joins a fetch that is under way.
    fn fetch(this: &Arc<Self>, seen: u64) -> Flight {
        let ready = |fetched: Fetched| std::future::ready(fetched).boxed().shared();
        let mut state = this.state.lock();
        if let Some(flight) = &state.flight {
            return flight.clone();
        }
        if let Some(issued) = this.current.load_full().filter(|issued| issued.serial > seen) {
            return ready(Ok(issued));
        }
        if let Source::Fixed(_) = this.source {
            return ready(this.current.load_full().ok_or_else(|| Arc::from("no fixed keys")));
        }
        if let Some((at, fetched)) = &state.fruitless
            && at.elapsed() < FRUITLESS_MIN
        {
            return ready(fetched.clone());
        }
        // In a task of its own, so that a caller who leaves does not end it for the others.
        let inner = Arc::clone(this);
        let task = this.tasks.spawn(async move { inner.fly(inner.source.fetch().boxed()).await });
        let flight = async move { task.await.unwrap_or_else(|error| Err(Arc::from(error.to_string()))) };
        let flight = flight.boxed().shared();
        state.flight = Some(flight.clone());
        flight
    }

    /// Files what a fetch brings. A panic is a failure like any other, so that no flight stays.
    async fn fly(&self, fetching: BoxFuture<'_, Result<Credentials, Arc<str>>>) -> Fetched {
        let fetched = match timeout(FETCH_MAX, AssertUnwindSafe(fetching).catch_unwind()).await {
            Ok(Ok(fetched)) => fetched,
            Ok(Err(_)) => Err(Arc::from("the provider panicked")),
            Err(_) => Err(Arc::from(format!("no credentials within {FETCH_MAX:?}"))),
        };
        let before = self.current.load_full();
        let fetched = fetched.map(|credentials| self.install(credentials));
        let fruitful = match (&fetched, &before) {
            (Ok(issued), Some(before)) => !issued.same_as(before),
            (Ok(_), None) => true,
            (Err(problem), _) => {
                tracing::warn!(path = %self.path, %problem, "no fresh AWS credentials");
                false
            }
        };
        let mut state = self.state.lock();
        state.flight = None;
        state.fruitless = (!fruitful).then(|| (Instant::now(), fetched.clone()));
        fetched
    }

    fn install(&self, credentials: Credentials) -> Arc<Issued> {
        let issued = Arc::new(Issued {
            identity: credentials.clone().into(),
            credentials,
            since: clock::wall(),
            serial: self.serials.fetch_add(1, Ordering::Relaxed),
        });
        self.current.store(Some(Arc::clone(&issued)));
        issued
    }
}

/// Renews ahead of time for as long as the cache is in use.
async fn keep_ready(cache: Weak<Inner>) {
    let mut pause = RETRY_MIN;
    loop {
        let Some(inner) = cache.upgrade() else { return };
        let current = inner.current.load_full();
        let wait = match current.as_ref().map(|issued| issued.due_in(clock::wall())) {
            Some(left) if !left.is_zero() => left.min(LOOK_EVERY),
            Some(_) | None => {
                let seen = current.map_or(0, |issued| issued.serial);
                if Inner::fetch(&inner, seen).await.is_ok() {
                    pause = RETRY_MIN;
                } else {
                    pause = (pause * 2).min(LOOK_EVERY);
                }
                pause
            }
        };
        drop(inner);
        sleep(wait).await;
    }
}

impl Issued {
    /// Whether both are the same keys.
    pub(crate) fn same_as(&self, other: &Self) -> bool {
        self.credentials.access_key_id() == other.credentials.access_key_id()
            && self.credentials.session_token() == other.credentials.session_token()
            && self.credentials.secret_access_key() == other.credentials.secret_access_key()
    }

    fn has_ended(&self, now: SystemTime) -> bool {
        self.credentials.expiry().is_some_and(|end| end <= now)
    }

    /// Time until they should be renewed: at 80 % of their life and 60 s ahead of its end, but not
    /// in the first half of a short one.
    fn due_in(&self, now: SystemTime) -> Duration {
        let Some(end) = self.credentials.expiry() else { return LOOK_EVERY };
        let life = end.duration_since(self.since).unwrap_or_default();
        let due_after = (life * 4 / 5).min(life.saturating_sub(AHEAD_MIN).max(life / 2));
        (self.since + due_after).duration_since(now).unwrap_or_default()
    }
}

impl std::fmt::Debug for Issued {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Issued").field("serial", &self.serial).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for CredentialCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CredentialCache").field("path", &self.inner.path).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn issued(life: Option<Duration>) -> Issued {
        let since = clock::wall();
        let end = life.map(|life| since + life);
        let credentials = Credentials::new("id", "secret", None, end, "test");
        Issued { identity: credentials.clone().into(), credentials, since, serial: 1 }
    }

    #[test]
    fn they_are_due_before_they_end() {
        let due = |life_s: u64| {
            let issued = issued(Some(Duration::from_secs(life_s)));
            issued.due_in(issued.since).as_secs()
        };
        assert_eq!(due(3600), 2880, "80 % of an hour");
        assert_eq!(due(200), 140, "60 s ahead of the end");
        assert_eq!(due(60), 30, "not in the first half of a short life");
        assert_eq!(due(0), 0);
        let endless = issued(None);
        assert_eq!(endless.due_in(endless.since), LOOK_EVERY);
    }

    #[tokio::test]
    async fn a_fetch_that_panics_ends_its_flight() {
        let source = Source::Profile { name: "none".into(), region: aws_config::Region::from_static("x") };
        let inner = Inner {
            path: Arc::from("p"),
            source,
            current: ArcSwapOption::empty(),
            serials: AtomicU64::new(1),
            state: Mutex::default(),
            tasks: TaskTracker::new(),
        };
        inner.state.lock().flight = Some(std::future::pending().boxed().shared());
        assert!(inner.fly(async { panic!("a provider's bug") }.boxed()).await.is_err());
        assert!(inner.state.lock().flight.is_none());
    }

    #[test]
    fn they_end_at_their_end() {
        let life = Duration::from_mins(1);
        let issued = issued(Some(life));
        assert!(!issued.has_ended(issued.since + life - Duration::from_millis(1)));
        assert!(issued.has_ended(issued.since + life));
    }
}
