//! A caller that leaves stops the work, all the way to the upstream.

use http::Method;
use http_body_util::BodyExt as _;
use outcrop::config::Checked;
use outcrop_core::path::AbortBilling;
use outcrop_lab::script::{Fault, FaultKind, Script, Spread};

use crate::{
    api::Api,
    client,
    house::{House, Setup, eventually, target, within},
};

/// Slow enough to be left in the middle.
fn slow() -> Script {
    Script { pace_ms: Some(Spread::Fixed(20.0)), ..Script::default() }
}

/// A gateway that lets every upstream know when its caller leaves, as it does where that saves money.
async fn patient() -> House {
    let adjust = |checked: &mut Checked| {
        for target in &mut checked.routes.targets {
            target.abort_billing = AbortBilling::Unknown;
        }
    };
    House::set_up(Setup { adjust, ..Setup::default() }).await
}

async fn upstream_saw_it_leave(house: &House, path: &str) {
    eventually("the upstream sees that its caller left", async || {
        house.seen(path).iter().any(|seen| seen.aborted_by_peer).then_some(())
    })
    .await;
}

async fn recorded(house: &House) {
    let decision = house.newest_decision(|decision| decision["outcome"]["label"].is_string()).await;
    assert_eq!(decision["outcome"]["label"], "caller_gone", "{decision}");
}

#[tokio::test]
async fn before_the_head_of_the_answer() {
    for path in ["fra", "oai", "ant", "desk"] {
        let house = patient().await;
        house.break_path(path, Fault::new(FaultKind::Hang)).await;
        let model = format!("on-{path}");
        let body = Api::OpenAi.body(&model, "hi", false).to_string();
        let headers = [("content-type", "application/json")];
        let route = Api::OpenAi.route(&model, false);
        let address = house.data();
        let asking =
            tokio::spawn(async move { client::send(address, Method::POST, &route, &headers, body).await });
        eventually("the call arrives", async || (!house.seen(path).is_empty()).then_some(())).await;
        asking.abort();
        assert!(asking.await.unwrap_err().is_cancelled());
        upstream_saw_it_leave(&house, path).await;
        recorded(&house).await;
    }
}

#[tokio::test]
async fn inside_a_stream() {
    for path in ["fra", "oai", "ant"] {
        for api in [Api::OpenAi, Api::Anthropic, Api::Converse, Api::Invoke] {
            let house = patient().await;
            house.lab.script(target(path), slow()).await.unwrap();
            let mut body = leave_after_some(&house, api, path).await;
            within("more of the stream", body.frame()).await.unwrap().unwrap();
            drop(body);
            upstream_saw_it_leave(&house, path).await;
            recorded(&house).await;
        }
    }
}

/// A stream over `path` of which three pieces came.
async fn leave_after_some(house: &House, api: Api, path: &str) -> hyper::body::Incoming {
    let model = format!("on-{path}");
    let body = api.body(&model, "[[tokens=5000]]", true).to_string();
    let mut headers = vec![("content-type", "application/json")];
    headers.extend(api.headers());
    let route = api.route(&model, true);
    let opening = client::open(house.data(), Method::POST, &route, &headers, body);
    let mut body = within("the head", opening).await.unwrap().into_body();
    for _ in 0..3 {
        within("a piece", body.frame()).await.unwrap().unwrap();
    }
    body
}

#[tokio::test]
async fn a_tool_call_is_cancelled_at_its_server() {
    let house = patient().await;
    house.lab.script("desk", slow()).await.unwrap();
    let body = Api::OpenAi.body("on-desk", "[[tokens=5000]]", false).to_string();
    let address = house.data();
    let asking = tokio::spawn(async move {
        let headers = [("content-type", "application/json")];
        client::send(address, Method::POST, "/v1/chat/completions", &headers, body).await
    });
    eventually("the call arrives", async || (!house.seen("desk").is_empty()).then_some(())).await;
    asking.abort();
    let billed = &house.billed("desk", 1).await[0];
    assert!(billed.client_gone && billed.executed && !billed.completed, "{billed:?}");
    recorded(&house).await;
}

#[tokio::test]
async fn a_call_of_the_mcp_endpoint_is_cancelled_at_the_upstream() {
    let house = patient().await;
    house.lab.script("fra", slow()).await.unwrap();
    let body = leave_after_some(&house, Api::Mcp, "fra").await;
    drop(body);
    upstream_saw_it_leave(&house, "fra").await;
    recorded(&house).await;
}

#[tokio::test]
async fn one_stream_of_a_connection_leaves_the_others_alone() {
    let house = patient().await;
    house.lab.script("fra", slow()).await.unwrap();
    let mut sender = client::connect_h2(house.data()).await;
    let ask = |tokens: u32| {
        let body = Api::Converse.body("on-fra", &format!("[[tokens={tokens}]]"), true);
        client::post_h2(house.data(), &Api::Converse.route("on-fra", true), &[], &body)
    };
    let left = within("the head", sender.send_request(ask(5000))).await.unwrap();
    let kept = within("the head", sender.send_request(ask(30))).await.unwrap();
    drop(left);
    upstream_saw_it_leave(&house, "fra").await;
    let answer = within("the other stream", client::read(kept)).await;
    assert!(Api::Converse.hear(&answer).is_complete(Api::Converse));
}

#[tokio::test]
async fn leaving_is_no_reason_to_try_another_target() {
    let house = patient().await;
    house.break_path("fra", Fault::new(FaultKind::Hang)).await;
    let body = Api::OpenAi.body("any", "hi", false).to_string();
    let address = house.data();
    let asking = tokio::spawn(async move {
        let headers = [("content-type", "application/json"), ("x-outcrop-operation", "fra-dub")];
        client::send(address, Method::POST, "/v1/chat/completions", &headers, body).await
    });
    eventually("the call arrives", async || (!house.seen("fra").is_empty()).then_some(())).await;
    asking.abort();
    recorded(&house).await;
    assert_eq!(house.seen("dub").len(), 0);
    let targets = house.admin("/admin/v1/targets").await.json();
    assert!(targets.as_array().unwrap().iter().all(|target| target["serving"] == true), "{targets}");
}
