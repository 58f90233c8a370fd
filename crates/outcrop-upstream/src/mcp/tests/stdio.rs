//! Child processes: a small server in Python, and everything it can do wrong.

use std::time::Duration;

use outcrop_core::{Class, Failure, Reason};
use serde_json::Value;
use tokio::time::Instant;

use super::{Fixture, PLENTY, text_of};
use crate::{McpSpec, McpTransport};

const SERVER: &str = include_str!("stdio/server.py");
const PYTHON: &str = "/usr/bin/python3";

fn child(change: impl FnOnce(&mut McpSpec)) -> Fixture {
    let command = [PYTHON, "-c", SERVER].map(str::to_owned).to_vec();
    let env = vec![("LISTED".to_owned(), "yes".to_owned())];
    Fixture::new(McpTransport::Stdio { command, env }, change)
}

/// What the server says of itself.
async fn facts(fixture: &Fixture) -> Value {
    let reply = fixture.whole("facts").await.unwrap();
    serde_json::from_str(&text_of(&reply)).unwrap()
}

async fn failure(fixture: &Fixture, text: &str) -> Failure {
    fixture.whole(text).await.unwrap_err()
}

fn is_alive(pid: &Value) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // A zombie that its new parent has not reaped yet runs nothing any more.
    !stat.is_empty() && !stat.contains(") Z ")
}

async fn wait_until_gone(pid: &Value) {
    let gone = async {
        while is_alive(pid) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PLENTY, gone).await.unwrap();
}

#[tokio::test]
async fn a_child_gets_the_listed_environment_and_a_group_of_its_own() {
    let fixture = child(|_| {});
    let facts = facts(&fixture).await;
    let names: Vec<&str> = facts["env"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    // The interpreter itself sets the locale.
    assert_eq!(names.iter().filter(|n| !n.starts_with("LC_")).collect::<Vec<_>>(), [&"LISTED"]);
    assert_eq!(facts["pid"], facts["group"]);
    fixture.close().await;
    wait_until_gone(&facts["pid"]).await;
}

#[tokio::test]
async fn a_whole_group_ends_even_if_its_leader_ignores_everything() {
    let fixture = child(|_| {});
    let reply = fixture.whole("deaf with child").await.unwrap();
    let facts: Value = serde_json::from_str(&text_of(&reply)).unwrap();
    assert!(is_alive(&facts["pid"]) && is_alive(&facts["child"]));
    fixture.close().await;
    wait_until_gone(&facts["pid"]).await;
    wait_until_gone(&facts["child"]).await;
}

#[tokio::test]
async fn a_kill_asks_nobody_of_the_group_to_leave() {
    let fixture = child(|_| {});
    let reply = fixture.whole("deaf with child").await.unwrap();
    let facts: Value = serde_json::from_str(&text_of(&reply)).unwrap();
    fixture.upstreams.kill(|name, _| name == "other");
    assert!(is_alive(&facts["pid"]), "another path is meant");
    fixture.upstreams.kill(|name, _| name == "desk");
    wait_until_gone(&facts["pid"]).await;
    wait_until_gone(&facts["child"]).await;
    fixture.close().await;
}

#[tokio::test]
async fn a_kill_fails_the_running_calls_and_the_next_call_finds_a_fresh_child() {
    let fixture = child(|_| {});
    let before = facts(&fixture).await;
    let kill = async {
        while facts(&fixture).await["hanging"] != true {}
        fixture.upstreams.kill(|_, _| true);
    };
    let (pending, ()) = tokio::join!(failure(&fixture, "hang"), kill);
    assert_eq!((pending.class, pending.reason), (Class::Ambiguous, Reason::Reset));
    assert_ne!(before["pid"], facts(&fixture).await["pid"]);
    fixture.close().await;
}

#[tokio::test]
async fn a_crash_fails_its_calls_at_once_and_the_next_call_finds_a_fresh_child() {
    let fixture = child(|_| {});
    let before = facts(&fixture).await;
    let crash = async {
        while facts(&fixture).await["hanging"] != true {}
        failure(&fixture, "crash").await
    };
    let (pending, crashed) = tokio::join!(failure(&fixture, "hang"), crash);
    for failure in [crashed, pending] {
        assert_eq!((failure.class, failure.reason), (Class::Ambiguous, Reason::Reset));
    }
    let after = facts(&fixture).await;
    assert_ne!(before["pid"], after["pid"]);
    fixture.close().await;
}

#[tokio::test]
async fn a_crash_is_noticed_although_a_grandchild_holds_the_pipe() {
    let fixture = child(|mcp| mcp.call_timeout_max = Duration::from_secs(4));
    let failure = failure(&fixture, "crash with child").await;
    assert_eq!((failure.class, failure.reason), (Class::Ambiguous, Reason::Reset));
    fixture.close().await;
}

#[tokio::test]
async fn a_child_that_keeps_crashing_is_started_ever_less_often() {
    let fixture = child(|_| {});
    let refused = loop {
        let failure = failure(&fixture, "crash").await;
        if failure.class == Class::NotSent {
            break failure;
        }
        assert_eq!(failure.class, Class::Ambiguous);
    };
    assert_eq!(refused.reason, Reason::Connect);
    assert!(refused.retry_after.unwrap() > Duration::from_secs(1));
    fixture.close().await;
}

#[tokio::test]
async fn a_few_lines_of_garbage_are_skipped_and_many_end_the_child() {
    let fixture = child(|_| {});
    assert_eq!(text_of(&fixture.whole("garbage 20").await.unwrap()), "done");
    assert_eq!(fixture.path().dropped().garbage(), 20);
    let pid = facts(&fixture).await["pid"].clone();
    let failure = failure(&fixture, "garbage 21").await;
    assert_eq!((failure.class, failure.reason), (Class::Ambiguous, Reason::Garbled));
    wait_until_gone(&pid).await;
    let resting = fixture.whole("facts").await.unwrap_err();
    assert_eq!(resting.class, Class::NotSent);
    assert!(resting.retry_after.unwrap() > Duration::from_secs(10), "{resting:?}");
    fixture.close().await;
}

#[tokio::test]
async fn split_and_batched_lines_are_put_together() {
    let fixture = child(|_| {});
    for how in ["split", "batch", "crlf", "text id"] {
        assert_eq!(text_of(&fixture.whole(how).await.unwrap()), how);
    }
    fixture.close().await;
}

#[tokio::test]
async fn a_hanging_call_is_cancelled_at_the_child_and_its_late_answer_dropped() {
    let fixture = child(|mcp| mcp.call_timeout_max = Duration::from_secs(5));
    facts(&fixture).await;
    let hung = fixture.attempt("hang", false, Duration::from_millis(300)).await.unwrap_err();
    assert_eq!((hung.class, hung.reason), (Class::Ambiguous, Reason::Timeout));
    // The server answers a cancelled call all the same, before it reads anything else.
    let told = async { while facts(&fixture).await["cancelled"] != 1 {} };
    tokio::time::timeout(PLENTY, told).await.unwrap();
    assert_eq!(fixture.path().dropped().late(), 1);
    fixture.close().await;
}

#[tokio::test]
async fn an_oversized_line_ends_the_connection_and_not_the_path() {
    let fixture = child(|_| {});
    let failure = failure(&fixture, "huge").await;
    assert_eq!((failure.class, failure.reason), (Class::Ambiguous, Reason::Oversized));
    assert_eq!(text_of(&fixture.whole("batch").await.unwrap()), "batch");
    fixture.close().await;
}

#[tokio::test]
async fn a_program_that_is_no_server_was_never_sent_anything() {
    for command in [vec!["/bin/false"], vec!["/nonexistent/server"]] {
        let command = command.into_iter().map(str::to_owned).collect();
        let fixture = Fixture::new(McpTransport::Stdio { command, env: Vec::new() }, |_| {});
        let failure = failure(&fixture, "x").await;
        assert_eq!((failure.class, failure.reason), (Class::NotSent, Reason::Connect));
        fixture.close().await;
    }
}

#[tokio::test]
async fn tools_of_a_child_are_listed() {
    let fixture = child(|_| {});
    let catalogue = fixture.path().list_tools(Instant::now() + PLENTY).await.unwrap();
    assert_eq!(catalogue.tools.len(), 1);
    assert_eq!(catalogue.tools[0].name, "converse");
    fixture.close().await;
}
