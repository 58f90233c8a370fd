//! `[[path]]` as people write it.

use std::collections::BTreeMap;

use outcrop_core::Priority;
use outcrop_core::money::Tier;
use schemars::JsonSchema;
use serde::Deserialize;
use toml::Spanned;

use crate::config::text::{Secret, Text};

/// One way out.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Path {
    /// Name: lower-case letters, digits, `-` and `_`.
    #[schemars(with = "String")]
    pub name: Spanned<Text>,
    /// What is at the other end.
    #[schemars(with = "Kind")]
    pub kind: Spanned<Kind>,
    /// Region it runs in. Required for `bedrock`; others declare it for residency.
    #[schemars(with = "Option<String>")]
    pub region: Option<Spanned<Text>>,
    /// `bedrock`: another base URL than the region's own (VPC endpoint, simulator).
    #[schemars(with = "Option<String>")]
    pub endpoint: Option<Spanned<Text>>,
    /// `bedrock`: where credentials come from. Default: the AWS default chain.
    #[schemars(with = "Option<Credentials>")]
    pub credentials: Option<Spanned<Credentials>>,
    /// `openai`, `anthropic`, `mcp` over HTTP: base URL, or the MCP endpoint.
    #[schemars(with = "Option<String>")]
    pub url: Option<Spanned<Text>>,
    /// Environment variable that holds the key (bearer token for `mcp`).
    #[schemars(with = "Option<String>")]
    pub key_env: Option<Spanned<Text>>,
    /// The key itself, as `"${NAME}"` or `"file:/path"`.
    #[schemars(with = "Option<String>")]
    pub key: Option<Spanned<Secret>>,
    /// `mcp` over stdio: absolute path of the server and its arguments.
    #[schemars(with = "Option<Vec<String>>")]
    pub command: Option<Spanned<Vec<Text>>>,
    /// `mcp` over stdio: environment of the server; it gets nothing else.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, String>")]
    pub env: BTreeMap<String, Secret>,
    /// `mcp`: the tool that answers chats. Default `converse`.
    #[schemars(with = "Option<String>")]
    pub tool: Option<Spanned<Text>>,
    /// `mcp`: what a second run of the tool would do. Default `unsafe`.
    #[schemars(with = "Option<String>")]
    pub effect: Option<outcrop_core::path::Effect>,
    /// `mcp`: what a second run of each of the server's other tools would do, by the tool's name. Default
    /// `unsafe`.
    #[schemars(with = "Option<BTreeMap<String, String>>")]
    pub effects: Option<Spanned<BTreeMap<String, outcrop_core::path::Effect>>>,
    /// `mcp`: what progress notifications mean: `life_sign` (default) or `text`.
    pub progress: Option<Progress>,
    /// `mcp`: longest time of one call. Default `120s`.
    #[schemars(with = "Option<String>")]
    pub call_timeout_max: Option<Spanned<Text>>,
    /// `mcp`: template of the tool's arguments, see docs/mcp.md.
    #[schemars(with = "Option<serde_json::Map<String, serde_json::Value>>")]
    pub arguments: Option<Spanned<toml::Table>>,
    /// `mcp`: JSON pointers into the tool's result, see docs/mcp.md.
    #[schemars(with = "Option<BTreeMap<String, String>>")]
    pub result: Option<Spanned<toml::Table>>,
    /// `bedrock`: regions that cross-region profiles may run in, pinned by you for residency.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub destinations: Vec<Text>,
    /// Whether the connected address may be private, link-local or loopback. Default: only where the
    /// URL itself names a loopback address.
    pub allow_private: Option<bool>,
    /// PEM file with the authorities to trust, instead of the system's.
    #[schemars(with = "Option<String>")]
    pub ca_file: Option<Spanned<Text>>,
    /// Longest wait for a connection. Default `1s`.
    #[schemars(with = "Option<String>")]
    pub connect_timeout: Option<Spanned<Text>>,
    /// Speak HTTP/2 to this upstream. Default false.
    pub http2: Option<bool>,
    /// What the upstream bills when a caller leaves: `stops_and_bills_seen`, `continues_and_bills_full`
    /// (the default for `bedrock`) or `unknown` (the default elsewhere); see docs/budgets.md.
    #[schemars(with = "Option<String>")]
    pub abort_billing: Option<outcrop_core::path::AbortBilling>,
    /// Tokens that the upstream lets pass in a minute for each model: `"200 ktok/min"`. What is left of it
    /// is known before it is used up. Default: not known.
    #[schemars(with = "Option<String>")]
    pub quota: Option<Spanned<Text>>,
    /// Tokens of the quota that one output token takes. Default: 5 on `bedrock`, as
    /// Claude does from 3.7 on, else 1.
    pub output_burndown: Option<u32>,
    /// `bedrock`, `openai`: service tier to ask for, by priority: `{ emergency = "priority", low = "flex" }`.
    /// A request whose body names a tier keeps its own. Default: none is asked for.
    #[schemars(with = "Option<BTreeMap<String, String>>")]
    pub service_tier: Option<Spanned<BTreeMap<Priority, ServiceTier>>>,
    /// Default true.
    pub enabled: Option<bool>,
}

/// What is at the other end of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Amazon Bedrock runtime.
    Bedrock,
    /// A tool of an MCP server.
    Mcp,
    /// An OpenAI-compatible endpoint.
    OpenAi,
    /// The Anthropic API.
    Anthropic,
}

/// A service tier, as Bedrock and OpenAI call it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ServiceTier {
    /// What one gets without asking.
    Default,
    /// Dearer and sooner.
    Priority,
    /// Cheaper and later.
    Flex,
}

impl From<ServiceTier> for Tier {
    fn from(tier: ServiceTier) -> Self {
        match tier {
            ServiceTier::Default => Self::Standard,
            ServiceTier::Priority => Self::Priority,
            ServiceTier::Flex => Self::Flex,
        }
    }
}

/// What progress notifications of an MCP server mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Progress {
    /// The call is alive.
    LifeSign,
    /// Their messages are pieces of the answer's text.
    Text,
}

/// Where AWS credentials come from: exactly one of these.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Credentials {
    /// A profile of the AWS configuration files.
    #[schemars(with = "Option<String>")]
    pub profile: Option<Text>,
    /// ARN of a role, assumed with the default chain.
    #[schemars(with = "Option<String>")]
    pub assume_role: Option<Text>,
    /// Environment variable with a Bedrock API key.
    #[schemars(with = "Option<String>")]
    pub bearer_env: Option<Text>,
    /// Environment variables with access key id, secret and, as a third, session token.
    #[schemars(with = "Option<Vec<String>>")]
    pub keys_env: Option<Vec<Text>>,
}
