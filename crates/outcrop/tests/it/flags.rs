//! What an operator turns at run time: flags, held targets, and what the optimizer makes of its own.

use std::{sync::Arc, time::Duration};

use http::Method;
use outcrop_core::operation::Strategy;
use outcrop_lab::script::{Fault, FaultKind, Script, Spread};
use outcrop_policy::route::target_name;
use serde_json::{Value, json};

use crate::{
    api::{APIS, Api},
    client::Answer,
    decisions::{shell, with_socket},
    house::{House, SONNET, Setup, eventually},
};

async fn turn(house: &House, flag: &str, on: Option<bool>) -> Answer {
    let order = json!({"flag": flag, "on": on}).to_string();
    house.admin_as("", Method::POST, "/admin/v1/flags", &order).await
}

async fn ask(house: &House, model: &str, operation: &str) -> Answer {
    Api::OpenAi.ask(house, model, "hi", false, &[("x-outcrop-operation", operation)]).await
}

/// How a flag stands by the operator's API.
async fn stands(house: &House, flag: &str) -> Value {
    let flags = house.admin("/admin/v1/flags").await.json();
    flags.as_array().unwrap().iter().find(|row| row["flag"] == flag).unwrap().clone()
}

#[tokio::test]
async fn a_flag_is_in_force_when_its_answer_comes_and_makes_a_snapshot_of_its_own() {
    let house = House::start().await;
    let version = house.running.gateway.snapshot().version;
    assert_eq!(ask(&house, "any", "fra-dub").await.header("x-outcrop-path"), "fra");
    let done = turn(&house, "path:fra", Some(false)).await;
    assert_eq!((done.status, &done.json()["was"]), (200, &json!(true)), "{done:?}");
    assert_eq!(house.running.gateway.snapshot().version, version + 1);
    let answer = ask(&house, "any", "fra-dub").await;
    assert_eq!(answer.header("x-outcrop-path"), "dub");
    let record = house.decision(&answer).await;
    let excluded = record["candidates"].as_array().unwrap().iter().find(|c| c["excluded"] == "disabled");
    assert_eq!(excluded.unwrap()["target"], json!(format!("fra/{SONNET}")));
    let row = stands(&house, "path:fra").await;
    assert_eq!(
        (&row["on"], &row["file"], &row["set"]["by"]),
        (&json!(false), &json!(true), &json!("anonymous"))
    );
    assert_eq!(turn(&house, "path:fra", None).await.json()["on"], json!(true));
    assert_eq!(ask(&house, "any", "fra-dub").await.header("x-outcrop-path"), "fra");
    assert!(stands(&house, "path:fra").await["set"].is_null());
}

#[tokio::test]
async fn a_model_or_an_operation_that_is_off_is_refused_and_nothing_is_sent() {
    let house = House::start().await;
    for flag in ["model:on-oai", "operation:background"] {
        assert_eq!(turn(&house, flag, Some(false)).await.status, 200);
    }
    for api in APIS {
        let answer = api.ask(&house, "on-oai", "hi", false, &[]).await;
        // JSON-RPC says it inside a 200.
        let status = if api == Api::Mcp { 200 } else { 503 };
        assert_eq!(
            (answer.status, api.error(&answer).1.as_str()),
            (status, "disabled"),
            "{api:?} {answer:?}"
        );
    }
    let answer = ask(&house, "any", "background").await;
    assert_eq!((answer.status, Api::OpenAi.error(&answer).1.as_str()), (503, "disabled"), "{answer:?}");
    assert!(house.seen("oai").is_empty());
    let listed = house.get("/v1/models").await.json().to_string();
    assert!(!listed.contains("on-oai") && listed.contains("on-fra"), "{listed}");
    assert_eq!(ask(&house, "on-fra", "fra-dub").await.status, 200, "others go on");
    for flag in ["model:on-oai", "operation:background"] {
        turn(&house, flag, None).await;
    }
    assert_eq!(ask(&house, "on-oai", "background").await.status, 200);
}

#[tokio::test]
async fn each_switch_changes_what_it_is_for() {
    let house = House::start().await;
    let path =
        async |operation: &str| ask(&house, "any", operation).await.header("x-outcrop-path").to_owned();
    assert_eq!(ask(&house, "on-desk", "emergency").await.status, 503);
    turn(&house, "emergency_over_mcp", Some(true)).await;
    assert_eq!(ask(&house, "on-desk", "emergency").await.status, 200);
    house.take_down("desk").await;
    assert_eq!(path("desk-fra").await, "fra");
    turn(&house, "direct_fallback", Some(false)).await;
    assert_ne!(ask(&house, "any", "desk-fra").await.status, 200);
    house.heal("desk").await;
    house.take_down("fra").await;
    assert_eq!(path("fra-desk").await, "desk");
    turn(&house, "mcp_fallback", Some(false)).await;
    assert_ne!(ask(&house, "any", "fra-desk").await.status, 200);
    for flag in ["intelligent_routing", "emergency_direct", "hedging", "optimizer"] {
        let was = stands(&house, flag).await["on"].as_bool().unwrap();
        assert_eq!(turn(&house, flag, Some(!was)).await.json()["on"], json!(!was), "{flag}");
        assert_eq!(stands(&house, flag).await["on"], json!(!was), "{flag}");
    }
}

#[tokio::test]
async fn a_wrong_order_is_refused_with_the_way_out() {
    let house = House::start().await;
    let near = turn(&house, "hedgin", Some(true)).await;
    assert!(near.status == 404 && near.json().to_string().contains("`hedging`"), "{near:?}");
    for flag in ["path:nowhere", "model:", "tool:x", ""] {
        assert_eq!(turn(&house, flag, Some(true)).await.status, 404, "{flag}");
    }
    for body in ["{}", r#"{"flag":"hedging"}"#, r#"{"flag":"hedging","on":"yes"}"#] {
        assert_eq!(house.admin_as("", Method::POST, "/admin/v1/flags", body).await.status, 400, "{body}");
    }
}

#[tokio::test]
async fn flags_outlive_the_process_and_hold_on_other_replicas() {
    let folder = tempfile::tempdir().unwrap();
    let store = format!("url = \"sqlite:{}\"", folder.path().join("o.db").display());
    let setup = || Setup { store: store.clone(), ..Setup::default() };
    let house = House::set_up(setup()).await;
    turn(&house, "path:fra", Some(false)).await;
    let House { lab, running, .. } = house;
    assert!(running.stop().await);
    drop(lab);
    let house = House::set_up(setup()).await;
    assert_eq!(ask(&house, "any", "fra-dub").await.header("x-outcrop-path"), "dub");
    assert_eq!(stands(&house, "path:fra").await["set"]["was"], json!(true));
}

#[tokio::test]
async fn a_target_is_held_and_let_go() {
    let house = House::set_up(Setup { breakers: true, ..Setup::default() }).await;
    let path = format!("/admin/v1/targets/fra%2F{SONNET}/force");
    let force = async |body: &str| house.admin_as("", Method::POST, &path, body).await;
    let held = force(r#"{"state":"tripped","reason":"drill"}"#).await;
    assert_eq!((held.status, &held.json()["breaker"]), (200, &json!("tripped")), "{held:?}");
    assert_eq!(ask(&house, "any", "fra-dub").await.header("x-outcrop-path"), "dub");
    assert!(house.seen("fra").is_empty());
    // It fails, and is held serving: it is asked all the same.
    house.break_path("fra", Fault::new(FaultKind::Error)).await;
    assert_eq!(force(r#"{"state":"serving"}"#).await.json()["was"], json!("tripped"));
    for _ in 0..12 {
        assert_eq!(ask(&house, "any", "fra-dub").await.header("x-outcrop-path"), "dub");
    }
    assert_eq!(house.seen("fra").len(), 12, "no failure takes it out");
    house.heal("fra").await;
    let released = force(r#"{"state":null}"#).await.json();
    assert!(released["forced"].is_null(), "{released}");
    for bad in ["fra%2Fnothing", "nowhere%2Fx", "fra", "fra%2F"] {
        let path = format!("/admin/v1/targets/{bad}/force");
        let answer = house.admin_as("", Method::POST, &path, r#"{"state":null}"#).await;
        let is_raw = bad == "fra%2Fnothing";
        assert_eq!(answer.status, if is_raw { 200 } else { 404 }, "{bad} {answer:?}");
    }
    assert_eq!(force("{}").await.status, 400, "an empty order does nothing");
}

#[tokio::test]
async fn the_commands_list_turn_and_hold() {
    let folder = tempfile::tempdir().unwrap();
    let (house, socket) = with_socket(folder.path(), Setup::default()).await;
    let run = async |arguments: &[&str]| {
        let (code, shown, complaint) = shell(&[arguments, &["--socket", &socket]].concat()).await;
        assert_eq!(code, 0, "{arguments:?} {complaint}");
        shown
    };
    let shown = run(&["flag", "set", "path:fra", "off", "--as", "ada", "--reason", "drill"]).await;
    assert!(shown.contains("path:fra is off (was on)"), "{shown}");
    assert_eq!(ask(&house, "any", "fra-dub").await.header("x-outcrop-path"), "dub");
    let shown = run(&["flag", "list", "--set"]).await;
    assert!(shown.contains("path:fra") && shown.contains("ada") && shown.contains("drill"), "{shown}");
    assert!(!shown.contains("hedging") && run(&["flag", "list"]).await.contains("hedging"));
    assert!(run(&["flag", "reset", "path:fra"]).await.contains("is on (was off)"));
    let target = format!("fra/{SONNET}");
    assert!(run(&["target", "force", &target, "tripped"]).await.contains("held tripped"));
    let shown = run(&["target", "list"]).await;
    assert!(shown.contains(&target) && shown.contains("tripped"), "{shown}");
    assert!(run(&["target", "release", &target]).await.contains("released"));
    assert!(run(&["recommendations"]).await.contains("Nothing to recommend"));
    let (code, _, complaint) = shell(&["flag", "set", "hedgin", "on", "--socket", &socket]).await;
    assert!(code == 64 && complaint.contains("Did you mean"), "{code} {complaint}");
}

/// A gateway whose optimizer has seen enough of an operation that could be cheaper.
async fn observed(more: &str) -> House {
    let house = House::with(more).await;
    let snapshot = house.running.gateway.snapshot();
    for spec in snapshot.routes.targets.iter().filter(|spec| !spec.model_id.is_empty()) {
        let (name, now) = (target_name(&spec.path, &spec.model_id), tokio::time::Instant::now().into_std());
        house.running.gateway.health.force(&name, None, now);
    }
    house
}

async fn send(house: &House, count: usize) {
    let asking = (0..count).map(|_| ask(house, "pair", "implementation"));
    for answer in futures_util::future::join_all(asking).await {
        assert_eq!(answer.status, 200, "{answer:?}");
    }
}

/// A dear model on `fra`, a cheap one on `dub`; the quicker is asked.
const PAIR: &str = r#"
    [[operation]]
    name = "implementation"
    order = ["direct"]
    strategy = "latency_first"
    [[model]]
    name = "pair"
    targets = [
        { path = "fra", id = "eu.anthropic.claude-sonnet-4-5-20250929-v1:0" },
        { path = "dub", id = "eu.anthropic.claude-3-haiku-20240307-v1:0" },
    ]
"#;

fn pace(ms: f64) -> Script {
    Script { latency_ms: Some(Spread::Fixed(ms)), ..Script::default() }
}

/// Both targets of the pair are known, and enough was asked to propose something.
async fn known(house: &House) {
    house.lab.script("fra", pace(40.0)).await.unwrap();
    house.lab.script("dub", pace(45.0)).await.unwrap();
    for path in ["dub", "fra"] {
        let headers = [("x-outcrop-operation", "implementation"), ("x-outcrop-path", path)];
        for _ in 0..5 {
            assert_eq!(Api::OpenAi.ask(house, "pair", "hi", false, &headers).await.status, 200);
        }
    }
    for _ in 0..13 {
        send(house, 10).await;
    }
}

#[tokio::test]
async fn the_optimizer_proposes_applies_and_takes_back() {
    let house = observed(PAIR).await;
    known(&house).await;
    let gateway = Arc::clone(&house.running.gateway);
    let strategy = || gateway.snapshot().routes.operation("implementation").unwrap().strategy;
    let newest = |gateway: &outcrop_proxy::Gateway| {
        gateway.decisions.recent(&outcrop_policy::Wanted::default(), 1)[0].accepted_at_ms
    };
    let mut now = newest(&gateway) + 1;
    gateway.shed(&[outcrop_proxy::Work::Optimizer]);
    house.running.optimize(now);
    assert_eq!(house.admin("/admin/v1/recommendations").await.json(), json!([]), "stopped for now");
    gateway.shed(&[]);
    house.running.optimize(now);
    let shown = house.admin("/admin/v1/recommendations").await.json();
    assert_eq!(
        (&shown[0]["stage"], &shown[0]["operation"]),
        (&json!("proposed"), &json!("implementation")),
        "{shown:#}"
    );
    assert!(shown[0]["evidence"]["samples"].as_u64() >= Some(100), "{shown:#}");
    assert!(shown[0]["replay"]["moved"].as_u64() > Some(0), "{shown:#}");
    assert_eq!(strategy(), Strategy::LatencyFirst, "it is off");

    turn(&house, "optimizer", Some(true)).await;
    now += Duration::from_mins(5).as_millis() as u64;
    house.running.optimize(now);
    assert_eq!(stage(&house).await, "on_trial");
    assert_ne!(strategy(), Strategy::LatencyFirst);
    assert_eq!(ask(&house, "pair", "implementation").await.header("x-outcrop-path"), "dub");

    // The cheap one becomes slow; the records that say so are made later than the trial.
    house.lab.script("dub", pace(400.0)).await.unwrap();
    turn(&house, "optimizer", Some(false)).await;
    house.running.optimize(now + 1);
    assert_eq!(stage(&house).await, "withdrawn");
    assert_eq!(strategy(), Strategy::LatencyFirst, "the operator's own again");
}

async fn stage(house: &House) -> String {
    let shown = house.admin("/admin/v1/recommendations").await.json();
    shown[0]["stage"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_trial_that_does_harm_is_rolled_back_by_itself() {
    let house = observed(&format!("{PAIR}\n[flags]\noptimizer = true\n")).await;
    known(&house).await;
    let gateway = Arc::clone(&house.running.gateway);
    let strategy = || gateway.snapshot().routes.operation("implementation").unwrap().strategy;
    let newest = || gateway.decisions.recent(&outcrop_policy::Wanted::default(), 1)[0].accepted_at_ms;
    house.running.optimize(newest() + 1);
    assert_eq!(stage(&house).await, "on_trial");
    assert_ne!(strategy(), Strategy::LatencyFirst);
    house.lab.script("dub", pace(400.0)).await.unwrap();
    let now = newest() + 1;
    eventually("enough requests after the change", async || {
        send(&house, 20).await;
        house.running.optimize(newest() + 1);
        (stage(&house).await != "on_trial").then_some(())
    })
    .await;
    assert!(newest() < now + 60_000, "before the next proposals");
    let shown = house.admin("/admin/v1/recommendations").await.json();
    assert_eq!(shown[0]["stage"], "rolled_back", "{shown:#}");
    assert!(shown[0]["measured_gain_percent"].as_f64().unwrap() < -5.0, "{shown:#}");
    assert_eq!(strategy(), Strategy::LatencyFirst, "by itself");
    assert_eq!(ask(&house, "pair", "implementation").await.header("x-outcrop-path"), "fra");
}
