//! The client of the operator's socket, for the commands that ask a running gateway something.
//!
//! It speaks HTTP over a unix socket on a runtime of its own, and every wait ends. It finds the socket
//! as the gateway does, even where the rest of the configuration file cannot be read: an emergency is
//! no time to be particular.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use http::header::{CONTENT_TYPE, HOST};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;

use crate::cli::{EX_UNAVAILABLE, EX_USAGE, refuse};
use crate::config;

/// Longest wait for an answer; a change is durable by then or has failed.
const ANSWER_MAX: Duration = Duration::from_secs(15);
/// Largest answer that is read.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Where the gateway is that a command speaks to.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Configuration file of the gateway, to find its operator's socket.
    #[arg(long, short, default_value = "outcrop.toml", env = "OUTCROP_CONFIG")]
    config: PathBuf,
    /// The operator's socket itself.
    #[arg(long, value_name = "FILE", env = "OUTCROP_SOCKET")]
    socket: Option<PathBuf>,
}

/// Where an order goes, who gives it and why.
#[derive(Debug, Args)]
pub(crate) struct Order {
    #[command(flatten)]
    pub(crate) gateway: Options,
    /// Why, for the log.
    #[arg(long)]
    pub(crate) reason: Option<String>,
    /// Who you are, for the record.
    #[arg(long = "as", value_name = "NAME", env = "USER", default_value = "operator")]
    pub(crate) by: String,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

impl Options {
    /// The configuration file of that gateway.
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// The socket of that gateway.
    pub fn socket(&self) -> PathBuf {
        self.socket.clone().unwrap_or_else(|| config::operator_socket_of(&self.config))
    }

    /// Asks the gateway.
    pub fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, OperatorError> {
        call(&self.socket(), method, path, body)
    }
}

/// Why a command did not get what it asked for.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// Nobody answers.
    #[error("no gateway answers at {}: {error}; is it running, and is this its socket (--socket)?", .socket.display())]
    Unreachable {
        /// Where.
        socket: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// It answered with a refusal.
    #[error("{message}")]
    Refused {
        /// HTTP status.
        status: StatusCode,
        /// Its words.
        message: String,
    },
    /// Its answer makes no sense.
    #[error("the gateway's answer cannot be read: {0}")]
    Garbled(String),
}

impl OperatorError {
    /// The exit code that goes with it.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Unreachable { .. } => EX_UNAVAILABLE,
            Self::Refused { status, .. } => match status.as_u16() {
                400 | 404 | 413 | 422 => EX_USAGE,
                503 => EX_UNAVAILABLE,
                _ => 1,
            },
            Self::Garbled(_) => 1,
        }
    }

    /// Says it on stderr.
    pub fn refuse(&self) -> ExitCode {
        refuse(self, self.exit_code())
    }
}

/// Shows an answer, as JSON for programs; or says why there is none.
pub(crate) fn say(done: Result<Value, OperatorError>, as_json: bool, show: impl FnOnce(&Value)) -> ExitCode {
    match done {
        Ok(done) if as_json => anstream::println!("{done:#}"),
        Ok(done) => show(&done),
        Err(error) => return error.refuse(),
    }
    ExitCode::SUCCESS
}

/// Asks the gateway behind `socket`; an answer without a body is `null`.
pub fn call(socket: &Path, method: Method, path: &str, body: Option<&Value>) -> Result<Value, OperatorError> {
    let unreachable = |error| OperatorError::Unreachable { socket: socket.to_owned(), error };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(unreachable)?;
    let asking = async {
        let stream = UnixStream::connect(socket).await.map_err(unreachable)?;
        let broken = |error: hyper::Error| unreachable(io::Error::other(error));
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        let request = request(method, path, body)?;
        let answering = async {
            let (head, body) = sender.send_request(request).await.map_err(broken)?.into_parts();
            // The connection has to be let go, or it would wait for the next request.
            drop(sender);
            Ok((head.status, read(body).await?))
        };
        let (answer, _) = tokio::join!(answering, connection);
        answer
    };
    let answer = runtime.block_on(async { tokio::time::timeout(ANSWER_MAX, asking).await });
    let (status, bytes) = answer.map_err(|_| unreachable(io::ErrorKind::TimedOut.into()))??;
    understand(status, &bytes)
}

fn request(method: Method, path: &str, body: Option<&Value>) -> Result<Request<Full<Bytes>>, OperatorError> {
    let bytes = body.map_or_else(Bytes::new, |body| body.to_string().into());
    Request::builder()
        .method(method)
        .uri(path)
        .header(HOST, "localhost")
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(bytes))
        .map_err(|error| OperatorError::Garbled(error.to_string()))
}

#[allow(clippy::disallowed_methods, reason = "`Limited` is the cap")]
async fn read(body: hyper::body::Incoming) -> Result<Bytes, OperatorError> {
    let whole = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
    whole.map(http_body_util::Collected::to_bytes).map_err(|error| OperatorError::Garbled(error.to_string()))
}

fn understand(status: StatusCode, bytes: &[u8]) -> Result<Value, OperatorError> {
    let value = || match bytes {
        [] => Ok(Value::Null),
        bytes => serde_json::from_slice::<Value>(bytes),
    };
    if status.is_success() {
        return value().map_err(|error| OperatorError::Garbled(error.to_string()));
    }
    let message = value().ok().and_then(|value| value["error"]["message"].as_str().map(str::to_owned));
    let message = message.unwrap_or_else(|| format!("the gateway refuses: {status}"));
    Err(OperatorError::Refused { status, message })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(status: u16, body: &str, expected: Result<&str, u8>) {
        let understood = understand(StatusCode::from_u16(status).unwrap(), body.as_bytes());
        let understood = understood.map(|v| v.to_string()).map_err(|error| error.exit_code());
        assert_eq!(understood.as_deref(), expected.as_ref().copied(), "{status} {body}");
    }

    #[test]
    fn answers_become_values_and_refusals_exit_codes() {
        check(200, r#"{"a":1}"#, Ok(r#"{"a":1}"#));
        check(204, "", Ok("null"));
        check(200, "<html>", Err(1));
        check(400, r#"{"error":{"message":"no"}}"#, Err(64));
        check(404, "", Err(64));
        check(403, "{}", Err(1));
        check(503, "", Err(69));
    }

    #[test]
    fn nobody_there_is_said_with_the_way_out() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("outcrop.sock");
        let error = call(&socket, Method::GET, "/healthz", None).unwrap_err();
        assert_eq!(error.exit_code(), EX_UNAVAILABLE);
        assert!(error.to_string().contains("--socket"), "{error}");
    }
}
