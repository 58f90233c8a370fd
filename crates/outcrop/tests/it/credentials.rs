//! Credentials that expire and clocks that are wrong: renewed or corrected once, never a reason to wait.

use outcrop_lab::script::Script;
use outcrop_upstream::KindSpec;
use serde_json::json;

use crate::{
    api::Api,
    house::{House, Setup, simulated, target},
};

#[tokio::test]
async fn a_wrong_clock_is_corrected_and_stays_corrected() {
    let house = House::start().await;
    for clock_skew_s in [1_800, -1_800, 86_400] {
        let skewed = Script { clock_skew_s, ..Script::default() };
        house.lab.script("fra", skewed).await.unwrap();
        let before = house.seen("fra").len();
        for stream in [false, true, false] {
            let answer = Api::Converse.ask(&house, "on-fra", "[[tokens=3]]", stream, &[]).await;
            assert_eq!(Api::Converse.hear(&answer).text, simulated("fra", 3), "{clock_skew_s}: {answer:?}");
            assert_eq!(answer.header("x-outcrop-attempts"), "1");
        }
        assert_eq!(house.seen("fra").len(), before + 4, "one refusal, then three answers ({clock_skew_s} s)");
    }
}

#[tokio::test]
async fn expired_credentials_are_no_reason_to_wait() {
    let house = House::start().await;
    for (path, second) in [("fra", "dub"), ("oai", "fra"), ("ant", "fra"), ("desk", "fra")] {
        let expired = Script { credential_expired: true, ..Script::default() };
        house.lab.script(target(path), expired).await.unwrap();
        let operation = format!("{path}-{second}");
        let headers = [("x-outcrop-operation", operation.as_str())];
        let before = house.seen(path).len();
        let answer = Api::Converse.ask(&house, "any", "[[tokens=3]]", false, &headers).await;
        assert_eq!(Api::Converse.hear(&answer).text, simulated(second, 3), "{path}: {answer:?}");
        assert!(house.seen(path).len() <= before + 2, "{path}: asked more than twice");
        let decision = house.decision(&answer).await;
        assert_eq!(decision["attempts"][0]["failed"]["class"], "credential", "{decision}");
        house.heal(path).await;
    }
    let targets = house.admin("/admin/v1/targets").await.json();
    assert!(targets.as_array().unwrap().iter().all(|target| target["serving"] == true), "{targets}");
}

#[tokio::test]
async fn without_another_target_the_upstreams_refusal_is_told() {
    let house = House::start().await;
    let expired = Script { credential_expired: true, ..Script::default() };
    house.lab.script("fra", expired).await.unwrap();
    let answer = Api::Converse.ask(&house, "on-fra", "hi", false, &[]).await;
    assert_eq!(
        (answer.status, answer.header("x-amzn-errortype")),
        (403, "ExpiredTokenException"),
        "{answer:?}"
    );
    assert_eq!(answer.header("x-should-retry"), "false");
    assert_eq!(Api::Converse.error(&answer).1, "upstream_failed");
    assert!(house.seen("fra").len() <= 2);
}

#[tokio::test]
async fn refused_credentials_are_told_without_being_shown() {
    let house = House::set_up(Setup {
        adjust: |checked| {
            for path in &mut checked.paths {
                match &mut path.kind {
                    KindSpec::Bedrock(bedrock) => {
                        bedrock.credentials = outcrop_upstream::CredentialSpec::StaticKeys {
                            id: "AKIAOUTCROPLAB000001".into(),
                            secret: "a-wrong-secret-nobody-may-see".to_owned().into(),
                            session: None,
                        };
                    }
                    KindSpec::OpenAi(http) | KindSpec::Anthropic(http) => {
                        http.key = Some("a-wrong-secret-nobody-may-see".to_owned().into());
                    }
                    KindSpec::Mcp(_) => {}
                }
            }
        },
        ..Setup::default()
    })
    .await;
    for (path, status) in [("fra", 403), ("oai", 401), ("ant", 401)] {
        let answer = Api::OpenAi.ask(&house, &format!("on-{path}"), "hi", false, &[]).await;
        assert_eq!(answer.status, status, "{path}: {answer:?}");
        assert!(!format!("{answer:?}").contains("nobody-may-see"), "{path}: {answer:?}");
        let decision = house.decision(&answer).await;
        assert_eq!(decision["attempts"][0]["failed"]["class"], "credential", "{path}");
        assert!(!decision.to_string().contains("nobody-may-see"), "{path}");
        assert_eq!(house.executions(path), 0);
    }
}

#[tokio::test]
async fn a_bearer_key_serves_bedrock_too() {
    let house = House::set_up(Setup {
        adjust: |checked| {
            for path in &mut checked.paths {
                if let KindSpec::Bedrock(bedrock) = &mut path.kind {
                    let token = outcrop_lab::bedrock::BEARER.to_owned().into();
                    bedrock.credentials = outcrop_upstream::CredentialSpec::BearerToken(token);
                }
            }
        },
        ..Setup::default()
    })
    .await;
    let answer = Api::Converse.ask(&house, "on-fra", "[[tokens=3]]", true, &[]).await;
    assert_eq!(Api::Converse.hear(&answer).text, simulated("fra", 3), "{answer:?}");
}

#[tokio::test]
async fn the_callers_credentials_are_not_the_gateways() {
    let house = House::start().await;
    let headers =
        [("authorization", "Bearer the-callers-own"), ("x-api-key", "the-callers-own"), ("cookie", "a=b")];
    for path in ["fra", "oai", "ant", "desk"] {
        let answer = Api::OpenAi.ask(&house, &format!("on-{path}"), "hi", false, &headers).await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        let seen = json!(house.lab.requests(target(path)).unwrap()).to_string();
        assert!(!seen.contains("the-callers-own") && !seen.contains("cookie"), "{path}: {seen}");
    }
}
