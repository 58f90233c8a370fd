//! Errors in the caller's own dialect, each with our code beside it.

use http::Method;
use outcrop_lab::script::{Fault, FaultKind};
use serde_json::json;

use crate::{
    api::{APIS, Api},
    client::{self, Answer},
    house::{House, Setup, eventually, within},
};

/// The APIs whose errors have an HTTP status.
const WITH_STATUS: [Api; 4] = [Api::OpenAi, Api::Anthropic, Api::Converse, Api::Invoke];

/// Names of an error with its status, as OpenAI, Anthropic and Bedrock spell them.
type Names = (u16, &'static str, &'static str, &'static str);

fn expected(names: Names, api: Api) -> (u16, &'static str) {
    let (status, openai, anthropic, bedrock) = names;
    match api {
        Api::OpenAi => (status, openai),
        Api::Anthropic => (status, anthropic),
        _ => (status, bedrock),
    }
}

/// Holds that an answer is this error in its API's dialect.
fn holds(api: Api, answer: &Answer, names: Names, code: &str, retry: bool) {
    let (kind, told) = api.error(answer);
    assert_eq!((answer.status, kind.as_str()), expected(names, api), "{api:?}: {answer:?}");
    assert_eq!((told.as_str(), answer.header("x-outcrop-code")), (code, code), "{api:?}: {answer:?}");
    let told = answer.header("x-should-retry");
    assert_eq!(told, if retry { "" } else { "false" }, "{api:?} {code}");
    assert_eq!(answer.header("content-type"), "application/json");
    assert!(!answer.header("x-outcrop-request-id").is_empty());
}

#[tokio::test]
async fn a_wrong_method_is_told_with_the_right_one() {
    let house = House::start().await;
    let routes = [
        (Method::GET, "/v1/chat/completions", "POST"),
        (Method::PUT, "/v1/messages", "POST"),
        (Method::DELETE, "/model/on-fra/converse", "POST"),
        (Method::GET, "/model/on-fra/invoke", "POST"),
        (Method::POST, "/v1/models", "GET"),
        (Method::POST, "/v1/models/on-fra", "GET"),
    ];
    for (method, path, allowed) in routes {
        let asking = client::send(house.data(), method.clone(), path, &[], "");
        let answer = within(path, asking).await.unwrap();
        assert_eq!((answer.status, answer.header("allow")), (405, allowed), "{method} {path}: {answer:?}");
        assert_eq!(answer.header("x-outcrop-code"), "invalid_request", "{answer:?}");
        assert!(answer.text().contains(&format!("answers to {allowed} only")), "{answer:?}");
    }
    let unknown = within("no route", client::send(house.data(), Method::POST, "/v1/nothing", &[], ""));
    let unknown = unknown.await.unwrap();
    assert_eq!((unknown.status, unknown.header("allow")), (404, ""));
}

#[tokio::test]
async fn an_upstreams_error_keeps_its_status_and_its_name() {
    let house = House::start().await;
    let cases: [(&str, Names, bool); 9] = [
        ("ThrottlingException", (429, "requests", "rate_limit_error", "ThrottlingException"), true),
        ("ModelNotReadyException", (429, "requests", "rate_limit_error", "ModelNotReadyException"), true),
        (
            "ServiceUnavailableException",
            (503, "server_error", "overloaded_error", "ServiceUnavailableException"),
            true,
        ),
        ("InternalServerException", (500, "server_error", "api_error", "InternalServerException"), true),
        ("ModelTimeoutException", (408, "server_error", "timeout_error", "ModelTimeoutException"), true),
        ("ModelErrorException", (424, "server_error", "api_error", "ModelErrorException"), true),
        (
            "ValidationException",
            (400, "invalid_request_error", "invalid_request_error", "ValidationException"),
            false,
        ),
        (
            "AccessDeniedException",
            (403, "permission_error", "permission_error", "AccessDeniedException"),
            false,
        ),
        (
            "ResourceNotFoundException",
            (404, "invalid_request_error", "not_found_error", "ResourceNotFoundException"),
            false,
        ),
    ];
    for (name, names, retry) in cases {
        let fault = Fault::new(FaultKind::Error).spelled(names.0, name);
        house.break_path("fra", fault).await;
        for api in WITH_STATUS {
            for stream in [false, true] {
                let answer = api.ask(&house, "on-fra", "hi", stream, &[]).await;
                holds(api, &answer, names, "upstream_failed", retry);
            }
        }
    }
}

#[tokio::test]
async fn an_error_inside_a_stream_before_content_is_an_error_answer() {
    let house = House::start().await;
    for (name, status, bedrock) in [
        ("throttlingException", 429, "ThrottlingException"),
        ("serviceUnavailableException", 503, "ServiceUnavailableException"),
        ("internalServerException", 500, "InternalServerException"),
        ("modelStreamErrorException", 424, "ModelStreamErrorException"),
        ("validationException", 400, "ValidationException"),
    ] {
        house.break_path("fra", Fault::new(FaultKind::StreamException).spelled(500, name)).await;
        let answer = Api::Converse.ask(&house, "on-fra", "hi", true, &[]).await;
        assert_eq!((answer.status, answer.header("x-amzn-errortype")), (status, bedrock), "{answer:?}");
        let answer = Api::OpenAi.ask(&house, "on-fra", "hi", true, &[]).await;
        assert_eq!((answer.status, Api::OpenAi.error(&answer).1.as_str()), (status, "upstream_failed"));
    }
}

#[tokio::test]
async fn other_providers_errors_are_translated() {
    let house = House::start().await;
    for (path, status, spelled) in [
        ("oai", 429, "rate_limit_exceeded"),
        ("ant", 429, "rate_limit_error"),
        ("ant", 529, "overloaded_error"),
    ] {
        house.break_path(path, Fault::new(FaultKind::Error).spelled(status, spelled)).await;
        let answer = Api::Converse.ask(&house, &format!("on-{path}"), "hi", false, &[]).await;
        let name = if status == 429 { "ThrottlingException" } else { "ServiceUnavailableException" };
        assert_eq!((answer.status, answer.header("x-amzn-errortype")), (status, name), "{answer:?}");
        let own = if path == "oai" { Api::OpenAi } else { Api::Anthropic };
        let answer = own.ask(&house, &format!("on-{path}"), "hi", false, &[]).await;
        assert_eq!(answer.status, status, "{answer:?}");
    }
}

#[tokio::test]
async fn a_hint_when_to_come_back_is_passed_on() {
    let house = House::start().await;
    for path in ["fra", "oai", "ant"] {
        let fault = Fault { retry_after_s: Some(7), ..Fault::new(FaultKind::Throttle) };
        house.break_path(path, fault).await;
        for api in WITH_STATUS {
            let answer = api.ask(&house, &format!("on-{path}"), "hi", false, &[]).await;
            assert_eq!((answer.status, answer.header("retry-after")), (429, "7"), "{path} {api:?}");
        }
    }
}

#[tokio::test]
async fn the_last_word_of_an_upstream_is_what_the_caller_gets() {
    let house = House::start().await;
    house.break_path("fra", Fault::new(FaultKind::Throttle)).await;
    house.take_down("dub").await;
    let headers = [("x-outcrop-operation", "fra-dub")];
    let answer = Api::Converse.ask(&house, "any", "hi", false, &headers).await;
    let kind = answer.header("x-amzn-errortype").to_owned();
    assert_eq!(
        (answer.status, kind.as_str(), answer.header("x-outcrop-attempts")),
        (429, "ThrottlingException", "2")
    );
}

#[tokio::test]
async fn a_closed_port_is_told_without_its_address() {
    let house = House::start().await;
    house.take_down("fra").await;
    let port = house.lab.address("fra").unwrap().port().to_string();
    for api in WITH_STATUS {
        let answer = api.ask(&house, "on-fra", "hi", false, &[]).await;
        let names = (502, "server_error", "api_error", "ServiceUnavailableException");
        holds(api, &answer, names, "upstream_failed", true);
        assert!(!answer.text().contains(&port) && !answer.text().contains("127.0.0.1"), "{answer:?}");
    }
}

#[tokio::test]
async fn what_the_caller_did_wrong_is_said_in_its_dialect() {
    let house = House::start().await;
    for api in WITH_STATUS {
        let answer = api.ask(&house, "nobody", "hi", false, &[]).await;
        let names = (404, "invalid_request_error", "not_found_error", "ResourceNotFoundException");
        holds(api, &answer, names, "unknown_model", false);
        let bad = (400, "invalid_request_error", "invalid_request_error", "ValidationException");
        let answer = house.post_bytes(&api.route("on-fra", false), api.headers(), "{\"model\": ").await;
        holds(api, &answer, bad, "invalid_request", false);
        let answer = api.ask(&house, "on-fra", "hi", false, &[("x-outcrop-operation", "nothing")]).await;
        holds(api, &answer, bad, "invalid_request", false);
        assert!(answer.text().contains("infrastructure"), "{answer:?}");
        let answer = api.ask(&house, "on-oai", "hi", false, &[("x-outcrop-residency", "eu")]).await;
        let illegal = (503, "server_error", "api_error", "ServiceUnavailableException");
        holds(api, &answer, illegal, "no_legal_target", true);
    }
    let answer = Api::Mcp.ask(&house, "nobody", "hi", false, &[]).await;
    assert_eq!(Api::Mcp.error(&answer).1, "unknown_model", "{answer:?}");
    assert!(house.seen("fra").is_empty() && house.seen("oai").is_empty());
}

#[tokio::test]
async fn a_message_names_the_field_at_fault() {
    let house = House::start().await;
    for (body, field) in [
        (json!({"messages": [{"role": "user", "content": "x"}]}), "model"),
        (json!({"model": "on-fra"}), "messages"),
        (json!({"model": "on-fra", "messages": []}), "messages"),
        (
            json!({"model": "on-fra", "messages": [{"role": "user", "content": "x"}], "stream": "yes"}),
            "stream",
        ),
    ] {
        let answer = house.post("/v1/chat/completions", &[], &body).await;
        assert_eq!(
            (answer.status, Api::OpenAi.error(&answer).1.as_str()),
            (400, "invalid_request"),
            "{body}"
        );
        assert!(answer.json()["error"]["message"].as_str().unwrap().contains(field), "{body}: {answer:?}");
    }
}

#[tokio::test]
async fn a_full_gateway_says_so_at_once() {
    let house = House::set_up(Setup { limits: "inflight_max = 1".to_owned(), ..Setup::default() }).await;
    house.break_path("fra", Fault::new(FaultKind::Hang)).await;
    let asking = Api::OpenAi.ask(&house, "on-fra", "hi", false, &[("x-outcrop-deadline-ms", "3000")]);
    let meanwhile = async {
        eventually("the first call arrives", async || (!house.seen("fra").is_empty()).then_some(())).await;
        for api in WITH_STATUS {
            let answer = api.ask(&house, "on-dub", "hi", false, &[]).await;
            let names = (503, "server_error", "overloaded_error", "ServiceUnavailableException");
            holds(api, &answer, names, "overloaded", true);
            let seconds: u64 = answer.header("retry-after").parse().unwrap();
            assert!((1..=4).contains(&seconds), "{seconds} s");
        }
    };
    let (first, ()) = tokio::join!(asking, meanwhile);
    assert_eq!(first.status, 504);
    assert_eq!(
        Api::OpenAi.ask(&house, "on-dub", "hi", false, &[]).await.status,
        200,
        "the place is free again"
    );
}

#[tokio::test]
async fn every_api_hears_a_silent_truncation_as_an_error() {
    let house = House::start().await;
    house.break_path("fra", Fault { http_end: true, ..Fault::new(FaultKind::Cut) }).await;
    for api in APIS {
        let told = api.hear(&api.ask(&house, "on-fra", "hi", false, &[]).await);
        assert!(told.errors.len() == 1 && told.text.is_empty(), "{api:?}: {told:?}");
    }
}
