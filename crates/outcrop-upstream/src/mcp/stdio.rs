//! An MCP server as a child process: started, supervised and ended as one process group.
//!
//! The command comes from the operator's file only, its program is an absolute path, and the child
//! gets no environment but the listed one. It is never restarted here: the connection above decides.
//! Invariant: when the child is gone, every reader of its output learns it within a second, even if
//! a grandchild keeps the pipe open.

mod garbage;
mod lines;
mod transport;

use std::path::Path;
use std::pin::pin;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use parking_lot::Mutex;
use tokio::io::AsyncReadExt;
use tokio::process::{Child, ChildStderr, Command};
use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(crate) use transport::StdioTransport;

use super::board::Board;

/// How long a child may take to leave after its input closed, and again after SIGTERM.
const LEAVE_TIME: Duration = Duration::from_secs(1);
/// How long output that a child wrote before it ended is waited for.
const DRAIN_TIME: Duration = Duration::from_millis(100);
/// How much of the end of standard error is kept for the log.
const STDERR_TAIL_BYTES: usize = 512;

/// Why a child could not be started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    /// The command is not usable.
    #[error("the command must begin with the absolute path of a program, not {0:?}")]
    NotAbsolute(String),
    /// The operating system refused.
    #[error("{program} could not be started: {source}")]
    Refused {
        /// The program.
        program: String,
        /// What the system said.
        source: std::io::Error,
    },
}

/// How a child is started, and the word that ends every one of them at once.
#[derive(Debug)]
pub(crate) struct Program {
    /// Program and arguments.
    pub(crate) command: Vec<String>,
    /// Its whole environment.
    pub(crate) env: Vec<(String, String)>,
    /// Kills those that run; the next one is started as ever.
    pub(crate) kill: Arc<Notify>,
}

/// The end of what a child wrote to standard error.
type Tail = Arc<Mutex<Vec<u8>>>;

/// Checks a command without running it.
pub(crate) fn check(command: &[String]) -> Result<&str, StartError> {
    let program = command.first().map_or("", String::as_str);
    if Path::new(program).is_absolute() {
        Ok(program)
    } else {
        Err(StartError::NotAbsolute(program.to_owned()))
    }
}

/// Starts the child and its supervisor.
pub(crate) fn start(
    name: &Arc<str>,
    program: &Program,
    board: &Arc<Board>,
    tasks: &TaskTracker,
) -> Result<StdioTransport, StartError> {
    let Program { command, env, kill } = program;
    let program = check(command)?;
    // From here on a kill reaches the child, even before it is watched.
    let killed = Arc::clone(kill).notified_owned();
    let refused = |source| StartError::Refused { program: program.to_owned(), source };
    let mut child = Command::new(program)
        .args(command.iter().skip(1))
        .env_clear()
        .envs(env.iter().map(|(key, value)| (key, value)))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(refused)?;
    let missing = || refused(std::io::Error::other("a pipe is missing"));
    let stdin = child.stdin.take().ok_or_else(missing)?;
    let stdout = child.stdout.take().ok_or_else(missing)?;
    let tail = Tail::default();
    let (stop, gone) = (CancellationToken::new(), CancellationToken::new());
    if let Some(stderr) = child.stderr.take() {
        tasks.spawn(gone.clone().run_until_cancelled_owned(drain(stderr, Arc::clone(&tail))));
    }
    let ends = Ends { stop: stop.clone(), gone: gone.clone(), tail };
    tasks.spawn(supervise(Arc::clone(name), child, ends, killed));
    Ok(StdioTransport::new(name, (stdin, stdout), Arc::clone(board), (stop, gone)))
}

/// What a supervisor listens to, and what it tells.
struct Ends {
    stop: CancellationToken,
    gone: CancellationToken,
    tail: Tail,
}

/// Waits for the child's end, or brings it about; nothing of its group is left behind.
async fn supervise(name: Arc<str>, mut child: Child, ends: Ends, killed: OwnedNotified) {
    let Ends { stop, gone, tail } = ends;
    let mut killed = pin!(killed);
    let group = child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
    let ended = tokio::select! {
        status = child.wait() => Some(status),
        () = stop.cancelled() => None,
        () = &mut killed => {
            tracing::warn!(path = %name, "MCP server process is killed by an emergency stop");
            signal(group, Signal::SIGKILL);
            Some(child.wait().await)
        }
    };
    if let Some(status) = ended {
        let stderr = String::from_utf8_lossy(&tail.lock()).into_owned();
        match status {
            Ok(status) => tracing::warn!(path = %name, %status, stderr, "MCP server process ended"),
            Err(error) => tracing::warn!(path = %name, %error, "MCP server process was lost"),
        }
        signal(group, Signal::SIGKILL);
        tokio::time::sleep(DRAIN_TIME).await;
        gone.cancel();
        return;
    }
    gone.cancel();
    let leaving = async {
        for last in [Signal::SIGTERM, Signal::SIGKILL] {
            if tokio::time::timeout(LEAVE_TIME, child.wait()).await.is_ok() {
                break;
            }
            signal(group, last);
        }
    };
    tokio::select! {
        () = leaving => {}
        () = &mut killed => signal(group, Signal::SIGKILL),
    }
    if let Err(error) = child.wait().await {
        tracing::warn!(path = %name, %error, "MCP server process could not be reaped");
    }
    signal(group, Signal::SIGKILL);
}

fn signal(group: Option<Pid>, signal: Signal) {
    if let Some(group) = group {
        // An empty group is the normal case, and the only error that can come.
        let _ = killpg(group, signal);
    }
}

/// Keeps standard error flowing, whatever the child writes, and the end of it for the log.
async fn drain(mut stderr: ChildStderr, tail: Tail) {
    let mut chunk = [0; 4096];
    while let Ok(count @ 1..) = stderr.read(&mut chunk).await {
        let mut tail = tail.lock();
        tail.extend_from_slice(chunk.get(..count).unwrap_or_default());
        let excess = tail.len().saturating_sub(STDERR_TAIL_BYTES);
        tail.drain(..excess);
    }
}
