//! Signatures: the vectors of AWS, requests signed by the library that SDKs sign with, and what somebody
//! may do to them on the way.

use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningParams, SigningSettings, sign};
use aws_sigv4::sign::v4;
use http::{HeaderName, HeaderValue, Request};
use outcrop_store::keys::{Administrator, KeyDesk, Minted, Pepper, Wanted};
use secrecy::ExposeSecret;

use super::super::signature::{Signature, parse};
use super::*;

const VECTORS: &str = include_str!("vectors.txt");
const VECTOR_SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

/// A request as the vectors write it, and its body.
fn vector(text: &str) -> (Parts, Vec<u8>) {
    let (head, body) = text.split_once("\n\n").unwrap_or((text, ""));
    let mut lines = head.lines();
    let mut first = lines.next().unwrap().split(' ');
    let mut request = Request::builder().method(first.next().unwrap()).uri(first.next().unwrap());
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        request = request.header(name, value);
    }
    (request.body(()).unwrap().into_parts().0, body.trim_end_matches('\n').into())
}

#[test]
fn the_vectors_of_aws() {
    let mut count = 0;
    for text in VECTORS.split("\n== ").skip(1) {
        let (name, text) = text.split_once('\n').unwrap();
        let (mut head, body) = vector(text.trim_end_matches('\n'));
        let authorization = head.headers[AUTHORIZATION].to_str().unwrap().to_owned();
        let claim = parse(&head, &authorization).unwrap();
        let signature = Signature { claim, secret: VECTOR_SECRET.to_owned().into() };
        assert_eq!(signature.verify(&head, &body), Ok(()), "{name}");
        head.headers.insert("host", HeaderValue::from_static("evil.example"));
        assert!(signature.verify(&head, &body).is_err(), "{name}");
        count += 1;
    }
    assert_eq!(count, 15);
}

/// A ring that knows one pair.
async fn minted(expires: Option<&str>) -> (Auth, Minted) {
    let pepper = Pepper::new(b"pepper");
    let register = outcrop_store::Register::in_memory();
    let desk = KeyDesk::new(register, pepper.clone());
    let wanted =
        Wanted { aws: true, expires: expires.map(str::to_owned), ..Wanted::named("signer", Role::Client) };
    let made = "2026-11-24T11:00:00Z".parse().unwrap();
    let minted = desk.mint(&Administrator::of_the_machine("test"), &wanted, made).await.unwrap();
    let stored = StoredKeys::default();
    stored.replace(KeyTable::of(std::slice::from_ref(&minted.record)));
    let mut ring = Keyring::new(Some(pepper));
    ring.complete(None, &stored);
    (Auth::Keys(Box::new(ring)), minted)
}

const BODY: &[u8] = br#"{"messages":[]}"#;
const PATH: &str =
    "/model/arn%3Aaws%3Abedrock%3Aeu-central-1%3A1%3Ainference-profile%2Feu.anthropic.claude-3%3A0/converse";

/// How a request is signed.
struct Way<'a> {
    path: &'a str,
    service: &'a str,
    region: &'a str,
    token: Option<&'a str>,
    headers: Vec<(&'a str, &'a str)>,
    body: SignableBody<'a>,
}

impl Default for Way<'_> {
    fn default() -> Self {
        Self {
            path: PATH,
            service: "bedrock",
            region: "eu-central-1",
            token: None,
            headers: vec![("host", "gateway:8080"), ("content-type", "application/json")],
            body: SignableBody::Bytes(BODY),
        }
    }
}

/// A request signed as an SDK does, and one header more that is not signed.
fn signed(minted: &Minted, way: Way<'_>) -> Parts {
    let id = minted.record.access_key_id.clone().unwrap();
    let secret = minted.pair_secret.as_ref().unwrap().expose_secret();
    let token = way.token.map(str::to_owned);
    let identity = aws_credential_types::Credentials::new(id, secret, token, None, "test").into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(way.region)
        .name(way.service)
        .time(std::time::UNIX_EPOCH + NOW)
        .settings(SigningSettings::default())
        .build()
        .unwrap();
    let uri = format!("http://gateway:8080{}", way.path);
    let signable = SignableRequest::new("POST", &uri, way.headers.iter().copied(), way.body).unwrap();
    let (made, _) = sign(signable, &SigningParams::V4(params)).unwrap().into_parts();
    let mut request = Request::builder().method("POST").uri(way.path).header("x-extra", "unsigned");
    for (name, value) in way.headers {
        request = request.header(name, value);
    }
    let (mut head, ()) = request.body(()).unwrap().into_parts();
    for header in made.into_parts().0 {
        let name = HeaderName::from_static(header.name());
        head.headers.insert(name, HeaderValue::from_str(header.value()).unwrap());
    }
    head
}

/// Whether the request is believed; else why not.
fn judge(auth: &Auth, head: &Parts, body: &[u8], now: Duration) -> Result<String, Reason> {
    let (caller, proof) = authenticate(auth, head, now).map_err(|failure| failure.reason)?;
    assert_eq!(proof.vouches_for(&caller), "", "nobody is named before the proof");
    assert!(proof.without_body().is_err());
    proof.check(head, body).map_err(|failure| failure.reason)?;
    Ok(caller.name.to_string())
}

#[tokio::test]
async fn a_request_signed_with_a_minted_pair_is_believed() {
    let (auth, minted) = minted(None).await;
    let content =
        ("x-amz-content-sha256", "5e2bf57d3f40c4b6df69daf1936cb766f832374b4fc0259a7cbff06e2f70f269");
    for (what, way) in [
        ("an ARN", Way::default()),
        ("a colon as it is", Way { path: "/model/eu.amazon.nova-lite-v1:0/converse", ..Way::default() }),
        ("a colon encoded", Way { path: "/model/eu.amazon.nova-lite-v1%3A0/invoke", ..Way::default() }),
        ("a query", Way { path: "/model/sonnet/converse?b=2&a=%201&a=", ..Way::default() }),
        ("another region", Way { region: "us-gov-west-1", ..Way::default() }),
        ("spaces", Way { headers: vec![("host", "h"), ("x-a", "  a   b "), ("x-a", "c")], ..Way::default() }),
        (
            "no hash of the body",
            Way {
                headers: vec![("host", "h"), ("x-amz-content-sha256", "UNSIGNED-PAYLOAD")],
                body: SignableBody::UnsignedPayload,
                ..Way::default()
            },
        ),
    ] {
        let head = signed(&minted, way);
        assert_eq!(judge(&auth, &head, BODY, NOW), Ok("signer".to_owned()), "{what}");
    }
    let head = signed(&minted, Way { headers: vec![("host", "h"), content], ..Way::default() });
    assert_eq!(judge(&auth, &head, BODY, NOW), Err(Reason::WrongSignature), "the hash of another body");
}

#[tokio::test]
async fn over_http2_the_authority_is_the_host() {
    let (auth, minted) = minted(None).await;
    let mut head = signed(&minted, Way::default());
    head.headers.remove("host");
    assert_eq!(judge(&auth, &head, BODY, NOW), Err(Reason::WrongSignature));
    head.uri = format!("http://gateway:8080{PATH}").parse().unwrap();
    assert_eq!(judge(&auth, &head, BODY, NOW), Ok("signer".to_owned()));
}

/// As `@aws-sdk/client-bedrock-runtime` 3.1164 signs: `:authority` in the place of `host`.
#[tokio::test]
async fn over_http2_the_authority_may_be_signed_by_its_own_name() {
    let (auth, minted) = minted(None).await;
    let mut head = signed(&minted, Way::default());
    head.headers.remove("host");
    head.uri = format!("http://gateway:8080{PATH}").parse().unwrap();
    let authorization = head.headers[AUTHORIZATION].to_str().unwrap();
    let renamed = authorization.replace("content-type;host;x-amz-date", ":authority;content-type;x-amz-date");
    let (start, _) = renamed.split_once("Signature=").unwrap();
    let claim = parse(&head, &format!("{start}Signature=0")).unwrap();
    let secret = minted.pair_secret.clone().unwrap();
    let signature = Signature { claim, secret: secret.expose_secret().to_owned().into() };
    let made = format!("{start}Signature={}", signature.expected(&head, BODY).unwrap());
    head.headers.insert(AUTHORIZATION, made.parse().unwrap());
    assert_eq!(judge(&auth, &head, BODY, NOW), Ok("signer".to_owned()));
    head.uri = format!("http://elsewhere:8080{PATH}").parse().unwrap();
    assert_eq!(judge(&auth, &head, BODY, NOW), Err(Reason::WrongSignature));
}

#[tokio::test]
async fn what_is_changed_on_the_way_is_noticed() {
    let (auth, minted) = minted(None).await;
    let good = signed(&minted, Way::default());
    let set = |name: &'static str, value: &str| {
        let mut head = good.clone();
        head.headers.insert(name, HeaderValue::from_str(value).unwrap());
        head
    };
    let authorization = good.headers[AUTHORIZATION].to_str().unwrap();
    let swap = |from: &str, to: &str| {
        assert!(authorization.contains(from), "{from}");
        set("authorization", &authorization.replacen(from, to, 1))
    };
    let moved = |path: &str| {
        let mut head = good.clone();
        head.uri = path.parse().unwrap();
        head
    };
    let twice = {
        let mut head = good.clone();
        head.headers.append("content-type", HeaderValue::from_static("text/plain"));
        head
    };
    assert_eq!(judge(&auth, &good, br#"{"messages":[1]}"#, NOW), Err(Reason::WrongSignature), "body");
    for (what, head, reason) in [
        ("model", moved(&PATH.replace("claude-3", "claude-4")), Reason::WrongSignature),
        ("operation", moved(&PATH.replace("converse", "invoke")), Reason::WrongSignature),
        ("encoding of the path", moved(&PATH.replace("%3A", ":")), Reason::WrongSignature),
        ("query", moved(&format!("{PATH}?a=1")), Reason::WrongSignature),
        ("signed header", set("content-type", "text/plain"), Reason::WrongSignature),
        ("signed header, once more", twice, Reason::WrongSignature),
        ("host", set("host", "elsewhere"), Reason::WrongSignature),
        ("time", set("x-amz-date", "20261124T120001Z"), Reason::WrongSignature),
        ("day", set("x-amz-date", "20261123T120000Z"), Reason::MalformedSignature),
        ("region", swap("eu-central-1", "eu-central-2"), Reason::WrongSignature),
        ("no region", swap("eu-central-1", "EU"), Reason::MalformedSignature),
        ("service", swap("/bedrock/", "/s3/"), Reason::WrongSignature),
        ("end of the scope", swap("aws4_request", "aws5_request"), Reason::MalformedSignature),
        ("key", swap("AKIAOC", "AKIAOD"), Reason::UnknownPair),
        ("fewer headers", swap("content-type;host", "host"), Reason::WrongSignature),
        ("host unsigned", swap("host;", ""), Reason::MalformedSignature),
        ("date unsigned", swap(";x-amz-date", ""), Reason::MalformedSignature),
        ("order of headers", swap("content-type;host", "host;content-type"), Reason::MalformedSignature),
        ("no signature", swap(", Signature=", ", "), Reason::MalformedSignature),
        ("signature", swap("Signature=", "Signature=0"), Reason::WrongSignature),
        ("algorithm", swap("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256"), Reason::MalformedSignature),
        ("token", set("x-amz-security-token", "abc"), Reason::UnknownPair),
    ] {
        assert_eq!(judge(&auth, &head, BODY, NOW), Err(reason), "{what}");
    }
}

#[tokio::test]
async fn a_signature_is_good_for_five_minutes() {
    let (auth, minted) = minted(None).await;
    let head = signed(&minted, Way::default());
    let before = |s| NOW.checked_sub(Duration::from_secs(s)).unwrap();
    for (now, good) in [
        (NOW + Duration::from_mins(5), true),
        (NOW + Duration::from_secs(301), false),
        (before(300), true),
        (before(301), false),
    ] {
        let expected = if good { Ok("signer".to_owned()) } else { Err(Reason::WrongSignature) };
        assert_eq!(judge(&auth, &head, BODY, now), expected, "{now:?}");
    }
}

#[tokio::test]
async fn the_wrong_secret_another_pepper_and_an_ended_key_open_nothing() {
    let (auth, known) = minted(None).await;
    let forged = Minted { pair_secret: Some("0".repeat(40).into()), ..known };
    let head = signed(&forged, Way::default());
    assert_eq!(judge(&auth, &head, BODY, NOW), Err(Reason::WrongSignature));
    let (auth, ended) = minted(Some("2026-11-24T11:59:59Z")).await;
    let head = signed(&ended, Way::default());
    assert_eq!(judge(&auth, &head, BODY, NOW), Err(Reason::ExpiredPair));
}

#[tokio::test]
async fn only_the_bedrock_apis_take_signatures_and_only_in_the_header() {
    let (auth, minted) = minted(None).await;
    let head = signed(&minted, Way { path: "/v1/chat/completions", ..Way::default() });
    assert_eq!(judge(&auth, &head, BODY, NOW), Err(Reason::Policy));
    let mut presigned = signed(&minted, Way::default());
    presigned.headers.remove(AUTHORIZATION);
    presigned.uri = format!("{PATH}?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature=00").parse().unwrap();
    let refused = authenticate(&auth, &presigned, NOW).map(|_| ()).unwrap_err();
    assert!(refused.message.contains("Presigned"), "{}", refused.message);
    let streaming = Way {
        headers: vec![("host", "h"), ("x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD")],
        body: SignableBody::Precomputed("STREAMING-AWS4-HMAC-SHA256-PAYLOAD".to_owned()),
        ..Way::default()
    };
    assert_eq!(judge(&auth, &signed(&minted, streaming), BODY, NOW), Err(Reason::MalformedSignature));
}
