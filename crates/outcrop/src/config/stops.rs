//! `[stop]`: what the emergency stop obeys, and what pulls it by itself.

use std::path::PathBuf;
use std::time::Duration;

use outcrop_policy::stops::automatic::{Kind, SAMPLES_MIN, Trigger};
use outcrop_policy::{Level, Scope};
use toml::Spanned;

use super::check::Findings;
use super::raw::{EmergencyStop, StopTrigger, TriggerKind};
use super::units;

/// How the emergency stop is set up.
#[derive(Debug, Clone)]
pub struct StopRules {
    /// While it exists everything is stopped; as the file names it.
    pub file: Option<PathBuf>,
    /// Whether a resume needs a second person.
    pub two_person_resume: bool,
    /// How long a staged resume takes.
    pub staged_over: Duration,
    /// What stops by itself.
    pub triggers: Vec<Trigger>,
}

const STAGED_OVER: Duration = Duration::from_mins(10);
/// The trigger that ships: 1000 USD within an hour, over everything.
const SPEND_NUSD: i64 = 1_000_000_000_000;
const PERCENT: u64 = 50;
const SAMPLES: u64 = 20;
const WINDOW: Duration = Duration::from_mins(1);
const FAILURES: u64 = 10;

/// Checks `[stop]`.
pub(super) fn rules(raw: &EmergencyStop, findings: &mut Findings) -> StopRules {
    let shipped = Kind::SpendPerHour { limit_nusd: SPEND_NUSD };
    let shipped = Trigger { scope: Scope::all(), kind: shipped, level: Level::Drain };
    let mut triggers = vec![shipped];
    for row in &raw.trigger {
        let Some(trigger) = trigger(row, findings) else { continue };
        triggers.retain(|t| t.scope != trigger.scope || t.kind.label() != trigger.kind.label());
        if row.enabled != Some(false) {
            triggers.push(trigger);
        }
    }
    StopRules {
        file: raw.file.as_ref().map(|file| file.0.clone().into()),
        two_person_resume: raw.two_person_resume.unwrap_or(false),
        staged_over: findings.duration(raw.staged_over.as_ref(), STAGED_OVER),
        triggers,
    }
}

fn trigger(row: &StopTrigger, findings: &mut Findings) -> Option<Trigger> {
    let scope = match Scope::parse(row.scope.get_ref()) {
        Ok(scope) => scope,
        Err(error) => {
            findings.add(row.scope.span(), error.to_string(), "");
            return None;
        }
    };
    Some(Trigger { scope, kind: kind(row, findings), level: row.level.unwrap_or(Level::Drain) })
}

fn kind(row: &StopTrigger, findings: &mut Findings) -> Kind {
    let least = u64::from(SAMPLES_MIN);
    match row.kind.get_ref() {
        TriggerKind::ErrorRate => {
            let window = findings.duration(row.window.as_ref(), WINDOW);
            Kind::ErrorRate {
                percent: number(row.percent.as_ref(), PERCENT, 1..=100, findings) as u8,
                window_ms: u64::try_from(window.as_millis()).unwrap_or(u64::MAX).max(1),
                samples_min: number(row.samples.as_ref(), SAMPLES, least..=1_000_000, findings) as u32,
            }
        }
        TriggerKind::SpendPerHour => {
            let limit = row.limit.as_ref();
            let limit_nusd =
                limit.map_or(SPEND_NUSD, |t| findings.take(t.span(), units::limit(t.get_ref()), SPEND_NUSD));
            Kind::SpendPerHour { limit_nusd }
        }
        TriggerKind::ConsecutiveFailures => Kind::ConsecutiveFailures {
            count: number(row.failures.as_ref(), FAILURES, least..=1_000_000, findings) as u32,
        },
    }
}

fn number(
    given: Option<&Spanned<u64>>,
    or: u64,
    legal: std::ops::RangeInclusive<u64>,
    findings: &mut Findings,
) -> u64 {
    let Some(given) = given else { return or };
    if legal.contains(given.get_ref()) {
        return *given.get_ref();
    }
    let text = format!("must be from {} to {}", legal.start(), legal.end());
    findings.add(given.span(), text, "leave it out for the default");
    or
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules_of(text: &str) -> Result<StopRules, String> {
        let text = format!(
            "[auth]\nmode = \"open\"\n[[path]]\nname = \"x\"\nkind = \"openai\"\nurl = \"http://127.0.0.1:1/v1\"\n\
             [[model]]\nname = \"m\"\ntargets = [{{path = \"x\", id = \"m\"}}]\n[[price]]\nmodel = \"m\"\nfree = true\n{text}"
        );
        crate::config::parse("t.toml", &text).map(|c| c.stop).map_err(|problems| problems.to_string())
    }

    #[test]
    fn one_trigger_ships_and_a_row_takes_its_place() {
        for (text, expected) in [
            ("", vec![("all", "spend_per_hour", Level::Drain)]),
            (
                "[[stop.trigger]]\nscope = \"all\"\nkind = \"spend_per_hour\"\nlimit = \"5 USD\"\nlevel = \"kill\"",
                vec![("all", "spend_per_hour", Level::Kill)],
            ),
            ("[[stop.trigger]]\nscope = \"all\"\nkind = \"spend_per_hour\"\nenabled = false", vec![]),
            (
                "[[stop.trigger]]\nscope = \"path:*\"\nkind = \"error_rate\"",
                vec![("all", "spend_per_hour", Level::Drain), ("path:*", "error_rate", Level::Drain)],
            ),
        ] {
            let rules = rules_of(text).unwrap();
            let found: Vec<_> =
                rules.triggers.iter().map(|t| (t.scope.to_string(), t.kind.label(), t.level)).collect();
            let expected: Vec<_> = expected.into_iter().map(|(s, k, l)| (s.to_owned(), k, l)).collect();
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (row, says) in [
            ("scope = \"kee:x\"\nkind = \"error_rate\"", "not a kind of scope"),
            ("scope = \"all\"\nkind = \"error_rate\"\nsamples = 1", "from 2"),
            ("scope = \"all\"\nkind = \"error_rate\"\npercent = 101", "to 100"),
            ("scope = \"all\"\nkind = \"spend_per_hour\"\nlimit = \"5\"", "not an amount"),
        ] {
            let problems = rules_of(&format!("[[stop.trigger]]\n{row}")).unwrap_err();
            assert!(problems.contains(says), "{row}: {problems}");
        }
    }
}
