//! The key desk: makes, lists and revokes keys in the register, within the rights of whoever asks.

use jiff::{SignedDuration, Timestamp};
use outcrop_core::Role;

use super::mint::{Minted, Wanted, mint};
use super::{Administrator, ENDED_KEPT_HOURS, FIRST, KEYS_MAX, KIND, KeyRecord, Pepper, read_all};
use crate::{Register, StoreError};

/// Why a key is not made or revoked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeskError {
    /// What is wanted is not possible.
    #[error("{0}")]
    Invalid(String),
    /// Whoever asks may not do it.
    #[error("{0}")]
    Forbidden(String),
    /// There is no such key, or it lies where the one who asks sees nothing.
    #[error("there is no key `{0}`; `outcrop key list` shows them")]
    Unknown(String),
    /// The register cannot.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Makes, lists and revokes keys.
#[derive(Debug, Clone)]
pub struct KeyDesk {
    register: Register,
    pepper: Pepper,
}

impl KeyDesk {
    /// A desk over a register; keys are hashed under `pepper`.
    pub fn new(register: Register, pepper: Pepper) -> Self {
        Self { register, pepper }
    }

    /// Makes a key. It is durable when this returns.
    pub async fn mint(
        &self,
        by: &Administrator,
        wanted: &Wanted,
        now: Timestamp,
    ) -> Result<Minted, DeskError> {
        let minted = mint(wanted, &by.name, &self.pepper, now).map_err(DeskError::Invalid)?;
        by.may_grant(&minted.record).map_err(DeskError::Forbidden)?;
        self.make_room(now).await?;
        self.refuse_borrowed_name(&minted.record, now)?;
        self.put(&minted.record).await?;
        Ok(minted)
    }

    /// The keys that whoever asks may see, the oldest first.
    pub fn list(&self, by: &Administrator) -> Vec<KeyRecord> {
        let (mut records, _) = read_all(&self.register.documents());
        records.retain(|record| by.may_see(record));
        records.sort_by(|a, b| (a.created_at, &a.prefix).cmp(&(b.created_at, &b.prefix)));
        records
    }

    /// Revokes a key by its prefix or its access key id; once revoked it stays so.
    pub async fn revoke(&self, by: &Administrator, id: &str, now: Timestamp) -> Result<KeyRecord, DeskError> {
        let names = |record: &KeyRecord| record.prefix == id || record.access_key_id.as_deref() == Some(id);
        let found = self.list(by).into_iter().find(names);
        let mut record = found.ok_or_else(|| DeskError::Unknown(id.to_owned()))?;
        if !by.role.may_grant(record.role) {
            let text = format!("a key with role {} cannot revoke this one", by.role.label());
            return Err(DeskError::Forbidden(text));
        }
        if record.revoked_at.is_none() {
            record.revoked_at = Some(now);
            self.put(&record).await?;
        }
        Ok(record)
    }

    /// Makes the first admin key, if there has never been one. What says so is durable before anybody
    /// sees the key, so that no crash makes a second one.
    pub async fn first_admin(&self, now: Timestamp) -> Result<Option<Minted>, DeskError> {
        let documents = self.register.documents();
        let (records, unreadable) = read_all(&documents);
        let had_one = records.iter().any(|key| key.role == Role::Admin) || !unreadable.is_empty();
        if had_one || documents.of(FIRST).next().is_some() {
            return Ok(None);
        }
        let by = Administrator::of_the_machine("first start");
        let minted = self.mint(&by, &Wanted::named("admin", Role::Admin), now).await?;
        self.register.put(FIRST, &minted.record.prefix, "{}").await?;
        Ok(Some(minted))
    }

    async fn put(&self, record: &KeyRecord) -> Result<(), DeskError> {
        let body = serde_json::to_string(record).map_err(|e| DeskError::Invalid(e.to_string()))?;
        Ok(self.register.put(KIND, &record.prefix, &body).await?)
    }

    /// Two teams must not share an account because their keys share a name.
    fn refuse_borrowed_name(&self, key: &KeyRecord, now: Timestamp) -> Result<(), DeskError> {
        let (records, _) = read_all(&self.register.documents());
        let elsewhere =
            |other: &KeyRecord| other.name == key.name && (&other.org, &other.team) != (&key.org, &key.team);
        if records.iter().any(|other| other.is_active(now) && elsewhere(other)) {
            let text = format!("the name `{}` is taken by a key of another team; choose another", key.name);
            return Err(DeskError::Invalid(text));
        }
        Ok(())
    }

    /// Forgets keys that ended long ago, and refuses when there are too many all the same.
    async fn make_room(&self, now: Timestamp) -> Result<(), DeskError> {
        let documents = self.register.documents();
        let (records, _) = read_all(&documents);
        let long_ago =
            now.checked_sub(SignedDuration::from_hours(ENDED_KEPT_HOURS)).unwrap_or(Timestamp::MIN);
        let mut kept = documents.of(KIND).count();
        for record in records.iter().filter(|key| key.ended_at().is_some_and(|end| end < long_ago)) {
            self.register.remove(KIND, &record.prefix).await?;
            kept = kept.saturating_sub(1);
        }
        if kept >= KEYS_MAX {
            let text = format!("there are {KEYS_MAX} keys, the most that are kept; revoke some");
            return Err(DeskError::Invalid(text));
        }
        Ok(())
    }
}
