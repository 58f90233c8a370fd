//! Checks of `[[rate]]`.

use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

use outcrop_policy::rates::{Limited, RateSpec};
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;

use super::check::Findings;
use super::raw;
use super::scopes::Names;

/// Most rows: each request is held against all of them.
const ROWS_MAX: usize = 1000;

/// Checks the rate limits.
pub(crate) fn rates(rows: &[raw::Rate], names: Names<'_>, findings: &mut Findings) -> Vec<RateSpec> {
    let mut specs: Vec<RateSpec> = Vec::with_capacity(rows.len().min(ROWS_MAX));
    for row in rows {
        let Some(spec) = rate(row, names, findings) else { continue };
        if specs.iter().any(|other| other.scope == spec.scope && other.to_string() == spec.to_string()) {
            findings.add(row.scope.span(), "this limit is there twice", "take one of the two out");
        } else if specs.len() == ROWS_MAX {
            let message = format!("there are more than {ROWS_MAX} rate limits");
            findings.add(row.scope.span(), message, "a star gives each name a limit of its own: `key:*`");
            break;
        } else {
            specs.push(spec);
        }
    }
    specs
}

fn rate(row: &raw::Rate, names: Names<'_>, findings: &mut Findings) -> Option<RateSpec> {
    let scope = names.scope(&row.scope, findings);
    if scope.iter().flat_map(outcrop_policy::Scope::facets).any(outcrop_policy::Facet::is_of_target) {
        findings.add(
            row.scope.span(),
            "a rate limit is decided before a target is chosen, so it cannot look at paths or regions",
            "limit the model, the key or the operation",
        );
        return None;
    }
    let (count, limit, per) = match limit(row.limit.get_ref()) {
        Ok(limit) => limit,
        Err(message) => {
            findings.add(row.limit.span(), message, "");
            return None;
        }
    };
    let burst = match &row.burst {
        None => count,
        Some(burst) => {
            let number = u32::try_from(*burst.get_ref()).ok().and_then(NonZeroU32::new);
            findings.take(burst.span(), number.ok_or("must be between 1 and 4294967295".into()), count)
        }
    };
    match RateSpec::new(scope?, limit, count, per, burst) {
        Ok(spec) => Some(spec),
        Err(error) => {
            findings.add(row.limit.span(), error.0, "");
            None
        }
    }
}

/// `"600 requests/min"`, `"200 ktok/min"`.
pub(super) fn limit(text: &str) -> Result<(NonZeroU32, Limited, Duration), String> {
    let refused = || {
        format!(
            "`{text}` is not a rate; write it as \"600 requests/min\" or \"200 ktok/min\", per s, min, h or day"
        )
    };
    let (amount, rest) = text.trim().split_once(' ').ok_or_else(refused)?;
    let (unit, per) = rest.trim().split_once('/').ok_or_else(refused)?;
    let (limit, times) = match unit.trim() {
        "request" | "requests" => (Limited::Requests, 1u32),
        "tok" => (Limited::Tokens, 1),
        "ktok" => (Limited::Tokens, 1_000),
        "Mtok" => (Limited::Tokens, 1_000_000),
        _ => return Err(refused()),
    };
    let per = match per.trim() {
        "s" => Duration::from_secs(1),
        "min" => Duration::from_mins(1),
        "h" => Duration::from_hours(1),
        "day" => Duration::from_hours(24),
        _ => return Err(refused()),
    };
    let units = Decimal::from_str(amount).ok().and_then(|amount| amount.checked_mul(times.into()));
    let whole = units.filter(|units| units.fract().is_zero()).ok_or_else(refused)?;
    let count = whole.to_u32().and_then(NonZeroU32::new);
    let count = count.ok_or_else(|| format!("`{text}`: the number must be between 1 and 4294967295"))?;
    Ok((count, limit, per))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_exactly() {
        for (text, expected) in [
            ("600 requests/min", Some((600, "600 requests/min"))),
            ("1 request/s", Some((1, "1 requests/s"))),
            ("200 ktok/min", Some((200_000, "200 ktok/min"))),
            ("1.5 Mtok/h", Some((1_500_000, "1500 ktok/h"))),
            ("1501 tok/day", Some((1501, "1501 tok/day"))),
            ("0.5 requests/s", None),
            ("0 requests/s", None),
            ("-1 requests/s", None),
            ("600 requests", None),
            ("600 requests/week", None),
            ("600 calls/min", None),
            ("600requests/min", None),
            ("5000 Mtok/min", None),
        ] {
            let read = limit(text).ok().map(|(count, limit, per)| {
                let spec = RateSpec::new(outcrop_policy::Scope::all(), limit, count, per, count).unwrap();
                (count.get(), spec.to_string())
            });
            assert_eq!(read, expected.map(|(count, shown)| (count, shown.to_owned())), "{text}");
        }
    }
}
