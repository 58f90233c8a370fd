//! Both kinds are down: nobody is served, nothing is amplified, and everybody is told in time.

use serde_json::json;

use crate::fault::Fault;
use crate::scene::{PAUSE, Scene, Way, requests};

/// Most requests that reach an upstream for one of a caller.
const AMPLIFICATION_MAX: f64 = 1.25;

async fn outage(way: Way, script: serde_json::Value, count_min: usize) {
    let scene = Scene::set(Fault::Reset, way, 1).await.unwrap();
    let callers = scene.callers();
    callers.load("m0", 30, PAUSE).await;
    let (first, second) = if way == Way::DirectFirst { ("fra", "desk") } else { ("desk", "fra") };
    let before = (scene.sites[0].lab.received(first).await, scene.second.received(second).await);
    scene.sites[0].lab.script(first, &script).await;
    scene.second.script(second, &script).await;
    // Until the first of a silence are known to be lost, all that come meanwhile are tried twice.
    let all = callers.load("m0", requests().max(count_min), PAUSE).await;
    let late = all.iter().find(|told| told.is_late());
    assert!(late.is_none(), "{late:?}");
    let received =
        scene.sites[0].lab.received(first).await - before.0 + scene.second.received(second).await - before.1;
    let ratio = received as f64 / all.len() as f64;
    let silent = all.iter().find(|told| told.status == 0);
    println!("{way:?} {script}: {} requests, {received} received: {ratio:.3} for each", all.len());
    assert!(silent.is_none(), "{silent:?}");
    assert!(ratio <= AMPLIFICATION_MAX, "{ratio}");
}

async fn both_ways(script: serde_json::Value, count_min: usize) {
    tokio::join!(
        outage(Way::DirectFirst, script.clone(), count_min),
        outage(Way::McpFirst, script, count_min)
    );
}

#[tokio::test]
async fn of_errors() {
    both_ways(json!({"faults": [{"kind": "error", "status": 500}]}), 150).await;
}

#[tokio::test]
async fn of_throttles() {
    both_ways(json!({"faults": [{"kind": "throttle"}]}), 150).await;
}

#[tokio::test]
async fn of_silence() {
    both_ways(json!({"faults": [{"kind": "hang"}]}), 600).await;
}
