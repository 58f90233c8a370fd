//! The keys that open the gateway: those of the file, and those of the register.
//!
//! The file's belong to a snapshot. The register's are shared by all snapshots and swapped whole when
//! the register changes, so that a revoked key opens nothing from then on. A request looks at both and
//! waits for neither.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use outcrop_core::Role;
use outcrop_policy::Scope;
use outcrop_store::keys::{Administrator, KeyRecord, Pepper, public_prefix};
use secrecy::SecretString;

use super::Caller;

/// Whoever a key belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Name, bounds.
    pub caller: Caller,
    /// What the key is for.
    pub role: Role,
    /// Scopes it may administer; empty is everything.
    pub manages: Vec<Scope>,
    /// When it ends.
    pub expires_at: Option<jiff::Timestamp>,
}

impl Holder {
    /// Whether the key has not ended; `now` is the time since the Unix epoch.
    pub fn is_valid(&self, now: Duration) -> bool {
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        self.expires_at.is_none_or(|end| now < end.as_second())
    }

    /// The holder at the operator's API.
    pub fn administrator(&self) -> Administrator {
        Administrator {
            name: Arc::clone(&self.caller.name),
            role: self.role,
            manages: self.manages.clone(),
            models: (self.caller.models.as_ref()).map(|m| m.iter().map(ToString::to_string).collect()),
            residency: self.caller.residency,
            expires_at: self.expires_at,
        }
    }

    /// The holder of a stored key; `None` if a part of the record cannot be understood.
    fn of(record: &KeyRecord) -> Option<Self> {
        let list = |names: &Option<Vec<String>>| {
            names.as_ref().map(|names| names.iter().map(|n| n.as_str().into()).collect::<Arc<[Box<str>]>>())
        };
        let caller = Caller {
            org: record.org.as_str().into(),
            team: record.team.as_str().into(),
            models: list(&record.models),
            operations: list(&record.operations),
            residency: record.residency,
            raw_ids: record.raw_models,
            ..Caller::named(&record.name)
        };
        let budget_refusal_status = if record.refusal_429 { 429 } else { caller.budget_refusal_status };
        let manages = record.manages.iter().map(|text| Scope::parse(text).ok()).collect::<Option<_>>()?;
        let caller = Caller { budget_refusal_status, ..caller };
        Some(Self { caller, role: record.role, manages, expires_at: record.expires_at })
    }
}

/// The hash of a key, and whose it is.
type Known = (Box<[u8]>, Arc<Holder>);

/// Keys by their public prefixes and by the ids of their pairs.
#[derive(Debug, Clone, Default)]
pub struct KeyTable {
    keys: HashMap<Box<str>, Known>,
    pairs: HashMap<Box<str>, Arc<Holder>>,
}

impl KeyTable {
    /// The keys of records that are not revoked; what cannot be understood opens nothing.
    pub fn of(records: &[KeyRecord]) -> Self {
        let mut table = Self::default();
        for record in records.iter().filter(|record| record.revoked_at.is_none()) {
            let (Some(hash), Some(holder)) = (record.hash_bytes(), Holder::of(record)) else { continue };
            let holder = Arc::new(holder);
            if let Some(id) = &record.access_key_id {
                table.pairs.insert(id.as_str().into(), Arc::clone(&holder));
            }
            table.keys.insert(record.prefix.as_str().into(), (hash.into(), holder));
        }
        table
    }

    fn find(&self, pepper: &Pepper, prefix: &str, key: &str) -> Option<&Arc<Holder>> {
        let (hash, holder) = self.keys.get(prefix)?;
        pepper.knows(key, hash).then_some(holder)
    }
}

/// The keys of the register. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct StoredKeys(Arc<ArcSwap<KeyTable>>);

impl StoredKeys {
    /// Puts other keys in force, at once and in every snapshot.
    pub fn replace(&self, table: KeyTable) {
        self.0.store(Arc::new(table));
    }
}

/// The keys that are accepted.
#[derive(Debug, Clone)]
pub struct Keyring {
    pepper: Option<Pepper>,
    file: KeyTable,
    stored: StoredKeys,
}

impl Keyring {
    /// An empty ring whose hashes are made under `pepper`; without one it accepts nothing.
    pub fn new(pepper: Option<Pepper>) -> Self {
        Self { pepper, file: KeyTable::default(), stored: StoredKeys::default() }
    }

    /// Adds a key of the file by its public prefix and the hash of the whole key.
    pub fn insert(&mut self, prefix: &str, hash: Vec<u8>, holder: Holder) {
        self.file.keys.insert(prefix.into(), (hash.into(), Arc::new(holder)));
    }

    /// The pepper, if there is one.
    pub fn pepper(&self) -> Option<&Pepper> {
        self.pepper.as_ref()
    }

    /// Completes a ring of the file with the process's pepper and the keys of the register.
    pub fn complete(&mut self, pepper: Option<&Pepper>, stored: &StoredKeys) {
        self.pepper = self.pepper.take().or_else(|| pepper.cloned());
        self.stored = stored.clone();
    }

    /// The holder of a whole key that has not ended; `now` is the time since the Unix epoch.
    pub fn find(&self, key: &str, now: Duration) -> Option<Arc<Holder>> {
        let (pepper, prefix) = (self.pepper.as_ref()?, public_prefix(key)?);
        let stored = self.stored.0.load();
        let found = self.file.find(pepper, prefix, key).or_else(|| stored.find(pepper, prefix, key))?;
        found.is_valid(now).then(|| Arc::clone(found))
    }

    /// The holder of an AWS pair, ended or not, and the secret it signs with.
    pub(super) fn pair(&self, access_key_id: &str) -> Option<(Arc<Holder>, SecretString)> {
        let stored = self.stored.0.load();
        let holder = stored.pairs.get(access_key_id)?;
        Some((Arc::clone(holder), self.pepper.as_ref()?.pair_secret(access_key_id)))
    }
}
