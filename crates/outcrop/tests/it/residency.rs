//! What must stay inside the EU stays there, even when nothing inside answers.

use outcrop_lab::script::{Fault, FaultKind};
use serde_json::json;

use crate::{
    api::{APIS, Api},
    house::House,
};

const EU: (&str, &str) = ("x-outcrop-residency", "eu");

/// Paths and models outside: one by its region, one by its profile, one that declares nothing.
fn outside(house_url: &str) -> String {
    format!(
        "[[path]]\nname = \"virginia\"\nkind = \"bedrock\"\nregion = \"us-east-1\"\nendpoint = \"{house_url}\"\n\
         [[model]]\nname = \"mixed\"\ntargets = [\n\
           {{ path = \"virginia\", id = \"anthropic.claude-3-haiku-20240307-v1:0\" }},\n\
           {{ path = \"fra\", id = \"global.anthropic.claude-sonnet-4-5-20250929-v1:0\" }},\n\
           {{ path = \"oai\", id = \"gpt-4o-mini\" }},\n\
           {{ path = \"dub\", id = \"anthropic.claude-3-haiku-20240307-v1:0\" }},\n]\n\
         [[operation]]\nname = \"any-order\"\norder = [\"virginia\", \"oai\", \"fra\", \"dub\"]"
    )
}

#[tokio::test]
async fn only_targets_inside_are_asked() {
    let house = House::with(&outside("http://127.0.0.1:9")).await;
    for api in APIS {
        for stream in [false, true] {
            let headers = [EU, ("x-outcrop-operation", "any-order")];
            let answer = api.ask(&house, "mixed", "[[tokens=3]]", stream, &headers).await;
            let told = api.hear(&answer);
            assert_eq!(told.text, crate::house::simulated("dub", 3), "{api:?}: {answer:?}");
        }
    }
    assert!(house.seen("fra").is_empty() && house.seen("oai").is_empty());
}

#[tokio::test]
async fn when_all_inside_fail_nothing_outside_is_asked() {
    let house = House::start().await;
    let ways = [
        (Fault::new(FaultKind::Refuse), 502),
        (Fault::new(FaultKind::Error).spelled(503, "serviceUnavailableException"), 503),
        (Fault::new(FaultKind::Throttle), 429),
    ];
    for (fault, status) in ways {
        for path in ["fra", "dub"] {
            house.break_path(path, fault.clone()).await;
        }
        house.take_down("desk").await;
        for operation in ["standard", "infrastructure", "emergency"] {
            let headers = [EU, ("x-outcrop-operation", operation)];
            let answer = Api::Converse.ask(&house, "any", "hi", false, &headers).await;
            assert_eq!(answer.status, status, "{operation} {fault:?}: {answer:?}");
            assert_eq!(Api::Converse.error(&answer).1, "upstream_failed");
        }
    }
    assert!(house.seen("oai").is_empty() && house.seen("ant").is_empty());
    assert_eq!(house.executions("oai") + house.executions("ant"), 0);
}

#[tokio::test]
async fn without_a_legal_target_nothing_is_dispatched() {
    let house = House::start().await;
    for api in APIS {
        let answer = api.ask(&house, "on-ant", "hi", false, &[EU]).await;
        let told = api.hear(&answer);
        assert_eq!(told.errors[0].1, "no_legal_target", "{api:?}: {answer:?}");
    }
    let embed = house.post("/v1/embeddings", &[EU], &json!({"model": "vectors", "input": "x"})).await;
    assert_eq!((embed.status, Api::OpenAi.error(&embed).1.as_str()), (503, "no_legal_target"));
    assert!(house.seen("ant").is_empty() && house.seen("oai").is_empty());
}

#[tokio::test]
async fn an_answer_names_the_region_it_came_from() {
    let house = House::start().await;
    for (path, region) in [("fra", "eu-central-1"), ("dub", "eu-west-1"), ("desk", "eu-central-1")] {
        let answer = Api::OpenAi.ask(&house, &format!("on-{path}"), "hi", false, &[EU]).await;
        assert_eq!((answer.status, answer.header("x-outcrop-region")), (200, region), "{path}");
    }
}

#[tokio::test]
async fn raw_ids_follow_the_same_rule() {
    let house = House::start().await;
    let ask = async |id: &'static str| Api::Converse.ask(&house, id, "hi", false, &[EU]).await.status;
    assert_eq!(ask("anthropic.claude-3-haiku-20240307-v1%3A0").await, 200);
    assert_eq!(ask("eu.anthropic.claude-sonnet-4-5-20250929-v1%3A0").await, 200);
    for id in [
        "global.anthropic.claude-sonnet-4-5-20250929-v1%3A0",
        "us.amazon.nova-lite-v1%3A0",
        "EU.amazon.nova-lite-v1%3A0",
    ] {
        assert_eq!(ask(id).await, 503, "{id}");
    }
    assert!(house.seen("fra").len() + house.seen("dub").len() == 2);
}

#[tokio::test]
async fn an_unknown_residency_is_refused_not_ignored() {
    let house = House::start().await;
    for value in ["EU", "us", "", "eu,us"] {
        let answer = Api::OpenAi.ask(&house, "on-oai", "hi", false, &[("x-outcrop-residency", value)]).await;
        assert_eq!(answer.status, 400, "`{value}`: {answer:?}");
    }
    assert_eq!(house.seen("oai").len(), 0);
}
