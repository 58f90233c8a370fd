//! What the operator configured: one `PathSpec` per way out.
//!
//! Plain data made by the binary's configuration; nothing here resolves, connects or reads files.
//! Two equal specs mean that a path, its pool and its credentials survive a reload.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use outcrop_core::PathKind;
use outcrop_core::path::Effect;
use secrecy::{ExposeSecret, SecretString};
use url::Url;

/// One configured way out.
#[derive(Debug, Clone)]
pub struct PathSpec {
    /// Name, unique among all paths.
    pub name: Arc<str>,
    /// Region that the path is declared to run in.
    pub region: Option<Arc<str>>,
    /// How connections are made.
    pub connect: Connect,
    /// What is at the other end.
    pub kind: KindSpec,
}

/// What is at the other end of a path.
#[derive(Debug, Clone)]
pub enum KindSpec {
    /// Amazon Bedrock runtime.
    Bedrock(BedrockSpec),
    /// A tool of an MCP server.
    Mcp(McpSpec),
    /// An OpenAI-compatible endpoint.
    OpenAi(HttpSpec),
    /// The Anthropic API.
    Anthropic(HttpSpec),
}

/// Amazon Bedrock runtime.
#[derive(Debug, Clone)]
pub struct BedrockSpec {
    /// Region that requests are signed for.
    pub region: String,
    /// Another base URL than the region's own; its path is kept.
    pub endpoint: Option<Url>,
    /// Where credentials come from.
    pub credentials: CredentialSpec,
}

/// Where AWS credentials come from.
#[derive(Debug, Clone)]
pub enum CredentialSpec {
    /// Environment, profile, SSO, web identity, ECS or EKS, instance metadata: what the AWS SDK
    /// would find.
    DefaultChain,
    /// A profile of the AWS configuration files.
    Profile(String),
    /// A role, by ARN, assumed with the default chain.
    AssumeRole(String),
    /// A Bedrock API key, sent as a bearer token.
    BearerToken(SecretString),
    /// A fixed key pair.
    StaticKeys {
        /// Access key id.
        id: String,
        /// Secret access key.
        secret: SecretString,
        /// Session token of temporary credentials.
        session: Option<SecretString>,
    },
}

/// An endpoint that takes JSON over HTTP with one key.
#[derive(Debug, Clone)]
pub struct HttpSpec {
    /// Base URL; its path is kept.
    pub base: Url,
    /// The key, if the endpoint wants one.
    pub key: Option<SecretString>,
}

/// A tool of an MCP server that answers chats.
#[derive(Debug, Clone)]
pub struct McpSpec {
    /// How the server is reached.
    pub transport: McpTransport,
    /// Name of the tool.
    pub tool: String,
    /// What a second run of it would do.
    pub effect: Effect,
    /// What a second run of the server's other tools would do, where the operator says.
    pub effects: BTreeMap<String, Effect>,
    /// The operator's mapping of arguments and result; `None` is the gateway's own.
    pub template: Option<outcrop_wire::mcp::Template>,
    /// Longest time of one call, progress or not (default 120 s).
    pub call_timeout_max: Duration,
    /// What the server's progress notifications mean.
    pub progress: Progress,
}

/// What the progress notifications of an MCP server mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Progress {
    /// The call is alive; the answer is the final result alone.
    #[default]
    LifeSign,
    /// Their messages are the pieces of the answer's text, in order and without gaps.
    Text,
}

/// How an MCP server is reached.
#[derive(Clone)]
pub enum McpTransport {
    /// Streamable HTTP.
    Http {
        /// The MCP endpoint.
        url: Url,
        /// Bearer token of the operator.
        bearer: Option<SecretString>,
    },
    /// A child process on standard input and output.
    Stdio {
        /// Program (absolute path) and arguments.
        command: Vec<String>,
        /// The whole environment of the child.
        env: Vec<(String, String)>,
    },
}

/// How connections of a path are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connect {
    /// Longest time for name lookup, TCP and TLS together.
    pub timeout: Duration,
    /// Whether addresses that are not public (loopback, private, link-local) may be connected to.
    pub allow_private: bool,
    /// How long an idle connection is kept.
    pub idle_max: Duration,
    /// HTTP/2 instead of HTTP/1.1: negotiated by ALPN on `https`, assumed on `http`.
    pub http2: bool,
    /// PEM file of the certificate authorities to trust instead of the platform's.
    pub ca_file: Option<PathBuf>,
}

impl Default for Connect {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(1),
            allow_private: false,
            idle_max: Duration::from_mins(1),
            http2: false,
            ca_file: None,
        }
    }
}

impl PathSpec {
    /// The kind of the path.
    pub fn kind(&self) -> PathKind {
        match self.kind {
            KindSpec::Bedrock(_) => PathKind::Bedrock,
            KindSpec::Mcp(_) => PathKind::Mcp,
            KindSpec::OpenAi(_) => PathKind::OpenAi,
            KindSpec::Anthropic(_) => PathKind::Anthropic,
        }
    }

    /// Whether a path built from `self` can serve `other` as it is.
    pub(crate) fn same_as(&self, other: &Self) -> bool {
        self.name == other.name
            && self.region == other.region
            && self.connect == other.connect
            && self.kind.same_as(&other.kind)
    }
}

impl KindSpec {
    fn same_as(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Bedrock(a), Self::Bedrock(b)) => {
                a.region == b.region && a.endpoint == b.endpoint && a.credentials.same_as(&b.credentials)
            }
            (Self::Mcp(a), Self::Mcp(b)) => a.same_as(b),
            (Self::OpenAi(a), Self::OpenAi(b)) | (Self::Anthropic(a), Self::Anthropic(b)) => {
                a.base == b.base && same_secret(a.key.as_ref(), b.key.as_ref())
            }
            (Self::Bedrock(_) | Self::Mcp(_) | Self::OpenAi(_) | Self::Anthropic(_), _) => false,
        }
    }
}

impl CredentialSpec {
    fn same_as(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::DefaultChain, Self::DefaultChain) => true,
            (Self::Profile(a), Self::Profile(b)) | (Self::AssumeRole(a), Self::AssumeRole(b)) => a == b,
            (Self::BearerToken(a), Self::BearerToken(b)) => same_secret(Some(a), Some(b)),
            (
                Self::StaticKeys { id, secret, session },
                Self::StaticKeys { id: id_b, secret: secret_b, session: session_b },
            ) => {
                id == id_b
                    && same_secret(Some(secret), Some(secret_b))
                    && same_secret(session.as_ref(), session_b.as_ref())
            }
            _ => false,
        }
    }
}

impl McpSpec {
    fn same_as(&self, other: &Self) -> bool {
        self.tool == other.tool
            && self.effect == other.effect
            && self.effects == other.effects
            && self.template == other.template
            && self.call_timeout_max == other.call_timeout_max
            && self.progress == other.progress
            && self.transport.same_as(&other.transport)
    }
}

impl McpTransport {
    fn same_as(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Http { url, bearer }, Self::Http { url: url_b, bearer: bearer_b }) => {
                url == url_b && same_secret(bearer.as_ref(), bearer_b.as_ref())
            }
            (Self::Stdio { command, env }, Self::Stdio { command: command_b, env: env_b }) => {
                command == command_b && env == env_b
            }
            (Self::Http { .. } | Self::Stdio { .. }, _) => false,
        }
    }
}

/// Values of the environment may be secrets, so only their names are shown.
impl fmt::Debug for McpTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http { url, .. } => {
                f.debug_struct("Http").field("url", &url.as_str()).finish_non_exhaustive()
            }
            Self::Stdio { command, env } => {
                let names: Vec<&str> = env.iter().map(|(name, _)| name.as_str()).collect();
                f.debug_struct("Stdio").field("command", command).field("env", &names).finish()
            }
        }
    }
}

/// Both secrets come from the operator's own file, so the comparison need not take constant time.
fn same_secret(a: Option<&SecretString>, b: Option<&SecretString>) -> bool {
    a.map(ExposeSecret::expose_secret) == b.map(ExposeSecret::expose_secret)
}
