//! How many requests can be open at once: each takes two descriptors here, the caller's and the upstream's.

use std::{fs, sync::Arc};

use super::{
    measure::Measure,
    outcome::Bar,
    scenario::{Asked, Phase, Scenario},
};

/// Descriptors of this process that are no request's.
const SPARE: u64 = 200;
/// Descriptors that an open request takes, here and in the gateway.
const EACH: u64 = 2;

/// How many descriptors this process may open (Linux; elsewhere nothing is known).
pub(super) fn limit() -> Option<u64> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The scenario with rates, and bars of requests in flight, that fit below the limit; and what to say of it.
pub(super) fn fitted(scenario: Arc<Scenario>, limit: Option<u64>) -> (Arc<Scenario>, Option<String>) {
    let (Some(wanted), Some(limit)) = (scenario.open_at_once, limit) else { return (scenario, None) };
    let room = limit.saturating_sub(SPARE) / EACH;
    if room == 0 || room >= u64::from(wanted) {
        return (scenario, None);
    }
    let factor = room as f64 / f64::from(wanted);
    let phases = scenario.phases.iter().map(|phase| {
        let arrivals = phase.arrivals.scaled(factor).ok()?;
        Some(Phase { arrivals, ..phase.clone() })
    });
    let Some(phases) = phases.collect::<Option<Vec<_>>>() else { return (scenario, None) };
    let bars = scenario.bars.iter().map(|asked| match (asked.measure, asked.bar) {
        (Measure::InFlight, Bar::AtLeast(limit)) => {
            Asked { bar: Bar::AtLeast((limit * factor).floor()), ..asked.clone() }
        }
        _ => asked.clone(),
    });
    let note = format!(
        "{room} requests open at once instead of {wanted}: this process may open {limit} descriptors, and each \
         request takes {EACH}"
    );
    (Arc::new(Scenario { phases, bars: bars.collect(), ..Scenario::clone(&scenario) }), Some(note))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::fitted;
    use crate::certify::{
        outcome::Bar,
        scenario::{Profile, parse},
    };

    const SCENARIO: &str = r#"
name = "s"
suite = "s"
title = "t"
open_at_once = 10000
[[mix]]
api = "openai"
model = "sonnet"
[[phase]]
name = "p"
seconds = 10
rate = 1000
[[bar]]
promise = "open"
measure = "in_flight"
at_least = 9000
"#;

    #[test]
    fn rates_and_bars_fall_to_what_the_descriptors_allow_and_the_report_says_so() {
        let whole = Arc::new(parse("s.toml", SCENARIO, Profile::Quick).unwrap());
        for (limit, note) in [(None, None), (Some(20_200), None), (Some(20_000), Some("9900 requests"))] {
            let (fitting, said) = fitted(Arc::clone(&whole), limit);
            assert_eq!(said.is_some(), note.is_some(), "{limit:?}");
            let Some(note) = note else {
                assert_eq!(fitting.bars, whole.bars);
                continue;
            };
            assert!(said.unwrap().starts_with(note));
            assert_eq!(fitting.bars[0].bar, Bar::AtLeast(8910.0));
            let phase = &fitting.phases[0];
            assert_eq!(phase.arrivals.schedule(phase.length, 1).count(), 9_900);
        }
    }
}
