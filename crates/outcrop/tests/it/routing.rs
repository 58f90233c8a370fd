//! Which target is asked, and which is left alone: breakers, probes, hints, hedges, deadlines.

use futures_util::future::join_all;
use outcrop_lab::script::{Fault, FaultKind, Script, Spread};
use outcrop_policy::{health::Forced, route::target_name};
use outcrop_proxy::Work;
use serde_json::Value;

use crate::{
    api::Api,
    client::Answer,
    house::{House, PATHS, Setup, eventually, simulated, target},
};

/// Requests after which the quantiles of a target are known.
const KNOWN: usize = 25;

async fn house(more: &str) -> House {
    House::set_up(Setup { breakers: true, more: more.to_owned(), ..Setup::default() }).await
}

async fn ask(house: &House, model: &str, operation: &str) -> Answer {
    let headers = [("x-outcrop-operation", operation)];
    Api::OpenAi.ask(house, model, "[[tokens=5]]", false, &headers).await
}

fn name(path: &str) -> String {
    let (_, model) = PATHS.iter().find(|(known, _)| *known == path).unwrap();
    target_name(path, model)
}

/// What the operator sees of a path's target.
async fn health(house: &House, path: &str) -> Value {
    let targets = house.admin("/admin/v1/targets").await.json();
    let found = targets.as_array().unwrap().iter().find(|row| row["name"] == name(path).as_str()).cloned();
    found.unwrap()["health"].clone()
}

async fn answered_by(house: &House, operation: &str, path: &str) {
    let answer = ask(house, "any", operation).await;
    assert_eq!((answer.status, answer.header("x-outcrop-path")), (200, path), "{answer:?}");
}

#[tokio::test]
async fn a_broken_target_is_left_alone_and_used_again_once_it_has_healed() {
    let house = house("").await;
    house.take_down("fra").await;
    for _ in 0..30 {
        answered_by(&house, "fra-dub", "dub").await;
    }
    let broken = health(&house, "fra").await;
    assert_eq!(broken["breaker"], "tripped", "{broken}");
    assert!(broken["failures"].as_u64().unwrap() < 12, "it was hardly asked any more: {broken}");
    house.heal("fra").await;
    eventually("the healed target is asked", async || {
        let answer = ask(&house, "any", "fra-dub").await;
        assert_eq!(answer.status, 200, "{answer:?}");
        (answer.header("x-outcrop-path") == "fra").then_some(())
    })
    .await;
}

#[tokio::test]
async fn nobody_asks_and_it_is_found_out_all_the_same_and_paid_for() {
    let house = house("").await;
    house.take_down("oai").await;
    for _ in 0..5 {
        ask(&house, "on-oai", "standard").await;
    }
    house.heal("oai").await;
    eventually("a probe has found out", async || {
        let breaker = health(&house, "oai").await["breaker"].clone();
        (breaker == "ramping" || breaker == "serving").then_some(())
    })
    .await;
    let probe = house.newest_decision(|decision| decision["operation"] == "probe").await;
    assert_eq!((probe["caller"].as_str(), probe["outcome"]["label"].as_str()), (Some("probe"), Some("ok")));
    let billed = house.billed("oai", 1).await;
    assert_eq!(billed[0].output_tokens, 1, "one token is asked for");
    assert_eq!(house.executions("oai"), 1);
}

#[tokio::test]
async fn a_lone_target_that_has_tripped_fails_fast_and_says_when_to_come_back() {
    let house = house("").await;
    house.take_down("oai").await;
    let mut refused = 0;
    for _ in 0..40 {
        let answer = ask(&house, "on-oai", "standard").await;
        assert_eq!(answer.status, 502, "{answer:?}");
        refused += usize::from(!answer.header("retry-after").is_empty());
    }
    let failures = health(&house, "oai").await["failures"].as_u64().unwrap();
    assert!(refused >= 25 && failures <= 15, "{refused} were refused, {failures} were sent");
}

#[tokio::test]
async fn a_hint_is_obeyed_while_another_target_serves() {
    let house = house("").await;
    house
        .break_path(
            "oai",
            Fault { retry_after_s: Some(20), times: Some(1), ..Fault::new(FaultKind::Throttle) },
        )
        .await;
    let first = ask(&house, "any", "oai-fra").await;
    assert_eq!((first.header("x-outcrop-path"), first.header("x-outcrop-attempts")), ("fra", "2"));
    for _ in 0..5 {
        let next = ask(&house, "any", "oai-fra").await;
        assert_eq!((next.header("x-outcrop-path"), next.header("x-outcrop-attempts")), ("fra", "1"));
    }
    let only = ask(&house, "on-oai", "standard").await;
    assert_eq!((only.status, only.header("x-outcrop-code")), (503, "overloaded"), "{only:?}");
    assert!(only.header("retry-after").parse::<u64>().unwrap() >= 15, "{only:?}");
}

#[tokio::test]
async fn what_cannot_be_in_time_is_refused_before_it_is_sent() {
    let house = house("").await;
    let slow = Script { latency_ms: Some(Spread::Fixed(60.0)), ..Script::default() };
    house.lab.script(target("oai"), slow).await.unwrap();
    for _ in 0..KNOWN {
        assert_eq!(ask(&house, "on-oai", "standard").await.status, 200);
    }
    let sent = house.seen("oai").len();
    let hurried = [("x-outcrop-deadline-ms", "20")];
    let answer = Api::OpenAi.ask(&house, "on-oai", "[[tokens=5]]", false, &hurried).await;
    assert_eq!((answer.status, answer.header("x-outcrop-code")), (504, "deadline_infeasible"), "{answer:?}");
    assert_eq!(house.seen("oai").len(), sent, "nothing was sent");
    let decision = house.decision(&answer).await;
    assert_eq!(decision["candidates"][0]["excluded"], "too_slow", "{decision}");
    assert!(decision["attempts"].as_array().unwrap().is_empty());
}

#[tokio::test]
async fn a_lost_answer_is_given_up_long_before_the_deadline() {
    let house = house("").await;
    for _ in 0..KNOWN {
        answered_by(&house, "fra-dub", "fra").await;
    }
    house.break_path("fra", Fault::new(FaultKind::Hang)).await;
    let answer = ask(&house, "any", "fra-dub").await;
    assert_eq!(
        (answer.header("x-outcrop-path"), answer.header("x-outcrop-attempts")),
        ("dub", "2"),
        "{answer:?}"
    );
    let decision = house.decision(&answer).await;
    let lost = &decision["attempts"][0];
    assert_eq!(lost["failed"]["reason"], "timeout", "{decision}");
    // Without it the first attempt would have had 60 % of 30 s.
    assert!(lost["took_us"].as_u64().unwrap() < 9_000_000, "{lost}");
}

/// Asked so often at once that the quantiles of `fra` are known, at a pace that gives it a second of patience.
async fn know_fra(house: &House) {
    let pace = Script { latency_ms: Some(Spread::Fixed(500.0)), ..Script::default() };
    house.lab.script(target("fra"), pace).await.unwrap();
    join_all((0..KNOWN).map(|_| answered_by(house, "fra-dub", "fra"))).await;
    let slow = Script { latency_ms: Some(Spread::Fixed(3000.0)), ..Script::default() };
    house.lab.script(target("fra"), slow).await.unwrap();
}

#[tokio::test]
async fn a_slow_try_is_kept_when_the_other_may_not_be_asked_by_then() {
    let house = house("").await;
    know_fra(&house).await;
    let sent = house.seen("fra").len();
    let held = async {
        eventually("it is under way", async || (house.seen("fra").len() > sent).then_some(())).await;
        let now = std::time::Instant::now();
        house.running.gateway.health.force(&name("dub"), Some(Forced::Tripped), now);
    };
    let (answer, ()) = tokio::join!(ask(&house, "any", "fra-dub"), held);
    assert_eq!((answer.status, answer.header("x-outcrop-path")), (200, "fra"), "{answer:?}");
    assert_eq!(answer.header("x-outcrop-attempts"), "1");
    assert_eq!(health(&house, "fra").await["failures"], 0, "it was never given up");
}

#[tokio::test]
async fn a_slow_try_that_answers_first_has_answered_and_is_no_failure() {
    let house = house("").await;
    know_fra(&house).await;
    house.break_path("dub", Fault::new(FaultKind::Hang)).await;
    let asked = (0..7).map(|_| ask(&house, "any", "fra-dub"));
    for answer in join_all(asked).await {
        assert_eq!((answer.status, answer.header("x-outcrop-path")), (200, "fra"), "{answer:?}");
        let decision = house.decision(&answer).await;
        let reasons: Vec<_> =
            decision["attempts"].as_array().unwrap().iter().map(|a| a["failed"]["reason"].clone()).collect();
        assert_eq!(reasons.last(), Some(&Value::Null), "{decision}");
    }
    assert_eq!(health(&house, "fra").await["breaker"], "serving");
}

#[tokio::test]
async fn what_rests_is_waited_for_when_the_others_have_failed() {
    let house = house("").await;
    let rests = Fault { retry_after_s: Some(2), times: Some(1), ..Fault::new(FaultKind::Throttle) };
    house.break_path("dub", rests).await;
    let first = ask(&house, "any", "dub-fra").await;
    assert_eq!((first.header("x-outcrop-path"), first.header("x-outcrop-attempts")), ("fra", "2"));
    house.take_down("fra").await;
    let answer = ask(&house, "any", "fra-dub").await;
    assert_eq!((answer.status, answer.header("x-outcrop-path")), (200, "dub"), "{answer:?}");
    assert_eq!(answer.header("x-outcrop-attempts"), "2");
}

#[tokio::test]
async fn where_none_serves_one_try_is_all_and_what_is_healed_answers_soon() {
    let house = house("").await;
    answered_by(&house, "fra-dub", "fra").await;
    answered_by(&house, "dub-fra", "dub").await;
    for path in ["fra", "dub"] {
        house.take_down(path).await;
    }
    // With the usual deadline they would be held as long as somebody is hoped for.
    let hurried = [("x-outcrop-operation", "fra-dub"), ("x-outcrop-deadline-ms", "300")];
    join_all((0..12).map(|_| Api::OpenAi.ask(&house, "any", "[[tokens=5]]", false, &hurried))).await;
    for path in ["fra", "dub"] {
        assert_eq!(health(&house, path).await["breaker"], "tripped");
    }
    let refused = ask(&house, "any", "fra-dub").await;
    assert_eq!((refused.status, refused.header("x-outcrop-attempts")), (502, "1"), "{refused:?}");
    house.heal("dub").await;
    eventually("it answers", async || (ask(&house, "any", "fra-dub").await.status == 200).then_some(()))
        .await;
}

#[tokio::test]
async fn a_second_leg_answers_for_a_slow_one_and_both_are_paid_for() {
    let more = "[flags]\nhedging = true\n\
                [[operation]]\nname = \"urgent\"\npriority = \"critical\"\norder = [\"fra\", \"dub\"]";
    let house = house(more).await;
    // So many that the first few, which made connections, are beyond the 95 %.
    let asked = KNOWN * 4;
    for _ in 0..asked {
        answered_by(&house, "urgent", "fra").await;
    }
    let slow = Script { latency_ms: Some(Spread::Fixed(350.0)), ..Script::default() };
    house.lab.script(target("fra"), slow).await.unwrap();
    house.running.gateway.shed(&[Work::Hedging]);
    assert_eq!(ask(&house, "any", "urgent").await.header("x-outcrop-attempts"), "1", "stopped for now");
    house.running.gateway.shed(&[]);
    let answer = ask(&house, "any", "urgent").await;
    assert_eq!(
        (answer.header("x-outcrop-path"), answer.header("x-outcrop-attempts")),
        ("dub", "2"),
        "{answer:?}"
    );
    assert_eq!(Api::OpenAi.hear(&answer).text, simulated("dub", 5));
    let decision = house.decision(&answer).await;
    let reasons: Vec<_> =
        decision["attempts"].as_array().unwrap().iter().map(|a| a["failed"]["reason"].clone()).collect();
    assert!(reasons.contains(&Value::from("outrun")), "{decision}");
    // Bedrock goes on without its caller, so the loser is read on and paid for as billed.
    let billed: u64 = house.billed("fra", asked as u64 + 2).await.iter().map(|r| r.output_tokens).sum();
    assert_eq!(billed, (asked as u64 + 2) * 5);
    eventually("both legs are settled", async || {
        let totals = house.running.gateway.ledger().totals();
        (totals.pending == 0 && totals.suspense_nusd == 0).then_some(())
    })
    .await;
}

/// A request beyond the usual time of the known `fra` is left to it.
async fn nothing_is_hedged(house: &House) {
    let slow = Script { latency_ms: Some(Spread::Fixed(350.0)), ..Script::default() };
    house.lab.script(target("fra"), slow).await.unwrap();
    let answer = ask(house, "any", "urgent").await;
    assert_eq!(
        (answer.header("x-outcrop-path"), answer.header("x-outcrop-attempts")),
        ("fra", "1"),
        "{answer:?}"
    );
    assert_eq!(house.executions("dub"), 0);
}

#[tokio::test]
async fn when_memory_is_short_nothing_is_hedged() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("proc/self");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("status"), "VmRSS:\t 90 kB\n").unwrap();
    let more = "[flags]\nhedging = true\n\
                [[operation]]\nname = \"urgent\"\npriority = \"critical\"\norder = [\"fra\", \"dub\"]";
    let setup = Setup {
        breakers: true,
        more: more.to_owned(),
        limits: format!("memory_max = {}", 100 * 1024),
        memory_root: Some(root.path().to_owned()),
        ..Setup::default()
    };
    let house = House::set_up(setup).await;
    let is_lean = async || house.admin("/admin/v1/load").await.json()["memory"] == "lean";
    eventually("the reading", async || is_lean().await.then_some(())).await;
    for _ in 0..KNOWN * 4 {
        answered_by(&house, "urgent", "fra").await;
    }
    nothing_is_hedged(&house).await;
}

#[tokio::test]
async fn without_the_flag_nothing_is_hedged() {
    let more = "[[operation]]\nname = \"urgent\"\npriority = \"critical\"\norder = [\"fra\", \"dub\"]";
    let house = house(more).await;
    for _ in 0..KNOWN {
        answered_by(&house, "urgent", "fra").await;
    }
    nothing_is_hedged(&house).await;
}

#[tokio::test]
async fn fallback_can_be_switched_off_per_kind() {
    let house = house("[flags]\ndirect_fallback = false\nmcp_fallback = true").await;
    let answer = ask(&house, "any", "standard").await;
    assert_eq!(answer.header("x-outcrop-path"), "desk");
    house.break_path("desk", Fault::new(FaultKind::Error)).await;
    let answer = ask(&house, "any", "standard").await;
    assert_ne!(answer.status, 200, "nothing stands in for MCP: {answer:?}");
    let decision = house.decision(&answer).await;
    let excluded = |path: &str| {
        let rows = decision["candidates"].as_array().unwrap();
        rows.iter().find(|row| row["target"] == name(path).as_str()).unwrap()["excluded"].clone()
    };
    assert_eq!(excluded("fra"), "fallback_off", "{decision}");
    answered_by(&house, "infrastructure", "fra").await;
}
