//! The target answers, and refuses all or breaks half.

use serde_json::json;

use crate::callers::Callers;
use crate::fault::Fault;
use crate::scene::{PAUSE, Scene, Way, check, judge};

#[tokio::test]
async fn throttling() {
    judge(Fault::Throttled, &Way::BOTH).await;
}

#[tokio::test]
async fn flapping() {
    judge(Fault::Flapping, &Way::BOTH).await;
}

/// What is wrong are the credentials, and no target is blamed for it: it rests, and one request at a time finds
/// out.
#[tokio::test]
async fn taking_credentials_for_expired() {
    judge(Fault::Expired, &Way::BOTH).await;
}

#[tokio::test]
async fn answering_with_garbage() {
    judge(Fault::Garbage, &Way::BOTH).await;
}

/// The preferred target has asked for a rest, so the other is all there is, and slower than it ever was: it
/// must not be given up for one that may not be asked.
#[tokio::test]
async fn throttling_while_the_other_is_slow() {
    let scene = Scene::set(Fault::Throttled, Way::DirectFirst, 1).await.unwrap();
    let callers = scene.callers();
    let other_way = Callers { operation: "mcp-first", ..callers.clone() };
    for known in [&callers, &other_way] {
        known.load("m0", 60, PAUSE).await;
    }
    scene.second.script("desk", &json!({"latency_ms": {"fixed": 1500.0}})).await;
    let throttled = json!({"faults": [{"kind": "throttle", "retry_after_s": 10}]});
    scene.sites[0].lab.script("fra", &throttled).await;
    check(Fault::Throttled, Way::DirectFirst, &callers.load("m0", 30, PAUSE).await);
}
