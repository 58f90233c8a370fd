//! The report: plain functions from an [`Outcome`](super::outcome::Outcome) to text.
//!
//! Nothing here measures, reads a clock or touches a file; the same outcome always gives the same bytes. The JSON
//! document is the record, all else can be made from it again. A run that is void, partial or empty is never shown as
//! passed.

pub mod standing;
pub mod figures;
pub mod document;
pub mod signature;
pub mod compare;
pub mod markdown;
pub mod junit;
pub mod html;
mod plot;
mod view;

#[cfg(test)]
mod sample;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

pub use document::{Document, DocumentError};
pub use standing::Standing;

/// What ties a page to the record that it was made from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance {
    /// SHA-256 of the JSON document, hexadecimal.
    pub sha256: String,
    /// Id of the key that signed it, if it was signed.
    pub key_id: Option<String>,
}

/// Name of the JSON document in the folder of a report.
pub const JSON_NAME: &str = "report.json";
/// Name of its detached signature.
pub const SIGNATURE_NAME: &str = "report.json.sig";
/// Name of the page for people.
pub const HTML_NAME: &str = "report.html";
/// Name of the summary for issues and chats.
pub const MARKDOWN_NAME: &str = "report.md";
/// Name of the file for build servers.
pub const JUNIT_NAME: &str = "report.junit.xml";
