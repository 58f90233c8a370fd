//! HTTP/2 towards the upstream: one connection for many, and none that may be dead.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, Version};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use outcrop_core::{Class, Reason};
use outcrop_upstream::{Connect, HttpSpec, KindSpec};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::world::{World, local, openai_chat};

const OK: &[u8] = br#"{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1}}"#;

/// Says that the peer took its request back.
struct Left(mpsc::UnboundedSender<()>);

impl Drop for Left {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

/// An HTTP/2 upstream whose first `mute` connections never answer.
struct Server {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    arrived: mpsc::UnboundedReceiver<()>,
    left: mpsc::UnboundedReceiver<()>,
}

async fn serve(mute: usize) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    let (leaving, left) = mpsc::unbounded_channel();
    let (arriving, arrived) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let number = counted.fetch_add(1, Ordering::Relaxed);
            let (leaving, arriving) = (leaving.clone(), arriving.clone());
            let answering = service_fn(move |request: Request<Incoming>| {
                let left = Left(leaving.clone());
                let _ = arriving.send(());
                async move {
                    assert_eq!(request.version(), Version::HTTP_2);
                    if number < mute {
                        std::future::pending::<()>().await;
                    }
                    std::mem::forget(left);
                    Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(OK))))
                }
            });
            let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            tokio::spawn(builder.serve_connection(TokioIo::new(stream), answering));
        }
    });
    Server { address, connections, arrived, left }
}

fn world(address: SocketAddr) -> World {
    let base = format!("http://{address}/v1").parse().unwrap();
    let connect = Connect { http2: true, ..local() };
    World::new(connect, KindSpec::OpenAi(HttpSpec { base, key: None }))
}

#[tokio::test]
async fn one_connection_serves_many_attempts() {
    let server = serve(0).await;
    let world = world(server.address);
    for _ in 0..5 {
        world.whole(&openai_chat(false), "m").await.unwrap();
    }
    assert_eq!(server.connections.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_connection_without_an_answer_is_not_used_again() {
    let mut server = serve(1).await;
    let world = world(server.address).within(Duration::from_millis(200));
    let failure = world.whole(&openai_chat(false), "m").await.unwrap_err();
    assert_eq!((failure.class, failure.reason), (Class::Ambiguous, Reason::Timeout));
    server.left.recv().await.unwrap();
    let world = world.within(Duration::from_secs(20));
    world.whole(&openai_chat(false), "m").await.unwrap();
    assert_eq!(server.connections.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn a_dropped_attempt_resets_its_stream() {
    let mut server = serve(1).await;
    let world = world(server.address);
    let ask = openai_chat(false);
    tokio::select! {
        _ = world.attempt(&ask, "m") => panic!("nothing was answered"),
        arrived = server.arrived.recv() => arrived.unwrap(),
    }
    server.left.recv().await.unwrap();
}
