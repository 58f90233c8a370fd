//! The JSON document: the record of a run, from which every other form is made.
//!
//! Written with a fixed order of fields and a final newline, so that the same outcome gives the same bytes. Read with
//! a limit, and only if it says the same as its own figures: a verdict that its bar contradicts is refused.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::standing::Standing;
use crate::certify::outcome::Outcome;

/// What the document calls itself; the number counts incompatible changes.
pub const FORMAT: &str = "outcrop-certify-report/1";
/// Largest document that is read, in bytes.
pub const BYTES_MAX: usize = 256 << 20;

/// A run as it is stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// `outcrop-certify-report/1`.
    pub format: String,
    /// How the run stands: `passed`, `failed`, `void`, `partial` or `not_measured`. It follows from the outcome.
    pub standing: String,
    /// What was measured.
    pub outcome: Outcome,
}

/// Why a document cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// Too long.
    #[error("the report has {0} bytes; at most {BYTES_MAX} are read")]
    TooLarge(usize),
    /// Not the JSON that is asked for.
    #[error("not a report of `outcrop certify`: {0}")]
    Json(#[from] serde_json::Error),
    /// Of another time.
    #[error("the report's format is `{0}`, this binary reads `{FORMAT}`; use the version that wrote it")]
    Format(String),
    /// It says something that does not follow from its figures.
    #[error("the report contradicts itself: {0}")]
    Contradiction(String),
}

impl Document {
    /// Wraps an outcome.
    pub fn new(outcome: Outcome) -> Self {
        let standing = Standing::of(&outcome).slug().to_owned();
        Self { format: FORMAT.to_owned(), standing, outcome }
    }

    /// The bytes of the file.
    pub fn to_json(&self) -> Result<Vec<u8>, DocumentError> {
        let mut bytes = serde_json::to_vec_pretty(self)?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// Reads a file's bytes and holds every verdict against its bar again.
    pub fn from_json(bytes: &[u8]) -> Result<Self, DocumentError> {
        if bytes.len() > BYTES_MAX {
            return Err(DocumentError::TooLarge(bytes.len()));
        }
        // The format first: another one may differ in everything else.
        let head: Head = serde_json::from_slice(bytes)?;
        if head.format != FORMAT {
            return Err(DocumentError::Format(head.format));
        }
        let document: Self = serde_json::from_slice(bytes)?;
        document.check()?;
        Ok(document)
    }

    fn check(&self) -> Result<(), DocumentError> {
        for suite in &self.outcome.suites {
            for scenario in &suite.scenarios {
                let wrong = scenario.verdicts.iter().find(|v| v.passed && !v.bar.is_met_by(v.measured));
                if let Some(verdict) = wrong {
                    return Err(DocumentError::Contradiction(format!(
                        "{}/{}: \"{}\" is said to be kept, but {} does not meet {:?}",
                        suite.name, scenario.name, verdict.promise, verdict.measured, verdict.bar
                    )));
                }
            }
        }
        let standing = Standing::of(&self.outcome).slug();
        if self.standing != standing {
            let says = &self.standing;
            return Err(DocumentError::Contradiction(format!(
                "it says \"{says}\", its verdicts say \"{standing}\""
            )));
        }
        Ok(())
    }
}

/// The JSON schema of the document.
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(Document).to_value()
}

#[derive(Deserialize)]
struct Head {
    format: String,
}
