//! The server on streams and as a child process, spoken to by the SDK's own client.

use std::path::Path;

use outcrop_lab::{
    billing::Record,
    mcp::{BILLING_VARIABLE, Ending, SCRIPT_VARIABLE, StdioConfig, StdioError, serve_stdio, serve_streams},
    script::{Fault, FaultKind, Script},
};
use rmcp::{
    ClientHandler, ClientLifecycleMode, ClientServiceExt as _, ErrorData, RoleClient,
    model::{CallToolRequestParams, CallToolResult, JsonObject, ProgressNotificationParam, ProtocolVersion},
    service::{NotificationContext, RunningService, ServiceError},
    transport::TokioChildProcess,
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::mpsc,
    task::JoinHandle,
};

use super::{TEXT, question};

/// A client that passes on the progress it is told.
#[derive(Clone)]
struct Listener {
    told: mpsc::Sender<ProgressNotificationParam>,
}

impl ClientHandler for Listener {
    async fn on_progress(
        &self,
        notice: ProgressNotificationParam,
        _context: NotificationContext<RoleClient>,
    ) {
        let _ = self.told.send(notice).await;
    }
}

fn listener() -> (Listener, mpsc::Receiver<ProgressNotificationParam>) {
    let (told, progress) = mpsc::channel(64);
    (Listener { told }, progress)
}

type Client = RunningService<RoleClient, Listener>;

fn modern() -> ClientLifecycleMode {
    ClientLifecycleMode::Discover { preferred_versions: vec![ProtocolVersion::V_2026_07_28] }
}

async fn connect(
    script: Script,
    lifecycle: ClientLifecycleMode,
) -> (Client, mpsc::Receiver<ProgressNotificationParam>, JoinHandle<Result<Ending, StdioError>>) {
    let (client_end, server_end) = tokio::io::duplex(64 * 1024);
    let (reader, writer) = tokio::io::split(server_end);
    let config = StdioConfig { script, seed: 1, billing: None };
    let server = tokio::spawn(serve_streams(reader, writer, config));
    let (listener, progress) = listener();
    let client = listener.serve_with_lifecycle(client_end, lifecycle).await.unwrap();
    (client, progress, server)
}

fn request(tool: &'static str, arguments: Value) -> CallToolRequestParams {
    let Value::Object(arguments) = arguments else { panic!("{arguments}") };
    let arguments: JsonObject = arguments;
    CallToolRequestParams::new(tool).with_arguments(arguments)
}

async fn call(client: &Client, tool: &'static str, arguments: Value) -> Result<CallToolResult, ServiceError> {
    client.call_tool(request(tool, arguments)).await
}

#[tokio::test]
async fn both_eras_converse() {
    for lifecycle in [ClientLifecycleMode::Initialize, modern()] {
        let (client, mut progress, server) = connect(Script::default(), lifecycle).await;
        let tools = client.list_all_tools().await.unwrap();
        assert_eq!(tools.len(), 6);
        let result = call(&client, "converse", question("[[tokens=3]]")).await.unwrap();
        assert_eq!(result.structured_content.unwrap()["content"], TEXT);
        let mut told = Vec::new();
        while told.len() < 3 {
            told.push(progress.recv().await.unwrap());
        }
        // The SDK's client hands notifications on side by side.
        told.sort_by(|a, b| a.progress.total_cmp(&b.progress));
        let text: String = told.into_iter().filter_map(|notice| notice.message).collect();
        assert_eq!(text, TEXT);
        client.cancel().await.unwrap();
        assert_eq!(server.await.unwrap().unwrap(), Ending::Closed);
    }
}

#[tokio::test]
async fn errors_keep_their_codes() {
    let fault = Fault { error_type: Some("-32050".to_owned()), ..Fault::new(FaultKind::Error).times(1) };
    let (client, _, _server) = connect(Script::faulty([fault]), ClientLifecycleMode::Initialize).await;
    let code = |outcome: Result<CallToolResult, ServiceError>| match outcome {
        Err(ServiceError::McpError(ErrorData { code, .. })) => code.0,
        other => panic!("{other:?}"),
    };
    assert_eq!(code(call(&client, "echo", json!({"text": "x"})).await), -32_050);
    assert_eq!(code(call(&client, "nope", json!({})).await), -32_602);
    assert_eq!(call(&client, "fail", json!({})).await.unwrap().is_error, Some(true));
}

#[tokio::test]
async fn noise_comes_before_the_answer() {
    let (mut client, server_end) = tokio::io::duplex(64 * 1024);
    let (reader, writer) = tokio::io::split(server_end);
    let config = StdioConfig {
        script: Script::faulty([Fault::new(FaultKind::Garbage).times(1)]),
        ..StdioConfig::default()
    };
    let server = tokio::spawn(serve_streams(reader, writer, config));
    let params = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
    let lines = [
        json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}),
        json!({"jsonrpc": "2.0", "method": "notifications/initialized"}),
        json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "echo", "arguments": {"text": "x"}}}),
    ];
    for line in lines {
        client.write_all(format!("{line}\n").as_bytes()).await.unwrap();
    }
    let mut stdout = Vec::new();
    while !String::from_utf8_lossy(&stdout).contains("\"id\":1") {
        assert_ne!(client.read_buf(&mut stdout).await.unwrap(), 0);
    }
    let stdout = String::from_utf8_lossy(&stdout).into_owned();
    let lines: Vec<&str> = stdout.lines().collect();
    assert!(lines[0].starts_with("{\"jsonrpc\"") && lines[1].starts_with("Debugger listening"), "{lines:?}");
    drop(client);
    assert_eq!(server.await.unwrap().unwrap(), Ending::Closed);
}

#[tokio::test]
async fn the_server_exits_where_the_script_says() {
    let half = Fault::new(FaultKind::CutMidFrame).after(0);
    for fault in [Fault::new(FaultKind::ResetBefore), Fault::new(FaultKind::Cut).after(0), half] {
        let (client, _, server) = connect(Script::faulty([fault]), ClientLifecycleMode::Initialize).await;
        call(&client, "echo", json!({"text": "x"})).await.unwrap_err();
        assert_eq!(server.await.unwrap().unwrap(), Ending::Exit);
    }
    let (client, _, server) = connect(Script::faulty([Fault::new(FaultKind::ResetAfter)]), modern()).await;
    call(&client, "echo", json!({"text": "x"})).await.unwrap();
    assert_eq!(server.await.unwrap().unwrap(), Ending::Exit);
}

/// Marks the process that is to be the server; this test binary plays both parts.
const CHILD_VARIABLE: &str = "OUTCROP_LAB_TEST_CHILD";

#[tokio::test]
async fn as_the_child() {
    if std::env::var_os(CHILD_VARIABLE).is_some() {
        serve_stdio().await.unwrap();
    }
}

/// A process that serves; what the test harness prints first is noise that a client has to skip.
fn child(script: &Script, billing: &Path) -> tokio::process::Command {
    let mut command = tokio::process::Command::new(std::env::current_exe().unwrap());
    command.args(["stdio::as_the_child", "--exact", "--nocapture"]).env(CHILD_VARIABLE, "1");
    command.env(SCRIPT_VARIABLE, serde_json::to_string(script).unwrap()).env(BILLING_VARIABLE, billing);
    command
}

#[tokio::test]
async fn a_child_process_serves_records_and_exits() {
    let directory = std::env::temp_dir().join(format!("outcrop-lab-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let billing = directory.join("billing.jsonl");
    let script = Script::faulty([Fault::new(FaultKind::ResetAfter).on("write_note")]);
    let child = TokioChildProcess::new(child(&script, &billing)).unwrap();
    let client = listener().0.serve_with_lifecycle(child, ClientLifecycleMode::Initialize).await.unwrap();
    assert_eq!(
        call(&client, "add", json!({"a": 1, "b": 2})).await.unwrap().structured_content,
        Some(json!({"sum": 3.0}))
    );
    call(&client, "write_note", json!({"text": "x"})).await.unwrap();
    client.waiting().await.unwrap();
    let lines = std::fs::read_to_string(&billing).unwrap();
    std::fs::remove_dir_all(&directory).unwrap();
    let records: Vec<Record> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let operations: Vec<&str> = records.iter().map(|record| record.operation.as_str()).collect();
    assert_eq!(operations, ["add", "write_note"]);
}
