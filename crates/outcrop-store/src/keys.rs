//! Keys as they are kept: what each may do, and the hash by which it is known again.
//!
//! A key is shown once, when it is made. What is kept is its HMAC-SHA-256 under the pepper, as a
//! document of the register, found by the key's public prefix. The secret of an AWS pair is derived from
//! the pepper, so that signatures can be verified although no secret is kept. A record that cannot be
//! read opens nothing.

mod desk;
mod grant;
mod mint;
mod pepper;

use jiff::Timestamp;
use outcrop_core::Role;
use outcrop_policy::Residency;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::Documents;

pub use desk::{DeskError, KeyDesk};
pub use grant::Administrator;
pub use mint::{Minted, Wanted, end, expiry};
pub use pepper::{PEPPER_BYTES_MIN, Pepper, from_hex, public_prefix, to_hex};

/// Kind of the register's documents that hold a key.
pub const KIND: &str = "key";
/// Kind of the document that says that the first admin key was made.
const FIRST: &str = "first_admin";
/// Most keys that are kept, revoked ones included.
pub const KEYS_MAX: usize = 10_000;
/// How long the record of a revoked or expired key is kept, in hours: 90 days.
pub const ENDED_KEPT_HOURS: i64 = 90 * 24;

/// One key. A field that this version does not know might narrow it, so such a record is not read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyRecord {
    /// Public prefix (`oc_` and 12 hex digits); the id of the document.
    pub prefix: String,
    /// HMAC-SHA-256 of the whole key under the pepper, in hex.
    pub hash: String,
    /// Access key id of its AWS pair.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_key_id: Option<String>,
    /// Name, as in `key:NAME`.
    pub name: String,
    /// Organisation; empty if none.
    #[serde(default)]
    pub org: String,
    /// Team; empty if none.
    #[serde(default)]
    pub team: String,
    /// What it is for.
    pub role: Role,
    /// Scopes that an operator's key may administer; empty is everything.
    #[serde(default)]
    pub manages: Vec<String>,
    /// Aliases it may use; absent is all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub models: Option<Vec<String>>,
    /// Operations it may ask for; absent is all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operations: Option<Vec<String>>,
    /// Residency that its requests keep.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub residency: Option<Residency>,
    /// Whether it may name raw Bedrock ids.
    #[serde(default)]
    pub raw_models: bool,
    /// Whether a refusal for lack of budget is a 429 instead of a 402.
    #[serde(default)]
    pub refusal_429: bool,
    /// When it was made.
    pub created_at: Timestamp,
    /// Who made it.
    pub created_by: String,
    /// From when on it opens nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<Timestamp>,
}

impl KeyRecord {
    /// Reads a document.
    pub fn read(body: &str) -> Result<Self, String> {
        serde_json::from_str(body).map_err(|error| error.to_string())
    }

    /// Whether it opens anything at this moment.
    pub fn is_active(&self, now: Timestamp) -> bool {
        self.ended_at().is_none_or(|end| now < end)
    }

    /// When it ended or will end.
    fn ended_at(&self) -> Option<Timestamp> {
        [self.revoked_at, self.expires_at].into_iter().flatten().min()
    }

    /// The hash as bytes; `None` if it is none.
    pub fn hash_bytes(&self) -> Option<Vec<u8>> {
        pepper::from_hex(&self.hash)
    }

    /// What may be shown: everything but the hash, and in which state it is.
    pub fn shown(&self, now: Timestamp) -> Value {
        let state = match (self.revoked_at, self.is_active(now)) {
            (Some(_), _) => "revoked",
            (None, true) => "active",
            (None, false) => "expired",
        };
        json!({
            "prefix": self.prefix, "access_key_id": self.access_key_id, "state": state,
            "name": self.name, "org": self.org, "team": self.team, "role": self.role,
            "manages": self.manages, "models": self.models, "operations": self.operations,
            "residency": self.residency, "raw_models": self.raw_models,
            "refusal_429": self.refusal_429, "created_at": self.created_at,
            "created_by": self.created_by, "expires_at": self.expires_at, "revoked_at": self.revoked_at,
        })
    }
}

/// The keys among the documents, and what could not be read of them: id and cause.
pub fn read_all(documents: &Documents) -> (Vec<KeyRecord>, Vec<(String, String)>) {
    let (mut records, mut unreadable) = (Vec::new(), Vec::new());
    for (id, body) in documents.of(KIND) {
        match KeyRecord::read(body) {
            Ok(record) if record.prefix == id => records.push(record),
            Ok(_) => unreadable.push((id.to_owned(), "it is filed under another prefix".to_owned())),
            Err(cause) => unreadable.push((id.to_owned(), cause)),
        }
    }
    (records, unreadable)
}

#[cfg(test)]
mod tests;
