//! Tools: what is listed, what a call becomes, and how it fails.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use outcrop_core::failure::Failure;
use outcrop_core::reply::ChatReply;
use outcrop_core::{AttemptId, Class, Priority, Protocol, Reason, RequestId};
use outcrop_policy::admission::Arrival;
use outcrop_upstream::mcp::ToolCall;
use outcrop_upstream::{AnswerBody, Attempt, Dispatch, Path};
use outcrop_wire::{Envelope, Route, TargetModel};
use rmcp::model::{CallToolResult, JsonObject};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::house::{House, PLENTY};
use crate::slots::{Admission, Arrived, Slots};

fn arguments(value: &Value) -> Option<JsonObject> {
    value.as_object().cloned()
}

fn chat(text: &str) -> Option<JsonObject> {
    arguments(&json!({"model": "sonnet", "messages": [{"role": "user", "content": text}]}))
}

async fn call(house: &House, tool: &str, arguments: Option<JsonObject>) -> Result<CallToolResult, Failure> {
    let call = ToolCall { tool, arguments, repeatable: false };
    house.client().call_tool(call, &Dispatch::untold(), Instant::now() + PLENTY).await
}

/// The answer to a stream of the client's own gateway; each piece lets the server go on.
async fn stream(house: &House, text: &str) -> Result<ChatReply, Failure> {
    let body = json!({"model": "x", "stream": true, "messages": [{"role": "user", "content": text}]});
    let route = Route { protocol: Protocol::OpenAiChat, model: None, stream: None };
    let envelope = Envelope::open(&route, Bytes::from(body.to_string()), &outcrop_wire::Limits::default());
    let attempt = Attempt {
        tier: None,
        id: &AttemptId { request: RequestId::new("r"), number: 1 },
        envelope: &envelope.unwrap(),
        model: TargetModel { id: "sonnet", max_tokens_default: None, max_tokens_cap: None },
        deadline: Instant::now() + PLENTY,
        slow_at: Instant::now() + PLENTY,
        headers: &[],
        dispatch: &Dispatch::untold(),
    };
    let path: &Path = house.client.path("front").unwrap();
    let AnswerBody::Stream(mut stream) = path.attempt(attempt).await?.body else {
        panic!("a stream was asked for")
    };
    let mut reply = ChatReply::default();
    while let Some(item) = stream.next().await? {
        for event in item.events {
            if matches!(event, outcrop_core::Event::Delta { .. }) {
                house.desk.go_on.notify_one();
            }
            reply.absorb(event);
        }
    }
    Ok(reply)
}

#[tokio::test]
async fn tools_are_those_of_the_gateway_and_of_every_server_that_answers() {
    let house = House::open().await;
    let catalogue = house.client().list_tools(Instant::now() + PLENTY).await.unwrap();
    let names: Vec<&str> = catalogue.tools.iter().map(|tool| &*tool.name).collect();
    assert_eq!(names, ["converse", "models", "desk__note", "desk__hang"]);
    let model = &catalogue.tools[0].input_schema["properties"]["model"];
    assert_eq!(model["enum"], json!(["lost", "nova", "sonnet"]));
    let models = call(&house, "models", None).await.unwrap();
    assert_eq!(models.structured_content.unwrap()["models"], json!(["lost", "nova", "sonnet"]));
    house.close().await;
}

#[tokio::test]
async fn a_chat_goes_through_the_exchange_and_comes_back_whole() {
    let house = House::open().await;
    let result = call(&house, "converse", chat("hello")).await.unwrap();
    let answer = result.structured_content.unwrap();
    assert_eq!(answer["content"], "one two three");
    assert_eq!(answer["finish_reason"], "stop");
    assert_eq!(answer["usage"]["total_tokens"], 7);
    assert_eq!(result.content[0].as_text().unwrap().text, "one two three");
    let meta = result.meta.unwrap();
    assert_eq!(meta.0["x-outcrop-path"], "desk");
    assert_eq!(meta.0["x-outcrop-request-id"].as_str().unwrap().len(), 36);
    house.close().await;
}

#[tokio::test]
async fn text_travels_as_progress_through_two_gateways() {
    let house = House::open().await;
    // The server waits after its first word until the client has read it.
    let reply = stream(&house, "pause").await.unwrap();
    assert_eq!(reply.parts, [outcrop_core::ask::Part::Text("one two three".into())]);
    assert_eq!((reply.usage.input, reply.usage.output), (Some(3), Some(4)));
    house.close().await;
}

#[tokio::test]
async fn a_client_that_leaves_cancels_its_call_at_the_server_behind() {
    let house = House::open().await;
    for (tool, arguments) in [("converse", chat("hang")), ("desk__hang", None)] {
        tokio::select! {
            answer = call(&house, tool, arguments) => panic!("a hanging tool answered: {answer:?}"),
            () = house.desk.reached.notified() => {}
        }
        tokio::time::timeout(PLENTY, house.desk.cancelled.notified()).await.unwrap();
    }
    tokio::select! {
        answer = stream(&house, "hang") => panic!("a hanging tool answered: {answer:?}"),
        () = house.desk.reached.notified() => {}
    }
    tokio::time::timeout(PLENTY, house.desk.cancelled.notified()).await.unwrap();
    house.close().await;
}

#[tokio::test]
async fn federated_results_pass_unchanged_and_their_calls_run_once() {
    let house = House::open().await;
    let result = call(&house, "desk__note", arguments(&json!({"a": [1, null]}))).await.unwrap();
    assert_eq!(result.structured_content, Some(json!({"kept": {"a": [1, null]}, "n": null})));
    assert_eq!(serde_json::to_value(&result.content[0]).unwrap()["type"], "image");
    assert_eq!(house.desk.calls.load(Ordering::SeqCst), 1);
    house.close().await;
}

#[tokio::test]
async fn federated_calls_are_among_those_that_the_gateway_serves_at_once() {
    let house = House::open().await;
    let in_use = || house.gateway.slots.view().0.in_use.iter().sum::<usize>();
    tokio::select! {
        answer = call(&house, "desk__hang", None) => panic!("a hanging tool answered: {answer:?}"),
        () = house.desk.reached.notified() => assert_eq!(in_use(), 1),
    }
    tokio::time::timeout(PLENTY, house.desk.cancelled.notified()).await.unwrap();
    assert_eq!(in_use(), 0);
    let all = everything(&house.gateway.slots);
    let error = refusal(&house, "a", "desk__note", &json!({})).await;
    assert_eq!(error["data"]["code"], "overloaded", "{error}");
    drop(all);
    call(&house, "desk__note", None).await.unwrap();
    assert_eq!(house.desk.calls.load(Ordering::SeqCst), 2, "the refused call was not sent");
    house.close().await;
}

/// All slots of the gateway.
fn everything(slots: &Arc<Slots>) -> Vec<Admission> {
    let deadline = Instant::now().into_std();
    let arrival = || Arrival { priority: Priority::Emergency, tenant: "".into(), deadline, bytes: 0 };
    let one = || match slots.arrive(arrival()) {
        Arrived::Admitted(admission) => Some(admission),
        Arrived::Shed(_) | Arrived::Waits(_) => None,
    };
    std::iter::from_fn(one).collect()
}

/// Calls a tool over bare HTTP and gives the error of the answer.
async fn refusal(house: &House, caller: &str, tool: &str, arguments: &Value) -> Value {
    refusal_of(house, &[("x-caller", caller)], tool, arguments).await
}

async fn refusal_of(house: &House, more: &[(&str, &str)], tool: &str, arguments: &Value) -> Value {
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {
        "name": tool, "arguments": arguments, "_meta": meta(),
    }});
    let era = [("mcp-protocol-version", "2026-07-28"), ("mcp-method", "tools/call")];
    let headers = [more, &era, &[("mcp-name", tool)]].concat();
    let (_, mut json) = house.post(&headers, &body).await;
    json["error"].take()
}

fn meta() -> Value {
    json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "t", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
    })
}

#[tokio::test]
async fn failures_are_json_rpc_errors_with_our_code() {
    let house = House::open().await;
    let said = json!([{"role": "user", "content": "fail"}]);
    for (caller, tool, arguments, code, ours) in [
        ("a", "converse", json!({"model": "none", "messages": said}), -32_602, "unknown_model"),
        ("poor", "converse", json!({"model": "sonnet", "messages": said}), -32_000, "forbidden"),
        ("a", "converse", json!({"model": "sonnet"}), -32_602, "invalid_request"),
        ("a", "converse", json!({"model": "sonnet", "messages": said, "n": 2}), -32_602, "invalid_request"),
        ("a", "converse", json!({"model": "lost", "messages": said}), -32_603, "upstream_failed"),
        ("a", "converse", json!({"model": "sonnet", "messages": said}), -32_603, "upstream_failed"),
        ("poor", "desk__note", json!({}), -32_000, "forbidden"),
        ("a", "nothing", json!({}), -32_602, "invalid_request"),
        ("a", "desk__", json!({}), -32_602, "invalid_request"),
        ("a", "desk__converse", json!({}), -32_602, "invalid_request"),
        ("a", "dead__note", json!({}), -32_603, "upstream_failed"),
    ] {
        let error = refusal(&house, caller, tool, &arguments).await;
        assert_eq!(error["data"]["code"], ours, "{tool} {arguments}: {error}");
        assert_eq!(error["code"], code, "{tool} {arguments}: {error}");
        assert!(!error["message"].as_str().unwrap().is_empty());
    }
    house.close().await;
}

#[tokio::test]
async fn residency_and_a_keys_models_hold_for_federated_tools_too() {
    let house = House::open().await;
    let eu = [("x-outcrop-residency", "eu")];
    let error = refusal_of(&house, &eu, "desk__note", &json!({})).await;
    assert_eq!(error["data"]["code"], "no_legal_target");
    for headers in [&eu, &[("x-caller", "poor")]] {
        let era = [("mcp-protocol-version", "2026-07-28"), ("mcp-method", "tools/list")];
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list",
            "params": {"_meta": meta()}});
        let (_, list) = house.post(&[headers, &era[..]].concat(), &body).await;
        let tools = list["result"]["tools"].as_array().unwrap();
        let names: Vec<&str> = tools.iter().filter_map(|tool| tool["name"].as_str()).collect();
        assert_eq!(names, ["converse", "models"], "{headers:?}");
    }
    assert_eq!(house.desk.calls.load(Ordering::SeqCst), 0);
    house.close().await;
}

#[test]
fn a_federated_call_without_a_result_may_have_run() {
    let lost = Failure::network(Reason::Reset, Class::Ambiguous, "");
    let told = crate::mcp::refusal::error(&crate::mcp::refusal::unknown_outcome(lost), "");
    assert_eq!(told.data.unwrap()["code"], "outcome_unknown");
    let unsent = Failure::network(Reason::Connect, Class::NotSent, "");
    let told = crate::mcp::refusal::error(&crate::mcp::refusal::unknown_outcome(unsent), "");
    assert_eq!(told.data.unwrap()["code"], "upstream_failed");
}
