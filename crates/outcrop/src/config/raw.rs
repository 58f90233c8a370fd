//! The file as people write it. Every field is documented here, and only here: the reference and the
//! JSON schema are made from these lines.

mod decisions;
mod impact;
mod ledger;
mod limits;
mod path;
mod stop;

use schemars::JsonSchema;
use serde::Deserialize;
use toml::Spanned;

use super::text::{Secret, Text};

pub use self::decisions::Decisions;
pub use self::impact::{Impact, Optional};
pub use self::ledger::{Budget, CountInput, OnShortage, Store};
pub use self::limits::{Limits, Shares};
pub use self::path::{Credentials, Kind, Path, Progress};
pub use self::stop::{EmergencyStop, StopTrigger, TriggerKind};

/// The whole file.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where the gateway listens.
    #[serde(default)]
    pub listen: Listen,
    /// Who may call.
    #[serde(default)]
    pub auth: Auth,
    /// Limits on requests, streams and connections.
    #[serde(default)]
    pub limits: Limits,
    /// Switches of routing; an operator can turn each at run time (`outcrop flag`).
    #[serde(default)]
    pub flags: Flags,
    /// Decision records.
    #[serde(default)]
    pub decisions: Decisions,
    /// What the gateway itself takes, and what it gives up when that is too much.
    #[serde(default)]
    pub impact: Impact,
    /// The emergency stop.
    #[serde(default)]
    pub stop: EmergencyStop,
    /// The ways out.
    #[serde(default)]
    pub path: Vec<Path>,
    /// Where ledger and documents are kept.
    #[serde(default)]
    pub store: Store,
    /// Budgets.
    #[serde(default)]
    pub budget: Vec<Budget>,
    /// The names that clients use, and what each stands for.
    #[serde(default)]
    pub model: Vec<Model>,
    /// What models cost: rows here win over the catalogue that ships (`outcrop check --prices` shows what is in
    /// force). A model that neither knows is refused, unless a row declares it free.
    #[serde(default)]
    pub price: Vec<Price>,
    /// Rows over the operation table that ships.
    #[serde(default)]
    pub operation: Vec<Operation>,
    /// How many requests and tokens may pass in a time; see docs/limits.md.
    #[serde(default)]
    pub rate: Vec<Rate>,
    /// Keys of the file, made by `outcrop key row`; `outcrop key new` makes them without a row here.
    #[serde(default)]
    pub key: Vec<Key>,
}

/// Where the gateway listens.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Listen {
    /// Client APIs. Default `127.0.0.1:8080`.
    #[schemars(with = "Option<String>")]
    pub data: Option<Spanned<Text>>,
    /// Health, metrics and the operator's API. Default `127.0.0.1:9090`; loopback only.
    #[schemars(with = "Option<String>")]
    pub admin: Option<Spanned<Text>>,
    /// The operator's unix socket, for the commands of this machine. Default `outcrop.sock`; relative to
    /// the folder of this file.
    #[schemars(with = "Option<String>")]
    pub operator: Option<Text>,
    /// Certificate chain (PEM file) for the data listener; with `tls_key` it speaks TLS.
    #[schemars(with = "Option<String>")]
    pub tls_cert: Option<Spanned<Text>>,
    /// Private key (PEM file) of the certificate.
    #[schemars(with = "Option<String>")]
    pub tls_key: Option<Spanned<Text>>,
    /// Host names, besides loopback, under which the MCP endpoint may be called.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub mcp_hosts: Vec<Text>,
}

/// Who may call.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Auth {
    /// `keys` (default): holders of a key. `open`: everybody, on a loopback listener only.
    #[schemars(with = "Option<AuthMode>")]
    pub mode: Option<Spanned<AuthMode>>,
    /// The secret under which key hashes are made, at least 32 characters: `"${NAME}"` or
    /// `"file:/path"`. Taken at start only. Default: `outcrop.pepper` beside a durable store, made at the
    /// first start.
    #[schemars(with = "Option<String>")]
    pub pepper: Option<Spanned<Secret>>,
    /// Open mode: whether callers may name raw Bedrock ids. Default true.
    pub raw_models: Option<bool>,
}

/// Who may call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AuthMode {
    /// Holders of a key.
    Keys,
    /// Everybody who reaches the loopback listener.
    Open,
}

/// Switches of routing; an operator can turn each at run time (`outcrop flag`).
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Flags {
    /// Health, times and prices decide among targets that are equally preferred; otherwise the configured
    /// order does. Default true.
    pub intelligent_routing: Option<bool>,
    /// Whether direct paths stand in for MCP. Default true.
    pub direct_fallback: Option<bool>,
    /// Whether MCP stands in for direct paths. Default true.
    pub mcp_fallback: Option<bool>,
    /// Whether operations of priority `emergency` go directly first, whatever their order says. Default true.
    pub emergency_direct: Option<bool>,
    /// Whether operations of priority `emergency` may travel over MCP. Default false.
    pub emergency_over_mcp: Option<bool>,
    /// Whether a second leg is started beside a slow one, for emergencies and critical requests. Default
    /// false.
    pub hedging: Option<bool>,
    /// Whether the optimizer applies what it proposes. Default false.
    pub optimizer: Option<bool>,
}

/// A name that clients use.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// The alias.
    #[schemars(with = "String")]
    pub name: Spanned<Text>,
    /// What it stands for, in order of preference within a kind.
    #[schemars(with = "Vec<Target>")]
    pub targets: Spanned<Vec<Target>>,
    /// Output limit to send where the caller sets none.
    pub max_tokens: Option<u64>,
    /// The cheaper model that stands in for it when a hard budget of the request is used to 95 %; critical
    /// requests keep this one.
    #[schemars(with = "Option<String>")]
    pub stand_in: Option<Spanned<Text>>,
    /// `continue`: as for an operation, whatever the operation. Default `off`.
    pub resume: Option<Resume>,
}

/// A path and the id to ask it for.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// Name of a path.
    #[schemars(with = "String")]
    pub path: Spanned<Text>,
    /// Model id, profile id or ARN as the upstream knows it.
    #[schemars(with = "String")]
    pub id: Spanned<Text>,
    /// Default true.
    pub enabled: Option<bool>,
}

/// What a model costs. Prices of tokens are written as `"3.30 USD/Mtok"`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// Model id as the upstream knows it; `*` stands for any text. The first row that names a model counts.
    #[schemars(with = "String")]
    pub model: Spanned<Text>,
    /// Only on this path. Default: on all.
    #[schemars(with = "Option<String>")]
    pub path: Option<Spanned<Text>>,
    /// The model costs nothing; then the row has no prices.
    pub free: Option<bool>,
    /// Uncached input. Required unless it is free.
    #[schemars(with = "Option<String>")]
    pub input: Option<Spanned<Text>>,
    /// Output. Required unless it is free.
    #[schemars(with = "Option<String>")]
    pub output: Option<Spanned<Text>>,
    /// Cached input read. Default: as input.
    #[schemars(with = "Option<String>")]
    pub cache_read: Option<Spanned<Text>>,
    /// Input written to the cache for five minutes. Default: 1.25 times the input.
    #[schemars(with = "Option<String>")]
    pub cache_write: Option<Spanned<Text>>,
    /// Input written to the cache for an hour. Default: twice the input, or as `cache_write` if that is more.
    #[schemars(with = "Option<String>")]
    pub cache_write_1h: Option<Spanned<Text>>,
    /// Output that is reasoning. Default: as output.
    #[schemars(with = "Option<String>")]
    pub reasoning: Option<Spanned<Text>>,
    /// For each request, or each call of the tool: `"0.01 USD"`. Default: nothing.
    #[schemars(with = "Option<String>")]
    pub request: Option<Spanned<Text>>,
    /// Other prices for longer prompts.
    #[schemars(with = "Option<Above>")]
    pub above: Option<Spanned<Above>>,
    /// Prices of the priority tier; without them it has no price and is refused.
    #[schemars(with = "Option<TierPrices>")]
    pub priority: Option<Spanned<TierPrices>>,
    /// Prices of the flex tier. Default: as the standard tier.
    #[schemars(with = "Option<TierPrices>")]
    pub flex: Option<Spanned<TierPrices>>,
    /// First day on which the row holds (UTC): `"2026-01-31"`. Before it a later row or the catalogue does.
    #[schemars(with = "Option<String>")]
    pub valid_from: Option<Spanned<Text>>,
    /// Last day on which it holds (UTC). After it the model has no price, unless a later row names it.
    #[schemars(with = "Option<String>")]
    pub valid_until: Option<Spanned<Text>>,
}

/// Other prices for longer prompts.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Above {
    /// They hold for the whole request above so many input tokens, cached ones included.
    pub tokens: u64,
    /// Uncached input.
    #[schemars(with = "String")]
    pub input: Spanned<Text>,
    /// Output.
    #[schemars(with = "String")]
    pub output: Spanned<Text>,
    /// Cached input read. Default: as input.
    #[schemars(with = "Option<String>")]
    pub cache_read: Option<Spanned<Text>>,
    /// Input written to the cache for five minutes. Default: 1.25 times the input.
    #[schemars(with = "Option<String>")]
    pub cache_write: Option<Spanned<Text>>,
    /// Input written to the cache for an hour. Default: twice the input, or as `cache_write` if that is more.
    #[schemars(with = "Option<String>")]
    pub cache_write_1h: Option<Spanned<Text>>,
    /// Output that is reasoning. Default: as output.
    #[schemars(with = "Option<String>")]
    pub reasoning: Option<Spanned<Text>>,
}

/// Prices of a service tier.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TierPrices {
    /// Uncached input.
    #[schemars(with = "String")]
    pub input: Spanned<Text>,
    /// Output.
    #[schemars(with = "String")]
    pub output: Spanned<Text>,
    /// Cached input read. Default: as input.
    #[schemars(with = "Option<String>")]
    pub cache_read: Option<Spanned<Text>>,
    /// Input written to the cache for five minutes. Default: 1.25 times the input.
    #[schemars(with = "Option<String>")]
    pub cache_write: Option<Spanned<Text>>,
    /// Input written to the cache for an hour. Default: twice the input, or as `cache_write` if that is more.
    #[schemars(with = "Option<String>")]
    pub cache_write_1h: Option<Spanned<Text>>,
    /// Output that is reasoning. Default: as output.
    #[schemars(with = "Option<String>")]
    pub reasoning: Option<Spanned<Text>>,
}

/// A row over the operation table; what it leaves out keeps the shipped value (`standard` for a new
/// name).
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Operation {
    /// Name.
    #[schemars(with = "String")]
    pub name: Spanned<Text>,
    /// `emergency`, `critical`, `high`, `medium` or `low`.
    #[schemars(with = "Option<String>")]
    pub priority: Option<outcrop_core::Priority>,
    /// From accept to the whole answer, or to the first content of a stream: `"10s"`.
    #[schemars(with = "Option<String>")]
    pub deadline: Option<Spanned<Text>>,
    /// `direct`, kinds and path names, in order of preference.
    #[schemars(with = "Option<Vec<String>>")]
    pub order: Option<Spanned<Vec<Text>>>,
    /// What decides among targets that are equally preferred: `latency_first`, `success_first`,
    /// `cost_efficient`, `balanced` (default) or `adaptive`; see docs/routing.md.
    #[schemars(with = "Option<String>")]
    pub strategy: Option<outcrop_core::operation::Strategy>,
    /// `continue`: another attempt goes on where a stream of text breaks, once; see docs/routing.md. Default
    /// `off`: the caller is told.
    pub resume: Option<Resume>,
}

/// What becomes of a stream that breaks after its caller has some of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Resume {
    /// It ends with an error.
    Off,
    /// Another attempt goes on.
    Continue,
}

/// How many requests or tokens may pass in a time.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// Of whom it speaks: `all`, or `org:`, `team:`, `key:`, `user:`, `run:`, `model:`, `operation:` and
    /// `tool:` with a name, or with `*` for each name on its own; several joined with `+`.
    #[schemars(with = "String")]
    pub scope: Spanned<Text>,
    /// `"600 requests/min"` or `"200 ktok/min"`: `requests`, `tok`, `ktok` or `Mtok` per `s`, `min`, `h`
    /// or `day`.
    #[schemars(with = "String")]
    pub limit: Spanned<Text>,
    /// Most that pass at once, in requests or tokens. Default: the number in `limit`.
    #[schemars(with = "Option<u64>")]
    pub burst: Option<Spanned<u64>>,
}

/// A key.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// Name, shown in records.
    #[schemars(with = "String")]
    pub name: Spanned<Text>,
    /// As printed by `outcrop key row`.
    #[schemars(with = "String")]
    pub hash: Spanned<Text>,
    /// Team: budgets, limits and stops can speak of it.
    #[schemars(with = "Option<String>")]
    pub team: Option<Text>,
    /// Organisation, likewise.
    #[schemars(with = "Option<String>")]
    pub org: Option<Text>,
    /// `client` (default) calls models; `viewer`, `operator` and `admin` use the operator's API instead.
    #[schemars(with = "Option<String>")]
    pub role: Option<outcrop_core::Role>,
    /// Aliases it may use. Default: all.
    #[schemars(with = "Option<Vec<String>>")]
    pub models: Option<Spanned<Vec<Text>>>,
    /// `eu`: its requests stay inside the EU.
    #[schemars(with = "Option<String>")]
    pub residency: Option<outcrop_policy::Residency>,
    /// Whether it may name raw Bedrock ids. Default false.
    pub raw_models: Option<bool>,
    /// Operations it may ask for. Default: all.
    #[schemars(with = "Option<Vec<String>>")]
    pub operations: Option<Vec<Text>>,
    /// When it ends: `2027-01-31` or `2027-01-31T12:00:00Z`. Default: never.
    #[schemars(with = "Option<String>")]
    pub expires: Option<Spanned<Text>>,
    /// Status of a refusal for lack of budget: 402 (default), or 429 for clients that know no better.
    #[schemars(with = "Option<u16>")]
    pub budget_status: Option<Spanned<u16>>,
}
