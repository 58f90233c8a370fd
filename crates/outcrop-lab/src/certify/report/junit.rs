//! The file for build servers: JUnit XML, a test case per promise.
//!
//! A broken promise is a failure, a void scenario and a partial run are errors, a suite that was not played is skipped:
//! no build server takes one of them for a success.

use std::io;

use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesText, Event};

use super::figures;
use super::standing::{Counts, Standing};
use crate::certify::outcome::{Outcome, ScenarioOutcome, SuiteOutcome, Verdict};

type Out = Writer<Vec<u8>>;

/// Renders a run as JUnit XML.
pub fn render(outcome: &Outcome) -> io::Result<String> {
    let mut out = Writer::new_with_indent(Vec::new(), b' ', 2);
    out.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
    let tally = tally_of(outcome);
    let seconds = format!("{:.3}", outcome.seconds);
    out.create_element("testsuites")
        .with_attributes([("name", "outcrop certify"), ("time", &seconds)])
        .with_attributes(tally.attributes().iter().map(|(name, value)| (*name, value.as_str())))
        .write_inner_content(|out| {
            outcome.suites.iter().try_for_each(|suite| write_suite(out, outcome, suite))?;
            if outcome.partial { incomplete(out) } else { Ok(()) }
        })?;
    let mut text = String::from_utf8(out.into_inner()).map_err(io::Error::other)?;
    text.push('\n');
    Ok(text)
}

/// Test cases, counted as JUnit does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Tally {
    tests: usize,
    failures: usize,
    errors: usize,
    skipped: usize,
}

impl Tally {
    fn of(suite: &SuiteOutcome) -> Self {
        let counts = Counts::of(std::slice::from_ref(suite));
        let empty =
            suite.scenarios.iter().filter(|s| Standing::of_scenario(s) == Standing::NotMeasured).count();
        let skipped = empty + usize::from(suite.scenarios.is_empty());
        let tests = counts.promises + counts.void + skipped;
        Self { tests, failures: counts.broken, errors: counts.void, skipped }
    }

    fn attributes(self) -> [(&'static str, String); 4] {
        [
            ("tests", self.tests.to_string()),
            ("failures", self.failures.to_string()),
            ("errors", self.errors.to_string()),
            ("skipped", self.skipped.to_string()),
        ]
    }
}

fn tally_of(outcome: &Outcome) -> Tally {
    let ended = usize::from(outcome.partial);
    let start = Tally { tests: ended, errors: ended, ..Tally::default() };
    outcome.suites.iter().map(Tally::of).fold(start, |sum, suite| Tally {
        tests: sum.tests + suite.tests,
        failures: sum.failures + suite.failures,
        errors: sum.errors + suite.errors,
        skipped: sum.skipped + suite.skipped,
    })
}

fn write_suite(out: &mut Out, outcome: &Outcome, suite: &SuiteOutcome) -> io::Result<()> {
    let seconds: f64 = suite.scenarios.iter().map(|scenario| scenario.seconds).sum();
    let (name, seconds) = (allowed(&suite.name), format!("{seconds:.3}"));
    let timestamp = figures::moment(outcome.started_unix).replacen(' ', "T", 1).replace(" UTC", "Z");
    out.create_element("testsuite")
        .with_attributes([("name", name.as_str()), ("time", &seconds), ("timestamp", &timestamp)])
        .with_attributes(Tally::of(suite).attributes().iter().map(|(name, value)| (*name, value.as_str())))
        .write_inner_content(|out| {
            if suite.scenarios.is_empty() {
                return skipped(out, &suite.name, "suite", "not certified: nothing was played");
            }
            suite.scenarios.iter().try_for_each(|scenario| write_scenario(out, &suite.name, scenario))
        })?;
    Ok(())
}

fn write_scenario(out: &mut Out, suite: &str, scenario: &ScenarioOutcome) -> io::Result<()> {
    let class = format!("{suite}.{}", scenario.name);
    match (&scenario.void, Standing::of_scenario(scenario)) {
        (Some(why), _) => finding(out, (&class, "the scenario counts"), "error", "void", why),
        (None, Standing::NotMeasured) => skipped(out, &class, "promises", "the scenario makes none"),
        (None, _) => scenario.verdicts.iter().try_for_each(|verdict| write_verdict(out, &class, verdict)),
    }
}

fn write_verdict(out: &mut Out, class: &str, verdict: &Verdict) -> io::Result<()> {
    let said = format!(
        "asked {}, measured {} (margin {}, {} samples)",
        figures::bar(verdict.bar, &verdict.unit),
        figures::measured(verdict),
        figures::margin(verdict),
        figures::count(verdict.samples)
    );
    if !verdict.passed {
        return finding(out, (class, &verdict.promise), "failure", "bar", &said);
    }
    case(out, class, &verdict.promise)
        .write_inner_content(|out| {
            out.create_element("system-out").write_text_content(BytesText::new(&allowed(&said)))?;
            Ok(())
        })
        .map(drop)
}

fn incomplete(out: &mut Out) -> io::Result<()> {
    out.create_element("testsuite")
        .with_attributes([
            ("name", "run"),
            ("tests", "1"),
            ("failures", "0"),
            ("errors", "1"),
            ("skipped", "0"),
        ])
        .write_inner_content(|out| {
            let why = "the run was ended before all scenarios were played";
            finding(out, ("run", "the run is complete"), "error", "partial", why)
        })
        .map(drop)
}

fn finding(out: &mut Out, (class, name): (&str, &str), kind: &str, of: &str, why: &str) -> io::Result<()> {
    let why = allowed(why);
    case(out, class, name)
        .write_inner_content(|out| {
            let element = out.create_element(kind).with_attributes([("type", of), ("message", why.as_str())]);
            element.write_text_content(BytesText::new(&why)).map(drop)
        })
        .map(drop)
}

fn skipped(out: &mut Out, class: &str, name: &str, why: &str) -> io::Result<()> {
    case(out, class, name)
        .write_inner_content(|out| {
            out.create_element("skipped").with_attribute(("message", why)).write_empty().map(drop)
        })
        .map(drop)
}

fn case<'a>(out: &'a mut Out, class: &str, name: &str) -> quick_xml::writer::ElementWriter<'a, Vec<u8>> {
    let (class, name) = (allowed(class), allowed(name));
    out.create_element("testcase").with_attributes([("classname", class.as_str()), ("name", name.as_str())])
}

/// Text with what XML 1.0 cannot hold, not even escaped, replaced.
fn allowed(text: &str) -> String {
    let fits =
        |c: char| matches!(c, '\t' | '\n' | '\r') || (c >= ' ' && !matches!(c, '\u{fffe}' | '\u{ffff}'));
    text.chars().map(|c| if fits(c) { c } else { '\u{fffd}' }).collect()
}
