//! The binary as a process that can be ended in every way.

use std::{fs, net::SocketAddr, path::Path, process::Stdio};

use http::Method;
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
};

use crate::{
    client::{self, Answer},
    house::within,
};

/// A running `outcrop serve`; dropping it kills it.
pub(super) struct Process {
    pub(super) data: SocketAddr,
    pub(super) admin: SocketAddr,
    /// What it said before it served that is no line of its log.
    pub(super) said: Vec<String>,
    child: Child,
}

impl Process {
    /// Starts it and waits until it serves.
    pub(super) async fn start(file: &Path, variables: &[(&str, &Path)]) -> Self {
        let mut command = Self::command(file);
        command.envs(variables.iter().copied());
        Self::begin(command).await
    }

    /// Starts it in the place of the one that runs, and waits until it serves.
    pub(super) async fn take_over(file: &Path) -> Self {
        let mut command = Self::command(file);
        command.arg("--takeover");
        Self::begin(command).await
    }

    /// What starts it.
    pub(super) fn command(file: &Path) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_outcrop"));
        command.arg("serve").arg("--config").arg(file).envs(crate::command_line::LAB_VARIABLES);
        command
    }

    async fn begin(mut command: Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut said = Vec::new();
        let serving = within("the gateway serves", async {
            loop {
                let Some(line) = lines.next_line().await.unwrap() else { panic!("it ended: {said:?}") };
                match serde_json::from_str::<Value>(&line) {
                    Ok(line) if line["message"] == "serving" => return line,
                    Ok(_) => {}
                    Err(_) => said.push(line),
                }
            }
        })
        .await;
        // A pipe that nobody reads would stop it.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let address = |name: &str| serving[name].as_str().unwrap().parse().unwrap();
        Self { data: address("data"), admin: address("admin"), said, child }
    }

    /// `kill -9`.
    pub(super) async fn kill(mut self) {
        self.child.start_kill().unwrap();
        within("the end of the process", self.child.wait()).await.unwrap();
    }

    /// SIGTERM, and the code it ends with.
    pub(super) async fn terminate(mut self) -> Option<i32> {
        self.signal("TERM");
        within("the end of the process", self.child.wait()).await.unwrap().code()
    }

    /// Waits for its end; the code it ends with.
    pub(super) async fn ended(mut self) -> Option<i32> {
        within("the end of the process", self.child.wait()).await.unwrap().code()
    }

    /// Sends a signal by its name.
    pub(super) fn signal(&self, name: &str) {
        let id = self.child.id().unwrap().to_string();
        let status = std::process::Command::new("kill").arg(format!("-{name}")).arg(&id).status();
        assert!(status.unwrap().success());
        if name == "STOP" {
            let stat = format!("/proc/{id}/stat");
            while !fs::read_to_string(&stat).unwrap().contains(") T ") {
                std::thread::yield_now();
            }
        }
    }

    /// Asks the admin listener.
    pub(super) async fn admin(&self, path: &str) -> Answer {
        within(path, client::send(self.admin, Method::GET, path, &[], "")).await.unwrap()
    }
}
