//! What a script does to the MCP server over HTTP.

use outcrop_lab::{
    Lab,
    script::{Fault, FaultKind, Script},
};
use serde_json::json;

use super::{Session, ask_modern, call_modern, messages, question, records, response, start};

async fn script(lab: &Lab, fault: Fault) {
    lab.script("desk", Script::faulty([fault])).await.unwrap();
}

#[tokio::test]
async fn the_type_of_an_error_chooses_its_spelling() {
    let (lab, address) = start().await;
    let session = Session::start(address).await;
    let echo = json!({"text": "x"});
    script(&lab, Fault { error_type: Some("tool_error".to_owned()), ..Fault::new(FaultKind::Error) }).await;
    let result = response(&session.call("echo", &echo).await)["result"].clone();
    assert!(result["isError"] == true && result.get("resultType").is_none());
    let result = response(&call_modern(address, "echo", &echo).await)["result"].clone();
    assert!(result["isError"] == true && result["resultType"] == "complete");
    script(&lab, Fault { error_type: Some("-32050".to_owned()), ..Fault::new(FaultKind::Error) }).await;
    let error = response(&session.call("echo", &echo).await);
    assert_eq!((error["id"].as_u64(), error["error"]["code"].as_i64()), (Some(7), Some(-32_050)));
    script(&lab, Fault::new(FaultKind::Throttle)).await;
    let throttled = session.call("echo", &echo).await;
    assert_eq!((throttled.status.as_u16(), throttled.header("retry-after")), (429, "1"));
    let records = records(&lab, 4).await;
    assert!(records.iter().all(|record| record.operation == "echo" && !record.executed));
}

#[tokio::test]
async fn a_forgotten_session_is_unknown_and_another_one_works() {
    let (lab, address) = start().await;
    let session = Session::start(address).await;
    script(&lab, Fault::new(FaultKind::ForgetSession).times(1)).await;
    assert_eq!(session.call("echo", &json!({"text": "x"})).await.status, 404);
    assert_eq!(session.call("echo", &json!({"text": "x"})).await.status, 404);
    let fresh = Session::start(address).await;
    assert_eq!(fresh.call("echo", &json!({"text": "x"})).await.status, 200);
    assert_eq!(records(&lab, 1).await.len(), 1);
}

#[tokio::test]
async fn a_server_that_went_down_refuses_and_comes_back_without_its_sessions() {
    let (lab, address) = start().await;
    let session = Session::start(address).await;
    lab.script("desk", Script::down()).await.unwrap();
    let refused = session.ask(1, "tools/list", &json!({})).await;
    assert!(refused.unwrap_err().starts_with("connect"));
    lab.heal("desk").await.unwrap();
    assert_eq!(session.call("echo", &json!({"text": "x"})).await.status, 404);
    assert_eq!(call_modern(address, "echo", &json!({"text": "x"})).await.status, 200);
}

#[tokio::test]
async fn going_down_ends_calls_in_flight_and_bills_them_as_left() {
    let (lab, address) = start().await;
    let session = Session::start(address).await;
    let params = json!({"name": "slow", "arguments": {"ms": 600_000}});
    let asking = session.ask(7, "tools/call", &params);
    let falling = async {
        while lab.requests("desk").unwrap().last().is_none_or(|seen| seen.status == 0 || seen.ended) {
            tokio::task::yield_now().await;
        }
        lab.script("desk", Script::down()).await.unwrap();
    };
    let (answer, ()) = tokio::join!(asking, falling);
    assert!(answer.is_err() || !answer.unwrap().whole);
    let record = records(&lab, 1).await.remove(0);
    assert!(record.operation == "slow" && record.client_gone && !record.completed, "{record:?}");
}

#[tokio::test]
async fn streams_break_after_so_many_events_but_the_tool_ran() {
    let (lab, address) = start().await;
    let params =
        json!({"name": "converse", "arguments": question("[[tokens=5]]"), "_meta": {"progressToken": 1}});
    let ask = async |fault: Fault| {
        script(&lab, fault).await;
        ask_modern(address, "tools/call", &params).await.unwrap()
    };
    let cut = ask(Fault::new(FaultKind::Cut).after(2)).await;
    assert_eq!((messages(&cut).len(), cut.whole), (2, false));
    let half = ask(Fault::new(FaultKind::CutMidFrame).after(2)).await;
    assert_eq!((messages(&half).len(), half.whole), (2, false));
    assert!(!half.body.ends_with(b"\n\n"));
    let exception = ask(Fault::new(FaultKind::StreamException).after(2)).await;
    assert_eq!(messages(&exception)[2]["error"]["code"], -32_603);
    assert!(records(&lab, 3).await.iter().all(|record| record.executed));
}

#[tokio::test]
async fn an_effect_can_happen_although_its_answer_is_lost() {
    let (lab, address) = start().await;
    let note = json!({"name": "write_note", "arguments": {"text": "x"}});
    script(&lab, Fault::new(FaultKind::ResetInside)).await;
    assert!(!ask_modern(address, "tools/call", &note).await.unwrap().whole);
    script(&lab, Fault::new(FaultKind::ResetBefore)).await;
    ask_modern(address, "tools/call", &note).await.unwrap_err();
    script(&lab, Fault { executed: Some(true), ..Fault::new(FaultKind::ResetBefore) }).await;
    ask_modern(address, "tools/call", &note).await.unwrap_err();
    let records = records(&lab, 3).await;
    let executed: Vec<bool> = records.iter().map(|record| record.executed).collect();
    assert_eq!(executed, [true, false, true]);
}

#[tokio::test]
async fn a_hanging_call_is_never_answered_and_never_runs() {
    let (lab, address) = start().await;
    script(&lab, Fault::new(FaultKind::Hang)).await;
    let note = json!({"text": "x"});
    let hanging = call_modern(address, "write_note", &note);
    let leaving = async {
        while lab.requests("desk").unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        answer = hanging => panic!("{answer:?}"),
        () = leaving => {}
    }
    let record = records(&lab, 1).await.remove(0);
    assert_eq!((record.operation.as_str(), record.executed), ("write_note", false));
}

#[tokio::test]
async fn garbage_and_huge_results_arrive() {
    let (lab, address) = start().await;
    let echo = json!({"text": "x"});
    script(&lab, Fault::new(FaultKind::Garbage)).await;
    let garbage = call_modern(address, "echo", &echo).await;
    assert!(serde_json::from_slice::<serde_json::Value>(&garbage.body).is_err());
    script(&lab, Fault::new(FaultKind::Huge)).await;
    let huge = call_modern(address, "echo", &echo).await;
    assert!(huge.body.len() > 20 * 1024 * 1024);
    assert!(records(&lab, 2).await.iter().all(|record| record.executed));
}

#[tokio::test]
async fn the_handshake_is_spared_unless_it_is_named() {
    let (lab, address) = start().await;
    script(&lab, Fault::new(FaultKind::ResetBefore)).await;
    let session = Session::start(address).await;
    assert_eq!(session.ask(1, "tools/list", &json!({})).await.unwrap().status, 200);
    script(&lab, Fault::new(FaultKind::Error).spelled(503, "internal_error").on("tools/list")).await;
    assert_eq!(session.ask(2, "tools/list", &json!({})).await.unwrap().status, 503);
    assert_eq!(session.call("echo", &json!({"text": "x"})).await.status, 200);
}

#[tokio::test]
async fn an_expired_credential_is_a_401_with_a_challenge() {
    let (lab, address) = start().await;
    lab.script("desk", Script { credential_expired: true, ..Script::default() }).await.unwrap();
    let answer = call_modern(address, "echo", &json!({"text": "x"})).await;
    assert_eq!(answer.status, 401);
    assert!(answer.header("www-authenticate").starts_with("Bearer"));
}
