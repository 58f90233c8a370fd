//! The gateway under test as a process of its own: our binary, a generated configuration, ports of its choice.
//!
//! Nothing of it is read but what any operator can read: that it serves, and what the kernel says of its process.

mod process;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

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
/// The configuration that every scenario begins with; words in braces become the lab's addresses.
const BASE: &str = include_str!("gateway.toml");

/// A running gateway; dropping it kills it.
#[derive(Debug)]
pub struct Gateway {
    /// Base address of its client APIs.
    pub url: String,
    /// Its configuration as it was started.
    pub configuration: String,
    child: Child,
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
}

/// The configuration of a scenario: the base, then its own part.
pub fn configuration(lab: &Lab, own: &str) -> Result<String, LabError> {
    let mut text = format!("{BASE}\n{own}");
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
        let file = directory.join("outcrop.toml");
        let spawned = std::fs::write(&file, &configuration).and_then(|()| spawn(binary, &directory, &file));
        let mut child = match spawned {
            Ok(child) => child,
            Err(source) => {
                remove(&directory);
                return Err(failed(source));
            }
        };
        let readers = TaskTracker::new();
        match tokio::time::timeout(START_MAX, serving(&mut child, &readers)).await {
            Ok(Ok(data)) => {
                let url = format!("http://{data}");
                Ok(Self { url, configuration, child, directory, readers })
            }
            Ok(Err(said)) => {
                remove(&directory);
                Err(GatewayError::NotServing(said))
            }
            Err(_) => {
                remove(&directory);
                Err(GatewayError::NotServing(format!("nothing within {} s", START_MAX.as_secs())))
            }
        }
    }

    /// What its process uses; `None` where the system does not tell or it is gone.
    pub fn usage(&self) -> Option<Usage> {
        Usage::of(self.child.id()?)
    }

    /// Ends it in order, or by force if that takes too long.
    pub async fn stop(mut self) {
        if let Some(id) = self.child.id() {
            // A process that is gone needs no signal.
            let _ = Command::new("kill").arg("-TERM").arg(id.to_string()).status().await;
        }
        if tokio::time::timeout(END_MAX, self.child.wait()).await.is_err() {
            // What cannot be killed is beyond us.
            let _ = self.child.kill().await;
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
