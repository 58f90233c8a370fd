//! The gateway's own books, held against what the upstreams billed: a claim passes only where the bill agrees.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Measured, answers};
use crate::{
    billing::Record,
    certify::{
        evidence::{Claims, Evidence},
        scenario::{Act, Scope},
    },
    load::client::Ending,
};

const NUSD: f64 = 1e9;
/// How long after a stop was acknowledged what had left the gateway before may still arrive, in seconds.
const ON_THE_WAY_S: f64 = 0.1;
/// The levels of an account that are told.
const LEVELS: [&str; 4] = ["half", "throttled", "degraded", "exhausted"];

/// Requests that reached an upstream between an acknowledged stop and its end, counted.
pub(super) fn dispatched_while_stopped(evidence: &Evidence) -> Option<Measured> {
    let stop = evidence.orders.iter().find(|ordered| ordered.act == Act::Stop)?;
    let resumed = evidence.orders.iter().find(|ordered| ordered.act == Act::Resume);
    let until = resumed.map_or(f64::MAX, |resumed| resumed.at_s);
    let within = |record: &&Record| {
        let at = evidence.arrival_s(record);
        stop.done_s + ON_THE_WAY_S <= at && at < until
    };
    let asked = evidence.samples.iter().map(|sample| sample.due.as_secs_f64());
    let asked = asked.filter(|due| stop.done_s <= *due && *due < until).count() as u64;
    let dispatched = evidence.records.iter().filter(within).count();
    (asked > 0).then(|| Measured::counted(dispatched as f64, asked))
}

/// Requests due while stopped that were refused as stopped, in percent of them.
pub(super) fn refused_as_stopped(evidence: &Evidence, scope: &Scope) -> Option<Measured> {
    answers::share(evidence, scope, |sample| {
        matches!(&sample.ending, Some(Ending::Refused(503, _))) && sample.route.code == "stopped"
    })
}

/// What was billed and is counted in no account of the whole, in USD.
pub(super) fn uncommitted(evidence: &Evidence) -> Option<Measured> {
    let account = whole(evidence)?;
    let billed: u64 = evidence.records.iter().map(|record| record.cost_nusd).sum();
    let short = billed as f64 - account["committed"].as_f64()?;
    (billed > 0).then(|| Measured::counted(short.max(0.0) / NUSD, evidence.records.len() as u64))
}

/// What is still held for requests that have all ended, in USD.
pub(super) fn held(evidence: &Evidence) -> Option<Measured> {
    let account = whole(evidence)?;
    let samples = evidence.samples.len() as u64;
    Some(Measured::counted(account["pending"].as_f64()? / NUSD, samples))
}

/// What the gateway counts as spent beside what was billed, in percent of it.
pub(super) fn books_error(evidence: &Evidence) -> Option<Measured> {
    let account = whole(evidence)?;
    error(evidence, account["posted"].as_f64()?)
}

/// The forecast of an hour beside what was billed: everything was billed within it.
pub(super) fn forecast_error(evidence: &Evidence) -> Option<Measured> {
    let account = whole(evidence)?;
    error(evidence, account["forecast"]["per_hour"].as_f64()?)
}

fn error(evidence: &Evidence, claimed_nusd: f64) -> Option<Measured> {
    let billed = evidence.records.iter().map(|record| record.cost_nusd).sum::<u64>() as f64;
    let off = 100.0 * (claimed_nusd - billed).abs() / billed;
    (billed > 0.0).then(|| Measured::counted(off, evidence.records.len() as u64))
}

/// The account that counts all money.
fn whole(evidence: &Evidence) -> Option<&Value> {
    let claims = evidence.claims.as_ref()?;
    claims.accounts().find(|account| account["scope"] == "all" && account["dimension"] == "usd")
}

/// Levels of the whole's account that the bill crossed and that were not told exactly once, and those told without it.
pub(super) fn thresholds(evidence: &Evidence, limit_usd: f64) -> Option<Measured> {
    let claims = evidence.claims.as_ref()?;
    let told = claims.alerts.as_array()?;
    let times = |level: &str| {
        told.iter().filter(|crossing| crossing["scope"] == "all" && crossing["level"] == level).count()
    };
    let committed = whole(evidence)?["committed"].as_f64()? / NUSD / limit_usd;
    let marks = LEVELS.iter().zip([0.50, 0.80, 0.95, 1.00]);
    let wrong = marks.filter(|(level, mark)| match times(level) {
        0 => committed >= *mark,
        1 => false,
        _ => true,
    });
    let wrong = wrong.count();
    (!told.is_empty()).then(|| Measured::counted(wrong as f64, told.len() as u64))
}

/// Money that keys, teams and models are charged with and were not billed for, or the other way round, in USD.
pub(super) fn misattributed(evidence: &Evidence) -> Option<Measured> {
    let claims = evidence.claims.as_ref()?;
    let mut off = 0.0;
    for (group, rows) in Claims::GROUPS.iter().zip(&claims.spend) {
        let mut balance: BTreeMap<String, f64> = BTreeMap::new();
        for row in rows.as_array()? {
            let name = row[group].as_str().unwrap_or_default().to_owned();
            *balance.entry(name).or_default() += row["posted_nusd"].as_f64()?;
        }
        for record in &evidence.records {
            *balance.entry(whose(evidence, record, group)?).or_default() -= record.cost_nusd as f64;
        }
        off += balance.values().map(|difference| difference.abs()).sum::<f64>();
    }
    (!evidence.records.is_empty()).then(|| Measured::counted(off / NUSD, evidence.records.len() as u64))
}

/// Who asked for what a record billed: the key that the mix names, its team, or the model.
fn whose(evidence: &Evidence, record: &Record, group: &str) -> Option<String> {
    let tag = record.tag?;
    let at = evidence.samples.binary_search_by_key(&tag, |sample| sample.n).ok()?;
    let call = evidence.call(evidence.samples.get(at)?)?;
    if group == "model" {
        return Some(call.model.clone());
    }
    let key = evidence
        .scenario
        .keys
        .iter()
        .find(|key| call.headers.iter().any(|(_, value)| value.contains(&format!("{{{}}}", key.name))))?;
    Some(if group == "team" { key.team.clone() } else { key.name.clone() })
}

/// Requests that the stand-in's upstream executed: nothing else is asked of it, so each was degraded.
pub(super) fn stand_ins(evidence: &Evidence) -> Option<Measured> {
    let count = evidence.records.iter().filter(|record| record.target == "openai" && record.executed).count();
    let all = evidence.records.len() as u64;
    (all > 0).then(|| Measured::counted(count as f64, all))
}
