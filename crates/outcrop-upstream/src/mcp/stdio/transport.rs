//! JSON-RPC messages over a child's pipes, one per line.
//!
//! Lines that are not JSON-RPC are skipped and counted; a child that keeps sending them is stopped.
//! It answers nothing itself: an error sent in reply to garbage would only feed a storm.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use outcrop_core::Reason;
use rmcp::RoleClient;
use rmcp::model::ServerJsonRpcMessage;
use rmcp::service::TxJsonRpcMessage;
use rmcp::transport::Transport;
use tokio::io::AsyncWriteExt;
use tokio::process::{ChildStdin, ChildStdout};
use tokio::sync::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::garbage::{Garbage, Verdict};
use super::lines::{Line, Lines};
use crate::mcp::board::Board;

/// A child that does not read its input for so long is stopped.
const WRITE_TIME_MAX: Duration = Duration::from_secs(5);

/// JSON-RPC messages over a child's pipes.
pub(crate) struct StdioTransport {
    stdin: Arc<Mutex<Option<ChildStdin>>>,
    lines: Lines<ChildStdout>,
    ready: VecDeque<ServerJsonRpcMessage>,
    garbage: Garbage,
    name: Arc<str>,
    board: Arc<Board>,
    stop: CancellationToken,
    gone: CancellationToken,
}

impl StdioTransport {
    /// `name` is the path's; `stop` asks for the child's end, `gone` tells of it.
    pub(crate) fn new(
        name: &Arc<str>,
        (stdin, stdout): (ChildStdin, ChildStdout),
        board: Arc<Board>,
        (stop, gone): (CancellationToken, CancellationToken),
    ) -> Self {
        Self {
            stdin: Arc::new(Mutex::new(Some(stdin))),
            lines: Lines::new(stdout),
            ready: VecDeque::new(),
            garbage: Garbage::default(),
            name: Arc::clone(name),
            board,
            stop,
            gone,
        }
    }

    /// Takes one line apart; `false` ends the connection.
    fn take(&mut self, line: &[u8]) -> bool {
        let text = line.trim_ascii();
        if text.is_empty() {
            return true;
        }
        let batch = text.first() == Some(&b'[');
        let parsed = if batch {
            serde_json::from_slice::<Vec<ServerJsonRpcMessage>>(text).map(VecDeque::from)
        } else {
            serde_json::from_slice(text).map(|message| VecDeque::from([message]))
        };
        match parsed {
            Ok(mut messages) => {
                self.ready.append(&mut messages);
                true
            }
            Err(_) => self.tolerates_garbage(Instant::now()),
        }
    }

    fn tolerates_garbage(&mut self, now: Instant) -> bool {
        self.board.garbage();
        let path = &*self.name;
        match self.garbage.note(now) {
            Verdict::Skipped => true,
            Verdict::Told => {
                tracing::warn!(path, "an MCP server writes lines that are not JSON-RPC; they are skipped");
                true
            }
            Verdict::TooMany => {
                tracing::warn!(path, "an MCP server writes too much that is not JSON-RPC; it is ended");
                self.board.end(Reason::Garbled);
                false
            }
        }
    }
}

impl Drop for StdioTransport {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Transport<RoleClient> for StdioTransport {
    type Error = io::Error;

    fn send(
        &mut self,
        item: TxJsonRpcMessage<RoleClient>,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send + 'static {
        let stdin = Arc::clone(&self.stdin);
        let stop = self.stop.clone();
        async move {
            let mut line = serde_json::to_vec(&item)?;
            line.push(b'\n');
            let mut stdin = stdin.lock().await;
            let pipe = stdin.as_mut().ok_or(io::ErrorKind::NotConnected)?;
            let written = tokio::time::timeout(WRITE_TIME_MAX, pipe.write_all(&line)).await;
            written.unwrap_or_else(|_| {
                // Half a line is in the pipe, so nothing sent after it could be read.
                stop.cancel();
                Err(io::ErrorKind::TimedOut.into())
            })
        }
    }

    async fn receive(&mut self) -> Option<ServerJsonRpcMessage> {
        loop {
            if let Some(message) = self.ready.pop_front() {
                return Some(message);
            }
            let line = tokio::select! {
                biased;
                line = self.lines.next() => line,
                () = self.gone.cancelled() => return None,
            };
            match line {
                Line::Text(line) => {
                    if !self.take(&line) {
                        return None;
                    }
                }
                Line::Oversized => {
                    self.board.end(Reason::Oversized);
                    return None;
                }
                Line::End => return None,
            }
        }
    }

    async fn close(&mut self) -> Result<(), Self::Error> {
        self.stop.cancel();
        if let Ok(mut stdin) = self.stdin.try_lock() {
            stdin.take();
        }
        Ok(())
    }
}
