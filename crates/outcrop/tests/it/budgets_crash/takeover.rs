//! A new process takes the place of the one that runs: no connection is refused, no stream is cut, and the
//! books of both are one.

use std::{
    io::{Read as _, Write as _},
    net::SocketAddr,
    os::unix::net::{UnixListener, UnixStream},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use http::{Method, Request, header::CONNECTION};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, task::JoinSet};

use super::{
    load::{ask, count},
    place::{Place, SQLITE, bill, hard, paced_lab},
    process::Process,
    stands::{Stands, attempts, stands},
};
use crate::{
    api::Api,
    client,
    house::{Setup, eventually, simulated, within},
};

/// Takeovers, unless `OUTCROP_TAKEOVERS` says otherwise.
const TAKEOVERS: usize = 3;
/// Tokens of a long stream: a second or more.
const LONG: usize = 400;

fn takeovers() -> usize {
    std::env::var("OUTCROP_TAKEOVERS").map_or(TAKEOVERS, |text| text.parse().unwrap())
}

fn setup() -> Setup {
    let more = hard("5000 USD") + &hard("1000000 requests");
    Setup { store: SQLITE.to_owned(), more, ..Setup::default() }
}

/// Waits until so many requests are served.
async fn runs(gateway: &Process, count: u64) {
    eventually("they are served", async || {
        let load = gateway.admin("/admin/v1/load").await.json();
        let rows = load["priorities"].as_array().unwrap().clone();
        let served: u64 = rows.iter().map(|row| row["in_flight"].as_u64().unwrap()).sum();
        (served >= count).then_some(())
    })
    .await;
}

/// One long stream; whether it came whole.
async fn long(address: SocketAddr) -> Result<(), String> {
    let api = Api::OpenAi;
    let body = api.body("on-fra", &format!("[[tokens={LONG}]]"), true).to_string();
    let headers = [("content-type", "application/json"), ("x-outcrop-operation", "crash")];
    let route = api.route("on-fra", true);
    let opening = client::open(address, Method::POST, &route, &headers, body);
    let answer = client::read(within("the head", opening).await?).await;
    let told = api.hear(&answer);
    let is_whole = told.is_complete(api) && told.text == simulated("fra", LONG);
    if is_whole { Ok(()) } else { Err(format!("{told:?}")) }
}

/// Asks over one connection again and again, over the next one when its answer says so; how often it asked, and
/// how often that was said.
async fn kept(address: SocketAddr, end: Arc<AtomicBool>) -> Result<(u64, usize), String> {
    let body = Bytes::from(Api::OpenAi.body("on-oai", "[[tokens=1]]", false).to_string());
    let (mut asked, mut closed) = (0, 0);
    while !end.load(Ordering::Relaxed) {
        let stream = TcpStream::connect(address).await.map_err(|error| format!("connect: {error}"))?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
        tokio::spawn(connection);
        while !end.load(Ordering::Relaxed) {
            let request = Request::post("/v1/chat/completions")
                .header("host", address.to_string())
                .header("content-type", "application/json")
                .header("x-outcrop-operation", "crash")
                .body(Full::new(body.clone()))
                .unwrap();
            let answer = sender.send_request(request).await.map_err(|e| format!("after {asked}: {e}"))?;
            let is_last = answer.headers().get(CONNECTION).is_some_and(|value| value == "close");
            let status = answer.status();
            answer.into_body().collect().await.map_err(|error| error.to_string())?;
            if status != 200 {
                return Err(format!("{status}"));
            }
            asked += 1;
            if is_last {
                closed += 1;
                break;
            }
        }
    }
    Ok((asked, closed))
}

/// New connections all the time, until told to end; what each was told.
async fn steady(address: SocketAddr, end: Arc<AtomicBool>, next: Arc<AtomicU64>) -> Vec<String> {
    let mut told = Vec::new();
    while !end.load(Ordering::Relaxed) {
        told.push(ask(address, next.fetch_add(1, Ordering::Relaxed), &[]).await);
    }
    told
}

#[tokio::test(flavor = "multi_thread")]
async fn no_caller_notices_and_the_books_are_one() {
    let lab = paced_lab().await;
    let place = Place::new(&lab, setup());
    let mut gateway = place.start().await;
    let address = gateway.data;
    let (end, next) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut callers = JoinSet::new();
    for _ in 0..6 {
        callers.spawn(steady(address, Arc::clone(&end), Arc::clone(&next)));
    }
    let keeping = tokio::spawn(kept(address, Arc::clone(&end)));
    let mut streams = JoinSet::new();
    let mut over = Duration::ZERO;
    for _ in 0..takeovers() {
        for _ in 0..4 {
            streams.spawn(long(address));
        }
        runs(&gateway, 4).await;
        let began = Instant::now();
        let successor = Process::take_over(&place.file()).await;
        over = over.max(began.elapsed());
        assert_eq!(successor.data, address, "the same socket");
        let former = std::mem::replace(&mut gateway, successor);
        assert_eq!(former.ended().await, Some(0), "it finished what it had begun");
    }
    end.store(true, Ordering::Relaxed);
    let told: Vec<String> = callers.join_all().await.into_iter().flatten().collect();
    let streams = streams.join_all().await;
    let kept = keeping.await.unwrap();
    eprintln!(
        "{} takeovers, the longest {over:?}: {} new connections, {} long streams, {kept:?} on kept ones",
        takeovers(),
        told.len(),
        streams.len()
    );
    assert_eq!(count(&told, ""), i64::try_from(told.len()).unwrap(), "{told:?}");
    assert!(streams.iter().all(Result::is_ok), "{streams:?}");
    assert!(kept.as_ref().is_ok_and(|(_, closed)| *closed >= takeovers()), "told to connect anew: {kept:?}");
    let billed = bill(&lab).await;
    assert_eq!(gateway.terminate().await, Some(0));
    for (dimension, posted, limit) in
        [("requests", billed.executed, 1_000_000), ("usd", billed.nusd, 5_000_000_000_000)]
    {
        let expected = Stands { posted, limit, ..Stands::default() };
        assert_eq!(stands(&place.database(), dimension), expected, "{dimension}");
    }
    assert_eq!(attempts(&place.database()), (billed.executed, billed.executed), "each attempt is there once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_cannot_take_over_changes_nothing() {
    let lab = paced_lab().await;
    let place = Place::new(&lab, setup());
    let gateway = place.start().await;
    let file = std::fs::read_to_string(place.file()).unwrap();
    let elsewhere = file.replacen("127.0.0.1:0", "127.0.0.1:1", 1);
    std::fs::write(place.file(), elsewhere).unwrap();
    let other = Process::command(&place.file()).arg("--takeover").output().await.unwrap();
    let said = String::from_utf8_lossy(&other.stderr).into_owned();
    assert!(other.status.code() == Some(69) && said.contains("a takeover keeps addresses"), "{said}");
    std::fs::write(place.file(), file).unwrap();
    let second = Process::command(&place.file()).output().await.unwrap();
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(second.status.code() == Some(69) && said.contains("another gateway already serves"), "{said}");
    assert_eq!(ask(gateway.data, 0, &[]).await, "", "it goes on");
    let next = Process::take_over(&place.file()).await;
    assert_eq!(gateway.ended().await, Some(0));
    assert_eq!(ask(next.data, 1, &[]).await, "");
    assert_eq!(next.terminate().await, Some(0));
}

/// Asks for the sockets as a process that starts does, takes the operator's socket, and dies.
fn take_and_die(operator: &Path) {
    let meet = operator.with_extension("meet");
    let waiting = UnixListener::bind(&meet).unwrap();
    let order = format!("{{\"meet\":\"{}\"}}", meet.display());
    let request = format!(
        "POST /admin/v1/takeover HTTP/1.1\r\nhost: operator\r\ncontent-type: application/json\r\n\
         connection: close\r\ncontent-length: {}\r\n\r\n{order}",
        order.len()
    );
    let mut asking = UnixStream::connect(operator).unwrap();
    asking.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    asking.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let (_line, _) = waiting.accept().unwrap();
    // The name of the other one's socket is taken, as by one that is about to say that it serves.
    std::fs::rename(&meet, operator).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_successor_that_dies_with_the_operators_socket_leaves_it_to_the_former() {
    let lab = paced_lab().await;
    let place = Place::new(&lab, setup());
    let gateway = place.start().await;
    let operator = place.folder.join("outcrop.sock");
    let taking = operator.clone();
    tokio::task::spawn_blocking(move || take_and_die(&taking)).await.unwrap();
    eventually("the operator's socket is answered again", async || UnixStream::connect(&operator).ok()).await;
    assert_eq!(ask(gateway.data, 0, &[]).await, "", "it goes on");
    let next = Process::take_over(&place.file()).await;
    assert_eq!(gateway.ended().await, Some(0), "and can be taken over");
    assert_eq!(ask(next.data, 1, &[]).await, "");
    assert_eq!(next.terminate().await, Some(0));
    let left = std::fs::read_dir(&place.folder).unwrap().flatten().map(|entry| entry.file_name());
    let sockets: Vec<_> = left.filter(|name| name.to_string_lossy().contains(".sock")).collect();
    assert!(sockets.is_empty(), "{sockets:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_takes_over_at_the_admin_listener() {
    let lab = paced_lab().await;
    let place = Place::new(&lab, setup());
    let gateway = place.start().await;
    let meet = place.folder.join("meet");
    let waiting = UnixListener::bind(&meet).unwrap();
    waiting.set_nonblocking(true).unwrap();
    let order = format!("{{\"meet\":\"{}\"}}", meet.display());
    let headers = [("content-type", "application/json")];
    let asking = client::send(gateway.admin, Method::POST, "/admin/v1/takeover", &headers, order);
    let answer = within("an answer", asking).await.unwrap();
    assert_eq!(answer.status, 403, "{answer:?}");
    assert!(waiting.accept().is_err(), "nobody was met");
    assert_eq!(gateway.terminate().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_predecessor_sent_is_settled_by_its_successor() {
    let lab = paced_lab().await;
    let place = Place::new(&lab, setup());
    let gateway = place.start().await;
    let stream = tokio::spawn(long(gateway.data));
    runs(&gateway, 1).await;
    let next = Process::take_over(&place.file()).await;
    gateway.kill().await;
    assert!(stream.await.unwrap().is_err(), "it was cut");
    eventually("what it sent is in suspense, and nothing is held for it", async || {
        let requests = stands(&place.database(), "requests");
        (requests.suspense == 1 && requests.pending == 0).then_some(())
    })
    .await;
    assert_eq!(ask(next.data, 1, &[]).await, "");
    assert_eq!(next.terminate().await, Some(0));
    let requests = stands(&place.database(), "requests");
    let expected = Stands { posted: 1, suspense: 1, limit: 1_000_000, ..Stands::default() };
    assert_eq!(requests, expected);
    let again = place.start().await;
    assert_eq!(stands(&place.database(), "requests"), expected, "and only once");
    assert_eq!(again.terminate().await, Some(0));
}
