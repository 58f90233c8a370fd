//! The store that the file names, opened, and what a process needs beside it.

use std::fs::File;
use std::time::Duration;

use outcrop_store::{DispatchLog, Keeper, Logs, Register, Store, StoreError};
use tokio_util::task::TaskTracker;

use crate::budgeting::limits;
use crate::config::{Checked, StoreSpec};

/// Slots of the dispatch log beyond those of the exchanges under way: for attempts whose settlement the
/// journal does not hold yet.
const SLOTS_BEYOND: usize = 10_000;

/// What the end of a process may take beyond its drain.
const FINISHING: Duration = Duration::from_secs(20);

/// Everything of a process that outlives it.
pub(crate) struct Kept {
    pub(crate) store: Store,
    pub(crate) register: Register,
    pub(crate) keeper: Keeper,
    pub(crate) logs: Option<Logs>,
}

/// The process before this one, while it finishes.
pub(crate) struct Former {
    /// The lock of the store that it uses; `None` where it needs none.
    pub(crate) lock: Option<File>,
}

/// Opens the documents alone, as a command does while no gateway runs.
pub(crate) async fn documents(
    spec: &StoreSpec,
    tasks: &TaskTracker,
) -> Result<(Store, Register), StoreError> {
    with_lock(spec, tasks, None).await
}

async fn with_lock(
    spec: &StoreSpec,
    tasks: &TaskTracker,
    lock: Option<File>,
) -> Result<(Store, Register), StoreError> {
    let store = Store::open_beside(&spec.location, tasks, lock).await?;
    let register = Register::open(&store, tasks).await?;
    Ok((store, register))
}

/// Opens the store, and takes up what a process before left; or begins beside the one that finishes.
pub(crate) async fn open(
    checked: &Checked,
    tasks: &TaskTracker,
    former: Option<Former>,
) -> Result<Kept, StoreError> {
    let mut logs = checked.store.dispatch_log.as_ref().map(|path| {
        let slots = checked.slots.max.saturating_add(SLOTS_BEYOND);
        Logs::of(path, slots)
    });
    let is_beside = former.is_some();
    // Before the store: while the one before the former finishes, the former alone may use it.
    let free = match (&mut logs, is_beside) {
        (Some(logs), true) => Some(logs.open_free(checked.listen.limits.drain_max + FINISHING).await?),
        _ => None,
    };
    let (store, register) = with_lock(&checked.store, tasks, former.and_then(|former| former.lock)).await?;
    let setup = outcrop_store::keeper::Setup {
        budgets: limits::in_force(&checked.budgets, &register.documents()),
        concurrency_max: checked.slots.max,
        retention: checked.store.retention,
    };
    let log = match (free, &logs) {
        (Some(free), _) => free,
        (None, Some(logs)) => {
            let own = logs.open()?;
            logs.settle_other(&store).await?;
            own
        }
        (None, None) => DispatchLog::in_memory(checked.slots.max.saturating_add(SLOTS_BEYOND)),
    };
    let keeper = Keeper::start(&store, log, setup, tasks).await?;
    if let (Some(logs), true) = (logs.clone(), is_beside) {
        let store = store.clone();
        tasks.spawn(async move { logs.outlive(&store).await });
    }
    Ok(Kept { store, register, keeper, logs })
}
