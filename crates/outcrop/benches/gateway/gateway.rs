//! The two proxies as processes: the bare one, and the gateway with a configuration generated for the benchmark.
//!
//! The gateway runs as a user would run it (`outcrop serve --config …`, default log level, log to a file); only its
//! addresses, its one upstream and `auth = open` are particular. Its ports are chosen by binding and releasing them.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use tempfile::TempDir;

use crate::asks::{BEDROCK_ALIAS, OPENAI_ALIAS};
use crate::load::{self, LoadError};
use crate::metering::Memory;
use crate::role::{Role, StartError};

const BEDROCK_MODEL: &str = "eu.amazon.nova-lite-v1:0";
const OPENAI_MODEL: &str = "gpt-4o-mini";
const READY_POLLS: usize = 400;
const READY_POLL: Duration = Duration::from_millis(50);
/// How long a process settles before its idle memory is read.
const SETTLE: Duration = Duration::from_secs(1);

/// Why a proxy is not there.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProxyError {
    /// A process did not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// Files, ports or `/proc`.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// The gateway ended or never became healthy.
    #[error("gateway is not healthy; end of its log:\n{log}")]
    NotHealthy {
        /// Last lines it wrote.
        log: String,
    },
}

/// How to start the gateway.
#[derive(Clone, Debug)]
pub(crate) struct GatewaySetup {
    /// The binary.
    pub(crate) binary: PathBuf,
    /// Further environment.
    pub(crate) env: Vec<(String, String)>,
    /// Appended to the configuration.
    pub(crate) config_extra: String,
    /// Where its output goes; by default beside its configuration, gone when it ends.
    pub(crate) log: Option<PathBuf>,
}

/// What is measured against the bare proxy.
#[derive(Clone, Debug)]
pub(crate) enum Subject {
    /// The gateway.
    Gateway(GatewaySetup),
    /// A second bare proxy, to check the harness.
    Bare,
}

/// A running proxy; dropping it ends it.
pub(crate) struct Proxy {
    /// Where clients connect.
    pub(crate) address: SocketAddr,
    /// The process whose CPU time and memory count.
    pub(crate) pid: u32,
    /// Memory before the first request.
    pub(crate) idle: Memory,
    admin: Option<SocketAddr>,
    // Fields drop in order: the process ends before its directory goes.
    _role: Role,
    _directory: Option<TempDir>,
}

impl Proxy {
    /// Starts a bare proxy in front of `origin`.
    pub(crate) async fn bare(origin: SocketAddr) -> Result<Self, ProxyError> {
        let role = Role::start(&["bare".to_owned(), "--upstream".to_owned(), origin.to_string()], &[])?;
        let (address, pid) = (role.address()?, role.pid());
        Self { address, pid, idle: Memory::default(), admin: None, _role: role, _directory: None }
            .settled()
            .await
    }

    /// Starts the measured proxy in front of `origin`.
    pub(crate) async fn subject(subject: &Subject, origin: SocketAddr) -> Result<Self, ProxyError> {
        match subject {
            Subject::Bare => Self::bare(origin).await,
            Subject::Gateway(setup) => Self::gateway(setup, origin).await,
        }
    }

    async fn gateway(setup: &GatewaySetup, origin: SocketAddr) -> Result<Self, ProxyError> {
        let directory = TempDir::new()?;
        let config = directory.path().join("outcrop.toml");
        let log = setup.log.clone().unwrap_or_else(|| directory.path().join("gateway.log"));
        let [data, admin] = free_addresses()?;
        std::fs::write(&config, configuration(data, admin, origin) + &setup.config_extra)?;
        let args = [
            "guard".to_owned(),
            "--directory".to_owned(),
            directory.path().display().to_string(),
            "--log".to_owned(),
            log.display().to_string(),
            "--".to_owned(),
            setup.binary.display().to_string(),
            "serve".to_owned(),
            "--config".to_owned(),
            config.display().to_string(),
        ];
        let mut role = Role::start(&args, &environment(&setup.env))?;
        let pid = role.guarded_pid()?;
        for _ in 0..READY_POLLS {
            tokio::time::sleep(READY_POLL).await;
            if !role.alive() {
                break;
            }
            if matches!(get(admin, "/healthz").await, Ok((StatusCode::OK, _))) {
                let (address, idle) = (data, Memory::default());
                let proxy =
                    Self { address, pid, idle, admin: Some(admin), _role: role, _directory: Some(directory) };
                return proxy.settled().await;
            }
        }
        Err(ProxyError::NotHealthy { log: tail(&std::fs::read_to_string(&log).unwrap_or_default()) })
    }

    async fn settled(mut self) -> Result<Self, ProxyError> {
        tokio::time::sleep(SETTLE).await;
        self.idle = Memory::read(self.pid)?;
        Ok(self)
    }

    /// The metrics page, if this proxy has one.
    pub(crate) async fn metrics(&self) -> Option<String> {
        let (status, body) = get(self.admin?, "/metrics").await.ok()?;
        (status == StatusCode::OK).then(|| String::from_utf8_lossy(&body).into_owned())
    }
}

fn environment(further: &[(String, String)]) -> Vec<(String, String)> {
    let mut env: Vec<(String, String)> = [
        ("OUTCROP_BENCH_AWS_ID", "AKIAOUTCROPBENCH0001"),
        ("OUTCROP_BENCH_AWS_SECRET", "outcrop-bench-secret-000000000000000000001"),
        ("OUTCROP_BENCH_OPENAI_KEY", "outcrop-bench-openai-key"),
        ("AWS_EC2_METADATA_DISABLED", "true"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec();
    env.extend_from_slice(further);
    env
}

/// The configuration in the form of the public contract.
pub(crate) fn configuration(data: SocketAddr, admin: SocketAddr, origin: SocketAddr) -> String {
    format!(
        r#"[listen]
data = "{data}"
admin = "{admin}"

[auth]
mode = "open"

[[path]]
name = "bedrock"
kind = "bedrock"
region = "eu-central-1"
endpoint = "http://{origin}"
credentials = {{ keys_env = ["OUTCROP_BENCH_AWS_ID", "OUTCROP_BENCH_AWS_SECRET"] }}

[[path]]
name = "openai"
kind = "openai"
url = "http://{origin}/v1"
key_env = "OUTCROP_BENCH_OPENAI_KEY"

[[model]]
name = "{BEDROCK_ALIAS}"
targets = [{{ path = "bedrock", id = "{BEDROCK_MODEL}" }}]

[[model]]
name = "{OPENAI_ALIAS}"
targets = [{{ path = "openai", id = "{OPENAI_MODEL}" }}]

[[price]]
model = "{BEDROCK_MODEL}"
input = "0.06 USD/Mtok"
output = "0.24 USD/Mtok"

[[price]]
model = "{OPENAI_MODEL}"
input = "0.15 USD/Mtok"
output = "0.60 USD/Mtok"
"#
    )
}

/// Two free ports: bound together, so that they differ, then released.
fn free_addresses() -> std::io::Result<[SocketAddr; 2]> {
    let bind = || TcpListener::bind(("127.0.0.1", 0));
    let (one, two) = (bind()?, bind()?);
    Ok([one.local_addr()?, two.local_addr()?])
}

async fn get(address: SocketAddr, path: &'static str) -> Result<(StatusCode, Bytes), LoadError> {
    let mut connection = load::connect(address).await?;
    let mut request = Request::new(Full::new(Bytes::new()));
    *request.uri_mut() = http::Uri::from_static(path);
    request.headers_mut().insert(http::header::HOST, http::HeaderValue::from_static("localhost"));
    let response = connection.send_request(request).await?;
    let status = response.status();
    Ok((status, response.into_body().collect().await?.to_bytes()))
}

fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}
