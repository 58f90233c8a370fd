//! The real binary in front of some labs.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

/// Keys that the simulated Bedrock accepts.
const KEYS: [(&str, &str); 2] = [
    ("LAB_AWS_ID", outcrop_lab::bedrock::ACCESS_KEY_ID),
    ("LAB_AWS_SECRET", outcrop_lab::bedrock::SECRET_ACCESS_KEY),
];

/// A running `outcrop serve`; dropping it kills it.
pub(crate) struct Gateway {
    pub(crate) data: SocketAddr,
    folder: TempDir,
    child: Child,
}

impl Gateway {
    /// Starts it with these paths and models and waits until it serves.
    pub(crate) async fn start(paths: &str) -> Self {
        Self::with_names(paths, None).await
    }

    /// With a hosts file of its own.
    pub(crate) async fn with_names(paths: &str, names: Option<&str>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("outcrop.toml");
        fs::write(&file, text(paths)).unwrap();
        let mut command = match names {
            None => Command::new(env!("CARGO_BIN_EXE_outcrop")),
            Some(names) => {
                let hosts = hosts_in(folder.path());
                fs::write(&hosts, names).unwrap();
                let mut command = Command::new("unshare");
                let line = "mount --bind \"$0\" /etc/hosts && exec \"$@\"";
                command.args(["-m", "sh", "-c", line]).arg(hosts).arg(env!("CARGO_BIN_EXE_outcrop"));
                command
            }
        };
        command.args(["serve", "--config"]).arg(&file).envs(KEYS);
        let mut child = command.stderr(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut said = Vec::new();
        let data = loop {
            let line = tokio::time::timeout(Duration::from_secs(30), lines.next_line()).await;
            let Some(line) = line.expect("it starts").unwrap() else { panic!("it ended: {said:?}") };
            match serde_json::from_str::<Value>(&line) {
                Ok(line) if line["message"] == "serving" => break line["data"].as_str().unwrap().parse(),
                _ => said.push(line),
            }
        };
        let log = std::env::var_os("OUTCROP_FAULT_LOG").is_some();
        // A pipe that nobody reads would stop it.
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                if log {
                    eprintln!("{line}");
                }
            }
        });
        Self { data: data.unwrap(), folder, child }
    }

    /// Replaces the contents of its hosts file.
    pub(crate) fn rename(&self, names: &str) {
        fs::write(hosts_in(self.folder.path()), names).unwrap();
    }

    /// Its resident memory in bytes.
    pub(crate) fn resident(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id().unwrap())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap() * 1024
    }

    /// The MCP server that it has started, on standard input and output.
    pub(crate) fn child(&self) -> Option<u32> {
        let own = self.child.id().unwrap().to_string();
        let listed = fs::read_to_string(format!("/proc/{own}/task/{own}/children")).ok();
        let all = listed.unwrap_or_default() + &children_of_threads(&own);
        all.split_whitespace().next().map(|id| id.parse().unwrap())
    }
}

/// Children are listed by the thread that made them.
fn children_of_threads(process: &str) -> String {
    let Ok(threads) = fs::read_dir(format!("/proc/{process}/task")) else { return String::new() };
    let files = threads.flatten().map(|thread| thread.path().join("children"));
    files.filter_map(|file| fs::read_to_string(file).ok()).collect()
}

fn hosts_in(folder: &Path) -> PathBuf {
    folder.join("hosts")
}

fn text(paths: &str) -> String {
    format!(
        r#"
        [listen]
        data = "127.0.0.1:0"
        admin = "127.0.0.1:0"
        [auth]
        mode = "open"
        [store]
        url = "memory:"
        grant_wait_max = "10s"
        [[price]]
        model = "*"
        free = true
        [[operation]]
        name = "direct-first"
        order = ["direct", "mcp"]
        [[operation]]
        name = "mcp-first"
        order = ["mcp", "direct"]
        {paths}
        "#
    )
}
