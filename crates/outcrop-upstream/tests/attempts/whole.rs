//! How whole answers fail, and what may follow.

use std::time::Duration;

use outcrop_core::{Class, Code, Failure, Origin, Reason};

use crate::fake::{Fake, Reaction, answer};
use crate::world::{World, anthropic_messages, openai_chat};

async fn fails(reaction: Reaction) -> Failure {
    let fake = Fake::script([reaction]).await;
    let world = World::openai(fake.url("/v1"));
    let failure = world.whole(&openai_chat(false), "gpt-x").await.unwrap_err();
    assert_eq!(fake.seen().len(), 1, "sent once, whatever the failure");
    failure
}

fn openai_error(kind: &str, code: &str, message: &str) -> Vec<u8> {
    serde_json::json!({"error": {"message": message, "type": kind, "code": code, "param": null}})
        .to_string()
        .into_bytes()
}

#[tokio::test]
async fn statuses_have_their_class() {
    for (status, class) in [
        (400, Class::Permanent),
        (403, Class::Permanent),
        (404, Class::NotHere),
        (408, Class::Ambiguous),
        (429, Class::Refused),
        (500, Class::Ambiguous),
        (502, Class::Ambiguous),
        (503, Class::Refused),
        (504, Class::Ambiguous),
    ] {
        let body = openai_error("some_error", "", "told");
        let failure = fails(Reaction::Keep(answer(status, &[], &body))).await;
        assert_eq!(failure.class, class, "{status}");
        assert_eq!(failure.origin, Origin::Upstream);
        assert_eq!(failure.code, Code::UpstreamFailed);
        assert_eq!(failure.upstream.unwrap().status, status);
    }
}

#[tokio::test]
async fn anthropic_overloaded_is_refused() {
    let body = br#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#;
    let fake = Fake::script([Reaction::Keep(answer(529, &[], body))]).await;
    let world = World::anthropic(fake.url("/"));
    let failure = world.whole(&anthropic_messages(false), "claude-x").await.unwrap_err();
    assert_eq!(failure.class, Class::Refused);
    assert_eq!(failure.message, "Overloaded");
}

#[tokio::test]
async fn hints_are_kept_up_to_thirty_seconds() {
    let body = openai_error("requests", "rate_limit_exceeded", "slow down");
    let throttled = |hint: &str| Reaction::Keep(answer(429, &[("retry-after", hint)], &body));
    assert_eq!(fails(throttled("7")).await.retry_after, Some(Duration::from_secs(7)));
    let failure = fails(throttled("3600")).await;
    assert_eq!(failure.retry_after, Some(Duration::from_secs(30)));
    assert_eq!(failure.reason, Reason::Throttled);
    assert_eq!(failure.message, "slow down", "the upstream's own words");
}

#[tokio::test]
async fn what_is_said_about_our_credentials_stays_with_the_operator() {
    let body = openai_error("invalid_request_error", "invalid_api_key", "Incorrect API key: sk-12***9");
    let failure = fails(Reaction::Keep(answer(401, &[], &body))).await;
    assert_eq!(failure.class, Class::Credential);
    assert!(!failure.message.contains("sk-"), "{}", failure.message);
    assert!(!failure.upstream.unwrap().message.contains("sk-"));
    assert!(failure.detail.contains("sk-12***9"), "the log has it");
}

#[tokio::test]
async fn an_endless_error_body_does_not_hide_the_status() {
    let body = vec![b'x'; 200 * 1024];
    assert_eq!(fails(Reaction::Keep(answer(503, &[], &body))).await.class, Class::Refused);
    let mut cut = answer(503, &[], b"0123456789");
    cut.truncate(cut.len() - 5);
    assert_eq!(fails(Reaction::Finish(cut)).await.class, Class::Refused);
}

#[tokio::test]
async fn a_hanging_error_body_does_not_hold_up_the_next_attempt() {
    let mut hung = answer(503, &[], b"0123456789");
    hung.truncate(hung.len() - 5);
    let fake = Fake::script([Reaction::Hang(hung)]).await;
    let world = World::openai(fake.url("/v1")).within(Duration::from_hours(1));
    let failure = world.whole(&openai_chat(false), "gpt-x").await.unwrap_err();
    assert_eq!(failure.class, Class::Refused);
}

async fn check(reaction: Reaction, reason: Reason) {
    let failure = fails(reaction).await;
    assert_eq!((failure.class, failure.reason), (Class::Ambiguous, reason), "{}", failure.detail);
    assert_eq!(failure.origin, Origin::Network);
    assert!(failure.upstream.is_none());
}

#[tokio::test]
async fn ends_before_the_answer_is_whole_are_ambiguous() {
    let whole = answer(200, &[], br#"{"choices":[]}"#);
    check(Reaction::Finish(Vec::new()), Reason::Reset).await;
    check(Reaction::Reset(Vec::new()), Reason::Reset).await;
    check(Reaction::Finish(whole[..20].to_vec()), Reason::Reset).await;
    check(Reaction::Finish(whole[..whole.len() - 3].to_vec()), Reason::Reset).await;
    check(Reaction::Reset(whole[..whole.len() - 3].to_vec()), Reason::Reset).await;
}

#[tokio::test]
async fn bytes_that_are_not_the_protocol_are_garbled() {
    check(Reaction::Finish(b"\x00\x01\x02 what is this\r\n\r\n".to_vec()), Reason::Garbled).await;
    check(Reaction::Keep(answer(200, &[], b"\xff\xfe not json")), Reason::Garbled).await;
    check(Reaction::Keep(answer(200, &[], b"")), Reason::Garbled).await;
}

#[tokio::test]
async fn an_answer_above_the_limit_is_not_read() {
    let mut huge = answer(200, &[], b"{");
    let text = String::from_utf8(huge.clone()).unwrap();
    huge = text.replace("content-length: 1", "content-length: 33554433").into_bytes();
    check(Reaction::Hang(huge), Reason::Oversized).await;
}

#[tokio::test]
async fn an_answer_after_the_deadline_is_ambiguous_and_its_connection_is_left() {
    let ok = answer(200, &[], br#"{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1}}"#);
    let mut fake =
        Fake::script([Reaction::Hang(Vec::new()), Reaction::Hang(ok[..30].to_vec()), Reaction::Keep(ok)])
            .await;
    let world = World::openai(fake.url("/v1")).within(Duration::from_millis(200));
    for hung in 0..2 {
        let failure = world.whole(&openai_chat(false), "gpt-x").await.unwrap_err();
        assert_eq!((failure.class, failure.reason), (Class::Ambiguous, Reason::Timeout));
        assert_eq!(fake.peer_gone().await, hung, "the hung connection is closed");
    }
    let world = world.within(Duration::from_secs(20));
    world.whole(&openai_chat(false), "gpt-x").await.unwrap();
    assert_eq!(fake.seen()[2].connection, 2, "the next attempt has a connection of its own");
}

#[tokio::test]
async fn a_pooled_connection_that_dies_under_a_request_is_not_repeated() {
    let ok = answer(200, &[], br#"{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1}}"#);
    let fake = Fake::script([Reaction::Keep(ok), Reaction::Finish(Vec::new())]).await;
    let world = World::openai(fake.url("/v1"));
    world.whole(&openai_chat(false), "gpt-x").await.unwrap();
    let failure = world.whole(&openai_chat(false), "gpt-x").await.unwrap_err();
    assert_eq!((failure.class, failure.reason), (Class::Ambiguous, Reason::Reset));
    let seen = fake.seen();
    assert_eq!(seen.len(), 2, "the request that reached the upstream was not sent again");
    assert_eq!(seen[1].connection, 0, "it was on the pooled connection");
}
