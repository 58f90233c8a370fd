//! Plots as inline SVG, made by small functions of our own.
//!
//! Drawn for a column of a page: 420 units wide, so that text stays readable on a phone. Colour never carries meaning
//! alone, styles come from the page's classes (an attribute would break its policy), every plot has a title and a
//! description. Every coordinate is finite.

pub(super) mod axis;
pub(super) mod canvas;
pub(super) mod distribution;
pub(super) mod intervals;
pub(super) mod percentiles;
pub(super) mod timeline;

pub(super) use canvas::Svg;

use axis::Scale;
use canvas::Canvas;

use super::figures;

/// Width of a plot in its own units.
const WIDTH: f64 = 420.0;
/// Height of a plot with one panel.
const HEIGHT: f64 = 250.0;
/// Where the panel begins and ends.
const LEFT: f64 = 62.0;
const RIGHT: f64 = 398.0;
const TOP: f64 = 26.0;
const BOTTOM: f64 = 206.0;
/// Colours and dashes that the page has for lines that share a plot.
pub(super) const LINES_MAX: usize = 6;

/// Draws a horizontal grid with its figures, and the unit above it.
fn value_axis(canvas: &mut Canvas, y: &Scale, unit: &str) {
    for tick in y.ticks() {
        let at = y.at(tick);
        canvas.line("grid", (LEFT, at), (RIGHT, at));
        canvas.text("tick end", (LEFT - 6.0, at + 4.0), &figures::short(tick));
    }
    canvas.text("tick", (4.0, TOP - 12.0), figures::unit(unit));
}

/// Draws the ground line, its figures and what they are.
fn ground(canvas: &mut Canvas, ticks: &[(f64, String)], what: &str) {
    canvas.line("axis", (LEFT, BOTTOM), (RIGHT, BOTTOM));
    for (at, text) in ticks {
        canvas.line("axis", (*at, BOTTOM), (*at, BOTTOM + 4.0));
        canvas.text("tick mid", (*at, BOTTOM + 17.0), text);
    }
    canvas.text("tick mid", (f64::midpoint(LEFT, RIGHT), BOTTOM + 36.0), what);
}
