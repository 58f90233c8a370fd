//! The control API over HTTP.

use std::net::SocketAddr;

use http::Method;
use serde_json::{Value, json};

use crate::caller::{converse, start};

#[path = "../support/raw.rs"]
mod raw;

async fn ask(address: SocketAddr, method: Method, path: &str, body: &Value) -> (u16, Value) {
    let text = if body.is_null() { String::new() } else { body.to_string() };
    let answer =
        raw::send(address, method, path, &[("content-type", "application/x-www-form-urlencoded")], text)
            .await
            .unwrap();
    let body = if answer.body.is_empty() { Value::Null } else { answer.json() };
    (answer.status.as_u16(), body)
}

#[tokio::test]
async fn scripts_are_put_read_and_deleted() {
    let (lab, address) = start().await;
    let control = lab.control_address();
    let script = json!({
        "latency_ms": {"lognormal": {"p50": 0.1, "p99": 0.2}},
        "ttft_ms": {"uniform": [0, 1]},
        "faults": [{"kind": "throttle", "retry_after_s": 7, "times": 1}],
    });
    assert_eq!(ask(control, Method::PUT, "/targets/fra/script", &script).await.0, 200);
    let (_, read) = ask(control, Method::GET, "/targets/fra/script", &Value::Null).await;
    assert_eq!(read["faults"][0]["retry_after_s"], 7);
    let heard = converse(address, "hi").await;
    assert_eq!((heard.status(), heard.header("retry-after").as_deref()), (429, Some("7")));
    assert_eq!(converse(address, "hi").await.status(), 200);
    assert_eq!(ask(control, Method::DELETE, "/targets/fra/script", &Value::Null).await.0, 204);
    let (_, read) = ask(control, Method::GET, "/targets/fra/script", &Value::Null).await;
    assert_eq!(read["faults"], json!([]));
}

#[tokio::test]
async fn mistakes_are_told() {
    let (lab, _) = start().await;
    let control = lab.control_address();
    for (path, script, status) in [
        ("/targets/nowhere/script", json!({}), 404),
        ("/targets/fra/script", json!({"fault": []}), 400),
        ("/targets/fra/script", json!({"faults": [{"kind": "error", "rate": 2}]}), 400),
        ("/targets/fra/script", json!({"latency_ms": {"uniform": [5, 1]}}), 400),
    ] {
        let (seen, body) = ask(control, Method::PUT, path, &script).await;
        assert_eq!(seen, status, "{script}");
        assert!(body["error"].is_string());
    }
}

#[tokio::test]
async fn billing_and_requests_are_readable_and_reset_forgets_them() {
    let (lab, address) = start().await;
    let control = lab.control_address();
    converse(address, "[[tokens=3]]").await;
    let (_, bill) = ask(control, Method::GET, "/billing/fra?at_least=1&wait_ms=60000", &Value::Null).await;
    assert_eq!(bill["records"][0]["output_tokens"], 3);
    assert_eq!(bill["totals"]["executed"], 1);
    let (_, all) = ask(control, Method::GET, "/billing", &Value::Null).await;
    assert_eq!(all["totals"]["cost_nusd"], bill["totals"]["cost_nusd"]);
    let (_, seen) = ask(control, Method::GET, "/targets/fra/requests", &Value::Null).await;
    let seen = &seen["requests"][0];
    assert_eq!(seen["method"], "POST");
    assert!(seen["path"].as_str().unwrap().contains("%3A0/converse"));
    assert_eq!(seen["headers"]["content-type"], "application/json");
    assert_eq!(ask(control, Method::POST, "/reset", &json!({"seed": 5})).await.0, 204);
    let (_, bill) = ask(control, Method::GET, "/billing", &Value::Null).await;
    assert_eq!(bill["records"], json!([]));
    assert_eq!(lab.target("fra").unwrap().seed(), 5);
}

#[tokio::test]
async fn targets_are_listed_and_go_down_over_http() {
    let (lab, address) = start().await;
    let control = lab.control_address();
    assert_eq!(ask(control, Method::PUT, "/targets/fra/script", &json!({"down": true})).await.0, 200);
    let (_, targets) = ask(control, Method::GET, "/targets", &Value::Null).await;
    let names: Vec<&str> =
        targets.as_array().unwrap().iter().filter_map(|target| target["name"].as_str()).collect();
    assert_eq!(names, ["anthropic", "desk", "dub", "fra", "openai"]);
    assert_eq!(targets[3]["down"], true);
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
    assert_eq!(ask(control, Method::POST, "/reset", &Value::Null).await.0, 204);
    assert_eq!(converse(address, "hi").await.status(), 200);
}
