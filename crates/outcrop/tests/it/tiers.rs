//! Service tiers: asked for by priority, in each protocol's own place, at their own price.

use std::sync::Arc;

use outcrop::config::Checked;
use outcrop_core::{
    Priority,
    money::{PicoUsd, Price, Rates, Tariff, Tier},
};
use serde_json::json;

use crate::{
    api::Api,
    house::{House, Setup},
};

/// A gateway that asks every target for `flex` at priority `low`, at half the price.
async fn house() -> House {
    let adjust = |checked: &mut Checked| {
        for target in &mut checked.routes.targets {
            let rates = |pico| Rates::of(PicoUsd(pico), PicoUsd(pico));
            let mut price = Price::flat(&target.model_id, "test", rates(2_000_000));
            price.tiers = Box::new([(Tier::Flex, Tariff::flat(rates(1_000_000)))]);
            target.price = Some(Arc::new(price));
            target.tiers = Arc::from([(Priority::Low, Tier::Flex)]);
        }
    };
    House::set_up(Setup { adjust, ..Setup::default() }).await
}

const LOW: (&str, &str) = ("x-outcrop-priority", "low");

#[tokio::test]
async fn a_priority_asks_for_its_tier_at_its_price() {
    let house = house().await;
    let (flat, inner) = ("\"service_tier\":\"flex\",", "\"serviceTier\":{\"type\":\"flex\"},");
    for (api, path, member) in [
        (Api::OpenAi, "oai", flat),
        (Api::Anthropic, "oai", flat),
        (Api::Converse, "fra", inner),
        (Api::OpenAi, "fra", inner),
        (Api::Anthropic, "fra", ""),
        (Api::Invoke, "fra", ""),
    ] {
        let model = format!("on-{path}");
        let usual = api.ask(&house, &model, "[[tokens=9]]", false, &[]).await;
        let low = api.ask(&house, &model, "[[tokens=9]]", false, &[LOW]).await;
        let cost =
            |answer: &crate::client::Answer| answer.header("x-outcrop-cost-nusd").parse::<u64>().unwrap();
        assert_eq!(cost(&usual), 2 * cost(&low), "{api:?} {path}: {usual:?} {low:?}");
        let seen = house.seen(path);
        let [.., before, after] = &seen[..] else { panic!("{seen:?}") };
        assert_eq!(after.body_bytes - before.body_bytes, member.len() as u64, "{api:?} {path}");
        let header = after.headers.get("x-amzn-bedrock-service-tier").map(String::as_str);
        assert_eq!(header, member.is_empty().then_some("flex"), "{api:?} {path}");
        assert_eq!(before.headers.get("x-amzn-bedrock-service-tier"), None);
    }
}

#[tokio::test]
async fn a_caller_that_names_a_tier_keeps_it() {
    let house = house().await;
    let mut body = Api::OpenAi.body("on-oai", "[[tokens=9]]", false);
    body["service_tier"] = json!("default");
    for headers in [&[][..], &[LOW]] {
        let answer = house.post("/v1/chat/completions", headers, &body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let seen = house.seen("oai");
    assert_eq!(seen[0].body_sha256, seen[1].body_sha256);
}

#[test]
fn a_tier_without_a_price_is_a_problem() {
    let text = |price: &str| {
        format!(
            "[auth]\nmode = \"open\"\n[[path]]\nname = \"o\"\nkind = \"openai\"\nurl = \"http://127.0.0.1:1/v1\"\n\
             service_tier = {{ emergency = \"priority\", low = \"flex\" }}\n\
             [[model]]\nname = \"m\"\ntargets = [{{ path = \"o\", id = \"x\" }}]\n\
             [[price]]\nmodel = \"x\"\ninput = \"1 USD/Mtok\"\noutput = \"1 USD/Mtok\"\n{price}"
        )
    };
    let problems = outcrop::config::parse("t.toml", &text("")).unwrap_err().to_string();
    assert!(problems.contains("no price in the service tier `priority`"), "{problems}");
    let priced = "priority = { input = \"2 USD/Mtok\", output = \"2 USD/Mtok\" }";
    let checked =
        outcrop::config::parse("t.toml", &text(priced)).unwrap_or_else(|problems| panic!("{problems}"));
    let tiers = [(Priority::Low, Tier::Flex), (Priority::Emergency, Tier::Priority)];
    assert_eq!(*checked.routes.targets[0].tiers, tiers);
}
