//! Bedrock: addresses, operations, headers, refused credentials and clocks.

use std::time::{Duration, SystemTime};

use outcrop_core::{Class, Protocol, Reason, Reply, Usage};
use outcrop_upstream::CredentialSpec;
use serde_json::json;

use crate::fake::{Fake, Reaction, Seen, answer};
use crate::world::{World, anthropic_messages, converse, envelope, keys, openai_chat};

const PROFILE: &str = "arn:aws:bedrock:eu-central-1:123456789012:application-inference-profile/ab12cd34";
const CONVERSED: &[u8] = br#"{"output":{"message":{"role":"assistant","content":[{"text":"hello"}]}},"stopReason":"end_turn","usage":{"inputTokens":3,"outputTokens":2,"totalTokens":5},"metrics":{"latencyMs":1}}"#;
const MESSAGE: &[u8] = br#"{"id":"m1","type":"message","role":"assistant","model":"m","content":[{"type":"text","text":"hello"}],"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":3,"output_tokens":2}}"#;

fn bearer() -> CredentialSpec {
    CredentialSpec::BearerToken("b-1".into())
}

fn refused(kind: &str, headers: &[(&str, &str)]) -> Vec<u8> {
    let mut all = vec![("x-amzn-errortype", kind)];
    all.extend_from_slice(headers);
    answer(403, &all, br#"{"message":"refused"}"#)
}

#[tokio::test]
async fn ids_profiles_and_arns_are_one_segment_encoded_once() {
    let fake = Fake::deciding(|_| Reaction::Keep(answer(200, &[], CONVERSED))).await;
    let world = World::bedrock(fake.url("/gate/way/"), bearer());
    for model in ["amazon.nova-lite-v1:0", PROFILE] {
        world.whole(&converse(false), model).await.unwrap();
    }
    let seen = fake.seen();
    assert_eq!(seen[0].target(), "/gate/way/model/amazon.nova-lite-v1%3A0/converse");
    assert_eq!(
        seen[1].target(),
        "/gate/way/model/arn%3Aaws%3Abedrock%3Aeu-central-1%3A123456789012%3Aapplication-inference-profile%2Fab12cd34/converse"
    );
}

#[tokio::test]
async fn ids_that_could_change_the_path_never_leave() {
    let fake = Fake::script([]).await;
    let world = World::bedrock(fake.url(""), bearer());
    for model in ["..", "a/../b", "..%2f", "%252f", "a?b", "a#b", "a\\b", "a\r\nb", "a\0b", ""] {
        let failure = world.whole(&converse(false), model).await.unwrap_err();
        assert_eq!(failure.reason, Reason::Inexpressible, "{model:?}");
    }
    assert_eq!(fake.connections(), 0);
}

#[tokio::test]
async fn a_bearer_key_is_sent_as_it_is() {
    let headers = [("x-amzn-requestid", "aws-1"), ("x-amzn-bedrock-trace", "t"), ("date", "x")];
    let fake = Fake::script([Reaction::Keep(answer(200, &headers, CONVERSED))]).await;
    let world = World::bedrock(fake.url(""), bearer());
    let answer = world.attempt(&converse(false), "amazon.nova-lite-v1:0").await.unwrap();
    assert_eq!(answer.upstream_request_id, "aws-1");
    let passed: Vec<&str> = answer.headers.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(passed, ["x-amzn-requestid", "x-amzn-bedrock-trace"]);
    let seen = fake.seen().remove(0);
    assert_eq!(seen.header("authorization"), Some("Bearer b-1"));
    assert_eq!(seen.header("x-amz-date"), None);
}

#[tokio::test]
async fn each_envelope_has_its_operation() {
    let fake = Fake::deciding(|seen| {
        Reaction::Keep(answer(200, &[], if seen.target().ends_with("invoke") { MESSAGE } else { CONVERSED }))
    })
    .await;
    let world = World::bedrock(fake.url(""), bearer());
    let claude = "eu.anthropic.claude-sonnet-4-5-20250929-v1:0";
    let native = json!({"anthropic_version": "bedrock-2023-05-31", "max_tokens": 5,
        "messages": [{"role": "user", "content": "hi"}]});
    let invoke = envelope(Protocol::BedrockInvoke, Some("alias"), false, &native);
    for (ask, model, protocol) in [
        (&converse(false), claude, Protocol::BedrockConverse),
        (&invoke, claude, Protocol::BedrockInvoke),
        (&anthropic_messages(false), claude, Protocol::BedrockInvoke),
        (&anthropic_messages(false), "amazon.nova-lite-v1:0", Protocol::BedrockConverse),
        (&openai_chat(false), claude, Protocol::BedrockConverse),
    ] {
        let path = world.upstreams.path("p").unwrap();
        assert_eq!(path.speaks(ask, model), Some(protocol));
        let answer = world.attempt(ask, model).await.unwrap();
        assert_eq!(answer.protocol, protocol);
    }
    let operations: Vec<String> =
        fake.seen().iter().map(|s| s.target().rsplit('/').next().unwrap().to_owned()).collect();
    assert_eq!(operations, ["converse", "invoke", "invoke", "converse", "converse"]);
    let spliced = fake.seen()[2].json();
    assert_eq!(spliced["anthropic_version"], "bedrock-2023-05-31");
    assert!(spliced.get("model").is_none() && spliced.get("stream").is_none());
}

#[tokio::test]
async fn invoke_forwards_its_negotiation_and_nothing_else() {
    let fake = Fake::script([Reaction::Keep(answer(200, &[], MESSAGE))]).await;
    let world = World::bedrock(fake.url(""), bearer())
        .with_header("accept", "application/json")
        .with_header("x-amzn-bedrock-guardrailidentifier", "g-1")
        .with_header("x-outcrop-operation", "x")
        .with_header("x-amz-date", "forged");
    let native = json!({"anthropic_version": "bedrock-2023-05-31", "max_tokens": 5, "messages": []});
    let invoke = envelope(Protocol::BedrockInvoke, Some("alias"), false, &native);
    world.whole(&invoke, "anthropic.claude-3-haiku-20240307-v1:0").await.unwrap();
    let seen = fake.seen().remove(0);
    assert_eq!(seen.header("accept"), Some("application/json"));
    assert_eq!(seen.header("x-amzn-bedrock-guardrailidentifier"), Some("g-1"));
    assert_eq!(seen.header("x-outcrop-operation"), None);
    assert_eq!(seen.header("x-amz-date"), None);
}

#[tokio::test]
async fn tokens_are_counted() {
    let fake = Fake::deciding(|_| Reaction::Keep(answer(200, &[], br#"{"inputTokens":14}"#))).await;
    let world = World::bedrock(fake.url(""), bearer());
    let native =
        json!({"input": {"converse": {"messages": [{"role": "user", "content": [{"text": "hi"}]}]}}});
    let own = envelope(Protocol::BedrockCountTokens, Some("alias"), false, &native);
    assert!(world.whole(&own, "anthropic.claude-x").await.unwrap().raw.is_some());
    let body = json!({"model": "alias", "messages": [{"role": "user", "content": "hi"}]});
    let other = envelope(Protocol::AnthropicCountTokens, None, false, &body);
    let whole = world.whole(&other, "anthropic.claude-x").await.unwrap();
    assert_eq!(whole.reply, Reply::TokenCount(14));
    assert!(fake.seen().iter().all(|s| s.target() == "/model/anthropic.claude-x/count-tokens"));
}

fn titan(seen: &Seen) -> Vec<u8> {
    let text = seen.json()["inputText"].as_str().unwrap().to_owned();
    let number: f32 = text.parse().unwrap();
    let body = json!({"embedding": [number, 0.5], "inputTextTokenCount": 2}).to_string();
    answer(200, &[("x-amzn-requestid", text.as_str())], body.as_bytes())
}

#[tokio::test]
async fn several_titan_calls_are_joined_in_the_order_of_the_inputs() {
    let fake = Fake::deciding(|seen| Reaction::Keep(titan(seen))).await;
    let world = World::bedrock(fake.url(""), bearer());
    let inputs: Vec<String> = (0..20).map(|n| n.to_string()).collect();
    let ask = envelope(Protocol::OpenAiEmbeddings, None, false, &json!({"model": "a", "input": inputs}));
    let answer = world.attempt(&ask, "amazon.titan-embed-text-v2:0").await.unwrap();
    assert_eq!(answer.upstream_request_id, "0");
    let outcrop_upstream::AnswerBody::Whole(whole) = answer.body else { panic!("a whole answer") };
    let Reply::Embeddings { vectors, usage, .. } = whole.reply else { panic!("vectors") };
    let order: Vec<f32> = vectors.iter().map(|v| v[0]).collect();
    assert_eq!(order, (0..20u8).map(f32::from).collect::<Vec<_>>());
    assert_eq!(usage, Usage::of(40, 0));
    assert_eq!(fake.seen().len(), 20);
}

#[tokio::test]
async fn a_refused_call_among_answered_ones_may_have_cost_money() {
    let fake = Fake::deciding(|seen| {
        Reaction::Keep(match seen.json()["inputText"].as_str() {
            Some("19") => answer(429, &[("x-amzn-errortype", "ThrottlingException")], b"{}"),
            _ => titan(seen),
        })
    })
    .await;
    let world = World::bedrock(fake.url(""), bearer());
    let inputs: Vec<String> = (0..20).map(|n| n.to_string()).collect();
    let ask = envelope(Protocol::OpenAiEmbeddings, None, false, &json!({"model": "a", "input": inputs}));
    let failure = world.whole(&ask, "amazon.titan-embed-text-v2:0").await.unwrap_err();
    assert_eq!((failure.class, failure.reason), (Class::Ambiguous, Reason::Throttled));
}

fn http_date(time: SystemTime) -> String {
    aws_smithy_types::DateTime::from(time).fmt(aws_smithy_types::date_time::Format::HttpDate).unwrap()
}

fn signed_at(seen: &Seen) -> SystemTime {
    let text = seen.header("x-amz-date").unwrap();
    let [date, time] = [&text[..8], &text[9..15]];
    let iso = format!(
        "{}-{}-{}T{}:{}:{}Z",
        &date[..4],
        &date[4..6],
        &date[6..],
        &time[..2],
        &time[2..4],
        &time[4..]
    );
    let parsed = aws_smithy_types::DateTime::from_str(&iso, aws_smithy_types::date_time::Format::DateTime);
    SystemTime::try_from(parsed.unwrap()).unwrap()
}

#[tokio::test]
async fn a_wrong_clock_is_corrected_once_and_remembered() {
    let theirs = SystemTime::now() + Duration::from_mins(15);
    let fake = Fake::deciding(move |seen| {
        let off = theirs.duration_since(signed_at(seen)).unwrap_or_default();
        Reaction::Keep(if off > Duration::from_mins(5) {
            refused("InvalidSignatureException", &[("date", &http_date(theirs))])
        } else {
            answer(200, &[], CONVERSED)
        })
    })
    .await;
    let world = World::bedrock(fake.url(""), keys("AKIA1"));
    world.whole(&converse(false), "amazon.nova-lite-v1:0").await.unwrap();
    assert_eq!(fake.seen().len(), 2, "refused, corrected, answered");
    world.whole(&converse(false), "amazon.nova-lite-v1:0").await.unwrap();
    assert_eq!(fake.seen().len(), 3, "the correction is kept");
}

#[tokio::test]
async fn refused_fixed_keys_are_not_tried_again() {
    for kind in ["ExpiredTokenException", "UnrecognizedClientException", "InvalidSignatureException"] {
        let date = http_date(SystemTime::now());
        let fake = Fake::deciding(move |_| Reaction::Keep(refused(kind, &[("date", &date)]))).await;
        let world = World::bedrock(fake.url(""), keys("AKIA1"));
        let failure = world.whole(&converse(false), "amazon.nova-lite-v1:0").await.unwrap_err();
        assert_eq!(failure.class, Class::Credential, "{kind}");
        assert_eq!(fake.seen().len(), 1, "{kind}");
    }
}

#[tokio::test]
async fn a_clock_that_stays_wrong_is_given_up_after_one_retry() {
    let fake = Fake::deciding(|seen| {
        let ever_ahead = signed_at(seen) + Duration::from_hours(1);
        Reaction::Keep(refused("InvalidSignatureException", &[("date", &http_date(ever_ahead))]))
    })
    .await;
    let world = World::bedrock(fake.url(""), keys("AKIA1"));
    let failure = world.whole(&converse(false), "amazon.nova-lite-v1:0").await.unwrap_err();
    assert_eq!(failure.class, Class::Credential);
    assert_eq!(fake.seen().len(), 2);
}
