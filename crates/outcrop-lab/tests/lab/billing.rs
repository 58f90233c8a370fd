//! The billing record tells the truth whatever the caller saw.

use outcrop_lab::script::{Fault, FaultKind, Script, Spread};
use serde_json::json;

use crate::caller::{SONNET, begin, call, converse, records, says, start, stream};

/// The price of Claude Sonnet 4.5: 3 and 15 dollars per million tokens.
const INPUT_NUSD: u64 = 3_000;
const OUTPUT_NUSD: u64 = 15_000;

#[tokio::test]
async fn the_record_matches_the_usage_and_the_price() {
    let (lab, address) = start().await;
    let usage = converse(address, "[[tokens=7]] some words").await.json()["usage"].clone();
    let record = &records(&lab, 1).await[0];
    assert_eq!((record.input_tokens, record.output_tokens), (usage["inputTokens"].as_u64().unwrap(), 7));
    assert_eq!(record.cost_nusd, record.input_tokens * INPUT_NUSD + 7 * OUTPUT_NUSD);
    assert_eq!(record.model, "eu.anthropic.claude-sonnet-4-5-20250929-v1:0");
    assert_eq!(
        (record.executed, record.completed, record.client_gone, record.stream),
        (true, true, false, false)
    );
    assert_eq!(record.request_id, lab.requests("fra").unwrap()[0].request_id);
    assert_eq!(lab.totals().cost_nusd, record.cost_nusd);
}

#[tokio::test]
async fn a_stream_left_early_is_billed_to_its_end() {
    let (lab, address) = start().await;
    let pace = Script { pace_ms: Some(Spread::Fixed(1.0)), ..Script::default() };
    lab.script("fra", pace).await.unwrap();
    let mut talk = begin(address, SONNET, "converse-stream", &says("[[tokens=200]]")).await;
    talk.frames(2).await;
    drop(talk);
    let record = &records(&lab, 1).await[0];
    assert_eq!(
        (record.output_tokens, record.executed, record.completed, record.client_gone),
        (200, true, true, true)
    );
    let seen = &lab.requests("fra").unwrap()[0];
    assert!(seen.aborted_by_peer && seen.events_sent < 200);
}

#[tokio::test]
async fn broken_answers_are_billed_and_refused_requests_are_not() {
    let (lab, address) = start().await;
    let cases = [
        (Fault::new(FaultKind::Cut), true),
        (Fault::new(FaultKind::ResetInside), true),
        (Fault::new(FaultKind::ResetAfter), true),
        (Fault::new(FaultKind::Garbage), true),
        (Fault::new(FaultKind::StreamException), true),
        (Fault::new(FaultKind::Throttle), false),
        (Fault::new(FaultKind::Error), false),
        (Fault::new(FaultKind::ResetBefore), false),
        (Fault { executed: Some(true), ..Fault::new(FaultKind::ResetBefore) }, true),
        (Fault { executed: Some(true), ..Fault::new(FaultKind::Error) }, true),
    ];
    let mut count = 0;
    for (fault, executed) in cases {
        lab.script("fra", Script::faulty([fault.clone()])).await.unwrap();
        stream(address, "[[tokens=4]]").await;
        count += 1;
        let record = records(&lab, count).await.pop().unwrap();
        assert_eq!((record.executed, record.client_gone), (executed, false), "{fault:?}");
        assert_eq!(record.output_tokens, if executed { 4 } else { 0 }, "{fault:?}");
        assert_eq!(record.cost_nusd > 0, executed, "{fault:?}");
    }
}

#[tokio::test]
async fn counting_tokens_is_free() {
    let (lab, address) = start().await;
    call(address, SONNET, "count-tokens", &json!({"input": {"converse": says("hi")}})).await;
    converse(address, "hi").await;
    assert_eq!(records(&lab, 1).await.len(), 1);
}

#[tokio::test]
async fn the_minutes_quota_reserves_the_maximum_and_settles_the_use() {
    let (lab, address) = start().await;
    lab.script("fra", Script { tpm: Some(1_000), ..Script::default() }).await.unwrap();
    let ask = async |max_tokens: u64| {
        let mut body = says("[[tokens=10]]");
        body["inferenceConfig"] = json!({"maxTokens": max_tokens});
        call(address, SONNET, "converse", &body).await
    };
    // 600 of 1,000 are reserved; settled, 10 output tokens burn 50 and some input.
    assert_eq!(ask(600).await.status(), 200);
    records(&lab, 1).await;
    assert_eq!(ask(800).await.status(), 200);
    records(&lab, 2).await;
    let refused = ask(995).await;
    assert_eq!(refused.status(), 429);
    assert_eq!(refused.json()["message"], "Too many tokens, please wait before trying again.");
    // Without a limit the model's own maximum is reserved, which never fits.
    assert_eq!(converse(address, "hi").await.status(), 429);
    assert_eq!(records(&lab, 4).await.iter().filter(|record| record.executed).count(), 2);
}

#[tokio::test]
async fn a_caller_that_leaves_before_the_head_is_seen_at_once_and_billed() {
    let (lab, address) = start().await;
    let slow = Script { latency_ms: Some(Spread::Fixed(3_600_000.0)), ..Script::default() };
    lab.script("fra", slow).await.unwrap();
    let talk = begin(address, SONNET, "converse", &says("[[tokens=5]]")).await;
    while lab.requests("fra").unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    assert!(!lab.requests("fra").unwrap()[0].aborted_by_peer);
    drop(talk);
    while !lab.requests("fra").unwrap()[0].aborted_by_peer {
        tokio::task::yield_now().await;
    }
    let target = std::sync::Arc::clone(lab.target("fra").unwrap());
    lab.shutdown().await;
    let record = &target.billing().records()[0];
    assert_eq!((record.output_tokens, record.executed, record.client_gone), (5, true, true));
}

#[tokio::test]
async fn shutdown_bills_what_is_running() {
    let (lab, address) = start().await;
    let slow = Script { pace_ms: Some(Spread::Fixed(3_600_000.0)), ..Script::default() };
    lab.script("fra", slow).await.unwrap();
    let mut talk = begin(address, SONNET, "converse-stream", &says("[[tokens=5]]")).await;
    talk.frames(1).await;
    let target = std::sync::Arc::clone(lab.target("fra").unwrap());
    lab.shutdown().await;
    assert_eq!(target.billing().totals().output_tokens, 5);
}
