//! The gateway's operator socket, as any operator may use it: orders, and what the gateway claims of its ledger.
//!
//! A claim is never believed; it is held against what the upstreams billed.

use std::path::Path;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;

/// Largest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Asks once over a connection of its own; the text of an error says what the gateway answered.
pub(super) async fn ask(socket: &Path, method: Method, path: &str, body: &Value) -> Result<Value, String> {
    let stream = UnixStream::connect(socket).await.map_err(|error| error.to_string())?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    let text = if body.is_null() { String::new() } else { body.to_string() };
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(http::header::HOST, "localhost")
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(text)))
        .map_err(|error| error.to_string())?;
    let answering = async {
        let answer = sender.send_request(request).await.map_err(|error| error.to_string())?;
        let status = answer.status();
        let body = read(answer.into_body()).await?;
        if !status.is_success() {
            return Err(format!("{path} answered {status}: {}", String::from_utf8_lossy(&body)));
        }
        serde_json::from_slice(&body).map_err(|error| format!("{path}: {error}"))
    };
    // The connection is driven here, and ends with the answer; what it has to say of its own end comes after that.
    let driving = async {
        let ended = connection.await;
        std::future::pending::<()>().await;
        ended
    };
    tokio::select! {
        answer = answering => answer,
        _ = driving => Err("the connection ended".to_owned()),
    }
}

async fn read(mut body: Incoming) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame.map_err(|error| error.to_string())?.into_data() {
            if bytes.len() + data.len() > ANSWER_BYTES_MAX {
                return Err(format!("an answer over {ANSWER_BYTES_MAX} bytes"));
            }
            bytes.extend_from_slice(&data);
        }
    }
    Ok(bytes)
}
