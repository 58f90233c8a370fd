//! The door: hosts, origins, sessions of the older era.

use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::house::{House, PLENTY};
use crate::gateway::Limits;
use crate::mcp::endpoint::MESSAGE_BYTES_MAX;

fn initialize() -> Value {
    json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
        "protocolVersion": "2025-11-25", "capabilities": {},
        "clientInfo": {"name": "t", "version": "1"},
    }})
}

fn request(id: u32, method: &str, params: &Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params})
}

async fn session(house: &House, caller: &str) -> String {
    let (answer, json) = house.post(&[("x-caller", caller)], &initialize()).await;
    assert_eq!(json["result"]["protocolVersion"], "2025-11-25", "{}", answer.text);
    let session = answer.session.unwrap();
    let headers = [("x-caller", caller), ("mcp-session-id", &*session)];
    let note = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    assert_eq!(house.post(&headers, &note).await.0.status, StatusCode::ACCEPTED);
    session
}

#[tokio::test]
async fn only_known_hosts_and_origins_are_answered() {
    let house = House::open().await;
    for (host, origin, expected) in [
        ("127.0.0.1", None, 200),
        ("localhost:8080", Some("http://localhost:3000"), 200),
        ("[::1]", Some("https://127.0.0.1"), 200),
        ("gateway.example", Some("https://gateway.example"), 200),
        ("evil.example", None, 403),
        ("127.0.0.1.evil.example", None, 403),
        ("gateway.example.evil.example", None, 403),
        ("127.0.0.1", Some("https://evil.example"), 403),
        ("127.0.0.1", Some("http://gateway.example"), 403),
        ("127.0.0.1", Some("null"), 403),
    ] {
        let mut headers = vec![("host", host)];
        headers.extend(origin.map(|origin| ("origin", origin)));
        let (answer, _) = house.post(&headers, &initialize()).await;
        assert_eq!(answer.status.as_u16(), expected, "{host} {origin:?}: {}", answer.text);
    }
    house.close().await;
}

#[tokio::test]
async fn a_session_belongs_to_its_caller_until_it_is_ended() {
    let house = House::open().await;
    let session = session(&house, "anna").await;
    let list = request(1, "tools/list", &json!({}));
    let as_caller = |name: &'static str| [("x-caller", name), ("mcp-session-id", &*session)];
    let (_, json) = house.post(&as_caller("anna"), &list).await;
    assert_eq!(json["result"]["tools"][0]["name"], "converse");
    for stranger in ["bert", "poor"] {
        for method in ["POST", "DELETE", "GET"] {
            let headers = as_caller(stranger).into_iter().chain([("last-event-id", "0")]);
            let headers: Vec<_> = headers.collect();
            let answer = house.send(method, &headers, list.to_string()).await;
            assert_eq!(answer.status, StatusCode::NOT_FOUND, "{stranger} {method}");
        }
    }
    let standing = house.send("GET", &as_caller("anna"), String::new()).await;
    assert_eq!(standing.status, StatusCode::METHOD_NOT_ALLOWED);
    let ended = house.send("DELETE", &as_caller("anna"), String::new()).await;
    assert!(ended.status.is_success());
    let (after, _) = house.post(&as_caller("anna"), &list).await;
    assert_eq!(after.status, StatusCode::NOT_FOUND, "the client must initialise again");
    house.close().await;
}

#[tokio::test]
async fn a_caller_sees_its_own_models_in_the_older_era_too() {
    let house = House::open().await;
    let session = session(&house, "poor").await;
    let headers = [("x-caller", "poor"), ("mcp-session-id", &*session)];
    let (_, json) = house.post(&headers, &request(1, "tools/list", &json!({}))).await;
    let model = &json["result"]["tools"][0]["inputSchema"]["properties"]["model"];
    assert_eq!(model["enum"], json!(["nova"]));
    house.close().await;
}

#[tokio::test]
async fn the_older_era_gets_text_as_progress_before_the_result() {
    let house = House::open().await;
    let session = session(&house, "anna").await;
    let headers = [("x-caller", "anna"), ("mcp-session-id", &*session)];
    let arguments = json!({"model": "sonnet", "messages": [{"role": "user", "content": "hi"}]});
    let params = json!({"name": "converse", "arguments": arguments, "_meta": {"progressToken": "p1"}});
    let (answer, result) = house.post(&headers, &request(3, "tools/call", &params)).await;
    assert_eq!(result["result"]["structuredContent"]["content"], "one two three");
    let events = answer.text.lines().filter_map(|line| line.strip_prefix("data: "));
    let told: String = events
        .filter_map(|event| serde_json::from_str::<Value>(event).ok())
        .filter(|event| event["method"] == "notifications/progress")
        .inspect(|event| assert_eq!(event["params"]["progressToken"], "p1"))
        .filter_map(|event| event["params"]["message"].as_str().map(str::to_owned))
        .collect();
    assert_eq!(told, "one two three");
    house.close().await;
}

#[tokio::test]
async fn the_older_era_cancels_with_a_notification() {
    let house = House::open().await;
    let session = session(&house, "anna").await;
    let headers = [("x-caller", "anna"), ("mcp-session-id", &*session)];
    let call = request(7, "tools/call", &json!({"name": "desk__hang"}));
    let cancel = json!({"jsonrpc": "2.0", "method": "notifications/cancelled",
        "params": {"requestId": 7}});
    let cancelling = async {
        house.desk.reached.notified().await;
        assert_eq!(house.post(&headers, &cancel).await.0.status, StatusCode::ACCEPTED);
        tokio::time::timeout(PLENTY, house.desk.cancelled.notified()).await.unwrap();
    };
    let (_, ()) = tokio::join!(house.post(&headers, &call), cancelling);
    house.close().await;
}

#[tokio::test]
async fn ending_a_session_cancels_the_calls_in_it_and_no_others() {
    let house = House::open().await;
    let (one, other) = (session(&house, "anna").await, session(&house, "anna").await);
    let in_session = |session| [("x-caller", "anna"), ("mcp-session-id", session)];
    let (first, second) = (in_session(&*one), in_session(&*other));
    let call = request(7, "tools/call", &json!({"name": "desk__hang"}));
    // The SDK lets go of what ran in a session by itself, after ten seconds.
    let soon = Duration::from_secs(5);
    let cancelled = async || tokio::time::timeout(soon, house.desk.cancelled.notified()).await.unwrap();
    let ending = async {
        house.desk.reached.notified().await;
        house.desk.reached.notified().await;
        assert!(house.send("DELETE", &first, String::new()).await.status.is_success());
        cancelled().await;
        let more = tokio::time::timeout(Duration::from_millis(100), house.desk.cancelled.notified()).await;
        assert!(more.is_err(), "the other session goes on");
        assert!(house.send("DELETE", &second, String::new()).await.status.is_success());
        cancelled().await;
    };
    tokio::join!(house.post(&first, &call), house.post(&second, &call), ending);
    house.close().await;
}

#[tokio::test]
async fn sessions_are_bounded_per_caller() {
    let house = House::open().await;
    let mut last = String::new();
    for _ in 0..256 {
        let (answer, _) = house.post(&[("x-caller", "anna")], &initialize()).await;
        last = answer.session.unwrap();
    }
    let open = async |caller| house.post(&[("x-caller", caller)], &initialize()).await.0.status;
    assert_eq!(open("anna").await, StatusCode::SERVICE_UNAVAILABLE);
    let claim = [("x-caller", "anna"), ("mcp-protocol-version", "2026-07-28")];
    let mut claiming = initialize();
    claiming["params"]["protocolVersion"] = "2026-07-28".into();
    let (answer, _) = house.post(&claim, &claiming).await;
    assert_eq!((answer.status, answer.session), (StatusCode::SERVICE_UNAVAILABLE, None));
    assert_eq!(open("bert").await, StatusCode::OK);
    let headers = [("x-caller", "anna"), ("mcp-session-id", &*last)];
    assert!(house.send("DELETE", &headers, String::new()).await.status.is_success());
    assert_eq!(open("anna").await, StatusCode::OK);
    house.close().await;
}

/// The status line for a request that announces `length` bytes and sends only one.
async fn unfinished(house: &House, length: usize) -> String {
    let mut socket = tokio::net::TcpStream::connect(house.address).await.unwrap();
    let head = format!(
        "POST /mcp HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         accept: application/json, text/event-stream\r\ncontent-length: {length}\r\n\r\n{{"
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut line = [0; 12];
    tokio::time::timeout(PLENTY, socket.read_exact(&mut line)).await.unwrap().unwrap();
    String::from_utf8_lossy(&line).into_owned()
}

#[tokio::test]
async fn a_message_must_arrive_in_time_and_be_small() {
    let limits = Limits { body_idle_max: Duration::from_millis(50), ..Limits::default() };
    let house = House::open_with(limits).await;
    assert_eq!(unfinished(&house, 100).await, "HTTP/1.1 408");
    assert_eq!(unfinished(&house, MESSAGE_BYTES_MAX).await, "HTTP/1.1 408");
    assert_eq!(unfinished(&house, MESSAGE_BYTES_MAX + 1).await, "HTTP/1.1 413");
    house.close().await;
}

#[tokio::test]
async fn the_body_decides_and_a_header_that_differs_is_refused() {
    let house = House::open().await;
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {
        "name": "desk__note", "_meta": {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientInfo": {"name": "t", "version": "1"},
            "io.modelcontextprotocol/clientCapabilities": {},
        },
    }});
    let headers =
        [("mcp-protocol-version", "2026-07-28"), ("mcp-method", "tools/call"), ("mcp-name", "models")];
    let (answer, json) = house.post(&headers, &body).await;
    assert_eq!((answer.status, &json["error"]["code"]), (StatusCode::BAD_REQUEST, &json!(-32_020)));
    house.close().await;
}
