//! Budgets, by the upstreams' own bill.

use super::Measured;
use crate::{certify::evidence::Evidence, load::client::Ending};

const NUSD: f64 = 1e9;
/// What a request in flight may hold in reserve, in USD: far above any of the shipped mixes.
const RESERVED_USD: f64 = 0.01;
/// The share of a limit up to which nobody may be refused: 5 % are kept for emergencies, 5 % are leeway.
const FREE_SHARE: f64 = 0.90;

fn billed_usd(evidence: &Evidence) -> f64 {
    evidence.records.iter().map(|record| record.cost_nusd).sum::<u64>() as f64 / NUSD
}

/// A bill of nothing shows nothing: then there is no number.
pub(super) fn overspend(evidence: &Evidence, limit_usd: f64) -> Option<Measured> {
    let billed = billed_usd(evidence);
    let records = evidence.records.len() as u64;
    (billed > 0.0).then(|| Measured::counted((billed - limit_usd).max(0.0), records))
}

pub(super) fn used(evidence: &Evidence, limit_usd: f64) -> Option<Measured> {
    let records = evidence.records.len() as u64;
    (limit_usd > 0.0).then(|| Measured::counted(100.0 * billed_usd(evidence) / limit_usd, records))
}

/// Refusals for the budget although the bill until then, and all that was in flight, left room.
pub(super) fn phantom_refusals(evidence: &Evidence, limit_usd: f64) -> Option<Measured> {
    let mut bill: Vec<(f64, f64)> = evidence
        .records
        .iter()
        .map(|record| (evidence.arrival_s(record), record.cost_nusd as f64 / NUSD))
        .collect();
    bill.sort_unstable_by(|left, right| left.0.total_cmp(&right.0));
    let refused = evidence
        .samples
        .iter()
        .filter(|sample| matches!(&sample.ending, Some(Ending::Refused(402, _))))
        .filter(|sample| {
            let ended = (sample.due + sample.latency).as_secs_f64();
            let billed: f64 = bill.iter().take_while(|(at, _)| *at <= ended).map(|(_, cost)| cost).sum();
            let open = evidence.samples.iter().filter(|other| other.due <= sample.due + sample.latency);
            let open = open.filter(|other| other.due + other.latency >= sample.due).count();
            billed + RESERVED_USD * (open as f64) < FREE_SHARE * limit_usd
        });
    let samples = evidence.samples.len() as u64;
    (samples > 0).then(|| Measured::counted(refused.count() as f64, samples))
}
