//! An upstream made of raw sockets, so that every byte and every end of a connection is chosen.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

/// A request as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    /// Which connection, from 0.
    pub(crate) connection: usize,
    /// Method, target and version.
    pub(crate) line: String,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(n, _)| n == name);
        found.map(|(_, value)| value.as_str())
    }

    pub(crate) fn target(&self) -> &str {
        self.line.split(' ').nth(1).unwrap()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// What is done with one request.
#[derive(Debug, Clone)]
pub(crate) enum Reaction {
    /// Bytes, and the connection stays open for the next request.
    Keep(Vec<u8>),
    /// Bytes, then a clean end.
    Finish(Vec<u8>),
    /// Bytes, then a reset.
    Reset(Vec<u8>),
    /// Bytes, then nothing until the peer leaves, which is reported.
    Hang(Vec<u8>),
    /// Bytes; more when the test says so, then as `Keep`.
    Gated(Vec<u8>, Vec<u8>),
    /// Bytes; then the second bytes again and again until the peer leaves.
    Flood(Vec<u8>, Vec<u8>),
}

pub(crate) struct Fake {
    pub(crate) address: SocketAddr,
    state: Arc<State>,
    gone: mpsc::UnboundedReceiver<usize>,
    arrived: mpsc::UnboundedReceiver<()>,
    _stop: DropGuard,
}

struct State {
    script: Mutex<VecDeque<Reaction>>,
    decide: Option<Decide>,
    seen: Mutex<Vec<Seen>>,
    connections: Mutex<usize>,
    gate: tokio::sync::Semaphore,
    gone: mpsc::UnboundedSender<usize>,
    arrived: mpsc::UnboundedSender<()>,
}

type Decide = Box<dyn Fn(&Seen) -> Reaction + Send + Sync>;

impl Fake {
    /// Reacts to the requests in turn.
    pub(crate) async fn script(reactions: impl IntoIterator<Item = Reaction>) -> Self {
        Self::start(reactions.into_iter().collect(), None).await
    }

    /// Reacts as a function of the request.
    pub(crate) async fn deciding(decide: impl Fn(&Seen) -> Reaction + Send + Sync + 'static) -> Self {
        Self::start(VecDeque::new(), Some(Box::new(decide))).await
    }

    async fn start(script: VecDeque<Reaction>, decide: Option<Decide>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (gone, gone_seen) = mpsc::unbounded_channel();
        let (arrived, arrived_seen) = mpsc::unbounded_channel();
        let state = Arc::new(State {
            script: Mutex::new(script),
            decide,
            seen: Mutex::default(),
            connections: Mutex::default(),
            gate: tokio::sync::Semaphore::new(0),
            gone,
            arrived,
        });
        let stop = CancellationToken::new();
        let accepting = accept(listener, Arc::clone(&state));
        tokio::spawn(stop.clone().run_until_cancelled_owned(accepting));
        Self { address, state, gone: gone_seen, arrived: arrived_seen, _stop: stop.drop_guard() }
    }

    pub(crate) fn url(&self, path: &str) -> url::Url {
        format!("http://{}{path}", self.address).parse().unwrap()
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.state.seen.lock().unwrap().clone()
    }

    pub(crate) fn connections(&self) -> usize {
        *self.state.connections.lock().unwrap()
    }

    /// Lets one gated answer go on.
    pub(crate) fn open_gate(&self) {
        self.state.gate.add_permits(1);
    }

    /// Waits until a request has arrived.
    pub(crate) async fn request_arrived(&mut self) {
        self.arrived.recv().await.unwrap();
    }

    /// Waits until a peer has left a hanging connection; gives its number.
    pub(crate) async fn peer_gone(&mut self) -> usize {
        self.gone.recv().await.unwrap()
    }
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let number = {
            let mut connections = state.connections.lock().unwrap();
            *connections += 1;
            *connections - 1
        };
        tokio::spawn(serve(stream, number, Arc::clone(&state)));
    }
}

async fn serve(mut stream: TcpStream, connection: usize, state: Arc<State>) {
    let mut buffer = Vec::new();
    while let Some(seen) = read_request(&mut stream, &mut buffer, connection).await {
        let reaction = match &state.decide {
            Some(decide) => decide(&seen),
            None => state.script.lock().unwrap().pop_front().expect("a scripted reaction"),
        };
        state.seen.lock().unwrap().push(seen);
        let _ = state.arrived.send(());
        match reaction {
            Reaction::Keep(bytes) => stream.write_all(&bytes).await.unwrap(),
            Reaction::Finish(bytes) => {
                stream.write_all(&bytes).await.unwrap();
                stream.shutdown().await.unwrap();
                return;
            }
            Reaction::Reset(bytes) => {
                stream.write_all(&bytes).await.unwrap();
                stream.set_zero_linger().unwrap();
                return;
            }
            Reaction::Hang(bytes) => {
                stream.write_all(&bytes).await.unwrap();
                let mut sink = [0; 1024];
                while matches!(stream.read(&mut sink).await, Ok(1..)) {}
                let _ = state.gone.send(connection);
                return;
            }
            Reaction::Flood(bytes, again) => {
                stream.write_all(&bytes).await.unwrap();
                while stream.write_all(&again).await.is_ok() {}
                return;
            }
            Reaction::Gated(bytes, rest) => {
                stream.write_all(&bytes).await.unwrap();
                state.gate.acquire().await.unwrap().forget();
                stream.write_all(&rest).await.unwrap();
            }
        }
    }
}

async fn read_request(stream: &mut TcpStream, buffer: &mut Vec<u8>, connection: usize) -> Option<Seen> {
    let head_end = loop {
        if let Some(at) = buffer.windows(4).position(|w| w == b"\r\n\r\n") {
            break at;
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(buffer[..head_end].to_vec()).unwrap();
    let mut lines = head.split("\r\n");
    let line = lines.next().unwrap().to_owned();
    let headers: Vec<(String, String)> = lines
        .map(|l| l.split_once(": ").unwrap())
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length: usize = length.map_or(0, |(_, value)| value.parse().unwrap());
    let end = head_end + 4 + length;
    while buffer.len() < end {
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
    let body = buffer[head_end + 4..end].to_vec();
    buffer.drain(..end);
    Some(Seen { connection, line, headers, body })
}

/// A whole answer.
pub(crate) fn answer(status: u16, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut bytes = head(status, headers, &format!("content-length: {}", body.len()));
    bytes.extend_from_slice(body);
    bytes
}

/// The head of a chunked answer and its first chunks, without the last one.
pub(crate) fn chunked(headers: &[(&str, &str)], chunks: &[&[u8]]) -> Vec<u8> {
    let mut bytes = head(200, headers, "transfer-encoding: chunked");
    for piece in chunks {
        bytes.extend_from_slice(&chunk(piece));
    }
    bytes
}

/// One chunk; an empty one ends the body.
pub(crate) fn chunk(piece: &[u8]) -> Vec<u8> {
    let mut bytes = format!("{:x}\r\n", piece.len()).into_bytes();
    bytes.extend_from_slice(piece);
    bytes.extend_from_slice(b"\r\n");
    bytes
}

fn head(status: u16, headers: &[(&str, &str)], framing: &str) -> Vec<u8> {
    let mut text = format!("HTTP/1.1 {status} Status\r\n{framing}\r\n");
    for (name, value) in headers {
        text.extend([name, ": ", value, "\r\n"]);
    }
    text.push_str("\r\n");
    text.into_bytes()
}
