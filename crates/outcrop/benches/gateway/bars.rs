//! The published bars and whether the measured figures keep them.
//!
//! The worst cell decides. A figure that was not measured is neither met nor missed; a cell with errors misses its
//! bar whatever its figure says.

use serde::Serialize;

use crate::exposition::DecisionTime;
use crate::requests::RequestResult;
use crate::spread::Spread;
use crate::streams::StreamResult;

/// Gateway CPU per request over the bare proxy's, same protocol on both sides.
pub(crate) const SAME_PROTOCOL_RATIO: f64 = 1.5;
/// The same where the gateway translates.
pub(crate) const TRANSLATED_RATIO: f64 = 2.2;
/// Added median latency on one connection.
pub(crate) const ADDED_P50_US: f64 = 150.0;
/// Memory per open stream.
pub(crate) const KIB_PER_STREAM: f64 = 64.0;
/// Resident memory before the first request.
pub(crate) const IDLE_MIB: f64 = 25.0;
/// 99th percentile of a routing decision.
pub(crate) const DECISION_P99_US: f64 = 20.0;
/// How far from 1 a self-check's ratio may be.
pub(crate) const SELF_CHECK_TOLERANCE: f64 = 0.05;

/// One bar and what was measured against it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Verdict {
    /// What is limited.
    pub(crate) what: &'static str,
    /// The limit, with unit.
    pub(crate) bar: String,
    /// The deciding figure, with unit and its cell.
    pub(crate) measured: String,
    /// Nothing, if it was not measured.
    pub(crate) met: Option<bool>,
}

/// A figure of a cell, and whether the cell was free of errors.
struct Figure {
    cell: String,
    value: f64,
    sound: bool,
}

/// All bars of the gateway.
pub(crate) fn judge(
    requests: &[RequestResult],
    streams: &[StreamResult],
    idle_mib: &[f64],
    decision: Option<&DecisionTime>,
) -> Vec<Verdict> {
    let ratios = |translated: bool| ratios_of(requests, streams, |is| is == translated);
    let added = requests.iter().filter(|result| result.connections == 1).filter_map(|result| {
        Some(Figure {
            cell: result.cell.clone(),
            value: result.added_p50_us?.median,
            sound: result.errors == 0,
        })
    });
    let memory = streams.iter().filter_map(|result| {
        Some(Figure {
            cell: result.cell.clone(),
            value: result.kib_per_stream?.median,
            sound: result.errors == 0,
        })
    });
    vec![
        worst("CPU per request, same protocol", SAME_PROTOCOL_RATIO, "x bare", ratios(false)),
        worst("CPU per request, translated", TRANSLATED_RATIO, "x bare", ratios(true)),
        worst("added p50 at c=1", ADDED_P50_US, "us", added.collect()),
        stream_errors(streams),
        worst("memory per stream", KIB_PER_STREAM, "KiB", memory.collect()),
        idle(idle_mib),
        decision_time(decision),
    ]
}

/// The one bar of a self-check: a bare proxy costs as much as a bare proxy.
pub(crate) fn judge_self_check(requests: &[RequestResult], streams: &[StreamResult]) -> Vec<Verdict> {
    let figures = ratios_of(requests, streams, |_| true);
    let away = |figure: Figure| Figure { value: (figure.value - 1.0).abs(), ..figure };
    let figures = figures.into_iter().map(away).collect();
    vec![
        worst("bare against bare, distance from 1", SELF_CHECK_TOLERANCE, "", figures),
        stream_errors(streams),
    ]
}

fn ratios_of(
    requests: &[RequestResult],
    streams: &[StreamResult],
    wanted: impl Fn(bool) -> bool,
) -> Vec<Figure> {
    let figure = |cell: &str, ratio: Option<Spread>, errors: u64| {
        ratio.map(|ratio| Figure { cell: cell.to_owned(), value: ratio.median, sound: errors == 0 })
    };
    let of_requests = requests
        .iter()
        .filter(|result| wanted(result.translated))
        .filter_map(|result| figure(&result.cell, result.cpu_ratio, result.errors));
    let of_streams = streams
        .iter()
        .filter(|result| wanted(result.translated))
        .filter_map(|result| figure(&result.cell, result.cpu_ratio, result.errors as u64));
    of_requests.chain(of_streams).collect()
}

fn worst(what: &'static str, limit: f64, unit: &str, figures: Vec<Figure>) -> Verdict {
    let bar = format!("<= {limit} {unit}").trim_end().to_owned();
    let sound = figures.iter().all(|figure| figure.sound);
    let Some(figure) = figures.into_iter().max_by(|one, other| one.value.total_cmp(&other.value)) else {
        return not_measured(what, bar);
    };
    let errors = if sound { "" } else { ", with errors" };
    let measured = format!("{:.2} {unit} ({}{errors})", figure.value, figure.cell);
    Verdict { what, bar, measured, met: Some(sound && figure.value <= limit) }
}

fn stream_errors(streams: &[StreamResult]) -> Verdict {
    let (what, bar) = ("streams complete, in order, all open at once", "0 errors".to_owned());
    if streams.is_empty() {
        return not_measured(what, bar);
    }
    let errors: usize = streams.iter().map(|result| result.errors).sum();
    let asked = |result: &StreamResult| result.rounds.iter().flatten().map(|round| round.streams).max();
    let concurrent = streams.iter().all(|result| asked(result) == Some(result.open_at_once));
    let open = streams.iter().map(|result| result.open_at_once).min().unwrap_or_default();
    let measured = format!("{errors} errors, at least {open} open at once");
    Verdict { what, bar, measured, met: Some(errors == 0 && concurrent) }
}

fn idle(idle_mib: &[f64]) -> Verdict {
    let (what, bar) = ("idle memory", format!("<= {IDLE_MIB} MiB"));
    match Spread::of(idle_mib.iter().copied()) {
        Some(idle) => Verdict {
            what,
            bar,
            measured: format!("{:.1} MiB (largest of {} starts)", idle.max, idle_mib.len()),
            met: Some(idle.max <= IDLE_MIB),
        },
        None => not_measured(what, bar),
    }
}

fn decision_time(decision: Option<&DecisionTime>) -> Verdict {
    let (what, bar) = ("routing decision p99 (gateway's own metric)", format!("<= {DECISION_P99_US} us"));
    match decision {
        Some(time) => Verdict {
            what,
            bar,
            measured: format!(
                "<= {:.1} us by bucket, about {:.1} us, of {} decisions",
                time.p99_at_most_us, time.p99_estimate_us, time.count
            ),
            met: Some(time.p99_at_most_us <= DECISION_P99_US),
        },
        None => not_measured(what, bar),
    }
}

fn not_measured(what: &'static str, bar: String) -> Verdict {
    Verdict { what, bar, measured: "not measured".to_owned(), met: None }
}
