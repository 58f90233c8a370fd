//! Values over time, with faults and phases marked by numbers that a list below explains.

use std::fmt::Write as _;

use super::axis::Scale;
use super::canvas::{Canvas, Svg};
use super::{BOTTOM, HEIGHT, LEFT, RIGHT, TOP, ground, value_axis};
use crate::certify::outcome::Mark;
use crate::certify::report::figures;

/// What a timeline shows.
pub(in crate::certify::report) struct Timeline<'a> {
    pub title: &'a str,
    pub unit: &'a str,
    /// Seconds and value, ascending.
    pub points: &'a [(f64, f64)],
    pub marks: &'a [Mark],
    pub limit: Option<f64>,
    /// Seconds on the axis, the same for every timeline of a scenario.
    pub seconds: f64,
}

/// Draws a timeline.
pub(in crate::certify::report) fn plot(id: &str, timeline: &Timeline<'_>) -> Svg {
    let values = timeline.points.iter().map(|(_, value)| *value).chain(timeline.limit);
    let y = Scale::from_zero(values, (BOTTOM, TOP));
    let x = Scale::linear((0.0, timeline.seconds), (LEFT, RIGHT));
    let mut canvas = Canvas::new();
    for mark in timeline.marks {
        shade(&mut canvas, &x, mark);
    }
    value_axis(&mut canvas, &y, timeline.unit);
    let ticks: Vec<_> = x.ticks().into_iter().map(|tick| (x.at(tick), figures::number(tick))).collect();
    ground(&mut canvas, &ticks, "seconds since the scenario's start");
    if let Some(limit) = timeline.limit {
        canvas.line("limit", (LEFT, y.at(limit)), (RIGHT, y.at(limit)));
    }
    let way: Vec<_> = timeline.points.iter().map(|(at, value)| (x.at(*at), y.at(*value))).collect();
    canvas.path("curve c0", &way);
    number(&mut canvas, &x, timeline.marks);
    canvas.finish(id, HEIGHT, timeline.title, &description(timeline))
}

/// The time of a mark for people.
pub(in crate::certify::report) fn when(mark: &Mark) -> String {
    match mark.until_s {
        Some(until) => format!("{} to {}", figures::number(mark.at_s), figures::quantity(until, "s")),
        None => format!("from {}", figures::quantity(mark.at_s, "s")),
    }
}

/// Shades from a mark's beginning to its end; one without an end is a line.
fn shade(canvas: &mut Canvas, x: &Scale, mark: &Mark) {
    let class = if mark.fault { "fault" } else { "phase" };
    let from = x.at(mark.at_s);
    canvas.line(&format!("edge {class}"), (from, TOP), (from, BOTTOM));
    if let Some(until) = mark.until_s {
        let to = x.at(until);
        canvas.rect(&format!("band {class}"), (from, TOP), (to - from, BOTTOM - TOP));
        canvas.line(&format!("edge {class}"), (to, TOP), (to, BOTTOM));
    }
}

/// Puts the marks' numbers above the panel; those that would cover each other move to the right.
fn number(canvas: &mut Canvas, x: &Scale, marks: &[Mark]) {
    const APART: f64 = 17.0;
    let mut free = LEFT;
    for (at, mark) in marks.iter().enumerate() {
        let middle =
            mark.until_s.map_or(x.at(mark.at_s), |until| f64::midpoint(x.at(mark.at_s), x.at(until)));
        let place = middle.max(free);
        if place > RIGHT {
            break;
        }
        let class = if mark.fault { "fault" } else { "phase" };
        canvas.dot(&format!("badge {class}"), (place, TOP - 11.0), 8.0);
        canvas.text("badge-text mid", (place, TOP - 7.0), &(at + 1).to_string());
        free = place + APART;
    }
}

fn description(timeline: &Timeline<'_>) -> String {
    let values = timeline.points.iter().map(|(_, value)| *value);
    let (low, high) =
        (values.clone().fold(f64::INFINITY, f64::min), values.fold(f64::NEG_INFINITY, f64::max));
    let mut said = if timeline.points.is_empty() {
        "no values".to_owned()
    } else {
        format!(
            "between {} and {}",
            figures::quantity(low, timeline.unit),
            figures::quantity(high, timeline.unit)
        )
    };
    // Writing to a string cannot fail.
    if let Some(limit) = timeline.limit {
        let _ = write!(said, "; limit {}", figures::quantity(limit, timeline.unit));
    }
    for mark in timeline.marks {
        let _ = write!(said, "; {} {}", mark.label, when(mark));
    }
    said
}
