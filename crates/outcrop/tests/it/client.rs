//! Clients that interpret nothing: HTTP/1.1 and HTTP/2 with one connection per request, and bare bytes.

use std::{net::SocketAddr, path::Path};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::{
    body::Incoming,
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpStream, UnixStream},
};

/// What came back, as far as it came.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// Whether the body ended as HTTP says it ends.
    pub(crate) whole: bool,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// A header, or nothing.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Sends a request over HTTP/1.1 and gives the head with a body still to be read.
pub(crate) async fn open(
    address: SocketAddr,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Result<Response<Incoming>, String> {
    let stream = TcpStream::connect(address).await.map_err(|error| format!("connect: {error}"))?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    tokio::spawn(connection);
    let request = request(method, path.to_owned(), headers, body.into());
    let host = address.to_string();
    let (mut head, body) = request.into_parts();
    head.headers.entry("host").or_insert(host.parse().unwrap());
    sender.send_request(Request::from_parts(head, body)).await.map_err(|error| format!("answer: {error}"))
}

/// Sends a request over HTTP/1.1 and reads the answer to its end, good or bad.
pub(crate) async fn send(
    address: SocketAddr,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Result<Answer, String> {
    Ok(read(open(address, method, path, headers, body).await?).await)
}

/// Sends a request to a unix socket and reads the answer to its end.
pub(crate) async fn send_unix(
    socket: &Path,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Result<Answer, String> {
    let stream = UnixStream::connect(socket).await.map_err(|error| format!("connect: {error}"))?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    tokio::spawn(connection);
    let request = request(method, path.to_owned(), headers, body.into());
    let answer = sender.send_request(request).await.map_err(|error| format!("answer: {error}"))?;
    Ok(read(answer).await)
}

/// A connection that speaks HTTP/2 from its first byte.
pub(crate) async fn connect_h2(address: SocketAddr) -> http2::SendRequest<Full<Bytes>> {
    let stream = TcpStream::connect(address).await.unwrap();
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

/// A POST of JSON for an HTTP/2 connection.
pub(crate) fn post_h2(
    address: SocketAddr,
    path: &str,
    headers: &[(&str, &str)],
    body: &Value,
) -> Request<Full<Bytes>> {
    let mut all = vec![("content-type", "application/json")];
    all.extend_from_slice(headers);
    request(Method::POST, format!("http://{address}{path}"), &all, body.to_string().into())
}

/// Reads an answer to its end.
pub(crate) async fn read(response: Response<Incoming>) -> Answer {
    let (head, mut incoming) = response.into_parts();
    let mut bytes = Vec::new();
    let mut whole = true;
    while let Some(frame) = incoming.frame().await {
        let Ok(frame) = frame else {
            whole = false;
            break;
        };
        bytes.extend_from_slice(&frame.into_data().unwrap_or_default());
    }
    Answer { status: head.status.as_u16(), headers: head.headers, body: bytes.into(), whole }
}

/// Says some bytes and hears everything until the other side ends the connection.
pub(crate) async fn say(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    hear(&mut stream).await
}

/// Everything until the end of the connection, whichever way it ends.
pub(crate) async fn hear(stream: &mut TcpStream) -> String {
    let mut heard = Vec::new();
    while let Ok(read) = stream.read_buf(&mut heard).await {
        if read == 0 {
            break;
        }
    }
    String::from_utf8_lossy(&heard).into_owned()
}

fn request(method: Method, uri: String, headers: &[(&str, &str)], body: Bytes) -> Request<Full<Bytes>> {
    let mut request = Request::builder().method(method).uri(uri);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Full::new(body)).unwrap()
}
