//! The store that the file names, opened, and what a process needs beside it.

use outcrop_store::{DispatchLog, Keeper, Recovered, Register, Store, StoreError};
use tokio_util::task::TaskTracker;

use crate::budgeting::limits;
use crate::config::{Checked, StoreSpec};

/// Slots of the dispatch log beyond those of the exchanges under way: for attempts whose settlement the
/// journal does not hold yet.
const SLOTS_BEYOND: usize = 10_000;

/// Everything of a process that outlives it.
pub(crate) struct Kept {
    pub(crate) store: Store,
    pub(crate) register: Register,
    pub(crate) keeper: Keeper,
}

/// Opens the documents alone, as a command does while no gateway runs.
pub(crate) async fn documents(
    spec: &StoreSpec,
    tasks: &TaskTracker,
) -> Result<(Store, Register), StoreError> {
    let store = Store::open(&spec.location, tasks).await?;
    let register = Register::open(&store, tasks).await?;
    Ok((store, register))
}

/// Opens the store and takes up what the process before left.
pub(crate) async fn open(checked: &Checked, tasks: &TaskTracker) -> Result<Kept, StoreError> {
    let (store, register) = documents(&checked.store, tasks).await?;
    let setup = outcrop_store::keeper::Setup {
        budgets: limits::in_force(&checked.budgets, &register.documents()),
        concurrency_max: checked.slots.max,
        retention: checked.store.retention,
    };
    let keeper = Keeper::start(&store, dispatch_log(checked)?, setup, tasks).await?;
    Ok(Kept { store, register, keeper })
}

fn dispatch_log(checked: &Checked) -> Result<(DispatchLog, Recovered), StoreError> {
    let slots = checked.slots.max.saturating_add(SLOTS_BEYOND);
    match &checked.store.dispatch_log {
        Some(path) => DispatchLog::open(path, slots),
        None => Ok(DispatchLog::in_memory(slots)),
    }
}
