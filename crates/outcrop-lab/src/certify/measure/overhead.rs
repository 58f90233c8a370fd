//! What the gateway takes of a request's time beside the upstreams: by callers' clocks less the upstreams' own.
//!
//! The one number that nobody outside can see, the time of a decision, is the gateway's own word; the added time,
//! which holds the decision and everything else, is not.

use std::collections::BTreeMap;

use super::{Measured, Scope, answers, at_quantile};
use crate::{
    certify::evidence::{Evidence, is_complete},
    load::drive::Sample,
};

/// Time to the end of the answer beyond what the upstream took for it, of requests that needed one attempt.
pub(super) fn added_time(evidence: &Evidence, scope: &Scope, at: f64) -> Option<Measured> {
    at_quantile(between(evidence, scope, |sample, attempts| sample.route.attempts == 1 && attempts == 1), at)
}

/// What further attempts add to that median, the time of the attempts themselves left out.
pub(super) fn switch_time(evidence: &Evidence, scope: &Scope, at: f64) -> Option<Measured> {
    let usual = added_time(evidence, scope, 0.5)?.value;
    let switched = between(evidence, scope, |sample, _| sample.route.attempts > 1);
    at_quantile(switched.into_iter().map(|time| (time - usual).max(0.0)).collect(), at)
}

/// Callers' time beyond that of all upstreams that were asked for a request, in milliseconds. The upstreams' clock
/// has whole milliseconds; attempts that ran side by side leave nothing.
fn between(evidence: &Evidence, scope: &Scope, counts: impl Fn(&Sample, usize) -> bool) -> Vec<f64> {
    let mut took: BTreeMap<u64, (usize, u64)> = BTreeMap::new();
    for record in &evidence.records {
        if let Some(tag) = record.tag {
            let (attempts, sum) = took.entry(tag).or_default();
            *attempts += 1;
            *sum += record.took_ms;
        }
    }
    answers::scoped(evidence, scope)
        .filter(|sample| is_complete(sample))
        .filter_map(|sample| {
            let (attempts, upstreams_ms) = took.get(&sample.n)?;
            let time = sample.latency.as_secs_f64() * 1_000.0 - *upstreams_ms as f64;
            counts(sample, *attempts).then_some(time.max(0.0))
        })
        .collect()
}

/// The gateway's own figure for the stage in which targets are chosen and ordered.
pub(super) fn decision(evidence: &Evidence) -> Option<Measured> {
    let plan = &evidence.claims.as_ref()?.impact["stages"]["plan"];
    let (count, p99_us) = (plan["count"].as_u64()?, plan["p99_us"].as_f64()?);
    (count > 0).then(|| Measured::counted(p99_us, count))
}

/// What upstreams were asked that no caller asked for, health checks above all.
pub(super) fn own_requests(evidence: &Evidence) -> Option<Measured> {
    let all = evidence.samples.len() as u64;
    (all > 0).then(|| Measured::counted(100.0 * evidence.own.len() as f64 / all as f64, all))
}
