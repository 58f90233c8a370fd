//! Shares and overheads: a dot for the value, a line for its 95 % interval, a tick for the bar, classes behind them.

use super::RIGHT;
use super::axis::Scale;
use super::canvas::{Canvas, Svg};
use crate::certify::outcome::Verdict;
use crate::certify::report::figures;

/// A class of values, drawn behind the rows.
pub(in crate::certify::report) struct Band {
    pub name: &'static str,
    /// Where it ends (excluded); it begins where the one before ends.
    pub to: f64,
}

/// What system impact is called, by its size in percent.
pub(in crate::certify::report) const IMPACT: [Band; 5] = [
    Band { name: "minimal", to: 2.0 },
    Band { name: "low", to: 5.0 },
    Band { name: "moderate", to: 10.0 },
    Band { name: "high", to: 20.0 },
    Band { name: "critical", to: f64::INFINITY },
];

/// Where rows begin; there are no figures left of them.
const LEFT: f64 = 24.0;
/// Where the first row begins, and the height of one.
const FIRST: f64 = 26.0;
const ROW: f64 = 40.0;
/// Letters of a promise that fit into a row.
const LETTERS_MAX: usize = 48;

/// Class of an impact in percent.
pub(in crate::certify::report) fn impact_class(percent: f64) -> &'static str {
    IMPACT.iter().find(|band| percent < band.to).map_or("critical", |band| band.name)
}

/// Draws verdicts in percent, one row each.
pub(in crate::certify::report) fn plot(id: &str, title: &str, rows: &[&Verdict], bands: &[Band]) -> Svg {
    let bottom = FIRST + ROW * rows.len() as f64;
    let x = scale(rows, bands);
    let mut canvas = Canvas::new();
    background(&mut canvas, &x, bands, bottom);
    for tick in x.ticks() {
        canvas.line("grid", (x.at(tick), FIRST), (x.at(tick), bottom));
        canvas.text("tick mid", (x.at(tick), bottom + 16.0), &format!("{}\u{a0}%", figures::number(tick)));
    }
    for (at, verdict) in rows.iter().enumerate() {
        row(&mut canvas, &x, FIRST + ROW * at as f64, verdict);
    }
    let said: Vec<_> = rows.iter().map(|verdict| said(verdict, bands)).collect();
    canvas.finish(id, bottom + 26.0, title, &said.join("; "))
}

fn scale(rows: &[&Verdict], bands: &[Band]) -> Scale {
    let ends = |v: &&Verdict| {
        let margin = v.margin.unwrap_or_default();
        [v.measured - margin, v.measured + margin, v.bar.limit()]
    };
    let values = rows.iter().flat_map(ends);
    let high = values.clone().fold(f64::NEG_INFINITY, f64::max);
    let low = values.fold(f64::INFINITY, f64::min);
    let places = (LEFT, RIGHT - 4.0);
    if bands.is_empty() && low >= 0.0 && high <= 100.0 {
        // A share: what matters lies near the top, so the axis begins below the lowest value.
        let floor = (100.0 - (100.0 - low) * 1.4 - 0.5).max(0.0);
        let floor = if floor > 90.0 { floor.floor() } else { (floor / 10.0).floor() * 10.0 };
        return Scale::linear((floor, 100.0), places);
    }
    Scale::from_zero([low, high].into_iter(), places)
}

fn background(canvas: &mut Canvas, x: &Scale, bands: &[Band], bottom: f64) {
    let mut from = x.at(0.0);
    for (at, band) in bands.iter().enumerate() {
        let to = x.at(if band.to.is_finite() { band.to } else { f64::MAX });
        if to <= from {
            break;
        }
        canvas.rect(&format!("class k{at}"), (from, FIRST), (to - from, bottom - FIRST));
        if to - from > 6.5 * band.name.len() as f64 {
            canvas.text("tick mid", (f64::midpoint(from, to), FIRST - 8.0), band.name);
        }
        from = to;
    }
}

fn row(canvas: &mut Canvas, x: &Scale, top: f64, verdict: &Verdict) {
    let middle = top + 29.0;
    canvas.text("label", (LEFT + 2.0, top + 15.0), &shortened(&verdict.promise));
    let bar = x.at(verdict.bar.limit());
    canvas.line("asked", (bar, middle - 8.0), (bar, middle + 8.0));
    if let Some(margin) = verdict.margin {
        let (from, to) = (x.at(verdict.measured - margin), x.at(verdict.measured + margin));
        canvas.line("whisker", (from, middle), (to, middle));
        canvas.line("whisker", (from, middle - 4.0), (from, middle + 4.0));
        canvas.line("whisker", (to, middle - 4.0), (to, middle + 4.0));
    }
    let class = if verdict.passed { "kept" } else { "broken" };
    canvas.dot(&format!("value {class}"), (x.at(verdict.measured), middle), 4.5);
}

fn shortened(promise: &str) -> String {
    if promise.chars().count() <= LETTERS_MAX {
        return promise.to_owned();
    }
    let kept: String = promise.chars().take(LETTERS_MAX - 1).collect();
    format!("{}…", kept.trim_end())
}

fn said(verdict: &Verdict, bands: &[Band]) -> String {
    let class =
        if bands.is_empty() { String::new() } else { format!(", {}", impact_class(verdict.measured)) };
    let bar = figures::bar(verdict.bar, &verdict.unit);
    format!("{}: {}, asked {bar}{class}", verdict.promise, figures::measured(verdict))
}
