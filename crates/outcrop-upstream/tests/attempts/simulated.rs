//! Against the simulated services, which check signatures and framing by themselves.

use outcrop_core::{Class, Event, Protocol, Reason, Reply};
use outcrop_lab::script::Script;
use outcrop_lab::{Lab, LabConfig};
use outcrop_upstream::{AnswerBody, CredentialSpec};
use serde_json::{Value, json};

use crate::world::{World, anthropic_messages, converse, drain, envelope, openai_chat};

const CLAUDE: &str = "eu.anthropic.claude-sonnet-4-5-20250929-v1:0";
const NOVA: &str = "amazon.nova-lite-v1:0";
const ARN: &str = "arn:aws:bedrock:eu-central-1:123456789012:inference-profile/eu.anthropic.claude-sonnet-4-5-20250929-v1:0";

async fn lab() -> Lab {
    Lab::start(LabConfig::ephemeral()).await.unwrap()
}

fn signed(session: Option<&str>) -> CredentialSpec {
    CredentialSpec::StaticKeys {
        id: "AKIAOUTCROPLAB000001".into(),
        secret: "outcrop-lab-secret-key-000000000000000001".into(),
        session: session.map(Into::into),
    }
}

fn bedrock(lab: &Lab, credentials: CredentialSpec) -> World {
    World::bedrock(lab.url("fra").unwrap().parse().unwrap(), credentials)
}

fn script(value: Value) -> Script {
    serde_json::from_value(value).unwrap()
}

fn invoke(stream: bool) -> outcrop_wire::Envelope {
    let body = json!({"anthropic_version": "bedrock-2023-05-31", "max_tokens": 50,
        "messages": [{"role": "user", "content": "hi"}]});
    envelope(Protocol::BedrockInvoke, Some("alias"), stream, &body)
}

async fn complete(world: &World, ask: &outcrop_wire::Envelope, model: &str) {
    let answer = world.attempt(ask, model).await.unwrap();
    assert!(!answer.upstream_request_id.is_empty());
    match answer.body {
        AnswerBody::Whole(whole) => {
            let Reply::Native(usage) = whole.reply else {
                assert_eq!(whole.raw, None);
                return;
            };
            assert!(usage.is_complete() || ask.protocol == Protocol::BedrockCountTokens);
        }
        AnswerBody::Stream(mut stream) => {
            let (events, end) = drain(&mut stream).await;
            end.unwrap();
            assert_eq!(events.last(), Some(&Event::Done));
        }
    }
}

#[tokio::test]
async fn every_operation_is_signed_as_the_service_checks_it() {
    let lab = lab().await;
    for credentials in [
        signed(None),
        signed(Some("session/token+with=odd")),
        CredentialSpec::BearerToken("outcrop-lab-bedrock-bearer".into()),
    ] {
        let world = bedrock(&lab, credentials)
            .with_header("accept", "application/json")
            .with_header("x-amzn-bedrock-trace", "DISABLED");
        for model in [CLAUDE, ARN] {
            for stream in [false, true] {
                complete(&world, &converse(stream), model).await;
                complete(&world, &invoke(stream), model).await;
                complete(&world, &anthropic_messages(stream), model).await;
                complete(&world, &openai_chat(stream), NOVA).await;
            }
        }
        let native = json!({"input": {"converse":
            {"messages": [{"role": "user", "content": [{"text": "hi"}]}]}}});
        let count = envelope(Protocol::BedrockCountTokens, Some("alias"), false, &native);
        complete(&world, &count, CLAUDE).await;
    }
    let paths: Vec<String> = lab.requests("fra").unwrap().into_iter().map(|r| r.path).collect();
    assert!(paths.iter().any(|p| p.contains("%3Ainference-profile%2Feu.anthropic")), "{paths:?}");
}

#[tokio::test]
async fn embeddings_come_from_titan_and_cohere() {
    let lab = lab().await;
    let world = bedrock(&lab, signed(None));
    let ask = envelope(
        Protocol::OpenAiEmbeddings,
        None,
        false,
        &json!({"model": "a", "input": ["one", "two", "three"]}),
    );
    for model in ["amazon.titan-embed-text-v2:0", "cohere.embed-multilingual-v3"] {
        let whole = world.whole(&ask, model).await.unwrap();
        let Reply::Embeddings { vectors, usage, .. } = whole.reply else { panic!("vectors") };
        assert_eq!(vectors.len(), 3, "{model}");
        assert!(usage.input.is_some(), "{model}");
    }
    assert!(world.upstreams.path("p").unwrap().speaks(&ask, NOVA).is_none());
}

#[tokio::test]
async fn wrong_keys_are_refused_as_credentials() {
    let lab = lab().await;
    for credentials in [
        crate::world::keys("AKIAUNKNOWN"),
        crate::world::keys("AKIAOUTCROPLAB000001"),
        CredentialSpec::BearerToken("wrong".into()),
    ] {
        let world = bedrock(&lab, credentials);
        let failure = world.whole(&converse(false), NOVA).await.unwrap_err();
        assert!(matches!(failure.reason, Reason::CredentialsRefused | Reason::Forbidden), "{failure:?}");
    }
    let billed = lab.billing().iter().filter(|record| record.executed).count();
    assert_eq!(billed, 0);
}

#[tokio::test]
async fn the_simulated_clock_is_followed() {
    let lab = lab().await;
    for skew in [1200, -1200] {
        lab.script("fra", script(json!({"clock_skew_s": skew}))).await.unwrap();
        bedrock(&lab, signed(None)).whole(&converse(false), NOVA).await.unwrap();
    }
}

#[tokio::test]
async fn expired_fixed_keys_are_reported_after_one_try() {
    let lab = lab().await;
    lab.script("fra", script(json!({"credential_expired": true}))).await.unwrap();
    let world = bedrock(&lab, signed(None));
    let failure = world.whole(&converse(false), NOVA).await.unwrap_err();
    assert_eq!(failure.class, Class::Credential);
    assert_eq!(lab.requests("fra").unwrap().len(), 1);
}

async fn breaks(fault: Value, reasons: &[Reason]) {
    let lab = lab().await;
    lab.script("fra", script(json!({"faults": [fault]}))).await.unwrap();
    let world = bedrock(&lab, signed(None));
    for ask in [converse(true), invoke(true)] {
        let failure = match world.stream(&ask, CLAUDE).await {
            Ok(mut stream) => {
                let (events, end) = drain(&mut stream).await;
                assert!(!events.contains(&Event::Done));
                end.unwrap_err()
            }
            Err(failure) => failure,
        };
        assert!(reasons.contains(&failure.reason), "{fault}: {failure:?}");
    }
}

#[tokio::test]
async fn no_broken_event_stream_ends_cleanly() {
    let broken = [Reason::Truncated, Reason::Reset];
    for after in 0..4 {
        breaks(json!({"kind": "cut", "after_events": after}), &broken).await;
    }
    breaks(json!({"kind": "cut_mid_frame", "after_events": 2}), &broken).await;
    breaks(json!({"kind": "reset_inside", "after_events": 2}), &[Reason::Reset]).await;
    breaks(json!({"kind": "reset_before"}), &[Reason::Reset]).await;
    breaks(json!({"kind": "bad_crc", "after_events": 2}), &[Reason::Garbled]).await;
    breaks(json!({"kind": "garbage"}), &[Reason::Garbled, Reason::Oversized, Reason::Truncated]).await;
    breaks(
        json!({"kind": "stream_exception", "after_events": 2, "type": "throttlingException"}),
        &[Reason::Throttled],
    )
    .await;
    breaks(
        json!({"kind": "stream_exception", "after_events": 0, "type": "modelStreamErrorException"}),
        &[Reason::ModelError],
    )
    .await;
}

#[tokio::test]
async fn a_region_that_is_down_is_unsent() {
    let lab = lab().await;
    let world = bedrock(&lab, signed(None));
    lab.script("fra", script(json!({"down": true}))).await.unwrap();
    let failure = world.whole(&converse(false), NOVA).await.unwrap_err();
    assert_eq!((failure.class, failure.reason), (Class::NotSent, Reason::Connect));
    lab.heal("fra").await.unwrap();
    world.whole(&converse(false), NOVA).await.unwrap();
}

#[tokio::test]
async fn openai_and_anthropic_answer_every_dialect() {
    let lab = lab().await;
    let openai = World::new(
        crate::world::local(),
        outcrop_upstream::KindSpec::OpenAi(outcrop_upstream::HttpSpec {
            base: lab.url("openai").unwrap().parse().unwrap(),
            key: Some("outcrop-lab-openai-key".into()),
        }),
    );
    let anthropic = World::new(
        crate::world::local(),
        outcrop_upstream::KindSpec::Anthropic(outcrop_upstream::HttpSpec {
            base: lab.url("anthropic").unwrap().parse().unwrap(),
            key: Some("outcrop-lab-anthropic-key".into()),
        }),
    );
    for stream in [false, true] {
        for ask in [openai_chat(stream), anthropic_messages(stream), converse(stream), invoke(stream)] {
            complete(&openai, &ask, "gpt-4o-mini").await;
            complete(&anthropic, &ask, "claude-sonnet-4-5").await;
        }
    }
}
