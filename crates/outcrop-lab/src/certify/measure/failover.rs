//! Faults and what followed, by the upstreams' records.

use std::collections::BTreeMap;

use super::{Measured, Scope, answers, at_quantile};
use crate::{
    billing::Record,
    certify::evidence::{Evidence, Happened, answered_after, is_complete},
    load::drive::Sample,
};

/// Width of the stretches in which detours are counted, in seconds.
const STRETCH_S: f64 = 0.5;
/// How far the clocks of records, samples and faults may be apart, in seconds.
const CLOCK_S: f64 = 0.05;

/// Requests whose answer the gateway took in full more than once. One that broke on its way may be asked for again.
pub(super) fn double_executions(evidence: &Evidence) -> Option<Measured> {
    doubled(evidence, |record| {
        record.completed && !record.client_gone && !may_have_been_torn(evidence, record)
    })
}

/// Requests that were executed more than once at all, whatever became of the answers: what an effect must never be.
pub(super) fn double_effects(evidence: &Evidence) -> Option<Measured> {
    doubled(evidence, |_| true)
}

fn doubled(evidence: &Evidence, counts: impl Fn(&Record) -> bool) -> Option<Measured> {
    let mut times: BTreeMap<u64, u32> = BTreeMap::new();
    for record in evidence.records.iter().filter(|record| record.executed && counts(record)) {
        *times.entry(record.tag?).or_default() += 1;
    }
    let doubled = times.values().filter(|times| **times > 1).count();
    (!times.is_empty()).then(|| Measured::counted(doubled as f64, times.len() as u64))
}

/// Whether the upstream's port was closed between the arrival of a request and the end of it for its caller. A record
/// is complete when the answer is made; a connection that is reset after that carries it nowhere, and the gateway is
/// right to ask elsewhere.
fn may_have_been_torn(evidence: &Evidence, record: &Record) -> bool {
    let Some(sample) = of_tag(evidence, record) else { return false };
    let (from, to) = (evidence.arrival_s(record), (sample.due + sample.latency).as_secs_f64());
    let mut downs = evidence.faults.iter().filter(|fault| fault.script.is_down());
    downs.any(|fault| {
        fault.target == record.target && from - CLOCK_S <= fault.at_s && fault.at_s <= to + CLOCK_S
    })
}

fn of_tag<'a>(evidence: &'a Evidence, record: &Record) -> Option<&'a Sample> {
    let at = evidence.samples.binary_search_by_key(&record.tag?, |sample| sample.n).ok()?;
    evidence.samples.get(at)
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

/// From each fault's end until its upstream has at least half of the share of requests again that it had before the
/// first fault. What is broken again before that shows nothing; what never comes back counts to the last arrival.
pub(super) fn ramp(evidence: &Evidence) -> Option<Measured> {
    let first = evidence.faults.iter().map(|fault| fault.at_s).reduce(f64::min)?;
    let last = evidence.records.last().map(|record| evidence.arrival_s(record))?;
    let ramped = |fault: &Happened| {
        let (usual, healed) = (share_of(evidence, &fault.target, 0.0, first)?, fault.until_s?);
        let again =
            evidence.faults.iter().filter(|other| other.target == fault.target && other.at_s >= healed);
        let end = again.map(|other| other.at_s).reduce(f64::min);
        let mut from = healed;
        while from < end.unwrap_or(last) {
            if share_of(evidence, &fault.target, from, from + STRETCH_S).is_some_and(|now| now >= usual / 2.0)
            {
                return Some(from - healed);
            }
            from += STRETCH_S;
        }
        end.is_none().then_some(last - healed)
    };
    at_quantile(evidence.faults.iter().filter_map(ramped).collect(), 1.0)
}

/// The share of the requests that arrived anywhere in a stretch of time that this upstream got.
fn share_of(evidence: &Evidence, target: &str, from_s: f64, until_s: f64) -> Option<f64> {
    let arrived = || evidence.records.iter().filter(|r| (from_s..until_s).contains(&evidence.arrival_s(r)));
    let (all, here) = (arrived().count(), arrived().filter(|record| record.target == target).count());
    (all > 0).then(|| here as f64 / all as f64)
}

pub(super) fn detection(evidence: &Evidence) -> Option<Measured> {
    at_quantile(evidence.faults.iter().filter_map(|fault| detected_after(evidence, fault)).collect(), 1.0)
}

/// How long after a fault began requests still ran into it: until a stretch in which at most a tenth of them needed
/// more than one attempt. A fault that nobody ran into shows nothing.
fn detected_after(evidence: &Evidence, fault: &Happened) -> Option<f64> {
    let end = fault.until_s.unwrap_or(f64::MAX);
    let mut from = fault.at_s;
    let mut met = false;
    while from < end {
        let (mut all, mut detours) = (0, 0);
        for sample in &evidence.samples {
            if (from..(from + STRETCH_S).min(end)).contains(&sample.due.as_secs_f64()) {
                all += 1;
                detours += u32::from(sample.route.attempts > 1);
            }
        }
        met |= detours > 0;
        if all == 0 || detours * 10 <= all {
            break;
        }
        from += STRETCH_S;
    }
    met.then_some((from - fault.at_s).min(end - fault.at_s))
}

/// Time to the answer of requests that needed more than one attempt beyond the median of the others, in milliseconds.
pub(super) fn failover_time(evidence: &Evidence, scope: &Scope) -> Option<Measured> {
    let times = |detour: bool| -> Vec<f64> {
        answers::scoped(evidence, scope)
            .filter(|sample| is_complete(sample) && (sample.route.attempts > 1) == detour)
            .filter_map(|sample| Some(answered_after(sample, evidence.call(sample)?).as_secs_f64() * 1_000.0))
            .collect()
    };
    let usual = at_quantile(times(false), 0.5)?.value;
    at_quantile(times(true).into_iter().map(|time| (time - usual).max(0.0)).collect(), 0.99)
}
