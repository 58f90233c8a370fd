//! The lab as a process of its own, which can be killed, stopped and started anew at the same address.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use crate::client;
use crate::network::Network;

/// First port of every lab: each has an address of its own.
const PORT: u16 = 9100;

/// What an answer takes: long enough that some are under way whenever something happens.
const HEALTHY: &str = r#"{"latency_ms": {"uniform": [5, 30]}}"#;

/// Of the addresses of this process.
static NEXT: AtomicU8 = AtomicU8::new(1);

/// A running lab; dropping it kills it.
pub(crate) struct Lab {
    pub(crate) host: IpAddr,
    network: Option<String>,
    process: Option<Child>,
}

impl Lab {
    /// On a loopback address that nothing else uses.
    pub(crate) async fn start() -> Self {
        Self::at(loopback(), None).await
    }

    /// Behind the far end of a link.
    pub(crate) async fn behind(network: &Network) -> Self {
        Self::at(network.far_address(), Some(network.far())).await
    }

    async fn at(host: IpAddr, network: Option<String>) -> Self {
        let mut lab = Self { host, network, process: None };
        lab.run().await;
        lab
    }

    /// Starts the process and waits until it answers, healthy.
    pub(crate) async fn run(&mut self) {
        let lab = env!("CARGO_BIN_EXE_outcrop");
        let mut command = match &self.network {
            Some(name) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", name, lab]);
                command
            }
            None => Command::new(lab),
        };
        let (host, port) = (self.host.to_string(), PORT.to_string());
        command.args(["lab", "--host", &host, "--port-base", &port]).stdout(Stdio::null());
        self.process = Some(command.spawn().unwrap());
        for _ in 0..1000 {
            if self.control(Method::GET, "/targets", "").await.is_some() {
                self.heal_scripts().await;
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("the lab at {host} did not start");
    }

    pub(crate) fn signal(&self, name: &str) {
        signal(self.process.as_ref().unwrap().id(), name);
    }

    /// `kill -9`, and it is gone.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// Makes a target do something wrong.
    pub(crate) async fn script(&self, target: &str, script: &Value) {
        let path = format!("/targets/{target}/script");
        self.control(Method::PUT, &path, &script.to_string()).await.expect("the lab obeys");
    }

    pub(crate) async fn heal_scripts(&self) {
        for target in ["fra", "desk"] {
            self.script(target, &serde_json::from_str(HEALTHY).unwrap()).await;
        }
    }

    /// Requests for answers that a target has received.
    pub(crate) async fn received(&self, target: &str) -> usize {
        let path = format!("/targets/{target}/requests");
        let all = self.control(Method::GET, &path, "").await.expect("the lab answers");
        let is_call = |seen: &&Value| {
            let method = seen["headers"]["mcp-method"].as_str();
            target != "desk" || method.is_none_or(|method| method == "tools/call")
        };
        all["requests"].as_array().unwrap().iter().filter(is_call).count()
    }

    pub(crate) fn address(&self, target: &str) -> SocketAddr {
        let port = if target == "fra" { PORT + 1 } else { PORT + 2 };
        SocketAddr::new(self.host, port)
    }

    async fn control(&self, method: Method, path: &str, body: &str) -> Option<Value> {
        let address = SocketAddr::new(self.host, PORT);
        let asked = client::send(address, method, path, &[], body.to_owned());
        let answer = tokio::time::timeout(Duration::from_secs(10), asked).await.ok()?.ok()?;
        assert!(answer.status < 300, "{path}: {answer:?}");
        Some(serde_json::from_slice(&answer.body).unwrap_or_else(|_| json!(null)))
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Sends a signal by its name to a process of ours.
pub(crate) fn signal(process: u32, name: &str) {
    let status = Command::new("kill").arg(format!("-{name}")).arg(process.to_string()).status();
    assert!(status.unwrap().success(), "kill -{name} {process}");
}

/// 127.64.0.0/10, by process and count: tests run side by side.
fn loopback() -> IpAddr {
    let process = std::process::id();
    let [_, _, high, low] = process.to_be_bytes();
    Ipv4Addr::new(127, 64 + (high & 63), low, NEXT.fetch_add(1, Ordering::Relaxed)).into()
}
