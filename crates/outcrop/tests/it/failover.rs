//! Before the first content byte any failure goes elsewhere, and the caller never notices.

use outcrop_lab::script::{Fault, FaultKind, Part};
use serde_json::{Value, json};

use crate::{
    api::Api,
    house::{House, simulated},
};

/// Time for a request whose first target stays silent: most of it is waited for in vain.
const SILENCE: &str = "1500";

/// Every way to fail before there is any content, with its name.
fn faults(path: &str, stream: bool) -> Vec<(&'static str, Fault)> {
    let new = Fault::new;
    let named = |name: &str| Fault { error_type: Some(name.to_owned()), ..new(FaultKind::Error) };
    let mut faults = vec![
        ("throttled", new(FaultKind::Throttle)),
        ("error by default", new(FaultKind::Error)),
        ("status 500", new(FaultKind::Error).spelled(500, own(path, "internalServerException", "api_error"))),
        (
            "status 503",
            new(FaultKind::Error).spelled(503, own(path, "serviceUnavailableException", "overloaded_error")),
        ),
        ("silence", new(FaultKind::Hang)),
        ("reset before the answer", new(FaultKind::ResetBefore)),
        ("reset inside the head", Fault { at: Part::Head, ..new(FaultKind::ResetInside) }),
        ("reset inside the body", new(FaultKind::ResetInside)),
        ("cut", new(FaultKind::Cut)),
        ("cut with a proper end", Fault { http_end: true, ..new(FaultKind::Cut) }),
        ("cut inside an event", new(FaultKind::CutMidFrame)),
        ("nothing at all", Fault { http_end: true, ..new(FaultKind::Cut).after(0) }),
        ("garbage", new(FaultKind::Garbage)),
        ("closed port", new(FaultKind::Refuse)),
    ];
    if path == "fra" {
        faults.extend([
            ("model not ready", new(FaultKind::Error).spelled(429, "ModelNotReadyException")),
            ("model timeout", new(FaultKind::Error).spelled(408, "ModelTimeoutException")),
            ("model error", new(FaultKind::Error).spelled(424, "ModelErrorException")),
            ("quota", new(FaultKind::Error).spelled(400, "ServiceQuotaExceededException")),
            ("not here", new(FaultKind::Error).spelled(404, "ResourceNotFoundException")),
        ]);
    }
    if path == "desk" {
        faults.extend([
            ("tool error", named("tool_error")),
            ("unknown tool", named("method_not_found")),
            ("internal error", named("internal_error")),
            ("forgotten session", new(FaultKind::ForgetSession)),
        ]);
    } else if stream {
        faults.push(("stream that stops", new(FaultKind::HangStream)));
        faults.push(("error inside the stream", new(FaultKind::StreamException)));
        if path == "fra" {
            faults.push(("wrong checksum", new(FaultKind::BadCrc)));
            for kind in ["throttlingException", "validationException", "modelStreamErrorException"] {
                let fault = new(FaultKind::StreamException).spelled(500, kind);
                // A request that is wrong is wrong everywhere.
                if kind != "validationException" {
                    faults.push((kind, fault));
                }
            }
        }
    }
    faults
}

fn own<'a>(path: &str, bedrock: &'a str, other: &'a str) -> &'a str {
    if path == "fra" { bedrock } else { other }
}

/// Breaks `first` in every way and holds that `second` answers each time, once.
async fn fails_over(first: &str, second: &str, api: Api) {
    let house = House::start().await;
    let model = "any";
    let operation = format!("{first}-{second}");
    let mut wrong = Vec::new();
    let mut asked = 0;
    for stream in [false, true] {
        for (name, fault) in faults(first, stream) {
            let silent = matches!(fault.kind, FaultKind::Hang | FaultKind::HangStream);
            let kind = fault.kind;
            house.break_path(first, fault).await;
            let mut headers = vec![("x-outcrop-operation", operation.as_str())];
            if silent {
                headers.push(("x-outcrop-deadline-ms", SILENCE));
            }
            let answer = api.ask(&house, model, "[[tokens=5]]", stream, &headers).await;
            house.heal(first).await;
            asked += 1;
            let told = if answer.status == 200 { api.hear(&answer) } else { crate::api::Told::default() };
            let from = answer.header("x-outcrop-path");
            // A server that only forgets a session is asked again itself, where that does no harm.
            let expected = if kind == FaultKind::ForgetSession && from == first { first } else { second };
            let right = told.text == simulated(expected, 5) && told.is_complete(api) && answer.whole;
            let attempts = if expected == second { "2" } else { "1" };
            if !right || (answer.header("x-outcrop-attempts"), from) != (attempts, expected) {
                wrong.push(format!(
                    "{name} (stream: {stream}): {told:?} {} {}",
                    answer.status,
                    answer.text()
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{first} to {second}: {} of {asked}:\n{}", wrong.len(), wrong.join("\n"));
    let billed = house.billed(second, 1).await;
    assert!(billed.len() <= asked && billed.iter().all(|record| record.executed && record.completed));
}

#[tokio::test]
async fn from_one_region_to_the_other() {
    fails_over("fra", "dub", Api::Converse).await;
}

#[tokio::test]
async fn from_bedrock_to_mcp() {
    fails_over("fra", "desk", Api::OpenAi).await;
}

#[tokio::test]
async fn from_mcp_to_bedrock() {
    fails_over("desk", "fra", Api::Anthropic).await;
}

#[tokio::test]
async fn from_openai_to_bedrock() {
    fails_over("oai", "fra", Api::OpenAi).await;
}

#[tokio::test]
async fn from_anthropic_to_mcp() {
    fails_over("ant", "desk", Api::Anthropic).await;
}

#[tokio::test]
async fn from_bedrock_invoke_to_another_provider() {
    fails_over("fra", "ant", Api::Invoke).await;
}

#[tokio::test]
async fn at_most_three_targets_are_tried_each_once() {
    let house =
        House::with("[[operation]]\nname = \"all\"\norder = [\"fra\", \"dub\", \"desk\", \"oai\", \"ant\"]")
            .await;
    for path in ["fra", "dub", "desk", "oai", "ant"] {
        house
            .break_path(path, Fault::new(FaultKind::Error).spelled(503, "serviceUnavailableException"))
            .await;
    }
    let answer = Api::Converse.ask(&house, "any", "hi", false, &[("x-outcrop-operation", "all")]).await;
    assert_eq!((answer.status, answer.header("x-outcrop-attempts")), (503, "3"), "{answer:?}");
    let counts = ["fra", "dub", "desk", "oai", "ant"].map(|path| house.seen(path).len());
    assert_eq!(counts, [1, 1, 1, 0, 0]);
    let decision = house.decision(&answer).await;
    let tried: Vec<&Value> = decision["attempts"].as_array().unwrap().iter().map(|a| &a["target"]).collect();
    assert_eq!(tried.len(), 3, "{decision}");
    assert!(tried[0] != tried[1] && tried[1] != tried[2] && tried[0] != tried[2], "{tried:?}");
    let ranked = decision["candidates"].as_array().unwrap().iter().filter(|c| c["rank"].is_u64());
    assert_eq!(ranked.count(), 5, "{decision}");
}

const EVERY_PATH: &str =
    "[[operation]]\nname = \"all\"\norder = [\"fra\", \"dub\", \"desk\", \"ant\", \"oai\"]";

#[tokio::test]
async fn a_target_that_cannot_say_the_request_is_no_attempt() {
    let house = House::with(EVERY_PATH).await;
    let mut body = Api::OpenAi.body("any", "hi", false);
    body["n"] = 2.into();
    let answer = house.post("/v1/chat/completions", &[("x-outcrop-operation", "all")], &body).await;
    assert_eq!((answer.status, answer.header("x-outcrop-attempts")), (200, "1"), "{answer:?}");
    assert_eq!(answer.header("x-outcrop-path"), "oai");
    for path in ["fra", "dub", "desk", "ant"] {
        assert_eq!(house.seen(path).len(), 0, "{path}");
    }
    let decision = house.decision(&answer).await;
    let unable = decision["candidates"].as_array().unwrap().iter().filter(|c| c["excluded"] == "capability");
    assert_eq!(unable.count(), 4, "{decision}");
}

#[tokio::test]
async fn an_outage_is_not_told_as_a_wrong_request() {
    let house = House::with(EVERY_PATH).await;
    house.take_down("fra").await;
    house.take_down("dub").await;
    let mut body = Api::Converse.body("any", "hi", false);
    body["guardrailConfig"] = serde_json::json!({"guardrailIdentifier": "g", "guardrailVersion": "1"});
    let answer = house.post("/model/any/converse", &[("x-outcrop-operation", "all")], &body).await;
    assert_eq!((answer.status, answer.header("x-outcrop-code")), (502, "upstream_failed"), "{answer:?}");
}

#[tokio::test]
async fn nothing_below_the_loop_tries_again() {
    let house = House::start().await;
    for path in ["fra", "oai", "ant", "desk"] {
        for fault in [FaultKind::Throttle, FaultKind::Error, FaultKind::ResetBefore] {
            let before = house.seen(path).len();
            house.break_path(path, Fault::new(fault)).await;
            let answer = Api::OpenAi.ask(&house, &format!("on-{path}"), "hi", false, &[]).await;
            assert!(answer.status >= 400, "{path} {fault:?}");
            assert_eq!(house.seen(path).len(), before + 1, "{path} {fault:?}");
        }
    }
}

#[tokio::test]
async fn what_is_wrong_everywhere_is_tried_once() {
    let house = House::start().await;
    let headers = [("x-outcrop-operation", "fra-dub")];
    for (status, name) in [(400, "ValidationException"), (403, "AccessDeniedException")] {
        house.break_path("fra", Fault::new(FaultKind::Error).spelled(status, name)).await;
        for stream in [false, true] {
            let answer = Api::Converse.ask(&house, "any", "hi", stream, &headers).await;
            assert_eq!((answer.status, answer.header("x-amzn-errortype")), (status, name));
            assert_eq!(answer.header("x-should-retry"), "false");
        }
    }
    let fault = Fault::new(FaultKind::StreamException).spelled(400, "validationException");
    house.break_path("fra", fault).await;
    let answer = Api::Converse.ask(&house, "any", "hi", true, &headers).await;
    assert_eq!((answer.status, answer.header("x-amzn-errortype")), (400, "ValidationException"));
    assert_eq!(house.seen("dub").len(), 0);
}

#[tokio::test]
async fn a_failover_is_recorded_and_counted() {
    let house = House::start().await;
    house.break_path("fra", Fault::new(FaultKind::Throttle)).await;
    let headers = [("x-outcrop-operation", "fra-dub")];
    let answer = Api::OpenAi.ask(&house, "any", "hi", false, &headers).await;
    let decision = house.decision(&answer).await;
    let failed = &decision["attempts"][0]["failed"];
    assert_eq!(
        (&failed["class"], &failed["reason"], &failed["status"]),
        (&json!("refused"), &json!("throttled"), &json!(429))
    );
    assert!(decision["attempts"][1]["failed"].is_null());
    assert_eq!(decision["outcome"]["label"], "ok");
    let metrics = house.admin("/metrics").await.text();
    let line = "outcrop_failovers_total{from=\"fra\",to=\"dub\",reason=\"throttled\"} 1";
    assert!(metrics.lines().any(|l| l == line), "{metrics}");
}
