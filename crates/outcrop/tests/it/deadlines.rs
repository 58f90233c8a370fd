//! A deadline is absolute: it ends on time, and a caller can only shorten it.

use outcrop_lab::script::{Fault, FaultKind, Script, Spread};

use crate::{
    api::{APIS, Api},
    client,
    house::{House, simulated, within},
};

/// An operation whose own promise is short.
const QUICK: &str = "[[operation]]\nname = \"quick\"\ndeadline = \"400ms\"\norder = [\"fra\"]";

#[tokio::test]
async fn silence_ends_with_the_deadline_in_every_dialect() {
    let house = House::start().await;
    house.break_path("fra", Fault::new(FaultKind::Hang)).await;
    for api in APIS {
        for stream in [false, true] {
            let headers = [("x-outcrop-deadline-ms", "300")];
            let answer = api.ask(&house, "on-fra", "hi", stream, &headers).await;
            let told = api.hear(&answer);
            assert_eq!(told.errors.len(), 1, "{api:?} {stream}: {answer:?}");
            assert_eq!(told.errors[0].1, "deadline_exceeded", "{api:?} {stream}");
            if api != Api::Mcp {
                assert_eq!((answer.status, answer.header("x-should-retry")), (504, "false"), "{api:?}");
                assert_eq!(answer.header("x-outcrop-code"), "deadline_exceeded");
            }
        }
    }
}

#[tokio::test]
async fn every_silence_before_content_counts() {
    let house = House::start().await;
    let stops = Fault::new(FaultKind::HangStream);
    let drips = Fault { interval_ms: Some(100), ..Fault::new(FaultKind::SlowHeaders) };
    for (path, fault) in [("fra", stops.clone()), ("oai", stops.clone()), ("ant", stops), ("fra", drips)] {
        let kind = fault.kind;
        house.break_path(path, fault).await;
        let headers = [("x-outcrop-deadline-ms", "400")];
        let answer = Api::OpenAi.ask(&house, &format!("on-{path}"), "hi", true, &headers).await;
        let error =
            if answer.status == 200 { panic!("{kind:?} {answer:?}") } else { Api::OpenAi.error(&answer) };
        assert_eq!((answer.status, error.1.as_str()), (504, "deadline_exceeded"), "{kind:?}");
    }
}

#[tokio::test]
async fn a_caller_can_shorten_it_and_never_lengthen_it() {
    let house = House::with(QUICK).await;
    for (name, value, expected) in [
        ("x-outcrop-deadline-ms", "250", 250),
        ("x-outcrop-deadline-ms", "60000", 400),
        ("x-stainless-read-timeout", "0.2", 200),
        ("x-stainless-timeout", "600", 400),
        ("grpc-timeout", "300m", 300),
        ("grpc-timeout", "1H", 400),
        ("amz-sdk-request", "attempt=1; max=1; ttl=20991231T235959Z", 400),
        ("accept", "*/*", 400),
    ] {
        let headers = [("x-outcrop-operation", "quick"), (name, value)];
        let answer = Api::OpenAi.ask(&house, "on-fra", "hi", false, &headers).await;
        let decision = house.decision(&answer).await;
        assert_eq!(decision["deadline_ms"], expected, "{name}: {value}");
    }
}

#[tokio::test]
async fn the_operations_own_deadline_ends_on_time() {
    let house = House::with(QUICK).await;
    house.break_path("fra", Fault::new(FaultKind::Hang)).await;
    let headers = [("x-outcrop-operation", "quick"), ("x-outcrop-deadline-ms", "60000")];
    let answer = Api::Converse.ask(&house, "any", "hi", false, &headers).await;
    assert_eq!((answer.status, Api::Converse.error(&answer).1.as_str()), (504, "deadline_exceeded"));
}

#[tokio::test]
async fn a_silent_target_leaves_time_for_another() {
    let house = House::start().await;
    house.break_path("fra", Fault::new(FaultKind::Hang)).await;
    let headers = [("x-outcrop-operation", "fra-dub"), ("x-outcrop-deadline-ms", "1500")];
    let answer = Api::Converse.ask(&house, "any", "[[tokens=4]]", false, &headers).await;
    assert_eq!(Api::Converse.hear(&answer).text, simulated("dub", 4), "{answer:?}");
    let decision = house.decision(&answer).await;
    assert_eq!(decision["attempts"][0]["failed"]["reason"], "timeout", "{decision}");
    assert_eq!(decision["outcome"]["deadline_met"], true, "{decision}");
}

#[tokio::test]
async fn the_deadline_of_a_stream_is_for_its_first_content() {
    let house = House::start().await;
    let pace = Script { pace_ms: Some(Spread::Fixed(20.0)), ..Script::default() };
    house.lab.script("fra", pace).await.unwrap();
    let headers = [("x-outcrop-deadline-ms", "500")];
    let answer = Api::OpenAi.ask(&house, "on-fra", "[[tokens=60]]", true, &headers).await;
    let told = Api::OpenAi.hear(&answer);
    assert!(told.text == simulated("fra", 60) && told.is_complete(Api::OpenAi), "{told:?}");
}

#[tokio::test]
async fn an_unreadable_deadline_is_refused_by_name() {
    let house = House::start().await;
    for value in ["0", "-5", "soon", "1.5"] {
        let headers = [("x-outcrop-deadline-ms", value)];
        let answer = Api::Anthropic.ask(&house, "on-fra", "hi", false, &headers).await;
        assert_eq!((answer.status, Api::Anthropic.error(&answer).1.as_str()), (400, "invalid_request"));
        assert!(answer.text().contains("x-outcrop-deadline-ms"), "{answer:?}");
    }
    assert_eq!(house.seen("fra").len(), 0);
}

#[tokio::test]
async fn a_body_that_crawls_does_not_hold_the_clock() {
    let house = House::start().await;
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: {}\r\ncontent-length: 500\r\nx-outcrop-deadline-ms: 200\r\n\r\n{{",
        house.data()
    );
    let heard = within("an answer", client::say(house.data(), request.as_bytes())).await;
    assert!(heard.starts_with("HTTP/1.1 504") && heard.contains("deadline_exceeded"), "{heard}");
}
