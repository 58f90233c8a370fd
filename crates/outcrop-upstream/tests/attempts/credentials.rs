//! Credentials of the AWS configuration, renewed when refused.
//!
//! The AWS files are found through environment variables, which a process cannot set safely for
//! itself; so each test runs its twin in a process of its own.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::join_all;
use outcrop_core::Class;
use outcrop_upstream::CredentialSpec;

use crate::fake::{Fake, Reaction, answer};
use crate::world::{World, converse};

const CONVERSED: &[u8] = br#"{"output":{"message":{"role":"assistant","content":[{"text":"hello"}]}},"stopReason":"end_turn","usage":{"inputTokens":3,"outputTokens":2,"totalTokens":5},"metrics":{"latencyMs":1}}"#;
const MODEL: &str = "amazon.nova-lite-v1:0";
const TWIN: &str = "OUTCROP_TEST_TWIN";

/// Runs one test of this binary with a profile `p` whose keys come from a script
/// that counts its calls: the n-th call issues `AKIA<n>`.
fn run_twin(test: &str) {
    run_twin_issuing(test, "");
}

/// `before` is put into the script, where `$n` is the number of the call; `$end` may hold more JSON.
fn run_twin_issuing(test: &str, before: &str) {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let issue = format!(
        "#!/bin/sh\nn=$(cat {count} 2>/dev/null || echo 0)\nn=$((n+1))\necho $n > {count}\n{before}\n\
         printf '{{\"Version\":1,\"AccessKeyId\":\"AKIA%s\",\"SecretAccessKey\":\"s\",\"SessionToken\":\"t%s\"%s}}' $n $n \"$end\"\n",
        count = path("count")
    );
    std::fs::write(path("issue"), issue).unwrap();
    std::fs::set_permissions(path("issue"), std::fs::Permissions::from_mode(0o755)).unwrap();
    let aws_files = format!("[profile p]\ncredential_process = {}\n", path("issue"));
    std::fs::write(path("config"), aws_files).unwrap();
    std::fs::write(path("credentials"), "").unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(TWIN, path("count"))
        .env("AWS_CONFIG_FILE", path("config"))
        .env("AWS_SHARED_CREDENTIALS_FILE", path("credentials"))
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{printed}{}", String::from_utf8_lossy(&output.stderr));
    assert!(printed.contains("1 passed"), "the twin ran: {printed}");
}

/// The file that counts issued keys, when this process is the twin.
fn twin() -> Option<String> {
    std::env::var(TWIN).ok()
}

fn issued(count: &str) -> usize {
    std::fs::read_to_string(count).unwrap().trim().parse().unwrap()
}

async fn refusing(accepted: &'static str) -> Fake {
    Fake::deciding(move |seen| {
        let authorization = seen.header("authorization").unwrap();
        let fresh = authorization.contains(&format!("Credential={accepted}/"));
        Reaction::Keep(if fresh {
            answer(200, &[], CONVERSED)
        } else {
            let kind = [("x-amzn-errortype", "ExpiredTokenException")];
            answer(403, &kind, br#"{"message":"The security token included in the request is expired"}"#)
        })
    })
    .await
}

fn profile() -> CredentialSpec {
    CredentialSpec::Profile("p".into())
}

#[tokio::test]
async fn an_expired_token_is_renewed_once_for_all_who_wait() {
    let Some(count) = twin() else {
        return run_twin("credentials::an_expired_token_is_renewed_once_for_all_who_wait");
    };
    let fake = refusing("AKIA2").await;
    let world = World::bedrock(fake.url(""), profile());
    let ask = converse(false);
    let answers = join_all((0..24).map(|_| world.whole(&ask, MODEL))).await;
    for answer in answers {
        answer.unwrap();
    }
    assert_eq!(issued(&count), 2, "one fetch at the start, one for all refusals");
    let seen = fake.seen();
    assert!(seen.len() <= 48, "each was sent at most twice");
    let fresh = seen.iter().find(|s| s.header("x-amz-security-token") == Some("t2"));
    assert!(fresh.unwrap().header("authorization").unwrap().contains("x-amz-security-token"));
    world.whole(&ask, MODEL).await.unwrap();
    assert_eq!(issued(&count), 2);
}

#[tokio::test]
async fn a_late_refusal_of_former_keys_takes_the_present_ones() {
    let Some(count) = twin() else {
        return run_twin("credentials::a_late_refusal_of_former_keys_takes_the_present_ones");
    };
    let first = AtomicBool::new(true);
    let refused = || answer(403, &[("x-amzn-errortype", "ExpiredTokenException")], b"{}");
    let mut fake = Fake::deciding(move |seen| {
        let former = seen.header("authorization").unwrap().contains("AKIA1/");
        match (former, first.swap(false, Ordering::Relaxed)) {
            (true, true) => Reaction::Gated(Vec::new(), refused()),
            (true, false) => Reaction::Keep(refused()),
            (false, _) => Reaction::Keep(answer(200, &[], CONVERSED)),
        }
    })
    .await;
    let world = World::bedrock(fake.url(""), profile());
    let (early, late) = (converse(false), converse(false));
    let held = world.whole(&late, MODEL);
    tokio::pin!(held);
    tokio::select! {
        _ = &mut held => panic!("it is held"),
        () = fake.request_arrived() => {}
    }
    world.whole(&early, MODEL).await.unwrap();
    assert_eq!(issued(&count), 2);
    fake.open_gate();
    held.await.unwrap();
    assert_eq!(issued(&count), 2, "the present keys were enough");
}

#[tokio::test]
async fn keys_that_stay_refused_are_given_up_after_one_renewal() {
    let Some(count) = twin() else {
        return run_twin("credentials::keys_that_stay_refused_are_given_up_after_one_renewal");
    };
    let fake = refusing("nothing").await;
    let world = World::bedrock(fake.url(""), profile());
    let failure = world.whole(&converse(false), MODEL).await.unwrap_err();
    assert_eq!(failure.class, Class::Credential);
    assert_eq!(fake.seen().len(), 2);
    assert_eq!(issued(&count), 2);
}

#[tokio::test]
async fn they_are_renewed_ahead_of_their_end() {
    let Some(count) = twin() else {
        let short = "end=\",\\\"Expiration\\\":\\\"$(date -u -d '+4 seconds' +%Y-%m-%dT%H:%M:%SZ)\\\"\"";
        return run_twin_issuing("credentials::they_are_renewed_ahead_of_their_end", short);
    };
    let fake = Fake::deciding(|_| Reaction::Keep(answer(200, &[], CONVERSED))).await;
    let world = World::bedrock(fake.url(""), profile());
    world.whole(&converse(false), MODEL).await.unwrap();
    // No request asks for them; the background task does.
    while issued(&count) < 2 {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn the_present_keys_stay_when_a_renewal_fails() {
    if twin().is_none() {
        let failing = "[ $n -gt 1 ] && exit 1";
        return run_twin_issuing("credentials::the_present_keys_stay_when_a_renewal_fails", failing);
    }
    let refuse = AtomicBool::new(true);
    let fake = Fake::deciding(move |_| {
        Reaction::Keep(if refuse.swap(false, Ordering::Relaxed) {
            answer(403, &[("x-amzn-errortype", "ExpiredTokenException")], b"{}")
        } else {
            answer(200, &[], CONVERSED)
        })
    })
    .await;
    let world = World::bedrock(fake.url(""), profile());
    let failure = world.whole(&converse(false), MODEL).await.unwrap_err();
    assert_eq!(failure.class, Class::Credential);
    assert_eq!(fake.seen().len(), 1, "nothing new to try with");
    world.whole(&converse(false), MODEL).await.unwrap();
    assert!(fake.seen()[1].header("authorization").unwrap().contains("AKIA1"));
}

#[tokio::test]
async fn a_profile_that_does_not_exist_is_named_as_the_cause() {
    if twin().is_none() {
        return run_twin("credentials::a_profile_that_does_not_exist_is_named_as_the_cause");
    }
    let fake = Fake::script([]).await;
    let world = World::bedrock(fake.url(""), CredentialSpec::Profile("other".into()));
    let failure = world.whole(&converse(false), MODEL).await.unwrap_err();
    assert_eq!(failure.class, Class::Credential);
    assert_eq!(failure.reason, outcrop_core::Reason::NoCredentials);
    assert!(failure.detail.contains("other"), "{}", failure.detail);
    assert_eq!(fake.connections(), 0);
}

#[tokio::test]
async fn closing_ends_the_renewal() {
    let world = World::bedrock("http://127.0.0.1:9".parse().unwrap(), profile());
    world.upstreams.close().await;
    world.tasks.close();
    world.tasks.wait().await;
    let world = World::bedrock("http://127.0.0.1:9".parse().unwrap(), profile());
    drop(world.upstreams);
    world.tasks.close();
    world.tasks.wait().await;
}
