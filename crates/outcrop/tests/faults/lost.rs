//! The target is gone: nothing listens, every connection is reset, or nobody believes who it is.

use crate::fault::Fault;
use crate::scene::{Way, judge};

#[tokio::test]
async fn killed() {
    judge(Fault::Killed, &Way::BOTH).await;
}

#[tokio::test]
async fn resetting() {
    judge(Fault::Reset, &Way::BOTH).await;
}

#[tokio::test]
async fn with_a_bad_certificate() {
    judge(Fault::BadCertificate, &Way::BOTH).await;
}
