//! `kill -9` between the dispatch of a keyed call and its result.

use outcrop_lab::{
    Lab, LabConfig,
    script::{Fault, FaultKind, Script},
};
use serde_json::json;

use super::place::{Place, SQLITE};
use crate::{
    house::{Setup, eventually},
    keyed::{KEYED, call, code},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_call_whose_gateway_was_killed_is_never_run_again() {
    let lab = Lab::start(LabConfig::ephemeral()).await.unwrap();
    let setup = Setup { store: SQLITE.to_owned(), desk: KEYED.to_owned(), ..Setup::default() };
    let place = Place::new(&lab, setup);
    let gateway = place.start().await;
    let note = json!({"text": "a"});
    let done = call(gateway.data, "write_note", note.clone(), "done").await;
    assert!(done.json()["result"].is_object(), "{done:?}");
    let fault = Fault { executed: Some(true), ..Fault::new(FaultKind::Hang) };
    lab.script("desk", Script::faulty([fault])).await.unwrap();
    let calls = || {
        let all = lab.requests("desk").unwrap();
        all.iter().filter(|seen| seen.headers.get("mcp-method").is_some_and(|m| m == "tools/call")).count()
    };
    let before = calls();
    let address = gateway.data;
    let hanging = note.clone();
    let asking = tokio::spawn(async move { call(address, "write_note", hanging, "lost").await });
    eventually("the call arrives", async || (calls() > before).then_some(())).await;
    gateway.kill().await;
    asking.abort();
    lab.heal("desk").await.unwrap();
    let gateway = place.start().await;
    for _ in 0..3 {
        let answer = call(gateway.data, "write_note", note.clone(), "lost").await;
        assert_eq!(code(&answer), "outcome_unknown", "{answer:?}");
    }
    let kept = call(gateway.data, "write_note", note, "done").await;
    assert_eq!(kept.json()["result"], done.json()["result"], "a result is kept over restarts");
    assert_eq!(calls(), before + 1, "nothing ran again");
    gateway.kill().await;
}
