//! From evidence to a number per bar.
//!
//! Each measurement is a pure function of the evidence. What could not be observed is no number, and its bar is
//! missed: a gateway that refuses everything meets nothing.

mod answers;
mod books;
mod failover;
mod impact;
mod money;
mod oracle;
mod overhead;

use serde::Deserialize;

use super::{
    evidence::Evidence,
    outcome::Verdict,
    scenario::{Asked, Scope},
    statistics::{quantile, quantile_margin},
};

/// What can be asked of a scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// Completely answered requests, in percent of those that were due.
    Success,
    /// Requests answered within `within_ms` (streams: first content), in percent of those that were due.
    InTime,
    /// Requests that were not completely answered, counted.
    Failed,
    /// Median time to a complete answer, in milliseconds.
    LatencyP50,
    /// 99th percentile of it.
    LatencyP99,
    /// 99th percentile of the time to the first content of streams, in milliseconds.
    FirstContentP99,
    /// 99th percentile of the time to a refusal (402, 429, 503, 504), in milliseconds.
    RefusalP99,
    /// Complete answers per second.
    Throughput,
    /// Complete answers per second, in percent of the best second.
    Goodput,
    /// Most requests in flight at one moment.
    InFlight,
    /// What the upstreams billed beyond `limit_usd`, in USD.
    Overspend,
    /// What the upstreams billed, in percent of `limit_usd`.
    Used,
    /// Refusals for the budget while there was room in `limit_usd`, counted.
    PhantomRefusals,
    /// Requests whose answer was made and taken in full more than once, counted.
    DoubleExecutions,
    /// Requests that were executed more than once at all, counted.
    DoubleEffects,
    /// With 95 % confidence at least this share of requests is completely answered, in percent.
    SuccessBound,
    /// Answers that broke off without saying so, counted.
    Dishonest,
    /// Answers that began, broke off and said so, counted.
    BrokenOff,
    /// 99th percentile of what a failover adds to the time to the answer, in milliseconds.
    FailoverTime,
    /// Requests that reached an upstream while everything was stopped, counted.
    DispatchedWhileStopped,
    /// Requests refused as stopped, in percent of those that were due.
    RefusedAsStopped,
    /// What was billed and is not committed in the account of `all`, in USD.
    Uncommitted,
    /// What is still held when every request has ended, in USD.
    Held,
    /// What the gateway counts as spent beside the bill, in percent of it.
    BooksError,
    /// The forecast of an hour beside the bill, in percent of it.
    ForecastError,
    /// Thresholds of `limit_usd` that were crossed and not told exactly once, counted.
    ThresholdsWrong,
    /// What keys, teams and models are charged with beside the bill, in USD.
    Misattributed,
    /// Requests that a stand-in answered, counted.
    StandIns,
    /// Requests that were refused (402, 429, 503, 504), counted.
    Refused,
    /// The highest rate of a second before the first one in which less than 99 % were answered, in requests per second.
    Knee,
    /// Median time to the answer beyond what the upstream took, of requests with one attempt, in milliseconds.
    AddedTimeP50,
    /// 99th percentile of it.
    AddedTimeP99,
    /// Median of what a change of the path adds to that, beside the time of the attempts, in milliseconds.
    SwitchP50,
    /// 99th percentile of it.
    SwitchP99,
    /// 99th percentile of the time that a decision takes, by the gateway's own clock, in microseconds.
    DecisionP99,
    /// Requests to upstreams that no caller sent, in percent of callers' requests.
    OwnRequests,
    /// Longest time from the end of a fault until its upstream has half of its former share again, in seconds.
    RampMax,
    /// Requests that reached an upstream, per request.
    Attempts,
    /// Longest time from the end of a fault to the first good answer of its upstream, in seconds.
    RecoveryMax,
    /// Median of it.
    RecoveryP50,
    /// Longest time from the beginning of a fault until its upstream gets at most half of its former requests, in seconds.
    DetectionMax,
    /// First choices within 5 % of the oracle's expected time and money, in percent.
    Optimal,
    /// Expected time beyond the oracle's choice, in milliseconds per request.
    RegretTime,
    /// Expected cost beyond the oracle's choice, in percent.
    RegretMoney,
    /// Median latency through the gateway beyond that of the direct way, in percent.
    AddedP50,
    /// 99th percentile through the gateway beyond that of the direct way, in percent.
    AddedP99,
    /// Throughput through the gateway short of that of the direct way, in percent.
    LostThroughput,
    /// CPU time of the gateway's process per request, in microseconds.
    CpuPerRequest,
    /// Most resident memory of the gateway's process, in MiB.
    Memory,
    /// Growth of resident memory, in MiB per minute.
    MemorySlope,
    /// Growth of open descriptors, per minute.
    DescriptorSlope,
}

/// A measured number.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Measured {
    value: f64,
    samples: u64,
    margin: Option<f64>,
}

impl Measure {
    /// The unit of its number.
    pub fn unit(self) -> &'static str {
        match self {
            Self::Success
            | Self::InTime
            | Self::Goodput
            | Self::SuccessBound
            | Self::RefusedAsStopped
            | Self::BooksError
            | Self::ForecastError
            | Self::Used
            | Self::Optimal
            | Self::RegretMoney
            | Self::AddedP50
            | Self::AddedP99
            | Self::OwnRequests
            | Self::LostThroughput => "%",
            Self::LatencyP50
            | Self::LatencyP99
            | Self::FirstContentP99
            | Self::RefusalP99
            | Self::FailoverTime
            | Self::AddedTimeP50
            | Self::AddedTimeP99
            | Self::SwitchP50
            | Self::SwitchP99
            | Self::RegretTime => "ms",
            Self::Throughput => "answers/s",
            Self::Knee => "requests/s",
            Self::Failed
            | Self::Refused
            | Self::PhantomRefusals
            | Self::DoubleExecutions
            | Self::DoubleEffects
            | Self::Dishonest
            | Self::BrokenOff
            | Self::DispatchedWhileStopped
            | Self::StandIns
            | Self::InFlight => "requests",
            Self::ThresholdsWrong => "thresholds",
            Self::Overspend | Self::Uncommitted | Self::Held | Self::Misattributed => "USD",
            Self::Attempts => "attempts/request",
            Self::RecoveryMax | Self::RecoveryP50 | Self::DetectionMax | Self::RampMax => "s",
            Self::CpuPerRequest | Self::DecisionP99 => "us",
            Self::Memory => "MiB",
            Self::MemorySlope => "MiB/min",
            Self::DescriptorSlope => "descriptors/min",
        }
    }

    /// The key of the number that it needs beside its bar, if any.
    pub fn parameter(self) -> Option<&'static str> {
        match self {
            Self::InTime => Some("within_ms"),
            Self::Overspend | Self::Used | Self::PhantomRefusals | Self::ThresholdsWrong => Some("limit_usd"),
            _ => None,
        }
    }

    /// Whether it can only be measured in a paired scenario.
    pub fn needs_pairs(self) -> bool {
        matches!(self, Self::AddedP50 | Self::AddedP99 | Self::LostThroughput)
    }

    /// Whether a machine that others use can spoil it; what is counted it cannot.
    pub fn is_timed(self) -> bool {
        matches!(self.unit(), "ms" | "us" | "s" | "answers/s")
            || matches!(
                self,
                Self::InTime
                    | Self::DispatchedWhileStopped
                    | Self::Goodput
                    | Self::Knee
                    | Self::Optimal
                    | Self::AddedP50
                    | Self::AddedP99
                    | Self::LostThroughput
            )
    }

    /// Whether callers see it alone, so that a gateway elsewhere can be measured.
    pub fn is_seen_by_callers(self) -> bool {
        matches!(
            self,
            Self::Success
                | Self::InTime
                | Self::Failed
                | Self::LatencyP50
                | Self::LatencyP99
                | Self::FirstContentP99
                | Self::RefusalP99
                | Self::Throughput
                | Self::Goodput
                | Self::InFlight
                | Self::Refused
                | Self::Knee
                | Self::SuccessBound
                | Self::Dishonest
                | Self::BrokenOff
        )
    }

    fn of(self, evidence: &Evidence, scope: &Scope, parameter: f64) -> Option<Measured> {
        match self {
            Self::Success => answers::success(evidence, scope),
            Self::SuccessBound => answers::success_bound(evidence, scope),
            Self::InTime => answers::in_time(evidence, scope, parameter),
            Self::Failed => answers::failed(evidence, scope),
            Self::Dishonest => answers::dishonest(evidence, scope),
            Self::BrokenOff => answers::broken_off(evidence, scope),
            Self::LatencyP50 => answers::latency(evidence, scope, 0.50),
            Self::LatencyP99 => answers::latency(evidence, scope, 0.99),
            Self::FirstContentP99 => answers::first_content(evidence, scope),
            Self::RefusalP99 => answers::refusal(evidence, scope),
            Self::Throughput => answers::throughput(evidence, scope),
            Self::Goodput => answers::goodput(evidence, scope),
            Self::InFlight => answers::in_flight(evidence, scope),
            Self::Refused => answers::refused(evidence, scope),
            Self::Knee => answers::knee(evidence, scope),
            Self::DoubleExecutions => failover::double_executions(evidence),
            Self::DoubleEffects => failover::double_effects(evidence),
            Self::Attempts => failover::attempts(evidence, scope),
            Self::FailoverTime => failover::failover_time(evidence, scope),
            Self::RecoveryMax => failover::recovery(evidence, 1.0),
            Self::RecoveryP50 => failover::recovery(evidence, 0.5),
            Self::DetectionMax => failover::detection(evidence),
            Self::Optimal => oracle::optimal(evidence, scope),
            Self::RegretTime => oracle::regret_time(evidence, scope),
            Self::RegretMoney => oracle::regret_money(evidence, scope),
            Self::RampMax => failover::ramp(evidence),
            Self::AddedTimeP50 => overhead::added_time(evidence, scope, 0.50),
            Self::AddedTimeP99 => overhead::added_time(evidence, scope, 0.99),
            Self::SwitchP50 => overhead::switch_time(evidence, scope, 0.50),
            Self::SwitchP99 => overhead::switch_time(evidence, scope, 0.99),
            Self::DecisionP99 => overhead::decision(evidence),
            Self::OwnRequests => overhead::own_requests(evidence),
            _ => self.of_house(evidence, scope, parameter),
        }
    }

    /// What concerns money and the process.
    fn of_house(self, evidence: &Evidence, scope: &Scope, parameter: f64) -> Option<Measured> {
        match self {
            Self::Overspend => money::overspend(evidence, parameter),
            Self::Used => money::used(evidence, parameter),
            Self::PhantomRefusals => money::phantom_refusals(evidence, parameter),
            Self::DispatchedWhileStopped => books::dispatched_while_stopped(evidence),
            Self::RefusedAsStopped => books::refused_as_stopped(evidence, scope),
            Self::Uncommitted => books::uncommitted(evidence),
            Self::Held => books::held(evidence),
            Self::BooksError => books::books_error(evidence),
            Self::ForecastError => books::forecast_error(evidence),
            Self::ThresholdsWrong => books::thresholds(evidence, parameter),
            Self::Misattributed => books::misattributed(evidence),
            Self::StandIns => books::stand_ins(evidence),
            Self::AddedP50 => impact::added(evidence, 0.50),
            Self::AddedP99 => impact::added(evidence, 0.99),
            Self::LostThroughput => impact::lost_throughput(evidence),
            Self::CpuPerRequest => impact::cpu_per_request(evidence),
            Self::Memory => impact::memory(evidence),
            Self::MemorySlope => impact::memory_slope(evidence),
            Self::DescriptorSlope => impact::descriptor_slope(evidence),
            _ => None,
        }
    }
}

/// Holds one bar against the evidence. What could not be measured misses its bar with no sample.
pub fn verdict(evidence: &Evidence, asked: &Asked) -> Verdict {
    let found = asked.measure.of(evidence, &asked.scope, asked.parameter);
    let found = found.filter(|found| found.value.is_finite());
    let unit = asked.measure.unit();
    match found {
        Some(Measured { value, samples, margin }) => {
            let verdict = Verdict::new(&asked.promise, asked.bar, value, unit, samples);
            margin.map_or(verdict.clone(), |margin| verdict.with_margin(margin))
        }
        None => Verdict { passed: false, ..Verdict::new(&asked.promise, asked.bar, 0.0, unit, 0) },
    }
}

/// What a reader must know beside the numbers.
pub fn notes(evidence: &Evidence) -> Vec<String> {
    impact::notes(evidence)
}

/// The times between faults' ends and their upstreams' first good answers, in seconds, for plots.
pub fn recoveries(evidence: &Evidence) -> Vec<f64> {
    failover::recoveries(evidence)
}

/// A quantile with its margin; `None` without values.
fn at_quantile(mut values: Vec<f64>, at: f64) -> Option<Measured> {
    values.sort_unstable_by(f64::total_cmp);
    let value = quantile(&values, at)?;
    Some(Measured { value, samples: values.len() as u64, margin: quantile_margin(&values, at) })
}

impl Measured {
    /// A number that was counted out.
    fn counted(value: f64, samples: u64) -> Self {
        Self { value, samples, margin: None }
    }
}

#[cfg(test)]
mod tests;
