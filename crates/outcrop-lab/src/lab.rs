//! The whole lab: all targets on their ports, and the handle that scripts and questions them.

use std::{
    collections::BTreeMap,
    fmt, io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};

use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    anthropic::Anthropic,
    bedrock::Bedrock,
    billing::{Record, Totals},
    control,
    exchange::Service,
    listen::Port,
    mcp::Desk,
    openai::OpenAi,
    requests::Seen,
    script::{Script, ScriptError},
    target::Target,
};

/// Where the lab listens, and its seed. Port 0 takes any free port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabConfig {
    /// Address of all listeners.
    pub host: IpAddr,
    /// Port of the control API.
    pub control: u16,
    /// Port of the simulated Bedrock in eu-central-1.
    pub fra: u16,
    /// Port of the MCP server.
    pub desk: u16,
    /// Port of the simulated Bedrock in eu-west-1.
    pub dub: u16,
    /// Port of the simulated OpenAI.
    pub openai: u16,
    /// Port of the simulated Anthropic.
    pub anthropic: u16,
    /// Seed of all randomness.
    pub seed: u64,
}

/// A running lab; shut it down with [`Lab::shutdown`], or drop it to stop without waiting.
#[derive(Debug)]
pub struct Lab {
    shared: Arc<Shared>,
    control: SocketAddr,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// One listener, for people and for configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listening {
    /// Name of the target, or `control`.
    pub name: String,
    /// What it is.
    pub what: &'static str,
    /// Base address as a client configures it.
    pub url: String,
    /// The socket's address.
    pub address: SocketAddr,
}

/// The listeners as a table of plain text, one line each.
impl fmt::Display for Lab {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let listeners = self.listeners();
        let width = |text: fn(&Listening) -> &str| {
            listeners.iter().map(|listening| text(listening).len()).max().unwrap_or(0)
        };
        let (names, urls) = (width(|listening| &listening.name), width(|listening| &listening.url));
        for Listening { name, what, url, .. } in &listeners {
            writeln!(f, "{name:names$}  {url:urls$}  {what}")?;
        }
        Ok(())
    }
}

/// Why the lab does not start or does not obey.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// A port cannot be had.
    #[error("cannot listen on {address} for `{name}`: {source}")]
    Listen {
        /// The target.
        name: String,
        /// The address.
        address: SocketAddr,
        /// The cause.
        source: io::Error,
    },
    /// No such target.
    #[error("no target is named `{0}`")]
    UnknownTarget(String),
    /// The script cannot be carried out.
    #[error(transparent)]
    Script(#[from] ScriptError),
}

/// What the control API shares with the handle.
#[derive(Debug)]
pub(crate) struct Shared {
    targets: BTreeMap<String, Running>,
}

/// A target on its port.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) target: Arc<Target>,
    port: Port,
}

impl Default for LabConfig {
    fn default() -> Self {
        Self {
            host: IpAddr::V4(Ipv4Addr::LOCALHOST),
            control: 9100,
            fra: 9101,
            desk: 9102,
            dub: 9103,
            openai: 9104,
            anthropic: 9105,
            seed: 1,
        }
    }
}

impl LabConfig {
    /// All listeners on free ports.
    pub fn ephemeral() -> Self {
        Self { control: 0, fra: 0, desk: 0, dub: 0, openai: 0, anthropic: 0, ..Self::default() }
    }
}

impl Lab {
    /// Starts all targets and the control API.
    pub async fn start(config: LabConfig) -> Result<Self, LabError> {
        let tasks = TaskTracker::new();
        let stop = CancellationToken::new();
        let services: [(&str, &'static str, u16, Box<dyn Service>); 5] = [
            ("fra", "simulated Bedrock, eu-central-1", config.fra, Box::new(Bedrock::new("eu-central-1"))),
            ("desk", "MCP server, streamable HTTP", config.desk, Box::new(Desk::at(config.host))),
            ("dub", "simulated Bedrock, eu-west-1", config.dub, Box::new(Bedrock::new("eu-west-1"))),
            ("openai", "simulated OpenAI", config.openai, Box::new(OpenAi)),
            ("anthropic", "simulated Anthropic", config.anthropic, Box::new(Anthropic::default())),
        ];
        let mut targets = BTreeMap::new();
        for (name, what, port, service) in services {
            let target = Target::new(name, what, config.seed, service);
            let address = SocketAddr::new(config.host, port);
            let port = Port::open(address, Arc::clone(&target), &tasks, stop.child_token())
                .map_err(|source| LabError::Listen { name: name.to_owned(), address, source })?;
            targets.insert(name.to_owned(), Running { target, port });
        }
        let shared = Arc::new(Shared { targets });
        let address = SocketAddr::new(config.host, config.control);
        let control = control::open(address, Arc::clone(&shared), &tasks, stop.child_token())
            .await
            .map_err(|source| LabError::Listen { name: "control".to_owned(), address, source })?;
        Ok(Self { shared, control, tasks, stop })
    }

    /// All listeners, the control API first.
    pub fn listeners(&self) -> Vec<Listening> {
        let control = Listening {
            name: "control".to_owned(),
            what: "control API",
            url: format!("http://{}", self.control),
            address: self.control,
        };
        let targets = self.shared.targets.values().map(Running::listening);
        std::iter::once(control).chain(targets).collect()
    }

    /// Address of the control API.
    pub fn control_address(&self) -> SocketAddr {
        self.control
    }

    /// Address of a target.
    pub fn address(&self, target: &str) -> Result<SocketAddr, LabError> {
        Ok(self.shared.running(target)?.port.address())
    }

    /// Base address of a target as a client configures it.
    pub fn url(&self, target: &str) -> Result<String, LabError> {
        Ok(self.shared.running(target)?.listening().url)
    }

    /// Replaces a target's script; returns when it is in force, ports included.
    pub async fn script(&self, target: &str, script: Script) -> Result<(), LabError> {
        self.shared.script(target, script).await
    }

    /// Makes a target healthy.
    pub async fn heal(&self, target: &str) -> Result<(), LabError> {
        self.shared.script(target, Script::default()).await
    }

    /// Forgets all scripts and records, and starts over with a seed.
    pub async fn reset(&self, seed: u64) {
        self.shared.reset(Some(seed)).await;
    }

    /// All billing records, target by target.
    pub fn billing(&self) -> Vec<Record> {
        self.shared.targets.values().flat_map(|running| running.target.billing().records()).collect()
    }

    /// The sums of all billing records.
    pub fn totals(&self) -> Totals {
        self.shared.totals()
    }

    /// The requests a target saw.
    pub fn requests(&self, target: &str) -> Result<Vec<Seen>, LabError> {
        Ok(self.target(target)?.requests().list())
    }

    /// A target, for everything else.
    pub fn target(&self, target: &str) -> Result<&Arc<Target>, LabError> {
        Ok(&self.shared.running(target)?.target)
    }

    /// Stops accepting, resets what is open, bills what is running, and waits for all of it.
    pub async fn shutdown(self) {
        self.shared.stop(&self.stop);
        self.tasks.close();
        self.tasks.wait().await;
        for running in self.shared.targets.values() {
            running.target.tasks().close();
            running.target.tasks().wait().await;
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.shared.stop(&self.stop);
    }
}

impl Shared {
    pub(crate) fn targets(&self) -> impl Iterator<Item = &Running> {
        self.targets.values()
    }

    pub(crate) fn running(&self, target: &str) -> Result<&Running, LabError> {
        self.targets.get(target).ok_or_else(|| LabError::UnknownTarget(target.to_owned()))
    }

    pub(crate) async fn script(&self, target: &str, script: Script) -> Result<(), LabError> {
        script.check()?;
        let running = self.running(target)?;
        let open = !script.is_down();
        running.target.set_script(script);
        running.port.set_open(open).await;
        Ok(())
    }

    /// Resets every target; without a seed each keeps its own.
    pub(crate) async fn reset(&self, seed: Option<u64>) {
        for running in self.targets.values() {
            running.target.reset(seed.unwrap_or_else(|| running.target.seed()));
            running.port.set_open(true).await;
        }
    }

    pub(crate) fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for running in self.targets.values() {
            totals.merge(&running.target.billing().totals());
        }
        totals
    }

    fn stop(&self, listeners: &CancellationToken) {
        for running in self.targets.values() {
            running.target.stop().cancel();
        }
        listeners.cancel();
    }
}

impl Running {
    pub(crate) fn listening(&self) -> Listening {
        let address = self.port.address();
        let path = match self.target.name() {
            "openai" => "/v1",
            "desk" => "/mcp",
            _ => "",
        };
        Listening {
            name: self.target.name().to_owned(),
            what: self.target.kind(),
            url: format!("http://{address}{path}"),
            address,
        }
    }
}
