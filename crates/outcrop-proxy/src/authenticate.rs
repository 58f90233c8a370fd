//! Who calls?
//!
//! Credentials are read from headers only, never from a URL. A key is found by its public prefix and
//! compared in constant time. Nothing here is logged but the caller's name (I-9).

use std::collections::HashMap;
use std::sync::Arc;

use aws_lc_rs::hmac;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use http::request::Parts;
use outcrop_core::failure::{Code, Failure};
use outcrop_policy::Residency;
use outcrop_policy::scope::Attribution;

use crate::headers::{self, Wishes};

/// Authenticated origin of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Name of the key; `anonymous` in open mode.
    pub name: Arc<str>,
    /// Team of the key; empty is none.
    pub team: Arc<str>,
    /// Organisation of the key; empty is none.
    pub org: Arc<str>,
    /// Aliases it may use; `None` is all.
    pub models: Option<Arc<[Box<str>]>>,
    /// Residency its requests must keep.
    pub residency: Option<Residency>,
    /// Whether it may name raw Bedrock ids.
    pub raw_ids: bool,
}

impl Caller {
    /// Whether the allow-list admits a model by the name the caller used.
    pub fn may_use(&self, model: &str, is_alias: bool) -> bool {
        let listed = self.models.as_ref().is_none_or(|models| models.iter().any(|m| **m == *model));
        listed && (is_alias || self.raw_ids)
    }

    /// Whose a request of this caller is, as far as its head says.
    pub(crate) fn attribution(&self, wishes: &Wishes) -> Attribution {
        Attribution {
            org: Arc::clone(&self.org),
            team: Arc::clone(&self.team),
            key: Arc::clone(&self.name),
            user: Arc::clone(&wishes.user),
            run: Arc::clone(&wishes.run),
            ..Attribution::default()
        }
    }
}

/// Who may call.
#[derive(Debug, Clone)]
pub enum Auth {
    /// Everybody who can reach the (loopback) listener.
    Open(Caller),
    /// Holders of a key.
    Keys(Box<Keyring>),
}

/// The keys that are accepted.
#[derive(Clone)]
pub struct Keyring {
    pepper: hmac::Key,
    keys: HashMap<Box<str>, (Box<[u8]>, Caller)>,
}

impl std::fmt::Debug for Keyring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keyring").field("keys", &self.keys.len()).finish_non_exhaustive()
    }
}

impl Keyring {
    /// An empty ring whose hashes are HMAC-SHA-256 under `pepper`.
    pub fn new(pepper: &[u8]) -> Self {
        Self { pepper: hmac::Key::new(hmac::HMAC_SHA256, pepper), keys: HashMap::new() }
    }

    /// Adds a key by its public prefix (`oc_` and the characters up to the second `_`) and the hash of
    /// the whole key.
    pub fn insert(&mut self, prefix: &str, hash: Vec<u8>, caller: Caller) {
        self.keys.insert(prefix.into(), (hash.into(), caller));
    }

    /// The hash under which a key is stored.
    pub fn hash(&self, key: &str) -> Vec<u8> {
        hmac::sign(&self.pepper, key.as_bytes()).as_ref().to_vec()
    }

    /// Whether a key would be accepted.
    pub fn accepts(&self, key: &str) -> bool {
        self.find(key).is_some()
    }

    fn find(&self, key: &str) -> Option<&Caller> {
        let (hash, caller) = self.keys.get(public_prefix(key)?)?;
        hmac::verify(&self.pepper, key.as_bytes(), hash).ok().map(|()| caller)
    }
}

/// The part of a key that may be shown: `oc_` and the characters up to the second `_`.
pub fn public_prefix(key: &str) -> Option<&str> {
    let rest = key.strip_prefix("oc_")?;
    let end = rest.find('_')?;
    key.get(.."oc_".len() + end)
}

/// Finds the caller behind the credentials of a request.
pub(crate) fn authenticate(auth: &Auth, head: &Parts) -> Result<Caller, Failure> {
    match auth {
        Auth::Open(caller) => {
            headers::refuse_foreign_pages(head)?;
            Ok(caller.clone())
        }
        Auth::Keys(ring) => ring
            .find(credential(&head.headers)?)
            .cloned()
            .ok_or_else(|| Failure::refusal(Code::Unauthenticated, "This key is not known here.")),
    }
}

/// The key among the places where SDKs put one.
fn credential(headers: &HeaderMap) -> Result<&str, Failure> {
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
    if let Some(value) = headers.get(AUTHORIZATION).and_then(|v| v.to_str().ok()) {
        if let Some((scheme, token)) = value.split_once(' ')
            && scheme.eq_ignore_ascii_case("bearer")
        {
            return Ok(token.trim());
        }
        if value.starts_with("AWS4-HMAC-SHA256") {
            return Err(Failure::refusal(
                Code::Unauthenticated,
                "Signed requests need a minted AWS pair, which this version does not make yet; send \
                 the key as a bearer token (AWS_BEARER_TOKEN_BEDROCK).",
            ));
        }
    }
    text("x-api-key").or_else(|| text("api-key")).ok_or_else(|| {
        Failure::refusal(
            Code::Unauthenticated,
            "No key was sent: put it into `Authorization: Bearer …`, `x-api-key` or `api-key`.",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring() -> Keyring {
        let mut ring = Keyring::new(b"pepper");
        let caller = Caller {
            name: "ci".into(),
            team: "blue".into(),
            org: "".into(),
            models: None,
            residency: None,
            raw_ids: false,
        };
        let hash = ring.hash("oc_abc_secret");
        ring.insert("oc_abc", hash, caller);
        ring
    }

    fn check(header: &str, value: &str, expected: Option<&str>) {
        let request = http::Request::builder().header(header, value).body(()).unwrap();
        let found = authenticate(&Auth::Keys(Box::new(ring())), &request.into_parts().0);
        assert_eq!(found.as_ref().ok().map(|c| &*c.name), expected, "{header}: {value}");
    }

    #[test]
    fn a_key_is_accepted_wherever_sdks_put_it_and_only_whole() {
        check("authorization", "Bearer oc_abc_secret", Some("ci"));
        check("authorization", "bearer oc_abc_secret", Some("ci"));
        check("x-api-key", "oc_abc_secret", Some("ci"));
        check("api-key", "oc_abc_secret", Some("ci"));
        for wrong in ["oc_abc_secre", "oc_abc_secrett", "oc_abc_", "oc_abc", "oc_", "", "oc_abd_secret"] {
            check("x-api-key", wrong, None);
        }
        check("authorization", "AWS4-HMAC-SHA256 Credential=oc_abc_secret", None);
        check("cookie", "oc_abc_secret", None);
    }
}
