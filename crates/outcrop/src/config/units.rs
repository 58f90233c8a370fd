//! Durations, prices and addresses as people write them.

use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use outcrop_core::money::PicoUsd;
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;

/// `"500ms"`, `"10s"`, `"2m"`; above zero.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let refused = || format!("`{text}` is not a duration; write it as \"500ms\", \"10s\" or \"2m\"");
    let parsed: jiff::SignedDuration = text.parse().map_err(|_| refused())?;
    match Duration::try_from(parsed) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        _ => Err(refused()),
    }
}

/// `"3.30 USD/Mtok"` or `"0.0033 USD/ktok"`, exactly: a price that would need rounding is refused.
pub(crate) fn price(text: &str) -> Result<PicoUsd, String> {
    let refused = || format!("`{text}` is not a price; write it as \"3.30 USD/Mtok\"");
    let (amount, unit) = text.trim().split_once(' ').ok_or_else(refused)?;
    let pico_per_token = match unit.trim() {
        "USD/Mtok" => Decimal::from(1_000_000u64),
        "USD/ktok" => Decimal::from(1_000_000_000u64),
        _ => return Err(refused()),
    };
    let amount = Decimal::from_str(amount).map_err(|_| refused())?;
    let pico = amount.checked_mul(pico_per_token).ok_or_else(refused)?;
    if pico.is_sign_negative() || !pico.fract().is_zero() {
        return Err(refused());
    }
    pico.to_u64().map(PicoUsd).ok_or_else(refused)
}

/// `"0.01 USD"`, exactly.
pub(crate) fn amount(text: &str) -> Result<PicoUsd, String> {
    let refused = || format!("`{text}` is not an amount; write it as \"0.01 USD\"");
    let usd = text.trim().strip_suffix("USD").map(str::trim_end).ok_or_else(refused)?;
    let usd = Decimal::from_str(usd).map_err(|_| refused())?;
    let pico = usd.checked_mul(Decimal::from(1_000_000_000_000u64)).ok_or_else(refused)?;
    if pico.is_sign_negative() || !pico.fract().is_zero() {
        return Err(refused());
    }
    pico.to_u64().map(PicoUsd).ok_or_else(refused)
}

/// `"1000 USD"` in nano-USD, exactly; above zero.
pub(crate) fn limit(text: &str) -> Result<i64, String> {
    let PicoUsd(pico) = amount(text)?;
    match (i64::try_from(pico / 1000), pico % 1000) {
        (Ok(nano @ 1..), 0) => Ok(nano),
        _ => Err(format!("`{text}` is not a limit; write it as \"1000 USD\"")),
    }
}

/// `"2026-01-31"`: its first second in UTC, and that of the day after, since the Unix epoch.
pub(crate) fn day(text: &str) -> Result<(u64, u64), String> {
    let refused = || format!("`{text}` is not a day; write it as \"2026-01-31\"");
    let begin = |day: jiff::civil::Date| {
        let begin = day.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp();
        u64::try_from(begin.as_second()).ok()
    };
    let day: jiff::civil::Date = text.parse().map_err(|_| refused())?;
    let next = day.tomorrow().map_err(|_| refused())?;
    begin(day).zip(begin(next)).ok_or_else(refused)
}

/// `"127.0.0.1:8080"`.
pub(crate) fn address(text: &str) -> Result<SocketAddr, String> {
    let text = text.strip_prefix("localhost:").map_or_else(|| text.to_owned(), |p| format!("127.0.0.1:{p}"));
    text.parse().map_err(|_| format!("`{text}` is not an address; write it as \"127.0.0.1:8080\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_are_exact() {
        for (text, expected) in [
            ("3.30 USD/Mtok", Some(3_300_000)),
            ("0 USD/Mtok", Some(0)),
            ("0.0033 USD/ktok", Some(3_300_000)),
            ("0.000001 USD/Mtok", Some(1)),
            ("0.0000001 USD/Mtok", None),
            ("-1 USD/Mtok", None),
            ("3.30", None),
            ("3.30 EUR/Mtok", None),
        ] {
            assert_eq!(price(text).ok().map(|p| p.0), expected, "{text}");
        }
    }

    #[test]
    fn amounts_are_exact() {
        for (text, expected) in [
            ("0.01 USD", Some(10_000_000_000)),
            ("0.000000000001 USD", Some(1)),
            ("1USD", Some(1_000_000_000_000)),
            ("0.0000000000001 USD", None),
            ("-1 USD", None),
            ("1 EUR", None),
            ("USD", None),
        ] {
            assert_eq!(amount(text).ok().map(|p| p.0), expected, "{text}");
        }
    }

    #[test]
    fn limits_are_above_zero() {
        for (text, expected) in [
            ("1000 USD", Some(1_000_000_000_000)),
            ("0.5 USD", Some(500_000_000)),
            ("0 USD", None),
            ("0.0000000001 USD", None),
            ("1000", None),
        ] {
            assert_eq!(limit(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn days_begin_at_midnight() {
        for (text, expected) in [
            ("1970-01-01", Some((0, 86_400))),
            ("2024-02-28", Some((1_709_078_400, 1_709_164_800))),
            ("2023-02-29", None),
            ("1969-12-31", None),
            ("31.01.2026", None),
        ] {
            assert_eq!(day(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn durations_are_above_zero() {
        for (text, expected) in [
            ("500ms", Some(500)),
            ("10s", Some(10_000)),
            ("2m", Some(120_000)),
            ("0s", None),
            ("-1s", None),
            ("ten", None),
            ("10", None),
        ] {
            assert_eq!(duration(text).ok().map(|d| d.as_millis()), expected, "{text}");
        }
    }
}
