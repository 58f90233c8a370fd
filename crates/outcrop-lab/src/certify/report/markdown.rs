//! The summary for issues, chats and documentation: GitHub-flavoured Markdown.
//!
//! Everything that comes from a run is escaped, so that a scenario's words cannot become links or tables.

use std::fmt::Write;

use super::standing::{self, Counts, Standing};
use super::{JSON_NAME, Provenance, figures, view};
use crate::certify::outcome::{Outcome, ScenarioOutcome, SuiteOutcome, Verdict};

/// Renders a run as Markdown.
pub fn render(outcome: &Outcome, provenance: &Provenance) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write(&mut text, outcome, provenance);
    text
}

fn write(text: &mut String, outcome: &Outcome, provenance: &Provenance) -> std::fmt::Result {
    let standing = Standing::of(outcome);
    writeln!(text, "# Outcrop certification: {} {}\n", standing.sign(), standing.word())?;
    writeln!(text, "**{}.**\n", standing::headline(outcome))?;
    for notice in view::notices(outcome) {
        writeln!(text, "> {}\n", plain(&notice))?;
    }
    writeln!(
        text,
        "Profile {}, begun {}, took {}.\n",
        plain(&outcome.profile),
        figures::moment(outcome.started_unix),
        figures::duration(outcome.seconds)
    )?;
    broken(text, outcome)?;
    overview(text, outcome)?;
    for suite in &outcome.suites {
        write_suite(text, suite)?;
    }
    environment(text, outcome)?;
    writeln!(text, "## Repeat and verify\n\n```sh\n{}", view::command(outcome).replace('`', ""))?;
    writeln!(text, "outcrop certify verify {JSON_NAME} --key PUBLIC.pem\n```\n")?;
    writeln!(text, "Made from `{JSON_NAME}`, SHA-256 `{}`.", provenance.sha256)?;
    match &provenance.key_id {
        Some(id) => writeln!(
            text,
            "Signed by key `{id}`: unchanged since then. Who holds that key is shown only by a key that you had before."
        ),
        None => writeln!(text, "Not signed."),
    }
}

fn broken(text: &mut String, outcome: &Outcome) -> std::fmt::Result {
    let mut rows = view::broken(outcome).peekable();
    if rows.peek().is_none() {
        return Ok(());
    }
    writeln!(
        text,
        "## Promises that were not kept\n\n| where | promise | asked | measured | margin | samples |"
    )?;
    writeln!(text, "|---|---|---|---|---|---|")?;
    for (place, verdict) in rows {
        writeln!(text, "| {} |{}", plain(&place), row(verdict))?;
    }
    writeln!(text)
}

fn overview(text: &mut String, outcome: &Outcome) -> std::fmt::Result {
    writeln!(text, "## Suites\n\n| suite | stands | promises |\n|---|---|---|")?;
    for suite in &outcome.suites {
        let standing = Standing::of_suite(suite);
        let counts = Counts::of(std::slice::from_ref(suite));
        let (sign, word) = (standing.sign(), standing.word());
        writeln!(text, "| {} | {sign} {word} | {} |", plain(&suite.name), view::tally(counts))?;
    }
    writeln!(text)
}

fn write_suite(text: &mut String, suite: &SuiteOutcome) -> std::fmt::Result {
    writeln!(text, "## {}\n", plain(&suite.name))?;
    if suite.scenarios.is_empty() {
        writeln!(text, "Not certified: nothing was played.\n")?;
    }
    for scenario in &suite.scenarios {
        write_scenario(text, scenario)?;
    }
    Ok(())
}

fn write_scenario(text: &mut String, scenario: &ScenarioOutcome) -> std::fmt::Result {
    let standing = Standing::of_scenario(scenario);
    let (sign, word) = (standing.sign(), standing.word());
    writeln!(text, "### {}: {sign} {word}\n\n{}", plain(&scenario.name), plain(&scenario.title))?;
    writeln!(text, "(seed {}, {})\n", scenario.seed, figures::duration(scenario.seconds))?;
    if let Some(why) = &scenario.void {
        writeln!(text, "> Void, counts for nothing: {}\n", plain(why))?;
    }
    if !scenario.verdicts.is_empty() {
        writeln!(text, "| | promise | asked | measured | margin | samples |\n|---|---|---|---|---|---|")?;
        for verdict in &scenario.verdicts {
            let sign = match (&scenario.void, verdict.passed) {
                (Some(_), _) => Standing::Void.sign(),
                (None, true) => Standing::Passed.sign(),
                (None, false) => Standing::Failed.sign(),
            };
            writeln!(text, "| {sign} |{}", row(verdict))?;
        }
        writeln!(text)?;
    }
    for note in &scenario.notes {
        writeln!(text, "- {}", plain(note))?;
    }
    if scenario.notes.is_empty() { Ok(()) } else { writeln!(text) }
}

fn environment(text: &mut String, outcome: &Outcome) -> std::fmt::Result {
    writeln!(text, "## Environment\n\n| what | value |\n|---|---|")?;
    for (name, value) in &outcome.environment {
        writeln!(text, "| {} | {} |", plain(name), plain(value))?;
    }
    writeln!(text)
}

fn row(verdict: &Verdict) -> String {
    format!(
        " {} | {} | {} | {} | {} |",
        plain(&verdict.promise),
        plain(&figures::bar(verdict.bar, &verdict.unit)),
        plain(&figures::measured(verdict)),
        plain(&figures::margin(verdict)),
        figures::count(verdict.samples)
    )
}

/// Text that means nothing to Markdown.
fn plain(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '|' | '#' | '~' | '!' | '&' => {
                safe.push('\\');
                safe.push(letter);
            }
            '\n' | '\r' => safe.push(' '),
            other => safe.push(other),
        }
    }
    safe
}
