//! What the gateway itself takes: by step, of its machine, and what is given up when that is too much.

use crate::{api::Api, house::House};

/// The steps that every answered exchange passes once.
const STEPS: [&str; 9] =
    ["authenticate", "admit", "receive", "intake", "plan", "reserve", "relay", "settle", "total"];

#[tokio::test]
async fn each_step_of_an_exchange_is_timed_once() {
    let house = House::start().await;
    for stream in [false, true] {
        let answer = Api::OpenAi.ask(&house, "on-oai", "hi", stream, &[]).await;
        assert_eq!(answer.status, 200);
        house.decision(&answer).await;
    }
    let report = house.admin("/admin/v1/impact").await.json();
    for step in STEPS {
        let times = &report["stages"][step];
        assert_eq!(times["count"], 2, "{step}: {report}");
        assert!(times["sum_us"].as_f64().is_some_and(|us| us > 0.0), "{step}: {times}");
    }
    let us = |step: &str, field: &str| report["stages"][step][field].as_f64().unwrap();
    let parts: f64 = STEPS[..6].iter().map(|step| us(step, "sum_us")).sum();
    assert!(parts <= us("total", "sum_us") + 2.0, "the steps are parts of the whole: {report}");
    assert!(us("plan", "p50_us") <= us("plan", "p99_us"));
}
