//! A keyed tool runs once for each key, whoever asks again and however the first call ended.

use std::net::SocketAddr;

use http::Method;
use outcrop_lab::script::{Fault, FaultKind, Script, Spread};
use serde_json::{Value, json};

use crate::{
    client::{self, Answer},
    house::{House, Setup, eventually, within},
};

pub(crate) const KEYED: &str =
    "effect = \"read_only\"\neffects = { write_note = \"keyed\", echo = \"read_only\" }";

async fn house() -> House {
    House::set_up(Setup { desk: KEYED.to_owned(), ..Setup::default() }).await
}

/// A call of one of the lab's tools through the MCP endpoint at `address`.
pub(crate) async fn call(address: SocketAddr, tool: &str, arguments: Value, key: &str) -> Answer {
    call_with(address, tool, arguments, ("idempotency-key", key), json!({})).await
}

async fn call_with(
    address: SocketAddr,
    tool: &str,
    arguments: Value,
    header: (&str, &str),
    mut meta: Value,
) -> Answer {
    let name = format!("desk__{tool}");
    meta["io.modelcontextprotocol/protocolVersion"] = "2026-07-28".into();
    meta["io.modelcontextprotocol/clientInfo"] = json!({"name": "t", "version": "1"});
    meta["io.modelcontextprotocol/clientCapabilities"] = json!({});
    let body = json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {
        "name": name, "arguments": arguments, "_meta": meta
    }});
    let headers = [
        ("content-type", "application/json"),
        ("accept", "application/json, text/event-stream"),
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "tools/call"),
        ("mcp-name", name.as_str()),
        header,
    ];
    within(tool, client::send(address, Method::POST, "/mcp", &headers, body.to_string())).await.unwrap()
}

async fn note(house: &House, text: &str, key: &str) -> Answer {
    call(house.data(), "write_note", json!({"text": text}), key).await
}

/// A note that has reached its server and gets no answer.
async fn under_way(house: &House) -> tokio::task::JoinHandle<Answer> {
    let address = house.data();
    let asking = tokio::spawn(async move { call(address, "write_note", json!({"text": "a"}), "one").await });
    eventually("the call arrives", async || (!house.seen("desk").is_empty()).then_some(())).await;
    asking
}

/// Its caller has left: once that is noticed, nobody knows whether it ran.
async fn its_outcome_is_unknown(house: &House) {
    house.heal("desk").await;
    let answer = eventually("the gateway notices", async || {
        let answer = note(house, "a", "one").await;
        (code(&answer) != "idempotency_key_in_use").then_some(answer)
    })
    .await;
    assert_eq!(code(&answer), "outcome_unknown", "{answer:?}");
}

/// How many notes there were with this one.
fn written(answer: &Answer) -> Option<u64> {
    answer.json().pointer("/result/structuredContent/executions")?.as_u64()
}

pub(crate) fn code(answer: &Answer) -> String {
    answer.json()["error"]["data"]["code"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn the_same_key_gives_the_same_result() {
    let house = house().await;
    for _ in 0..3 {
        let answer = note(&house, "a", "one").await;
        assert_eq!(written(&answer), Some(1), "{answer:?}");
    }
    assert_eq!(written(&note(&house, "a", "two").await), Some(2), "another key is another call");
    let other = note(&house, "b", "one").await;
    assert_eq!((code(&other).as_str(), house.seen("desk").len()), ("idempotency_key_reused", 2), "{other:?}");
    // In the call itself it is the same key.
    let meta = json!({"idempotency-key": "one"});
    let arguments = json!({"text": "a"});
    let answer = call_with(house.data(), "write_note", arguments, ("x-none", ""), meta).await;
    assert_eq!((written(&answer), house.seen("desk").len()), (Some(1), 2), "{answer:?}");
    let wrong = note(&house, "a", "two words").await;
    assert_eq!(code(&wrong), "invalid_request", "{wrong:?}");
}

#[tokio::test]
async fn a_key_means_nothing_for_a_tool_that_is_not_keyed() {
    let house = house().await;
    for calls in 1..=2 {
        call(house.data(), "echo", json!({"text": "a"}), "one").await;
        assert_eq!(house.seen("desk").len(), calls);
    }
}

#[tokio::test]
async fn two_at_once_run_once() {
    let house = house().await;
    let slow = Script { latency_ms: Some(Spread::Fixed(300.0)), ..Script::default() };
    house.lab.script("desk", slow).await.unwrap();
    let calls = (0..8).map(|_| note(&house, "a", "one"));
    let answers = futures_util::future::join_all(calls).await;
    assert_eq!(house.seen("desk").len(), 1, "it reached its server once");
    let same = answers.iter().filter(|answer| written(answer) == Some(1)).count();
    assert_eq!(same, 8, "those that came later waited for its result: {answers:?}");
    assert_eq!(written(&note(&house, "a", "one").await), Some(1));
}

#[tokio::test]
async fn whoever_waits_for_a_call_waits_no_longer_than_its_deadline_and_runs_what_did_not() {
    let house = house().await;
    house.break_path("desk", Fault::new(FaultKind::Hang)).await;
    let asking = under_way(&house).await;
    let (arguments, deadline) = (json!({"text": "a"}), ("x-outcrop-deadline-ms", "300"));
    let answer =
        call_with(house.data(), "write_note", arguments, deadline, json!({"idempotency-key": "one"})).await;
    assert_eq!(code(&answer), "idempotency_key_in_use", "{answer:?}");
    asking.abort();
    its_outcome_is_unknown(&house).await;
}

#[tokio::test]
async fn an_unknown_outcome_stays_until_the_operator_clears_it() {
    let house = house().await;
    house.break_path("desk", Fault { executed: Some(true), ..Fault::new(FaultKind::ResetBefore) }).await;
    assert_eq!(code(&note(&house, "a", "one").await), "outcome_unknown");
    house.heal("desk").await;
    let before = house.seen("desk").len();
    for _ in 0..3 {
        let answer = note(&house, "a", "one").await;
        assert_eq!(code(&answer), "outcome_unknown", "{answer:?}");
    }
    assert_eq!(house.seen("desk").len(), before, "it is not run again");
    let kept = house.admin("/admin/v1/keyed").await.json();
    assert_eq!((&kept[0]["key"], &kept[0]["state"]), (&json!("one"), &json!("unknown")), "{kept}");
    let order = json!({"caller": kept[0]["caller"], "key": "one"}).to_string();
    let cleared = house.admin_as("", Method::POST, "/admin/v1/keyed/clear", &order).await;
    assert_eq!(cleared.status, 200, "{cleared:?}");
    assert!(written(&note(&house, "a", "one").await).is_some());
    let again =
        house.admin_as("", Method::POST, "/admin/v1/keyed/clear", "{\"caller\":\"x\",\"key\":\"y\"}").await;
    assert_eq!(again.status, 404, "{again:?}");
}

#[tokio::test]
async fn what_never_left_frees_its_key() {
    let house = house().await;
    house.take_down("desk").await;
    assert_eq!(code(&note(&house, "a", "one").await), "upstream_failed");
    house.heal("desk").await;
    assert_eq!(written(&note(&house, "a", "one").await), Some(1));
}

#[tokio::test]
async fn a_caller_that_leaves_leaves_an_unknown_outcome() {
    let house = house().await;
    house.break_path("desk", Fault { executed: Some(true), ..Fault::new(FaultKind::Hang) }).await;
    let asking = under_way(&house).await;
    asking.abort();
    assert!(asking.await.unwrap_err().is_cancelled());
    its_outcome_is_unknown(&house).await;
}

#[tokio::test]
async fn a_dead_tool_is_not_called_again_and_again() {
    let house = house().await;
    house.break_path("desk", Fault::new(FaultKind::ResetBefore)).await;
    let echo = async |text: &str| call(house.data(), "echo", json!({"text": text}), "k").await;
    for text in ["a", "b", "c"] {
        assert_eq!(code(&echo(text).await), "outcome_unknown");
    }
    let before = house.seen("desk").len();
    let answer = echo("d").await;
    let result = &answer.json()["result"];
    assert!(result["isError"] == true && answer.text().contains("Do not retry"), "{answer:?}");
    assert_eq!(house.seen("desk").len(), before, "it is not asked");
    house.heal("desk").await;
    let answer = note(&house, "a", "one").await;
    assert_eq!(written(&answer), Some(1), "another tool of the same server is not judged by it: {answer:?}");
    let rested = call(house.data(), "echo", json!({"text": "a"}), "k").await;
    assert!(rested.text().contains("Do not retry"), "{rested:?}");
}
