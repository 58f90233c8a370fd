//! Faults and what followed, by the upstreams' records.

use std::collections::BTreeMap;

use super::{Measured, Scope, answers, at_quantile};
use crate::{
    billing::Record,
    certify::evidence::{Evidence, Happened},
};

/// Width of the stretches in which attempts are counted, in seconds.
const STRETCH_S: f64 = 0.5;
/// How far back the usual rate of an upstream is looked for, in seconds.
const USUAL_S: f64 = 2.0;

/// Requests whose answer the gateway took in full more than once. One that broke on its way may be asked for again.
pub(super) fn double_executions(evidence: &Evidence) -> Option<Measured> {
    let mut times: BTreeMap<u64, u32> = BTreeMap::new();
    for record in evidence.records.iter().filter(|record| is_taken(record)) {
        *times.entry(record.tag?).or_default() += 1;
    }
    let doubled = times.values().filter(|times| **times > 1).count();
    (!times.is_empty()).then(|| Measured::counted(doubled as f64, times.len() as u64))
}

fn is_taken(record: &Record) -> bool {
    record.executed && record.completed && !record.client_gone
}

/// Requests that upstreams saw per request that callers sent; what found no connection is not seen.
pub(super) fn attempts(evidence: &Evidence, scope: &Scope) -> Option<Measured> {
    let sent: std::collections::BTreeSet<u64> =
        answers::scoped(evidence, scope).map(|sample| sample.n).collect();
    let seen = evidence.records.iter().filter(|record| record.tag.is_some_and(|tag| sent.contains(&tag)));
    let value = seen.count() as f64 / sent.len() as f64;
    (!sent.is_empty()).then(|| Measured::counted(value, sent.len() as u64))
}

pub(super) fn recovery(evidence: &Evidence, at: f64) -> Option<Measured> {
    at_quantile(recoveries(evidence), at)
}

/// From each fault's end to the first good answer of its upstream; without one, to the last arrival anywhere.
pub(super) fn recoveries(evidence: &Evidence) -> Vec<f64> {
    let healed = evidence.faults.iter().filter_map(|fault| Some((fault, fault.until_s?)));
    healed
        .filter_map(|(fault, until)| {
            let here =
                |record: &&Record| record.target == fault.target && record.executed && record.completed;
            let arrivals = |all: bool| {
                let records = evidence.records.iter().filter(move |record| all || here(record));
                records.map(|record| evidence.arrival_s(record)).filter(|at| *at >= until)
            };
            let first = arrivals(false).reduce(f64::min).or_else(|| arrivals(true).reduce(f64::max))?;
            Some(first - until)
        })
        .collect()
}

pub(super) fn detection(evidence: &Evidence) -> Option<Measured> {
    at_quantile(evidence.faults.iter().filter_map(|fault| detected_after(evidence, fault)).collect(), 1.0)
}

/// How long an upstream went on getting more than half of its usual requests after a fault began. A fault that closes
/// the port shows nothing here; nor does an upstream that got hardly any before.
fn detected_after(evidence: &Evidence, fault: &Happened) -> Option<f64> {
    let arrivals: Vec<f64> = evidence
        .records
        .iter()
        .filter(|record| record.target == fault.target)
        .map(|record| evidence.arrival_s(record))
        .collect();
    let between = |from: f64, to: f64| arrivals.iter().filter(|at| (from..to).contains(*at)).count() as f64;
    let usual = between(fault.at_s - USUAL_S, fault.at_s) / USUAL_S * STRETCH_S;
    if usual < 2.0 || between(fault.at_s, fault.at_s + STRETCH_S) < 1.0 {
        return None;
    }
    let end = fault.until_s.unwrap_or(f64::MAX);
    let mut from = fault.at_s;
    while from < end && between(from, from + STRETCH_S) > usual / 2.0 {
        from += STRETCH_S;
    }
    Some(from - fault.at_s)
}
