//! Rate limits: so many pass and no more, each caller is told what is left in its own words, and what is
//! refused reaches no upstream.

use futures_util::future::join_all;
use http_body_util::BodyExt as _;
use outcrop_lab::script::{Script, Spread};

use crate::{
    api::{self, APIS, Api},
    client::{self, Answer},
    house::{House, within},
};

fn row(scope: &str, limit: &str) -> String {
    format!("[[rate]]\nscope = \"{scope}\"\nlimit = \"{limit}\"\n")
}

/// The path on which each API speaks its own protocol.
fn home(api: Api) -> &'static str {
    match api {
        Api::OpenAi => "oai",
        Api::Anthropic => "ant",
        Api::Converse | Api::Invoke => "fra",
        Api::Mcp => "desk",
    }
}

#[tokio::test]
async fn of_many_at_once_exactly_the_burst_passes() {
    let house = House::with(&format!(
        "{}burst = 7\n{}",
        row("all", "5 requests/day"),
        row("key:*", "90 requests/day")
    ))
    .await;
    let asked = join_all((0..40).map(|n| {
        let api = APIS[n % APIS.len()];
        let house = &house;
        async move { api.hear(&api.ask(house, &format!("on-{}", home(api)), "hi", n % 2 == 0, &[]).await) }
    }));
    let told = asked.await;
    assert_eq!(told.iter().filter(|told| told.errors.is_empty()).count(), 7, "{told:?}");
    assert!(told.iter().flat_map(|told| &told.errors).all(|(_, code)| code == "rate_limited"), "{told:?}");
    let ran: usize = ["oai", "ant", "fra", "desk"].iter().map(|path| house.executions(path)).sum();
    let seen: usize = ["oai", "ant", "fra", "desk"].iter().map(|path| house.seen(path).len()).sum();
    assert_eq!((ran, seen), (7, 7), "what is refused reaches no upstream");
    let metrics = house.admin("/metrics").await.text();
    assert!(metrics.contains("outcrop_rate_limited_total{scope_kind=\"all\"} 33"), "{metrics}");
}

/// What an answer says of requests or tokens: limit, remaining, reset.
fn openai(answer: &Answer, unit: &str) -> [String; 3] {
    ["limit", "remaining", "reset"]
        .map(|what| answer.header(&format!("x-ratelimit-{what}-{unit}")).to_owned())
}

fn anthropic(answer: &Answer, unit: &str) -> [String; 3] {
    ["limit", "remaining", "reset"]
        .map(|what| answer.header(&format!("anthropic-ratelimit-{unit}-{what}")).to_owned())
}

/// Names of headers in which an answer speaks of limits.
fn speaking(answer: &Answer) -> Vec<&str> {
    let names = answer.headers.keys().map(http::HeaderName::as_str);
    let mut names: Vec<&str> = names.filter(|name| name.contains("ratelimit")).collect();
    names.sort_unstable();
    names
}

#[tokio::test]
async fn each_dialect_is_told_what_is_left_in_its_own_words() {
    let house = House::with(&row("model:*", "2 requests/day")).await;
    for (api, read) in
        [(Api::OpenAi, openai as fn(&Answer, &str) -> [String; 3]), (Api::Anthropic, anthropic)]
    {
        let model = format!("on-{}", home(api));
        for (stream, status, remaining) in [(false, 200, "1"), (true, 200, "0"), (false, 429, "0")] {
            let answer = api.ask(&house, &model, "hi", stream, &[]).await;
            assert_eq!(answer.status, status, "{answer:?}");
            let [limit, left, reset] = read(&answer, "requests");
            assert_eq!((limit.as_str(), left.as_str()), ("2", remaining), "{answer:?}");
            match api {
                Api::OpenAi => {
                    let near =
                        ["11h59m", "12h0m0s", "23h59m", "24h0m0s"].iter().any(|near| reset.starts_with(near));
                    assert!(near, "{reset}");
                }
                _ => assert!(reset.len() == 20 && reset.ends_with('Z') && reset.starts_with("20"), "{reset}"),
            }
            assert_eq!(speaking(&answer).len(), 3, "the upstream's own are not mixed in: {answer:?}");
        }
    }
}

#[tokio::test]
async fn a_refusal_names_the_limit_and_when_to_come_again() {
    let house = House::with(&row("model:*", "1 requests/h")).await;
    for (api, kind) in [
        (Api::OpenAi, "requests"),
        (Api::Anthropic, "rate_limit_error"),
        (Api::Converse, "ThrottlingException"),
        (Api::Mcp, "rate_limited"),
    ] {
        let model = format!("on-{}", home(api));
        assert!(api.hear(&api.ask(&house, &model, "hi", false, &[]).await).errors.is_empty());
        let answer = api.ask(&house, &model, "hi", true, &[]).await;
        let told = api.hear(&answer);
        assert_eq!(told.errors[0].1, "rate_limited", "{answer:?}");
        let text = answer.text();
        assert!(text.contains(&format!("1 requests/h for model:{model}")), "{text}");
        if api == Api::Mcp {
            assert!(text.contains("\"retryAfterMs\":3"), "{text}");
            continue;
        }
        assert_eq!((answer.status, told.errors[0].0.as_str()), (429, kind));
        let seconds: u64 = answer.header("retry-after").parse().unwrap();
        assert!((3_500..=3_600).contains(&seconds), "{answer:?}");
        assert_eq!(answer.header("x-amz-retry-after").is_empty(), api != Api::Converse);
        assert_eq!(answer.header("x-should-retry"), "");
        assert_eq!(answer.header("x-outcrop-attempts"), "");
    }
}

#[tokio::test]
async fn where_no_row_of_ours_applies_the_upstreams_own_words_pass() {
    let house = House::with(&row("key:somebody", "1 requests/day")).await;
    for api in [Api::OpenAi, Api::Anthropic] {
        for stream in [false, true] {
            let answer = api.ask(&house, &format!("on-{}", home(api)), "hi", stream, &[]).await;
            assert!(speaking(&answer).len() >= 6, "{answer:?}");
        }
    }
}

#[tokio::test]
async fn tokens_are_taken_when_they_are_known_and_debts_are_paid_first() {
    let house = House::with(&row("model:*", "10 tok/day")).await;
    for (api, stream) in
        [(Api::OpenAi, false), (Api::Anthropic, true), (Api::Converse, true), (Api::Mcp, false)]
    {
        let model = format!("on-{}", home(api));
        let answer = api.ask(&house, &model, "[[tokens=30]]", stream, &[]).await;
        assert!(api.hear(&answer).is_complete(api), "one request may overshoot: {answer:?}");
        if !stream && api == Api::OpenAi {
            let [limit, left, _] = openai(&answer, "tokens");
            assert_eq!((limit.as_str(), left.as_str()), ("10", "0"), "{answer:?}");
        }
        let refused = api.ask(&house, &model, "hi", stream, &[]).await;
        assert_eq!(api.hear(&refused).errors[0].1, "rate_limited", "{refused:?}");
        assert!(refused.text().contains("used up by earlier requests"), "{refused:?}");
        assert_eq!(house.seen(home(api)).len(), 1);
    }
}

#[tokio::test]
async fn a_stream_that_its_caller_leaves_is_charged_what_was_counted() {
    let house = House::with(&row("model:*", "3 tok/day")).await;
    house
        .lab
        .script("anthropic", Script { pace_ms: Some(Spread::Fixed(20.0)), ..Script::default() })
        .await
        .unwrap();
    let api = Api::Anthropic;
    let body = api.body("on-ant", "[[tokens=3000]] and a question of some length", true).to_string();
    let headers = [("content-type", "application/json"), api.headers()[0]];
    let opening = client::open(house.data(), http::Method::POST, "/v1/messages", &headers, body);
    let mut stream = within("the head", opening).await.unwrap().into_body();
    within("a piece", stream.frame()).await.unwrap().unwrap();
    drop(stream);
    house.newest_decision(|decision| decision["outcome"]["label"] == "caller_gone").await;
    let refused = api.ask(&house, "on-ant", "hi", false, &[]).await;
    assert_eq!((refused.status, anthropic(&refused, "tokens")[1].as_str()), (429, "0"), "{refused:?}");
}

#[tokio::test]
async fn a_star_gives_every_user_a_limit_of_its_own() {
    let house = House::with(&row("user:*", "1 requests/day")).await;
    for (user, status) in [("anna", 200), ("bert", 200), ("anna", 429), ("", 200), ("", 429)] {
        let headers: &[(&str, &str)] = if user.is_empty() { &[] } else { &[("x-outcrop-user", user)] };
        let answer = Api::OpenAi.ask(&house, "on-oai", "hi", false, headers).await;
        assert_eq!(answer.status, status, "{user}: {answer:?}");
    }
}

#[tokio::test]
async fn what_would_be_refused_anyway_is_not_read_first() {
    let house = House::with(&row("operation:infrastructure", "1 requests/day")).await;
    let headers = [("x-outcrop-operation", "infrastructure")];
    let bad = |house: &House| {
        let address = house.data();
        async move {
            let all = [("content-type", "application/json"), ("x-outcrop-operation", "infrastructure")];
            client::send(address, http::Method::POST, "/v1/chat/completions", &all, "{").await.unwrap().status
        }
    };
    assert_eq!(bad(&house).await, 400, "what cannot be read is not counted");
    assert_eq!(Api::OpenAi.ask(&house, "on-oai", "hi", false, &headers).await.status, 200);
    assert_eq!(bad(&house).await, 429);
    assert_eq!(Api::OpenAi.ask(&house, "on-oai", "hi", false, &[]).await.status, 200);
}

#[tokio::test]
async fn federated_tools_are_limited_as_chats_are() {
    let house = House::with(&row("tool:*", "1 requests/day")).await;
    let call = || api::echo(&house);
    let code = |answer: &Answer| Api::Mcp.hear(answer).errors.first().map(|(_, code)| code.clone());
    let first = call().await;
    assert_ne!(code(&first).as_deref(), Some("rate_limited"), "{first:?}");
    let second = call().await;
    assert_eq!(code(&second).as_deref(), Some("rate_limited"), "{second:?}");
    assert!(second.text().contains("tool:desk__echo"), "{second:?}");
    let chat = Api::Mcp.ask(&house, "on-fra", "hi", false, &[]).await;
    assert_eq!(code(&chat), None::<String>, "a chat calls no tool: {chat:?}");
}
