//! Callers that take nothing of their answer: the upstream waits, and the gateway holds little for them.

use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use crate::gateway::Gateway;
use crate::lab::Lab;
use crate::scene::{number, path};

/// Callers, unless `OUTCROP_SLOW_READERS` says otherwise.
const READERS: usize = 30;
/// What the process grows by for each at most, its tasks and connections included: an answer is far larger.
const HELD_MAX: u64 = 192 * 1024;
/// Tokens of an answer: some megabytes of events, more than all sockets on the way take.
const TOKENS: usize = 40_000;

/// Asks for a long stream over a socket that takes little, and reads none of it.
async fn ask(gateway: &Gateway, tokens: usize) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stream = socket.connect(gateway.data).await.unwrap();
    let body = json!({
        "model": "m0", "stream": true, "max_tokens": tokens,
        "messages": [{"role": "user", "content": format!("[[tokens={tokens}]]")}],
    })
    .to_string();
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\nconnection: close\r\nx-outcrop-operation: direct-first\r\n\r\n{body}",
        gateway.data,
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

async fn rest(mut stream: TcpStream) -> String {
    let mut all = Vec::new();
    stream.read_to_end(&mut all).await.unwrap();
    String::from_utf8_lossy(&all).into_owned()
}

/// Resident memory once it does not grow any more.
async fn settled(gateway: &Gateway) -> u64 {
    let mut before = 0;
    for _ in 0..100 {
        let now = gateway.resident();
        if now == before {
            return now;
        }
        before = now;
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    panic!("its memory grows and grows: {before}")
}

#[tokio::test]
async fn a_caller_that_takes_nothing_costs_little() {
    let lab = Lab::start().await;
    let base = format!("http://{}", lab.address("fra"));
    let model = "[[model]]\nname = \"m0\"\ntargets = [{ path = \"p0\", id = \
                 \"eu.anthropic.claude-sonnet-4-5-20250929-v1:0\" }]\n";
    let gateway = Gateway::start(&(path("p0", true, &base, "") + model)).await;
    // What is made once is made.
    for _ in 0..20 {
        assert!(rest(ask(&gateway, 50).await).await.contains("[DONE]"));
    }
    let before = settled(&gateway).await;
    let count = number("OUTCROP_SLOW_READERS").unwrap_or(READERS);
    let mut readers = Vec::with_capacity(count);
    for _ in 0..count {
        // One after the other: the lab makes each answer before it sends it.
        let reader = ask(&gateway, TOKENS).await;
        let mut head = [0; 12];
        assert_eq!((reader.peek(&mut head).await.unwrap(), &head), (12, b"HTTP/1.1 200"));
        readers.push(reader);
    }
    let held = settled(&gateway).await.saturating_sub(before);
    let each = held / count as u64;
    println!("{count} callers that take nothing: {each} bytes each");
    assert!(each <= HELD_MAX, "{each} bytes for each of {count}");
    let first = rest(readers.swap_remove(0)).await;
    let end = first.len().saturating_sub(400);
    assert!(
        first.contains("[DONE]"),
        "all of it comes when it is taken: {} bytes, {}",
        first.len(),
        &first[end..]
    );
}
