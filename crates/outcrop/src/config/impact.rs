//! `[impact]`: when what the gateway itself takes alarms, and what is stopped then.

use std::time::Duration;

use outcrop_policy::impact::Thresholds;
use outcrop_proxy::Work;
use toml::Spanned;

use super::check::Findings;
use super::raw::{Impact, Optional};
use crate::impacting::ImpactSpec;

/// Between two readings.
const EVERY: Duration = Duration::from_secs(2);
/// Readings that are not the impact themselves.
const EVERY_MIN: Duration = Duration::from_millis(100);
const EVERY_MAX: Duration = Duration::from_mins(1);

pub(super) fn impact(raw: &Impact, findings: &mut Findings) -> ImpactSpec {
    let Thresholds([latency, cpu, memory, descriptors, runtime]) = Thresholds::default();
    let thresholds = [
        percent(raw.latency_percent.as_ref(), latency, findings),
        percent(raw.cpu_percent.as_ref(), cpu, findings),
        percent(raw.memory_percent.as_ref(), memory, findings),
        percent(raw.descriptors_percent.as_ref(), descriptors, findings),
        percent(raw.runtime_percent.as_ref(), runtime, findings),
    ];
    let every = findings.duration(raw.every.as_ref(), EVERY);
    if let Some(given) = raw.every.as_ref().filter(|_| !(EVERY_MIN..=EVERY_MAX).contains(&every)) {
        findings.add(given.span(), "must be between 100ms and 1m", "leave it out for 2s");
    }
    let shed =
        raw.shed.clone().unwrap_or_else(|| vec![Optional::Hedging, Optional::Probes, Optional::Optimizer]);
    ImpactSpec {
        every,
        thresholds: Thresholds(thresholds),
        adjust: |reading| reading,
        shed: shed.into_iter().map(work).collect(),
    }
}

fn work(named: Optional) -> Work {
    match named {
        Optional::Hedging => Work::Hedging,
        Optional::Probes => Work::Probes,
        Optional::Optimizer => Work::Optimizer,
        Optional::Export => Work::Export,
    }
}

fn percent(given: Option<&Spanned<i64>>, or: u8, findings: &mut Findings) -> u8 {
    let Some(given) = given else { return or };
    let percent = u8::try_from(*given.get_ref()).ok().filter(|percent| (1..=100).contains(percent));
    if percent.is_none() {
        findings.add(given.span(), "must be a percentage from 1 to 100", format!("leave it out for {or}"));
    }
    percent.unwrap_or(or)
}
