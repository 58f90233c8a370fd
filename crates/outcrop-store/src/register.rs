//! The register: small documents (keys, stops, flags) that all replicas share.
//!
//! A change is durable before it is acknowledged, takes effect here at once and on every other replica
//! within a second. Readers hold an immutable view and are told of the next one; they never wait.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

pub use crate::documents::Documents;
use crate::{EngineKind, Store, StoreError};

/// How often other replicas' changes are looked for.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// The documents, and the way to change them. Clones share them.
#[derive(Debug, Clone)]
pub struct Register {
    view: watch::Sender<Arc<Documents>>,
    // `None`: in this process only.
    store: Option<Store>,
    // Ends the look-out for other replicas' changes with the last clone.
    _following: Option<Arc<DropGuard>>,
}

impl Register {
    /// A register that forgets everything with its process.
    pub fn in_memory() -> Self {
        Self { view: watch::Sender::new(Arc::default()), store: None, _following: None }
    }

    /// The register of a store. What other replicas change is looked for on `tasks`, until the last
    /// clone is dropped.
    pub async fn open(store: &Store, tasks: &TaskTracker) -> Result<Self, StoreError> {
        let documents = store.documents().await?;
        let view = watch::Sender::new(Arc::new(documents));
        let mut following = None;
        if store.kind() != EngineKind::Memory {
            let ended = CancellationToken::new();
            tasks.spawn(follow(store.clone(), view.clone(), ended.clone()));
            following = Some(Arc::new(ended.drop_guard()));
        }
        Ok(Self { view, store: Some(store.clone()), _following: following })
    }

    /// The documents in force.
    pub fn documents(&self) -> Arc<Documents> {
        Arc::clone(&self.view.borrow())
    }

    /// The documents in force, and word of every change.
    pub fn watch(&self) -> watch::Receiver<Arc<Documents>> {
        self.view.subscribe()
    }

    /// Writes a document, whether or not there was one. It is durable when this returns `Ok`.
    pub async fn put(&self, kind: &str, id: &str, body: &str) -> Result<(), StoreError> {
        self.change(kind, id, Some(body)).await
    }

    /// Removes a document; one that is not there is no error. It is durable when this returns `Ok`.
    pub async fn remove(&self, kind: &str, id: &str) -> Result<(), StoreError> {
        self.change(kind, id, None).await
    }

    async fn change(&self, kind: &str, id: &str, body: Option<&str>) -> Result<(), StoreError> {
        if let Some(store) = &self.store {
            show(&self.view, store.change(kind, id, body).await?);
            return Ok(());
        }
        self.view.send_modify(|documents| {
            let mut next = Documents::clone(documents);
            let name = (kind.to_owned(), id.to_owned());
            match body {
                Some(body) => next.bodies.insert(name, Arc::from(body)),
                None => next.bodies.remove(&name),
            };
            next.revision += 1;
            *documents = Arc::new(next);
        });
        Ok(())
    }
}

/// Puts documents in force, unless later ones are.
fn show(view: &watch::Sender<Arc<Documents>>, documents: Documents) {
    view.send_if_modified(|shown| {
        let is_later = documents.revision > shown.revision;
        if is_later {
            *shown = Arc::new(documents);
        }
        is_later
    });
}

/// Looks for what other replicas have changed, while there may be any. A store that cannot be reached is
/// looked at again.
async fn follow(store: Store, view: watch::Sender<Arc<Documents>>, ended: CancellationToken) {
    let mut ticks = interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut was_shared = false;
    loop {
        tokio::select! {
            () = ended.cancelled() => return,
            _ = ticks.tick() => {}
        }
        // Once more after the other process has ended: it may have changed something at the last moment.
        let is_shared = store.is_shared();
        if !is_shared && !was_shared {
            continue;
        }
        let Ok(revision) = store.revision().await else { continue };
        was_shared = is_shared;
        let shown = view.borrow().revision;
        if revision > shown
            && let Ok(documents) = store.documents().await
        {
            show(&view, documents);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_change_reaches_those_who_watch() {
        let register = Register::in_memory();
        let mut watching = register.watch();
        register.put("key", "a", "1").await.unwrap();
        register.put("keys", "b", "2").await.unwrap();
        register.put("key", "c", "3").await.unwrap();
        register.remove("key", "a").await.unwrap();
        watching.changed().await.unwrap();
        let documents = watching.borrow().clone();
        assert_eq!(documents.of("key").collect::<Vec<_>>(), [("c", "3")]);
        assert_eq!((documents.get("keys", "b"), documents.revision), (Some("2"), 4));
    }
}
