//! The configuration file: a raw shape as people write it, a checked shape as the gateway uses it, and
//! one conversion between them.
//!
//! A file is taken whole or not at all. Every problem names its line, its column and the way out.

pub mod check;
mod models;
mod paths;
pub mod problem;
pub mod raw;
mod text;
mod units;

pub use check::{Checked, Listen, TlsFiles, check};
pub use problem::{Problem, Problems};

use std::path::Path;

/// Reads and checks a file.
pub fn load(path: &Path) -> Result<Checked, Problems> {
    let name = path.display().to_string();
    let text =
        std::fs::read_to_string(path).map_err(|error| Problems::unreadable(&name, &error.to_string()))?;
    parse(&name, &text)
}

/// Checks the text of a file called `name`.
pub fn parse(name: &str, text: &str) -> Result<Checked, Problems> {
    let raw: raw::Config = toml::from_str(text).map_err(|error| Problems::from_toml(name, text, &error))?;
    check(&raw).map_err(|found| Problems::located(name, text, found))
}

/// The JSON schema of the file.
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(raw::Config).to_value()
}

/// Reads a pepper from its file, as `[auth] pepper = "file:…"` does.
pub(crate) fn pepper(file: &Path) -> Result<String, String> {
    let text = text::resolve(format!("file:{}", file.display()))?;
    if text.len() < check::PEPPER_BYTES_MIN {
        return Err(format!("{}: the pepper must have at least 32 characters", file.display()));
    }
    Ok(text)
}
