//! Who may call: keys where keys are asked for, and on an open gateway no web page.

use outcrop_store::keys::{Pepper, to_hex};
use serde_json::json;

use crate::{
    api::Api,
    house::{House, Setup},
};

const PEPPER: &str = "0123456789abcdef0123456789abcdef";
/// A key without any limits, and one that may use little.
const WIDE: &str = "oc_00a1_wide-secret";
const NARROW: &str = "oc_00a2_narrow-secret";
/// One that administers, one that only looks, one that has ended.
pub(crate) const BOSS: &str = "oc_00a3_boss-secret";
pub(crate) const EYE: &str = "oc_00a4_eye-secret";
const PAST: &str = "oc_00a5_past-secret";

/// A gateway that asks for keys.
pub(crate) async fn locked() -> House {
    locked_with(String::new()).await
}

/// The same, with further lines of `[listen]`.
pub(crate) async fn locked_with(listen: String) -> House {
    let hash = |key: &str| to_hex(&Pepper::new(PEPPER.as_bytes()).hash(key));
    let more = format!(
        "[[key]]\nname = \"wide\"\nhash = \"oc_00a1:{}\"\nraw_models = true\n\
         [[key]]\nname = \"narrow\"\nhash = \"oc_00a2:{}\"\nmodels = [\"any\", \"on-oai\"]\nresidency = \"eu\"\n\
         [[key]]\nname = \"boss\"\nhash = \"oc_00a3:{}\"\nrole = \"admin\"\n\
         [[key]]\nname = \"eye\"\nhash = \"oc_00a4:{}\"\nrole = \"viewer\"\n\
         [[key]]\nname = \"past\"\nhash = \"oc_00a5:{}\"\nexpires = \"2026-01-31\"\n",
        hash(WIDE),
        hash(NARROW),
        hash(BOSS),
        hash(EYE),
        hash(PAST)
    );
    let auth = format!("mode = \"keys\"\npepper = \"{PEPPER}\"");
    House::set_up(Setup { auth, more, listen, admin_key: BOSS, ..Setup::default() }).await
}

#[tokio::test]
async fn without_a_key_nothing_is_done() {
    let house = locked().await;
    for (api, kind) in [
        (Api::OpenAi, "invalid_request_error"),
        (Api::Anthropic, "authentication_error"),
        (Api::Converse, "AccessDeniedException"),
        (Api::Invoke, "AccessDeniedException"),
    ] {
        for headers in
            [vec![], vec![("authorization", "Bearer oc_00a1_wrong")], vec![("x-api-key", "sk-other")]]
        {
            let answer = api.ask(&house, "on-fra", "hi", false, &headers).await;
            let (told, code) = api.error(&answer);
            assert_eq!(
                (answer.status, told.as_str(), code.as_str()),
                (401, kind, "unauthenticated"),
                "{headers:?}"
            );
            assert_eq!(answer.header("x-should-retry"), "false");
        }
    }
    let mcp = Api::Mcp.ask(&house, "on-fra", "hi", false, &[]).await;
    assert_eq!(mcp.status, 401, "{mcp:?}");
    assert_eq!(house.get("/v1/models").await.status, 401);
    let query = house.post(&format!("/v1/chat/completions?key={WIDE}"), &[], &json!({})).await;
    assert_eq!(query.status, 401, "a key in a URL is no key");
    assert_eq!(house.seen("fra").len(), 0);
}

#[tokio::test]
async fn a_key_that_has_ended_and_one_that_administers_call_no_model() {
    let house = locked().await;
    for (key, status) in [(PAST, 401), (BOSS, 403), (EYE, 403)] {
        for api in [Api::OpenAi, Api::Anthropic, Api::Converse] {
            let answer = api.ask(&house, "on-fra", "hi", false, &[("x-api-key", key)]).await;
            assert_eq!(answer.status, status, "{key}: {answer:?}");
        }
    }
    assert_eq!(house.seen("fra").len(), 0);
}

#[tokio::test]
async fn a_key_is_taken_wherever_sdks_put_it_and_goes_no_further() {
    let house = locked().await;
    let bearer = format!("Bearer {WIDE}");
    for (name, value) in [("authorization", bearer.as_str()), ("x-api-key", WIDE), ("api-key", WIDE)] {
        for path in ["fra", "oai", "ant", "desk"] {
            let answer = Api::OpenAi.ask(&house, &format!("on-{path}"), "hi", false, &[(name, value)]).await;
            assert_eq!(answer.status, 200, "{name} {path}: {answer:?}");
            assert!(!answer.header("x-outcrop-request-id").is_empty());
            let decision = house.decision(&answer).await;
            assert_eq!(decision["caller"], "wide");
            assert!(!decision.to_string().contains("secret"));
        }
    }
    for path in ["fra", "oai", "ant", "desk"] {
        let headers = format!("{:?}", house.lab.requests(crate::house::target(path)).unwrap());
        assert!(!headers.contains("oc_00a1"), "{path}: the caller's key travelled on");
    }
    let mcp = Api::Mcp.ask(&house, "on-fra", "hi", false, &[("authorization", &bearer)]).await;
    assert!(Api::Mcp.hear(&mcp).is_complete(Api::Mcp), "{mcp:?}");
}

#[tokio::test]
async fn a_key_is_checked_before_the_body_is_read() {
    let house = locked().await;
    let answer = house.post_bytes("/v1/chat/completions", &[], "not json at all").await;
    assert_eq!(answer.status, 401);
}

#[tokio::test]
async fn a_key_may_use_what_its_list_names() {
    let house = locked().await;
    let key = [("x-api-key", NARROW)];
    let answer = Api::OpenAi.ask(&house, "on-fra", "hi", false, &key).await;
    assert_eq!((answer.status, Api::OpenAi.error(&answer).1.as_str()), (403, "forbidden"), "{answer:?}");
    let answer = Api::OpenAi.ask(&house, "any", "hi", false, &key).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let raw = "eu.anthropic.claude-sonnet-4-5-20250929-v1%3A0";
    let answer = Api::Converse.ask(&house, raw, "hi", false, &key).await;
    assert!([403, 404].contains(&answer.status), "{answer:?}");
    let answer = Api::Converse.ask(&house, raw, "hi", false, &[("x-api-key", WIDE)]).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let list = crate::client::send(house.data(), http::Method::GET, "/v1/models", &key, "").await.unwrap();
    let names: Vec<String> = list.json()["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| m["id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(names, ["any", "on-oai"]);
}

#[tokio::test]
async fn a_keys_residency_holds_without_any_header() {
    let house = locked().await;
    let answer = Api::OpenAi.ask(&house, "on-oai", "hi", false, &[("x-api-key", NARROW)]).await;
    assert_eq!(
        (answer.status, Api::OpenAi.error(&answer).1.as_str()),
        (503, "no_legal_target"),
        "{answer:?}"
    );
    let list = [("x-api-key", NARROW), ("x-outcrop-path", "oai")];
    let answer = Api::OpenAi.ask(&house, "any", "hi", false, &list).await;
    assert_ne!(answer.header("x-outcrop-path"), "oai", "a hint widens nothing");
    assert_eq!(house.seen("oai").len(), 0);
}

#[tokio::test]
async fn an_open_gateway_answers_no_web_page() {
    let house = House::start().await;
    for (headers, status) in [
        (vec![("host", "evil.example")], 403),
        (vec![("host", "127.0.0.1.evil.example:80")], 403),
        (vec![("origin", "https://evil.example")], 403),
        (vec![("origin", "null")], 403),
        (vec![("host", "localhost:1234")], 200),
        (vec![("host", "[::1]")], 200),
        (vec![("origin", "http://localhost:3000")], 200),
    ] {
        let answer = Api::OpenAi.ask(&house, "on-fra", "hi", false, &headers).await;
        assert_eq!(answer.status, status, "{headers:?}: {answer:?}");
        let mcp = Api::Mcp.ask(&house, "on-fra", "hi", false, &headers).await;
        assert_eq!(mcp.status, status, "mcp {headers:?}: {mcp:?}");
    }
}
