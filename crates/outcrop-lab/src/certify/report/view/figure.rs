//! One plot of a page with its heading, its legend and the figures that it rests on.

use super::Anchors;
use crate::certify::outcome::{Bar, Class, Mark, ScenarioOutcome, Series, Verdict};
use crate::certify::report::figures;
use crate::certify::report::plot::{self, Svg, distribution, intervals, percentiles, timeline};

/// Rows of a table below a plot, at most; the record has all.
const ROWS_MAX: usize = 24;

/// A plot with what belongs to it.
pub(in crate::certify::report) struct Figure {
    pub heading: String,
    /// Anchor of the scenario that it belongs to; empty where it stands there already.
    pub place: Option<String>,
    pub svg: Svg,
    /// Class of the sign, and what it means.
    pub legend: Vec<(String, String)>,
    pub marks: Vec<(bool, String)>,
    pub caption: String,
    pub header: Vec<String>,
    pub rows: Vec<Vec<String>>,
}

/// All plots of a scenario.
pub(super) fn of_scenario(suite: &str, scenario: &ScenarioOutcome, anchors: &mut Anchors) -> Vec<Figure> {
    let mut figures = Vec::new();
    for curves in by_unit(&scenario.series) {
        figures.push(of_percentiles(&curves, anchors));
    }
    for series in &scenario.series {
        match series {
            Series::Time { name, unit, points, marks, limit } => {
                let line = timeline::Timeline {
                    title: name,
                    unit,
                    points,
                    marks,
                    limit: *limit,
                    seconds: span(scenario),
                };
                figures.push(of_time(&line, anchors));
            }
            Series::Distribution { name, unit, classes } => {
                figures.push(of_classes(name, unit, classes, anchors));
            }
            Series::Percentiles { .. } => {}
        }
    }
    figures.extend(of_shares(suite, scenario, anchors));
    figures
}

/// A distribution by percentiles, as it is stored.
pub(super) struct Curve<'a> {
    pub name: &'a str,
    pub unit: &'a str,
    pub points: &'a [(f64, f64)],
    pub samples: u64,
}

/// Distributions that can share a plot: of one unit, and no more than the page has styles for.
pub(super) fn by_unit(series: &[Series]) -> Vec<Vec<Curve<'_>>> {
    let mut groups: Vec<Vec<Curve<'_>>> = Vec::new();
    for one in series {
        let Series::Percentiles { name, unit, points, samples } = one else { continue };
        let curve = Curve { name, unit, points, samples: *samples };
        let fits =
            |g: &&mut Vec<Curve<'_>>| g.len() < plot::LINES_MAX && g.first().is_some_and(|c| c.unit == unit);
        match groups.iter_mut().find(fits) {
            Some(group) => group.push(curve),
            None => groups.push(vec![curve]),
        }
    }
    groups
}

pub(super) fn of_percentiles(curves: &[Curve<'_>], anchors: &mut Anchors) -> Figure {
    let unit = curves.first().map_or("", |curve| curve.unit);
    let heading = match curves {
        [one] => format!("{}, by percentile", capitalised(one.name)),
        _ if ["us", "ms", "s"].contains(&unit) => "Latency by percentile".to_owned(),
        _ => "Distributions by percentile".to_owned(),
    };
    let drawn: Vec<_> =
        curves.iter().map(|c| percentiles::Curve { name: c.name, points: c.points }).collect();
    let shown = [50.0, 90.0, 99.0, 99.9, 99.99];
    let row = |curve: &Curve<'_>| {
        let value = |p: &f64| {
            percentiles::value_at(curve.points, *p).map_or("–".to_owned(), |v| figures::quantity(v, unit))
        };
        let mut row = vec![curve.name.to_owned(), figures::count(curve.samples)];
        row.extend(shown.iter().map(value));
        row
    };
    let mut header = vec!["Series".to_owned(), "Samples".to_owned()];
    header.extend(shown.iter().map(|p| format!("p{p}")));
    Figure {
        svg: percentiles::plot(&anchors.figure(), &heading, unit, &drawn),
        heading,
        place: None,
        legend: curves
            .iter()
            .enumerate()
            .map(|(at, c)| (format!("curve c{at}"), c.name.to_owned()))
            .collect(),
        marks: Vec::new(),
        caption: match curves {
            [one] => percentiles::summary(one.points, unit),
            _ => String::new(),
        },
        header,
        rows: curves.iter().map(row).collect(),
    }
}

pub(super) fn of_time(line: &timeline::Timeline<'_>, anchors: &mut Anchors) -> Figure {
    let mut legend = vec![("curve c0".to_owned(), line.title.to_owned())];
    if let Some(limit) = line.limit {
        legend.push(("limit".to_owned(), format!("limit {}", figures::quantity(limit, line.unit))));
    }
    let mark = |(at, mark): (usize, &Mark)| {
        let kind = if mark.fault { "fault" } else { "phase" };
        (mark.fault, format!("{}: {} ({kind}, {})", at + 1, mark.label, timeline::when(mark)))
    };
    let every = line.points.len().div_ceil(ROWS_MAX).max(1);
    let row =
        |(at, value): &(f64, f64)| vec![figures::quantity(*at, "s"), figures::quantity(*value, line.unit)];
    Figure {
        heading: capitalised(line.title),
        place: None,
        svg: timeline::plot(&anchors.figure(), line),
        legend,
        marks: line.marks.iter().enumerate().map(mark).collect(),
        caption: if every > 1 {
            format!("The table has one of {every} points; the record has all.")
        } else {
            String::new()
        },
        header: vec!["Time".to_owned(), capitalised(line.title)],
        rows: line.points.iter().step_by(every).map(row).collect(),
    }
}

pub(super) fn of_classes(name: &str, unit: &str, classes: &[Class], anchors: &mut Anchors) -> Figure {
    let row = |class: &Class| {
        let range = format!("{} to {}", figures::number(class.from), figures::quantity(class.to, unit));
        vec![range, figures::count(class.count)]
    };
    Figure {
        heading: capitalised(name),
        place: None,
        svg: distribution::plot(&anchors.figure(), name, unit, classes),
        legend: Vec::new(),
        marks: Vec::new(),
        caption: distribution::summary(unit, classes),
        header: vec!["Class".to_owned(), "Observations".to_owned()],
        rows: classes.iter().map(row).collect(),
    }
}

/// The verdicts in percent of a suite whose subject is a share or an overhead.
pub(super) fn of_shares(suite: &str, scenario: &ScenarioOutcome, anchors: &mut Anchors) -> Option<Figure> {
    let rows: Vec<_> = scenario.verdicts.iter().filter(|verdict| verdict.unit == "%").collect();
    let (heading, bands): (_, &[intervals::Band]) = match suite {
        "impact" => ("Impact on the system, by class", &intervals::IMPACT),
        "efficiency" => ("Routing efficiency", &[]),
        _ => return None,
    };
    let rows: Vec<_> =
        rows.into_iter().filter(|v| suite != "efficiency" || matches!(v.bar, Bar::AtLeast(_))).collect();
    if rows.is_empty() {
        return None;
    }
    let row = |v: &&Verdict| {
        let mut row = vec![v.promise.clone(), figures::measured(v), figures::margin(v)];
        if !bands.is_empty() {
            row.push(class_of(v));
        }
        row
    };
    let mut header = vec!["What".to_owned(), "Measured".to_owned(), "Margin".to_owned()];
    if !bands.is_empty() {
        header.push("Class".to_owned());
    }
    let table = rows.iter().map(row).collect();
    let caption = if bands.is_empty() { "" } else { "Improvements are not counted as impact." };
    Some(Figure {
        heading: heading.to_owned(),
        place: None,
        svg: intervals::plot(&anchors.figure(), heading, &rows, bands),
        legend: vec![
            ("value kept".to_owned(), "measured, with its 95 % interval".to_owned()),
            ("asked".to_owned(), "the bar".to_owned()),
        ],
        marks: Vec::new(),
        caption: caption.to_owned(),
        header,
        rows: table,
    })
}

fn class_of(verdict: &Verdict) -> String {
    let class = intervals::impact_class(verdict.measured);
    if verdict.measured < 0.0 { format!("{class} (an improvement)") } else { class.to_owned() }
}

/// Seconds that every timeline of a scenario shows: as long as the last point or mark, so that they can be compared.
pub(super) fn span(scenario: &ScenarioOutcome) -> f64 {
    let ends = scenario.series.iter().filter_map(|series| match series {
        Series::Time { points, marks, .. } => {
            let last = points.last().map_or(0.0, |(at, _)| *at);
            Some(marks.iter().map(|mark| mark.until_s.unwrap_or(mark.at_s)).fold(last, f64::max))
        }
        _ => None,
    });
    ends.fold(0.0, f64::max)
}

fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}
