//! The scenes of the story, and the traffic that runs through all of them.

use std::sync::Arc;
use std::time::Duration;

use outcrop_lab::Lab;
use outcrop_lab::load::call::Api;
use outcrop_lab::script::Script;
use serde_json::json;
use tokio::time::MissedTickBehavior;
use tokio_util::task::TaskTracker;

use super::caller::{Caller, Kind};
use super::show::Show;
use super::tally::Tally;

/// One scene: what is done to the upstreams, and for how long traffic runs through it.
pub(crate) struct Scene {
    pub(crate) title: &'static str,
    pub(crate) told: &'static str,
    pub(crate) length: Duration,
    scripts: Vec<(&'static str, serde_json::Value)>,
}

/// The story in order.
pub(crate) fn scenes() -> Vec<Scene> {
    let healthy = || json!({"latency_ms": {"uniform": [15, 45]}, "pace_ms": {"fixed": 4}});
    let slow_server = || json!({"latency_ms": {"uniform": [20, 60]}});
    let scene = |title, told, scripts| Scene { title, told, length: Duration::from_secs(6), scripts };
    vec![
        scene(
            "all is well",
            "incidents go straight to Bedrock, everyday work over the MCP server",
            vec![
                ("fra", healthy()),
                ("dub", healthy()),
                ("desk", slow_server()),
                ("openai", healthy()),
                ("anthropic", healthy()),
            ],
        ),
        scene(
            "region eu-central-1 is down",
            "connections to it are refused; Bedrock in eu-west-1 answers instead",
            vec![("fra", json!({"down": true}))],
        ),
        scene(
            "the region is back, but throttles",
            "half of its answers are 429; the other half stays there",
            vec![(
                "fra",
                json!({"latency_ms": {"uniform": [15, 45]}, "pace_ms": {"fixed": 4},
                       "faults": [{"kind": "throttle", "rate": 0.5, "retry_after_s": 1}]}),
            )],
        ),
        scene(
            "the MCP server dies",
            "everyday work moves to Bedrock",
            vec![("fra", healthy()), ("desk", json!({"down": true}))],
        ),
        scene(
            "the MCP server is back, a region resets connections",
            "every third request to eu-central-1 loses its connection before the first byte",
            vec![
                ("desk", slow_server()),
                (
                    "fra",
                    json!({"latency_ms": {"uniform": [15, 45]}, "pace_ms": {"fixed": 4},
                           "faults": [{"kind": "reset_before", "rate": 0.34}]}),
                ),
            ],
        ),
        scene("all is well again", "everything healed", vec![("fra", healthy())]),
    ]
}

impl Scene {
    /// Does to the upstreams what the scene tells.
    pub(crate) async fn prepare(&self, lab: &Lab) -> Result<(), String> {
        for (target, script) in &self.scripts {
            let script: Script = serde_json::from_value(script.clone()).map_err(|error| error.to_string())?;
            lab.script(target, script).await.map_err(|error| error.to_string())?;
        }
        Ok(())
    }
}

/// What is asked in turn: every operation class, every API, whole and streamed.
fn round() -> Vec<Kind> {
    let operations = [
        "emergency",
        "infrastructure",
        "meta_monitor",
        "implementation",
        "communication",
        "standard",
        "background",
    ];
    let apis = [Api::OpenAi, Api::Anthropic, Api::Bedrock];
    let mut kinds = Vec::new();
    for (n, operation) in operations.into_iter().cycle().take(operations.len() * 6).enumerate() {
        let api = apis[n % apis.len()];
        kinds.push(Kind { operation, api, stream: n % 2 == 1, model: "sonnet" });
    }
    kinds.push(Kind { operation: "standard", api: Api::OpenAi, stream: true, model: "mini" });
    kinds.push(Kind { operation: "standard", api: Api::Anthropic, stream: true, model: "claude" });
    kinds
}

/// Sends requests at a fixed rate, whatever becomes of the earlier ones, and waits for the last.
pub(crate) async fn play(scene: &Scene, caller: &Arc<Caller>, tally: &Arc<Tally>, rate: u32, show: &Show) {
    let round = round();
    let requests = usize::try_from(scene.length.as_secs() * u64::from(rate)).unwrap_or(usize::MAX);
    let mut beat = tokio::time::interval(Duration::from_secs(1) / rate);
    beat.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let tasks = TaskTracker::new();
    for kind in round.iter().cycle().take(requests) {
        beat.tick().await;
        let (caller, tally, kind) = (Arc::clone(caller), Arc::clone(tally), *kind);
        let progress = show.progress();
        tasks.spawn(async move {
            let seen = caller.ask(kind).await;
            tally.count(kind.operation, &seen);
            progress.inc(1);
        });
    }
    tasks.close();
    tasks.wait().await;
}
