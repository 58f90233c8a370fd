//! What an answer is said to cost is what the upstream bills for it; what has no price is not asked for.

use outcrop_lab::billing::Record;
use serde_json::{Value, json};

use crate::{
    api::{APIS, Api},
    client::Answer,
    house::{House, PATHS},
};

fn told(answer: &Answer) -> u64 {
    let cost = answer.header("x-outcrop-cost-nusd");
    cost.parse().unwrap_or_else(|_| panic!("`{cost}` is no cost: {answer:?}"))
}

#[tokio::test]
async fn every_path_costs_what_it_bills() {
    let house = House::start().await;
    for (path, _) in PATHS {
        for (n, api) in (1..).zip(APIS.into_iter().filter(|api| *api != Api::Mcp)) {
            let answer = api.ask(&house, &format!("on-{path}"), "[[tokens=9]] and more", false, &[]).await;
            assert_eq!(answer.status, 200, "{answer:?}");
            let billed = house.billed(path, n).await.pop().unwrap();
            assert!(billed.cost_nusd > 0 && billed.output_tokens == 9, "{billed:?}");
            assert_eq!(told(&answer), billed.cost_nusd, "{api:?} over {path}: {billed:?}");
        }
    }
}

#[tokio::test]
async fn a_stream_costs_what_it_bills() {
    let house = House::start().await;
    for (path, _) in PATHS {
        for (n, api) in (1..).zip(APIS.into_iter().filter(|api| *api != Api::Mcp)) {
            let answer = api.ask(&house, &format!("on-{path}"), "[[tokens=9]]", true, &[]).await;
            assert!(api.hear(&answer).is_complete(api), "{answer:?}");
            let billed = house.billed(path, n).await.pop().unwrap();
            let decision = house.decision(&answer).await;
            assert_eq!(decision["outcome"]["cost_nusd"], billed.cost_nusd, "{api:?} over {path}: {billed:?}");
        }
    }
}

#[tokio::test]
async fn vectors_cost_what_they_bill() {
    let house = House::start().await;
    for (model, path) in [("vectors", "oai"), ("titan", "fra")] {
        let body = json!({"model": model, "input": "some words to be placed"});
        let answer = house.post("/v1/embeddings", &[], &body).await;
        let billed = house.billed(path, 1).await.pop().unwrap();
        assert!(billed.cost_nusd > 0, "{billed:?}");
        assert_eq!(told(&answer), billed.cost_nusd, "{model}");
    }
}

/// Asks twice for the same cached prompt: the first writes the cache and the second reads it.
async fn cached(
    house: &House,
    path: &str,
    route: &str,
    headers: &[(&str, &str)],
    body: &Value,
) -> [Record; 2] {
    let mut records = Vec::new();
    for n in 1..=2 {
        let answer = house.post(route, headers, body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let billed = house.billed(path, n).await.pop().unwrap();
        assert_eq!(told(&answer), billed.cost_nusd, "{route} over {path}: {billed:?}");
        records.push(billed);
    }
    records.try_into().unwrap()
}

#[tokio::test]
async fn cached_input_costs_what_it_bills() {
    let system = "be brief and say nothing that was not asked for ".repeat(20);
    for path in ["fra", "ant"] {
        let model = format!("on-{path}");
        let house = House::start().await;
        let body = json!({
            "model": model, "max_tokens": 100,
            "system": [{"type": "text", "text": system, "cache_control": {"type": "ephemeral"}}],
            "messages": [{"role": "user", "content": "[[tokens=5]]"}],
        });
        let [first, second] = cached(&house, path, "/v1/messages", Api::Anthropic.headers(), &body).await;
        assert!(first.cache_write_tokens > 0 && first.cache_read_tokens == 0, "{first:?}");
        assert!(second.cache_read_tokens > 0 && second.cost_nusd < first.cost_nusd, "{second:?}");
    }
    let house = House::start().await;
    let body = json!({
        "system": [{"text": system}, {"cachePoint": {"type": "default"}}],
        "messages": [{"role": "user", "content": [{"text": "[[tokens=5]]"}]}],
    });
    let [first, second] = cached(&house, "dub", "/model/on-dub/converse", &[], &body).await;
    assert!(first.cache_write_tokens > 0 && second.cache_read_tokens > 0, "{first:?} {second:?}");
}

#[tokio::test]
async fn a_raw_id_without_a_price_is_refused_before_anything_is_sent() {
    let house = House::start().await;
    let priced = Api::Converse.ask(&house, "us.amazon.nova-lite-v1%3A0", "[[tokens=3]]", false, &[]).await;
    assert_eq!(priced.status, 200, "{priced:?}");
    let path = priced.header("x-outcrop-path").to_owned();
    assert_eq!(told(&priced), house.billed(&path, 1).await[0].cost_nusd);
    let opaque = "arn%3Aaws%3Abedrock%3Aeu-central-1%3A123456789012%3Aapplication-inference-profile%2Fabc";
    for id in ["amazon.unheard-of-v1%3A0", opaque] {
        let answer = Api::Converse.ask(&house, id, "hi", false, &[]).await;
        assert_eq!((answer.status, Api::Converse.error(&answer).1.as_str()), (422, "price_unknown"), "{id}");
        assert!(String::from_utf8_lossy(&answer.body).contains("[[price]]"), "{answer:?}");
        let decision = house.decision(&answer).await;
        let candidates = decision["candidates"].as_array().unwrap();
        assert!(candidates.iter().all(|c| c["excluded"] == "price_unknown"), "{decision}");
    }
    assert_eq!(house.seen("fra").len() + house.seen("dub").len(), 1);
}
