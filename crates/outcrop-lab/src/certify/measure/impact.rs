//! What the gateway costs: time beside the direct way, CPU, memory, descriptors.

use std::collections::BTreeSet;

use super::Measured;
use crate::{
    certify::{
        evidence::{Evidence, is_complete},
        statistics::{mean, quantile, slope},
    },
    load::drive::Sample,
};

const MIB: f64 = 1024.0 * 1024.0;

/// Latencies of one round in seconds, sorted.
fn round(samples: &[Sample], number: u16) -> Vec<f64> {
    let complete = samples.iter().filter(|sample| sample.phase == number && is_complete(sample));
    let mut latencies: Vec<f64> = complete.map(|sample| sample.latency.as_secs_f64()).collect();
    latencies.sort_unstable_by(f64::total_cmp);
    latencies
}

/// Mean over the rounds of a comparison within each; improvements count as nothing.
fn over_rounds(evidence: &Evidence, compare: impl Fn(&[f64], &[f64]) -> Option<f64>) -> Option<Measured> {
    let rounds: BTreeSet<u16> = evidence.direct.iter().map(|sample| sample.phase).collect();
    let compared: Vec<f64> = rounds
        .iter()
        .filter_map(|number| compare(&round(&evidence.samples, *number), &round(&evidence.direct, *number)))
        .collect();
    if compared.len() < rounds.len() {
        return None;
    }
    let (value, margin) = mean(&compared)?;
    let samples = (evidence.samples.len() + evidence.direct.len()) as u64;
    Some(Measured { value: value.max(0.0), samples, margin: Some(margin) })
}

/// Latency at a quantile beyond the direct one, in percent of it.
pub(super) fn added(evidence: &Evidence, at: f64) -> Option<Measured> {
    over_rounds(evidence, |through, direct| {
        let (through, direct) = (quantile(through, at)?, quantile(direct, at)?);
        Some(100.0 * (through - direct) / direct)
    })
}

/// Complete answers of a round short of the direct one's, in percent of them.
pub(super) fn lost_throughput(evidence: &Evidence) -> Option<Measured> {
    over_rounds(evidence, |through, direct| {
        let (through, direct) = (through.len() as f64, direct.len() as f64);
        (direct > 0.0).then(|| 100.0 * (direct - through) / direct)
    })
}

/// The class of the impact on latency, and what each stage of the exchange took by the gateway's own clock.
pub(super) fn notes(evidence: &Evidence) -> Vec<String> {
    let classed =
        evidence.scenario.paired.as_ref().and_then(|_| added(evidence, 0.50)).map(|added| {
            format!("impact on the median latency: {:.2} %, {}", added.value, class(added.value))
        });
    let claimed = evidence.claims.as_ref().filter(|_| classed.is_some());
    let stages = claimed.and_then(|claims| claims.impact["stages"].as_object());
    let stages = stages.into_iter().flatten().map(|(stage, took)| {
        format!(
            "stage {stage}: {} times, p50 {} us, p99 {} us",
            took["count"], took["p50_us"], took["p99_us"]
        )
    });
    classed.iter().cloned().chain(stages).collect()
}

/// The word for an impact in percent.
fn class(percent: f64) -> &'static str {
    match percent {
        percent if percent < 2.0 => "minimal",
        percent if percent < 5.0 => "low",
        percent if percent < 10.0 => "moderate",
        percent if percent < 20.0 => "high",
        _ => "critical",
    }
}

pub(super) fn cpu_per_request(evidence: &Evidence) -> Option<Measured> {
    let ((_, first), (_, last)) = (evidence.usage.first()?, evidence.usage.last()?);
    let spent = last.cpu.saturating_sub(first.cpu).as_secs_f64() * 1e6;
    let requests = evidence.samples.len() as u64;
    (requests > 0).then(|| Measured::counted(spent / requests as f64, requests))
}

pub(super) fn memory(evidence: &Evidence) -> Option<Measured> {
    let most = evidence.usage.iter().map(|(_, usage)| usage.rss_bytes).max()?;
    Some(Measured::counted(most as f64 / MIB, evidence.usage.len() as u64))
}

pub(super) fn memory_slope(evidence: &Evidence) -> Option<Measured> {
    slope_of(evidence, |usage| usage.rss_bytes as f64 / MIB)
}

pub(super) fn descriptor_slope(evidence: &Evidence) -> Option<Measured> {
    slope_of(evidence, |usage| usage.descriptors as f64)
}

/// Growth per minute over the second half: the first half may still fill pools and caches.
fn slope_of(evidence: &Evidence, value: impl Fn(&crate::certify::gateway::Usage) -> f64) -> Option<Measured> {
    let points: Vec<(f64, f64)> = evidence
        .usage
        .iter()
        .skip(evidence.usage.len() / 2)
        .map(|(at, usage)| (at / 60.0, value(usage)))
        .collect();
    let (value, margin) = slope(&points)?;
    Some(Measured { value, samples: points.len() as u64, margin: Some(margin) })
}
