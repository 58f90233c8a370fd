//! Strings of the file: plain, from the environment (`"${NAME}"`) or from a file (`"file:/path"`).
//!
//! The only place of the program that reads environment variables for the configuration.

use std::fmt;
use std::ops::Deref;

use secrecy::SecretString;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

/// A string, resolved.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Text(pub String);

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        resolve(String::deserialize(deserializer)?).map(Self).map_err(D::Error::custom)
    }
}

/// A string that is never shown.
#[derive(Clone)]
pub struct Secret(pub SecretString);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Text(text) = Text::deserialize(deserializer)?;
        Ok(Self(text.into()))
    }
}

pub(super) fn resolve(text: String) -> Result<String, String> {
    if let Some(name) = text.strip_prefix("${").and_then(|t| t.strip_suffix('}')) {
        return variable(name);
    }
    match text.strip_prefix("file:") {
        None => Ok(text),
        Some(path) => std::fs::read_to_string(path)
            .map(|content| content.trim_end_matches(['\n', '\r']).to_owned())
            .map_err(|error| format!("cannot read {path}: {error}")),
    }
}

/// The value of an environment variable.
#[allow(clippy::disallowed_methods, reason = "the configuration is where the environment is read")]
pub(crate) fn variable(name: &str) -> Result<String, String> {
    match std::env::var(name) {
        Ok(value) if !value.is_empty() => Ok(value),
        Ok(_) => Err(format!("the environment variable {name} is empty")),
        Err(_) => Err(format!("the environment variable {name} is not set")),
    }
}
