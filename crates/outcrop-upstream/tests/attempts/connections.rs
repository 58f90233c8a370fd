//! Connections that cannot or must not be made: all proof that nothing was sent.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use outcrop_core::{Class, Failure, Reason};
use outcrop_upstream::{BuildError, Connect, HttpSpec, KindSpec, PathSpec, Upstreams};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls_pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;

use crate::fake::{Fake, Reaction, answer};
use crate::world::{World, local, openai_chat};

const OK: &[u8] = br#"{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1}}"#;

fn world(connect: Connect, base: &str) -> World {
    let base = base.parse().unwrap();
    World::new(connect, KindSpec::OpenAi(HttpSpec { base, key: None }))
}

async fn unsent(connect: Connect, base: &str, reason: Reason) -> Failure {
    let failure = world(connect, base).whole(&openai_chat(false), "m").await.unwrap_err();
    assert_eq!((failure.class, failure.reason), (Class::NotSent, reason), "{}", failure.detail);
    failure
}

async fn closed_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

#[tokio::test]
async fn a_closed_port_is_refused() {
    let address = closed_port().await;
    let failure = unsent(local(), &format!("http://{address}/v1"), Reason::Connect).await;
    assert!(!failure.message.contains("127.0.0.1"), "no addresses for the caller");
    assert!(failure.detail.contains("127.0.0.1"), "but for the operator: {}", failure.detail);
}

#[tokio::test]
async fn a_name_that_cannot_exist_is_a_dns_failure() {
    // A label above 63 characters is refused by the resolver without asking a server.
    let name = "a".repeat(64);
    unsent(local(), &format!("http://{name}.test/v1"), Reason::Dns).await;
}

#[tokio::test]
async fn a_port_that_does_not_answer_is_given_up_at_the_limit() {
    // The kernel drops handshakes to a listener whose queue is full.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(0).unwrap();
    let address = listener.local_addr().unwrap();
    let mut waiting = Vec::new();
    while let Ok(Ok(stream)) =
        tokio::time::timeout(Duration::from_millis(300), TcpStream::connect(address)).await
    {
        waiting.push(stream);
    }
    let connect = Connect { timeout: Duration::from_millis(200), ..local() };
    let failure = unsent(connect, &format!("http://{address}/v1"), Reason::Connect).await;
    assert!(failure.detail.contains("no connection within"), "{}", failure.detail);
}

#[tokio::test]
async fn an_idle_connection_is_closed_before_it_can_die_unseen() {
    let mut fake =
        Fake::script([Reaction::Hang(answer(200, &[], OK)), Reaction::Keep(answer(200, &[], OK))]).await;
    let base = fake.url("/v1").to_string();
    let short = Connect { idle_max: Duration::from_millis(100), ..local() };
    let world = world(short, &base);
    world.whole(&openai_chat(false), "m").await.unwrap();
    // It waits in the pool, so nothing but its age makes the gateway leave; the default is a minute.
    let gone = tokio::time::timeout(Duration::from_secs(30), fake.peer_gone()).await;
    assert_eq!(gone.expect("the bound of the path holds"), 0);
    world.whole(&openai_chat(false), "m").await.unwrap();
    assert_eq!(fake.connections(), 2);
}

#[tokio::test]
async fn addresses_that_are_not_public_are_refused_before_a_packet_is_sent() {
    let fake = Fake::script([]).await;
    let port = fake.address.port();
    for host in ["127.0.0.1", "[::ffff:127.0.0.1]", "localhost", "[::1]", "0.0.0.0"] {
        let base = format!("http://{host}:{port}/v1");
        let failure = unsent(Connect::default(), &base, Reason::Connect).await;
        assert!(failure.detail.contains("not a public address"), "{host}: {}", failure.detail);
    }
    for host in ["169.254.169.254", "10.0.0.1", "[fd00:ec2::254]", "[fe80::1]", "[::ffff:a9fe:a9fe]"] {
        let failure = unsent(Connect::default(), &format!("http://{host}/"), Reason::Connect).await;
        assert!(failure.detail.contains("not a public address"), "{host}: {}", failure.detail);
    }
    assert_eq!(fake.connections(), 0);
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let other = Fake::script([]).await;
    for status in [301, 302, 303, 307, 308] {
        let location = other.url("/v1/chat/completions");
        let fake =
            Fake::script([Reaction::Keep(answer(status, &[("location", location.as_str())], b""))]).await;
        let world = World::openai(fake.url("/v1"));
        let failure = world.whole(&openai_chat(false), "m").await.unwrap_err();
        assert_eq!(failure.class, Class::NotHere);
    }
    assert_eq!(other.connections(), 0);
}

/// A TLS server for `localhost` that answers one request per connection; gives its certificate.
async fn secure() -> (SocketAddr, String) {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
    let config = tokio_rustls::rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut sink = [0; 16 * 1024];
            if stream.read(&mut sink).await.is_ok() {
                let _ = stream.write_all(&answer(200, &[], OK)).await;
                let _ = stream.shutdown().await;
            }
        }
    });
    (address, cert.pem())
}

#[tokio::test]
async fn a_certificate_is_trusted_by_the_named_authority_only() {
    let (address, authority) = secure().await;
    let base = format!("https://localhost:{}/v1", address.port());
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), authority).unwrap();
    let trusting = Connect { ca_file: Some(file.path().to_owned()), ..local() };
    world(trusting.clone(), &base).whole(&openai_chat(false), "m").await.unwrap();

    let (_, other) = secure().await;
    std::fs::write(file.path(), other).unwrap();
    unsent(trusting.clone(), &base, Reason::Tls).await;
    let by_address = format!("https://127.0.0.1:{}/v1", address.port());
    unsent(trusting, &by_address, Reason::Tls).await;
}

#[tokio::test]
async fn a_plain_server_is_a_tls_failure_and_a_mute_one_runs_into_the_limit() {
    let CertifiedKey { cert, .. } = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), cert.pem()).unwrap();
    let connect =
        Connect { ca_file: Some(file.path().to_owned()), timeout: Duration::from_millis(300), ..local() };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("https://localhost:{}/v1", listener.local_addr().unwrap().port());
    unsent(connect.clone(), &base, Reason::Connect).await;
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    unsent(connect, &base, Reason::Tls).await;
}

#[tokio::test]
async fn bad_specs_are_refused_with_the_name_of_the_path() {
    let tasks = TaskTracker::new();
    let spec = |name: &str, base: &str, connect: Connect| PathSpec {
        name: name.into(),
        region: None,
        connect,
        kind: KindSpec::OpenAi(HttpSpec { base: base.parse().unwrap(), key: None }),
    };
    let twice = [spec("x", "http://a", local()), spec("x", "http://b", local())];
    let error = Upstreams::build(&twice, None, &tasks).unwrap_err();
    assert!(matches!(&error, BuildError::Duplicate { path } if &**path == "x"));
    let missing = Connect { ca_file: Some("/nonexistent/ca.pem".into()), ..local() };
    let error = Upstreams::build(&[spec("y", "https://a", missing)], None, &tasks).unwrap_err();
    assert!(error.to_string().starts_with("path `y`: certificate authorities"), "{error}");
    let error = Upstreams::build(&[spec("z", "ftp://a", local())], None, &tasks).unwrap_err();
    assert!(error.to_string().contains("neither http nor https"), "{error}");
}

#[tokio::test]
async fn unchanged_paths_keep_their_connections_across_a_reload() {
    let fake = Fake::deciding(|_| Reaction::Keep(answer(200, &[], OK))).await;
    let tasks = TaskTracker::new();
    let spec = |name: &str, key: &str| PathSpec {
        name: name.into(),
        region: None,
        connect: local(),
        kind: KindSpec::OpenAi(HttpSpec { base: fake.url("/v1"), key: Some(key.into()) }),
    };
    let mut world = World::openai(fake.url("/v1"));
    world.upstreams = Upstreams::build(&[spec("p", "k")], None, &tasks).unwrap();
    world.whole(&openai_chat(false), "m").await.unwrap();
    let next = Upstreams::build(&[spec("p", "k"), spec("q", "k")], Some(&world.upstreams), &tasks);
    let next = next.unwrap();
    world.upstreams.close_replaced(&next).await;
    world.upstreams = next;
    world.whole(&openai_chat(false), "m").await.unwrap();
    assert_eq!(fake.connections(), 1, "the pool was carried over");
    let changed = Upstreams::build(&[spec("p", "other")], Some(&world.upstreams), &tasks).unwrap();
    world.upstreams = changed;
    world.whole(&openai_chat(false), "m").await.unwrap();
    assert_eq!(fake.connections(), 2);
    assert_eq!(fake.seen()[2].header("authorization"), Some("Bearer other"));
}
