//! The MCP server on stdin and stdout, as a client launches it.
//!
//! The script comes in the environment, because there is no control API to a child process. Faults of a connection
//! become what a child can do wrong: noise on stdout, half a line, silence, a sudden exit. With
//! [`BILLING_VARIABLE`] set, the records are appended to that file, one JSON object per line.

mod pipe;

use std::{io, path::PathBuf, pin::pin};

use rmcp::ServiceExt as _;
use tokio::io::{AsyncRead, AsyncWrite};

pub(super) use self::pipe::Pipe;
use super::handler::Handler;
use crate::script::{Script, ScriptError};

/// Environment variable that holds the script as JSON.
pub const SCRIPT_VARIABLE: &str = "OUTCROP_LAB_SCRIPT";
/// Environment variable that names the file for the billing records.
pub const BILLING_VARIABLE: &str = "OUTCROP_LAB_BILLING";

/// Bytes the server may be ahead of stdout.
const AHEAD_BYTES: usize = 64 * 1024;
/// Status of a scripted exit.
const EXIT_STATUS: i32 = 70;

/// How a server on streams behaves.
#[derive(Debug, Clone, Default)]
pub struct StdioConfig {
    /// What goes wrong.
    pub script: Script,
    /// Seed of all randomness.
    pub seed: u64,
    /// Where the billing records are appended.
    pub billing: Option<PathBuf>,
}

/// How the server ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The client closed its end.
    Closed,
    /// The script wants the process to end at once.
    Exit,
}

/// Why the server does not run.
#[derive(Debug, thiserror::Error)]
pub enum StdioError {
    /// The variable does not hold a script.
    #[error("{SCRIPT_VARIABLE} holds no script: {0}")]
    Json(#[from] serde_json::Error),
    /// The script cannot be carried out.
    #[error("{SCRIPT_VARIABLE}: {0}")]
    Script(#[from] ScriptError),
    /// The handshake failed.
    #[error("handshake: {0}")]
    Handshake(#[from] Box<rmcp::service::ServerInitializeError>),
    /// A stream failed.
    #[error("stream: {0}")]
    Stream(#[from] io::Error),
}

/// Serves MCP on stdin and stdout until the client closes stdin; a scripted exit ends the process.
pub async fn serve_stdio() -> Result<(), StdioError> {
    let config = StdioConfig::from_environment()?;
    let (reader, writer) = rmcp::transport::io::stdio_pipes();
    match serve_streams(reader, writer, config).await? {
        Ending::Closed => Ok(()),
        Ending::Exit => std::process::exit(EXIT_STATUS),
    }
}

/// Serves MCP on a pair of byte streams.
pub async fn serve_streams<R, W>(reader: R, writer: W, config: StdioConfig) -> Result<Ending, StdioError>
where
    R: AsyncRead + Send + Unpin + 'static,
    W: AsyncWrite + Send + Unpin,
{
    config.script.check()?;
    if config.script.is_down() {
        return Ok(Ending::Exit);
    }
    let pipe = Pipe::new(config);
    let (ours, theirs) = tokio::io::duplex(AHEAD_BYTES);
    let handler = Handler::on(pipe.clone());
    let served = async move {
        let running = handler.serve((reader, ours)).await.map_err(Box::new)?;
        // The reason does not matter: either way nobody is left to talk to.
        let _ = running.waiting().await;
        Ok::<(), StdioError>(())
    };
    let mut pumped = pin!(pipe.pump(theirs, writer));
    let ending = tokio::select! {
        ending = &mut pumped => ending?,
        outcome = served => {
            let ending = pumped.await?;
            outcome?;
            ending
        }
    };
    pipe.save_records()?;
    Ok(ending)
}

impl StdioConfig {
    /// The configuration a parent process left in the environment.
    #[allow(clippy::disallowed_methods, reason = "the environment is the only way to script a child process")]
    fn from_environment() -> Result<Self, StdioError> {
        let script = match std::env::var(SCRIPT_VARIABLE) {
            Ok(json) => serde_json::from_str(&json)?,
            Err(_) => Script::default(),
        };
        Ok(Self { script, seed: 1, billing: std::env::var_os(BILLING_VARIABLE).map(PathBuf::from) })
    }
}
