//! Everything a caller sends is bounded, and what is too much is refused in its dialect.

use std::io::Write as _;

use http::Method;
use serde_json::json;

use crate::{
    api::Api,
    client,
    house::{House, within},
};

const TOO_LARGE: [(Api, &str); 3] = [
    (Api::OpenAi, "invalid_request_error"),
    (Api::Anthropic, "request_too_large"),
    (Api::Converse, "ValidationException"),
];

/// Bytes that compress to almost nothing.
fn bomb(bytes: usize) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(b"{\"model\": \"on-fra\", \"messages\": \"").unwrap();
    encoder.write_all(&vec![b' '; bytes]).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused() {
    let house = House::limited("body_bytes_max = 10000").await;
    for (api, kind) in TOO_LARGE {
        let answer = api.ask(&house, "on-fra", &"x".repeat(10_000), false, &[]).await;
        let (told, code) = api.error(&answer);
        assert_eq!((answer.status, told.as_str(), code.as_str()), (413, kind, "too_large"), "{answer:?}");
        assert!(answer.text().contains("body_bytes_max"), "{answer:?}");
        let answer = api.ask(&house, "on-fra", &"x".repeat(9_000), false, &[]).await;
        assert_eq!(answer.status, 200);
    }
}

#[tokio::test]
async fn a_body_that_does_not_announce_its_size_is_cut_at_the_limit() {
    let house = House::limited("body_bytes_max = 10000").await;
    let mut request = "POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\
                       content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
        .to_owned();
    for _ in 0..20 {
        request.push_str(&format!("3e8\r\n{}\r\n", " ".repeat(1000)));
    }
    let heard = within("the refusal", client::say(house.data(), request.as_bytes())).await;
    assert!(heard.starts_with("HTTP/1.1 413 "), "{heard}");
}

#[tokio::test]
async fn a_compression_bomb_is_cut_at_the_limit() {
    let house = House::start().await;
    let bomb = bomb(200_000_000);
    assert!(bomb.len() < 400_000);
    for (api, kind) in TOO_LARGE {
        let headers = [("content-encoding", "gzip")];
        let answer = house.post_bytes(&api.route("on-fra", false), &headers, bomb.clone()).await;
        assert_eq!((answer.status, api.error(&answer).0.as_str()), (413, kind), "{answer:?}");
    }
}

#[tokio::test]
async fn compressed_bodies_are_read_and_damaged_ones_refused() {
    let house = House::start().await;
    let body = Api::OpenAi.body("on-fra", "hi", false).to_string();
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(body.as_bytes()).unwrap();
    let packed = encoder.finish().unwrap();
    let route = "/v1/chat/completions";
    let gzip = [("content-encoding", "gzip")];
    assert_eq!(house.post_bytes(route, &gzip, packed.clone()).await.status, 200);
    for (encoding, bytes) in [("gzip", packed[..packed.len() / 2].to_vec()), ("br", packed.clone())] {
        let answer = house.post_bytes(route, &[("content-encoding", encoding)], bytes).await;
        assert_eq!((answer.status, Api::OpenAi.error(&answer).1.as_str()), (400, "invalid_request"));
    }
}

#[tokio::test]
async fn a_body_that_stops_arriving_is_given_up() {
    let house = House::set_up(crate::house::Setup {
        adjust: |checked| checked.limits.body_idle_max = std::time::Duration::from_millis(200),
        ..Default::default()
    })
    .await;
    let request = "POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\
                   content-type: application/json\r\ncontent-length: 100\r\n\r\n{\"model\"";
    let heard = within("the refusal", client::say(house.data(), request.as_bytes())).await;
    assert!(heard.starts_with("HTTP/1.1 400 ") && heard.contains("invalid_request"), "{heard}");
}

#[tokio::test]
async fn json_that_is_deep_wide_or_ambiguous_is_refused() {
    let house = House::start().await;
    let deep = format!("{{\"model\":\"on-fra\",\"messages\":{}{}}}", "[".repeat(100), "]".repeat(100));
    let wide = format!("{{\"model\":\"on-fra\",\"messages\":[{}0]}}", "0,".repeat(100_001));
    let twice =
        "{\"model\":\"on-fra\",\"model\":\"on-dub\",\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}";
    let inside =
        "{\"model\":\"on-fra\",\"messages\":[{\"role\":\"user\",\"role\":\"system\",\"content\":\"x\"}]}";
    for body in
        [deep.as_str(), wide.as_str(), twice, inside, "[]", "null", "", "{} {}", "{\"model\":\"\u{0}\"}"]
    {
        let answer = house.post_bytes("/v1/chat/completions", &[], body.to_owned()).await;
        let case = body.chars().take(60).collect::<String>();
        assert_eq!(
            (answer.status, Api::OpenAi.error(&answer).1.as_str()),
            (400, "invalid_request"),
            "{case}"
        );
    }
    assert!(house.seen("fra").is_empty() && house.seen("dub").is_empty());
}

#[tokio::test]
async fn a_head_over_the_limit_is_refused() {
    let house = House::start().await;
    let long =
        format!("GET /v1/models HTTP/1.1\r\nhost: 127.0.0.1\r\nx-long: {}\r\n\r\n", "x".repeat(20_000));
    let many: String = (0..80).map(|n| format!("x-{n}: 1\r\n")).collect();
    let many = format!("GET /v1/models HTTP/1.1\r\nhost: 127.0.0.1\r\n{many}\r\n");
    for request in [long, many] {
        let heard = within("the refusal", client::say(house.data(), request.as_bytes())).await;
        assert!(heard.starts_with("HTTP/1.1 431 "), "{heard}");
    }
    let mut sender = client::connect_h2(house.data()).await;
    let long = "x".repeat(20_000);
    let request = client::post_h2(house.data(), "/v1/models", &[("x-long", &long)], &json!({}));
    let answer = within("the refusal", sender.send_request(request)).await;
    assert!(answer.is_err() || answer.unwrap().status() == 431);
}

#[tokio::test]
async fn at_most_eight_answers_are_asked_for() {
    let house = House::start().await;
    let mut body = Api::OpenAi.body("on-oai", "hi", false);
    body["n"] = 9.into();
    let answer = house.post("/v1/chat/completions", &[], &body).await;
    assert_eq!(
        (answer.status, Api::OpenAi.error(&answer).1.as_str()),
        (400, "invalid_request"),
        "{answer:?}"
    );
    assert_eq!(house.seen("oai").len(), 0);
}

#[tokio::test]
async fn what_is_not_served_is_told_with_the_way_out() {
    let house = House::start().await;
    for path in [
        "/",
        "/v1",
        "/v1/chat/completions/",
        "/v1/completions",
        "/model/a",
        "/model/a/b/c",
        "/admin/v1/paths",
        "/metrics",
    ] {
        let answer = house.post(path, &[], &json!({})).await;
        assert_eq!(answer.status, 404, "{path}: {answer:?}");
        assert!(answer.text().contains("/v1/chat/completions"), "{path}: {answer:?}");
    }
    let answer = house.post("/v1/responses", &[], &json!({})).await;
    assert!(answer.status >= 400 && answer.text().contains("/v1/chat/completions"), "{answer:?}");
    for (method, path) in
        [(Method::GET, "/v1/chat/completions"), (Method::POST, "/v1/models"), (Method::PUT, "/v1/messages")]
    {
        let answer = within(path, client::send(house.data(), method, path, &[], "")).await.unwrap();
        assert!((400..500).contains(&answer.status) && answer.text().contains("only"), "{path}: {answer:?}");
    }
}
