//! Reload: on SIGHUP and on a change of the file, whole or not at all.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify_debouncer_full::notify::RecursiveMode;
use notify_debouncer_full::{DebounceEventResult, new_debouncer};
use outcrop_policy::operations::DEADLINE_MAX;
use outcrop_proxy::{Gateway, Snapshot};
use outcrop_upstream::Upstreams;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::authority::Authority;
use crate::budgeting::limits::Limits;
use crate::overlay::Overlay;
use crate::{config, snapshot};

/// A change is taken up once the file has been quiet for this long.
const QUIET: Duration = Duration::from_millis(200);

/// What a reload changes.
pub(crate) struct Parts {
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) authority: Authority,
    pub(crate) limits: Limits,
    pub(crate) overlay: Overlay,
}

/// Reloads until `stop` is cancelled.
pub(crate) async fn watch(parts: Parts, file: PathBuf, stop: CancellationToken) {
    let changed = Arc::new(Notify::new());
    // The watcher works as long as it is held.
    let _watcher = match watcher(&file, Arc::clone(&changed)) {
        Ok(watcher) => Some(watcher),
        Err(error) => {
            tracing::warn!(%error, "the configuration file is not watched; SIGHUP still reloads it");
            None
        }
    };
    let mut hangup = match signal(SignalKind::hangup()) {
        Ok(hangup) => hangup,
        Err(error) => return tracing::warn!(%error, "SIGHUP is not available"),
    };
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = changed.notified() => {}
            received = hangup.recv() => if received.is_none() { return },
        }
        reload(&parts, &file);
    }
}

/// Watches the folder, because editors replace files instead of writing into them.
fn watcher(file: &Path, changed: Arc<Notify>) -> notify_debouncer_full::notify::Result<impl Sized> {
    let name = file.file_name().map(ToOwned::to_owned);
    let folder = match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    let mut debouncer = new_debouncer(QUIET, None, move |events: DebounceEventResult| {
        let touched = events
            .iter()
            .flatten()
            .filter(|event| !event.kind.is_access())
            .any(|event| event.paths.iter().any(|path| path.file_name() == name.as_deref()));
        if touched {
            changed.notify_one();
        }
    })?;
    debouncer.watch(&folder, RecursiveMode::NonRecursive)?;
    Ok(debouncer)
}

/// Puts the file in force, or keeps what is and says why.
pub(crate) fn reload(parts: &Parts, file: &Path) {
    let Parts { gateway, authority, limits, overlay } = parts;
    let mut checked = match config::load(file) {
        Ok(checked) => checked,
        Err(problems) => {
            return tracing::error!(%problems, "reload refused; the former configuration stays in force");
        }
    };
    if let Err(cause) = authority.complete(&mut checked.auth) {
        return tracing::error!(cause, "reload refused; the former configuration stays in force");
    }
    let before = gateway.snapshot();
    match snapshot::build(&checked, 0, Some(&before.upstreams), &gateway.background) {
        Ok(next) => {
            let upstreams = Arc::clone(&next.upstreams);
            let (version, replaced) = overlay.install(next);
            limits.replace(checked.budgets.clone());
            tracing::info!(version, "configuration reloaded");
            drop(before);
            gateway.background.spawn(retire(replaced, upstreams));
        }
        Err(error) => {
            tracing::error!(%error, "reload refused; the former configuration stays in force");
        }
    }
}

/// Ends what only former snapshots used, once no exchange plans with any of them: those that differ only in
/// their flags share their paths.
async fn retire(before: Arc<Snapshot>, successor: Arc<Upstreams>) {
    let patience = before.streams.total_max.max(DEADLINE_MAX).as_secs();
    let former = Arc::clone(&before.upstreams);
    drop(before);
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    for _ in 0..patience {
        tick.tick().await;
        if Arc::strong_count(&former) == 1 {
            break;
        }
    }
    former.close_replaced(&successor).await;
}
