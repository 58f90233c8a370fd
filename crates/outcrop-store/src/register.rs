//! The register: small documents (keys, stops, flags) that all replicas share.
//!
//! A change is durable before it is acknowledged, takes effect here at once and on every other replica
//! with its next heartbeat. Readers hold an immutable view and are told of the next one; they never
//! wait.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;

use crate::StoreError;

/// All documents at one revision.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Documents {
    /// Counts up with every change of any document.
    pub revision: u64,
    bodies: BTreeMap<(String, String), Arc<str>>,
}

impl Documents {
    /// Id and body of every document of a kind, in the order of the ids.
    pub fn of<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        let first = (kind.to_owned(), String::new());
        self.bodies
            .range(first..)
            .take_while(move |((of, _), _)| of == kind)
            .map(|((_, id), body)| (id.as_str(), &**body))
    }

    /// One document.
    pub fn get(&self, kind: &str, id: &str) -> Option<&str> {
        self.bodies.get(&(kind.to_owned(), id.to_owned())).map(|body| &**body)
    }
}

/// The documents, and the way to change them. Clones share them.
#[derive(Debug, Clone)]
pub struct Register {
    view: watch::Sender<Arc<Documents>>,
}

impl Register {
    /// A register that forgets everything with its process.
    pub fn in_memory() -> Self {
        Self { view: watch::Sender::new(Arc::default()) }
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
    #[allow(clippy::unused_async, reason = "a durable register waits for its disk")]
    pub async fn put(&self, kind: &str, id: &str, body: &str) -> Result<(), StoreError> {
        self.change(|bodies| {
            bodies.insert((kind.to_owned(), id.to_owned()), Arc::from(body));
        });
        Ok(())
    }

    /// Removes a document; one that is not there is no error. It is durable when this returns `Ok`.
    #[allow(clippy::unused_async, reason = "a durable register waits for its disk")]
    pub async fn remove(&self, kind: &str, id: &str) -> Result<(), StoreError> {
        self.change(|bodies| {
            bodies.remove(&(kind.to_owned(), id.to_owned()));
        });
        Ok(())
    }

    fn change(&self, edit: impl FnOnce(&mut BTreeMap<(String, String), Arc<str>>)) {
        self.view.send_modify(|documents| {
            let mut next = Documents::clone(documents);
            edit(&mut next.bodies);
            next.revision += 1;
            *documents = Arc::new(next);
        });
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
