//! How fast a budget burns: whether somebody must look, and when it runs out.
//!
//! Pure sums over slots of five minutes, in whole numbers. The linear pace of a budget is its limit
//! spread evenly over its window; a lifetime has none. An alert fires when both a long and a short
//! stretch were used faster than a multiple of it: the long one says that it matters, the short one
//! that it goes on. A forecast says what comes of the pace of the last hour, and promises nothing.

use serde::Serialize;

/// Length of a slot, in milliseconds.
pub const SLOT_MS: i64 = 300_000;
/// The longest stretch that any rule looks at, in milliseconds.
pub const LOOK_BACK_MS: i64 = 72 * HOUR_MS;

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;

/// What was used in one slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    /// Its beginning, in milliseconds since the epoch.
    pub start_ms: i64,
    /// Posted and in suspense, in units of the budget's dimension.
    pub amount: i64,
}

/// When an alert fires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// The multiple of the linear pace, in tenths.
    pub tenths: i64,
    /// The long stretch, in milliseconds.
    pub long_ms: i64,
    /// The short stretch, in milliseconds.
    pub short_ms: i64,
}

/// All rules: 14.4 times over an hour, 6 times over six, once over three days (Google, The Site
/// Reliability Workbook, chapter 5).
pub const RULES: [Rule; 3] = [
    Rule { tenths: 144, long_ms: HOUR_MS, short_ms: 5 * MINUTE_MS },
    Rule { tenths: 60, long_ms: 6 * HOUR_MS, short_ms: 30 * MINUTE_MS },
    Rule { tenths: 10, long_ms: LOOK_BACK_MS, short_ms: 6 * HOUR_MS },
];

/// What a rule says of a budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Burn {
    /// The multiple of the linear pace that is too much, in tenths.
    pub threshold_tenths: i64,
    /// The long stretch, in minutes.
    pub long_minutes: i64,
    /// The short stretch, in minutes.
    pub short_minutes: i64,
    /// The pace over the long stretch as a multiple of the linear one, in tenths.
    pub long_tenths: i64,
    /// The pace over the short stretch, likewise.
    pub short_tenths: i64,
    /// Whether both are too fast.
    pub firing: bool,
}

/// What comes of the pace of the last hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Forecast {
    /// Used in the last hour, in units of the dimension.
    pub per_hour: i64,
    /// When nothing is left, in milliseconds since the epoch; `None` when the window ends before.
    pub exhausted_at_ms: Option<i64>,
}

/// What every rule says of a budget of `limit` over `length_ms`.
pub fn burn(slots: &[Slot], limit: i64, length_ms: i64, now_ms: i64) -> [Burn; 3] {
    RULES.map(|rule| {
        let pace = |stretch_ms: i64| {
            let used = i128::from(used_within(slots, now_ms, stretch_ms)).saturating_mul(10);
            let linear = i128::from(limit.max(1)) * i128::from(stretch_ms);
            i64::try_from(used.saturating_mul(i128::from(length_ms)) / linear).unwrap_or(i64::MAX)
        };
        let (long_tenths, short_tenths) = (pace(rule.long_ms), pace(rule.short_ms));
        Burn {
            threshold_tenths: rule.tenths,
            long_minutes: rule.long_ms / MINUTE_MS,
            short_minutes: rule.short_ms / MINUTE_MS,
            long_tenths,
            short_tenths,
            firing: long_tenths >= rule.tenths && short_tenths >= rule.tenths,
        }
    })
}

/// When `left` is used up. `end_ms` is when the window ends, if it does.
pub fn forecast(slots: &[Slot], left: i64, end_ms: Option<i64>, now_ms: i64) -> Forecast {
    let per_hour = used_within(slots, now_ms, HOUR_MS);
    let lasts_ms = match (left.max(0), per_hour) {
        (0, _) => Some(0),
        (_, ..=0) => None,
        (left, pace) => i64::try_from(i128::from(left) * i128::from(HOUR_MS) / i128::from(pace)).ok(),
    };
    let at = lasts_ms.and_then(|ms| now_ms.checked_add(ms));
    Forecast { per_hour, exhausted_at_ms: at.filter(|at| end_ms.is_none_or(|end| *at < end)) }
}

/// What was used in the last `stretch_ms`. Of a slot that lies partly in it, that part, rounded up; the
/// present slot counts whole.
pub fn used_within(slots: &[Slot], now_ms: i64, stretch_ms: i64) -> i64 {
    let from_ms = now_ms.saturating_sub(stretch_ms);
    let part = |slot: &Slot| {
        let amount = slot.amount.max(0);
        if slot.start_ms >= from_ms {
            return amount;
        }
        let inside = slot.start_ms.saturating_add(SLOT_MS).saturating_sub(from_ms).max(0);
        let part = (i128::from(amount) * i128::from(inside) + i128::from(SLOT_MS - 1)) / i128::from(SLOT_MS);
        i64::try_from(part).unwrap_or(i64::MAX)
    };
    slots.iter().filter(|slot| slot.start_ms <= now_ms).map(part).fold(0, i64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_000 * HOUR_MS;
    const MONTH: i64 = 30 * 24 * HOUR_MS;

    /// So much in each slot of the last `hours`, but not in the last `quiet_minutes`.
    fn steady(amount: i64, hours: i64, quiet_minutes: i64) -> Vec<Slot> {
        let slots = (NOW - hours * HOUR_MS)..(NOW - quiet_minutes * MINUTE_MS);
        slots.step_by(300_000).map(|start_ms| Slot { start_ms, amount }).collect()
    }

    #[test]
    fn an_alert_needs_both_stretches() {
        // 720,000 a month is 1,000 an hour, 83.3 a slot.
        for (name, slots, expected) in [
            ("nothing", vec![], [false; 3]),
            ("the linear pace for three days", steady(84, 72, 0), [false, false, true]),
            ("half of it", steady(42, 72, 0), [false; 3]),
            ("six times, for six hours", steady(501, 6, 0), [false, true, false]),
            ("fourteen times and more, for an hour", steady(1_201, 1, 0), [true, false, false]),
            ("the same, but it is over", steady(1_201, 1, 10), [false; 3]),
            ("five minutes of it", steady(1_201, 1, 0).split_off(11), [false; 3]),
            ("six hours of it", steady(1_201, 6, 0), [true, true, true]),
        ] {
            let firing = burn(&slots, 720_000, MONTH, NOW).map(|burn| burn.firing);
            assert_eq!(firing, expected, "{name}");
        }
    }

    #[test]
    fn a_pace_is_a_multiple_of_the_linear_one() {
        let burn = burn(&steady(1_000, 1, 0), 720_000, MONTH, NOW);
        assert_eq!(burn.map(|burn| burn.long_tenths), [120, 20, 1]);
        assert_eq!(burn.map(|burn| burn.short_tenths), [120, 120, 20]);
    }

    #[test]
    fn a_forecast_goes_on_at_the_pace_of_the_last_hour() {
        let slots = steady(100, 2, 0);
        for (left, end_ms, expected) in [
            (2_400, None, Some(NOW + 2 * HOUR_MS)),
            (2_400, Some(NOW + 3 * HOUR_MS), Some(NOW + 2 * HOUR_MS)),
            (2_400, Some(NOW + 2 * HOUR_MS), None),
            (0, Some(NOW + 1), Some(NOW)),
            (-5, None, Some(NOW)),
            (i64::MAX, None, None),
        ] {
            let forecast = forecast(&slots, left, end_ms, NOW);
            assert_eq!((forecast.per_hour, forecast.exhausted_at_ms), (1_200, expected), "{left}");
        }
        let idle = forecast(&[], 1, None, NOW);
        assert_eq!((idle.per_hour, idle.exhausted_at_ms), (0, None));
        assert_eq!(forecast(&[], 0, None, NOW).exhausted_at_ms, Some(NOW));
    }

    #[test]
    fn a_slot_that_lies_partly_in_the_stretch_counts_with_that_part() {
        let slot = |ago_minutes: i64| vec![Slot { start_ms: NOW - ago_minutes * MINUTE_MS, amount: 1_000 }];
        for (ago, expected) in [(0, 1_000), (60, 1_000), (61, 800), (64, 200), (65, 0), (-1, 0)] {
            assert_eq!(used_within(&slot(ago), NOW, HOUR_MS), expected, "{ago}");
        }
    }

    #[test]
    fn no_input_overflows() {
        let slots = [Slot { start_ms: i64::MIN, amount: i64::MAX }, Slot { start_ms: 0, amount: i64::MAX }];
        for (limit, length) in [(0, i64::MAX), (i64::MAX, 1), (1, i64::MAX), (-1, 1)] {
            burn(&slots, limit, length, i64::MAX);
            burn(&slots, limit, length, i64::MIN);
        }
        forecast(&slots, i64::MAX, Some(i64::MIN), i64::MAX);
    }
}
