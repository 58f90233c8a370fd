//! `[store]` and `[[budget]]` as people write them.

use schemars::JsonSchema;
use serde::Deserialize;
use toml::Spanned;

use super::Text;

/// Where ledger and documents are kept. Taken at start only.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Store {
    /// `sqlite:path` (relative to this file), `postgres://…` (several replicas share it) or `memory:` (nothing
    /// outlives the process). Default `sqlite:outcrop.db`.
    #[schemars(with = "Option<String>")]
    pub url: Option<Spanned<Text>>,
    /// File in which attempts are noted before they are sent, one a process. Default: beside the SQLite file,
    /// or `outcrop.dispatch` beside this file.
    #[schemars(with = "Option<String>")]
    pub dispatch_log: Option<Text>,
    /// Longest wait for an answer of the store when a request needs more than the leases hold; then it is
    /// refused (`ledger_unavailable`). Default `50ms`.
    #[schemars(with = "Option<String>")]
    pub grant_wait_max: Option<Spanned<Text>>,
    /// How long entries of the journal are kept. Default `9600h` (400 days).
    #[schemars(with = "Option<String>")]
    pub retention: Option<Spanned<Text>>,
}

/// A budget.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// `all`, or `org:`, `team:`, `key:`, `user:`, `run:`, `model:`, `path:`, `region:`, `operation:`, `tool:` and a
    /// name or `*` (each name has an account of its own), joined with `+`.
    #[schemars(with = "String")]
    pub scope: Spanned<Text>,
    /// `hour`, `day`, `week`, `month` (default), `rolling:1h` or `lifetime`.
    #[schemars(with = "Option<String>")]
    pub window: Option<Spanned<Text>>,
    /// Time zone of a calendar window, such as `Europe/Berlin`. Default UTC.
    #[schemars(with = "Option<String>")]
    pub zone: Option<Spanned<Text>>,
    /// `"100 USD"`, `"5 Mtok"`, `"5 Mtok input"`, `"5 Mtok output"`, `"1000 requests"`, `"50 tool calls"`.
    #[schemars(with = "String")]
    pub limit: Spanned<Text>,
    /// Whether what does not fit is refused; a soft budget is only told. Default true.
    pub hard: Option<bool>,
    /// The part of a hard limit that only operations of priority `emergency` may use. Default `5%`.
    #[schemars(with = "Option<String>")]
    pub carve_out: Option<Spanned<Text>>,
    /// What happens to a request whose upper bound does not fit. Default `refuse`.
    pub shortage: Option<OnShortage>,
    /// `clamp`: the least output tokens that are still of use. Default 256.
    pub floor: Option<u64>,
    /// Where the bytes of an input do not fit: what the target's own count of it may be trusted for. `off`
    /// (default), `exact` (what Bedrock charges by its documentation) or `estimated` (also Anthropic's, plus a tenth).
    /// Used only where every hard budget of money or tokens that counts the request allows it.
    pub input_count: Option<CountInput>,
}

/// Which counts of an input may stand in for its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CountInput {
    /// None.
    #[default]
    Off,
    /// One that is what will be charged.
    Exact,
    /// Also one that its maker calls an estimate, with a margin.
    Estimated,
}

/// What happens to a request whose upper bound does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnShortage {
    /// It is refused, with the numbers.
    #[default]
    Refuse,
    /// Its output limit is lowered to what fits.
    Clamp,
    /// Another target of the model is tried, if it is cheaper.
    Cheaper,
}
