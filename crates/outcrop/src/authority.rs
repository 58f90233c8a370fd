//! Whom this process believes: its pepper, the keys of the register, and the desk that makes them.
//!
//! The pepper is the process's own and taken at start; a reload that brings another one is refused,
//! because every key would end at once. The keys follow the register for as long as the process
//! serves.

mod pepper;

use outcrop_proxy::{Auth, KeyTable, StoredKeys};
use outcrop_store::keys::{DeskError, KeyDesk, Minted, Pepper, read_all};
use outcrop_store::{Documents, Register};
use tokio_util::sync::CancellationToken;

use crate::clock::wall;
use crate::config::{Checked, Keeping};

pub(crate) use pepper::PepperError;

/// Whom this process believes. Clones share it.
#[derive(Clone)]
pub(crate) struct Authority {
    pepper: Option<Pepper>,
    stored: StoredKeys,
    register: Register,
    is_kept: bool,
}

impl Authority {
    /// Takes the pepper of the file, or the one beside the store, which is made at the first start.
    pub(crate) fn establish(checked: &Checked, register: Register) -> Result<Self, PepperError> {
        let named = match &checked.auth {
            Auth::Open(_) => None,
            Auth::Keys(ring) => ring.pepper().cloned(),
        };
        let pepper = match (named, &checked.keeping) {
            (Some(pepper), _) => Some(pepper),
            (None, Keeping::Folder(folder)) if !checked.open => Some(pepper::beside_store(folder)?),
            (None, Keeping::Folder(_) | Keeping::Memory | Keeping::Shared) => None,
        };
        let is_kept = checked.keeping != Keeping::Memory;
        let authority = Self { pepper, stored: StoredKeys::default(), register, is_kept };
        authority.adopt(&authority.register.documents());
        Ok(authority)
    }

    /// Gives the keys of a file the pepper and the keys of the register; the text says why it cannot.
    pub(crate) fn complete(&self, auth: &mut Auth) -> Result<(), String> {
        let Auth::Keys(ring) = auth else { return Ok(()) };
        match (ring.pepper(), &self.pepper) {
            (Some(theirs), Some(ours)) if !theirs.is(ours) => {
                return Err("[auth] pepper: another pepper ends every key; restart to take it".to_owned());
            }
            (None, None) => return Err("[auth] keys need a pepper; restart to take one".to_owned()),
            (Some(_), _) | (None, Some(_)) => {}
        }
        ring.complete(self.pepper.as_ref(), &self.stored);
        Ok(())
    }

    /// Makes and revokes keys; `None` where there is no pepper, as in open mode.
    pub(crate) fn desk(&self) -> Option<KeyDesk> {
        Some(KeyDesk::new(self.register.clone(), self.pepper.clone()?))
    }

    /// The register, and whether it outlives this process.
    pub(crate) fn register(&self) -> (Register, bool) {
        (self.register.clone(), self.is_kept)
    }

    /// Whether keys that are made outlive this process.
    pub(crate) fn is_kept(&self) -> bool {
        self.is_kept
    }

    /// The first admin key, made if there has never been one and it will be kept.
    pub(crate) async fn first_admin(&self) -> Result<Option<Minted>, DeskError> {
        match self.desk() {
            Some(desk) if self.is_kept => desk.first_admin(wall()).await,
            Some(_) | None => Ok(None),
        }
    }

    /// Takes up every change of the register until `stop`.
    pub(crate) async fn follow(self, stop: CancellationToken) {
        let mut changes = self.register.watch();
        loop {
            let documents = changes.borrow_and_update().clone();
            self.adopt(&documents);
            tokio::select! {
                () = stop.cancelled() => return,
                changed = changes.changed() => if changed.is_err() { return },
            }
        }
    }

    fn adopt(&self, documents: &Documents) {
        let (records, unreadable) = read_all(documents);
        for (id, cause) in unreadable {
            tracing::error!(id, cause, "a key cannot be read and opens nothing");
        }
        self.stored.replace(KeyTable::of(&records));
    }
}
