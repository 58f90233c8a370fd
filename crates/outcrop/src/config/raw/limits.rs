//! Limits on requests, streams, connections and memory, as they are written.

use schemars::JsonSchema;
use serde::Deserialize;
use toml::Spanned;

use crate::config::text::Text;

/// Limits on requests, streams and connections.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Largest request body in bytes, after decompression. Default 10485760; Bedrock takes 25000000.
    #[schemars(with = "Option<u64>")]
    pub body_bytes_max: Option<Spanned<u64>>,
    /// Output tokens that a request without a limit of its own may have, where a hard budget counts it and
    /// the model's row says nothing. Default 4096.
    pub output_tokens_default: Option<u64>,
    /// Most requests served at once, streams included; see docs/overload.md for who is served first.
    /// Default 20000.
    #[schemars(with = "Option<u64>")]
    pub inflight_max: Option<Spanned<u64>>,
    /// Requests that are served at once however busy the process is; as much as `inflight_max` for a limit
    /// that stays. Default 1000, or `inflight_max` where that is less.
    #[schemars(with = "Option<u64>")]
    pub inflight_min: Option<Spanned<u64>>,
    /// Shares of the requests served at once, in percent.
    #[schemars(with = "Option<Shares>")]
    pub shares: Option<Spanned<Shares>>,
    /// Most requests that wait for a place among those; 0 for none. Default 1000.
    pub queue_max: Option<u64>,
    /// Most memory of those that wait, in bytes. Default 33554432.
    pub queue_bytes_max: Option<u64>,
    /// Longest wait for a place, of `critical` and `emergency` ten times that; a tenth of the time to the
    /// deadline where that is shorter. Default `100ms`.
    #[schemars(with = "Option<String>")]
    pub queue_wait_max: Option<Spanned<Text>>,
    /// Most memory of the process in bytes; a smaller limit of its control group wins. Default: the control
    /// group's (cgroup v2), else the machine's.
    #[schemars(with = "Option<u64>")]
    pub memory_max: Option<Spanned<u64>>,
    /// At what percent of that optional work ends, `low` and `medium` are shed, everything but `critical` and
    /// `emergency` is shed. Default `[85, 92, 95]`.
    #[schemars(with = "Option<[u8; 3]>")]
    pub memory_marks: Option<Spanned<[u8; 3]>>,
    /// Most client connections at once. Default 20000.
    #[schemars(with = "Option<u64>")]
    pub connections_max: Option<Spanned<u64>>,
    /// Longest silence inside a stream. Default `10s`.
    #[schemars(with = "Option<String>")]
    pub stream_stall_max: Option<Spanned<Text>>,
    /// Fewest bytes that an upstream must send in each 30 s that it is waited for, once an answer has
    /// begun; a caller that reads slowly does not count. 0 for no limit. Default 64.
    pub stream_bytes_min: Option<u64>,
    /// Longest life of a stream. Default `10m`.
    #[schemars(with = "Option<String>")]
    pub stream_total_max: Option<Spanned<Text>>,
    /// Longest wait for a caller that takes nothing of its answer. Default `60s`.
    #[schemars(with = "Option<String>")]
    pub reader_stall_max: Option<Spanned<Text>>,
    /// Longest wait for running requests after SIGTERM. Default `60s`.
    #[schemars(with = "Option<String>")]
    pub drain_max: Option<Spanned<Text>>,
}

/// What each class is sure of, in percent of the requests served at once; together 100. A class may have
/// more while those above it leave theirs unused.
#[derive(Debug, Default, Clone, Copy, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Shares {
    /// Priority `emergency`. Default 10.
    pub emergency: Option<u8>,
    /// Priority `critical`. Default 30.
    pub critical: Option<u8>,
    /// Priorities `high` and `medium`. Default 50.
    pub standard: Option<u8>,
    /// Priority `low`; at least 1. Default 10.
    pub low: Option<u8>,
}
