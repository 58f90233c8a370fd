//! The gateway under test as a process of its own: our binary, a generated configuration, ports of its choice.
//!
//! Nothing of it is read but what any operator can read: that it serves, and what the kernel says of its process.

mod operator;
mod process;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use http::Method;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
};
use tokio_util::task::TaskTracker;

pub use self::process::Usage;
use crate::{Lab, LabError, bedrock};

/// How long a start may take.
const START_MAX: Duration = Duration::from_secs(20);
/// How long an orderly end may take before it is killed.
const END_MAX: Duration = Duration::from_secs(10);
/// How long an order may take.
const ORDER_MAX: Duration = Duration::from_secs(10);
/// The configuration that every scenario begins with; words in braces become the lab's addresses.
const BASE: &str = include_str!("gateway.toml");

/// A running gateway; dropping it kills it.
#[derive(Debug)]
pub struct Gateway {
    /// Base address of its client APIs.
    pub url: String,
    /// Its configuration as it was started.
    pub configuration: String,
    binary: PathBuf,
    /// Absent for the moment between a kill and the next start.
    child: Mutex<Option<Child>>,
    directory: PathBuf,
    /// Reads its output away, so that it never waits for us.
    readers: TaskTracker,
}

/// Why there is no gateway to test.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// The lab does not know a target.
    #[error(transparent)]
    Lab(#[from] LabError),
    /// Files or processes.
    #[error("the gateway cannot be started from {binary}: {source}")]
    Start {
        /// The program.
        binary: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// It ended, or said nothing of serving in time.
    #[error("the gateway did not serve; it said: {0}")]
    NotServing(String),
    /// It refused an order, or has no socket for one.
    #[error("the gateway refused an order: {0}")]
    Refused(String),
}

/// The configuration of a scenario: the base, then its own part. A table of the scenario's own takes the place of the
/// base's of the same name.
pub fn configuration(lab: &Lab, own: &str) -> Result<String, LabError> {
    let mut kept = true;
    let mut base = String::new();
    for line in BASE.lines() {
        if line.starts_with('[') {
            kept = line.starts_with("[[") || !own.lines().any(|other| other.trim() == line);
        }
        if kept {
            base.push_str(line);
            base.push('\n');
        }
    }
    let mut text = format!("{base}\n{own}");
    for target in ["fra", "dub", "desk", "openai", "anthropic"] {
        text = text.replace(&format!("{{{target}}}"), &lab.url(target)?);
    }
    Ok(text)
}

impl Gateway {
    /// Starts `binary serve` in a directory of its own below the system's, and waits until it serves.
    pub async fn start(binary: &Path, configuration: String) -> Result<Self, GatewayError> {
        let failed = |source| GatewayError::Start { binary: binary.to_owned(), source };
        let directory = std::env::temp_dir().join(format!("outcrop-certify-{}", uuid::Uuid::now_v7()));
        std::fs::create_dir(&directory).map_err(failed)?;
        // Whatever fails from here on, the directory goes with it.
        let mut gateway = Self {
            url: String::new(),
            configuration,
            binary: binary.to_owned(),
            child: Mutex::new(None),
            directory,
            readers: TaskTracker::new(),
        };
        gateway.url = format!("http://{}", gateway.launch(&gateway.configuration).await?);
        Ok(gateway)
    }

    async fn launch(&self, configuration: &str) -> Result<SocketAddr, GatewayError> {
        let failed = |source| GatewayError::Start { binary: self.binary.clone(), source };
        let file = self.directory.join("outcrop.toml");
        std::fs::write(&file, configuration).map_err(failed)?;
        let mut child = spawn(&self.binary, &self.directory, &file).map_err(failed)?;
        match tokio::time::timeout(START_MAX, serving(&mut child, &self.readers)).await {
            Ok(Ok(data)) => {
                *self.child.lock() = Some(child);
                Ok(data)
            }
            Ok(Err(said)) => Err(GatewayError::NotServing(said)),
            Err(_) => Err(GatewayError::NotServing(format!("nothing within {} s", START_MAX.as_secs()))),
        }
    }

    /// `kill -9`, then a start at the same address over the same store; returns when it serves again.
    pub async fn kill_and_start(&self) -> Result<(), GatewayError> {
        let killed = self.child.lock().take();
        if let Some(mut child) = killed {
            // A process that is gone already is what was wanted.
            let _ = child.kill().await;
        }
        let data = self.url.trim_start_matches("http://");
        let again = self.configuration.replacen("data = \"127.0.0.1:0\"", &format!("data = \"{data}\""), 1);
        self.launch(&again).await?;
        Ok(())
    }

    /// Asks at the operator's socket.
    pub async fn operator(&self, method: Method, path: &str, body: &Value) -> Result<Value, GatewayError> {
        let socket = self.directory.join("outcrop.sock");
        match tokio::time::timeout(ORDER_MAX, operator::ask(&socket, method, path, body)).await {
            Ok(answer) => answer.map_err(GatewayError::Refused),
            Err(_) => Err(GatewayError::Refused(format!("no answer of {path} in {} s", ORDER_MAX.as_secs()))),
        }
    }

    /// What its process uses; `None` where the system does not tell or it is gone.
    pub fn usage(&self) -> Option<Usage> {
        Usage::of(self.child.lock().as_ref()?.id()?)
    }

    /// Ends it in order, or by force if that takes too long.
    pub async fn stop(self) {
        let child = self.child.lock().take();
        if let Some(mut child) = child {
            if let Some(id) = child.id() {
                // A process that is gone needs no signal.
                let _ = Command::new("kill").arg("-TERM").arg(id.to_string()).status().await;
            }
            if tokio::time::timeout(END_MAX, child.wait()).await.is_err() {
                // What cannot be killed is beyond us.
                let _ = child.kill().await;
            }
        }
        self.readers.close();
        self.readers.wait().await;
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // `kill_on_drop` ends the process; its directory goes with it.
        remove(&self.directory);
    }
}

fn spawn(binary: &Path, directory: &Path, file: &Path) -> std::io::Result<Child> {
    Command::new(binary)
        .arg("serve")
        .arg("--config")
        .arg(file)
        .current_dir(directory)
        .env("LAB_AWS_ID", bedrock::ACCESS_KEY_ID)
        .env("LAB_AWS_SECRET", bedrock::SECRET_ACCESS_KEY)
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
}

/// Reads its log until it serves; `Err` is what it said instead.
async fn serving(child: &mut Child, readers: &TaskTracker) -> Result<SocketAddr, String> {
    let output = child.stderr.take().ok_or("it has no output")?;
    let mut lines = BufReader::new(output).lines();
    let mut said = Vec::new();
    while let Ok(Some(line)) = lines.next_line().await {
        match serde_json::from_str::<Value>(&line) {
            Ok(entry) if entry["message"] == "serving" => {
                let data = entry["data"].as_str().and_then(|data| data.parse().ok());
                readers.spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
                return data.ok_or_else(|| format!("an address that is none: {line}"));
            }
            Ok(entry) if entry["level"] == "ERROR" => said.push(line),
            Ok(_) => {}
            Err(_) => said.push(line),
        }
        said.truncate(20);
    }
    Err(said.join("\n"))
}

/// A directory that stays behind is only untidy.
fn remove(directory: &Path) {
    let _ = std::fs::remove_dir_all(directory);
}
