//! The simulated Anthropic over a bare HTTP client: shapes, stream order, refusals, faults and the bill.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

#[path = "support/raw.rs"]
mod raw;

use std::net::SocketAddr;

use http::Method;
use http_body_util::BodyExt as _;
use outcrop_lab::{
    Lab, LabConfig,
    billing::Record,
    script::{Fault, FaultKind, Script, Spread},
};
use raw::Answer;
use serde_json::{Value, json};

const KEY: (&str, &str) = ("x-api-key", "outcrop-lab-anthropic-key");
const VERSION: (&str, &str) = ("anthropic-version", "2023-06-01");
const MESSAGES: &str = "/v1/messages";
const TEXT: &str = "Simulated answer from anthropic: tok-1 tok-2 tok-3";

async fn start() -> (Lab, SocketAddr) {
    let lab = Lab::start(LabConfig::ephemeral()).await.unwrap();
    let address = lab.address("anthropic").unwrap();
    (lab, address)
}

fn ask(text: &str, extra: &Value) -> Value {
    let mut body = json!({"model": "claude-sonnet-4-5", "max_tokens": 4096, "messages": [{"role": "user", "content": text}]});
    for (name, value) in extra.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

async fn message(address: SocketAddr, body: &Value) -> Answer {
    raw::post(address, MESSAGES, &[KEY, VERSION], body).await.unwrap()
}

async fn records(lab: &Lab, count: u64) -> Vec<Record> {
    let billing = lab.target("anthropic").unwrap().billing();
    billing.reached(count).await;
    billing.records()
}

fn names(answer: &Answer) -> Vec<String> {
    let mut names: Vec<String> = answer.events().into_iter().filter_map(|event| event.name).collect();
    names.dedup();
    names
}

#[tokio::test]
async fn a_whole_answer_has_the_shape_the_headers_and_the_bill() {
    let (lab, address) = start().await;
    let answer = message(address, &ask("[[tokens=3]]", &json!({"system": "be brief"}))).await;
    assert_eq!(answer.status, 200);
    for name in ["request-id", "anthropic-ratelimit-tokens-remaining", "anthropic-organization-id", "date"] {
        assert_ne!(answer.header(name), "", "{name}");
    }
    let body = answer.json();
    assert_eq!((body["type"].as_str(), body["role"].as_str()), (Some("message"), Some("assistant")));
    assert_eq!(body["content"], json!([{"type": "text", "text": TEXT}]));
    assert_eq!((body["stop_reason"].as_str(), &body["stop_sequence"]), (Some("end_turn"), &Value::Null));
    assert_eq!(body["usage"]["output_tokens"], 3);
    let record = records(&lab, 1).await.remove(0);
    assert_eq!(answer.header("request-id"), format!("req_{}", record.request_id));
    assert_eq!((record.operation.as_str(), record.output_tokens), ("messages", 3));
    assert_eq!(Some(record.input_tokens), body["usage"]["input_tokens"].as_u64());
    assert!(record.executed && record.completed && !record.client_gone && record.cost_nusd > 0);
}

#[tokio::test]
async fn a_stream_has_the_events_in_order() {
    let (lab, address) = start().await;
    let answer = message(address, &ask("[[tokens=3]]", &json!({"stream": true}))).await;
    assert!(answer.header("content-type").starts_with("text/event-stream"));
    assert_eq!(
        names(&answer),
        [
            "message_start",
            "ping",
            "content_block_start",
            "content_block_delta",
            "content_block_stop",
            "message_delta",
            "message_stop",
        ]
    );
    let events: Vec<Value> = answer.events().iter().map(raw::Event::json).collect();
    let text: String = events.iter().filter_map(|event| event.pointer("/delta/text")?.as_str()).collect();
    assert_eq!(text, TEXT);
    let delta = events.iter().find(|event| event["type"] == "message_delta").unwrap();
    assert_eq!(
        (delta["delta"]["stop_reason"].as_str(), delta["usage"]["output_tokens"].as_u64()),
        (Some("end_turn"), Some(3))
    );
    assert!(records(&lab, 1).await[0].stream);
}

#[tokio::test]
async fn thinking_and_tools_keep_their_order_and_signature() {
    let (_lab, address) = start().await;
    let tools = json!([{"name": "look_up", "input_schema": {
        "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}]);
    let thinking = json!({"type": "enabled", "budget_tokens": 1024});
    let extra = json!({"stream": true, "tools": tools, "thinking": thinking});
    let answer = message(address, &ask("[[tool]]", &extra)).await;
    let events: Vec<Value> = answer.events().iter().map(raw::Event::json).collect();
    let kinds: Vec<&str> =
        events.iter().filter_map(|event| event.pointer("/content_block/type")?.as_str()).collect();
    assert_eq!(kinds, ["thinking", "tool_use"]);
    let join = |pointer: &str| -> String {
        events.iter().filter_map(|event| event.pointer(pointer)?.as_str()).collect()
    };
    let input: Value = serde_json::from_str(&join("/delta/partial_json")).unwrap();
    assert_eq!(input["city"], "sample city");
    let signature = join("/delta/signature");
    let whole =
        message(address, &ask("[[tool]]", &json!({"tools": tools, "thinking": thinking}))).await.json();
    assert_eq!(whole["content"][0]["signature"], signature);
    assert_eq!(
        (whole["content"][1]["name"].as_str(), whole["stop_reason"].as_str()),
        (Some("look_up"), Some("tool_use"))
    );
    // The next turn takes the blocks back byte for byte.
    let next = json!([
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": whole["content"]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": whole["content"][1]["id"], "content": "18 degrees"}]}]);
    let told = message(address, &ask("", &json!({"messages": next, "tools": tools}))).await.json();
    assert_eq!(told["content"][0]["text"], "Tool said: 18 degrees");
}

#[tokio::test]
async fn stops_limits_and_images_are_honoured() {
    let (_lab, address) = start().await;
    let stopped = message(address, &ask("hi", &json!({"stop_sequences": ["tok-4"]}))).await.json();
    assert_eq!(
        (stopped["stop_reason"].as_str(), stopped["stop_sequence"].as_str()),
        (Some("stop_sequence"), Some("tok-4"))
    );
    let limited = message(address, &ask("hi", &json!({"max_tokens": 2}))).await.json();
    assert_eq!(
        (limited["stop_reason"].as_str(), limited["usage"]["output_tokens"].as_u64()),
        (Some("max_tokens"), Some(2))
    );
    let image = json!({"messages": [{"role": "user", "content": [
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
        {"type": "text", "text": "[[tokens=1]]"}]}]});
    assert!(message(address, &ask("", &image)).await.json()["usage"]["input_tokens"].as_u64().unwrap() > 900);
}

#[tokio::test]
async fn a_marked_prompt_is_written_to_the_cache_and_then_read() {
    let (lab, address) = start().await;
    let system = json!([{"type": "text", "text": "x".repeat(8_000), "cache_control": {"type": "ephemeral"}}]);
    let usage = async |text: &str| {
        let body = message(address, &ask(text, &json!({"system": system}))).await.json();
        let count = |name: &str| body["usage"][name].as_u64().unwrap();
        (count("cache_creation_input_tokens"), count("cache_read_input_tokens"))
    };
    let (written, nothing) = usage("one").await;
    assert!(written >= 2_000 && nothing == 0);
    assert_eq!(usage("two").await, (0, written));
    let records = records(&lab, 2).await;
    assert_eq!((records[0].cache_write_tokens, records[1].cache_read_tokens), (written, written));
    assert!(records[1].cost_nusd < records[0].cost_nusd);
    lab.reset(1).await;
    assert_eq!(usage("two").await, (written, 0));
}

#[tokio::test]
async fn tokens_are_counted_free_of_charge_and_the_beta_query_passes() {
    let (lab, address) = start().await;
    let body = json!({"model": "claude-sonnet-4-5", "messages": [{"role": "user", "content": "[[tokens=1]] hello there"}]});
    let count = raw::post(address, "/v1/messages/count_tokens?beta=true", &[KEY, VERSION], &body)
        .await
        .unwrap()
        .json();
    let betas = ("anthropic-beta", "interleaved-thinking-2025-05-14,made-up-2099-01-01");
    let with_limit = ask("[[tokens=1]] hello there", &json!({}));
    let answer =
        raw::post(address, "/v1/messages?beta=true", &[KEY, VERSION, betas], &with_limit).await.unwrap();
    assert_eq!(answer.json()["usage"]["input_tokens"], count["input_tokens"]);
    assert_eq!(records(&lab, 1).await.len(), 1);
    let seen = lab.requests("anthropic").unwrap();
    assert_eq!(
        (seen[1].path.as_str(), seen[1].headers["anthropic-beta"].as_str()),
        ("/v1/messages?beta=true", betas.1)
    );
    let models = raw::send(address, Method::GET, "/v1/models", &[KEY, VERSION], "").await.unwrap().json();
    assert_eq!(models["data"][0]["id"], "claude-sonnet-4-5");
}

#[tokio::test]
async fn refusals_have_status_type_and_request_id() {
    let (_lab, address) = start().await;
    let check = |answer: Answer, status: u16, kind: &str, text: &str| {
        let body = answer.json();
        assert_eq!((answer.status.as_u16(), body["error"]["type"].as_str()), (status, Some(kind)), "{body}");
        assert!(body["error"]["message"].as_str().unwrap().contains(text), "{body}");
        assert_eq!(body["request_id"], answer.header("request-id"));
        assert_eq!(body["type"], "error");
    };
    let good = ask("hi", &json!({}));
    let post = async |headers: &[(&str, &str)], body: &Value| {
        raw::post(address, MESSAGES, headers, body).await.unwrap()
    };
    check(post(&[VERSION], &good).await, 401, "authentication_error", "header is required");
    check(
        post(&[("x-api-key", "x"), VERSION], &good).await,
        401,
        "authentication_error",
        "invalid x-api-key",
    );
    check(post(&[KEY], &good).await, 400, "invalid_request_error", "anthropic-version");
    let all = [KEY, VERSION];
    check(
        post(&all, &ask("hi", &json!({"model": "claude-9"}))).await,
        404,
        "not_found_error",
        "model: claude-9",
    );
    let no_limit = json!({"model": "claude-sonnet-4-5", "messages": [{"role": "user", "content": "hi"}]});
    check(post(&all, &no_limit).await, 400, "invalid_request_error", "max_tokens: Field required");
    let broken = raw::send(address, Method::POST, MESSAGES, &all, "{").await.unwrap();
    check(broken, 400, "invalid_request_error", "JSON");
    check(
        raw::send(address, Method::GET, MESSAGES, &all, "").await.unwrap(),
        405,
        "invalid_request_error",
        "",
    );
    check(
        raw::send(address, Method::POST, "/v1/complete", &all, "{}").await.unwrap(),
        404,
        "not_found_error",
        "",
    );
}

#[tokio::test]
async fn the_key_may_come_as_a_bearer_and_system_turns_from_2026_on() {
    let (_lab, address) = start().await;
    let bearer = ("authorization", "Bearer outcrop-lab-anthropic-key");
    let turns = json!({"messages": [
        {"role": "user", "content": "[[tokens=3]]"},
        {"role": "system", "content": "be brief"}]});
    let body = ask("", &turns);
    let recent =
        raw::post(address, MESSAGES, &[bearer, ("anthropic-version", "2026-10-21")], &body).await.unwrap();
    assert_eq!(recent.json()["content"][0]["text"], TEXT);
    let older = raw::post(address, MESSAGES, &[bearer, VERSION], &body).await.unwrap();
    assert_eq!(older.status, 400);
}

#[tokio::test]
async fn scripted_errors_are_spelled_by_the_service() {
    let (lab, address) = start().await;
    let check = async |script: Script, status: u16, kind: &str| {
        lab.script("anthropic", script).await.unwrap();
        let answer = message(address, &ask("hi", &json!({}))).await;
        assert_eq!((answer.status.as_u16(), answer.json()["error"]["type"].as_str()), (status, Some(kind)));
        answer
    };
    let fault = |fault: Fault| Script::faulty([fault]);
    check(fault(Fault::new(FaultKind::Error)), 500, "api_error").await;
    check(fault(Fault::new(FaultKind::Error).spelled(529, "overloaded_error")), 529, "overloaded_error")
        .await;
    let throttled = check(fault(Fault::new(FaultKind::Throttle)), 429, "rate_limit_error").await;
    assert_eq!(throttled.header("retry-after"), "1");
    let spent = check(Script { tpm: Some(100), ..Script::default() }, 429, "rate_limit_error").await;
    assert_ne!(spent.header("retry-after"), "");
    check(Script { credential_expired: true, ..Script::default() }, 401, "authentication_error").await;
    assert!(records(&lab, 4).await.iter().all(|record| !record.executed));
}

#[tokio::test]
async fn streams_break_as_scripted_and_are_billed() {
    let (lab, address) = start().await;
    let stream = ask("[[tokens=20]]", &json!({"stream": true}));
    let broken = async |fault: Fault| {
        lab.script("anthropic", Script::faulty([fault])).await.unwrap();
        message(address, &stream).await
    };
    let overloaded = Fault::new(FaultKind::StreamException).after(4).spelled(529, "overloaded_error");
    let events = broken(overloaded).await.events();
    assert_eq!((events.len(), events[4].name.as_deref()), (5, Some("error")));
    assert_eq!(
        events[4].json(),
        json!({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}})
    );
    let cut = broken(Fault::new(FaultKind::Cut).after(4)).await;
    assert_eq!((cut.events().len(), cut.whole), (4, false));
    let quiet = Fault { http_end: true, ..Fault::new(FaultKind::Cut).after(4) };
    let quiet = broken(quiet).await;
    assert_eq!((quiet.events().len(), quiet.whole), (4, true));
    let half = broken(Fault::new(FaultKind::CutMidFrame).after(4)).await;
    assert!(half.events().len() == 4 && !half.body.ends_with(b"\n\n"));
    assert!(records(&lab, 4).await.iter().all(|record| record.executed && !record.client_gone));
}

#[tokio::test]
async fn a_caller_that_leaves_stops_the_generation_and_its_bill() {
    let (lab, address) = start().await;
    lab.script("anthropic", Script { pace_ms: Some(Spread::Fixed(20.0)), ..Script::default() })
        .await
        .unwrap();
    let body = ask("[[tokens=4000]]", &json!({"stream": true})).to_string();
    let mut response = raw::open(address, Method::POST, MESSAGES, &[KEY, VERSION], body).await.unwrap();
    for _ in 0..5 {
        response.frame().await.unwrap().unwrap();
    }
    drop(response);
    let record = records(&lab, 1).await.remove(0);
    assert!(record.client_gone && record.executed && !record.completed, "{record:?}");
    assert!((1..4_000).contains(&record.output_tokens), "{record:?}");
}
