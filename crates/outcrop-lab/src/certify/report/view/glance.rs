//! The plots that a person looks at first: one each of latency, faults, efficiency, spend, recovery and impact.
//!
//! Taken from the suite whose subject it is, or from the first scenario that has such a thing; void scenarios show
//! nothing here.

use super::Anchors;
use super::figure::{self, Figure};
use crate::certify::outcome::{Outcome, ScenarioOutcome, Series};
use crate::certify::report::plot::timeline::Timeline;

/// A scenario with the name of its suite.
type Place<'a> = (&'a str, &'a ScenarioOutcome);

/// The first plots, in the order in which they are asked for.
pub(super) fn figures(outcome: &Outcome, anchors: &mut Anchors) -> Vec<Figure> {
    let makers: [(&[&str], Maker); 6] = [
        (&["latency", "load"], latency),
        (&["failover", "latency"], faults),
        (&["efficiency"], shares),
        (&["cost"], spend),
        (&["failover"], recovery),
        (&["impact"], shares),
    ];
    makers.iter().filter_map(|(preferred, make)| first(outcome, preferred, *make, anchors)).collect()
}

type Maker = fn(Place<'_>, &mut Anchors) -> Option<Figure>;

fn first(outcome: &Outcome, preferred: &[&str], make: Maker, anchors: &mut Anchors) -> Option<Figure> {
    let mut suites: Vec<_> = outcome.suites.iter().collect();
    suites.sort_by_key(|suite| {
        preferred.iter().position(|name| *name == suite.name).unwrap_or(preferred.len())
    });
    // Shares mean something only in the suites that are named.
    let named = preferred.len() == 1;
    for suite in suites.into_iter().filter(|suite| !named || preferred.contains(&suite.name.as_str())) {
        for scenario in suite.scenarios.iter().filter(|scenario| scenario.void.is_none()) {
            if let Some(mut figure) = make((&suite.name, scenario), anchors) {
                figure.place = Some(format!("{} / {}", suite.name, scenario.name));
                return Some(figure);
            }
        }
    }
    None
}

fn latency((_, scenario): Place<'_>, anchors: &mut Anchors) -> Option<Figure> {
    let groups = figure::by_unit(&scenario.series);
    groups.first().map(|curves| figure::of_percentiles(curves, anchors))
}

fn faults((_, scenario): Place<'_>, anchors: &mut Anchors) -> Option<Figure> {
    time(
        scenario,
        anchors,
        |series| matches!(series, Series::Time { marks, .. } if marks.iter().any(|m| m.fault)),
    )
}

fn spend((_, scenario): Place<'_>, anchors: &mut Anchors) -> Option<Figure> {
    time(scenario, anchors, |series| matches!(series, Series::Time { limit: Some(_), .. }))
}

fn recovery((_, scenario): Place<'_>, anchors: &mut Anchors) -> Option<Figure> {
    scenario.series.iter().find_map(|series| match series {
        Series::Distribution { name, unit, classes } => {
            Some(figure::of_classes(name, unit, classes, anchors))
        }
        _ => None,
    })
}

fn shares((suite, scenario): Place<'_>, anchors: &mut Anchors) -> Option<Figure> {
    figure::of_shares(suite, scenario, anchors)
}

fn time(
    scenario: &ScenarioOutcome,
    anchors: &mut Anchors,
    wanted: impl Fn(&Series) -> bool,
) -> Option<Figure> {
    let Series::Time { name, unit, points, marks, limit } = scenario.series.iter().find(|s| wanted(s))?
    else {
        return None;
    };
    let seconds = figure::span(scenario);
    Some(figure::of_time(&Timeline { title: name, unit, points, marks, limit: *limit, seconds }, anchors))
}
