//! A distribution by its classes: one bar each, equally wide, with the class limits below.

use super::axis::Scale;
use super::canvas::{Canvas, Svg};
use super::{BOTTOM, HEIGHT, LEFT, RIGHT, TOP, ground, value_axis};
use crate::certify::outcome::Class;
use crate::certify::report::figures;

/// Figures below the bars, at most.
const LABELS_MAX: usize = 8;

/// Draws a distribution.
pub(in crate::certify::report) fn plot(id: &str, title: &str, unit: &str, classes: &[Class]) -> Svg {
    let y = Scale::from_zero(classes.iter().map(|class| class.count as f64), (BOTTOM, TOP));
    let x = Scale::linear((0.0, classes.len() as f64), (LEFT, RIGHT));
    let mut canvas = Canvas::new();
    value_axis(&mut canvas, &y, "observations");
    let limits: Vec<f64> =
        classes.iter().map(|class| class.from).chain(classes.last().map(|c| c.to)).collect();
    let every = limits.len().div_ceil(LABELS_MAX).max(1);
    let ticks: Vec<_> = limits
        .iter()
        .enumerate()
        .step_by(every)
        .map(|(at, limit)| (x.at(at as f64), figures::number(*limit)))
        .collect();
    for (at, class) in classes.iter().enumerate() {
        let (from, to, top) = (x.at(at as f64), x.at(at as f64 + 1.0), y.at(class.count as f64));
        canvas.rect("bar", (from + 1.0, top), (to - from - 2.0, BOTTOM - top));
    }
    ground(&mut canvas, &ticks, figures::unit(unit));
    canvas.finish(id, HEIGHT, title, &summary(unit, classes))
}

/// How many observations there are, and where most of them lie.
pub(in crate::certify::report) fn summary(unit: &str, classes: &[Class]) -> String {
    let total: u64 = classes.iter().map(|class| class.count).sum();
    let filled = || classes.iter().filter(|class| class.count > 0);
    let Some(((first, last), most)) =
        filled().next().zip(filled().next_back()).zip(filled().max_by_key(|c| c.count))
    else {
        return "no observations".to_owned();
    };
    format!(
        "{} observations between {} and {}; most of them from {} to {}",
        figures::count(total),
        figures::number(first.from),
        figures::quantity(last.to, unit),
        figures::number(most.from),
        figures::quantity(most.to, unit)
    )
}
