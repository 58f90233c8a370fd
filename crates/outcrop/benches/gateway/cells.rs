//! The cells of the benchmark: which protocols, which body size, how many connections.
//!
//! Pure names and lists; how a cell is measured is in `requests` and `streams`.

use clap::ValueEnum;
use serde::Serialize;

/// Bytes of a small request body.
pub(crate) const SMALL_BODY_BYTES: usize = 300;
/// Bytes of a large request body.
pub(crate) const LARGE_BODY_BYTES: usize = 16 * 1024;
/// Keep-alive connections of the closed loops.
const CONNECTIONS: [usize; 3] = [1, 64, 256];

/// Client protocol and upstream protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Pair {
    /// Converse in, Converse out.
    BedrockBedrock,
    /// OpenAI chat in, OpenAI chat out.
    #[value(name = "openai-openai")]
    #[serde(rename = "openai-openai")]
    OpenAiOpenAi,
    /// OpenAI chat in, Converse out; the bare proxy passes an OpenAI exchange of the same size.
    #[value(name = "openai-bedrock")]
    #[serde(rename = "openai-bedrock")]
    OpenAiBedrock,
}

impl Pair {
    const ALL: [Self; 3] = [Self::BedrockBedrock, Self::OpenAiOpenAi, Self::OpenAiBedrock];

    /// The name used in cell names.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::BedrockBedrock => "bedrock-bedrock",
            Self::OpenAiOpenAi => "openai-openai",
            Self::OpenAiBedrock => "openai-bedrock",
        }
    }

    /// Whether the gateway translates between two protocols.
    pub(crate) fn translated(self) -> bool {
        matches!(self, Self::OpenAiBedrock)
    }
}

/// Which of the two proxies of a pair of measurements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Lane {
    /// The bare reverse proxy.
    Bare,
    /// The gateway, or the second bare proxy of a self-check.
    Subject,
}

/// A closed loop of whole requests.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RequestCell {
    pub(crate) pair: Pair,
    pub(crate) body_bytes: usize,
    pub(crate) connections: usize,
}

impl RequestCell {
    /// For example `openai-bedrock/16KB/c64`.
    pub(crate) fn name(&self) -> String {
        let size = if self.body_bytes == SMALL_BODY_BYTES { "300B" } else { "16KB" };
        format!("{}/{size}/c{}", self.pair.name(), self.connections)
    }
}

/// Concurrent paced streams.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StreamCell {
    pub(crate) pair: Pair,
}

impl StreamCell {
    /// For example `openai-bedrock/streams`.
    pub(crate) fn name(self) -> String {
        format!("{}/streams", self.pair.name())
    }
}

/// All request cells whose name contains one of `only`, or all of them.
pub(crate) fn request_cells(only: &[String]) -> Vec<RequestCell> {
    let mut cells = Vec::new();
    for pair in Pair::ALL {
        for body_bytes in [SMALL_BODY_BYTES, LARGE_BODY_BYTES] {
            for connections in CONNECTIONS {
                cells.push(RequestCell { pair, body_bytes, connections });
            }
        }
    }
    cells.retain(|cell| wanted(&cell.name(), only));
    cells
}

/// All stream cells whose name contains one of `only`, or all of them.
pub(crate) fn stream_cells(only: &[String]) -> Vec<StreamCell> {
    Pair::ALL.map(|pair| StreamCell { pair }).into_iter().filter(|cell| wanted(&cell.name(), only)).collect()
}

fn wanted(name: &str, only: &[String]) -> bool {
    only.is_empty() || only.iter().any(|part| name.contains(part.as_str()))
}
