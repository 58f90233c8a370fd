//! The same protocol on both sides: the caller's bytes go out as they came, and the upstream's come back.

use outcrop_lab::requests::sha256_hex;
use serde_json::{Value, json};

use crate::{
    api::{Api, frames},
    house::{House, SONNET, target},
};

/// A request with fields that the gateway has never heard of, in an order and spacing of its own.
fn odd(api: Api) -> String {
    match api {
        Api::Converse => r#"{ "requestMetadata": {"b": "2", "a": "1"},  "messages":[{"content":[{"text":"[[tokens=4]] \u00e4"}],"role":"user"}],
            "inferenceConfig": {"maxTokens": 100}, "x-unheard-of": [1, 2.50, 1e3] }"#,
        _ => r#"{ "max_tokens":100,  "messages":[{"content":"[[tokens=4]] \u00e4","role":"user"}],
            "anthropic_version": "bedrock-2023-05-31", "metadata": {"user_id": "u"} }"#,
    }
    .to_owned()
}

#[tokio::test]
async fn bodies_without_a_model_name_go_out_byte_for_byte() {
    let house = House::start().await;
    for (number, api) in [Api::Converse, Api::Invoke].into_iter().enumerate() {
        let body = odd(api);
        let answer = house.post_bytes(&api.route("on-fra", false), &[], body.clone()).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let seen = &house.seen("fra")[number];
        assert_eq!(seen.body_sha256, sha256_hex(body.as_bytes()), "{api:?}");
        assert!(seen.path.ends_with(&api.route(&SONNET.replace(':', "%3A"), false)), "{}", seen.path);
    }
}

#[tokio::test]
async fn only_the_model_is_rewritten_where_the_body_names_it() {
    let house = House::start().await;
    for (api, path, id) in [(Api::OpenAi, "oai", "gpt-4o-mini"), (Api::Anthropic, "ant", "claude-sonnet-4-5")]
    {
        let of = |model: &str| {
            format!(
                "{{ \"max_tokens\": 100,\"model\" :\"{model}\", \"x_unheard_of\": [1, 2.50, 1e3],\n\
                 \"messages\":[{{\"content\":\"[[tokens=4]] \\u00e4\",\"role\":\"user\"}}] }}"
            )
        };
        let asked = of(&format!("on-{path}"));
        let answer = house.post_bytes(&api.route("", false), api.headers(), asked).await;
        let seen = &house.seen(path)[0];
        assert_eq!(seen.body_sha256, sha256_hex(of(id).as_bytes()), "{api:?}: {answer:?}");
    }
}

#[tokio::test]
async fn frames_come_back_as_the_upstream_made_them() {
    let house = House::start().await;
    let answer = Api::Converse.ask(&house, "on-fra", "[[tokens=4]]", true, &[]).await;
    let padded = frames(&answer).iter().all(|frame| {
        let payload: Value = serde_json::from_slice(frame.payload()).unwrap();
        payload["p"].is_string()
    });
    assert!(padded, "the upstream's padding is still there");
}

#[tokio::test]
async fn usage_is_hidden_from_callers_who_did_not_ask_for_it() {
    let house = House::start().await;
    for path in ["oai", "fra", "ant", "desk"] {
        for asked in [false, true] {
            let mut body = Api::OpenAi.body(&format!("on-{path}"), "[[tokens=4]]", true);
            if asked {
                body["stream_options"] = json!({"include_usage": true});
            }
            let answer = house.post("/v1/chat/completions", &[], &body).await;
            let chunks: Vec<Value> = crate::api::sse(&answer)
                .iter()
                .filter(|(_, data)| data != "[DONE]")
                .map(|(_, data)| serde_json::from_str(data).unwrap())
                .collect();
            let usages: Vec<&Value> = chunks.iter().filter(|c| c["usage"].is_object()).collect();
            assert_eq!(usages.len(), usize::from(asked), "{path}: {chunks:?}");
            assert!(usages.iter().all(|chunk| chunk["usage"]["completion_tokens"] == 4), "{path}");
            assert!(asked || chunks.iter().all(|c| !c["choices"].as_array().unwrap().is_empty()), "{path}");
            let decision = house.decision(&answer).await;
            assert_eq!(decision["outcome"]["usage"]["output"], 4, "{path}: counted all the same");
        }
    }
}

#[tokio::test]
async fn beta_headers_travel_and_ours_do_not() {
    let house = House::start().await;
    let headers = [
        ("anthropic-beta", "context-1m-2025-08-07, something-unheard-of"),
        ("x-outcrop-run", "run-7"),
        ("x-outcrop-user", "somebody"),
        ("forwarded", "for=10.0.0.1"),
        ("x-forwarded-for", "10.0.0.1"),
        ("te", "trailers"),
    ];
    let answer = Api::Anthropic.ask(&house, "on-ant", "hi", false, &headers).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let seen = house.seen("ant").remove(0).headers;
    assert_eq!(seen["anthropic-beta"].replace(", ", ","), "context-1m-2025-08-07,something-unheard-of");
    assert_eq!(seen["anthropic-version"], "2023-06-01");
    for name in ["x-outcrop-run", "x-outcrop-user", "forwarded", "x-forwarded-for", "te", "connection"] {
        assert!(!seen.contains_key(name), "{name}: {seen:?}");
    }
    for path in ["fra", "oai", "desk"] {
        Api::Anthropic.ask(&house, &format!("on-{path}"), "hi", false, &headers).await;
        let seen = house.lab.requests(target(path)).unwrap();
        assert!(
            seen.iter().all(|seen| seen.headers.keys().all(|name| !name.starts_with("x-outcrop"))),
            "{path}"
        );
    }
}

#[tokio::test]
async fn thinking_keeps_its_signature() {
    let house = House::start().await;
    let mut body = Api::Anthropic.body("on-ant", "[[think]]", false);
    body["thinking"] = json!({"type": "enabled", "budget_tokens": 1024});
    let mut told = Vec::new();
    for path in ["ant", "fra"] {
        body["model"] = json!(format!("on-{path}"));
        let answer = house.post("/v1/messages", Api::Anthropic.headers(), &body).await;
        let first = answer.json()["content"][0].clone();
        assert_eq!(first["type"], "thinking", "{path}: {answer:?}");
        told.push(first["signature"].as_str().unwrap().to_owned());
    }
    assert!(told.iter().all(|signature| !signature.is_empty()));
}

#[tokio::test]
async fn no_header_comes_twice() {
    let house = House::start().await;
    for path in ["fra", "oai", "ant"] {
        for api in [Api::OpenAi, Api::Anthropic, Api::Converse] {
            let answer = api.ask(&house, &format!("on-{path}"), "hi", false, &[]).await;
            for name in ["date", "content-type", "content-length", "x-amzn-requestid", "x-outcrop-request-id"]
            {
                assert!(answer.headers.get_all(name).iter().count() <= 1, "{path} {api:?}: {name}");
            }
            assert!(!answer.headers.contains_key("connection") && !answer.headers.contains_key("server"));
        }
    }
}
