//! What is wrong with a file, where, and what to do about it.

use std::fmt;
use std::ops::Range;

/// One problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Line, from 1; 0 when it concerns the whole file.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// The way out; may be empty.
    pub hint: String,
}

/// A problem that still knows its place only in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Bytes of the file.
    pub span: Range<usize>,
    /// What is wrong.
    pub message: String,
    /// The way out.
    pub hint: String,
}

impl Found {
    /// A problem at a place of the file.
    pub fn at(span: Range<usize>, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { span, message: message.into(), hint: hint.into() }
    }
}

/// All problems of one file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Problems {
    /// The file.
    pub file: String,
    /// At least one.
    pub problems: Vec<Problem>,
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, problem) in self.problems.iter().enumerate() {
            if n > 0 {
                writeln!(f)?;
            }
            match problem.line {
                0 => write!(f, "{}: {}", self.file, problem.message)?,
                line => write!(f, "{}:{line}:{}: {}", self.file, problem.column, problem.message)?,
            }
            if !problem.hint.is_empty() {
                write!(f, "\n  hint: {}", problem.hint)?;
            }
        }
        Ok(())
    }
}

impl Problems {
    /// The file cannot be read at all.
    pub fn unreadable(file: &str, error: &str) -> Self {
        let problem = Problem {
            line: 0,
            column: 0,
            message: format!("cannot be read: {error}"),
            hint: "name the file with --config; the repository's outcrop.toml is an example".into(),
        };
        Self { file: file.into(), problems: vec![problem] }
    }

    /// The file is not TOML, or not of the expected shape.
    pub fn from_toml(file: &str, text: &str, error: &toml::de::Error) -> Self {
        let message = error.message().trim().to_owned();
        let found = Found::at(error.span().unwrap_or(0..0), &*message, suggestion(&message));
        Self::located(file, text, vec![found])
    }

    /// Turns byte positions into lines and columns.
    pub fn located(file: &str, text: &str, found: Vec<Found>) -> Self {
        let problems = found
            .into_iter()
            .map(|found| {
                let (line, column) = position(text, found.span.start);
                Problem { line, column, message: found.message, hint: found.hint }
            })
            .collect();
        Self { file: file.into(), problems }
    }
}

fn position(text: &str, byte: usize) -> (usize, usize) {
    let before = text.get(..byte.min(text.len())).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |n| n + 1);
    let column = before.get(line_start..).unwrap_or_default().chars().count() + 1;
    (before.matches('\n').count() + 1, column)
}

/// A hint for serde's `unknown field` and `unknown variant` messages.
fn suggestion(message: &str) -> String {
    let mut quoted = message.split('`').skip(1).step_by(2);
    let (true, Some(wrong)) = (message.starts_with("unknown "), quoted.next()) else {
        return String::new();
    };
    let known: Vec<&str> = quoted.collect();
    match nearest(wrong, known.iter().copied()) {
        Some(right) => format!("did you mean `{right}`?"),
        None if known.is_empty() => String::new(),
        None => format!("known here: {}", known.join(", ")),
    }
}

/// The candidate that is most like `wrong`, if any is like it at all.
pub(crate) fn nearest<'a>(wrong: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|candidate| (strsim::jaro_winkler(wrong, candidate), candidate))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}
