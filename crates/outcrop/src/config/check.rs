//! From the raw shape to the checked one: everything that can be wrong is found here, at once, before
//! anything runs.

use std::net::SocketAddr;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use outcrop_policy::{RateSpec, Routes};
use outcrop_proxy::{Auth, Caller, Keyring, Limits, ListenLimits, StreamLimits};
use outcrop_upstream::PathSpec;
use secrecy::ExposeSecret;
use toml::Spanned;

use super::problem::Found;
use super::scopes::Names;
use super::text::Text;
use super::{models, paths, rates, raw, units};

/// A configuration that can be put in force.
#[derive(Debug)]
pub struct Checked {
    /// Sockets; taken at start only.
    pub listen: Listen,
    /// Who may call.
    pub auth: Auth,
    /// Whether everybody may.
    pub open: bool,
    /// Limits on requests.
    pub limits: Limits,
    /// Limits on streams.
    pub streams: StreamLimits,
    /// Most exchanges at once; taken at start only.
    pub inflight_max: usize,
    /// Host names of the MCP endpoint, besides loopback.
    pub mcp_hosts: Vec<String>,
    /// The ways out.
    pub paths: Vec<PathSpec>,
    /// Targets, models, operations.
    pub routes: Routes,
    /// Rate limits.
    pub rates: Vec<RateSpec>,
}

/// Sockets.
#[derive(Debug, Clone)]
pub struct Listen {
    /// Client APIs.
    pub data: SocketAddr,
    /// The operator's.
    pub admin: SocketAddr,
    /// The operator's unix socket, as the file names it.
    pub operator: Option<PathBuf>,
    /// Certificate and key of the data listener.
    pub tls: Option<TlsFiles>,
    /// Limits on connections.
    pub limits: ListenLimits,
}

/// PEM files of a listener.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// Certificate chain.
    pub cert: PathBuf,
    /// Private key.
    pub key: PathBuf,
}

/// Problems found so far.
#[derive(Default)]
pub(crate) struct Findings(Vec<Found>);

impl Findings {
    pub(crate) fn add(&mut self, at: Range<usize>, message: impl Into<String>, hint: impl Into<String>) {
        self.0.push(Found::at(at, message, hint));
    }

    /// The value of a conversion, or its message as a problem and the default instead.
    pub(crate) fn take<T>(&mut self, at: Range<usize>, result: Result<T, String>, or: T) -> T {
        result.unwrap_or_else(|message| {
            self.add(at, message, "");
            or
        })
    }

    pub(crate) fn duration(&mut self, text: Option<&Spanned<Text>>, or: Duration) -> Duration {
        text.map_or(or, |t| self.take(t.span(), units::duration(t.get_ref()), or))
    }
}

/// Checks a raw configuration, and reports every problem in it.
pub fn check(raw: &raw::Config) -> Result<Checked, Vec<Found>> {
    let mut findings = Findings::default();
    let listen = listen(raw, &mut findings);
    let (auth, open) = auth(raw, &listen, &mut findings);
    let paths = paths::paths(&raw.path, &mut findings);
    let routes = models::routes(raw, &paths, open, &mut findings);
    let rates = rates::rates(&raw.rate, Names { raw, routes: &routes }, &mut findings);
    let limits = &raw.limits;
    let (defaults, stream) = (Limits::default(), StreamLimits::default());
    let checked = Checked {
        listen,
        auth,
        open,
        limits: Limits {
            body_bytes_max: at_least_one(
                limits.body_bytes_max.as_ref(),
                defaults.body_bytes_max,
                &mut findings,
            ),
            ..defaults
        },
        streams: StreamLimits {
            stall_max: findings.duration(limits.stream_stall_max.as_ref(), stream.stall_max),
            total_max: findings.duration(limits.stream_total_max.as_ref(), stream.total_max),
            reader_stall_max: findings.duration(limits.reader_stall_max.as_ref(), stream.reader_stall_max),
        },
        inflight_max: at_least_one(limits.inflight_max.as_ref(), INFLIGHT_MAX, &mut findings),
        mcp_hosts: raw.listen.mcp_hosts.iter().map(|host| host.0.clone()).collect(),
        paths,
        routes,
        rates,
    };
    if findings.0.is_empty() { Ok(checked) } else { Err(findings.0) }
}

/// Exchanges served at once by default.
const INFLIGHT_MAX: usize = 10_000;

fn at_least_one(value: Option<&Spanned<u64>>, or: usize, findings: &mut Findings) -> usize {
    let Some(value) = value else { return or };
    match usize::try_from(*value.get_ref()) {
        Ok(n) if n > 0 => n,
        _ => {
            findings.add(value.span(), "must be at least 1", "leave it out for the default");
            or
        }
    }
}

fn listen(raw: &raw::Config, findings: &mut Findings) -> Listen {
    let mut address = |text: Option<&Spanned<Text>>, or: SocketAddr| {
        text.map_or(or, |t| findings.take(t.span(), units::address(t.get_ref()), or))
    };
    let data = address(raw.listen.data.as_ref(), SocketAddr::from(([127, 0, 0, 1], 8080)));
    let admin = address(raw.listen.admin.as_ref(), SocketAddr::from(([127, 0, 0, 1], 9090)));
    if let Some(text) = raw.listen.admin.as_ref().filter(|_| !admin.ip().is_loopback()) {
        findings.add(
            text.span(),
            "the admin listener has no authentication, so it must be on loopback",
            "use 127.0.0.1 and reach it through a tunnel or a proxy that authenticates",
        );
    }
    let tls = match (&raw.listen.tls_cert, &raw.listen.tls_key) {
        (Some(cert), Some(key)) => {
            Some(TlsFiles { cert: cert.get_ref().0.clone().into(), key: key.get_ref().0.clone().into() })
        }
        (None, None) => None,
        (Some(one), None) | (None, Some(one)) => {
            findings.add(one.span(), "`tls_cert` and `tls_key` belong together", "name both PEM files");
            None
        }
    };
    let defaults = ListenLimits::default();
    let limits = ListenLimits {
        connections_max: at_least_one(
            raw.limits.connections_max.as_ref(),
            defaults.connections_max,
            findings,
        ),
        drain_max: findings.duration(raw.limits.drain_max.as_ref(), defaults.drain_max),
        write_stall_max: findings.duration(raw.limits.reader_stall_max.as_ref(), defaults.write_stall_max),
        ..defaults
    };
    let operator = raw.listen.operator.as_ref().map(|path| path.0.clone().into());
    Listen { data, admin, operator, tls, limits }
}

fn auth(raw: &raw::Config, listen: &Listen, findings: &mut Findings) -> (Auth, bool) {
    let mode = raw.auth.mode.as_ref();
    if mode.is_some_and(|m| *m.get_ref() == raw::AuthMode::Open) {
        if !listen.data.ip().is_loopback() {
            findings.add(
                mode.map_or(0..0, Spanned::span),
                "`open` lets everybody spend your money, so it is for loopback listeners only",
                "listen on 127.0.0.1, or use mode = \"keys\"",
            );
        }
        let caller = Caller {
            name: "anonymous".into(),
            team: "".into(),
            org: "".into(),
            models: None,
            residency: None,
            raw_ids: raw.auth.raw_models.unwrap_or(true),
        };
        return (Auth::Open(caller), true);
    }
    (Auth::Keys(Box::new(keyring(raw, findings))), false)
}

/// Shortest pepper accepted, in bytes.
pub(super) const PEPPER_BYTES_MIN: usize = 32;

fn keyring(raw: &raw::Config, findings: &mut Findings) -> Keyring {
    let at = raw.auth.mode.as_ref().map_or(0..0, Spanned::span);
    let pepper = raw.auth.pepper.as_ref();
    let secret = pepper.map_or("", |p| p.get_ref().0.expose_secret());
    match pepper {
        None => findings.add(
            at,
            "keys need a pepper: the secret under which their hashes are made",
            "add `[auth] pepper = \"file:/path\"` or \"${NAME}\", or mode = \"open\" on loopback",
        ),
        Some(p) if secret.len() < PEPPER_BYTES_MIN => findings.add(
            p.span(),
            "the pepper must have at least 32 characters",
            "make one with: head -c 32 /dev/urandom | base64",
        ),
        Some(_) if raw.key.is_empty() => findings.add(
            at,
            "there is no key, so nobody could call",
            "make one with `outcrop key new --config FILE --name NAME` and add the row it prints",
        ),
        Some(_) => {}
    }
    let mut ring = Keyring::new(secret.as_bytes());
    for key in &raw.key {
        match parse_hash(key.hash.get_ref()) {
            Some((prefix, hash)) => ring.insert(prefix, hash, caller(key, raw, findings)),
            None => findings.add(
                key.hash.span(),
                "this is not a key hash",
                "copy the row that `outcrop key new` printed",
            ),
        }
    }
    ring
}

fn caller(key: &raw::Key, raw: &raw::Config, findings: &mut Findings) -> Caller {
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
    Caller {
        name: key.name.get_ref().0.as_str().into(),
        team: key.team.as_deref().unwrap_or("").into(),
        org: key.org.as_deref().unwrap_or("").into(),
        models,
        residency: key.residency,
        raw_ids: key.raw_models.unwrap_or(false),
    }
}

/// `oc_abc123:<64 hex digits>`: the public prefix and the hash of the whole key.
pub(crate) fn parse_hash(text: &str) -> Option<(&str, Vec<u8>)> {
    let (prefix, hex) = text.split_once(':')?;
    if !prefix.starts_with("oc_") || hex.len() != 64 || !hex.is_ascii() {
        return None;
    }
    let bytes = (0..64).step_by(2).map(|n| u8::from_str_radix(hex.get(n..n + 2)?, 16).ok());
    Some((prefix, bytes.collect::<Option<Vec<u8>>>()?))
}

#[cfg(test)]
mod tests;
