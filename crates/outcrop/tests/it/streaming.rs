//! A stream is complete, in order and honest about its end.

use std::time::Duration;

use outcrop::config::Checked;
use outcrop_lab::script::{Fault, FaultKind, Script, Spread};
use outcrop_proxy::Floor;

use crate::{
    api::{APIS, Api},
    client,
    house::{House, Setup, eventually, simulated, within},
};

/// Tokens of the streams that break.
const TOKENS: usize = 20;

/// Ways to break after content, with their names; `after` events pass.
fn faults(path: &str, after: u64) -> Vec<(&'static str, Fault)> {
    let new = |kind| Fault::new(kind).after(after);
    let mut faults = vec![
        ("cut", new(FaultKind::Cut)),
        ("cut with a proper end", Fault { http_end: true, ..new(FaultKind::Cut) }),
        ("cut inside an event", new(FaultKind::CutMidFrame)),
        ("cut inside an event with a proper end", Fault { http_end: true, ..new(FaultKind::CutMidFrame) }),
        ("reset", new(FaultKind::ResetInside)),
        ("error event", new(FaultKind::StreamException)),
    ];
    if path == "fra" {
        faults.push(("wrong checksum", new(FaultKind::BadCrc)));
        for kind in ["throttlingException", "modelStreamErrorException", "serviceUnavailableException"] {
            faults.push((kind, new(FaultKind::StreamException).spelled(500, kind)));
        }
    }
    faults
}

fn texts(desk: bool) -> Setup {
    let desk = if desk { "effect = \"read_only\"\nprogress = \"text\"" } else { "effect = \"read_only\"" };
    Setup { desk: desk.to_owned(), ..Setup::default() }
}

/// Breaks streams of `path` after content, and holds that callers of every API are told so, and nothing else.
async fn breaks_honestly(path: &str, second: &str) {
    let house = House::set_up(texts(true)).await;
    let operation = format!("{path}-{second}");
    let mut wrong = Vec::new();
    for api in APIS {
        for (name, fault) in faults(path, 8) {
            house.break_path(path, fault).await;
            let headers = [("x-outcrop-operation", operation.as_str())];
            let answer = api.ask(&house, "any", &format!("[[tokens={TOKENS}]]"), true, &headers).await;
            let told = api.hear(&answer);
            let begun = !told.text.is_empty() && simulated(path, TOKENS).starts_with(&told.text);
            let honest = told.ends.is_empty() && told.errors.len() == 1 && told.starts == 1;
            let coded = told.errors.first().is_some_and(|(_, code)| code == "upstream_failed");
            if answer.status != 200 || !begun || !honest || !coded || !answer.whole {
                wrong.push(format!("{api:?} {name}: {} {told:?} whole: {}", answer.status, answer.whole));
            }
            if api != Api::Mcp {
                let decision = house.decision(&answer).await;
                assert_eq!(decision["outcome"]["label"], "partial", "{api:?} {name}: {decision}");
            }
        }
    }
    assert!(wrong.is_empty(), "{path}: {} cases:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(house.seen(second).len(), 0, "no second target after content");
}

#[tokio::test]
async fn a_broken_bedrock_stream_ends_with_an_error() {
    breaks_honestly("fra", "dub").await;
}

#[tokio::test]
async fn a_broken_openai_stream_ends_with_an_error() {
    breaks_honestly("oai", "fra").await;
}

#[tokio::test]
async fn a_broken_anthropic_stream_ends_with_an_error() {
    breaks_honestly("ant", "fra").await;
}

#[tokio::test]
async fn a_broken_tool_call_ends_with_an_error() {
    breaks_honestly("desk", "fra").await;
}

#[tokio::test]
async fn a_stream_without_its_last_event_is_not_complete() {
    let house = House::start().await;
    // The whole text, the end of the block and `messageStop` come, `metadata` does not.
    let events = u64::try_from(1 + TOKENS + 2).unwrap();
    let fault = Fault { http_end: true, ..Fault::new(FaultKind::Cut).after(events) };
    house.break_path("fra", fault).await;
    for api in [Api::OpenAi, Api::Converse] {
        let answer = api.ask(&house, "on-fra", &format!("[[tokens={TOKENS}]]"), true, &[]).await;
        let told = api.hear(&answer);
        assert!(!told.is_complete(api) && told.errors.len() == 1, "{api:?}: {told:?}");
        assert!(!told.ends.iter().any(|end| end == "[DONE]" || end == "metadata"), "{api:?}: {told:?}");
    }
}

#[tokio::test]
async fn http2_callers_hear_of_a_broken_stream_too() {
    let house = House::start().await;
    house.break_path("fra", Fault::new(FaultKind::ResetInside).after(8)).await;
    let mut sender = client::connect_h2(house.data()).await;
    for api in APIS.into_iter().filter(|api| *api != Api::Mcp) {
        let body = api.body("on-fra", "[[tokens=20]]", true);
        let request = client::post_h2(house.data(), &api.route("on-fra", true), api.headers(), &body);
        let answer = client::read(within("an answer", sender.send_request(request)).await.unwrap()).await;
        let told = api.hear(&answer);
        assert!(answer.whole && told.errors.len() == 1 && told.ends.is_empty(), "{api:?}: {told:?}");
    }
}

#[tokio::test]
async fn a_stream_that_stands_still_ends_with_an_error() {
    let setup = Setup { limits: "stream_stall_max = \"300ms\"".to_owned(), ..texts(true) };
    let house = House::set_up(setup).await;
    for path in ["fra", "oai", "ant"] {
        house.break_path(path, Fault::new(FaultKind::HangStream).after(8)).await;
        for api in APIS {
            let answer = api.ask(&house, &format!("on-{path}"), "[[tokens=20]]", true, &[]).await;
            let told = api.hear(&answer);
            let honest = told.ends.is_empty() && told.errors.len() == 1 && answer.whole;
            assert!(honest && !told.text.is_empty(), "{path} {api:?}: {told:?}");
            assert_eq!(told.errors[0].1, "upstream_failed", "{path} {api:?}");
        }
        let upstream_left = async || house.seen(path).iter().all(|seen| seen.ended).then_some(());
        eventually("the upstream hears that nobody waits", upstream_left).await;
    }
}

#[tokio::test]
async fn a_stream_that_lives_too_long_ends_with_an_error() {
    let house = House::limited("stream_total_max = \"400ms\"").await;
    let pace = outcrop_lab::script::Spread::Fixed(20.0);
    let script = outcrop_lab::script::Script { pace_ms: Some(pace), ..Default::default() };
    house.lab.script("fra", script).await.unwrap();
    let answer = Api::Converse.ask(&house, "on-fra", "[[tokens=5000]]", true, &[]).await;
    let told = Api::Converse.hear(&answer);
    assert!(told.ends.is_empty() && told.errors.len() == 1, "{told:?}");
    assert_eq!(told.errors[0].1, "deadline_exceeded");
}

#[tokio::test]
async fn long_streams_are_complete_and_in_order() {
    let house = House::set_up(texts(true)).await;
    for path in ["fra", "desk", "oai", "ant"] {
        for api in APIS {
            let answer = api.ask(&house, &format!("on-{path}"), "[[tokens=1500]]", true, &[]).await;
            let told = api.hear(&answer);
            assert!(told.text == simulated(path, 1500), "{path} {api:?}: {} bytes", told.text.len());
            assert!(told.is_complete(api), "{path} {api:?}: {:?} {:?}", told.ends, told.errors);
        }
    }
}

/// A stream that is opened and then never read.
async fn unread(house: &House, http2: bool) {
    const MANY: usize = 60_000;
    let mut body = Api::Converse.body("on-fra", &format!("[[tokens={MANY}]]"), true);
    body["inferenceConfig"]["maxTokens"] = MANY.into();
    let route = Api::Converse.route("on-fra", true);
    let held: Box<dyn std::any::Any> = if http2 {
        let mut sender = client::connect_h2(house.data()).await;
        let response = sender.send_request(client::post_h2(house.data(), &route, &[], &body)).await.unwrap();
        Box::new((sender, response))
    } else {
        let headers = [("content-type", "application/json")];
        let opening = client::open(house.data(), http::Method::POST, &route, &headers, body.to_string());
        Box::new(within("the head", opening).await.unwrap())
    };
    let ended = house.newest_decision(|d| d["outcome"]["label"] == "caller_gone");
    within("the stream is given up", ended).await;
    assert!(house.admin("/metrics").await.text().contains("outcrop_inflight 0"), "its slot is free again");
    drop(held);
}

#[tokio::test]
async fn a_reader_that_stopped_is_given_up() {
    let house = House::limited("reader_stall_max = \"200ms\"").await;
    unread(&house, false).await;
}

#[tokio::test]
async fn a_reader_that_stopped_on_http2_is_given_up() {
    let house = House::limited("reader_stall_max = \"200ms\"").await;
    unread(&house, true).await;
}

#[tokio::test]
async fn a_slow_reader_slows_the_upstream() {
    const MANY: usize = 60_000;
    let house = House::start().await;
    let mut body = Api::Converse.body("on-fra", &format!("[[tokens={MANY}]]"), true);
    body["inferenceConfig"]["maxTokens"] = MANY.into();
    let headers = [("content-type", "application/json")];
    let route = Api::Converse.route("on-fra", true);
    let opening = client::open(house.data(), http::Method::POST, &route, &headers, body.to_string());
    let response = within("the head", opening).await.unwrap();
    // Nobody reads: after some time no further event leaves the upstream.
    let mut before = 0;
    let still = async || {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let sent = house.seen("fra")[0].events_sent;
        let moved = std::mem::replace(&mut before, sent) != sent;
        (!moved && sent > 0).then_some(sent)
    };
    let sent = eventually("the upstream stands still", still).await;
    assert!(sent < MANY as u64, "all {sent} events were buffered somewhere");
    let answer = within("the rest", client::read(response)).await;
    let told = Api::Converse.hear(&answer);
    assert!(told.text == simulated("fra", MANY) && told.is_complete(Api::Converse), "{:?}", told.ends);
}

/// A gateway with short limits on streams.
async fn impatient() -> House {
    let adjust = |checked: &mut Checked| {
        checked.streams.stall_max = Duration::from_millis(700);
        checked.streams.floor = Floor { bytes: 100_000, window: Duration::from_millis(800) };
    };
    House::set_up(Setup { adjust, ..Setup::default() }).await
}

#[tokio::test]
async fn a_stream_that_drips_ends_with_an_error() {
    let house = impatient().await;
    let drip = Script { pace_ms: Some(Spread::Fixed(50.0)), ..Script::default() };
    house.lab.script("fra", drip).await.unwrap();
    for api in [Api::OpenAi, Api::Anthropic, Api::Converse, Api::Invoke] {
        let answer = api.ask(&house, "on-fra", "[[tokens=500]]", true, &[]).await;
        let told = api.hear(&answer);
        assert_eq!((told.errors.len(), told.ends.len()), (1, 0), "{api:?}: {told:?}");
        assert!(!told.text.is_empty() && told.text.len() < simulated("fra", 500).len(), "{api:?}: {told:?}");
    }
}

#[tokio::test]
async fn a_slow_reader_trips_no_watchdog() {
    const MANY: usize = 60_000;
    let house = impatient().await;
    let mut body = Api::Converse.body("on-fra", &format!("[[tokens={MANY}]]"), true);
    body["inferenceConfig"]["maxTokens"] = MANY.into();
    let headers = [("content-type", "application/json")];
    let route = Api::Converse.route("on-fra", true);
    let opening = client::open(house.data(), http::Method::POST, &route, &headers, body.to_string());
    let response = within("the head", opening).await.unwrap();
    // Longer than the stall limit and the window of the throughput.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert!(house.seen("fra")[0].events_sent < MANY as u64, "all of it was buffered somewhere");
    let answer = within("the rest", client::read(response)).await;
    let told = Api::Converse.hear(&answer);
    assert!(told.text == simulated("fra", MANY) && told.is_complete(Api::Converse), "{:?}", told.errors);
}
