//! Checks of `[[budget]]`.

use std::str::FromStr;

use jiff::tz::TimeZone;
use outcrop_policy::Facet;
use outcrop_policy::ledger::window::{ROLLING_MAX, ROLLING_MIN};
use outcrop_policy::ledger::{BudgetSpec, Calendar, Dimension, InputCount, Shortage, Window};
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;
use toml::Spanned;

use super::check::Findings;
use super::raw;
use super::scopes::Names;
use super::text::Text;
use super::units;

/// Most rows: each attempt is held against all of them.
const ROWS_MAX: usize = 1000;
/// The part of a hard limit that only emergencies may use, unless the row says otherwise.
const CARVE_OUT: &str = "5%";
/// The least output that clamping leaves, unless the row says otherwise.
const FLOOR_TOKENS: u64 = 256;

/// Checks the budgets.
pub(crate) fn budgets(rows: &[raw::Budget], names: Names<'_>, findings: &mut Findings) -> Vec<BudgetSpec> {
    let mut specs: Vec<BudgetSpec> = Vec::with_capacity(rows.len().min(ROWS_MAX));
    for row in rows {
        let Some(spec) = budget(row, names, findings) else { continue };
        if specs.iter().any(|other| other.id == spec.id) {
            let message = "there is a budget of this scope, window and unit already";
            findings.add(row.scope.span(), message, "take one of the two out");
        } else if specs.len() == ROWS_MAX {
            let message = format!("there are more than {ROWS_MAX} budgets");
            findings.add(row.scope.span(), message, "a star gives each name a budget of its own: `key:*`");
            break;
        } else {
            specs.push(spec);
        }
    }
    specs
}

fn budget(row: &raw::Budget, names: Names<'_>, findings: &mut Findings) -> Option<BudgetSpec> {
    let scope = names.scope(&row.scope, findings);
    let window = window(row, findings);
    let (limit, dimension) = match limit(row.limit.get_ref()) {
        Ok(limit) => limit,
        Err(message) => {
            findings.add(row.limit.span(), message, "");
            return None;
        }
    };
    let (scope, window) = (scope?, window?);
    if dimension == Dimension::ToolCalls && scope.facets().any(|facet| facet == Facet::Model) {
        findings.add(
            row.scope.span(),
            "a tool is called without a model",
            "leave the model out of the scope",
        );
    }
    let hard = row.hard.unwrap_or(true);
    let carve_out = carve_out(row, limit, findings);
    Some(BudgetSpec {
        id: BudgetSpec::id_of(&scope, &window, dimension),
        scope,
        window,
        dimension,
        limit,
        hard,
        carve_out: if hard { carve_out } else { 0 },
        shortage: shortage(row),
        input_count: match row.input_count.unwrap_or_default() {
            raw::CountInput::Off => InputCount::Bytes,
            raw::CountInput::Exact => InputCount::Exact,
            raw::CountInput::Estimated => InputCount::Estimated,
        },
    })
}

fn shortage(row: &raw::Budget) -> Shortage {
    match row.shortage.unwrap_or_default() {
        raw::OnShortage::Refuse => Shortage::Refuse,
        raw::OnShortage::Clamp => Shortage::Clamp { floor_tokens: row.floor.unwrap_or(FLOOR_TOKENS).max(1) },
        raw::OnShortage::Cheaper => Shortage::Cheaper,
    }
}

/// `hour`, `day`, `week`, `month`, `lifetime` or `rolling:1h`, and the zone of a calendar window.
fn window(row: &raw::Budget, findings: &mut Findings) -> Option<Window> {
    let zone = row.zone.as_ref().map_or(Ok(TimeZone::UTC), |name| TimeZone::get(name.get_ref()));
    let Ok(zone) = zone else {
        let at = row.zone.as_ref().map_or(0..0, Spanned::span);
        findings.add(at, "this is not a time zone", "write it as \"Europe/Berlin\"");
        return None;
    };
    let Some(text) = &row.window else { return Some(Window::Calendar(Calendar::Month, zone)) };
    let calendar = match &**text.get_ref() {
        "hour" => Calendar::Hour,
        "day" => Calendar::Day,
        "week" => Calendar::Week,
        "month" => Calendar::Month,
        "lifetime" => return Some(Window::Lifetime),
        other => return rolling(other, text, findings),
    };
    Some(Window::Calendar(calendar, zone))
}

fn rolling(other: &str, text: &Spanned<Text>, findings: &mut Findings) -> Option<Window> {
    let duration = other.strip_prefix("rolling:").map(units::duration);
    match duration {
        Some(Ok(duration)) if (ROLLING_MIN..=ROLLING_MAX).contains(&duration) => {
            Some(Window::Rolling(duration))
        }
        Some(_) => {
            let message = "a rolling window is between a minute and 366 days: \"rolling:1h\"";
            findings.add(text.span(), message, "");
            None
        }
        None => {
            let message = format!("`{other}` is not a window");
            findings.add(text.span(), message, "hour, day, week, month, rolling:1h or lifetime");
            None
        }
    }
}

/// `"100 USD"`, `"5 Mtok"`, `"5 Mtok input"`, `"1000 requests"`, `"50 tool calls"`.
pub(crate) fn limit(text: &str) -> Result<(i64, Dimension), String> {
    let refused = || {
        format!(
            "`{text}` is not a limit; write it as \"100 USD\", \"5 Mtok\", \"5 Mtok output\", \"1000 requests\" \
             or \"50 tool calls\""
        )
    };
    let (amount, unit) = text.trim().split_once(' ').ok_or_else(refused)?;
    let (factor, dimension) = match unit.trim() {
        "USD" => (1_000_000_000, Dimension::Usd),
        "requests" => (1, Dimension::Requests),
        "tool calls" => (1, Dimension::ToolCalls),
        tokens => tokens_of(tokens).ok_or_else(refused)?,
    };
    let amount = Decimal::from_str(amount).map_err(|_| refused())?;
    let amount = amount.checked_mul(Decimal::from(factor)).ok_or_else(refused)?;
    if amount.is_sign_negative() || !amount.fract().is_zero() {
        return Err(refused());
    }
    amount.to_i64().map(|amount| (amount, dimension)).ok_or_else(refused)
}

fn tokens_of(unit: &str) -> Option<(i64, Dimension)> {
    let (unit, which) = unit.split_once(' ').map_or((unit, ""), |(unit, which)| (unit, which.trim()));
    let factor = match unit {
        "tok" => 1,
        "ktok" => 1_000,
        "Mtok" => 1_000_000,
        _ => return None,
    };
    match which {
        "" => Some((factor, Dimension::Tokens)),
        "input" => Some((factor, Dimension::InputTokens)),
        "output" => Some((factor, Dimension::OutputTokens)),
        _ => None,
    }
}

/// `"5%"` of the limit, rounded down.
fn carve_out(row: &raw::Budget, limit: i64, findings: &mut Findings) -> i64 {
    let text = row.carve_out.as_ref().map_or(CARVE_OUT, |text| &**text.get_ref());
    let share = text.strip_suffix('%').and_then(|number| Decimal::from_str(number.trim()).ok());
    let part = share
        .filter(|percent| !percent.is_sign_negative() && *percent <= Decimal::ONE_HUNDRED)
        .and_then(|percent| Decimal::from(limit).checked_mul(percent)?.checked_div(Decimal::ONE_HUNDRED));
    part.and_then(|part| part.floor().to_i64()).unwrap_or_else(|| {
        let at = row.carve_out.as_ref().map_or(0..0, Spanned::span);
        findings.add(at, format!("`{text}` is not a share; write it as \"5%\""), "");
        0
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_exact() {
        for (text, expected) in [
            ("100 USD", Some((100_000_000_000, Dimension::Usd))),
            ("0.000000001 USD", Some((1, Dimension::Usd))),
            ("0.0000000001 USD", None),
            ("-1 USD", None),
            ("1.5 Mtok", Some((1_500_000, Dimension::Tokens))),
            ("5 ktok input", Some((5_000, Dimension::InputTokens))),
            ("5 tok output", Some((5, Dimension::OutputTokens))),
            ("1000 requests", Some((1000, Dimension::Requests))),
            ("1.5 requests", None),
            ("50 tool calls", Some((50, Dimension::ToolCalls))),
            ("100 EUR", None),
            ("10000000000000 USD", None),
            ("USD", None),
        ] {
            assert_eq!(limit(text).ok(), expected, "{text}");
        }
    }
}
