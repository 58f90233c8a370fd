//! The routes in force: those of the file, with the flags that operators have turned and the tunings of the
//! optimizer over them.
//!
//! A flag that was turned is a document of the register, so it outlives the process and holds on every
//! replica. Every change makes a snapshot of its own, so that no request sees half of it (I-8); reload and
//! flags take turns, so that neither undoes the other.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use outcrop_policy::optimizer::Tuning;
use outcrop_policy::{Flag, Routes};
use outcrop_proxy::{Gateway, Snapshot};
use outcrop_store::{Documents, Register, StoreError};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

/// The kind of these documents.
const KIND: &str = "flag";

/// How a flag was turned.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct Turned {
    /// On or off.
    pub(crate) on: bool,
    /// How it stood before.
    pub(crate) was: bool,
    /// By whom.
    pub(crate) by: String,
    /// When, in milliseconds since the epoch.
    pub(crate) at_ms: u64,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
}

/// A flag, how it stands, and who said so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Row {
    /// Its name.
    pub(crate) flag: String,
    /// How it stands.
    pub(crate) on: bool,
    /// How it would stand by the file alone.
    pub(crate) file: bool,
    /// What was set over that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) set: Option<Turned>,
}

/// The routes in force. Clones share them.
#[derive(Clone)]
pub(crate) struct Overlay {
    gateway: Arc<Gateway>,
    register: Register,
    // Held while a snapshot is made and put in force; never across an await (I-5).
    base: Arc<Mutex<Base>>,
}

struct Base {
    file: Routes,
    over: Vec<(Flag, bool)>,
    tunings: Vec<Tuning>,
}

impl Overlay {
    /// Over the routes of a file, which the gateway has in force; takes up what was turned before.
    pub(crate) fn new(gateway: Arc<Gateway>, register: Register, file: Routes) -> Self {
        let base = Arc::new(Mutex::new(Base { file, over: Vec::new(), tunings: Vec::new() }));
        let overlay = Self { gateway, register, base };
        overlay.apply();
        overlay
    }

    fn lock(&self) -> MutexGuard<'_, Base> {
        self.base.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a snapshot of another file in force, with what was turned; gives back its version and the former
    /// snapshot.
    pub(crate) fn install(&self, mut next: Snapshot) -> (u64, Arc<Snapshot>) {
        let mut base = self.lock();
        base.over = self.turned();
        base.file = std::mem::take(&mut next.routes);
        next.routes = base.routes();
        next.version = self.gateway.snapshot().version + 1;
        (next.version, self.gateway.swap(next))
    }

    /// Takes up what the register says, if it is another thing than before.
    pub(crate) fn apply(&self) {
        let mut base = self.lock();
        let over = self.turned();
        if over == base.over {
            return;
        }
        base.over = over;
        let version = self.put(&base);
        tracing::info!(version, "flags in force");
    }

    /// Puts these tunings in force, and no others.
    pub(crate) fn tune(&self, tunings: Vec<Tuning>) {
        let mut base = self.lock();
        if tunings == base.tunings {
            return;
        }
        base.tunings = tunings;
        let version = self.put(&base);
        tracing::info!(version, "tunings in force");
    }

    fn put(&self, base: &Base) -> u64 {
        let before = self.gateway.snapshot();
        let (version, routes) = (before.version + 1, base.routes());
        self.gateway.swap(Snapshot { version, routes, ..Snapshot::clone(&before) });
        version
    }

    fn turned(&self) -> Vec<(Flag, bool)> {
        let documents = self.register.documents();
        let rows = documents.of(KIND).filter_map(|(id, _)| Some((Flag::parse(id)?, set(&documents, id)?.on)));
        rows.collect()
    }

    /// Every flag there is.
    pub(crate) fn rows(&self) -> Vec<Row> {
        let documents = self.register.documents();
        let base = self.lock();
        let routes = base.routes();
        let rows = routes.flags().into_iter().filter_map(|flag| {
            let name = flag.to_string();
            let (on, file) = (routes.flag(&flag)?, base.file.flag(&flag)?);
            Some(Row { set: set(&documents, &name), flag: name, on, file })
        });
        rows.collect()
    }

    /// How a flag stands; `None` when there is no such path, model or operation.
    pub(crate) fn stands(&self, flag: &Flag) -> Option<bool> {
        self.gateway.snapshot().routes.flag(flag)
    }

    /// Turns a flag, or takes back what was set. It is durable and in force when this returns `Ok`.
    pub(crate) async fn turn(&self, flag: &Flag, turned: Option<&Turned>) -> Result<(), StoreError> {
        match turned {
            Some(turned) => {
                let body =
                    serde_json::to_string(turned).map_err(|e| StoreError::Unreadable(e.to_string()))?;
                self.register.put(KIND, &flag.to_string(), &body).await?;
            }
            None => self.register.remove(KIND, &flag.to_string()).await?,
        }
        self.apply();
        Ok(())
    }

    /// Takes up every flag that is turned here or on another replica, until `stop`.
    pub(crate) async fn follow(self, stop: CancellationToken) {
        let mut watching = self.register.watch();
        loop {
            watching.borrow_and_update();
            self.apply();
            tokio::select! {
                () = stop.cancelled() => return,
                changed = watching.changed() => if changed.is_err() { return },
            }
        }
    }
}

impl Base {
    fn routes(&self) -> Routes {
        let mut routes = self.file.clone();
        for (flag, on) in &self.over {
            routes.set_flag(flag, *on);
        }
        if routes.switches.optimizer {
            self.tunings.iter().for_each(|tuning| routes.tune(tuning));
        }
        routes
    }
}

fn set(documents: &Documents, id: &str) -> Option<Turned> {
    let body = documents.get(KIND, id)?;
    match serde_json::from_str(body) {
        Ok(turned) => Some(turned),
        Err(error) => {
            tracing::error!(flag = id, %error, "a flag that was turned cannot be read; the file's holds");
            None
        }
    }
}
