//! Two runs against each other: what got worse, what got better, and what is noise.
//!
//! A change counts when it is larger than [`CHANGE_MIN`] and the 95 % intervals of both values do not overlap, which is
//! stricter than a test at 5 %. A value without an interval proves nothing by itself: it counts only when it breaks a
//! promise that was kept before. Percentiles get their interval from the distribution itself, by order statistics.

mod intervals;

use std::collections::BTreeMap;
use std::fmt;

use super::figures;
use super::plot::percentiles;
use super::standing;
use crate::certify::outcome::{Bar, Outcome, Series, Verdict};
use intervals::Interval;

/// Share of the first value from which a change is worth a word.
pub const CHANGE_MIN: f64 = 0.20;
/// Values nearer to zero than this share of their bar are not divided by.
const BASE_MIN: f64 = 0.10;
/// Percentiles that are compared.
const COMPARED: [f64; 4] = [50.0, 90.0, 99.0, 99.9];

/// What became of one measured value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// Kept before, not kept now.
    Broken,
    /// Worse by more than a fifth, beyond the margins.
    Regressed,
    /// Measured before, not any more.
    Missing,
    /// Not kept before, kept now.
    Mended,
    /// Better by more than a fifth, beyond the margins.
    Improved,
    /// Different by more than a fifth, but within the margins or without any.
    Noise,
    /// Not measured before.
    Added,
    /// Different by less than a fifth.
    Same,
}

/// One value of both runs.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Suite and scenario.
    pub place: String,
    /// Promise, or series and percentile.
    pub what: String,
    /// What became of it.
    pub change: Change,
    /// The value before, for people.
    pub before: String,
    /// The value now, for people.
    pub after: String,
    /// Relative change; absent where there is none to speak of.
    pub relative: Option<f64>,
    /// Why it is called so.
    pub why: String,
}

/// Two runs, compared.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// Every value, the worst first.
    pub rows: Vec<Row>,
    /// What differs in where and how the runs were made.
    pub differences: Vec<String>,
}

/// Why two runs cannot be compared.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum CompareError {
    /// They did not play the same.
    #[error(
        "the runs are of different profiles ({0}, {1}) and cannot be compared; run the same profile again"
    )]
    Profiles(String, String),
}

/// A value with what it takes to judge its change.
#[derive(Debug, Clone)]
struct Value {
    text: String,
    number: f64,
    interval: Option<Interval>,
    samples: u64,
    /// The bar, where there is one.
    bar: Option<Bar>,
    kept: bool,
}

type Key = (String, String);

impl Change {
    /// The word for people.
    pub fn word(self) -> &'static str {
        match self {
            Self::Broken => "broken",
            Self::Regressed => "regressed",
            Self::Missing => "missing",
            Self::Mended => "mended",
            Self::Improved => "improved",
            Self::Noise => "noise",
            Self::Added => "added",
            Self::Same => "same",
        }
    }

    /// Whether it fails the comparison.
    pub fn fails(self) -> bool {
        matches!(self, Self::Broken | Self::Regressed | Self::Missing)
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl Comparison {
    /// Holds a run against one before it.
    pub fn of(before: &Outcome, after: &Outcome) -> Result<Self, CompareError> {
        if before.profile != after.profile {
            return Err(CompareError::Profiles(before.profile.clone(), after.profile.clone()));
        }
        let (first, mut second) = (values(before), values(after));
        let mut rows = Vec::new();
        for (key, was) in &first {
            rows.push(match second.remove(key) {
                Some(is) => changed(key, was, &is),
                None => row(
                    key,
                    Change::Missing,
                    (was.text.clone(), "–".to_owned()),
                    None,
                    "not measured any more",
                ),
            });
        }
        for (key, is) in second {
            // A promise that is new and not kept was never better; the run itself has failed by it.
            rows.push(row(&key, Change::Added, ("–".to_owned(), is.text), None, "not measured before"));
        }
        rows.sort_by(|a, b| (a.change, &a.place, &a.what).cmp(&(b.change, &b.place, &b.what)));
        Ok(Self { rows, differences: differences(before, after) })
    }

    /// How many rows became of this.
    pub fn count(&self, change: Change) -> usize {
        self.rows.iter().filter(|row| row.change == change).count()
    }

    /// Whether nothing got worse.
    pub fn holds(&self) -> bool {
        !self.rows.iter().any(|row| row.change.fails())
    }
}

/// Every value of a run that can be compared, by where it stands.
fn values(outcome: &Outcome) -> BTreeMap<Key, Value> {
    let mut values = BTreeMap::new();
    for (suite, scenario, verdict) in standing::verdicts(&outcome.suites) {
        let place = format!("{} / {}", suite.name, scenario.name);
        values.insert((place, verdict.promise.clone()), Value::of_verdict(verdict));
    }
    for suite in &outcome.suites {
        for scenario in suite.scenarios.iter().filter(|scenario| scenario.void.is_none()) {
            let place = format!("{} / {}", suite.name, scenario.name);
            for series in &scenario.series {
                values.extend(of_percentiles(series).map(|(what, value)| ((place.clone(), what), value)));
            }
        }
    }
    values
}

impl Value {
    fn of_verdict(verdict: &Verdict) -> Self {
        let margin = verdict.margin.filter(|margin| *margin > 0.0);
        Self {
            text: match margin {
                Some(_) => format!("{} {}", figures::measured(verdict), figures::margin(verdict)),
                None => figures::measured(verdict),
            },
            number: verdict.measured,
            interval: margin.map(|margin| Interval::around(verdict.measured, margin)),
            samples: verdict.samples,
            bar: Some(verdict.bar),
            kept: verdict.passed,
        }
    }

    /// How far it is to the bad side of where it should be; grows with what is worse.
    fn badness(&self, value: f64) -> f64 {
        match self.bar {
            Some(Bar::AtLeast(_)) => -value,
            Some(Bar::Exactly(wanted)) => (value - wanted).abs(),
            Some(Bar::AtMost(_)) | None => value,
        }
    }
}

fn of_percentiles(series: &Series) -> impl Iterator<Item = (String, Value)> {
    let (name, unit, points, samples) = match series {
        Series::Percentiles { name, unit, points, samples } => {
            (name.as_str(), unit.as_str(), points.as_slice(), *samples)
        }
        _ => ("", "", [].as_slice(), 0),
    };
    COMPARED.into_iter().filter_map(move |percentile| {
        let value = percentiles::value_at(points, percentile)?;
        let interval = Interval::of_percentile(points, percentile, samples);
        let value_text = figures::quantity(value, unit);
        let text =
            interval.map_or_else(|| value_text.clone(), |i| format!("{value_text} ({})", i.text(unit)));
        let what = format!("{name}, p{percentile}");
        Some((what, Value { text, number: value, interval, samples, bar: None, kept: true }))
    })
}

fn changed(key: &Key, was: &Value, is: &Value) -> Row {
    let texts = (was.text.clone(), is.text.clone());
    let floor = was.bar.map_or(0.0, |bar| bar.limit().abs() * BASE_MIN);
    let base = was.number.abs().max(floor);
    let difference = is.number - was.number;
    // Nothing to divide by: any difference at all is as large as the whole.
    let relative = if base > 0.0 { difference / base } else { difference.abs().min(1.0).ceil() };
    let samples = format!("{} and {} samples", figures::count(was.samples), figures::count(is.samples));
    let apart = was.interval.as_ref().zip(is.interval.as_ref()).map(|(a, b)| a.apart_from(b));
    let worse = is.badness(is.number) > was.badness(was.number);
    let (change, why) = match (was.kept, is.kept, apart) {
        (true, false, Some(false)) => {
            (Change::Broken, format!("the bar is missed now, though within the margins; {samples}"))
        }
        (true, false, _) => (Change::Broken, format!("the bar is missed now; {samples}")),
        (false, true, _) => (Change::Mended, format!("the bar is met now; {samples}")),
        _ if relative.abs() <= CHANGE_MIN => (Change::Same, samples),
        (_, _, None) => (Change::Noise, format!("no interval, so nothing is proved; {samples}")),
        (_, _, Some(false)) => (Change::Noise, format!("the intervals overlap; {samples}")),
        (_, _, Some(true)) if worse => (Change::Regressed, format!("the intervals are apart; {samples}")),
        (_, _, Some(true)) => (Change::Improved, format!("the intervals are apart; {samples}")),
    };
    row(key, change, texts, Some(relative), &why)
}

fn row(
    (place, what): &Key,
    change: Change,
    (before, after): (String, String),
    relative: Option<f64>,
    why: &str,
) -> Row {
    Row { place: place.clone(), what: what.clone(), change, before, after, relative, why: why.to_owned() }
}

/// What a reader must know before blaming the code.
fn differences(before: &Outcome, after: &Outcome) -> Vec<String> {
    let mut said = Vec::new();
    for (name, run) in [("first", before), ("second", after)] {
        if run.partial {
            said.push(format!("the {name} run is partial"));
        }
        let void = run.suites.iter().flat_map(|s| &s.scenarios).filter(|s| s.void.is_some()).count();
        if void > 0 {
            said.push(format!("{void} scenarios of the {name} run are void and are not compared"));
        }
    }
    let names: std::collections::BTreeSet<_> =
        before.environment.keys().chain(after.environment.keys()).collect();
    for name in names {
        let (was, is) = (before.environment.get(name), after.environment.get(name));
        if was != is {
            let text = |value: Option<&String>| value.map_or("–".to_owned(), Clone::clone);
            said.push(format!("{name}: {} before, {} now", text(was), text(is)));
        }
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certify::report::sample;

    fn run(change: impl FnOnce(&mut Outcome)) -> Comparison {
        let mut after = sample::outcome();
        change(&mut after);
        Comparison::of(&sample::outcome(), &after).unwrap()
    }

    fn verdict(outcome: &mut Outcome, suite: usize, nth: usize) -> &mut Verdict {
        &mut outcome.suites[suite].scenarios[0].verdicts[nth]
    }

    /// What became of the one row that is not the same.
    fn only(comparison: &Comparison) -> (Change, &Row) {
        let rows: Vec<_> = comparison.rows.iter().filter(|row| row.change != Change::Same).collect();
        assert_eq!(rows.len(), 1, "{rows:?}");
        (rows[0].change, rows[0])
    }

    #[test]
    fn a_run_is_as_good_as_itself() {
        let same = run(|_| {});
        assert!(same.holds() && same.count(Change::Same) == same.rows.len() && same.differences.len() == 2);
    }

    #[test]
    fn a_change_counts_when_it_is_large_and_beyond_the_margins() {
        // Latency at p99: 31.2 ± 1.1 ms, asked ≤ 40.
        for (value, margin, change) in [
            (37.0, 0.1, Change::Same),
            (39.0, 1.0, Change::Regressed),
            (39.0, 7.0, Change::Noise),
            (20.0, 1.0, Change::Improved),
            (20.0, 11.0, Change::Noise),
        ] {
            let compared = run(|after| {
                let verdict = verdict(after, 0, 2);
                (verdict.measured, verdict.margin) = (value, Some(margin));
            });
            if change == Change::Same {
                assert_eq!(compared.count(Change::Same), compared.rows.len(), "{value}");
            } else {
                assert_eq!(only(&compared).0, change, "{value} ± {margin}");
            }
            assert_eq!(compared.holds(), change != Change::Regressed);
        }
    }

    #[test]
    fn where_more_is_better_less_is_worse() {
        // Optimal first choices: 99.6 ± 0.13 %, asked ≥ 98; the bar is lowered so that only the change counts.
        let fall = |after: &mut Outcome| {
            let verdict = verdict(after, 2, 0);
            (verdict.measured, verdict.bar) = (60.0, Bar::AtLeast(50.0));
        };
        assert_eq!(only(&run(fall)).0, Change::Regressed);
    }

    #[test]
    fn a_value_without_a_margin_proves_nothing_but_a_missed_bar() {
        // Longest recovery: 15.2 s of 50 trials, asked ≤ 30.
        let longer = run(|after| verdict(after, 4, 1).measured = 25.0);
        assert_eq!(only(&longer).0, Change::Noise);
        assert!(longer.holds() && only(&longer).1.why.contains("no interval"));
        let broken = run(|after| {
            let verdict = verdict(after, 4, 1);
            (verdict.measured, verdict.passed) = (31.0, false);
        });
        assert_eq!(only(&broken).0, Change::Broken);
        let mended = Comparison::of(&sample::outcome(), &sample::passed()).unwrap();
        assert!(mended.holds() && mended.count(Change::Mended) == 2);
    }

    #[test]
    fn a_slower_distribution_is_found_by_its_own_samples() {
        let slower = |samples: u64| {
            run(|after| {
                let Series::Percentiles { points, samples: n, .. } =
                    &mut after.suites[0].scenarios[0].series[0]
                else {
                    panic!("the sample begins with a distribution");
                };
                for (_, value) in points.iter_mut() {
                    *value *= 1.3;
                }
                *n = samples;
            })
        };
        let many = slower(24_000);
        assert_eq!(many.count(Change::Regressed), 4, "{:?}", many.rows);
        assert!(!slower(24_000).holds());
        let few = slower(12);
        assert_eq!((few.count(Change::Regressed), few.count(Change::Noise)), (0, 4), "{:?}", few.rows);
    }

    #[test]
    fn what_is_not_measured_any_more_is_no_success() {
        let gone = run(|after| after.suites[4].scenarios[0].void = Some("lagged".to_owned()));
        assert!(!gone.holds());
        assert!(gone.count(Change::Missing) >= 3);
        assert!(gone.differences.iter().any(|said| said.contains("second run are void")));
    }

    #[test]
    fn near_zero_nothing_is_divided_by() {
        // Impact: 0.41 ± 0.3 %, asked ≤ 1; throughput −0.6 ± 0.9 %, asked ≤ 5.
        let noise = run(|after| verdict(after, 5, 1).measured = 0.3);
        assert_eq!(only(&noise).0, Change::Noise);
        let zero = run(|after| verdict(after, 3, 0).bar = Bar::AtMost(0.0));
        assert!(zero.holds() && zero.rows.iter().all(|row| row.relative.is_none_or(f64::is_finite)));
    }

    #[test]
    fn runs_of_different_profiles_are_not_compared() {
        let after = Outcome { profile: "standard".to_owned(), ..sample::outcome() };
        assert!(Comparison::of(&sample::outcome(), &after).is_err());
    }
}
