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
        let mut watching = self.register.watch();
        loop {
            let documents = watching.borrow_and_update().clone();
            self.adopt(&documents);
            tokio::select! {
                () = stop.cancelled() => return,
                changed = watching.changed() => if changed.is_err() { return },
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

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret;
    use std::time::Duration;

    /// A configuration that asks for keys and names neither pepper nor key, over a durable store.
    fn checked(folder: &std::path::Path) -> Checked {
        let open = "[auth]\nmode=\"open\"\n[[path]]\nname=\"x\"\nkind=\"openai\"\nurl=\"http://127.0.0.1:1/v1\"\n\
                    [[model]]\nname=\"m\"\ntargets=[{path=\"x\",id=\"m\"}]\n[[price]]\nmodel=\"m\"\nfree=true\n";
        let mut checked = crate::config::parse("outcrop.toml", open).unwrap();
        checked.auth = Auth::Keys(Box::new(outcrop_proxy::Keyring::new(None)));
        checked.open = false;
        checked.keeping = Keeping::Folder(folder.to_owned());
        checked
    }

    #[tokio::test]
    async fn the_first_start_makes_a_pepper_and_an_admin_key_that_open_the_second() {
        let folder = tempfile::tempdir().unwrap();
        let (checked, register) = (checked(folder.path()), Register::in_memory());
        let first = Authority::establish(&checked, register.clone()).unwrap();
        let key = first.first_admin().await.unwrap().unwrap().key;
        let second = Authority::establish(&checked, register).unwrap();
        assert!(second.first_admin().await.unwrap().is_none(), "made once");
        let mut auth = checked.auth.clone();
        second.complete(&mut auth).unwrap();
        let Auth::Keys(ring) = &auth else { panic!("open") };
        let holder = ring.find(key.expose_secret(), Duration::ZERO).unwrap();
        assert_eq!(holder.administrator().role, outcrop_core::Role::Admin);
        let mut other = Auth::Keys(Box::new(outcrop_proxy::Keyring::new(Some(Pepper::new(&[1; 32])))));
        assert!(second.complete(&mut other).is_err(), "another pepper needs a restart");
    }

    #[tokio::test]
    async fn without_a_durable_store_no_admin_key_is_made() {
        let folder = tempfile::tempdir().unwrap();
        let checked = Checked { keeping: Keeping::Memory, ..checked(folder.path()) };
        let authority = Authority::establish(&checked, Register::in_memory()).unwrap();
        assert!(authority.first_admin().await.unwrap().is_none());
        assert!(authority.complete(&mut checked.auth.clone()).is_err(), "and keys have no pepper");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
