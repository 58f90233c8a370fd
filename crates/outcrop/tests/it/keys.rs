//! Keys while the gateway runs: made, used, signed with, revoked, over the operator's API and by command.

use std::{path::Path, time::SystemTime};

use assert_cmd::Command;
use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SigningParams, SigningSettings, sign},
    sign::v4,
};
use http::Method;
use serde_json::{Value, json};

use crate::{
    api::Api,
    auth::{BOSS, EYE, locked, locked_with},
    client::{self, Answer},
    house::{House, eventually, within},
};

async fn make(house: &House, wanted: &Value) -> Value {
    let answer = house.admin_as(BOSS, Method::POST, "/admin/v1/keys", &wanted.to_string()).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    answer.json()
}

/// Waits until the key is answered so.
async fn becomes(house: &House, key: &str, status: u16) {
    eventually("the key's new state", async || {
        let answer = Api::OpenAi.ask(house, "on-fra", "hi", false, &[("x-api-key", key)]).await;
        (answer.status == status).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_key_opens_the_gateway_until_it_is_revoked() {
    let house = locked().await;
    let made = make(&house, &json!({"name": "ci", "team": "blue", "models": ["on-fra"]})).await;
    let (key, prefix) = (made["key"].as_str().unwrap(), made["prefix"].as_str().unwrap());
    assert_eq!((&made["state"], &made["created_by"]), (&json!("active"), &json!("boss")));
    assert_eq!(made["kept"], false, "this store forgets");
    becomes(&house, key, 200).await;
    let answer = Api::OpenAi.ask(&house, "on-oai", "hi", false, &[("x-api-key", key)]).await;
    assert_eq!(answer.status, 403, "{answer:?}");
    let list = house.admin("/admin/v1/keys").await;
    let secret = key.rsplit('_').next().unwrap();
    assert!(list.text().contains(prefix) && !list.text().contains(secret) && !list.text().contains("hash"));
    let path = format!("/admin/v1/keys/{prefix}");
    assert_eq!(house.admin_as(EYE, Method::DELETE, &path, "").await.status, 403);
    assert_eq!(house.admin_as(BOSS, Method::DELETE, &path, "").await.json()["state"], "revoked");
    becomes(&house, key, 401).await;
}

#[tokio::test]
async fn the_operators_api_asks_for_a_key_with_the_role() {
    let house = locked().await;
    let client = make(&house, &json!({"name": "ci"})).await;
    let operator = make(&house, &json!({"name": "op", "role": "operator"})).await;
    let text = |made: &Value| made["key"].as_str().unwrap().to_owned();
    becomes(&house, &text(&client), 200).await;
    let (client, operator) = (text(&client), text(&operator));
    let wanted = r#"{"name":"x"}"#;
    for (key, read, write) in
        [("", 401, 401), ("oc_no_key", 401, 401), (&client, 403, 403), (EYE, 200, 403), (&operator, 200, 403)]
    {
        assert_eq!(house.admin_as(key, Method::GET, "/admin/v1/paths", "").await.status, read, "{key}");
        assert_eq!(house.admin_as(key, Method::POST, "/admin/v1/keys", wanted).await.status, write, "{key}");
    }
    assert_eq!(house.admin_as("", Method::GET, "/readyz", "").await.status, 200);
    for (body, status) in [(r#"{"name":""}"#, 400), (r#"{"name":"x","rol":"admin"}"#, 400), ("{", 400)] {
        assert_eq!(house.admin_as(BOSS, Method::POST, "/admin/v1/keys", body).await.status, status, "{body}");
    }
}

#[tokio::test]
async fn an_open_gateway_makes_no_keys() {
    let house = House::start().await;
    let answer = house.admin_as("", Method::POST, "/admin/v1/keys", r#"{"name":"x"}"#).await;
    assert_eq!(answer.status, 409, "{answer:?}");
}

/// Sends a request that is signed with a pair; `sent` is the body that goes out in the end.
async fn send_signed(house: &House, pair: (&str, &str), signed: &str, sent: &str) -> Answer {
    let path = "/model/on-fra/converse";
    let host = house.data().to_string();
    let identity = aws_credential_types::Credentials::new(pair.0, pair.1, None, None, "test").into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region("eu-central-1")
        .name("bedrock")
        .time(SystemTime::now())
        .settings(SigningSettings::default())
        .build()
        .unwrap();
    let headers = [("host", host.as_str()), ("content-type", "application/json")];
    let body = SignableBody::Bytes(signed.as_bytes());
    let uri = format!("http://{host}{path}");
    let signable = SignableRequest::new("POST", uri, headers.into_iter(), body).unwrap();
    let (made, _) = sign(signable, &SigningParams::V4(params)).unwrap().into_parts();
    let made = made.into_parts().0;
    let mut all = headers.to_vec();
    all.extend(made.iter().map(|header| (header.name(), header.value())));
    within(path, client::send(house.data(), Method::POST, path, &all, sent.to_owned())).await.unwrap()
}

#[tokio::test]
async fn a_signed_request_is_believed_when_its_signature_fits() {
    let house = locked().await;
    let made = make(&house, &json!({"name": "signer", "aws": true})).await;
    let key = made["key"].as_str().unwrap();
    let (id, secret) = (made["access_key_id"].as_str().unwrap(), made["secret_access_key"].as_str().unwrap());
    becomes(&house, key, 200).await;
    let before = house.seen("fra").len();
    let body = json!({"messages": [{"role": "user", "content": [{"text": "hi"}]}]}).to_string();
    let answer = send_signed(&house, (id, secret), &body, &body).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(house.decision(&answer).await["caller"], "signer");
    let seen = house.seen("fra");
    assert_eq!(seen.len(), before + 1);
    assert!(!format!("{seen:?}").contains(id), "the caller's pair goes no further");
    for (pair, sent, kind) in [
        ((id, secret), body.replace("hi", "ho"), "InvalidSignatureException"),
        ((id, "0000000000000000000000000000000000000000"), body.clone(), "InvalidSignatureException"),
        (("AKIAOCAAAAAAAAAAAAAA", secret), body.clone(), "UnrecognizedClientException"),
    ] {
        let answer = send_signed(&house, pair, &body, &sent).await;
        let told = (answer.status, answer.header("x-amzn-errortype"), answer.header("x-outcrop-code"));
        assert_eq!(told, (403, kind, "unauthenticated"), "{answer:?}");
        assert_eq!(house.decision(&answer).await["caller"], "", "nobody is named");
        assert_eq!(house.seen("fra").len(), before + 1, "nothing went on");
    }
    house.admin_as(BOSS, Method::DELETE, &format!("/admin/v1/keys/{id}"), "").await;
    becomes(&house, key, 401).await;
    let sent = house.seen("fra").len();
    let answer = send_signed(&house, (id, secret), &body, &body).await;
    assert_eq!(answer.header("x-amzn-errortype"), "UnrecognizedClientException", "{answer:?}");
    assert_eq!(house.seen("fra").len(), sent, "nothing went on");
}

/// Runs `outcrop key …` against a socket; standard output and the exit code.
async fn outcrop_key(socket: &Path, words: &[&str]) -> (String, i32) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_outcrop"));
    command.env_clear().env("NO_COLOR", "1").arg("key").args(words).arg("--socket").arg(socket);
    let running = tokio::task::spawn_blocking(move || command.output().unwrap());
    let output = within("outcrop key", running).await.unwrap();
    (String::from_utf8(output.stdout).unwrap(), output.status.code().unwrap())
}

#[tokio::test]
async fn the_commands_make_list_and_revoke_keys() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("outcrop.sock");
    let house = locked_with(format!("operator = {socket:?}")).await;
    let new = ["new", "--name", "ci", "--models", "on-fra,any", "--expires", "90d", "--aws"];
    let (printed, code) = outcrop_key(&socket, &new).await;
    let lines: Vec<&str> = printed.lines().collect();
    assert_eq!(code, 0, "{printed}");
    assert!(lines[1].starts_with("AWS_ACCESS_KEY_ID=AKIAOC"), "{printed}");
    assert!(lines[2].starts_with("AWS_SECRET_ACCESS_KEY=") && lines.len() == 3, "{printed}");
    becomes(&house, lines[0], 200).await;
    let (list, code) = outcrop_key(&socket, &["list"]).await;
    assert!(code == 0 && list.contains("on-fra, any") && list.contains("active"), "{list}");
    let secret = lines[0].rsplit('_').next().unwrap();
    let (as_json, _) = outcrop_key(&socket, &["list", "--json"]).await;
    assert!(!list.contains(secret) && !as_json.contains(secret) && !as_json.contains("hash"));
    assert_eq!(serde_json::from_str::<Value>(&as_json).unwrap()[0]["created_by"], "operator");
    let (revoked, code) = outcrop_key(&socket, &["revoke", "ci"]).await;
    assert!(code == 0 && revoked.starts_with("revoked oc_"), "{revoked}");
    becomes(&house, lines[0], 401).await;
    assert_eq!(outcrop_key(&socket, &["revoke", "ci"]).await.1, 64);
    assert_eq!(outcrop_key(&socket, &["new", "--name", "a b"]).await.1, 64);
    assert_eq!(outcrop_key(&folder.path().join("none"), &["list"]).await.1, 69);
}
