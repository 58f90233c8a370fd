//! When an attempt leaves: told once there is a connection, before the first byte, and it can be held
//! back.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use outcrop_core::failure::{Code, Failure};
use outcrop_core::{Class, Reason};
use outcrop_upstream::{Connect, Dispatch, HttpSpec, KindSpec};
use tokio::net::TcpListener;

use crate::fake::{Fake, Reaction, answer};
use crate::world::{World, local, openai_chat};

const OK: &[u8] = br#"{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1}}"#;

fn counting() -> (Dispatch, Arc<AtomicUsize>) {
    let told = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&told);
    let dispatch = Dispatch::new(move || {
        count.fetch_add(1, Ordering::SeqCst);
        Ok(())
    });
    (dispatch, told)
}

#[tokio::test]
async fn it_is_told_once_for_a_request_that_leaves() {
    let fake =
        Fake::script([Reaction::Keep(answer(200, &[], OK)), Reaction::Keep(answer(200, &[], OK))]).await;
    let (dispatch, told) = counting();
    let mut world = World::openai(fake.url("/v1"));
    world.dispatch = dispatch;
    for expected in 1..=2 {
        world.whole(&openai_chat(false), "m").await.unwrap();
        assert_eq!(told.load(Ordering::SeqCst), expected);
    }
}

#[tokio::test]
async fn it_is_not_told_when_there_is_no_connection() {
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let (dispatch, told) = counting();
    let mut world = World::openai(format!("http://{address}/v1").parse().unwrap());
    world.dispatch = dispatch;
    let failure = world.whole(&openai_chat(false), "m").await.unwrap_err();
    assert_eq!((failure.class, told.load(Ordering::SeqCst)), (Class::NotSent, 0));
}

#[tokio::test]
async fn what_is_held_back_never_arrives() {
    for http2 in [false, true] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}/v1", listener.local_addr().unwrap()).parse().unwrap();
        let connect = Connect { http2, ..local() };
        let mut world = World::new(connect, KindSpec::OpenAi(HttpSpec { base, key: None }));
        world.dispatch = Dispatch::new(|| Err(held_back()));
        let envelope = openai_chat(false);
        let (failure, heard) = tokio::join!(world.whole(&envelope, "m"), heard(&listener));
        let failure = failure.unwrap_err();
        assert_eq!((failure.class, failure.code), (Class::NotSent, Code::Stopped), "HTTP/2: {http2}");
        let body = serde_json::to_string("hi").unwrap();
        assert!(!heard.windows(body.len()).any(|part| part == body.as_bytes()), "HTTP/2: {http2}");
        assert!(http2 || heard.is_empty(), "{heard:?}");
    }
}

fn held_back() -> Failure {
    let refusal = Failure::refusal(Code::Stopped, "stopped");
    Failure { class: Class::NotSent, reason: Reason::Policy, ..refusal }
}

/// What one connection brings until it ends, or a handshake's worth of HTTP/2.
async fn heard(listener: &TcpListener) -> Vec<u8> {
    use tokio::io::AsyncReadExt;
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut heard = Vec::new();
    let reading = stream.read_to_end(&mut heard);
    let _ = tokio::time::timeout(std::time::Duration::from_millis(500), reading).await;
    heard
}
