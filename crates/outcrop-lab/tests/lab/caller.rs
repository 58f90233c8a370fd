//! A caller of the simulated Bedrock that signs with the AWS crate.

use std::{net::SocketAddr, time::SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SigningSettings, sign},
    sign::v4,
};
use aws_smithy_runtime_api::client::identity::Identity;
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use outcrop_lab::{
    Lab, LabConfig,
    bedrock::{ACCESS_KEY_ID, SECRET_ACCESS_KEY},
    billing::Record,
};
use serde_json::{Value, json};

use crate::wire::{Heard, Talk};

pub(crate) const SONNET: &str = "eu.anthropic.claude-sonnet-4-5-20250929-v1%3A0";
pub(crate) const NOVA: &str = "amazon.nova-lite-v1%3A0";

pub(crate) async fn start() -> (Lab, SocketAddr) {
    let lab = Lab::start(LabConfig::ephemeral()).await.unwrap();
    let address = lab.address("fra").unwrap();
    (lab, address)
}

/// A Converse body with one text.
pub(crate) fn says(text: &str) -> Value {
    json!({"messages": [{"role": "user", "content": [{"text": text}]}]})
}

/// The headers of a signed request.
pub(crate) fn signed(address: SocketAddr, path: &str, body: &str, region: &str) -> Vec<(String, String)> {
    let identity: Identity =
        Credentials::new(ACCESS_KEY_ID, SECRET_ACCESS_KEY, Some("token/+=".to_owned()), None, "test").into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name("bedrock")
        .time(SystemTime::now())
        .settings(SigningSettings::default())
        .build()
        .unwrap()
        .into();
    let host = address.to_string();
    let own = [("host", host.as_str()), ("content-type", "application/json")];
    let request = SignableRequest::new(
        "POST",
        format!("http://{host}{path}"),
        own.into_iter(),
        SignableBody::Bytes(body.as_bytes()),
    );
    let (instructions, _) = sign(request.unwrap(), &params).unwrap().into_parts();
    let added = instructions.headers().map(|(name, value)| (name.to_owned(), value.to_owned()));
    own.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).chain(added).collect()
}

/// Opens a signed call of an operation.
pub(crate) async fn begin(address: SocketAddr, model: &str, operation: &str, body: &Value) -> Talk {
    let path = format!("/model/{model}/{operation}");
    let body = body.to_string();
    Talk::begin(address, &path, &signed(address, &path, &body, "eu-central-1"), &body).await.unwrap()
}

/// Makes a signed call and hears it out.
pub(crate) async fn call(address: SocketAddr, model: &str, operation: &str, body: &Value) -> Heard {
    begin(address, model, operation, body).await.finish().await
}

pub(crate) async fn converse(address: SocketAddr, text: &str) -> Heard {
    call(address, SONNET, "converse", &says(text)).await
}

pub(crate) async fn stream(address: SocketAddr, text: &str) -> Heard {
    call(address, SONNET, "converse-stream", &says(text)).await
}

/// The billing records of `fra` once there are so many.
pub(crate) async fn records(lab: &Lab, count: u64) -> Vec<Record> {
    let billing = lab.target("fra").unwrap().billing();
    billing.reached(count).await;
    billing.records()
}

/// A stream over HTTP/2: its bytes, and whether it ended as HTTP says.
pub(crate) async fn http2_stream(address: SocketAddr, text: &str) -> (Vec<u8>, bool) {
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let path = format!("/model/{SONNET}/converse-stream");
    let body = says(text).to_string();
    let mut request = Request::post(format!("http://{address}{path}"));
    for (name, value) in signed(address, &path, &body, "eu-central-1") {
        if name != "host" {
            request = request.header(name, value);
        }
    }
    let mut answer =
        sender.send_request(request.body(Full::new(Bytes::from(body))).unwrap()).await.unwrap().into_body();
    let mut bytes = Vec::new();
    while let Some(frame) = answer.frame().await {
        match frame {
            Ok(frame) => bytes.extend_from_slice(&frame.into_data().unwrap_or_default()),
            Err(_) => return (bytes, false),
        }
    }
    (bytes, true)
}
