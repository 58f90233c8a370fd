//! How many requests are served at once, and who first: from the file to what the gateway takes.

use outcrop_policy::admission::{Marks, Settings, Shares};
use outcrop_proxy::SlotLimits;
use toml::Spanned;

use super::check::{Findings, at_least_one};
use super::raw;

/// Requests served at once by default.
const INFLIGHT_MAX: usize = 20_000;
/// Below so many the limit does not fall by default.
const INFLIGHT_MIN: usize = 1_000;

pub(super) fn slots(raw: &raw::Limits, findings: &mut Findings) -> SlotLimits {
    let defaults = Settings::default();
    let max = at_least_one(raw.inflight_max.as_ref(), INFLIGHT_MAX, findings);
    let min = at_least_one(raw.inflight_min.as_ref(), INFLIGHT_MIN.min(max), findings);
    if let Some(given) = raw.inflight_min.as_ref().filter(|_| min > max) {
        findings.add(given.span(), format!("is above `inflight_max`, which is {max}"), "make it smaller");
    }
    let count =
        |value: Option<u64>, or: usize| value.map_or(or, |n| usize::try_from(n).unwrap_or(usize::MAX));
    let settings = Settings {
        shares: shares(raw.shares.as_ref(), findings),
        queue_max: count(raw.queue_max, defaults.queue_max),
        queue_bytes_max: count(raw.queue_bytes_max, defaults.queue_bytes_max),
        wait_max: findings.duration(raw.queue_wait_max.as_ref(), defaults.wait_max),
    };
    SlotLimits { max, min: min.min(max), settings, marks: marks(raw.memory_marks.as_ref(), findings) }
}

fn shares(raw: Option<&Spanned<raw::Shares>>, findings: &mut Findings) -> Shares {
    let Some(given) = raw else { return Shares::default() };
    let raw::Shares { emergency, critical, standard, low } = *given.get_ref();
    let percent =
        [emergency.unwrap_or(10), critical.unwrap_or(30), standard.unwrap_or(50), low.unwrap_or(10)];
    findings.take(given.span(), Shares::new(percent).map_err(|error| error.to_string()), Shares::default())
}

fn marks(raw: Option<&Spanned<[u8; 3]>>, findings: &mut Findings) -> Marks {
    let Some(given) = raw else { return Marks::default() };
    findings.take(given.span(), Marks::new(*given.get_ref()).map_err(|e| e.to_string()), Marks::default())
}
