//! Revision 2025-11-25: sessions.

use serde_json::{Value, json};

use super::{Session, TEXT, delete, progress, question, raw, records, response, start};
use outcrop_lab::script::{Script, Spread};

#[tokio::test]
async fn the_handshake_names_the_server_and_lists_its_tools() {
    let (_lab, address) = start().await;
    let session = Session::start(address).await;
    let list = response(&session.ask(1, "tools/list", &json!({})).await.unwrap());
    let tools = list["result"]["tools"].as_array().unwrap();
    let names: Vec<&str> = tools.iter().map(|tool| tool["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["converse", "echo", "slow", "fail", "add", "write_note"]);
    assert_eq!(tools[0]["annotations"]["readOnlyHint"], true);
    assert_eq!(tools[5]["annotations"]["destructiveHint"], true);
    assert!(list["result"].get("resultType").is_none());
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"});
    let without = raw::post(address, "/mcp", &[super::ACCEPT], &body).await.unwrap();
    assert_eq!(without.status, 400);
}

#[tokio::test]
async fn a_conversation_reports_its_text_as_progress_and_gives_it_whole() {
    let (lab, address) = start().await;
    let session = Session::start(address).await;
    let params =
        json!({"name": "converse", "arguments": question("[[tokens=3]]"), "_meta": {"progressToken": "p-1"}});
    let answer = session.ask(7, "tools/call", &params).await.unwrap();
    assert_eq!(progress(&answer, &json!("p-1")).concat(), TEXT);
    let result = response(&answer)["result"].clone();
    assert_eq!(result["content"], json!([{"type": "text", "text": TEXT}]));
    let structured = &result["structuredContent"];
    assert_eq!(
        (structured["model"].as_str(), structured["role"].as_str()),
        (Some("sonnet"), Some("assistant"))
    );
    assert_eq!(
        (structured["content"].as_str(), structured["finish_reason"].as_str()),
        (Some(TEXT), Some("stop"))
    );
    assert_eq!(structured["usage"]["completion_tokens"], 3);
    let record = records(&lab, 1).await.remove(0);
    assert_eq!(
        (record.operation.as_str(), record.model.as_str(), record.output_tokens),
        ("converse", "sonnet", 3)
    );
    assert_eq!(Some(record.input_tokens), structured["usage"]["prompt_tokens"].as_u64());
    assert!(record.executed && record.completed && record.stream && record.cost_nusd > 0);
}

#[tokio::test]
async fn tool_calls_results_and_limits_travel() {
    let (_lab, address) = start().await;
    let session = Session::start(address).await;
    let mut asked = question("[[tool]]");
    asked["tools"] = json!([{"type": "function", "function": {"name": "look_up", "parameters": {
        "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}]);
    let called = response(&session.call("converse", &asked).await)["result"]["structuredContent"].clone();
    assert_eq!(called["finish_reason"], "tool_calls");
    let call = &called["tool_calls"][0];
    let arguments: Value = serde_json::from_str(call["function"]["arguments"].as_str().unwrap()).unwrap();
    assert_eq!(
        (call["function"]["name"].as_str(), arguments["city"].as_str()),
        (Some("look_up"), Some("sample city"))
    );
    asked["messages"] = json!([
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": null, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": call["id"], "content": "18 degrees"}]);
    let told = response(&session.call("converse", &asked).await)["result"]["structuredContent"].clone();
    assert_eq!(told["content"], "Tool said: 18 degrees");
    let mut limited = question("hi");
    limited["max_tokens"] = json!(2);
    let short = response(&session.call("converse", &limited).await)["result"]["structuredContent"].clone();
    assert_eq!(
        (short["finish_reason"].as_str(), short["usage"]["completion_tokens"].as_u64()),
        (Some("length"), Some(2))
    );
}

#[tokio::test]
async fn the_small_tools_do_what_they_say() {
    let (lab, address) = start().await;
    let session = Session::start(address).await;
    let result = async |tool: &str, arguments: Value| {
        response(&session.call(tool, &arguments).await)["result"].clone()
    };
    assert_eq!(result("echo", json!({"text": "hello"})).await["content"][0]["text"], "hello");
    assert_eq!(result("add", json!({"a": 2, "b": 0.5})).await["structuredContent"]["sum"], 2.5);
    assert_eq!(result("fail", json!({})).await["isError"], true);
    assert_eq!(result("write_note", json!({"text": "a"})).await["structuredContent"]["executions"], 1);
    assert_eq!(result("write_note", json!({"text": "a"})).await["structuredContent"]["executions"], 2);
    let slow = json!({"name": "slow", "arguments": {"ms": 10}, "_meta": {"progressToken": 3}});
    let answer = session.ask(8, "tools/call", &slow).await.unwrap();
    assert_eq!(progress(&answer, &json!(3)).len(), 10);
    let records = records(&lab, 6).await;
    let notes = records.iter().filter(|record| record.operation == "write_note" && record.executed);
    assert_eq!(notes.count(), 2);
    assert!(records.iter().all(|record| record.completed && record.cost_nusd > 0));
    lab.reset(1).await;
    assert_eq!(result("write_note", json!({"text": "a"})).await["structuredContent"]["executions"], 1);
}

#[tokio::test]
async fn errors_are_spelled_as_mcp_spells_them() {
    let (lab, address) = start().await;
    let session = Session::start(address).await;
    let unknown = session.call("nope", &json!({})).await;
    assert_eq!((unknown.status.as_u16(), response(&unknown)["error"]["code"].as_i64()), (200, Some(-32_602)));
    let invalid = response(&session.call("converse", &json!({"model": "sonnet"})).await)["result"].clone();
    assert_eq!(invalid["isError"], true);
    assert!(invalid["content"][0]["text"].as_str().unwrap().contains("'messages'"));
    let method = response(&session.ask(9, "no/such", &json!({})).await.unwrap());
    assert_eq!(method["error"]["code"], -32_601);
    lab.script("desk", Script { tpm: Some(100), ..Script::default() }).await.unwrap();
    let spent = response(&session.call("converse", &question("hi")).await)["result"].clone();
    assert_eq!(
        (spent["isError"].as_bool(), spent["structuredContent"]["error"]["type"].as_str()),
        (Some(true), Some("rate_limit"))
    );
    assert!(records(&lab, 1).await.iter().all(|record| !record.executed && !record.client_gone));
}

#[tokio::test]
async fn a_cancelled_call_stops_and_says_so_on_the_bill() {
    let (lab, address) = start().await;
    let session = Session::start(address).await;
    lab.script("desk", Script { pace_ms: Some(Spread::Fixed(20.0)), ..Script::default() }).await.unwrap();
    let params =
        json!({"name": "converse", "arguments": question("[[tokens=5000]]"), "_meta": {"progressToken": 1}});
    let body = json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params}).to_string();
    let headers = [&session.headers()[..], &[("content-type", "application/json")]].concat();
    let mut answer = raw::open(address, http::Method::POST, "/mcp", &headers, body).await.unwrap();
    for _ in 0..3 {
        http_body_util::BodyExt::frame(&mut answer).await.unwrap().unwrap();
    }
    session.notify("notifications/cancelled", &json!({"requestId": 7})).await;
    let record = records(&lab, 1).await.remove(0);
    assert!(record.client_gone && record.executed && !record.completed, "{record:?}");
    assert!((1..5_000).contains(&record.output_tokens), "{record:?}");
}

#[tokio::test]
async fn an_ended_session_is_unknown() {
    let (_lab, address) = start().await;
    let session = Session::start(address).await;
    assert!(delete(&session).await.status.is_success());
    assert_eq!(session.call("echo", &json!({"text": "x"})).await.status, 404);
}
