//! Quantiles and intervals of confidence: what a measured value is worth.

/// The standard normal distribution's 97.5 % quantile.
const Z: f64 = 1.959_964;

/// A quantile (0 to 1) of sorted values by nearest rank; `None` without values.
#[allow(clippy::cast_sign_loss, reason = "a rank is at least 1")]
pub(super) fn quantile(sorted: &[f64], at: f64) -> Option<f64> {
    let rank = (at * sorted.len() as f64).ceil().max(1.0) as usize;
    sorted.get(rank.min(sorted.len()).checked_sub(1)?).copied()
}

/// Half the distribution-free 95 % interval of a quantile, from order statistics (David and Nagaraja 2003, 7.1).
pub(super) fn quantile_margin(sorted: &[f64], at: f64) -> Option<f64> {
    let count = sorted.len() as f64;
    let spread = Z * (count * at * (1.0 - at)).sqrt();
    let value = |rank: f64| quantile(sorted, (rank / count).clamp(0.0, 1.0));
    Some((value((count * at + spread + 1.0).ceil())? - value((count * at - spread).floor())?) / 2.0)
}

/// Half the 95 % interval of a share (Wilson 1927), as a share.
pub(super) fn share_margin(hits: u64, of: u64) -> f64 {
    if of == 0 {
        return f64::NAN;
    }
    let (count, share) = (of as f64, hits as f64 / of as f64);
    let widened = share * (1.0 - share) / count + Z * Z / (4.0 * count * count);
    Z / (1.0 + Z * Z / count) * widened.sqrt()
}

/// The lower bound of a share with 95 % confidence (Clopper and Pearson 1934, one-sided), as a share.
pub(super) fn share_at_least(hits: u64, of: u64) -> f64 {
    let misses = of.saturating_sub(hits);
    // Beyond this the sum below is long and Wilson's interval as good.
    if misses > 1_000 {
        return (hits as f64 / of.max(1) as f64 - share_margin(hits, of)).max(0.0);
    }
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if at_most_misses(misses, of, middle) > 0.05 { low = middle } else { high = middle }
    }
    1.0 - high
}

/// The chance of at most so many misses among `of`, each with probability `miss`.
fn at_most_misses(misses: u64, of: u64, miss: f64) -> f64 {
    let count = of as f64;
    // In logarithms: the first term alone may be too small for a float.
    let mut term = count * (-miss).ln_1p();
    let mut sum = term.exp();
    for n in 1..=misses.min(of) {
        let n = n as f64;
        term += ((count - n + 1.0) / n).ln() + miss.ln() - (-miss).ln_1p();
        sum += term.exp();
    }
    sum
}

/// Mean and half its 95 % interval (Student's t); `None` below two values.
pub(super) fn mean(values: &[f64]) -> Option<(f64, f64)> {
    if values.len() < 2 {
        return None;
    }
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1.0);
    Some((mean, student_t(values.len() - 1) * (variance / count).sqrt()))
}

/// Slope per unit of x by least squares, and half its 95 % interval; `None` below three points.
pub(super) fn slope(points: &[(f64, f64)]) -> Option<(f64, f64)> {
    if points.len() < 3 {
        return None;
    }
    let count = points.len() as f64;
    let centre_x = points.iter().map(|(x, _)| x).sum::<f64>() / count;
    let centre_y = points.iter().map(|(_, y)| y).sum::<f64>() / count;
    let spread: f64 = points.iter().map(|(x, _)| (x - centre_x).powi(2)).sum();
    let slope = points.iter().map(|(x, y)| (x - centre_x) * (y - centre_y)).sum::<f64>() / spread;
    let off = |(x, y): &(f64, f64)| (y - centre_y - slope * (x - centre_x)).powi(2);
    let error = (points.iter().map(off).sum::<f64>() / (count - 2.0) / spread).sqrt();
    (spread > 0.0).then(|| (slope, student_t(points.len() - 2) * error))
}

/// The 97.5 % quantile of Student's t.
fn student_t(freedom: usize) -> f64 {
    const TABLE: [f64; 30] = [
        12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145,
        2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048,
        2.045, 2.042,
    ];
    match freedom {
        0 => f64::INFINITY,
        _ => TABLE.get(freedom - 1).copied().unwrap_or(Z + 2.4 / freedom as f64),
    }
}

#[cfg(test)]
mod tests {
    use super::{mean, quantile, quantile_margin, share_at_least, share_margin, slope};

    #[test]
    fn quantiles_are_nearest_ranks() {
        let values: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(quantile(&values, 0.5), Some(50.0));
        assert_eq!(quantile(&values, 0.99), Some(99.0));
        assert_eq!(quantile(&values, 1.0), Some(100.0));
        assert_eq!(quantile(&values, 0.0), Some(1.0));
        assert_eq!(quantile(&[], 0.5), None);
        // Ranks 40 and 61 of 100, as the exact binomial interval has it.
        assert_eq!(quantile_margin(&values, 0.5), Some(10.5));
    }

    #[test]
    fn margins_agree_with_tables() {
        // Wilson 95 % of 0 in 3,000: (0, 0.00128).
        assert!((share_margin(0, 3_000) - 0.000_64).abs() < 0.000_01);
        // Wilson 95 % of 8 in 10: 0.4902 to 0.9433.
        assert!((share_margin(8, 10) - 0.226_6).abs() < 0.000_2);
        let (mean, margin) = mean(&[1.0, 2.0, 3.0, 4.0, 5.0]).unwrap();
        assert!((mean - 3.0).abs() < 1e-12 && (margin - 2.776 * (2.5_f64 / 5.0).sqrt()).abs() < 1e-9);
    }

    #[test]
    fn the_bound_of_a_share_is_the_exact_one() {
        // No miss in 300: 0.05^(1/300), the rule of three.
        assert!((share_at_least(300, 300) - 0.05_f64.powf(1.0 / 300.0)).abs() < 1e-9);
        // 8 of 10, one-sided: 0.4931.
        assert!((share_at_least(8, 10) - 0.493_1).abs() < 0.000_1);
        assert!(share_at_least(0, 10).abs() < 1e-9);
        assert!(share_at_least(90_000, 100_000) > 0.898);
    }

    #[test]
    fn a_slope_is_found_with_its_margin() {
        let exact: Vec<(f64, f64)> = (0..10).map(|x| (f64::from(x), 2.0 * f64::from(x) + 1.0)).collect();
        let (found, margin) = slope(&exact).unwrap();
        assert!((found - 2.0).abs() < 1e-12 && margin < 1e-9);
        assert_eq!(slope(&exact[..2]), None);
        assert_eq!(slope(&[(1.0, 1.0), (1.0, 2.0), (1.0, 3.0)]), None);
    }
}
