//! Latency by percentile: the axis widens towards the slowest, where the promises are.

use super::axis::Scale;
use super::canvas::{Canvas, Svg};
use super::{BOTTOM, HEIGHT, LEFT, LINES_MAX, RIGHT, TOP, ground, value_axis};
use crate::certify::report::figures;

/// One distribution of a plot.
pub(in crate::certify::report) struct Curve<'a> {
    pub name: &'a str,
    /// Percentile and value, ascending.
    pub points: &'a [(f64, f64)],
}

/// Percentiles that are named on the axis.
const NAMED: [f64; 5] = [0.0, 90.0, 99.0, 99.9, 99.99];

/// Nines of a percentile: 0 at 0 %, 1 at 90 %, 2 at 99 %.
fn nines(percentile: f64) -> f64 {
    -(1.0 - (percentile / 100.0).clamp(0.0, 0.999_999)).log10()
}

/// Draws distributions that share a unit.
pub(in crate::certify::report) fn plot(id: &str, title: &str, unit: &str, curves: &[Curve<'_>]) -> Svg {
    let values = curves.iter().flat_map(|curve| curve.points.iter().map(|(_, value)| *value));
    let y = Scale::fitting(values, (BOTTOM, TOP));
    let last = curves.iter().flat_map(|curve| curve.points).map(|(p, _)| nines(*p)).fold(2.0, f64::max);
    let x = Scale::linear((0.0, last.min(4.5)), (LEFT, RIGHT));
    let mut canvas = Canvas::new();
    value_axis(&mut canvas, &y, unit);
    let named = NAMED.iter().filter(|p| nines(**p) <= last + 0.01);
    let ticks: Vec<_> = named.chain([&50.0]).map(|p| (x.at(nines(*p)), format!("{p}"))).collect();
    let what = if y.is_log() { "percentile (both axes logarithmic)" } else { "percentile (logarithmic)" };
    ground(&mut canvas, &ticks, what);
    for (at, curve) in curves.iter().enumerate().take(LINES_MAX) {
        let way: Vec<_> = curve.points.iter().map(|(p, value)| (x.at(nines(*p)), y.at(*value))).collect();
        canvas.path(&format!("curve c{at}"), &way);
    }
    let said: Vec<_> =
        curves.iter().map(|curve| format!("{}: {}", curve.name, summary(curve.points, unit))).collect();
    canvas.finish(id, HEIGHT, title, &said.join("; "))
}

/// Median, 99th and largest, as far as they are known.
pub(in crate::certify::report) fn summary(points: &[(f64, f64)], unit: &str) -> String {
    let mut said = Vec::new();
    for (percentile, name) in [(50.0, "median"), (99.0, "p99"), (99.9, "p99.9"), (99.99, "p99.99")] {
        if let Some(value) = value_at(points, percentile) {
            said.push(format!("{name} {}", figures::quantity(value, unit)));
        }
    }
    said.join(", ")
}

/// The value at a percentile, between the points that surround it; none beyond them.
pub(in crate::certify::report) fn value_at(points: &[(f64, f64)], percentile: f64) -> Option<f64> {
    let after = points.iter().position(|(p, _)| *p >= percentile)?;
    let (high_p, high) = *points.get(after)?;
    let Some((low_p, low)) = after.checked_sub(1).and_then(|before| points.get(before)).copied() else {
        return (high_p <= percentile).then_some(high);
    };
    if high_p <= low_p {
        return Some(high);
    }
    Some(low + (high - low) * (percentile - low_p) / (high_p - low_p))
}
