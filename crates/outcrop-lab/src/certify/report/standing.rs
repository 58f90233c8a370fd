//! How a run, a suite or a scenario stands, in one word.
//!
//! A missed promise outweighs everything else; what could not be measured is never passed.

use crate::certify::outcome::{Outcome, ScenarioOutcome, SuiteOutcome, Verdict};

/// How something stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Every promise was kept.
    Passed,
    /// At least one was not.
    Failed,
    /// Something was played but nothing can be concluded from it.
    Void,
    /// The run was ended before its time.
    Partial,
    /// Nothing was asked of it.
    NotMeasured,
}

/// Promises and scenarios, counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Promises that count.
    pub promises: usize,
    /// Of these, not kept.
    pub broken: usize,
    /// Scenarios played.
    pub scenarios: usize,
    /// Of these, void.
    pub void: usize,
}

impl Standing {
    /// How a run stands.
    pub fn of(outcome: &Outcome) -> Self {
        let counts = Counts::of(&outcome.suites);
        match (Self::from(counts), outcome.partial) {
            (Self::Failed, _) => Self::Failed,
            (_, true) => Self::Partial,
            (standing, false) => standing,
        }
    }

    /// How a suite stands.
    pub fn of_suite(suite: &SuiteOutcome) -> Self {
        Self::from(Counts::of(std::slice::from_ref(suite)))
    }

    /// How a scenario stands.
    pub fn of_scenario(scenario: &ScenarioOutcome) -> Self {
        match &scenario.void {
            Some(_) => Self::Void,
            None if scenario.verdicts.is_empty() => Self::NotMeasured,
            None if scenario.passed() => Self::Passed,
            None => Self::Failed,
        }
    }

    /// The word for people.
    pub fn word(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Void => "void",
            Self::Partial => "partial",
            Self::NotMeasured => "not measured",
        }
    }

    /// A sign that needs no colour.
    pub fn sign(self) -> &'static str {
        match self {
            Self::Passed => "✓",
            Self::Failed => "✗",
            Self::Void => "∅",
            Self::Partial => "◐",
            Self::NotMeasured => "–",
        }
    }

    /// The word for programs and style sheets.
    pub fn slug(self) -> &'static str {
        match self {
            Self::NotMeasured => "not_measured",
            other => other.word(),
        }
    }
}

impl From<Counts> for Standing {
    fn from(counts: Counts) -> Self {
        match counts {
            Counts { broken: 1.., .. } => Self::Failed,
            Counts { void: 1.., .. } => Self::Void,
            Counts { promises: 0, .. } => Self::NotMeasured,
            Counts { .. } => Self::Passed,
        }
    }
}

impl Counts {
    /// Counts over suites.
    pub fn of(suites: &[SuiteOutcome]) -> Self {
        let mut counts = Self::default();
        for scenario in suites.iter().flat_map(|suite| &suite.scenarios) {
            counts.scenarios += 1;
            counts.void += usize::from(scenario.void.is_some());
        }
        counts.promises = verdicts(suites).count();
        counts.broken = verdicts(suites).filter(|(.., verdict)| !verdict.passed).count();
        counts
    }
}

/// Every verdict that counts, with its suite and its scenario: those of a void scenario do not.
pub fn verdicts(
    suites: &[SuiteOutcome],
) -> impl Iterator<Item = (&SuiteOutcome, &ScenarioOutcome, &Verdict)> {
    suites.iter().flat_map(|suite| {
        let counting = suite.scenarios.iter().filter(|scenario| scenario.void.is_none());
        counting
            .flat_map(move |scenario| scenario.verdicts.iter().map(move |verdict| (suite, scenario, verdict)))
    })
}

/// The verdict on the run, as a sentence.
pub fn headline(outcome: &Outcome) -> String {
    let counts = Counts::of(&outcome.suites);
    let kept = counts.promises.saturating_sub(counts.broken);
    match Standing::of(outcome) {
        Standing::Passed => format!("All {} promises were kept", counts.promises),
        Standing::Failed => format!("{} of {} promises were not kept", counts.broken, counts.promises),
        Standing::Partial => {
            format!("Ended early: {kept} promises were kept until then, the rest is unknown")
        }
        Standing::Void => {
            format!("Nothing can be concluded: {} of {} scenarios are void", counts.void, counts.scenarios)
        }
        Standing::NotMeasured => "Nothing was measured".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certify::outcome::Bar;

    fn run(passed: &[bool], void: bool, partial: bool) -> Standing {
        let verdict = |passed: &bool| Verdict {
            passed: *passed,
            ..Verdict::new("answers", Bar::AtMost(1.0), 0.5, "s", 9)
        };
        let scenario =
            ScenarioOutcome { verdicts: passed.iter().map(verdict).collect(), ..Default::default() };
        let empty = ScenarioOutcome { void: void.then(|| "lagged".to_owned()), ..scenario.clone() };
        let scenarios = if void { vec![empty] } else { vec![scenario] };
        let suites = vec![SuiteOutcome { name: "load".to_owned(), scenarios }];
        Standing::of(&Outcome { partial, suites, ..Outcome::default() })
    }

    #[test]
    fn only_a_whole_run_with_kept_promises_passes() {
        for (passed, void, partial, standing) in [
            (&[true, true][..], false, false, Standing::Passed),
            (&[true, false], false, false, Standing::Failed),
            (&[true, false], false, true, Standing::Failed),
            (&[true], false, true, Standing::Partial),
            (&[true], true, false, Standing::Void),
            (&[false], true, false, Standing::Void),
            (&[], false, false, Standing::NotMeasured),
        ] {
            assert_eq!(run(passed, void, partial), standing, "{passed:?} {void} {partial}");
        }
        assert_eq!(Standing::of(&Outcome::default()), Standing::NotMeasured, "an empty run proves nothing");
    }
}
