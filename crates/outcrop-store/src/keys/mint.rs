//! Making a key: 256 random bits behind a public prefix, and on request an AWS pair.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::tz::TimeZone;
use jiff::{Span, SpanRelativeTo, Timestamp};
use outcrop_core::Role;
use outcrop_policy::{Residency, Scope};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use super::pepper::to_hex;
use super::{KeyRecord, Pepper, public_prefix};

/// Longest name of a key, a team or an organisation, in characters.
const NAME_CHARS_MAX: usize = 100;
/// Longest list in one key.
const LIST_MAX: usize = 100;
/// Letters of an access key id, as AWS uses them: 32, so that a byte gives each the same chance.
const PAIR_LETTERS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
/// How our access key ids begin, and how many random letters follow: 20 characters, 70 bits.
const PAIR_START: &str = "AKIAOC";
const PAIR_RANDOM: usize = 14;

/// A key that somebody wants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// Name, as in `key:NAME`.
    pub name: String,
    /// Organisation.
    #[serde(default)]
    pub org: String,
    /// Team.
    #[serde(default)]
    pub team: String,
    /// What it is for; a client by default.
    #[serde(default = "client")]
    pub role: Role,
    /// Scopes that it may administer. Default: those of its team or organisation, if it has one.
    #[serde(default)]
    pub manages: Vec<String>,
    /// Aliases it may use; absent is all.
    #[serde(default)]
    pub models: Option<Vec<String>>,
    /// Operations it may ask for; absent is all.
    #[serde(default)]
    pub operations: Option<Vec<String>>,
    /// Residency.
    #[serde(default)]
    pub residency: Option<Residency>,
    /// Whether it may name raw Bedrock ids.
    #[serde(default)]
    pub raw_models: bool,
    /// Whether a refusal for lack of budget is a 429.
    #[serde(default)]
    pub refusal_429: bool,
    /// When it ends: `90d`, `2027-01-31` or `2027-01-31T12:00:00Z`.
    #[serde(default)]
    pub expires: Option<String>,
    /// Whether an AWS pair is made too.
    #[serde(default)]
    pub aws: bool,
}

fn client() -> Role {
    Role::Client
}

impl Wanted {
    /// A key with a name and a role, without bounds.
    pub fn named(name: &str, role: Role) -> Self {
        Self {
            name: name.to_owned(),
            org: String::new(),
            team: String::new(),
            role,
            manages: Vec::new(),
            models: None,
            operations: None,
            residency: None,
            raw_models: false,
            refusal_429: false,
            expires: None,
            aws: false,
        }
    }

    /// Whether it can be made at all; the text says why not.
    fn check(&self) -> Result<(), String> {
        if self.name.is_empty() {
            return Err("a key needs a name".to_owned());
        }
        for text in [&self.name, &self.org, &self.team] {
            let plain = |c: char| c.is_alphanumeric() || "-_.@:/".contains(c);
            if text.chars().count() > NAME_CHARS_MAX || !text.chars().all(plain) {
                return Err(format!(
                    "`{}`: names have at most {NAME_CHARS_MAX} letters, digits and - _ . @ : /",
                    text.escape_debug()
                ));
            }
        }
        let lists = [Some(&self.manages), self.models.as_ref(), self.operations.as_ref()];
        if lists.into_iter().flatten().any(|list| list.len() > LIST_MAX) {
            return Err(format!("a list in a key has at most {LIST_MAX} entries"));
        }
        if self.role == Role::Client && !self.manages.is_empty() {
            return Err("a key with role client administers nothing; leave `manages` out".to_owned());
        }
        if self.role != Role::Client && self.aws {
            return Err(format!("an AWS pair is for calling models; a {} cannot", self.role.label()));
        }
        self.manages.iter().try_for_each(|text| Scope::parse(text).map(drop).map_err(|error| error.0))
    }

    /// A team's operator administers the team, unless it is said otherwise.
    fn places(&self) -> Vec<String> {
        if self.role == Role::Client || !self.manages.is_empty() {
            return self.manages.clone();
        }
        let conditions = [("org", &self.org), ("team", &self.team)];
        let parts: Vec<String> = (conditions.into_iter())
            .filter(|(_, value)| !value.is_empty())
            .map(|(facet, value)| format!("{facet}:{value}"))
            .collect();
        if parts.is_empty() { Vec::new() } else { vec![parts.join("+")] }
    }
}

/// A key that was just made. It is shown once.
pub struct Minted {
    /// The whole key.
    pub key: SecretString,
    /// The secret of its AWS pair; the access key id stands in the record.
    pub pair_secret: Option<SecretString>,
    /// What is kept.
    pub record: KeyRecord,
}

impl fmt::Debug for Minted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Minted").field("record", &self.record).finish_non_exhaustive()
    }
}

/// Makes a key; the text says why it cannot be made.
pub(super) fn mint(wanted: &Wanted, by: &str, pepper: &Pepper, now: Timestamp) -> Result<Minted, String> {
    wanted.check()?;
    let expires_at = wanted.expires.as_deref().map(|text| expiry(text, now)).transpose()?;
    let (public, secret) = (random::<6>()?, random::<32>()?);
    let key = format!("oc_{}_{}", to_hex(&public), URL_SAFE_NO_PAD.encode(secret));
    let prefix = public_prefix(&key).ok_or("the key has no public prefix")?.to_owned();
    let access_key_id = if wanted.aws { Some(access_key_id()?) } else { None };
    let record = KeyRecord {
        prefix,
        hash: to_hex(&pepper.hash(&key)),
        name: wanted.name.clone(),
        org: wanted.org.clone(),
        team: wanted.team.clone(),
        role: wanted.role,
        manages: wanted.places(),
        models: wanted.models.clone(),
        operations: wanted.operations.clone(),
        residency: wanted.residency,
        raw_models: wanted.raw_models,
        refusal_429: wanted.refusal_429,
        created_at: now,
        created_by: by.to_owned(),
        expires_at,
        revoked_at: None,
        access_key_id,
    };
    let pair_secret = record.access_key_id.as_deref().map(|id| pepper.pair_secret(id));
    Ok(Minted { key: key.into(), pair_secret, record })
}

fn access_key_id() -> Result<String, String> {
    let letter = |byte: u8| PAIR_LETTERS.get(usize::from(byte % 32)).copied().map_or('A', char::from);
    Ok(PAIR_START.chars().chain(random::<PAIR_RANDOM>()?.map(letter)).collect())
}

fn random<const N: usize>() -> Result<[u8; N], String> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| "no randomness to be had".to_owned())?;
    Ok(bytes)
}

/// When a key ends: after `90d` or `12h`, on `2027-01-31`, or at `2027-01-31T12:00:00Z`.
pub fn expiry(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    let refused = || format!("`{text}` is no end of a key; write 90d, 2027-01-31 or 2027-01-31T12:00:00Z");
    let after = |span: Span| {
        let length = span.to_duration(SpanRelativeTo::days_are_24_hours()).ok()?;
        now.checked_add(length).ok()
    };
    let at = end(text).or_else(|| text.parse().ok().and_then(after)).ok_or_else(refused)?;
    if at <= now { Err(format!("`{text}` is not in the future")) } else { Ok(at) }
}

/// A day, which ends a key as it begins in UTC, or an instant.
pub fn end(text: &str) -> Option<Timestamp> {
    let at_midnight = |day: jiff::civil::Date| day.to_zoned(TimeZone::UTC).ok().map(|z| z.timestamp());
    text.parse().ok().or_else(|| text.parse().ok().and_then(at_midnight))
}
