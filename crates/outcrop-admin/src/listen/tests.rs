//! The listener over real sockets, with a clock that jumps when everybody waits.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Extension;
use outcrop_core::decision::Decision;
use outcrop_policy::ledger::Totals;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use super::*;
use crate::{Door, LoadView, PathView, Readiness, TargetView, View, router};

struct Nothing;

impl View for Nothing {
    fn readiness(&self) -> Readiness {
        Readiness { ready: true, reasons: Vec::new(), snapshot: 1 }
    }
    fn paths(&self) -> Vec<PathView> {
        Vec::new()
    }
    fn targets(&self) -> Vec<TargetView> {
        Vec::new()
    }
    fn load(&self) -> LoadView {
        LoadView::default()
    }
    fn totals(&self) -> Totals {
        Totals::default()
    }
    fn decision(&self, _: &str) -> Option<Arc<Decision>> {
        None
    }
    fn decisions(&self, _: &outcrop_policy::Wanted, _: usize) -> Vec<Arc<Decision>> {
        Vec::new()
    }
    fn open_metrics(&self) -> String {
        "# EOF\n".to_owned()
    }
}

/// A listener on a free port; it ends with the set.
async fn start(limits: Limits) -> (SocketAddr, JoinSet<io::Result<()>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut tasks = JoinSet::new();
    let router = router(Arc::new(Nothing), Router::new(), Door::Network);
    tasks.spawn(within(limits, listener, router, std::future::pending()));
    (address, tasks)
}

async fn send(address: SocketAddr, text: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    stream
}

async fn rest(mut stream: TcpStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

/// The whole answer to a GET with these further header lines.
async fn get(address: SocketAddr, path: &str, headers: &str) -> String {
    rest(send(address, &format!("GET {path} HTTP/1.1\r\nconnection: close\r\n{headers}\r\n")).await).await
}

#[tokio::test]
async fn every_route_is_served() {
    let (address, _tasks) = start(LIMITS).await;
    for path in ["/", "/healthz", "/readyz", "/metrics", "/admin/v1/paths", "/admin/v1/decisions?limit=2"] {
        let answer = get(address, path, "host: localhost\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{path}: {answer}");
    }
    let answer = get(address, "/admin/v1/decisions/none", "host: localhost\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
}

#[tokio::test]
async fn pages_from_elsewhere_are_refused() {
    let (address, _tasks) = start(LIMITS).await;
    for (headers, expected) in [
        ("host: 127.0.0.1:9090\r\n", 200),
        ("host: [::1]:9090\r\n", 200),
        ("host: LOCALHOST\r\n", 200),
        ("host: localhost\r\norigin: http://localhost:3000\r\n", 200),
        ("host: rebound.example:9090\r\n", 403),
        ("host: 127.0.0.1.nip.io\r\n", 403),
        ("host: 192.0.2.1\r\n", 403),
        ("host: localhost\r\nhost: rebound.example\r\n", 403),
        ("host: \r\n", 403),
        ("host: localhost\r\norigin: https://page.example\r\n", 403),
        ("host: localhost\r\norigin: null\r\n", 403),
    ] {
        for path in ["/admin/v1/decisions", "/metrics", "/healthz", "/nothing"] {
            let expected = if path == "/nothing" && expected == 200 { 404 } else { expected };
            let answer = get(address, path, headers).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {expected} ")), "{path} {headers:?}: {answer}");
        }
    }
    let absolute =
        "GET http://rebound.example/metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    let answer = rest(send(address, absolute).await).await;
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
}

#[tokio::test]
async fn the_operators_socket_asks_for_no_name_and_says_which_door_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("socket");
    let listener = UnixListener::bind(&file).unwrap();
    let which = |Extension(door): Extension<Door>| async move { format!("{door:?}") };
    let more = Router::new().route("/admin/v1/keys", axum::routing::get(which));
    let mut tasks = JoinSet::new();
    let router = router(Arc::new(Nothing), more, Door::Operator);
    tasks.spawn(within(LIMITS, listener, router, std::future::pending()));
    let mut stream = UnixStream::connect(&file).await.unwrap();
    let head = "GET /admin/v1/keys HTTP/1.1\r\nhost: outcrop.example\r\nconnection: close\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("Operator"), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn a_connection_without_a_head_is_closed() {
    let (address, _tasks) = start(LIMITS).await;
    for said in ["", "GET / HTTP/1.1\r\nhost: loc"] {
        let answer = rest(send(address, said).await).await;
        assert!(!answer.contains(" 200 "), "{said:?}: {answer}");
    }
}

#[tokio::test]
async fn a_kept_connection_that_falls_silent_is_closed() {
    let (address, _tasks) = start(LIMITS).await;
    let mut kept = send(address, "GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    let mut answer = Vec::new();
    while !answer.ends_with(b"ok\n") {
        assert_ne!(kept.read_buf(&mut answer).await.unwrap(), 0, "the answer came whole");
    }
    tokio::time::pause();
    assert_eq!(rest(kept).await, "");
}

#[tokio::test(start_paused = true)]
async fn connections_above_the_limit_wait_for_a_place() {
    let (address, _tasks) = start(Limits { connections_max: 2, ..LIMITS }).await;
    let began = Instant::now();
    let _silent = [send(address, "").await, send(address, "GET").await];
    let answer = get(address, "/healthz", "host: localhost\r\n").await;
    assert!(answer.ends_with("ok\n"), "{answer}");
    assert!(began.elapsed() >= LIMITS.head_max, "it was served beside both others");
}

#[tokio::test]
async fn a_running_answer_is_finished_at_the_end() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (arrived, open) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let gates = (Arc::clone(&arrived), Arc::clone(&open));
    let slow = move || async move {
        gates.0.notify_one();
        gates.1.notified().await;
        "finished"
    };
    let router = Router::new().route("/slow", axum::routing::get(slow));
    let (stop, stopped) = oneshot::channel::<()>();
    let mut tasks = JoinSet::new();
    let limits = Limits { grace: Duration::from_mins(1), ..LIMITS };
    tasks.spawn(within(limits, listener, router, async { stopped.await.unwrap() }));
    let asked = send(address, "GET /slow HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    arrived.notified().await;
    stop.send(()).unwrap();
    // Nobody is let in any more, and whoever is inside gets an answer.
    while TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    tokio::time::pause();
    tokio::time::advance(limits.grace / 2).await;
    tokio::time::resume();
    open.notify_one();
    assert!(rest(asked).await.ends_with("finished"));
    tasks.join_next().await.unwrap().unwrap().unwrap();
}
