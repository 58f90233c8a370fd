//! Revision 2026-07-28: no handshake, no session.

use http::Method;
use http_body_util::BodyExt as _;
use outcrop_lab::script::{Script, Spread};
use serde_json::json;

use super::{
    ACCEPT, TEXT, ask_modern, call_modern, modern, progress, question, raw, records, response, start,
};

#[tokio::test]
async fn the_server_is_discovered_and_lists_its_tools_with_cache_hints() {
    let (_lab, address) = start().await;
    let answer = ask_modern(address, "server/discover", &json!({})).await.unwrap();
    assert_eq!(answer.header("mcp-session-id"), "");
    let found = response(&answer)["result"].clone();
    assert_eq!(found["resultType"], "complete");
    let versions = found["supportedVersions"].as_array().unwrap();
    assert!(versions.contains(&json!("2026-07-28")) && versions.contains(&json!("2025-11-25")));
    let list = response(&ask_modern(address, "tools/list", &json!({})).await.unwrap())["result"].clone();
    assert!(list["ttlMs"].is_u64() && list["cacheScope"].is_string());
    assert_eq!(list["tools"][0]["name"], "converse");
}

#[tokio::test]
async fn a_conversation_is_one_json_answer_or_a_stream_with_progress() {
    let (lab, address) = start().await;
    let whole = call_modern(address, "converse", &question("[[tokens=3]]")).await;
    assert!(whole.header("content-type").starts_with("application/json"));
    let result = response(&whole)["result"].clone();
    assert_eq!(
        (result["resultType"].as_str(), result["structuredContent"]["content"].as_str()),
        (Some("complete"), Some(TEXT))
    );
    let params =
        json!({"name": "converse", "arguments": question("[[tokens=3]]"), "_meta": {"progressToken": 5}});
    let streamed = ask_modern(address, "tools/call", &params).await.unwrap();
    assert!(streamed.header("content-type").starts_with("text/event-stream"));
    assert_eq!(progress(&streamed, &json!(5)).concat(), TEXT);
    assert_eq!(response(&streamed)["result"], result);
    let records = records(&lab, 2).await;
    assert_eq!((records[0].stream, records[1].stream), (false, true));
    assert!(records.iter().all(|record| record.completed && record.output_tokens == 3));
}

#[tokio::test]
async fn headers_that_contradict_the_body_are_refused() {
    let (lab, address) = start().await;
    let body = modern("tools/call", &json!({"name": "write_note", "arguments": {"text": "x"}}));
    let headers =
        [ACCEPT, ("mcp-protocol-version", "2026-07-28"), ("mcp-method", "tools/call"), ("mcp-name", "echo")];
    let answer = raw::post(address, "/mcp", &headers, &body).await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.json()["error"]["code"].as_i64()), (400, Some(-32_020)));
    let mut unknown = modern("tools/list", &json!({}));
    unknown["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!("2099-01-01");
    let headers = [ACCEPT, ("mcp-protocol-version", "2099-01-01"), ("mcp-method", "tools/list")];
    let answer = raw::post(address, "/mcp", &headers, &unknown).await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.json()["error"]["code"].as_i64()), (400, Some(-32_022)));
    assert!(lab.billing().iter().all(|record| !record.executed));
}

#[tokio::test]
async fn errors_are_spelled_as_mcp_spells_them() {
    let (_lab, address) = start().await;
    let unknown = call_modern(address, "nope", &json!({})).await;
    assert_eq!(response(&unknown)["error"]["code"], -32_602);
    assert_eq!(response(&call_modern(address, "fail", &json!({})).await)["result"]["isError"], true);
}

#[tokio::test]
async fn leaving_the_stream_is_cancellation() {
    let (lab, address) = start().await;
    lab.script("desk", Script { pace_ms: Some(Spread::Fixed(20.0)), ..Script::default() }).await.unwrap();
    let params =
        json!({"name": "converse", "arguments": question("[[tokens=5000]]"), "_meta": {"progressToken": 1}});
    let headers = [
        ACCEPT,
        ("content-type", "application/json"),
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "tools/call"),
        ("mcp-name", "converse"),
    ];
    let body = modern("tools/call", &params).to_string();
    let mut answer = raw::open(address, Method::POST, "/mcp", &headers, body).await.unwrap();
    for _ in 0..3 {
        answer.frame().await.unwrap().unwrap();
    }
    drop(answer);
    let record = records(&lab, 1).await.remove(0);
    assert!(record.client_gone && record.executed && !record.completed, "{record:?}");
    assert!((1..5_000).contains(&record.output_tokens), "{record:?}");
}
