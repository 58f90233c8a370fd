//! Who may call: the mode, the pepper, and the keys of the file.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use outcrop_core::Role;
use outcrop_proxy::{Auth, Caller, Holder, Keyring};
use outcrop_store::Location;
use outcrop_store::keys::{PEPPER_BYTES_MIN, Pepper, end};
use secrecy::ExposeSecret;
use toml::Spanned;

use super::check::{Findings, Listen};
use super::raw;

/// Where documents are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Keeping {
    /// Nowhere: they end with the process.
    Memory,
    /// In this folder of this machine.
    Folder(PathBuf),
    /// In a database that several replicas share.
    Shared,
}

impl Keeping {
    /// Where documents are kept when the store is there.
    pub(super) fn of(location: &Location) -> Self {
        match location {
            Location::Memory => Self::Memory,
            Location::Sqlite(path) => Self::Folder(path.parent().unwrap_or(Path::new("")).to_owned()),
            Location::Postgres(_) => Self::Shared,
        }
    }
}

/// Who may call, and whether everybody may.
pub(super) fn auth(
    raw: &raw::Config,
    listen: &Listen,
    keeping: &Keeping,
    findings: &mut Findings,
) -> (Auth, bool) {
    let mode = raw.auth.mode.as_ref();
    if mode.is_none_or(|m| *m.get_ref() != raw::AuthMode::Open) {
        return (Auth::Keys(Box::new(keyring(raw, keeping, findings))), false);
    }
    if !listen.data.ip().is_loopback() {
        findings.add(
            mode.map_or(0..0, Spanned::span),
            "`open` lets everybody spend your money, so it is for loopback listeners only",
            "listen on 127.0.0.1, or use mode = \"keys\"",
        );
    }
    let raw_ids = raw.auth.raw_models.unwrap_or(true);
    (Auth::Open(Caller { raw_ids, ..Caller::named("anonymous") }), true)
}

fn keyring(raw: &raw::Config, keeping: &Keeping, findings: &mut Findings) -> Keyring {
    let at = raw.auth.mode.as_ref().map_or(0..0, Spanned::span);
    let pepper = raw.auth.pepper.as_ref();
    let secret = pepper.map(|p| p.get_ref().0.expose_secret());
    match (pepper, keeping) {
        (Some(p), _) if secret.is_some_and(|s| s.len() < PEPPER_BYTES_MIN) => findings.add(
            p.span(),
            "the pepper must have at least 32 characters",
            "make one with: head -c 32 /dev/urandom | base64",
        ),
        (None, Keeping::Memory | Keeping::Shared) => findings.add(
            at.clone(),
            "keys need a pepper: the secret under which their hashes are made",
            "add `[auth] pepper = \"file:/path\"` or \"${NAME}\", or mode = \"open\" on loopback",
        ),
        (Some(_), _) | (None, Keeping::Folder(_)) => {}
    }
    if raw.key.is_empty() && *keeping == Keeping::Memory {
        findings.add(
            at,
            "there is no key, so nobody could call",
            "make one with `outcrop key row --pepper-file FILE --name NAME` and add the row it prints",
        );
    }
    let mut ring = Keyring::new(secret.map(|secret| Pepper::new(secret.as_bytes())));
    for key in &raw.key {
        let holder = holder(key, raw, findings);
        match parse_hash(key.hash.get_ref()) {
            Some((prefix, hash)) => ring.insert(prefix, hash, holder),
            None => findings.add(
                key.hash.span(),
                "this is not a key hash",
                "copy the row that `outcrop key row` printed",
            ),
        }
    }
    ring
}

fn holder(key: &raw::Key, raw: &raw::Config, findings: &mut Findings) -> Holder {
    let models = key.models.as_ref().map(|models| {
        for model in models.get_ref() {
            if !raw.model.iter().any(|m| m.name.get_ref() == model) {
                findings.add(
                    models.span(),
                    format!("there is no model `{}`", &**model),
                    "add a [[model]] with that name, or take it off the list",
                );
            }
        }
        models.get_ref().iter().map(|m| m.0.clone().into_boxed_str()).collect()
    });
    let named = Caller::named(key.name.get_ref());
    let caller = Caller {
        team: key.team.as_deref().unwrap_or("").into(),
        org: key.org.as_deref().unwrap_or("").into(),
        models,
        operations: (key.operations.as_ref())
            .map(|list| list.iter().map(|o| o.0.clone().into_boxed_str()).collect()),
        residency: key.residency,
        raw_ids: key.raw_models.unwrap_or(false),
        budget_refusal_status: budget_status(key, named.budget_refusal_status, findings),
        ..named
    };
    let expires_at = expires_at(key, findings);
    Holder { caller, role: key.role.unwrap_or(Role::Client), manages: Vec::new(), expires_at }
}

fn budget_status(key: &raw::Key, or: u16, findings: &mut Findings) -> u16 {
    let Some(status) = &key.budget_status else { return or };
    if !matches!(status.get_ref(), 402 | 429) {
        findings.add(status.span(), "a refusal for lack of budget is 402 or 429", "leave it out for 402");
    }
    *status.get_ref()
}

fn expires_at(key: &raw::Key, findings: &mut Findings) -> Option<Timestamp> {
    let text = key.expires.as_ref()?;
    let found = end(text.get_ref());
    if found.is_none() {
        findings.add(
            text.span(),
            format!("`{}` is no day and no time", &**text.get_ref()),
            "write 2027-01-31 or 2027-01-31T12:00:00Z",
        );
    }
    found
}

/// `oc_abc123:<64 hex digits>`: the public prefix and the hash of the whole key.
fn parse_hash(text: &str) -> Option<(&str, Vec<u8>)> {
    let (prefix, hex) = text.split_once(':')?;
    let hash = outcrop_store::keys::from_hex(hex)?;
    prefix.starts_with("oc_").then_some((prefix, hash))
}
