//! The load generator against the lab: every API, whole and streamed, and what it sees when the lab misbehaves.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::{sync::Arc, time::Duration};

use outcrop_lab::{
    Lab, LabConfig,
    bedrock::{ACCESS_KEY_ID, BEARER, SECRET_ACCESS_KEY},
    load::{
        call::{Api, Call, Mix},
        credential::Credential,
        drive::{Driver, Phase, Setting},
        schedule::{Arrivals, Shape},
        tally::{Counts, Tally, ms_at},
    },
    script::{Fault, FaultKind, Script, Spread},
};
use tokio_util::sync::CancellationToken;

const SONNET: &str = "eu.anthropic.claude-sonnet-4-5-20250929-v1:0";

fn call(api: Api, model: &str, stream: bool) -> Call {
    Call {
        api,
        model: model.to_owned(),
        stream,
        operation: None,
        prompt_bytes: 300,
        answer_tokens: 20,
        directives: true,
        headers: Vec::new(),
    }
}

/// Where each API is found in the lab, and who may ask there.
fn place(lab: &Lab, api: Api) -> (String, Credential, &'static str) {
    let target = match api {
        Api::OpenAi => "openai",
        Api::Anthropic => "anthropic",
        Api::Bedrock | Api::Invoke => "fra",
        Api::Mcp => "desk",
    };
    let signed = Credential::SigV4 {
        id: ACCESS_KEY_ID.to_owned(),
        secret: SECRET_ACCESS_KEY.to_owned(),
        region: "eu-central-1".to_owned(),
    };
    let (credential, model) = match api {
        Api::OpenAi => (Credential::Bearer("outcrop-lab-openai-key".to_owned()), "gpt-4o-mini"),
        Api::Anthropic => (Credential::ApiKey("outcrop-lab-anthropic-key".to_owned()), "claude-sonnet-4-5"),
        Api::Bedrock => (signed, SONNET),
        Api::Invoke => (Credential::Bearer(BEARER.to_owned()), SONNET),
        Api::Mcp => (Credential::None, "sonnet"),
    };
    (lab.url(target).unwrap(), credential, model)
}

/// Fifty requests within half a second.
async fn fifty(lab: &Lab, api: Api, stream: bool, setting: impl FnOnce(&mut Setting)) -> Counts {
    let (base, credential, model) = place(lab, api);
    let mut limits =
        Setting { base, credential, seed: 1, patience: Duration::from_secs(20), in_flight_max: 1_000 };
    setting(&mut limits);
    let tally = Arc::new(Tally::default());
    let mut driver = Driver::new(limits, Arc::<Tally>::clone(&tally), CancellationToken::new()).unwrap();
    let arrivals = Arrivals::new(Shape::Constant(100.0), false).unwrap();
    let schedule = arrivals.schedule(Duration::from_millis(500), 1);
    let mix = Arc::new(Mix::new(vec![(1.0, call(api, model, stream))]).unwrap());
    driver.play(Phase { number: 0, schedule, mix }).await.unwrap();
    driver.drain().await;
    tally.counts()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_api_is_asked_and_heard_whole_and_streamed() {
    let lab = Lab::start(LabConfig::ephemeral()).await.unwrap();
    for api in Api::ALL {
        for stream in [false, true] {
            let counts = fifty(&lab, api, stream, |_| {}).await;
            assert_eq!((counts.due, counts.complete), (50, 50), "{api} {stream}: {:?}", counts.failures);
            assert_eq!(
                counts.first.len(),
                if stream { 50 } else { 0 },
                "{api} {stream}: only streams have a first content"
            );
        }
    }
    let records = lab.billing();
    assert_eq!(records.iter().filter(|record| record.executed).count(), 500, "the lab's own record");
    let mut tags: Vec<u64> = records.iter().map(|record| record.tag.unwrap()).collect();
    tags.sort_unstable();
    assert_eq!(tags, (0..50).flat_map(|n| [n; 10]).collect::<Vec<u64>>(), "each request is found again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_answer_does_not_hold_up_the_next_request() {
    let lab = Lab::start(LabConfig::ephemeral()).await.unwrap();
    let slow = Script { latency_ms: Some(Spread::Fixed(3_000.0)), ..Script::default() };
    lab.script("openai", slow).await.unwrap();
    let counts = fifty(&lab, Api::OpenAi, false, |_| {}).await;
    assert_eq!(counts.complete, 50);
    let arrivals: Vec<u64> = lab.billing().iter().map(|record| record.at_ms).collect();
    let spread = arrivals.iter().max().unwrap() - arrivals.iter().min().unwrap();
    assert!(spread < 3_000, "all were sent before the first was answered, within {spread} ms");
    assert!(ms_at(&counts.latency, 0.0) >= 2_999.0);
}

/// The only worker is held up on purpose, as on a machine that is too small.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_generator_that_is_held_up_says_so_and_its_latencies_hold_the_delay() {
    const STALL: Duration = Duration::from_millis(400);
    let lab = Lab::start(LabConfig::ephemeral()).await.unwrap();
    let stalling = tokio_util::task::TaskTracker::new();
    stalling.spawn(async { std::thread::sleep(STALL) });
    let counts = fifty(&lab, Api::OpenAi, false, |_| {}).await;
    let late = counts.lag.value_at_quantile(0.99);
    assert!(late > 200_000, "{late} us");
    assert!(counts.void(Duration::from_millis(10)).unwrap().contains("bottleneck"));
    assert!(counts.latency.max() >= late, "latency counts from when a request was due");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_went_wrong_is_told_apart() {
    let lab = Lab::start(LabConfig::ephemeral()).await.unwrap();
    let mut cut = Fault::new(FaultKind::Cut).after(3);
    cut.http_end = true;
    for (fault, stream, label) in [
        (cut, true, "incomplete answer"),
        (Fault::new(FaultKind::ResetBefore), false, "broken connection"),
        (Fault::new(FaultKind::Throttle), false, "status 429"),
        (Fault::new(FaultKind::Hang), false, "no answer in time"),
    ] {
        lab.script("openai", Script::faulty([fault])).await.unwrap();
        let counts = fifty(&lab, Api::OpenAi, stream, |setting| {
            if label == "no answer in time" {
                setting.patience = Duration::from_millis(300);
            }
        })
        .await;
        assert_eq!(counts.complete, 0, "{label}");
        assert_eq!(counts.failures.get(label).map(|(count, _)| *count), Some(50), "{:?}", counts.failures);
    }
    lab.script("openai", Script::down()).await.unwrap();
    let counts = fifty(&lab, Api::OpenAi, false, |_| {}).await;
    assert_eq!(counts.failures.get("no connection").map(|(count, _)| *count), Some(50));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_beyond_the_limit_in_flight_are_counted_and_void_the_run() {
    let lab = Lab::start(LabConfig::ephemeral()).await.unwrap();
    lab.script("openai", Script::faulty([Fault::new(FaultKind::Hang)])).await.unwrap();
    let counts = fifty(&lab, Api::OpenAi, false, |setting| {
        setting.in_flight_max = 10;
        setting.patience = Duration::from_secs(2);
    })
    .await;
    assert_eq!((counts.due, counts.unsent), (50, 40));
    assert!(counts.void(Duration::from_mins(1)).unwrap().contains("not sent"));
}
