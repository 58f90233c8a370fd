//! Numbers as people read them: rounded, with a unit, never so rounded that a verdict looks wrong.
//!
//! The record keeps every digit; what is here is for pages only.

use crate::certify::outcome::{Bar, Verdict};

/// Significant digits of a figure for people.
const DIGITS: usize = 3;
/// Digits beyond which two floats do not differ.
const DIGITS_MAX: usize = 17;

/// A number with three significant digits; whole numbers whole, thousands separated.
pub fn number(value: f64) -> String {
    with_digits(value, DIGITS)
}

/// A number for an axis: thousands and millions by their letter from 10,000 on.
pub fn short(value: f64) -> String {
    match value.abs() {
        1e6.. => join(&number(value / 1e6), "M"),
        1e4.. => join(&number(value / 1e3), "k"),
        _ => number(value),
    }
}

/// A number with its unit.
pub fn quantity(value: f64, unit: &str) -> String {
    join(&number(value), unit)
}

/// What was measured, with as many digits as it takes to see on which side of the bar it is.
pub fn measured(verdict: &Verdict) -> String {
    let limit = verdict.bar.limit();
    let bar = number(limit);
    let apart = |digits: &usize| with_digits(verdict.measured, *digits) != bar;
    #[allow(clippy::float_cmp, reason = "equal values need no further digits")]
    let digits = if verdict.measured == limit { None } else { (DIGITS..=DIGITS_MAX).find(apart) };
    join(&with_digits(verdict.measured, digits.unwrap_or(DIGITS)), &verdict.unit)
}

/// What is asked, with its relation.
pub fn bar(bar: Bar, unit: &str) -> String {
    let relation = match bar {
        Bar::AtMost(_) => "≤",
        Bar::AtLeast(_) => "≥",
        Bar::Exactly(_) => "=",
    };
    format!("{relation}\u{a0}{}", quantity(bar.limit(), unit))
}

/// The margin of error, or a dash.
pub fn margin(verdict: &Verdict) -> String {
    verdict
        .margin
        .map_or_else(|| "–".to_owned(), |margin| format!("±\u{a0}{}", quantity(margin, &verdict.unit)))
}

/// A count, thousands separated.
pub fn count(value: u64) -> String {
    grouped(&value.to_string())
}

/// A length of time for people.
pub fn duration(seconds: f64) -> String {
    if seconds < 60.0 {
        return quantity(seconds, "s");
    }
    // A run is shorter than 2^63 seconds, and a negative length is none.
    let whole = (seconds.round() as i64).max(0);
    let (hours, minutes, rest) = (whole / 3600, whole / 60 % 60, whole % 60);
    if hours > 0 {
        format!("{hours}\u{a0}h {minutes}\u{a0}min")
    } else {
        format!("{minutes}\u{a0}min {rest}\u{a0}s")
    }
}

/// A moment in UTC, to the second.
pub fn moment(unix: u64) -> String {
    let time = i64::try_from(unix).ok().and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    time.map_or_else(
        || format!("{unix} s since 1970"),
        |time| time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
    )
}

/// The unit as it is printed.
pub fn unit(unit: &str) -> &str {
    if unit == "us" { "µs" } else { unit }
}

fn join(number: &str, of: &str) -> String {
    if of.is_empty() { number.to_owned() } else { format!("{number}\u{a0}{}", unit(of)) }
}

fn with_digits(value: f64, digits: usize) -> String {
    if !value.is_finite() {
        return "no number".to_owned();
    }
    if value == 0.0 {
        return "0".to_owned();
    }
    let magnitude = value.abs().log10().floor() as i32;
    if magnitude < -9 {
        return format!("{value:.*e}", digits.saturating_sub(1));
    }
    let decimals = usize::try_from(i32::try_from(digits).unwrap_or(3) - 1 - magnitude).unwrap_or(0);
    let text = format!("{value:.decimals$}");
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let fraction = fraction.trim_end_matches('0');
    // What rounds to nothing is nothing, whatever its sign was.
    if fraction.is_empty() && whole.trim_start_matches(['-', '0']).is_empty() {
        return "0".to_owned();
    }
    let point = if fraction.is_empty() { "" } else { "." };
    format!("{}{point}{fraction}", grouped(whole))
}

/// Puts commas between thousands.
fn grouped(digits: &str) -> String {
    let (sign, digits) = digits.strip_prefix('-').map_or(("", digits), |rest| ("\u{2212}", rest));
    let mut text = String::from(sign);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

impl Bar {
    /// The value of the bar, whatever its relation.
    pub fn limit(self) -> f64 {
        match self {
            Self::AtMost(limit) | Self::AtLeast(limit) | Self::Exactly(limit) => limit,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_whole_where_they_are() {
        for (value, text) in [
            (0.0, "0"),
            (5.0, "5"),
            (0.75, "0.75"),
            (12.345, "12.3"),
            (99.95, "100"),
            (1234.4, "1,234"),
            (1_000_000.0, "1,000,000"),
            (0.000_413, "0.000413"),
            (-0.5, "\u{2212}0.5"),
            (-1234.0, "\u{2212}1,234"),
            (f64::NAN, "no number"),
            (1e-12, "1.00e-12"),
        ] {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    fn a_missed_bar_never_looks_met() {
        for (bar, value, text) in [
            (Bar::AtMost(5.0), 5.000_4, "5.0004\u{a0}s"),
            (Bar::AtLeast(98.0), 97.996, "97.996\u{a0}s"),
            (Bar::AtMost(5.0), 5.0, "5\u{a0}s"),
            (Bar::AtMost(5.0), 4.218, "4.22\u{a0}s"),
        ] {
            assert_eq!(measured(&Verdict::new("p", bar, value, "s", 1)), text);
        }
    }

    #[test]
    fn times_are_for_people() {
        assert_eq!(duration(2.5), "2.5\u{a0}s");
        assert_eq!(duration(161.2), "2\u{a0}min 41\u{a0}s");
        assert_eq!(duration(3_725.0), "1\u{a0}h 2\u{a0}min");
        assert_eq!(moment(1_700_000_000), "2023-11-14 22:13:20 UTC");
        assert_eq!(count(1_234_567), "1,234,567");
    }
}
