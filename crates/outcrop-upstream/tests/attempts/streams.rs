//! Streams: complete only with the terminal event, cancelled when dropped.

use std::time::Duration;

use outcrop_core::{Class, Event, Failure, Protocol, Reason};
use tokio::time::Instant;

use crate::fake::{Fake, Reaction, chunk, chunked};
use crate::world::{World, anthropic_messages, drain, openai_chat};

const SSE: &[(&str, &str)] = &[("content-type", "text/event-stream")];

fn delta(text: &str) -> Vec<u8> {
    let json = serde_json::json!({"id": "c", "object": "chat.completion.chunk", "created": 1,
        "model": "m", "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": null}]});
    format!("data: {json}\n\n").into_bytes()
}

fn ending() -> Vec<u8> {
    let finish = serde_json::json!({"id": "c", "object": "chat.completion.chunk", "created": 1,
        "model": "m", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}});
    format!("data: {finish}\n\ndata: [DONE]\n\n").into_bytes()
}

fn whole() -> Vec<u8> {
    [delta("a"), delta("b"), ending()].concat()
}

fn complete(pieces: &[&[u8]]) -> Vec<u8> {
    let mut bytes = chunked(SSE, pieces);
    bytes.extend_from_slice(&chunk(b""));
    bytes
}

#[tokio::test]
async fn a_complete_stream_passes_its_bytes_and_ends_cleanly() {
    let whole = whole();
    for size in [1, 7, 100, whole.len()] {
        let pieces: Vec<&[u8]> = whole.chunks(size).collect();
        let fake = Fake::script([Reaction::Keep(complete(&pieces))]).await;
        let world = World::openai(fake.url("/v1"));
        let mut stream = world.stream(&openai_chat(true), "m").await.unwrap();
        assert!(stream.passes_raw());
        let mut raw = Vec::new();
        let mut done = 0;
        while let Some(item) = stream.next().await.unwrap() {
            raw.extend_from_slice(&item.raw);
            done += item.events.iter().filter(|e| **e == Event::Done).count();
        }
        assert_eq!(raw, whole, "the bytes pass unchanged");
        assert_eq!(done, 1);
        assert!(stream.next().await.unwrap().is_none(), "the end stays the end");
    }
}

#[tokio::test]
async fn the_connection_of_a_complete_stream_is_used_again() {
    let whole = whole();
    let fake = Fake::deciding(move |_| Reaction::Keep(complete(&[&whole]))).await;
    let world = World::openai(fake.url("/v1"));
    // The pool takes the connection back a moment after the end, so a single next attempt may miss
    // it; a connection that is closed instead is never seen again.
    for attempts in 1..=50 {
        let mut stream = world.stream(&openai_chat(true), "m").await.unwrap();
        drain(&mut stream).await.1.unwrap();
        if fake.connections() < attempts {
            return;
        }
    }
    panic!("no connection was used twice");
}

#[tokio::test]
async fn another_protocol_gets_events() {
    let fake = Fake::script([Reaction::Keep(complete(&[&whole()]))]).await;
    let world = World::openai(fake.url("/v1"));
    let mut stream = world.stream(&anthropic_messages(true), "m").await.unwrap();
    assert!(!stream.passes_raw());
    let (events, end) = drain(&mut stream).await;
    end.unwrap();
    let text: Vec<&Event> = events.iter().filter(|e| matches!(e, Event::Delta { .. })).collect();
    assert_eq!(text.len(), 2);
    assert_eq!(events.last(), Some(&Event::Done));
}

async fn breaks(reaction: Reaction) -> Failure {
    let fake = Fake::script([reaction]).await;
    let world = World::openai(fake.url("/v1"));
    let mut stream = world.stream(&openai_chat(true), "m").await.unwrap();
    let (events, end) = drain(&mut stream).await;
    assert!(!events.contains(&Event::Done));
    assert!(stream.next().await.is_err(), "a failed stream stays failed");
    end.unwrap_err()
}

async fn check(reaction: Reaction, reason: Reason) {
    let failure = breaks(reaction).await;
    assert_eq!((failure.class, failure.reason), (Class::Ambiguous, reason), "{}", failure.detail);
}

#[tokio::test]
async fn a_stream_without_its_terminal_event_is_truncated() {
    check(Reaction::Keep(complete(&[])), Reason::Truncated).await;
    check(Reaction::Keep(complete(&[&delta("a"), &delta("b")])), Reason::Truncated).await;
    let mut half = whole();
    half.truncate(half.len() - 4);
    check(Reaction::Keep(complete(&[&half])), Reason::Truncated).await;
    let until_close = [b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), delta("a")].concat();
    check(Reaction::Finish(until_close), Reason::Truncated).await;
}

#[tokio::test]
async fn a_connection_that_breaks_inside_is_a_reset() {
    check(Reaction::Finish(chunked(SSE, &[&delta("a")])), Reason::Reset).await;
    check(Reaction::Reset(chunked(SSE, &[&delta("a")])), Reason::Reset).await;
    let mut bytes = chunked(SSE, &[&delta("a")]);
    bytes.truncate(bytes.len() - 10);
    check(Reaction::Finish(bytes), Reason::Reset).await;
}

#[tokio::test]
async fn garbage_is_garbled_and_endless_lines_are_cut() {
    check(Reaction::Keep(complete(&[b"data: {\"broken\"\n\n"])), Reason::Garbled).await;
    let line = vec![b'x'; 3 * 512 * 1024];
    check(Reaction::Keep(complete(&[b"data: ", &line])), Reason::Oversized).await;
}

#[tokio::test]
async fn an_error_inside_the_stream_has_the_class_of_its_status() {
    let body = b"event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n";
    let fake = Fake::script([Reaction::Keep(complete(&[body]))]).await;
    let world = World::anthropic(fake.url("/"));
    let mut stream = world.stream(&anthropic_messages(true), "m").await.unwrap();
    let failure = stream.next().await.unwrap_err();
    assert_eq!(failure.class, Class::Refused);
    let upstream = failure.upstream.unwrap();
    assert_eq!((upstream.status, upstream.protocol), (529, Protocol::AnthropicMessages));
}

#[tokio::test]
async fn without_content_before_the_deadline_the_stream_fails_and_the_connection_is_left() {
    for sent in [chunked(SSE, &[]), chunked(SSE, &[b": ping\n\n"])] {
        let mut fake = Fake::script([Reaction::Hang(sent)]).await;
        let world = World::openai(fake.url("/v1")).within(Duration::from_millis(200));
        let mut stream = world.stream(&openai_chat(true), "m").await.unwrap();
        let (_, end) = drain(&mut stream).await;
        assert_eq!(end.unwrap_err().reason, Reason::Timeout);
        fake.peer_gone().await;
    }
}

#[tokio::test]
async fn a_flood_of_pings_is_no_content() {
    let fake = Fake::script([Reaction::Flood(chunked(SSE, &[]), chunk(b": ping\n\n"))]).await;
    let world = World::openai(fake.url("/v1")).within(Duration::from_millis(200));
    let mut stream = world.stream(&openai_chat(true), "m").await.unwrap();
    let (_, end) = drain(&mut stream).await;
    assert_eq!(end.unwrap_err().reason, Reason::Timeout);
}

#[tokio::test]
async fn after_the_first_content_the_deadline_is_the_relays() {
    let rest = [chunk(&delta("b")), chunk(&ending()), chunk(b"")].concat();
    let fake = Fake::script([Reaction::Gated(chunked(SSE, &[&delta("a")]), rest)]).await;
    let world = World::openai(fake.url("/v1")).within(Duration::from_millis(300));
    let deadline = Instant::now() + world.deadline;
    let mut stream = world.stream(&openai_chat(true), "m").await.unwrap();
    let first = stream.next().await.unwrap().unwrap();
    assert!(first.events.iter().any(Event::is_content));
    let early = tokio::time::timeout_at(deadline + Duration::from_millis(100), stream.next()).await;
    assert!(early.is_err(), "nothing comes, and nothing fails");
    fake.open_gate();
    let (events, end) = drain(&mut stream).await;
    end.unwrap();
    assert_eq!(events.last(), Some(&Event::Done));
}

#[tokio::test]
async fn a_dropped_stream_reaches_the_upstream() {
    let mut fake = Fake::script([Reaction::Hang(chunked(SSE, &[&delta("a")]))]).await;
    let world = World::openai(fake.url("/v1"));
    let mut stream = world.stream(&openai_chat(true), "m").await.unwrap();
    stream.next().await.unwrap();
    drop(stream);
    fake.peer_gone().await;
}

#[tokio::test]
async fn a_dropped_attempt_reaches_the_upstream() {
    let mut fake = Fake::script([Reaction::Hang(Vec::new())]).await;
    let world = World::openai(fake.url("/v1"));
    let ask = openai_chat(true);
    tokio::select! {
        _ = world.attempt(&ask, "m") => panic!("nothing was answered"),
        () = fake.request_arrived() => {}
    }
    fake.peer_gone().await;
}

#[tokio::test]
async fn a_reset_after_the_terminal_event_takes_nothing_back() {
    let fake = Fake::script([Reaction::Reset(chunked(SSE, &[&whole()]))]).await;
    let world = World::openai(fake.url("/v1"));
    let mut stream = world.stream(&openai_chat(true), "m").await.unwrap();
    let (events, end) = drain(&mut stream).await;
    end.unwrap();
    assert_eq!(events.last(), Some(&Event::Done));
}
