//! The oracle: it knows how every upstream behaves at every moment, and what the best first choice would have been.
//!
//! It respects what the caller's operation prefers (direct ways or the MCP server) as long as something of that kind
//! can answer, and compares expected time and money among the rest. First choices are read from the upstreams'
//! records; an attempt that left none, because its port was closed, counts as a bad first choice.

use std::collections::BTreeMap;

use super::{Measured, Scope, answers};
use crate::{
    billing::Record,
    certify::{evidence::Evidence, statistics::share_margin},
    load::{call::Call, drive::Sample},
    prices,
    script::{FaultKind, Only, Script, Spread},
};

/// How much worse than the best a choice may be and still count as optimal.
const LEEWAY: f64 = 1.05;
/// What a failed attempt costs in time beside its own, in milliseconds: the way to another upstream.
const DETOUR_MS: f64 = 20.0;
/// Upstreams that fail more often than this are no choice while another is left.
const FAILING: f64 = 0.5;
/// Operations whose first choice is the MCP server.
const MCP_FIRST: [&str; 3] = ["communication", "standard", "background"];

/// What may serve the hybrid model of the scenarios' configuration.
const CHOICES: [(&str, &str); 3] =
    [("fra", "claude-sonnet-4-5"), ("dub", "claude-sonnet-4-5"), ("desk", "sonnet")];

/// An upstream at one moment.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Prospect {
    target: &'static str,
    time_ms: f64,
    failing: f64,
    /// Billionths of a dollar per thousand output tokens.
    price: f64,
}

/// A first choice beside the best one.
#[derive(Debug, Clone, Copy)]
struct Judged {
    chosen: Option<Prospect>,
    best: Prospect,
}

pub(super) fn optimal(evidence: &Evidence, scope: &Scope) -> Option<Measured> {
    let judged = judge(evidence, scope);
    let hits = judged.iter().filter(|judged| judged.is_optimal()).count() as u64;
    let all = judged.len() as u64;
    let margin = Some(100.0 * share_margin(hits, all));
    (all > 0).then(|| Measured { value: 100.0 * hits as f64 / all as f64, samples: all, margin })
}

pub(super) fn regret_time(evidence: &Evidence, scope: &Scope) -> Option<Measured> {
    average(&judge(evidence, scope), |chosen, best| (chosen.time_ms - best.time_ms).max(0.0))
}

pub(super) fn regret_money(evidence: &Evidence, scope: &Scope) -> Option<Measured> {
    average(&judge(evidence, scope), |chosen, best| {
        100.0 * ((chosen.price - best.price) / best.price.max(1.0)).max(0.0)
    })
}

fn average(judged: &[Judged], regret: impl Fn(Prospect, Prospect) -> f64) -> Option<Measured> {
    let regrets: Vec<f64> =
        judged.iter().filter_map(|judged| Some(regret(judged.chosen?, judged.best))).collect();
    let mean = regrets.iter().sum::<f64>() / regrets.len() as f64;
    (!regrets.is_empty()).then(|| Measured::counted(mean, regrets.len() as u64))
}

impl Judged {
    fn is_optimal(&self) -> bool {
        self.chosen.is_some_and(|chosen| {
            chosen.time_ms <= self.best.time_ms * LEEWAY && chosen.price <= self.best.price * LEEWAY
        })
    }
}

/// Every request in scope that was sent somewhere, or was tried.
fn judge(evidence: &Evidence, scope: &Scope) -> Vec<Judged> {
    let mut attempts: BTreeMap<u64, Vec<&Record>> = BTreeMap::new();
    for record in &evidence.records {
        if let Some(tag) = record.tag {
            attempts.entry(tag).or_default().push(record);
        }
    }
    let none = Vec::new();
    answers::scoped(evidence, scope)
        .filter_map(|sample| {
            let call = evidence.call(sample)?;
            let seen = attempts.get(&sample.n).unwrap_or(&none);
            let first = seen.iter().min_by_key(|record| record.at_ms);
            // More attempts than the upstreams saw: the first of them found a closed port.
            let unseen = sample.route.attempts as usize > seen.len();
            let prospects = prospects(evidence, sample, call);
            let best = best(&prospects, call)?;
            let chosen = first
                .filter(|_| !unseen)
                .and_then(|first| prospects.iter().find(|prospect| prospect.target == first.target).copied());
            Some(Judged { chosen, best })
        })
        .collect()
}

/// The best choice of the preferred kind that can answer; of the other kind if none of it can.
fn best(prospects: &[Prospect], call: &Call) -> Option<Prospect> {
    let mcp_first = MCP_FIRST.contains(&call.operation.as_deref().unwrap_or("standard"));
    let fastest = |mcp: Option<bool>, failing: f64| {
        let able = prospects.iter().filter(|prospect| {
            prospect.failing <= failing && mcp.is_none_or(|mcp| (prospect.target == "desk") == mcp)
        });
        able.min_by(|left, right| left.time_ms.total_cmp(&right.time_ms)).copied()
    };
    fastest(Some(mcp_first), FAILING).or_else(|| fastest(None, FAILING)).or_else(|| fastest(None, 1.0))
}

fn prospects(evidence: &Evidence, sample: &Sample, call: &Call) -> Vec<Prospect> {
    let healthy = Script::default();
    CHOICES
        .iter()
        .map(|(target, model)| {
            let script = script_at(evidence, target, sample.due.as_secs_f64()).unwrap_or(&healthy);
            let failing = failing(script, call.stream);
            let events = if call.stream { call.answer_tokens as f64 } else { 0.0 };
            let time_ms = mean_ms(script.latency_ms)
                + if call.stream { mean_ms(script.ttft_ms) + events * mean_ms(script.pace_ms) } else { 0.0 };
            Prospect {
                target,
                time_ms: time_ms + failing * (time_ms + DETOUR_MS),
                failing,
                price: prices::of_model(model).output as f64,
            }
        })
        .collect()
}

/// The script that was in force at a target: that of its latest fault, or its usual one.
fn script_at<'a>(evidence: &'a Evidence, target: &str, at: f64) -> Option<&'a Script> {
    let in_force = evidence.faults.iter().filter(|fault| {
        fault.target == target && fault.at_s <= at && fault.until_s.is_none_or(|until| at < until)
    });
    let latest = in_force.max_by(|left, right| left.at_s.total_cmp(&right.at_s));
    latest.map(|fault| &fault.script).or_else(|| evidence.scenario.targets.get(target))
}

/// The share of attempts that fail.
fn failing(script: &Script, stream: bool) -> f64 {
    if script.is_down() || script.credential_expired {
        return 1.0;
    }
    let applies = |fault: &&crate::script::Fault| {
        fault.kind != FaultKind::SlowHeaders
            && fault.operation.is_none()
            && fault.only.is_none_or(|only| (only == Only::Stream) == stream)
    };
    let passing: f64 = script.faults.iter().filter(applies).map(|fault| 1.0 - fault.rate).product();
    1.0 - passing
}

fn mean_ms(spread: Option<Spread>) -> f64 {
    match spread {
        None => 0.0,
        Some(Spread::Fixed(ms)) => ms,
        Some(Spread::Uniform(low, high)) => f64::midpoint(low, high),
        Some(Spread::Lognormal { p50, p99 }) => {
            let sigma = (p99 / p50).ln() / 2.326_347_874;
            p50 * (sigma * sigma / 2.0).exp()
        }
    }
}
