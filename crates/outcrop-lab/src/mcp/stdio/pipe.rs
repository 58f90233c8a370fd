//! Stdout as the script wants it: the server's lines pass here one by one.
//!
//! A fault is armed by the call that drew it and counts every line from then on, also those of other calls.

use std::{
    fs::OpenOptions,
    io::{self, Write as _},
    path::PathBuf,
    sync::Arc,
};

use bytes::Bytes;
use parking_lot::Mutex;
use rmcp::{
    ErrorData, RoleServer,
    model::{CallToolResult, RequestId},
    service::RequestContext,
};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio_util::sync::CancellationToken;

use super::{Ending, StdioConfig};
use crate::{
    exchange::{Injected, Received},
    mcp::{
        call::Call,
        http::Desk,
        spelling::{Spelled, spelled},
    },
    script::{Fault, FaultKind},
    target::Target,
};

/// What a server prints when a library of its own prints to stdout; neither line is JSON-RPC.
const NOISE: &[u8] = b"Debugger listening on ws://127.0.0.1:9229/\n\xff\xfe{\"not\": \"json-rpc\"\n";

/// Stdout and the script behind it.
#[derive(Debug)]
pub(in crate::mcp) struct Pipe {
    target: Arc<Target>,
    armed: Mutex<Option<Armed>>,
    exit: CancellationToken,
    billing: Option<PathBuf>,
    /// Records saved so far.
    saved: Mutex<usize>,
}

/// A fault waiting for its line.
#[derive(Debug)]
struct Armed {
    /// Lines that still pass.
    after: u64,
    how: How,
}

#[derive(Debug, Clone)]
enum How {
    /// Noise, then the line.
    Noise,
    /// No line passes any more.
    Silence,
    /// Half of the line, then the end.
    Half,
    /// The end instead of the line.
    Exit,
    /// The end after the answer to this request.
    ExitAfter(RequestId),
}

/// What becomes of one line.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Pass,
    Noise,
    Swallow,
    Half,
    Exit,
    PassThenExit,
}

impl Pipe {
    pub(super) fn new(config: StdioConfig) -> Arc<Self> {
        let target = Target::new("desk", "MCP server, stdio", config.seed, Box::new(Desk::new()));
        target.set_script(config.script);
        Arc::new(Self {
            target,
            armed: Mutex::default(),
            exit: CancellationToken::new(),
            billing: config.billing,
            saved: Mutex::default(),
        })
    }

    /// Opens a call, drawing its fault.
    pub(in crate::mcp) fn open(&self, tool: &str, reports: bool) -> Call {
        let received = received(tool, reports);
        let subject = self.target.service().subject(&received);
        let (mut exchange, mut dice) = self.target.open(received);
        exchange.fault = self.target.pick_fault(&subject, &mut dice);
        Call::of(&exchange)
    }

    /// Carries the script out for a call; `Some` or `Err` is its whole answer.
    pub(in crate::mcp) async fn interfere(
        &self,
        call: &mut Call,
        context: &RequestContext<RoleServer>,
    ) -> Result<Option<CallToolResult>, ErrorData> {
        if let Some(latency) = call.draw(call.script.latency_ms) {
            tokio::time::sleep(latency).await;
        }
        let Some(fault) = call.fault.clone() else { return Ok(None) };
        match fault.kind {
            FaultKind::Error | FaultKind::Throttle | FaultKind::StreamException => {
                // There is no HTTP status on a pipe.
                match spelled(&Injected { status: None, ..Injected::of(&fault) }) {
                    Spelled::Result(result) => return Ok(Some(result)),
                    Spelled::Rpc(error) => return Err(error),
                    Spelled::Http => {
                        return Err(ErrorData::internal_error("scripted error of the lab", None));
                    }
                }
            }
            FaultKind::Hang => {
                context.ct.cancelled().await;
                return Err(ErrorData::internal_error("cancelled", None));
            }
            FaultKind::ResetBefore => self.exit.cancel(),
            _ => self.arm(&fault, &context.id),
        }
        Ok(None)
    }

    fn arm(&self, fault: &Fault, id: &RequestId) {
        let how = match fault.kind {
            FaultKind::Garbage => How::Noise,
            FaultKind::HangStream => How::Silence,
            FaultKind::CutMidFrame => How::Half,
            FaultKind::Cut | FaultKind::ResetInside => How::Exit,
            FaultKind::ResetAfter => How::ExitAfter(id.clone()),
            _ => return,
        };
        let after = if matches!(how, How::Noise) { 0 } else { fault.after_events.unwrap_or(0) };
        *self.armed.lock() = Some(Armed { after, how });
    }

    fn judge(&self, line: &[u8]) -> Verdict {
        let mut armed = self.armed.lock();
        let Some(Armed { after, how }) = armed.as_mut() else { return Verdict::Pass };
        if let How::ExitAfter(id) = how {
            return if answers(line, id) { Verdict::PassThenExit } else { Verdict::Pass };
        }
        if *after > 0 {
            *after -= 1;
            return Verdict::Pass;
        }
        match how {
            How::Noise => {
                *armed = None;
                Verdict::Noise
            }
            How::Silence => Verdict::Swallow,
            How::Half => Verdict::Half,
            How::Exit | How::ExitAfter(_) => Verdict::Exit,
        }
    }

    /// Carries the server's lines to stdout until either ends.
    pub(super) async fn pump(
        &self,
        lines: impl AsyncRead + Unpin,
        mut stdout: impl AsyncWrite + Unpin,
    ) -> io::Result<Ending> {
        let mut lines = BufReader::new(lines);
        let mut line = Vec::new();
        loop {
            line.clear();
            let read = tokio::select! {
                biased;
                () = self.exit.cancelled() => return Ok(Ending::Exit),
                read = lines.read_until(b'\n', &mut line) => read?,
            };
            if read == 0 {
                return Ok(Ending::Closed);
            }
            let verdict = self.judge(&line);
            match verdict {
                Verdict::Swallow => continue,
                Verdict::Exit => return Ok(Ending::Exit),
                Verdict::Noise => stdout.write_all(NOISE).await?,
                Verdict::Half => line.truncate(line.len() / 2),
                Verdict::Pass | Verdict::PassThenExit => {}
            }
            stdout.write_all(&line).await?;
            stdout.flush().await?;
            if matches!(verdict, Verdict::Half | Verdict::PassThenExit) {
                return Ok(Ending::Exit);
            }
        }
    }

    /// Appends the records made since the last call to the file, if one is wanted.
    pub(in crate::mcp) fn save_records(&self) -> io::Result<()> {
        let Some(path) = &self.billing else { return Ok(()) };
        let mut saved = self.saved.lock();
        let records = self.target.billing().records();
        let mut file = OpenOptions::new().create(true).append(true).open(path)?;
        for record in records.iter().skip(*saved) {
            writeln!(file, "{}", serde_json::to_string(record)?)?;
        }
        *saved = records.len();
        Ok(())
    }
}

/// A request as the target's service would see it over HTTP, so that one rule decides which faults apply.
fn received(tool: &str, reports: bool) -> Received {
    let token = reports.then_some(1);
    let body = serde_json::json!({"method": "tools/call", "params": {"name": tool, "_meta": {"progressToken": token}}});
    Received {
        method: http::Method::POST,
        path: "stdio".to_owned(),
        query: None,
        headers: http::HeaderMap::new(),
        body: Bytes::from(body.to_string()),
        version: http::Version::HTTP_11,
    }
}

/// Whether a line is the response to a request.
fn answers(line: &[u8], id: &RequestId) -> bool {
    let message: Value = serde_json::from_slice(line).unwrap_or_default();
    let is_response = message.get("result").is_some() || message.get("error").is_some();
    is_response && serde_json::to_value(id).is_ok_and(|id| id == message["id"])
}
