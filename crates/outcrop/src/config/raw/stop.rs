//! `[stop]` as people write it.

use schemars::JsonSchema;
use serde::Deserialize;
use toml::Spanned;

use crate::config::text::Text;

/// The emergency stop; `docs/stop.md` is its runbook. Taken at start only.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EmergencyStop {
    /// While this file exists everything is stopped: `drain`, `stop` (also when empty or unreadable) or
    /// `kill` in it says how hard. Relative to the folder of this file. Default: none.
    #[schemars(with = "Option<String>")]
    pub file: Option<Text>,
    /// Whether a resume needs a second person to confirm it. Default false.
    pub two_person_resume: Option<bool>,
    /// How long a staged resume takes: 10 % of requests, after half the time 50 %, at its end all.
    /// Default `10m`.
    #[schemars(with = "Option<String>")]
    pub staged_over: Option<Spanned<Text>>,
    /// What stops by itself. One ships: `spend_per_hour` over `all` at 1000 USD; a row with that scope
    /// and kind takes its place.
    #[serde(default)]
    pub trigger: Vec<StopTrigger>,
}

/// A stop that nobody has to ask for.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StopTrigger {
    /// What it watches: `all`, `key:ci`, `path:*` (each by itself), joined with `+`.
    #[schemars(with = "String")]
    pub scope: Spanned<Text>,
    /// `error_rate`, `spend_per_hour` or `consecutive_failures`.
    #[schemars(with = "TriggerKind")]
    pub kind: Spanned<TriggerKind>,
    /// `drain` (default), `stop` or `kill`.
    #[schemars(with = "Option<String>")]
    pub level: Option<outcrop_policy::Level>,
    /// `error_rate`: from this share of failures on, in percent. Default 50.
    #[schemars(with = "Option<u64>")]
    pub percent: Option<Spanned<u64>>,
    /// `error_rate`: length of the window. Default `1m`.
    #[schemars(with = "Option<String>")]
    pub window: Option<Spanned<Text>>,
    /// `error_rate`: not before so many requests. Default 20, at least 2.
    #[schemars(with = "Option<u64>")]
    pub samples: Option<Spanned<u64>>,
    /// `spend_per_hour`: beyond this amount, `"1000 USD"`.
    #[schemars(with = "Option<String>")]
    pub limit: Option<Spanned<Text>>,
    /// `consecutive_failures`: so many without a success between them. Default 10, at least 2.
    #[schemars(with = "Option<u64>")]
    pub failures: Option<Spanned<u64>>,
    /// False turns a trigger off, also the one that ships. Default true.
    pub enabled: Option<bool>,
}

/// What a trigger looks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TriggerKind {
    /// Too large a share of failures within a window.
    ErrorRate,
    /// Too much money within an hour.
    SpendPerHour,
    /// Failures without a success between them.
    ConsecutiveFailures,
}
