//! Stops and asked-for resumes as documents of the register.

use std::time::Duration;

use outcrop_policy::Stop;
use outcrop_store::{Documents, Register, StoreError};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::timeout;

/// Kind of the documents that are stops.
pub(super) const STOP: &str = "stop";
/// Kind of those that ask for a second person.
const RESUME: &str = "resume";
/// Longest wait for a change to be durable.
const DURABLE_MAX: Duration = Duration::from_secs(5);

/// Somebody asks to resume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ask {
    pub(super) by: String,
    pub(super) at_ms: u64,
    pub(super) staged: bool,
}

/// What the register says of stops.
pub(super) struct Read {
    pub(super) stops: Vec<Stop>,
    /// Ids of documents that cannot be read.
    pub(super) unreadable: Vec<String>,
}

/// The register, in the words of stops.
#[derive(Debug, Clone)]
pub(super) struct Journal {
    register: Register,
}

impl Journal {
    pub(super) fn new(register: Register) -> Self {
        Self { register }
    }

    pub(super) fn watch(&self) -> watch::Receiver<std::sync::Arc<Documents>> {
        self.register.watch()
    }

    /// All stops.
    pub(super) fn read(&self) -> Read {
        let mut read = Read { stops: Vec::new(), unreadable: Vec::new() };
        for (id, body) in self.register.documents().of(STOP) {
            match serde_json::from_str::<Stop>(body) {
                Ok(stop) if stop.id == id => read.stops.push(stop),
                Ok(_) | Err(_) => read.unreadable.push(id.to_owned()),
            }
        }
        read
    }

    /// Writes a stop.
    pub(super) async fn put(&self, stop: &Stop) -> Result<(), StoreError> {
        self.write(STOP, &stop.id, stop).await
    }

    /// Takes a stop back, and whatever was asked about it.
    pub(super) async fn remove(&self, id: &str) -> Result<(), StoreError> {
        in_time(self.register.remove(STOP, id)).await?;
        if self.asked(id).is_some() {
            in_time(self.register.remove(RESUME, id)).await?;
        }
        Ok(())
    }

    /// Who asked to resume a stop. What cannot be read was never asked.
    pub(super) fn asked(&self, id: &str) -> Option<Ask> {
        let documents = self.register.documents();
        documents.get(RESUME, id).and_then(|body| serde_json::from_str(body).ok())
    }

    /// Writes that somebody asks.
    pub(super) async fn ask(&self, id: &str, ask: &Ask) -> Result<(), StoreError> {
        self.write(RESUME, id, ask).await
    }

    async fn write(&self, kind: &str, id: &str, body: &impl Serialize) -> Result<(), StoreError> {
        let body = serde_json::to_string(body).map_err(|error| StoreError::Unreadable(error.to_string()))?;
        in_time(self.register.put(kind, id, &body)).await
    }
}

async fn in_time(change: impl Future<Output = Result<(), StoreError>>) -> Result<(), StoreError> {
    let late = |_| StoreError::Unavailable("it did not answer in time".to_owned());
    timeout(DURABLE_MAX, change).await.map_err(late)?
}
