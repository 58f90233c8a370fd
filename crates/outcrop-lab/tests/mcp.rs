//! The MCP server over both transports and in both protocol eras: shapes, progress, cancellation, faults, the bill.
#![allow(clippy::unwrap_used, clippy::panic, clippy::disallowed_methods, reason = "tests")]

#[path = "mcp/faults.rs"]
mod faults;
#[path = "support/raw.rs"]
mod raw;
#[path = "mcp/sessions.rs"]
mod sessions;
#[path = "mcp/stateless.rs"]
mod stateless;
#[path = "mcp/stdio.rs"]
mod stdio;

use std::net::SocketAddr;

use http::Method;
use outcrop_lab::{Lab, LabConfig, billing::Record};
use raw::Answer;
use serde_json::{Value, json};

const ACCEPT: (&str, &str) = ("accept", "application/json, text/event-stream");
const TEXT: &str = "Simulated answer from desk: tok-1 tok-2 tok-3";

async fn start() -> (Lab, SocketAddr) {
    let lab = Lab::start(LabConfig::ephemeral()).await.unwrap();
    let address = lab.address("desk").unwrap();
    (lab, address)
}

async fn records(lab: &Lab, count: u64) -> Vec<Record> {
    let billing = lab.target("desk").unwrap().billing();
    billing.reached(count).await;
    billing.records()
}

/// The arguments of `converse` for one question.
fn question(text: &str) -> Value {
    json!({"model": "sonnet", "messages": [{"role": "user", "content": text}], "max_tokens": 10_000})
}

/// All JSON-RPC messages of an answer, whichever way it came.
fn messages(answer: &Answer) -> Vec<Value> {
    if answer.header("content-type").starts_with("application/json") {
        return vec![answer.json()];
    }
    answer.events().iter().map(raw::Event::json).collect()
}

/// The response among the messages.
fn response(answer: &Answer) -> Value {
    let mut responses: Vec<Value> =
        messages(answer).into_iter().filter(|message| message.get("method").is_none()).collect();
    assert_eq!(responses.len(), 1, "{answer:?}");
    responses.remove(0)
}

/// The messages of the progress notifications, in order of `progress`.
fn progress(answer: &Answer, token: &Value) -> Vec<String> {
    let messages = messages(answer);
    let notices: Vec<&Value> =
        messages.iter().filter(|message| message["method"] == "notifications/progress").collect();
    let steps: Vec<f64> =
        notices.iter().map(|notice| notice["params"]["progress"].as_f64().unwrap()).collect();
    assert!(steps.is_sorted_by(|a, b| a < b), "{steps:?}");
    assert!(notices.iter().all(|notice| notice["params"]["progressToken"] == *token));
    notices.iter().map(|notice| notice["params"]["message"].as_str().unwrap().to_owned()).collect()
}

/// A client of revision 2025-11-25.
struct Session {
    address: SocketAddr,
    id: String,
}

impl Session {
    async fn start(address: SocketAddr) -> Self {
        let params = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
        let body = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params});
        let answer = raw::post(address, "/mcp", &[ACCEPT], &body).await.unwrap();
        assert_eq!(response(&answer)["result"]["protocolVersion"], "2025-11-25");
        let session = Self { address, id: answer.header("mcp-session-id").to_owned() };
        let ready = session.notify("notifications/initialized", &json!({})).await;
        assert_eq!(ready.status, 202);
        session
    }

    fn headers(&self) -> [(&str, &str); 3] {
        [ACCEPT, ("mcp-session-id", &self.id), ("mcp-protocol-version", "2025-11-25")]
    }

    async fn notify(&self, method: &str, params: &Value) -> Answer {
        let body = json!({"jsonrpc": "2.0", "method": method, "params": params});
        raw::post(self.address, "/mcp", &self.headers(), &body).await.unwrap()
    }

    async fn ask(&self, id: u64, method: &str, params: &Value) -> Result<Answer, String> {
        let body = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        raw::post(self.address, "/mcp", &self.headers(), &body).await
    }

    async fn call(&self, tool: &str, arguments: &Value) -> Answer {
        self.ask(7, "tools/call", &json!({"name": tool, "arguments": arguments})).await.unwrap()
    }
}

/// A request of revision 2026-07-28.
fn modern(method: &str, params: &Value) -> Value {
    let mut params = params.clone();
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "t", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
        "progressToken": params["_meta"]["progressToken"],
    });
    params["_meta"] = meta;
    if params["_meta"]["progressToken"].is_null() {
        params["_meta"].as_object_mut().unwrap().remove("progressToken");
    }
    json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params})
}

/// Asks in revision 2026-07-28.
async fn ask_modern(address: SocketAddr, method: &str, params: &Value) -> Result<Answer, String> {
    let name = params["name"].as_str().unwrap_or_default();
    let mut headers = vec![ACCEPT, ("mcp-protocol-version", "2026-07-28"), ("mcp-method", method)];
    if !name.is_empty() {
        headers.push(("mcp-name", name));
    }
    raw::post(address, "/mcp", &headers, &modern(method, params)).await
}

async fn call_modern(address: SocketAddr, tool: &str, arguments: &Value) -> Answer {
    ask_modern(address, "tools/call", &json!({"name": tool, "arguments": arguments})).await.unwrap()
}

async fn delete(session: &Session) -> Answer {
    raw::send(session.address, Method::DELETE, "/mcp", &session.headers(), "").await.unwrap()
}
