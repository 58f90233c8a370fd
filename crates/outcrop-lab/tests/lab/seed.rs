//! The same seed gives the same answers and the same misfortunes.

use outcrop_lab::script::{Fault, FaultKind, Script};

use crate::caller::{converse, start, stream};

/// Statuses of forty requests against a target that fails half of them.
async fn misfortunes(seed: u64) -> Vec<u16> {
    let (lab, address) = start().await;
    lab.reset(seed).await;
    let fault = Fault::new(FaultKind::Error).spelled(503, "serviceUnavailableException").rate(0.5);
    lab.script("fra", Script::faulty([fault])).await.unwrap();
    let mut statuses = Vec::new();
    for _ in 0..40 {
        statuses.push(converse(address, "hi").await.status());
    }
    statuses
}

#[tokio::test]
async fn faults_repeat_with_the_seed() {
    let first = misfortunes(1).await;
    assert_eq!(first, misfortunes(1).await);
    assert_ne!(first, misfortunes(2).await);
    assert!(first.contains(&200) && first.contains(&503));
}

#[tokio::test]
async fn answers_repeat_byte_for_byte() {
    let (lab, address) = start().await;
    let mut heard = Vec::new();
    for seed in [1, 1, 2] {
        lab.reset(seed).await;
        let whole = converse(address, "[[think]]").await;
        let streamed = stream(address, "[[think]]").await;
        heard.push((whole.header("x-amzn-requestid"), whole.body().0, streamed.body().0));
    }
    assert_eq!(heard[0], heard[1]);
    assert_ne!(heard[1].1, heard[2].1);
    assert_ne!(heard[1].0, heard[2].0);
}
