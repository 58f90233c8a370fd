//! From values to places: linear and logarithmic scales, and ticks at round numbers.

/// How values are spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spread {
    Linear,
    Log,
}

/// A mapping of values to places.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scale {
    spread: Spread,
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

/// Steps between ticks, as multiples of a power of ten.
const STEPS: [f64; 4] = [1.0, 2.0, 5.0, 10.0];
/// Ticks on a linear scale, about.
const TICKS: f64 = 5.0;
/// Ratio of largest to smallest from which values are spread by their logarithm.
const LOG_FROM: f64 = 40.0;
/// Decades on a logarithmic scale, at most.
const DECADES_MAX: f64 = 8.0;

impl Scale {
    /// A linear scale over exactly this range.
    pub(super) fn linear((low, high): (f64, f64), (from, to): (f64, f64)) -> Self {
        let high = if high > low { high } else { low + 1.0 };
        Self { spread: Spread::Linear, low, high, from, to }
    }

    /// A linear scale whose ends are ticks, with zero on it.
    pub(super) fn from_zero(values: impl Iterator<Item = f64>, places: (f64, f64)) -> Self {
        let (low, high) = extent(values);
        let (low, high) = (low.min(0.0), high.max(0.0));
        let step = step(high - low);
        Self::linear(((low / step).floor() * step, (high / step).ceil() * step), places)
    }

    /// The scale that shows positive values best: logarithmic where they differ by magnitudes.
    pub(super) fn fitting(values: impl Iterator<Item = f64> + Clone, places: (f64, f64)) -> Self {
        let (low, high) = extent(values.clone());
        if low <= 0.0 || high / low < LOG_FROM {
            return Self::from_zero(values, places);
        }
        let high = 10f64.powf(high.log10().ceil());
        let low = 10f64.powf(low.log10().floor()).max(high / 10f64.powf(DECADES_MAX));
        Self { spread: Spread::Log, low, high, from: places.0, to: places.1 }
    }

    pub(super) fn is_log(&self) -> bool {
        self.spread == Spread::Log
    }

    /// Where a value goes; beyond the ends it stays at them.
    pub(super) fn at(&self, value: f64) -> f64 {
        let share = match self.spread {
            Spread::Linear => (value - self.low) / (self.high - self.low),
            Spread::Log => (value.max(self.low) / self.low).log10() / (self.high / self.low).log10(),
        };
        let share = if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 };
        self.from + share * (self.to - self.from)
    }

    /// Round values within the range.
    pub(super) fn ticks(&self) -> Vec<f64> {
        match self.spread {
            Spread::Log => {
                let decades = (self.high / self.low).log10().round() as i32;
                let first = self.low.log10().round() as i32;
                (first..=first + decades).map(|power| 10f64.powi(power)).collect()
            }
            Spread::Linear => {
                let step = step(self.high - self.low);
                let first = (self.low / step - 1e-9).ceil() as i64;
                let last = (self.high / step + 1e-9).floor() as i64;
                (first..=last.min(first + 20)).map(|n| n as f64 * step).collect()
            }
        }
    }
}

/// Smallest and largest of what is finite; 0 and 0 of nothing.
fn extent(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let finite = values.filter(|value| value.is_finite());
    let range = finite.fold(None, |range: Option<(f64, f64)>, value| {
        Some(range.map_or((value, value), |(low, high)| (low.min(value), high.max(value))))
    });
    range.unwrap_or_default()
}

/// A round step that divides a range into about five.
fn step(range: f64) -> f64 {
    if range <= 0.0 || !range.is_finite() {
        return 1.0;
    }
    let magnitude = 10f64.powf((range / TICKS).log10().floor());
    let wanted = range / TICKS / magnitude;
    STEPS.iter().find(|step| **step >= wanted - 1e-9).copied().unwrap_or(10.0) * magnitude
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_within() {
        let scale = Scale::from_zero([3.0, 87.0].into_iter(), (0.0, 100.0));
        assert_eq!(scale.ticks(), [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]);
        assert_eq!(scale.at(50.0).round() as i64, 50);
        let scale = Scale::fitting([0.4, 900.0].into_iter(), (0.0, 100.0));
        assert!(scale.is_log());
        assert_eq!(
            scale.ticks().iter().map(|t| t.log10().round() as i32).collect::<Vec<_>>(),
            [-1, 0, 1, 2, 3]
        );
    }

    #[test]
    fn every_place_is_finite_whatever_is_asked() {
        for values in
            [vec![], vec![0.0], vec![5.0, 5.0], vec![-3.0, -3.0], vec![f64::NAN, 1.0], vec![1e-300, 1e300]]
        {
            for scale in [
                Scale::from_zero(values.iter().copied(), (10.0, 20.0)),
                Scale::fitting(values.iter().copied(), (10.0, 20.0)),
            ] {
                for value in [-1e308, 0.0, 5.0, f64::NAN, f64::INFINITY] {
                    let at = scale.at(value);
                    assert!((10.0..=20.0).contains(&at), "{values:?} {value} -> {at}");
                }
                assert!(scale.ticks().len() <= 21, "{values:?}");
            }
        }
    }
}
