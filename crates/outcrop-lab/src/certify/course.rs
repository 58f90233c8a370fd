//! The course of a scenario as series for plots.

use std::time::Duration;

use super::{
    evidence::{Evidence, answered_after, is_complete},
    measure,
    outcome::{Class, Mark, SERIES_POINTS_MAX, Series},
    statistics::quantile,
};

/// Percentiles of a distribution.
const PERCENTILES: [f64; 11] = [0.0, 10.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.5, 99.9, 100.0];
/// Classes of a distribution.
const CLASSES: usize = 20;
/// Shortest stretch that counts are made over.
const STRETCH: Duration = Duration::from_millis(500);
const MIB: f64 = 1024.0 * 1024.0;

/// What can be drawn of a scenario; series without a point are left out.
pub fn series(evidence: &Evidence) -> Vec<Series> {
    let mut all = vec![
        over_time(evidence, "answers", "answers/s", |hits, stretch| hits.len() as f64 / stretch),
        over_time(evidence, "latency p99", "ms", |hits, _| {
            let mut times = hits.to_vec();
            times.sort_unstable_by(f64::total_cmp);
            quantile(&times, 0.99).unwrap_or(0.0)
        }),
        failures(evidence),
        percentiles(evidence),
    ];
    all.extend(spend(evidence));
    all.extend(memory(evidence));
    all.extend(recovery(evidence));
    all.retain(|series| !is_empty(series));
    all
}

/// Faults, and the beginnings of phases.
pub fn marks(evidence: &Evidence) -> Vec<Mark> {
    let mut begins_s = 0.0;
    let phases = evidence.scenario.phases.iter().map(|phase| {
        let at_s = begins_s;
        begins_s += phase.length.as_secs_f64();
        Mark { at_s, until_s: Some(begins_s), label: phase.name.clone(), fault: false }
    });
    let phases: Vec<Mark> = if evidence.scenario.paired.is_some() { Vec::new() } else { phases.collect() };
    let faults = evidence.faults.iter().map(|fault| Mark {
        at_s: fault.at_s,
        until_s: fault.until_s,
        label: fault.label.clone(),
        fault: true,
    });
    let orders = evidence.orders.iter().map(|ordered| Mark {
        at_s: ordered.at_s,
        until_s: Some(ordered.done_s),
        label: ordered.act.label().to_owned(),
        fault: true,
    });
    phases.into_iter().chain(faults).chain(orders).collect()
}

/// Values per stretch of time, from the latencies in milliseconds of the complete answers due in it.
fn over_time(evidence: &Evidence, name: &str, unit: &str, value: impl Fn(&[f64], f64) -> f64) -> Series {
    let stretch = stretch(evidence);
    let mut stretches: Vec<Vec<f64>> = Vec::new();
    for sample in evidence.samples.iter().filter(|sample| is_complete(sample)) {
        let index = (sample.due.as_micros() / stretch.as_micros().max(1)) as usize;
        if stretches.len() <= index {
            stretches.resize(index + 1, Vec::new());
        }
        stretches[index].push(sample.latency.as_secs_f64() * 1_000.0);
    }
    let stretch = stretch.as_secs_f64();
    let points = stretches.iter().enumerate().map(|(n, hits)| (n as f64 * stretch, value(hits, stretch)));
    timed(evidence, name, unit, points.collect())
}

fn failures(evidence: &Evidence) -> Series {
    let stretch = stretch(evidence);
    let mut points: Vec<(f64, f64)> = Vec::new();
    for sample in evidence.samples.iter().filter(|sample| !is_complete(sample)) {
        let index = (sample.due.as_micros() / stretch.as_micros().max(1)) as usize;
        while points.len() <= index {
            points.push((points.len() as f64 * stretch.as_secs_f64(), 0.0));
        }
        points[index].1 += 1.0 / stretch.as_secs_f64();
    }
    timed(evidence, "not answered", "requests/s", points)
}

fn percentiles(evidence: &Evidence) -> Series {
    let complete = evidence.samples.iter().filter(|sample| is_complete(sample));
    let mut times: Vec<f64> = complete
        .filter_map(|sample| Some(answered_after(sample, evidence.call(sample)?).as_secs_f64() * 1_000.0))
        .collect();
    times.sort_unstable_by(f64::total_cmp);
    let points = PERCENTILES.iter().filter_map(|at| Some((*at, quantile(&times, at / 100.0)?)));
    Series::Percentiles {
        name: "time to the answer".to_owned(),
        unit: "ms".to_owned(),
        points: points.collect(),
        samples: times.len() as u64,
    }
}

/// What the upstreams billed until each moment, against the limit that the bars speak of.
fn spend(evidence: &Evidence) -> Option<Series> {
    let asked = evidence.scenario.bars.iter().find(|asked| asked.measure.parameter() == Some("limit_usd"))?;
    let mut sum = 0.0;
    let points = evidence.records.iter().map(|record| {
        sum += record.cost_nusd as f64 / 1e9;
        (evidence.arrival_s(record), sum)
    });
    Some(Series::Time {
        name: "billed by the upstreams".to_owned(),
        unit: "USD".to_owned(),
        points: thinned(points.collect()),
        marks: marks(evidence),
        limit: Some(asked.parameter),
    })
}

fn memory(evidence: &Evidence) -> Option<Series> {
    let points = evidence.usage.iter().map(|(at, usage)| (*at, usage.rss_bytes as f64 / MIB)).collect();
    (!evidence.usage.is_empty()).then(|| timed(evidence, "resident memory", "MiB", points))
}

fn recovery(evidence: &Evidence) -> Option<Series> {
    let times = measure::recoveries(evidence);
    let most = times.iter().copied().reduce(f64::max)?;
    let width = (most / CLASSES as f64).max(0.05);
    let classes = (0..=CLASSES).map(|n| {
        let (from, to) = (n as f64 * width, (n + 1) as f64 * width);
        let count = times.iter().filter(|time| (from..to).contains(*time)).count() as u64;
        Class { from, to, count }
    });
    let (name, unit) = ("recovery after healing".to_owned(), "s".to_owned());
    Some(Series::Distribution { name, unit, classes: classes.collect() })
}

fn timed(evidence: &Evidence, name: &str, unit: &str, points: Vec<(f64, f64)>) -> Series {
    Series::Time {
        name: name.to_owned(),
        unit: unit.to_owned(),
        points: thinned(points),
        marks: marks(evidence),
        limit: None,
    }
}

/// At most [`SERIES_POINTS_MAX`] points, evenly chosen, with the last one kept.
fn thinned(points: Vec<(f64, f64)>) -> Vec<(f64, f64)> {
    let every = points.len().div_ceil(SERIES_POINTS_MAX).max(1);
    let last = points.len().saturating_sub(1);
    let kept = points.into_iter().enumerate().filter(|(n, _)| (last - n).is_multiple_of(every));
    kept.map(|(_, point)| point).collect()
}

fn stretch(evidence: &Evidence) -> Duration {
    STRETCH.max(evidence.scenario.length() / SERIES_POINTS_MAX as u32)
}

fn is_empty(series: &Series) -> bool {
    match series {
        Series::Time { points, .. } | Series::Percentiles { points, .. } => points.is_empty(),
        Series::Distribution { classes, .. } => classes.is_empty(),
    }
}
