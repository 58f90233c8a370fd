//! What only an MCP server can do wrong.

use crate::fault::Fault;
use crate::scene::{Way, judge};

#[tokio::test]
async fn forgetting_every_session() {
    judge(Fault::Forgetful, &[Way::McpFirst]).await;
}

#[tokio::test]
async fn a_child_that_is_killed() {
    judge(Fault::ChildKilled, &[Way::McpFirst]).await;
}

#[tokio::test]
async fn a_child_that_is_stopped() {
    judge(Fault::ChildStopped, &[Way::McpFirst]).await;
}
