//! The side of the process that runs.

use std::fs::File;
use std::io::{self, IoSlice, Read};
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use outcrop_admin::stops::{Answering, NotDone};
use outcrop_admin::takeover::{Successions, TakeoverOrder};
use outcrop_store::{Logs, Store};
use parking_lot::Mutex;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use serde_json::json;
use tokio::sync::OwnedMutexGuard;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{HERE, PASSED_MAX, SERVING};
use crate::admin::{Kept, Name};

/// Longest wait for the process that starts. It may wait a drain long for the one before this one.
const READY_MAX: Duration = Duration::from_mins(5);

/// Longest wait for a process that is being let in already.
const TURN_MAX: Duration = Duration::from_secs(5);

/// What is handed over, and to whom. Clones share it.
#[derive(Clone)]
pub(crate) struct Successor {
    // Gone once this process drains: its listeners must close then.
    sockets: Arc<Mutex<Option<Arc<Sockets>>>>,
    store: Store,
    logs: Option<Logs>,
    background: TaskTracker,
    /// Cancelled when another process serves.
    pub(crate) handed: CancellationToken,
}

struct Sockets {
    data: TcpListener,
    admin: TcpListener,
    // Of the operator's socket, which the other process takes before it says that it serves.
    operator: Option<Arc<Name>>,
    // Held while a process is being let in: one at a time.
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl Successor {
    pub(crate) fn new(
        (data, admin, operator): (&TcpListener, &TcpListener, Option<Arc<Name>>),
        store: Store,
        logs: Option<Logs>,
        background: TaskTracker,
    ) -> io::Result<Self> {
        let (data, admin) = (data.try_clone()?, admin.try_clone()?);
        let sockets = Sockets { data, admin, operator, turn: Arc::default() };
        let sockets = Arc::new(Mutex::new(Some(Arc::new(sockets))));
        Ok(Self { sockets, store, logs, background, handed: CancellationToken::new() })
    }

    /// Nobody is let in any more.
    pub(crate) fn close(&self) {
        self.sockets.lock().take();
    }

    async fn give(self, order: TakeoverOrder) -> Result<serde_json::Value, NotDone> {
        let Some(sockets) = self.sockets.lock().clone() else {
            return Err(refused("this process is about to end; start without a takeover when it has"));
        };
        // The one before may have failed a moment ago.
        let turn = Arc::clone(&sockets.turn).lock_owned();
        let Ok(turn) = tokio::time::timeout(TURN_MAX, turn).await else {
            return Err(refused("another process is taking over at this moment"));
        };
        let kept = sockets.operator.as_ref().and_then(|name| {
            let unkept = |error| tracing::warn!(%error, "the operator's socket has no second name");
            name.keep().map_err(unkept).ok()
        });
        // From here on what the other one writes is looked for.
        self.store.in_company(true);
        let lock = self.store.lock();
        let giving = Arc::clone(&sockets);
        let given = tokio::task::spawn_blocking(move || pass(&order.meet, &giving, lock.as_ref())).await;
        let given = given.map_err(io::Error::other).flatten();
        match given {
            Ok(line) => {
                tracing::info!("another process takes over");
                let tasks = self.background.clone();
                tasks.spawn(self.await_successor(line, turn, kept));
                Ok(json!({"handed_over": true}))
            }
            Err(error) => {
                self.store.in_company(false);
                Err(refused(&format!("the one that asks cannot be reached: {error}")))
            }
        }
    }

    /// Waits for the word of the other process, and goes on alone where it never comes.
    async fn await_successor(self, line: UnixStream, turn: OwnedMutexGuard<()>, kept: Option<Kept>) {
        let heard = tokio::task::spawn_blocking(move || hear(line)).await;
        if matches!(heard, Ok(Ok(()))) {
            self.handed.cancel();
            return;
        }
        tracing::warn!("the process that was to take over has ended before it served; going on");
        if let Some(Err(error)) = kept.map(Kept::restore) {
            tracing::error!(%error, "the operator's socket could not be had back");
        }
        if let Some(logs) = &self.logs {
            logs.outlive(&self.store).await;
        }
        self.store.in_company(false);
        drop(turn);
    }
}

impl Successions for Successor {
    fn hand_over(&self, order: TakeoverOrder) -> Answering {
        Box::pin(self.clone().give(order))
    }
}

/// Gives the descriptors to whoever listens at a unix socket.
fn pass(meet: &Path, sockets: &Sockets, lock: Option<&File>) -> io::Result<UnixStream> {
    let line = UnixStream::connect(meet)?;
    let mut passed = vec![sockets.data.as_fd(), sockets.admin.as_fd()];
    passed.extend(lock.map(File::as_fd));
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(PASSED_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(&passed)) {
        return Err(io::Error::other("the descriptors do not fit into a message"));
    }
    sendmsg(&line, &[IoSlice::new(HERE)], &mut control, SendFlags::empty())?;
    Ok(line)
}

fn hear(mut line: UnixStream) -> io::Result<()> {
    line.set_read_timeout(Some(READY_MAX))?;
    let mut said = [0; SERVING.len()];
    line.read_exact(&mut said)?;
    if said == *SERVING { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
}

fn refused(message: &str) -> NotDone {
    NotDone { status: StatusCode::CONFLICT, message: message.to_owned() }
}
