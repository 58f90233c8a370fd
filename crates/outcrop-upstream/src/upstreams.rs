//! All paths of one snapshot.
//!
//! Built whole or not at all. A path whose spec did not change is carried over with its pool, its
//! credentials and its MCP session; one that is gone is closed by `close_replaced`.

use std::collections::HashMap;
use std::sync::Arc;

use tokio_util::task::TaskTracker;

use crate::anthropic::AnthropicPath;
use crate::bedrock::BedrockPath;
use crate::client::HttpClient;
use crate::connect::tls::TlsConfigs;
use crate::mcp::McpPath;
use crate::openai::OpenAiPath;
use crate::{KindSpec, McpTransport, Path, PathSpec};

/// All paths of one snapshot.
#[derive(Debug)]
pub struct Upstreams {
    paths: HashMap<Arc<str>, Arc<Entry>>,
}

/// Why the paths cannot be built. The text names the path and the field.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// Two paths have the same name.
    #[error("path `{path}` is defined twice")]
    Duplicate {
        /// Its name.
        path: Arc<str>,
    },
    /// A URL cannot be used as a base.
    #[error("path `{path}`: the URL `{url}` {problem}")]
    Url {
        /// The path.
        path: Arc<str>,
        /// The URL without user and query.
        url: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A credential or header value cannot be sent.
    #[error("path `{path}`: {field} contains bytes that cannot stand in a header")]
    Header {
        /// The path.
        path: Arc<str>,
        /// The field.
        field: &'static str,
    },
    /// Certificate authorities cannot be read.
    #[error("path `{path}`: certificate authorities: {problem}")]
    Authorities {
        /// The path.
        path: Arc<str>,
        /// What is wrong.
        problem: String,
    },
    /// The MCP server cannot be set up as configured.
    #[error("path `{path}`: {problem}")]
    Mcp {
        /// The path.
        path: Arc<str>,
        /// What is wrong.
        problem: String,
    },
}

#[derive(Debug)]
struct Entry {
    spec: PathSpec,
    path: Path,
}

impl Upstreams {
    /// Builds every path; those whose spec equals one in `previous` are carried over as they are.
    /// Background work (credential refresh, MCP sessions) runs in `tasks` and ends with `close`.
    pub fn build(
        specs: &[PathSpec],
        previous: Option<&Self>,
        tasks: &TaskTracker,
    ) -> Result<Self, BuildError> {
        let mut tls = TlsConfigs::default();
        let mut paths = HashMap::with_capacity(specs.len());
        for spec in specs {
            let kept =
                previous.and_then(|p| p.paths.get(&spec.name)).filter(|entry| entry.spec.same_as(spec));
            let entry = match kept {
                Some(entry) => Arc::clone(entry),
                None => Arc::new(Entry { spec: spec.clone(), path: build_path(spec, &mut tls, tasks)? }),
            };
            if paths.insert(Arc::clone(&spec.name), entry).is_some() {
                return Err(BuildError::Duplicate { path: Arc::clone(&spec.name) });
            }
        }
        Ok(Self { paths })
    }

    /// The path of that name.
    pub fn path(&self, name: &str) -> Option<&Path> {
        self.paths.get(name).map(|entry| &entry.path)
    }

    /// The names of all paths, sorted.
    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.paths.keys().map(|name| &**name).collect();
        names.sort_unstable();
        names
    }

    /// The spec of the path of that name.
    pub fn spec(&self, name: &str) -> Option<&PathSpec> {
        self.paths.get(name).map(|entry| &entry.spec)
    }

    /// Kills the child processes of the paths whose name and region are `meant`; the next call of such a
    /// path starts another.
    pub fn kill(&self, meant: impl Fn(&str, Option<&str>) -> bool) {
        for (name, entry) in &self.paths {
            if let Path::Mcp(path) = &entry.path
                && meant(name, entry.spec.region.as_deref())
            {
                path.kill();
            }
        }
    }

    /// Ends what these paths run in the background: credential refresh, MCP children and sessions.
    pub async fn close(&self) {
        for entry in self.paths.values() {
            entry.path.close().await;
        }
    }

    /// Like `close`, but only for paths that `successor` did not carry over.
    pub async fn close_replaced(&self, successor: &Self) {
        for (name, entry) in &self.paths {
            let kept = successor.paths.get(name).is_some_and(|other| Arc::ptr_eq(entry, other));
            if !kept {
                entry.path.close().await;
            }
        }
    }
}

fn build_path(spec: &PathSpec, tls: &mut TlsConfigs, tasks: &TaskTracker) -> Result<Path, BuildError> {
    match &spec.kind {
        KindSpec::Bedrock(bedrock) => {
            let url = bedrock.url(&spec.name)?;
            let client = HttpClient::build(&spec.name, &spec.connect, &url, tls)?;
            BedrockPath::build(spec, bedrock, &url, client, tasks).map(Path::Bedrock)
        }
        KindSpec::OpenAi(http) => {
            let client = HttpClient::build(&spec.name, &spec.connect, &http.base, tls)?;
            OpenAiPath::build(spec, http, client, tasks).map(Path::OpenAi)
        }
        KindSpec::Anthropic(http) => {
            let client = HttpClient::build(&spec.name, &spec.connect, &http.base, tls)?;
            AnthropicPath::build(spec, http, client, tasks).map(Path::Anthropic)
        }
        KindSpec::Mcp(mcp) => {
            let client = match &mcp.transport {
                McpTransport::Http { url, .. } => {
                    Some(HttpClient::build(&spec.name, &spec.connect, url, tls)?)
                }
                McpTransport::Stdio { .. } => None,
            };
            McpPath::build(spec, mcp, client, tasks).map(Path::Mcp)
        }
    }
}
