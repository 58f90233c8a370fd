//! From the raw shape to the checked one: everything that can be wrong is found here, at once, before
//! anything runs.

use std::net::SocketAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use outcrop_policy::ledger::BudgetSpec;
use outcrop_policy::{RateSpec, Routes};
use outcrop_proxy::{Auth, Floor, Limits, ListenLimits, SlotLimits, StreamLimits};
use outcrop_upstream::PathSpec;
use toml::Spanned;

use super::keys::{self, Keeping};
use super::problem::Found;
use super::scopes::Names;
use super::stops::StopRules;
use super::store::StoreSpec;
use super::text::Text;
use super::{budgets, impact, models, paths, rates, raw, slots, stops, store, units};
use crate::export::ExportSpec;
use crate::impacting::ImpactSpec;
use crate::memory;

/// A configuration that can be put in force.
#[derive(Debug)]
pub struct Checked {
    /// Sockets; taken at start only.
    pub listen: Listen,
    /// Who may call.
    pub auth: Auth,
    /// Where documents (keys, stops, flags) are kept; taken at start only.
    pub keeping: Keeping,
    /// The store of ledger and documents; taken at start only.
    pub store: StoreSpec,
    /// Budgets.
    pub budgets: Vec<BudgetSpec>,
    /// Whether everybody may.
    pub open: bool,
    /// Limits on requests.
    pub limits: Limits,
    /// Limits on streams.
    pub streams: StreamLimits,
    /// How many exchanges at once, and who first; taken at start only.
    pub slots: SlotLimits,
    /// What the process' memory is read from; taken at start only.
    pub memory: memory::Source,
    /// Host names of the MCP endpoint, besides loopback.
    pub mcp_hosts: Vec<String>,
    /// The ways out.
    pub paths: Vec<PathSpec>,
    /// Targets, models, operations.
    pub routes: Routes,
    /// Rate limits.
    pub rates: Vec<RateSpec>,
    /// The emergency stop; taken at start only.
    pub stop: StopRules,
    /// Where decision records go; taken at start only.
    pub export: ExportSpec,
    /// When the impact alarms, and what it stops; taken at start only.
    pub impact: ImpactSpec,
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
pub fn check(raw: &raw::Config, folder: &Path) -> Result<Checked, Vec<Found>> {
    let mut findings = Findings::default();
    let listen = listen(raw, &mut findings);
    let store = store::store(&raw.store, folder, &mut findings);
    let keeping = Keeping::of(&store.location);
    let (auth, open) = keys::auth(raw, &listen, &keeping, &mut findings);
    let paths = paths::paths(&raw.path, &mut findings);
    let routes = models::routes(raw, &paths, open, &mut findings);
    let rates = rates::rates(&raw.rate, Names { raw, routes: &routes }, &mut findings);
    let budgets = budgets::budgets(&raw.budget, Names { raw, routes: &routes }, &mut findings);
    let limits = &raw.limits;
    let (defaults, stream) = (Limits::default(), StreamLimits::default());
    let checked = Checked {
        listen,
        auth,
        keeping,
        store,
        budgets,
        open,
        limits: Limits {
            body_bytes_max: at_least_one(
                limits.body_bytes_max.as_ref(),
                defaults.body_bytes_max,
                &mut findings,
            ),
            output_tokens_default: limits.output_tokens_default.unwrap_or(defaults.output_tokens_default),
            ..defaults
        },
        streams: StreamLimits {
            stall_max: findings.duration(limits.stream_stall_max.as_ref(), stream.stall_max),
            floor: Floor { bytes: limits.stream_bytes_min.unwrap_or(stream.floor.bytes), ..stream.floor },
            total_max: findings.duration(limits.stream_total_max.as_ref(), stream.total_max),
            reader_stall_max: findings.duration(limits.reader_stall_max.as_ref(), stream.reader_stall_max),
        },
        slots: slots::slots(limits, &mut findings),
        memory: memory(limits, &mut findings),
        mcp_hosts: raw.listen.mcp_hosts.iter().map(|host| host.0.clone()).collect(),
        paths,
        routes,
        rates,
        stop: stops::rules(&raw.stop, &mut findings),
        export: export(&raw.decisions, folder, &mut findings),
        impact: impact::impact(&raw.impact, &mut findings),
    };
    if findings.0.is_empty() { Ok(checked) } else { Err(findings.0) }
}

fn export(raw: &raw::Decisions, folder: &Path, findings: &mut Findings) -> ExportSpec {
    ExportSpec {
        file: raw.export.as_ref().map(|file| folder.join(&**file)),
        bytes_max: at_least_one(raw.export_bytes_max.as_ref(), 64 * 1024 * 1024, findings) as u64,
        kept: usize::from(raw.export_kept.unwrap_or(4)),
    }
}

fn memory(limits: &raw::Limits, findings: &mut Findings) -> memory::Source {
    let max = limits.memory_max.as_ref();
    memory::Source::system(max.map(|max| at_least_one(Some(max), usize::MAX, findings) as u64))
}

pub(super) fn at_least_one(value: Option<&Spanned<u64>>, or: usize, findings: &mut Findings) -> usize {
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
            "the admin listener has no TLS, so it must be on loopback",
            "use 127.0.0.1 and reach it through a tunnel or a proxy that speaks TLS",
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

#[cfg(test)]
mod tests;
