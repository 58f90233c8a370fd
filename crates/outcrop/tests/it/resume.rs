//! `resume = "continue"`: a stream of text that broke goes on, once, and says so.

use outcrop_lab::script::{Fault, FaultKind};
use serde_json::json;

use crate::{
    api::Api,
    client::Answer,
    house::{House, PATHS, eventually, simulated},
};

const APIS: [Api; 4] = [Api::OpenAi, Api::Anthropic, Api::Converse, Api::Invoke];
const TOKENS: usize = 20;

/// A gateway whose operations `on-<a>-<b>` go on at `b` where `a` breaks.
async fn house() -> House {
    let mut more = String::new();
    for (first, _) in PATHS {
        for (second, _) in PATHS.iter().filter(|(second, _)| *second != first) {
            more.push_str(&format!(
                "[[operation]]\nname = \"on-{first}-{second}\"\norder = [\"{first}\", \"{second}\"]\n\
                 resume = \"continue\"\n"
            ));
        }
    }
    House::with(&more).await
}

async fn ask(house: &House, api: Api, operation: &str, more: &[(&str, &str)]) -> Answer {
    let headers = [&[("x-outcrop-operation", operation)], more].concat();
    api.ask(house, "any", &format!("[[tokens={TOKENS}]]"), true, &headers).await
}

#[tokio::test]
async fn a_stream_that_broke_goes_on_at_another_target() {
    let house = house().await;
    for (first, second) in [("fra", "dub"), ("fra", "oai"), ("oai", "fra"), ("ant", "oai"), ("fra", "desk")] {
        for api in APIS {
            let case = format!("{api:?} {first} {second}");
            house.break_path(first, Fault::new(FaultKind::ResetInside).after(8)).await;
            let before = (house.seen(first).len(), house.seen(second).len());
            let answer = ask(&house, api, &format!("on-{first}-{second}"), &[]).await;
            let told = api.hear(&answer);
            assert!(told.is_complete(api), "{case}: {told:?}");
            let whole = simulated(first, TOKENS);
            let at = told.text.rfind("Simulated answer from ").unwrap();
            let (had, more) = told.text.split_at(at);
            assert!(!had.is_empty() && whole.starts_with(had), "{case}: {told:?}");
            assert!(more.starts_with(&simulated(second, 1)), "{case}: {told:?}");
            let after = (house.seen(first).len(), house.seen(second).len());
            assert_eq!(after, (before.0 + 1, before.1 + 1), "{case}");
            let decision = house.decision(&answer).await;
            assert_eq!(decision["outcome"]["label"], "ok", "{case}: {decision}");
            assert_eq!(decision["resumed"]["text_bytes"], had.len(), "{case}: {decision}");
            assert!(decision["resumed"]["from"].as_str().unwrap().starts_with(first), "{case}: {decision}");
            assert_eq!(decision["attempts"].as_array().unwrap().len(), 2, "{case}: {decision}");
            let has_comments = matches!(api, Api::OpenAi | Api::Anthropic);
            assert_eq!(answer.text().contains(": outcrop-resumed\n\n"), has_comments, "{case}");
        }
        house.heal(first).await;
    }
}

#[tokio::test]
async fn a_stream_goes_on_once() {
    let house = house().await;
    for path in ["fra", "dub"] {
        house.break_path(path, Fault::new(FaultKind::Cut).after(8)).await;
    }
    for api in APIS {
        let before = house.seen("dub").len();
        let answer = ask(&house, api, "on-fra-dub", &[]).await;
        let told = api.hear(&answer);
        assert!(told.errors.len() == 1 && told.ends.is_empty(), "{api:?}: {told:?}");
        assert!(told.text.contains("from dub") || told.text.len() > 40, "{api:?}: {told:?}");
        assert_eq!(house.seen("dub").len(), before + 1, "{api:?}");
        assert_eq!(house.decision(&answer).await["outcome"]["label"], "partial");
    }
}

#[tokio::test]
async fn where_nothing_goes_on_the_caller_is_told() {
    let house = house().await;
    house.break_path("fra", Fault::new(FaultKind::Cut).after(8)).await;
    house.take_down("dub").await;
    for api in APIS {
        let answer = ask(&house, api, "on-fra-dub", &[]).await;
        let told = api.hear(&answer);
        assert!(told.errors.len() == 1 && told.ends.is_empty() && !told.text.is_empty(), "{api:?}: {told:?}");
        let decision = house.decision(&answer).await;
        assert_eq!(decision["outcome"]["label"], "partial", "{api:?}: {decision}");
    }
    eventually("every slot is free again", async || {
        house.admin("/metrics").await.text().contains("outcrop_inflight 0").then_some(())
    })
    .await;
}

#[tokio::test]
async fn nothing_goes_on_outside_the_residency() {
    let house = house().await;
    house.break_path("fra", Fault::new(FaultKind::Cut).after(8).times(1)).await;
    let answer = ask(&house, Api::OpenAi, "on-fra-oai", &[("x-outcrop-residency", "eu")]).await;
    let told = Api::OpenAi.hear(&answer);
    assert!(told.is_complete(Api::OpenAi), "the same target may go on: {told:?}");
    assert_eq!((house.seen("fra").len(), house.seen("oai").len()), (2, 0));
}

#[tokio::test]
async fn tools_and_required_shapes_never_go_on() {
    let house = house().await;
    house.break_path("oai", Fault::new(FaultKind::Cut).after(8)).await;
    let tool = json!([{"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}]);
    for (name, value) in [("tools", tool), ("response_format", json!({"type": "json_object"}))] {
        let mut body = Api::OpenAi.body("any", &format!("[[tokens={TOKENS}]]"), true);
        body[name] = value;
        let headers = [("x-outcrop-operation", "on-oai-fra")];
        let answer = house.post("/v1/chat/completions", &headers, &body).await;
        let told = Api::OpenAi.hear(&answer);
        assert!(told.errors.len() == 1 && told.ends.is_empty(), "{name}: {told:?}");
    }
    assert_eq!(house.seen("fra").len(), 0);
}

#[tokio::test]
async fn each_attempt_is_paid_for() {
    let house = house().await;
    house.break_path("oai", Fault::new(FaultKind::Cut).after(8)).await;
    let answer = ask(&house, Api::OpenAi, "on-oai-ant", &[]).await;
    assert!(Api::OpenAi.hear(&answer).is_complete(Api::OpenAi), "{answer:?}");
    let stands = eventually("both attempts are settled", async || {
        let balance = house.admin("/admin/v1/balance").await.json();
        balance.to_string().contains("suspense").then_some(balance)
    })
    .await;
    assert!(house.billed("ant", 1).await[0].executed, "{stands}");
}

#[tokio::test]
async fn the_usage_told_is_of_both_attempts() {
    let house = house().await;
    // Anthropic reports its input with the beginning of the stream.
    house.break_path("ant", Fault::new(FaultKind::Cut).after(8)).await;
    let answer = ask(&house, Api::Anthropic, "on-ant-fra", &[]).await;
    let told = Api::Anthropic.hear(&answer);
    assert!(told.is_complete(Api::Anthropic), "{told:?}");
    let (broken, whole) = (&house.billed("ant", 1).await[0], &house.billed("fra", 1).await[0]);
    let decision = house.decision(&answer).await;
    let usage = &decision["outcome"]["usage"];
    assert_eq!(usage["input"], broken.input_tokens + whole.input_tokens, "{decision}");
    let told = answer.text();
    let mut events = told.lines().filter_map(|line| line.strip_prefix("data: "));
    let last = events.rfind(|data| data.contains("message_delta")).unwrap();
    let last: serde_json::Value = serde_json::from_str(last).unwrap();
    assert_eq!(last["usage"]["input_tokens"], broken.input_tokens + whole.input_tokens, "{last}");
    assert!(last["usage"]["output_tokens"].as_u64() >= Some(whole.output_tokens), "{last}");
}
