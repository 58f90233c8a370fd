//! The target is there and says nothing.

use crate::fault::Fault;
use crate::scene::{Way, judge};

#[tokio::test]
async fn stopped() {
    judge(Fault::Stopped, &Way::BOTH).await;
}

#[tokio::test]
async fn behind_a_link_that_is_cut() {
    judge(Fault::Cut, &Way::BOTH).await;
}

#[tokio::test]
async fn behind_a_link_that_is_cut_one_way() {
    judge(Fault::CutOneWay, &Way::BOTH).await;
}

#[tokio::test]
async fn behind_a_link_that_is_cut_over_http2() {
    judge(Fault::CutHttp2, &Way::BOTH).await;
}
