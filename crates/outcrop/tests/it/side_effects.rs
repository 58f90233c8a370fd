//! A tool with effects runs at most once, whatever the network does.

use outcrop_lab::script::{Fault, FaultKind};

use crate::{
    api::Api,
    house::{House, Setup, simulated},
};

/// A gateway whose MCP tool has this effect.
async fn house(effect: &str) -> House {
    House::set_up(Setup { desk: format!("effect = \"{effect}\""), ..Setup::default() }).await
}

const DESK_FIRST: (&str, &str) = ("x-outcrop-operation", "desk-fra");

/// Ends after which the tool may have run.
fn ambiguous() -> Vec<Fault> {
    let ran = |kind| Fault { executed: Some(true), ..Fault::new(kind) };
    vec![
        ran(FaultKind::Hang),
        ran(FaultKind::ResetBefore),
        Fault::new(FaultKind::ResetInside),
        Fault::new(FaultKind::Cut),
        Fault::new(FaultKind::Garbage),
        Fault::new(FaultKind::Error).spelled(500, "internal_error"),
    ]
}

#[tokio::test]
async fn an_ambiguous_end_is_never_run_again() {
    for effect in ["unsafe", "keyed"] {
        let house = house(effect).await;
        let mut calls = 0;
        for fault in ambiguous() {
            let case = format!("{effect} {fault:?}");
            house.break_path("desk", fault).await;
            for stream in [false, true] {
                let headers = [DESK_FIRST, ("x-outcrop-deadline-ms", "800")];
                let answer = Api::OpenAi.ask(&house, "any", "hi", stream, &headers).await;
                calls += 1;
                let (_, code) = Api::OpenAi.error(&answer);
                assert_eq!((answer.status, code.as_str()), (502, "outcome_unknown"), "{case}: {answer:?}");
                assert_eq!(answer.header("x-should-retry"), "false", "{case}");
                assert_eq!(house.seen("desk").len(), calls, "{case}");
            }
        }
        assert_eq!(house.seen("fra").len(), 0, "{effect}");
        let billed = house.billed("desk", 1).await;
        assert!(billed.len() <= calls, "{effect}: {billed:?}");
    }
}

#[tokio::test]
async fn every_dialect_says_that_the_outcome_is_unknown() {
    let house = house("unsafe").await;
    house.break_path("desk", Fault::new(FaultKind::ResetBefore)).await;
    for api in crate::api::APIS {
        let answer = api.ask(&house, "any", "hi", false, &[DESK_FIRST]).await;
        let told = api.hear(&answer);
        assert_eq!(told.errors.len(), 1, "{api:?}: {answer:?}");
        assert_eq!(told.errors[0].1, "outcome_unknown", "{api:?}: {answer:?}");
    }
}

#[tokio::test]
async fn what_was_never_sent_may_go_elsewhere() {
    let house = house("unsafe").await;
    house.take_down("desk").await;
    let answer = Api::OpenAi.ask(&house, "any", "[[tokens=3]]", false, &[DESK_FIRST]).await;
    assert_eq!(Api::OpenAi.hear(&answer).text, simulated("fra", 3), "{answer:?}");
    assert_eq!(house.executions("desk"), 0);
}

#[tokio::test]
async fn what_the_server_refused_may_go_elsewhere() {
    let house = house("unsafe").await;
    house.break_path("desk", Fault { status: Some(429), ..Fault::new(FaultKind::Error) }).await;
    let answer = Api::OpenAi.ask(&house, "any", "[[tokens=3]]", false, &[DESK_FIRST]).await;
    assert_eq!(Api::OpenAi.hear(&answer).text, simulated("fra", 3), "{answer:?}");
    assert_eq!(house.executions("desk"), 0);
}

#[tokio::test]
async fn a_tools_own_error_is_final_where_it_has_effects() {
    let house = house("unsafe").await;
    let error_type = Some("tool_error".to_owned());
    house.break_path("desk", Fault { error_type, ..Fault::new(FaultKind::Error) }).await;
    let answer = Api::OpenAi.ask(&house, "any", "hi", false, &[DESK_FIRST]).await;
    assert_eq!(answer.status, 502, "{answer:?}");
    assert!(answer.text().contains("scripted error of the lab"), "{answer:?}");
    assert_eq!((house.seen("desk").len(), house.seen("fra").len()), (1, 0));
}
