//! SQLite: one thread owns the connection that writes, and commits in groups.
//!
//! A lock file keeps other processes out, but for one that is let in by handing it the lock, so that it can
//! take over. After an error of the disk the connection is closed without
//! a checkpoint and opened anew: what an fsync has failed to write may not be there although a second
//! one succeeds. Whoever opens finds it in the page cache and takes it for committed, so the log is
//! written once more first.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use futures_util::FutureExt;
use parking_lot::Mutex;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use tokio::sync::{mpsc, oneshot};

use super::{JOBS_MAX, Job, Lanes, Task, is_of_engine, tell};
use crate::StoreError;
use crate::location::beside;
use crate::schema::{check_sqlite, migrate_sqlite};
use crate::session::{Company, Session, sqlite_failed};
use crate::work::{Outcome, Work, perform};

/// Most jobs that share a commit.
const GROUP_MAX: usize = 64;
/// Prepared statements that are kept.
const STATEMENTS_KEPT: usize = 64;

/// The thread of a store in memory: it reads and writes.
pub(super) fn open_memory() -> Result<Lanes, StoreError> {
    let mut connection = Connection::open_in_memory().map_err(|e| sqlite_failed(&e))?;
    migrate_sqlite(&mut connection)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
    let (to, jobs) = mpsc::channel(JOBS_MAX);
    let writer = Writer { file: None, open: Some(Mutex::new(connection)), in_company: Arc::default() };
    spawn("store", move || writer.run(jobs))?;
    Ok(Lanes { write: to.clone(), read: to.clone(), watch: to })
}

/// The threads of a store in a file: one writes, one reads.
pub(super) async fn open(
    path: PathBuf,
    lock: Arc<File>,
    in_company: Arc<AtomicBool>,
) -> Result<Lanes, StoreError> {
    let (write, jobs) = mpsc::channel(JOBS_MAX);
    let (opened, ready) = oneshot::channel();
    let (file, company) = (path.clone(), Arc::clone(&in_company));
    spawn("store", move || {
        let writer = Writer::open(file, lock, company);
        let (writer, outcome) = match writer {
            Ok(writer) => (Some(writer), Ok(())),
            Err(error) => (None, Err(error)),
        };
        // Whoever opens may have left; then the channel is closed as well.
        let _ = opened.send(outcome);
        if let Some(writer) = writer {
            writer.run(jobs);
        }
    })?;
    ready.await.map_err(|_| StoreError::Unavailable("its thread has ended".to_owned()))??;
    let (read, jobs) = mpsc::channel(JOBS_MAX);
    spawn("store-reader", move || answer(&path, &in_company, jobs))?;
    Ok(Lanes { write, read: read.clone(), watch: read })
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<(), StoreError> {
    let started = thread::Builder::new().name(name.to_owned()).spawn(run);
    started.map(|_| ()).map_err(|e| StoreError::Unavailable(format!("no thread for it: {e}")))
}

struct Writer {
    // `None` in memory: what is closed there is lost.
    file: Option<Kept>,
    // `None` after an error, until it could be opened again.
    open: Option<Mutex<Connection>>,
    in_company: Arc<AtomicBool>,
}

struct Kept {
    path: PathBuf,
    // Held as long as the store is open; the kernel lets go of it with the process.
    _lock: Arc<File>,
}

impl Writer {
    fn open(path: PathBuf, lock: Arc<File>, in_company: Arc<AtomicBool>) -> Result<Self, StoreError> {
        let connection = match company(&in_company) {
            Company::Alone => connect(&path)?,
            // The other one has found it in order and writes to it at this moment.
            Company::Another => connect_beside(&path)?,
        };
        Ok(Self { file: Some(Kept { path, _lock: lock }), open: Some(Mutex::new(connection)), in_company })
    }

    fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        while let Some(first) = jobs.blocking_recv() {
            let mut group = Vec::new();
            let mut closing = None;
            let mut next = Some(first);
            while let Some(Job { what, reply }) = next {
                match what {
                    Task::Work(work) => group.push((work, reply)),
                    Task::Close => closing = Some(reply),
                }
                let full = group.len() == GROUP_MAX || closing.is_some();
                next = if full { None } else { jobs.try_recv().ok() };
            }
            self.commit(group);
            if let Some(reply) = closing {
                drop(self);
                return tell(reply, Ok(Outcome::Done));
            }
        }
    }

    /// Carries a group out in one transaction, and answers everybody once it is durable.
    fn commit(&mut self, group: Vec<(Work, oneshot::Sender<Result<Outcome, StoreError>>)>) {
        if group.is_empty() {
            return;
        }
        let (work, replies): (Vec<Work>, Vec<_>) = group.into_iter().unzip();
        let company = company(&self.in_company);
        let begun = self.connection().and_then(begin);
        if begun == Ok(Begun::Busy) {
            // The other process writes for longer than anybody should; nothing is wrong with the file.
            let busy = StoreError::Unavailable("another process writes to it".to_owned());
            for reply in replies {
                tell(reply, Err(busy.clone()));
            }
            return;
        }
        let outcomes = begun.and_then(|_| self.connection()).and_then(|open| carry_out(open, &work, company));
        match outcomes {
            Ok(outcomes) => {
                for (reply, outcome) in replies.into_iter().zip(outcomes) {
                    tell(reply, outcome);
                }
            }
            Err(error) => {
                self.distrust();
                for reply in replies {
                    tell(reply, Err(error.clone()));
                }
            }
        }
    }

    fn connection(&mut self) -> Result<&Mutex<Connection>, StoreError> {
        if self.open.is_none()
            && let Some(kept) = &self.file
        {
            // Its log cannot be written once more under the hands of another process.
            if company(&self.in_company) == Company::Another {
                let text = "it failed, and is opened again when the process that is taken over has ended";
                return Err(StoreError::Unavailable(text.to_owned()));
            }
            self.open = Some(Mutex::new(connect(&kept.path)?));
        }
        self.open.as_ref().ok_or_else(|| StoreError::Unavailable("it is closed".to_owned()))
    }

    /// Closes the connection after an error, so that the next try begins with what is on the disk.
    fn distrust(&mut self) {
        let Some(connection) = self.open.take().map(Mutex::into_inner) else { return };
        // An error here is not worse than the one that led here.
        let _ = connection.execute_batch("ROLLBACK");
        if self.file.is_none() {
            self.open = Some(Mutex::new(connection));
            return;
        }
        let _ = connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
        drop(connection);
    }
}

/// Whether a transaction could be begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Begun {
    Yes,
    /// Another process has one under way.
    Busy,
}

fn begin(connection: &Mutex<Connection>) -> Result<Begun, StoreError> {
    match connection.lock().execute_batch("BEGIN IMMEDIATE") {
        Ok(()) => Ok(Begun::Yes),
        Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy) => Ok(Begun::Busy),
        Err(error) => Err(sqlite_failed(&error)),
    }
}

fn company(in_company: &AtomicBool) -> Company {
    if in_company.load(Ordering::Acquire) { Company::Another } else { Company::Alone }
}

/// A group in the transaction that was begun for it. Work that is refused is undone alone; an error of the
/// engine fails all.
fn carry_out(
    connection: &Mutex<Connection>,
    group: &[Work],
    company: Company,
) -> Result<Vec<Result<Outcome, StoreError>>, StoreError> {
    let batch = |sql: &str| connection.lock().execute_batch(sql).map_err(|e| sqlite_failed(&e));
    let mut outcomes = Vec::new();
    for work in group {
        batch("SAVEPOINT one")?;
        let outcome = at_once(connection, work, company);
        match &outcome {
            Err(error) if is_of_engine(error) => return Err(error.clone()),
            Err(_) => batch("ROLLBACK TO one; RELEASE one")?,
            Ok(_) => batch("RELEASE one")?,
        }
        outcomes.push(outcome);
    }
    batch("COMMIT")?;
    Ok(outcomes)
}

fn at_once(connection: &Mutex<Connection>, work: &Work, company: Company) -> Result<Outcome, StoreError> {
    let session = Session::Sqlite(connection, company);
    perform(&session, work).now_or_never().expect("invariant: a session on SQLite never waits")
}

/// Answers questions, each on a connection of its own that cannot write and holds nothing afterwards.
fn answer(path: &Path, in_company: &AtomicBool, mut jobs: mpsc::Receiver<Job>) {
    while let Some(Job { what, reply }) = jobs.blocking_recv() {
        match what {
            Task::Work(work) => tell(reply, look(path, &work, company(in_company))),
            Task::Close => return tell(reply, Ok(Outcome::Done)),
        }
    }
}

fn look(path: &Path, work: &Work, company: Company) -> Result<Outcome, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(|e| sqlite_failed(&e))?;
    connection.busy_timeout(Duration::from_secs(1)).map_err(|e| sqlite_failed(&e))?;
    connection.execute_batch("BEGIN").map_err(|e| sqlite_failed(&e))?;
    at_once(&Mutex::new(connection), work, company)
}

fn connect(path: &Path) -> Result<Connection, StoreError> {
    let not_kept = |e| StoreError::Unavailable(format!("its log cannot be written: {e}"));
    write_again(&log_of(path)).map_err(not_kept)?;
    // Made here, so that nobody else may read it; its companions get the same rights. One that is there
    // is left alone, because closing it would let go of the locks of other connections.
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    if let Err(error) = made.map(drop)
        && error.kind() != io::ErrorKind::AlreadyExists
    {
        return Err(StoreError::Unavailable(format!("{} cannot be made: {error}", path.display())));
    }
    let mut connection = configured(path)?;
    migrate_sqlite(&mut connection)?;
    Ok(connection)
}

/// Opens a file that another process uses at this moment: nothing of it is mended or brought up to date.
fn connect_beside(path: &Path) -> Result<Connection, StoreError> {
    let mut connection = configured(path)?;
    check_sqlite(&mut connection)?;
    Ok(connection)
}

fn configured(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(|e| sqlite_failed(&e))?;
    connection.busy_timeout(Duration::from_secs(1)).map_err(|e| sqlite_failed(&e))?;
    let pragmas = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA mmap_size = 0; \
                   PRAGMA trusted_schema = OFF; PRAGMA journal_size_limit = 67108864;";
    connection.execute_batch(pragmas).map_err(|e| sqlite_failed(&e))?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
    Ok(connection)
}

/// SQLite's log of a file.
fn log_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-wal");
    PathBuf::from(name)
}

/// Writes what a file holds in its place, and sees it kept. Pages that an earlier fsync failed to write
/// count as written although they are not; this makes them count anew.
fn write_again(path: &Path) -> io::Result<()> {
    let file = match OpenOptions::new().read(true).write(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let mut bytes = vec![0; 1 << 20];
    let mut at = 0;
    loop {
        let read = file.read_at(&mut bytes, at)?;
        let Some(found) = bytes.get(..read).filter(|found| !found.is_empty()) else { break };
        file.write_all_at(found, at)?;
        at += read as u64;
    }
    file.sync_all()
}

pub(super) fn lock(path: &Path) -> Result<File, StoreError> {
    let name = beside(path, "lock");
    let open = OpenOptions::new().append(true).create(true).mode(0o600).open(&name);
    let file = open.map_err(|e| StoreError::Refused(format!("{} cannot be made: {e}", name.display())))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::Refused(format!(
            "{} is used by another process; end that one first, or share a PostgreSQL store",
            path.display()
        ))),
        Err(TryLockError::Error(error)) => {
            Err(StoreError::Refused(format!("{} cannot be locked: {error}", name.display())))
        }
    }
}

/// Runs a group as the writer does, on a file that nobody else has open, and stops the engine in it
/// after so many of its steps; whether it came to that.
#[cfg(test)]
pub(crate) fn stop_after(path: &Path, group: &[Work], steps: u64) -> bool {
    let mut connection = connect(path).unwrap();
    let mut left = steps;
    let stop = move || {
        left = left.saturating_sub(1);
        left == 0
    };
    connection.progress_handler(1, Some(stop)).unwrap();
    let connection = Mutex::new(connection);
    let stopped = begin(&connection).and_then(|_| carry_out(&connection, group, Company::Alone)).is_err();
    // As the writer closes it after an error, but without a rollback: the process is gone.
    let connection = connection.into_inner();
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).unwrap();
    stopped
}
