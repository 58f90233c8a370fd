//! Who calls?
//!
//! Credentials are read from headers only, never from a URL. A key is found by its public prefix and
//! compared in constant time. A signed request names its key at once and proves it when its body is
//! there, because the signature covers the body. Nothing here is logged but the caller's name (I-9).

mod keyring;
mod signature;

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use http::request::Parts;
use outcrop_core::failure::{Code, Failure};
use outcrop_core::{Dialect, Reason, Role};
use outcrop_policy::Residency;
use outcrop_policy::scope::Attribution;

pub use keyring::{Holder, KeyTable, Keyring, StoredKeys};

use crate::headers::{self, Wishes};
use crate::surface::dialect_of;
use signature::Signature;

/// Authenticated origin of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Name of the key; `anonymous` in open mode.
    pub name: Arc<str>,
    /// Organisation of the key; empty if none.
    pub org: Arc<str>,
    /// Team of the key; empty if none.
    pub team: Arc<str>,
    /// Aliases it may use; `None` is all.
    pub models: Option<Arc<[Box<str>]>>,
    /// Operations it may ask for; `None` is all.
    pub operations: Option<Arc<[Box<str>]>>,
    /// Residency its requests must keep.
    pub residency: Option<Residency>,
    /// Whether it may name raw Bedrock ids.
    pub raw_ids: bool,
    /// Status of a refusal for lack of budget: 402, or 429 for clients that know no better.
    pub budget_refusal_status: u16,
}

impl Caller {
    /// A caller with a name and no further bounds, who may not name raw ids.
    pub fn named(name: &str) -> Self {
        Self {
            name: name.into(),
            org: "".into(),
            team: "".into(),
            models: None,
            operations: None,
            residency: None,
            raw_ids: false,
            budget_refusal_status: Code::BudgetExceeded.status(),
        }
    }

    /// Whether the allow-list admits a model by the name the caller used.
    pub fn may_use(&self, model: &str, is_alias: bool) -> bool {
        let listed = self.models.as_ref().is_none_or(|models| models.iter().any(|m| **m == *model));
        listed && (is_alias || self.raw_ids)
    }

    /// Whether it may ask for an operation.
    pub fn may_ask_for(&self, operation: &str) -> bool {
        self.operations.as_ref().is_none_or(|list| list.iter().any(|name| **name == *operation))
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

/// Whether it is settled that the caller is who it says.
#[must_use = "a caller is believed once its proof is checked"]
pub(crate) enum Proof {
    /// It is.
    Given,
    /// Its signature has to fit the body first.
    Signed(Box<Signature>),
}

impl Proof {
    /// The name to record by now: nobody's, before a signature was checked.
    pub(crate) fn vouches_for<'a>(&self, caller: &'a Caller) -> &'a str {
        match self {
            Self::Given => &caller.name,
            Self::Signed(_) => "",
        }
    }

    /// Settles it, once the body is there as it was sent.
    pub(crate) fn check(&self, head: &Parts, sent: &[u8]) -> Result<(), Failure> {
        match self {
            Self::Given => Ok(()),
            Self::Signed(signature) => signature.verify(head, sent),
        }
    }

    /// Settles it where no body is read here.
    pub(crate) fn without_body(&self) -> Result<(), Failure> {
        match self {
            Self::Given => Ok(()),
            Self::Signed(_) => Err(not_signed_here()),
        }
    }
}

/// Finds the caller behind the credentials of a request; `now` is the time since the Unix epoch.
pub(crate) fn authenticate(auth: &Auth, head: &Parts, now: Duration) -> Result<(Caller, Proof), Failure> {
    let ring = match auth {
        Auth::Open(caller) => {
            headers::refuse_foreign_pages(head)?;
            return Ok((caller.clone(), Proof::Given));
        }
        Auth::Keys(ring) => ring,
    };
    let (holder, proof) = match credential(head)? {
        Credential::Key(key) => {
            let holder = ring.find(key, now).ok_or_else(|| {
                Failure::refusal(Code::Unauthenticated, "This key is not known here, or it has ended.")
            })?;
            (holder, Proof::Given)
        }
        Credential::Signature(text) => signed(ring, head, text, now)?,
    };
    match holder.role {
        Role::Client => Ok((holder.caller.clone(), proof)),
        Role::Viewer | Role::Operator | Role::Admin => Err(Failure::refusal(
            Code::Forbidden,
            "This key administers the gateway and cannot call models; use one with role client.",
        )),
    }
}

/// The holder of the pair that a signed request names, and the signature that is still to be checked.
fn signed(ring: &Keyring, head: &Parts, text: &str, now: Duration) -> Result<(Arc<Holder>, Proof), Failure> {
    if dialect_of(head.uri.path()) != Dialect::Bedrock {
        return Err(not_signed_here());
    }
    let claim = signature::read(head, text, now)?;
    let unknown =
        || Failure::unsigned(Reason::UnknownPair, "The security token included in the request is invalid.");
    let (holder, secret) = ring.pair(&claim.access_key_id).ok_or_else(unknown)?;
    if !holder.is_valid(now) {
        return Err(Failure::unsigned(
            Reason::ExpiredPair,
            "The security token included in the request is expired.",
        ));
    }
    Ok((holder, Proof::Signed(Box::new(Signature { claim, secret }))))
}

fn not_signed_here() -> Failure {
    Failure::refusal(
        Code::Unauthenticated,
        "Signed requests are taken on the Bedrock APIs (/model/…) only; send a key as `Authorization: \
         Bearer …`.",
    )
}

/// What a request shows.
enum Credential<'a> {
    /// A key.
    Key(&'a str),
    /// The text of an AWS authorization.
    Signature(&'a str),
}

/// The credential among the places where SDKs put one.
fn credential(head: &Parts) -> Result<Credential<'_>, Failure> {
    let headers: &HeaderMap = &head.headers;
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
    if let Some(value) = headers.get(AUTHORIZATION).and_then(|v| v.to_str().ok()) {
        if let Some((scheme, token)) = value.split_once(' ')
            && scheme.eq_ignore_ascii_case("bearer")
        {
            return Ok(Credential::Key(token.trim()));
        }
        if value.starts_with("AWS4-") {
            return Ok(Credential::Signature(value));
        }
    }
    if let Some(key) = text("x-api-key").or_else(|| text("api-key")) {
        return Ok(Credential::Key(key));
    }
    let presigned = head.uri.query().is_some_and(|query| query.contains("X-Amz-Signature="));
    let message = if presigned {
        "Presigned URLs are not taken: sign the request in its `Authorization` header."
    } else {
        "No key was sent: put it into `Authorization: Bearer …`, `x-api-key` or `api-key`, or sign with an \
         AWS pair."
    };
    Err(Failure::refusal(Code::Unauthenticated, message))
}

#[cfg(test)]
mod tests;
