//! `[impact]` as people write it.

use schemars::JsonSchema;
use serde::Deserialize;
use toml::Spanned;

use super::Text;

/// What the gateway itself takes, and what it gives up when that is too much; see docs/impact.md. Taken at
/// start only.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Impact {
    /// Between two readings. Default `2s`.
    #[schemars(with = "Option<String>")]
    pub every: Option<Spanned<Text>>,
    /// Alarm from so many percent of the time of answered requests that are the gateway's own. Default 5.
    #[schemars(with = "Option<u8>")]
    pub latency_percent: Option<Spanned<i64>>,
    /// Alarm from so many percent of the cores that the process may use. Default 80: what it serves is what
    /// it is there for. Less where it shares its machine.
    #[schemars(with = "Option<u8>")]
    pub cpu_percent: Option<Spanned<i64>>,
    /// Alarm from so many percent of the memory that it may use. Default 80.
    #[schemars(with = "Option<u8>")]
    pub memory_percent: Option<Spanned<i64>>,
    /// Alarm from so many percent of the files that it may open. Default 80.
    #[schemars(with = "Option<u8>")]
    pub descriptors_percent: Option<Spanned<i64>>,
    /// Alarm from so many percent of the time that the runtime's workers are busy. Default 80.
    #[schemars(with = "Option<u8>")]
    pub runtime_percent: Option<Spanned<i64>>,
    /// What is stopped while it alarms; `[]` for nothing. Default `["hedging", "probes", "optimizer"]`.
    pub shed: Option<Vec<Optional>>,
}

/// Work that nobody waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Optional {
    /// A second leg beside a slow one.
    Hedging,
    /// Requests that only find out whether a target has healed.
    Probes,
    /// Replays that look for better settings.
    Optimizer,
    /// Decision records for the export; they are counted as dropped.
    Export,
}
