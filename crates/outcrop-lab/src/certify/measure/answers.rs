//! What callers saw: answers, times, refusals.

use std::collections::{BTreeMap, BTreeSet};

use super::{Measured, Scope, at_quantile};
use crate::{
    certify::{
        evidence::{Evidence, answered_after, is_complete},
        scenario::Way,
        statistics::{share_at_least, share_margin},
    },
    load::{client::Ending, drive::Sample},
};

/// Statuses by which a gateway refuses on purpose.
const REFUSALS: [u16; 4] = [402, 429, 503, 504];

/// The share of a second's requests that must be answered for its rate to count as served.
const SERVED: f64 = 0.99;

/// The samples that a bar looks at.
pub(super) fn scoped<'a>(evidence: &'a Evidence, scope: &'a Scope) -> impl Iterator<Item = &'a Sample> {
    let answered = scope.way.map(|way| answered_by(evidence, way));
    evidence.samples.iter().filter(move |sample| {
        let operation = evidence.call(sample).and_then(|call| call.operation.as_ref());
        answered.as_ref().is_none_or(|tags| tags.contains(&sample.n))
            && scope.phase.is_none_or(|phase| sample.phase == phase)
            && (scope.operation.is_none() || scope.operation.as_ref() == operation)
            && (!scope.faulted || evidence.is_faulted(sample.due))
    })
}

/// The requests whose last attempt went this way.
fn answered_by(evidence: &Evidence, way: Way) -> BTreeSet<u64> {
    let mut last: BTreeMap<u64, Way> = BTreeMap::new();
    for record in &evidence.records {
        if let Some(tag) = record.tag {
            last.insert(tag, if record.target == "desk" { Way::Mcp } else { Way::Direct });
        }
    }
    last.into_iter().filter(|(_, taken)| *taken == way).map(|(tag, _)| tag).collect()
}

/// A share of all samples in scope, in percent.
pub(super) fn share(
    evidence: &Evidence,
    scope: &Scope,
    is_hit: impl Fn(&Sample) -> bool,
) -> Option<Measured> {
    let (mut hits, mut all) = (0, 0);
    for sample in scoped(evidence, scope) {
        all += 1;
        hits += u64::from(is_hit(sample));
    }
    let value = 100.0 * hits as f64 / all as f64;
    (all > 0).then(|| Measured { value, samples: all, margin: Some(100.0 * share_margin(hits, all)) })
}

pub(super) fn success(evidence: &Evidence, scope: &Scope) -> Option<Measured> {
    share(evidence, scope, is_complete)
}

/// What the true share of complete answers is at least, with 95 % confidence: no failure in n leaves about 3/n.
pub(super) fn success_bound(evidence: &Evidence, scope: &Scope) -> Option<Measured> {
    let (mut hits, mut all) = (0, 0);
    for sample in scoped(evidence, scope) {
        all += 1;
        hits += u64::from(is_complete(sample));
    }
    (all > 0).then(|| Measured::counted(100.0 * share_at_least(hits, all), all))
}

/// Answers that broke off and did not say so in their own protocol.
pub(super) fn dishonest(evidence: &Evidence, scope: &Scope) -> Option<Measured> {
    let all: Vec<&Sample> = scoped(evidence, scope).collect();
    let silent = all.iter().filter(|sample| match &sample.ending {
        Some(Ending::Flawed(flaw)) => !flaw.starts_with("error in the answer"),
        Some(Ending::Broken(_) | Ending::Unreachable(_) | Ending::Late) => true,
        Some(Ending::Complete | Ending::Refused(..)) | None => false,
    });
    let silent = silent.count();
    (!all.is_empty()).then(|| Measured::counted(silent as f64, all.len() as u64))
}

/// Answers that began, broke off and said so; a fault that broke none would show nothing.
pub(super) fn broken_off(evidence: &Evidence, scope: &Scope) -> Option<Measured> {
    let all: Vec<&Sample> = scoped(evidence, scope).collect();
    let honest = |sample: &&&Sample| matches!(&sample.ending, Some(Ending::Flawed(flaw)) if flaw.starts_with("error in the answer"));
    let count = all.iter().filter(honest).count();
    (!all.is_empty()).then(|| Measured::counted(count as f64, all.len() as u64))
}

pub(super) fn in_time(evidence: &Evidence, scope: &Scope, within_ms: f64) -> Option<Measured> {
    share(evidence, scope, |sample| {
        let after = evidence.call(sample).map(|call| answered_after(sample, call));
        is_complete(sample) && after.is_some_and(|after| after.as_secs_f64() * 1_000.0 <= within_ms)
    })
}

pub(super) fn failed(evidence: &Evidence, scope: &Scope) -> Option<Measured> {
    let all: Vec<&Sample> = scoped(evidence, scope).collect();
    let failed = all.iter().filter(|sample| !is_complete(sample)).count();
    (!all.is_empty()).then(|| Measured::counted(failed as f64, all.len() as u64))
}

pub(super) fn latency(evidence: &Evidence, scope: &Scope, at: f64) -> Option<Measured> {
    let complete = scoped(evidence, scope).filter(|sample| is_complete(sample));
    at_quantile(complete.map(|sample| sample.latency.as_secs_f64() * 1_000.0).collect(), at)
}

pub(super) fn first_content(evidence: &Evidence, scope: &Scope) -> Option<Measured> {
    let complete = scoped(evidence, scope).filter(|sample| is_complete(sample));
    at_quantile(complete.filter_map(|sample| Some(sample.first?.as_secs_f64() * 1_000.0)).collect(), 0.99)
}

fn is_refused(sample: &Sample) -> bool {
    matches!(&sample.ending, Some(Ending::Refused(status, _)) if REFUSALS.contains(status))
}

pub(super) fn refused(evidence: &Evidence, scope: &Scope) -> Option<Measured> {
    let all = scoped(evidence, scope).count() as u64;
    let refused = scoped(evidence, scope).filter(|sample| is_refused(sample)).count();
    (all > 0).then(|| Measured::counted(refused as f64, all))
}

/// Nothing to refuse is as good as refusing at once.
pub(super) fn refusal(evidence: &Evidence, scope: &Scope) -> Option<Measured> {
    let refused = scoped(evidence, scope).filter(|sample| is_refused(sample));
    let times: Vec<f64> = refused.map(|sample| sample.latency.as_secs_f64() * 1_000.0).collect();
    at_quantile(times, 0.99).or(Some(Measured::counted(0.0, 0)))
}

/// Seconds that the samples in scope were spread over.
fn stretch(evidence: &Evidence, scope: &Scope) -> Option<f64> {
    let dues = || scoped(evidence, scope).map(|sample| sample.due.as_secs_f64());
    let (first, last) = (dues().reduce(f64::min)?, dues().reduce(f64::max)?);
    let count = dues().count() as f64;
    // The last request stands for as long a stretch as the others.
    (count > 1.0).then(|| (last - first) * count / (count - 1.0))
}

pub(super) fn throughput(evidence: &Evidence, scope: &Scope) -> Option<Measured> {
    let complete = scoped(evidence, scope).filter(|sample| is_complete(sample)).count();
    Some(Measured::counted(complete as f64 / stretch(evidence, scope)?, complete as u64))
}

/// Complete answers per second of the stretch in scope against the best whole second of the scenario.
pub(super) fn goodput(evidence: &Evidence, scope: &Scope) -> Option<Measured> {
    let mut seconds: Vec<u64> = Vec::new();
    for sample in evidence.samples.iter().filter(|sample| is_complete(sample)) {
        let second = (sample.due + sample.latency).as_secs() as usize;
        if seconds.len() <= second {
            seconds.resize(second + 1, 0);
        }
        seconds[second] += 1;
    }
    let best = seconds.iter().copied().max().filter(|best| *best > 0)? as f64;
    let here = throughput(evidence, scope)?;
    Some(Measured { value: 100.0 * here.value / best, ..here })
}

/// The highest rate that was served before the first second in which less than [`SERVED`] of what was due was
/// answered. Where there is no such second the knee was not reached, and there is no number.
pub(super) fn knee(evidence: &Evidence, scope: &Scope) -> Option<Measured> {
    let mut seconds: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
    for sample in scoped(evidence, scope) {
        let (due, complete) = seconds.entry(sample.due.as_secs()).or_default();
        *due += 1;
        *complete += u64::from(is_complete(sample));
    }
    let is_served = |(due, complete): &(u64, u64)| *complete as f64 >= SERVED * *due as f64;
    seconds.values().find(|second| !is_served(second))?;
    let before = || seconds.values().take_while(|second| is_served(second));
    let knee = before().map(|(due, _)| *due).max().unwrap_or_default();
    Some(Measured::counted(knee as f64, before().map(|(due, _)| due).sum()))
}

pub(super) fn in_flight(evidence: &Evidence, scope: &Scope) -> Option<Measured> {
    let mut changes: Vec<(std::time::Duration, i64)> = scoped(evidence, scope)
        .filter(|sample| sample.ending.is_some())
        .flat_map(|sample| [(sample.due, 1), (sample.due + sample.latency, -1)])
        .collect();
    changes.sort_unstable();
    let mut open = 0;
    let most = changes.iter().map(|(_, change)| {
        open += change;
        open
    });
    Some(Measured::counted(most.max()? as f64, changes.len() as u64 / 2))
}
