//! The simulated OpenAI over a bare HTTP client: shapes, stream order, refusals, faults and the bill.
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

const KEY: (&str, &str) = ("authorization", "Bearer outcrop-lab-openai-key");
const CHAT: &str = "/v1/chat/completions";
const TEXT: &str = "Simulated answer from openai: tok-1 tok-2 tok-3";

async fn start() -> (Lab, SocketAddr) {
    let lab = Lab::start(LabConfig::ephemeral()).await.unwrap();
    let address = lab.address("openai").unwrap();
    (lab, address)
}

fn ask(text: &str, extra: &Value) -> Value {
    let mut body = json!({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": text}]});
    for (name, value) in extra.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

async fn chat(address: SocketAddr, body: &Value) -> Answer {
    raw::post(address, CHAT, &[KEY], body).await.unwrap()
}

async fn records(lab: &Lab, count: u64) -> Vec<Record> {
    let billing = lab.target("openai").unwrap().billing();
    billing.reached(count).await;
    billing.records()
}

#[tokio::test]
async fn a_whole_answer_has_the_shape_the_headers_and_the_bill() {
    let (lab, address) = start().await;
    let answer = chat(address, &ask("[[tokens=3]]", &json!({}))).await;
    assert_eq!(answer.status, 200);
    for name in
        ["x-request-id", "openai-processing-ms", "x-ratelimit-remaining-tokens", "openai-version", "date"]
    {
        assert_ne!(answer.header(name), "", "{name}");
    }
    let body = answer.json();
    assert_eq!(body["object"], "chat.completion");
    let message = &body["choices"][0]["message"];
    assert_eq!((message["role"].as_str(), message["content"].as_str()), (Some("assistant"), Some(TEXT)));
    assert_eq!(body["choices"][0]["finish_reason"], "stop");
    assert_eq!(body["usage"]["completion_tokens"], 3);
    let record = records(&lab, 1).await.remove(0);
    assert_eq!(record.request_id, answer.header("x-request-id"));
    assert_eq!((record.operation.as_str(), record.output_tokens), ("chat.completions", 3));
    assert_eq!(Some(record.input_tokens), body["usage"]["prompt_tokens"].as_u64());
    assert!(record.executed && record.completed && !record.client_gone && record.cost_nusd > 0);
}

#[tokio::test]
async fn a_stream_begins_with_the_role_and_ends_with_usage_and_done() {
    let (lab, address) = start().await;
    let options = json!({"stream": true, "stream_options": {"include_usage": true}});
    let answer = chat(address, &ask("[[tokens=3]]", &options)).await;
    assert!(answer.header("content-type").starts_with("text/event-stream"));
    let mut events = answer.events();
    assert_eq!(events.pop().unwrap().data, "[DONE]");
    let chunks: Vec<Value> = events.iter().map(raw::Event::json).collect();
    assert_eq!(chunks[0]["choices"][0]["delta"]["role"], "assistant");
    let text: String =
        chunks.iter().filter_map(|chunk| chunk.pointer("/choices/0/delta/content")?.as_str()).collect();
    assert_eq!(text, TEXT);
    let [.., finish, usage] = chunks.as_slice() else { panic!("{chunks:?}") };
    assert_eq!(finish["choices"][0]["finish_reason"], "stop");
    assert_eq!(
        (usage["choices"].as_array().unwrap().len(), usage["usage"]["completion_tokens"].as_u64()),
        (0, Some(3))
    );
    assert!(chunks.iter().all(|chunk| chunk["id"] == usage["id"] && chunk.get("usage").is_some()));
    assert!(records(&lab, 1).await[0].stream);
}

#[tokio::test]
async fn tool_calls_stream_in_pieces_that_make_valid_arguments() {
    let (_lab, address) = start().await;
    let tools = json!([{"type": "function", "function": {"name": "look_up", "parameters": {
        "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}]);
    let answer = chat(address, &ask("[[tool]]", &json!({"stream": true, "tools": tools}))).await;
    let calls: Vec<Value> = answer
        .events()
        .iter()
        .filter(|event| event.data != "[DONE]")
        .filter_map(|event| event.json().pointer("/choices/0/delta/tool_calls/0").cloned())
        .collect();
    assert!(calls[0]["id"].as_str().unwrap().starts_with("call_"));
    assert_eq!(calls[0]["function"]["name"], "look_up");
    assert!(calls.iter().all(|call| call["index"] == 0) && calls[1].get("id").is_none());
    let arguments: String = calls.iter().filter_map(|call| call["function"]["arguments"].as_str()).collect();
    assert_eq!(serde_json::from_str::<Value>(&arguments).unwrap()["city"], "sample city");
    let forced =
        json!({"tools": tools, "tool_choice": {"type": "function", "function": {"name": "look_up"}}});
    let whole = chat(address, &ask("hi", &forced)).await.json();
    assert_eq!(whole["choices"][0]["finish_reason"], "tool_calls");
    assert_eq!(whole["choices"][0]["message"]["content"], Value::Null);
}

#[tokio::test]
async fn limits_formats_choices_and_images_are_honoured() {
    let (lab, address) = start().await;
    let limited = chat(address, &ask("hi", &json!({"max_completion_tokens": 2, "n": 3}))).await.json();
    let choices = limited["choices"].as_array().unwrap();
    assert_eq!((choices.len(), choices[2]["index"].as_u64()), (3, Some(2)));
    assert!(choices.iter().all(|choice| choice["finish_reason"] == "length"));
    assert_eq!(limited["usage"]["completion_tokens"], 6);
    let schema = json!({"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]});
    let format =
        json!({"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}});
    let text = chat(address, &ask("who?", &format)).await.json()["choices"][0]["message"]["content"].clone();
    assert!(serde_json::from_str::<Value>(text.as_str().unwrap()).unwrap()["age"].is_i64());
    let image = json!({"messages": [{"role": "user", "content": [
        {"type": "text", "text": "see [[tokens=1]]"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]}]});
    let seen = chat(address, &ask("", &image)).await.json();
    assert!(seen["usage"]["prompt_tokens"].as_u64().unwrap() > 1_000);
    assert_eq!(records(&lab, 3).await.len(), 3);
}

#[tokio::test]
async fn embeddings_and_models_answer() {
    let (lab, address) = start().await;
    let body = json!({"model": "text-embedding-3-small", "input": ["a", "b"], "encoding_format": "base64", "dimensions": 4});
    let answer = raw::post(address, "/v1/embeddings", &[KEY], &body).await.unwrap().json();
    assert_eq!(answer["data"][1]["index"], 1);
    assert!(answer["data"][0]["embedding"].is_string());
    let record = records(&lab, 1).await.remove(0);
    assert_eq!((record.operation.as_str(), record.output_tokens), ("embeddings", 0));
    let models = raw::send(address, Method::GET, "/v1/models", &[KEY], "").await.unwrap().json();
    assert_eq!(models["data"][0]["id"], "gpt-4o-mini");
    let model = raw::send(address, Method::GET, "/v1/models/gpt-4o-mini", &[KEY], "").await.unwrap().json();
    assert_eq!(model["object"], "model");
}

#[tokio::test]
async fn refusals_have_status_and_code() {
    let (lab, address) = start().await;
    let refused = |answer: Answer| (answer.status.as_u16(), answer.json()["error"]["code"].clone());
    let wrong = [("authorization", "Bearer sk-0123456789")];
    let answer = raw::post(address, CHAT, &wrong, &ask("hi", &json!({}))).await.unwrap();
    assert_eq!(refused(answer), (401, json!("invalid_api_key")));
    let none = raw::post(address, CHAT, &[], &ask("hi", &json!({}))).await.unwrap();
    assert_eq!(refused(none), (401, Value::Null));
    let unknown = chat(address, &ask("hi", &json!({"model": "gpt-9"}))).await;
    assert_eq!(refused(unknown), (404, json!("model_not_found")));
    let bad = raw::send(address, Method::POST, CHAT, &[KEY], "{").await.unwrap();
    assert_eq!(refused(bad), (400, Value::Null));
    let method = raw::send(address, Method::GET, CHAT, &[KEY], "").await.unwrap();
    assert_eq!(refused(method), (405, json!("method_not_supported")));
    let path = raw::send(address, Method::POST, "/v1/responses", &[KEY], "{}").await.unwrap();
    assert_eq!(refused(path), (404, Value::Null));
    lab.script("openai", Script { credential_expired: true, ..Script::default() }).await.unwrap();
    assert_eq!(chat(address, &ask("hi", &json!({}))).await.status, 401);
}

#[tokio::test]
async fn tokens_per_minute_are_taken_up_front() {
    let (lab, address) = start().await;
    lab.script("openai", Script { tpm: Some(100), ..Script::default() }).await.unwrap();
    let fits = ask("[[tokens=3]]", &json!({"max_tokens": 80}));
    assert_eq!(chat(address, &fits).await.status, 200);
    let beyond = chat(address, &ask("hi", &json!({"max_tokens": 101}))).await;
    assert_eq!(
        (beyond.status.as_u16(), beyond.json()["error"]["code"].as_str()),
        (429, Some("rate_limit_exceeded"))
    );
    assert_ne!(beyond.header("retry-after"), "");
}

#[tokio::test]
async fn scripted_errors_are_spelled_by_the_service() {
    let (lab, address) = start().await;
    let check = async |fault: Fault, status: u16, kind: &str| {
        lab.script("openai", Script::faulty([fault])).await.unwrap();
        let answer = chat(address, &ask("hi", &json!({}))).await;
        assert_eq!((answer.status.as_u16(), answer.json()["error"]["type"].as_str()), (status, Some(kind)));
        answer
    };
    check(Fault::new(FaultKind::Error), 500, "server_error").await;
    check(Fault::new(FaultKind::Error).spelled(503, "overloaded"), 503, "server_error").await;
    check(Fault::new(FaultKind::Error).spelled(429, "insufficient_quota"), 429, "insufficient_quota").await;
    let throttled = check(Fault::new(FaultKind::Throttle), 429, "tokens").await;
    assert_eq!(throttled.header("retry-after"), "1");
    let records = records(&lab, 4).await;
    assert!(records.iter().all(|record| !record.executed && record.cost_nusd == 0));
}

#[tokio::test]
async fn streams_break_as_scripted_and_are_billed() {
    let (lab, address) = start().await;
    let stream = ask("[[tokens=20]]", &json!({"stream": true}));
    let broken = async |fault: Fault| {
        lab.script("openai", Script::faulty([fault])).await.unwrap();
        chat(address, &stream).await
    };
    let cut = broken(Fault::new(FaultKind::Cut).after(3)).await;
    assert_eq!((cut.events().len(), cut.whole), (3, false));
    let half = broken(Fault::new(FaultKind::CutMidFrame).after(3)).await;
    assert_eq!(half.events().len(), 3);
    assert!(!half.body.ends_with(b"\n\n") && !half.whole);
    let exception = broken(Fault::new(FaultKind::StreamException).after(2)).await;
    let events = exception.events();
    assert_eq!(events.len(), 3);
    assert_eq!(events[2].json()["error"]["type"], "server_error");
    let garbage = broken(Fault::new(FaultKind::Garbage)).await;
    assert!(garbage.status == 200 && garbage.events().iter().all(|event| !event.data.starts_with('{')));
    let records = records(&lab, 4).await;
    assert!(records.iter().all(|record| record.executed && !record.client_gone));
}

#[tokio::test]
async fn whole_answers_break_as_scripted() {
    let (lab, address) = start().await;
    let broken = async |fault: Fault| {
        lab.script("openai", Script::faulty([fault])).await.unwrap();
        raw::post(address, CHAT, &[KEY], &ask("hi", &json!({}))).await
    };
    assert!(broken(Fault::new(FaultKind::ResetBefore)).await.is_err());
    assert!(!broken(Fault::new(FaultKind::ResetInside)).await.unwrap().whole);
    assert!(!broken(Fault::new(FaultKind::Cut)).await.unwrap().whole);
    assert!(broken(Fault::new(FaultKind::ResetAfter)).await.unwrap().json()["choices"].is_array());
    lab.script("openai", Script::down()).await.unwrap();
    let refused = raw::post(address, CHAT, &[KEY], &ask("hi", &json!({}))).await;
    assert!(refused.unwrap_err().starts_with("connect"));
    lab.heal("openai").await.unwrap();
    assert_eq!(chat(address, &ask("hi", &json!({}))).await.status, 200);
}

#[tokio::test]
async fn a_caller_that_leaves_stops_the_generation_and_its_bill() {
    let (lab, address) = start().await;
    lab.script("openai", Script { pace_ms: Some(Spread::Fixed(20.0)), ..Script::default() }).await.unwrap();
    let body = ask("[[tokens=5000]]", &json!({"stream": true})).to_string();
    let mut response = raw::open(address, Method::POST, CHAT, &[KEY], body).await.unwrap();
    for _ in 0..3 {
        response.frame().await.unwrap().unwrap();
    }
    drop(response);
    let record = records(&lab, 1).await.remove(0);
    assert!(record.client_gone && record.executed && !record.completed, "{record:?}");
    assert!((1..5_000).contains(&record.output_tokens), "{record:?}");
    assert!(lab.requests("openai").unwrap()[0].aborted_by_peer);
}
