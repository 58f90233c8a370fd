//! 95 % intervals, and whether two of them are apart.

use crate::certify::report::{figures, plot::percentiles};

/// Standard deviations on either side of a normal variable that hold 95 % of it.
const Z: f64 = 1.959_964;

/// A range that holds the true value in 95 % of all runs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Interval {
    low: f64,
    high: f64,
}

impl Interval {
    /// A value and its margin on either side.
    pub(super) fn around(value: f64, margin: f64) -> Self {
        Self { low: value - margin, high: value + margin }
    }

    /// Interval of a percentile without assuming a shape: the number of observations below it is binomial, so its
    /// rank lies within `Z` deviations. None where the sample is too small to have a value on either side.
    pub(super) fn of_percentile(points: &[(f64, f64)], percentile: f64, samples: u64) -> Option<Self> {
        let share = percentile / 100.0;
        let deviation = (share * (1.0 - share) / (samples.max(1) as f64)).sqrt();
        let (low, high) = (share - Z * deviation, share + Z * deviation);
        if low <= 0.0 || high >= 1.0 {
            return None;
        }
        // Where the distribution is known less far than the interval reaches, its end is the best that is known;
        // an interval that would be cut there is none.
        let high = percentiles::value_at(points, high * 100.0)?;
        let low = percentiles::value_at(points, low * 100.0)?;
        Some(Self { low, high })
    }

    /// Whether no value is in both.
    pub(super) fn apart_from(&self, other: &Self) -> bool {
        self.high < other.low || other.high < self.low
    }

    /// For people.
    pub(super) fn text(&self, unit: &str) -> String {
        format!("{} to {}", figures::number(self.low), figures::quantity(self.high, unit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 1 % of all values of a uniform distribution are below 1.
    fn uniform() -> Vec<(f64, f64)> {
        (0..=1000).map(|n| (f64::from(n) / 10.0, f64::from(n) / 10.0)).collect()
    }

    #[test]
    fn the_interval_of_a_percentile_is_the_binomial_one() {
        let median = Interval::of_percentile(&uniform(), 50.0, 100).unwrap();
        assert!((median.low - 40.2).abs() < 0.01 && (median.high - 59.8).abs() < 0.01, "{median:?}");
        let many = Interval::of_percentile(&uniform(), 50.0, 10_000).unwrap();
        assert!((many.high - many.low) < (median.high - median.low) / 9.0);
    }

    #[test]
    fn a_sample_that_is_too_small_has_none() {
        assert_eq!(Interval::of_percentile(&uniform(), 99.0, 100), None);
        assert_eq!(Interval::of_percentile(&uniform(), 50.0, 0), None);
        assert_eq!(Interval::of_percentile(&[(50.0, 1.0)], 50.0, 1_000), None, "nothing is known beside it");
    }
}
