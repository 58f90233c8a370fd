//! Starting this program's other roles and ending them, whatever happens to this one.
//!
//! A role announces one line on its standard output and ends when its standard input ends. The parent holds the
//! other end of that pipe, so even `kill -9` of the parent ends the roles.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};

/// How long a role may take to end by itself before it is killed.
const END_WITHIN: Duration = Duration::from_secs(5);

/// Why a role did not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    /// The process could not be started.
    #[error("cannot start `{role}`: {source}")]
    Spawn {
        /// Subcommand.
        role: String,
        /// Cause.
        source: std::io::Error,
    },
    /// It started and said something else than expected.
    #[error("`{role}` announced {line:?}")]
    Announcement {
        /// Subcommand.
        role: String,
        /// What it said; empty if it ended.
        line: String,
    },
}

/// A running role; dropping it ends the process and waits for it.
pub(crate) struct Role {
    child: Child,
    input: Option<ChildStdin>,
    announced: String,
}

impl Role {
    /// Starts this program again with `args` and `env` and waits for its announcement.
    pub(crate) fn start(args: &[String], env: &[(String, String)]) -> Result<Self, StartError> {
        let role = args.first().cloned().unwrap_or_default();
        let spawned = std::env::current_exe().and_then(|program| {
            let env = env.iter().map(|(name, value)| (name, value));
            Command::new(program).args(args).envs(env).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()
        });
        let mut child = spawned.map_err(|source| StartError::Spawn { role: role.clone(), source })?;
        let input = child.stdin.take();
        let output = child.stdout.take();
        let mut started = Self { child, input, announced: String::new() };
        if let Some(output) = output {
            // An unreadable line stays empty and is reported below.
            let _read = BufReader::new(output).read_line(&mut started.announced);
        }
        if started.announced.trim().is_empty() {
            return Err(StartError::Announcement { role, line: started.announced.clone() });
        }
        Ok(started)
    }

    /// The process id of the role itself.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The announcement read as an address.
    pub(crate) fn address(&self) -> Result<SocketAddr, StartError> {
        self.parsed()
    }

    /// The announcement read as a process id.
    pub(crate) fn guarded_pid(&self) -> Result<u32, StartError> {
        self.parsed()
    }

    /// Whether the process still runs.
    pub(crate) fn alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    fn parsed<T: std::str::FromStr>(&self) -> Result<T, StartError> {
        let line = self.announced.trim();
        line.parse().map_err(|_| StartError::Announcement { role: "role".to_owned(), line: line.to_owned() })
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        drop(self.input.take());
        let deadline = Instant::now() + END_WITHIN;
        while Instant::now() < deadline {
            if !self.alive() {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        // Both fail only if the process has ended already, which is what is wanted.
        let _killed = self.child.kill();
        let _status = self.child.wait();
    }
}

/// Ends this process as soon as its standard input ends.
pub(crate) fn end_with_stdin() {
    std::thread::spawn(|| {
        wait_for_stdin_end();
        std::process::exit(0);
    });
}

/// Blocks until standard input ends.
pub(crate) fn wait_for_stdin_end() {
    let mut input = std::io::stdin().lock();
    let mut scratch = [0_u8; 64];
    while matches!(input.read(&mut scratch), Ok(1..)) {}
}

/// Tells the parent one line.
pub(crate) fn announce(line: impl std::fmt::Display) {
    let mut output = std::io::stdout().lock();
    // A parent that no longer listens has ended, and then standard input ends this process.
    let _said = writeln!(output, "{line}").and_then(|()| output.flush());
}

/// Completes on SIGINT or SIGTERM.
pub(crate) async fn interrupted() {
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}
