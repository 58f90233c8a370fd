//! The emergency stop: what it keeps from starting, what it cuts, and how one comes back.
//!
//! That nothing was dispatched is read from the lab's own requests, never from the gateway.

use std::{fs, path::PathBuf};

use assert_cmd::Command;
use http::Method;
use http_body_util::BodyExt as _;
use outcrop_lab::script::{Fault, FaultKind, Script, Spread};
use outcrop_store::keys::{Pepper, to_hex};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    api::{APIS, Api},
    client::{self, Answer},
    house::{House, Setup, eventually, within},
};

const PEPPER: &str = "0123456789abcdef0123456789abcdef";
const KEY: &str = "oc_00c1_stop-secret";
const OTHER: &str = "oc_00c2_other-secret";
const EYE: &str = "oc_00c3_eye-secret";
const OPS: &str = "oc_00c4_ops-secret";

/// A gateway with two callers, a viewer, an operator and the operator's socket.
struct Stoppable {
    house: House,
    folder: TempDir,
}

impl Stoppable {
    async fn start(more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let hash = |key: &str| to_hex(&Pepper::new(PEPPER.as_bytes()).hash(key));
        let more = format!(
            "{more}\n[[key]]\nname = \"ci\"\nhash = \"oc_00c1:{}\"\nteam = \"blue\"\norg = \"acme\"\n\
             [[key]]\nname = \"cd\"\nhash = \"oc_00c2:{}\"\n\
             [[key]]\nname = \"eye\"\nhash = \"oc_00c3:{}\"\nrole = \"viewer\"\n\
             [[key]]\nname = \"ops\"\nhash = \"oc_00c4:{}\"\nrole = \"operator\"\n",
            hash(KEY),
            hash(OTHER),
            hash(EYE),
            hash(OPS)
        )
        .replace("FOLDER", folder.path().to_str().unwrap());
        let setup = Setup {
            auth: format!("mode = \"keys\"\npepper = \"{PEPPER}\""),
            listen: format!("operator = \"{}\"", folder.path().join("outcrop.sock").display()),
            more,
            admin_key: EYE,
            ..Setup::default()
        };
        Self { house: House::set_up(setup).await, folder }
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("outcrop.sock")
    }

    /// Gives an order at the operator's socket.
    async fn order(&self, path: &str, order: Value) -> Answer {
        let (socket, path) = (self.socket(), format!("/admin/v1/{path}"));
        let headers = [("content-type", "application/json")];
        let order = client::send_unix(&socket, Method::POST, &path, &headers, order.to_string());
        within("the order", order).await.unwrap()
    }

    async fn stop(&self, scope: &str, level: &str) -> String {
        let order = json!({"scope": scope, "level": level, "reason": "drill"});
        let answer = self.order("stop", order).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()["stop"]["id"].as_str().unwrap().to_owned()
    }

    async fn resume(&self, scope: &str) {
        let answer = self.order("resume", json!({"scope": scope})).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    async fn ask(&self, api: Api, model: &str, stream: bool, headers: &[(&str, &str)]) -> Answer {
        let mut all = vec![("x-api-key", KEY)];
        all.extend_from_slice(headers);
        api.ask(&self.house, model, "[[tokens=3]]", stream, &all).await
    }

    /// A stream of which the first piece came.
    async fn begun(&self, api: Api, model: &str) -> http::Response<hyper::body::Incoming> {
        let slow = Script { pace_ms: Some(Spread::Fixed(20.0)), ..Script::default() };
        self.house.lab.script("fra", slow).await.unwrap();
        let body = api.body(model, "[[tokens=2000]]", true).to_string();
        let mut headers = vec![("content-type", "application/json"), ("x-api-key", KEY)];
        headers.extend(api.headers());
        let route = api.route(model, true);
        let opening = client::open(self.house.data(), Method::POST, &route, &headers, body);
        within("the head", opening).await.unwrap()
    }
}

#[tokio::test]
async fn each_scope_is_refused_and_no_other() {
    let here = Stoppable::start("").await;
    let headers =
        [("x-outcrop-user", "ada"), ("x-outcrop-run", "nightly"), ("x-outcrop-operation", "fra-dub")];
    for scope in [
        "all",
        "org:acme",
        "team:blue",
        "key:ci",
        "user:ada",
        "run:nightly",
        "model:on-fra",
        "path:fra",
        "region:eu-central-1",
        "operation:fra-dub",
        "key:ci+model:on-fra",
        "user:*",
    ] {
        let before = here.house.seen("fra").len();
        here.stop(scope, "drain").await;
        let answer = here.ask(Api::OpenAi, "on-fra", false, &headers).await;
        let (_, code) = Api::OpenAi.error(&answer);
        assert_eq!((answer.status, code.as_str()), (503, "stopped"), "{scope}: {answer:?}");
        assert!(!answer.header("retry-after").is_empty(), "{scope}");
        assert!(answer.text().contains("drill"), "{scope}: {answer:?}");
        assert_eq!(here.house.seen("fra").len(), before, "{scope}: nothing is dispatched");
        let other = [("x-api-key", OTHER), ("x-outcrop-operation", "dub-fra")];
        let free = Api::OpenAi.ask(&here.house, "on-dub", "hi", false, &other).await;
        let everybody = matches!(scope, "all" | "user:*");
        assert_eq!(free.status, if everybody { 503 } else { 200 }, "{scope}: {free:?}");
        here.resume(scope).await;
        assert_eq!(here.ask(Api::OpenAi, "on-fra", false, &headers).await.status, 200, "{scope}");
    }
}

#[tokio::test]
async fn every_dialect_says_that_it_is_stopped() {
    let here = Stoppable::start("").await;
    here.stop("all", "drain").await;
    for api in APIS {
        for stream in [false, true] {
            let answer = here.ask(api, "any", stream, &[]).await;
            let told = api.hear(&answer);
            assert_eq!(told.errors[0].1, "stopped", "{api:?}: {answer:?}");
        }
    }
    let ready = here.house.admin("/readyz").await;
    assert!(ready.status == 503 && ready.text().contains("drill"), "{ready:?}");
    let metrics = here.house.admin("/metrics").await.text();
    assert!(metrics.contains("outcrop_stops_in_force{level=\"drain\"} 1"), "{metrics}");
    for (path, _) in crate::house::PATHS {
        assert_eq!(here.house.seen(path).len(), 0, "{path}");
    }
}

#[tokio::test]
async fn a_stopped_path_is_passed_over_and_a_stopped_scope_does_not_fail_over() {
    let here = Stoppable::start("").await;
    let headers = [("x-outcrop-operation", "fra-dub")];
    here.stop("path:fra", "drain").await;
    let answer = here.ask(Api::OpenAi, "any", false, &headers).await;
    assert_eq!((answer.status, answer.header("x-outcrop-path")), (200, "dub"), "{answer:?}");
    assert_eq!(here.house.seen("fra").len(), 0);
    here.resume("path:fra").await;
    // The first attempt runs when the stop comes, and fails after it.
    let dubbed = here.house.seen("dub").len();
    let late = Script {
        latency_ms: Some(Spread::Fixed(400.0)),
        ..Script::faulty([Fault::new(FaultKind::Error).spelled(500, "internal")])
    };
    here.house.lab.script("fra", late).await.unwrap();
    let asking = here.ask(Api::OpenAi, "any", false, &headers);
    let stopping = async {
        eventually("the call arrives", async || (!here.house.seen("fra").is_empty()).then_some(())).await;
        here.stop("key:ci", "drain").await;
    };
    let (answer, ()) = tokio::join!(asking, stopping);
    assert_ne!(answer.status, 200, "{answer:?}");
    assert_eq!(here.house.seen("dub").len(), dubbed, "a further attempt is a new dispatch");
}

#[tokio::test]
async fn a_drain_lets_streams_go_on_and_a_stop_ends_them_with_an_error() {
    for api in [Api::OpenAi, Api::Anthropic, Api::Converse, Api::Invoke] {
        let here = Stoppable::start("").await;
        let mut stream = here.begun(api, "on-fra").await;
        here.stop("key:ci", "drain").await;
        for _ in 0..10 {
            within("a piece", stream.body_mut().frame()).await.unwrap().unwrap();
        }
        here.stop("key:cd", "kill").await;
        within("a piece", stream.body_mut().frame()).await.unwrap().unwrap();
        here.stop("key:ci", "stop").await;
        let answer = within("the end", client::read(stream)).await;
        let told = api.hear(&answer);
        assert!(told.ends.is_empty() && told.errors.len() == 1, "{api:?}: {told:?}");
        assert_eq!(told.errors[0].1, "stopped", "{api:?}: {told:?}");
        let decision = here.house.newest_decision(|d| d["outcome"]["label"].is_string()).await;
        assert_eq!(decision["outcome"]["code"], "stopped", "{decision}");
        let balance = here.house.admin("/admin/v1/balance").await.json();
        assert_eq!(balance["pending"], 0, "what ran is settled: {balance}");
    }
}

#[tokio::test]
async fn streams_of_http2_end_too() {
    let here = Stoppable::start("").await;
    let slow = Script { pace_ms: Some(Spread::Fixed(20.0)), ..Script::default() };
    here.house.lab.script("fra", slow).await.unwrap();
    let mut sender = client::connect_h2(here.house.data()).await;
    let body = Api::OpenAi.body("on-fra", "[[tokens=2000]]", true);
    let headers = [("x-api-key", KEY)];
    let request = client::post_h2(here.house.data(), &Api::OpenAi.route("on-fra", true), &headers, &body);
    let stream = within("the head", sender.send_request(request)).await.unwrap();
    here.stop("all", "stop").await;
    let told = Api::OpenAi.hear(&within("the end", client::read(stream)).await);
    assert_eq!(told.errors[0].1, "stopped", "{told:?}");
}

#[tokio::test]
async fn a_kill_cuts_what_hangs_and_nothing_of_its_scope_is_dispatched_afterwards() {
    let here = Stoppable::start("").await;
    for path in ["fra", "oai", "ant", "desk"] {
        here.house.break_path(path, Fault::new(FaultKind::Hang)).await;
    }
    let hanging = ["on-fra", "on-oai", "on-ant", "on-desk"].map(|model| {
        let here = &here;
        async move { here.ask(Api::OpenAi, model, model == "on-oai", &[]).await }
    });
    let killing = async {
        eventually("all calls arrive", async || {
            ["fra", "oai", "ant", "desk"].iter().all(|path| !here.house.seen(path).is_empty()).then_some(())
        })
        .await;
        here.stop("key:ci", "stop").await;
        here.stop("team:blue", "kill").await;
    };
    let (answers, ()) = tokio::join!(futures_util::future::join_all(hanging), killing);
    for answer in answers {
        assert_eq!((answer.status, Api::OpenAi.error(&answer).1.as_str()), (503, "stopped"), "{answer:?}");
    }
    for path in ["fra", "oai", "ant", "desk"] {
        eventually("the upstream is let go", async || {
            here.house.seen(path).iter().any(|seen| seen.aborted_by_peer).then_some(())
        })
        .await;
        here.house.heal(path).await;
        let seen = here.house.seen(path).len();
        for api in APIS {
            here.ask(api, &format!("on-{path}"), false, &[]).await;
        }
        assert_eq!(here.house.seen(path).len(), seen, "{path}");
    }
}

#[tokio::test]
async fn a_stop_leaves_whole_answers_alone() {
    let here = Stoppable::start("").await;
    let late = Script { latency_ms: Some(Spread::Fixed(300.0)), ..Script::default() };
    here.house.lab.script("fra", late).await.unwrap();
    let asking = here.ask(Api::OpenAi, "on-fra", false, &[]);
    let stopping = async {
        eventually("the call arrives", async || (!here.house.seen("fra").is_empty()).then_some(())).await;
        here.stop("all", "stop").await;
    };
    let (answer, ()) = tokio::join!(asking, stopping);
    assert_eq!(answer.status, 200, "{answer:?}");
}

/// Calls the lab's further tool of the path `desk`.
async fn call_tool(here: &Stoppable) -> Answer {
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "t", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let body = json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {
        "name": "desk__echo", "arguments": {}, "_meta": meta
    }});
    let headers = [
        ("x-api-key", KEY),
        ("accept", "application/json, text/event-stream"),
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "tools/call"),
        ("mcp-name", "desk__echo"),
    ];
    here.house.post("/mcp", &headers, &body).await
}

#[tokio::test]
async fn a_federated_tool_is_stopped_by_its_name_and_by_its_path() {
    let here = Stoppable::start("").await;
    for scope in ["tool:desk__echo", "path:desk", "key:ci"] {
        let before = here.house.seen("desk").len();
        here.stop(scope, "drain").await;
        let answer = call_tool(&here).await;
        assert_eq!(answer.json()["error"]["data"]["code"], "stopped", "{scope}: {answer:?}");
        assert_eq!(here.house.seen("desk").len(), before, "{scope}");
        here.resume(scope).await;
        call_tool(&here).await;
        assert_eq!(here.house.seen("desk").len(), before + 1, "{scope}");
    }
}

#[tokio::test]
async fn the_operators_socket_works_while_hundreds_of_requests_hang() {
    const HANGING: usize = 500;
    let here = Stoppable::start("").await;
    here.house.break_path("fra", Fault::new(FaultKind::Hang)).await;
    let hanging: Vec<_> = (0..HANGING).map(|_| here.ask(Api::OpenAi, "on-fra", false, &[])).collect();
    let killing = async {
        eventually("all calls arrive", async || (here.house.seen("fra").len() >= HANGING).then_some(()))
            .await;
        here.stop("all", "kill").await;
    };
    let (answers, ()) = tokio::join!(futures_util::future::join_all(hanging), killing);
    assert!(answers.iter().all(|answer| Api::OpenAi.error(answer).1 == "stopped"));
    assert_eq!(here.house.seen("fra").len(), HANGING);
}

#[tokio::test]
async fn a_file_stops_everything_while_it_is_there() {
    let here = Stoppable::start("[stop]\nfile = \"FOLDER/STOP\"").await;
    let file = here.folder.path().join("STOP");
    let mut stream = here.begun(Api::OpenAi, "on-fra").await;
    fs::write(&file, "drain").unwrap();
    eventually("the file is obeyed", async || {
        (here.ask(Api::OpenAi, "on-dub", false, &[]).await.status == 503).then_some(())
    })
    .await;
    within("a piece", stream.body_mut().frame()).await.unwrap().unwrap();
    let refused = here.order("resume", json!({})).await;
    assert!(refused.status == 409 && refused.text().contains("remove the file"), "{refused:?}");
    fs::write(&file, "stop").unwrap();
    let told = Api::OpenAi.hear(&within("the end", client::read(stream)).await);
    assert_eq!(told.errors[0].1, "stopped", "{told:?}");
    fs::remove_file(&file).unwrap();
    eventually("it is over", async || {
        (here.ask(Api::OpenAi, "on-dub", false, &[]).await.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_staged_resume_lets_some_in() {
    let here = Stoppable::start("[stop]\nstaged_over = \"1h\"").await;
    here.stop("all", "drain").await;
    let answer = here.order("resume", json!({"staged": true})).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let mut let_in = 0;
    for _ in 0..200 {
        let_in += usize::from(here.ask(Api::OpenAi, "on-fra", false, &[]).await.status == 200);
    }
    assert!((1..100).contains(&let_in), "about a tenth: {let_in}");
    assert_eq!(here.house.seen("fra").len(), let_in);
}

#[tokio::test]
async fn two_persons_resume() {
    let here = Stoppable::start("[stop]\ntwo_person_resume = true").await;
    here.stop("all", "drain").await;
    for (by, status) in [("ada", 200), ("ada", 409)] {
        let answer = here.order("resume", json!({"by": by})).await;
        assert_eq!(answer.status, status, "{by}: {answer:?}");
        assert_eq!(here.ask(Api::OpenAi, "on-fra", false, &[]).await.status, 503);
    }
    let answer = here.order("resume", json!({"by": "bob"})).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(here.ask(Api::OpenAi, "on-fra", false, &[]).await.status, 200);
}

#[tokio::test]
async fn through_the_network_an_operators_key_stops_and_a_viewers_does_not() {
    let here = Stoppable::start("").await;
    for (key, status) in [(EYE, 403), (KEY, 403), ("", 401), (OPS, 200)] {
        let answer = here.house.admin_as(key, Method::POST, "/admin/v1/stop", r#"{"by": "ada"}"#).await;
        assert_eq!(answer.status, status, "{key}: {answer:?}");
        assert_eq!(here.ask(Api::OpenAi, "on-fra", false, &[]).await.status == 503, status == 200, "{key}");
    }
    let stops = here.house.admin("/admin/v1/stops").await.json();
    assert_eq!(stops[0]["by"], "ops", "a key's holder is named by the key: {stops}");
}

#[tokio::test]
async fn failures_stop_a_path_by_themselves_and_never_the_first_one() {
    let trigger = "[[stop.trigger]]\nscope = \"path:*\"\nkind = \"consecutive_failures\"\nfailures = 3";
    let here = Stoppable::start(trigger).await;
    here.house.break_path("fra", Fault::new(FaultKind::Error).spelled(500, "internal")).await;
    for n in 0..6 {
        let answer = here.ask(Api::OpenAi, "on-fra", false, &[]).await;
        let stopped = Api::OpenAi.error(&answer).1 == "stopped";
        assert_eq!(stopped, n >= 3, "{n}: {answer:?}");
    }
    assert_eq!(here.house.seen("fra").len(), 3);
    assert_eq!(here.ask(Api::OpenAi, "on-dub", false, &[]).await.status, 200);
    let stops = here.house.admin("/admin/v1/stops").await.json();
    assert!(stops[0]["scope"] == "path:fra" && stops[0]["reason"] == "3 failures in a row", "{stops}");
    eventually("it is journalled", async || {
        let stops = here.house.admin("/admin/v1/stops").await.json();
        (stops[0]["kept"] == "durable").then_some(())
    })
    .await;
}

#[tokio::test]
async fn money_that_no_complete_answer_speaks_of_stops_too() {
    let trigger = "[[stop.trigger]]\nscope = \"path:*\"\nkind = \"spend_per_hour\"\nlimit = \"0.001 USD\"";
    let here = Stoppable::start(trigger).await;
    // What was cut off is in suspense: it counts as spent.
    here.house.break_path("oai", Fault::new(FaultKind::Cut).after(3)).await;
    for n in 0..4 {
        let answer = here.ask(Api::OpenAi, "on-oai", true, &[]).await;
        assert!(!Api::OpenAi.hear(&answer).is_complete(Api::OpenAi), "{n}: {answer:?}");
    }
    let seen = here.house.seen("oai").len();
    assert!((2..4).contains(&seen), "neither the first one nor none: {seen}");
    let stops = here.house.admin("/admin/v1/stops").await.json();
    let reason = stops[0]["reason"].as_str().unwrap();
    assert!(stops[0]["scope"] == "path:oai" && reason.contains("spent within an hour"), "{stops}");
}

fn outcrop(here: &Stoppable, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_outcrop"));
    command.env_clear().env("NO_COLOR", "1").args(arguments).arg("--socket").arg(here.socket());
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_stop_list_and_resume() {
    let here = Stoppable::start("").await;
    let run = |arguments: &[&str]| {
        let output = outcrop(&here, arguments).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
    };
    let (code, told, complaint) =
        run(&["stop", "--scope", "key:ci", "--level", "kill", "--reason", "leaked", "--as", "ada"]);
    assert!(code == 0 && told.contains("stopped key:ci (kill)"), "{told}{complaint}");
    assert_eq!(here.ask(Api::OpenAi, "on-fra", false, &[]).await.status, 503);
    let (code, told, _) = run(&["stop", "list"]);
    assert!(code == 0 && told.contains("leaked") && told.contains("ada"), "{told}");
    let (code, _, complaint) = run(&["stop", "--scope", "kee:ci"]);
    assert!(code == 64 && complaint.contains("not a kind of scope"), "{complaint}");
    let (code, _, complaint) = run(&["resume"]);
    assert!(code == 64 && complaint.contains("key:ci"), "it names what there is: {complaint}");
    let (code, told, complaint) = run(&["resume", "--scope", "key:ci"]);
    assert!(code == 0 && told.contains("resumed"), "{told}{complaint}");
    assert_eq!(here.ask(Api::OpenAi, "on-fra", false, &[]).await.status, 200);
}

#[tokio::test]
async fn what_is_still_being_counted_is_never_sent() {
    let budget = "[[budget]]\nscope = \"all\"\nwindow = \"lifetime\"\nlimit = \"0.2 USD\"\n\
                  carve_out = \"0%\"\ninput_count = \"exact\"\n";
    let here = Stoppable::start(budget).await;
    // Its bytes do not fit, so it is counted; the count does not answer.
    let text = format!("[[tokens=3]]{}", "word ".repeat(16_000));
    let ask = async || Api::Converse.ask(&here.house, "on-fra", &text, false, &[("x-api-key", KEY)]).await;
    here.house.break_path("fra", Fault::new(FaultKind::Hang).times(1)).await;
    let stop = async {
        eventually("the count", async || (here.house.seen("fra").len() == 1).then_some(())).await;
        here.stop("key:ci", "kill").await;
    };
    let (answer, ()) = tokio::join!(ask(), stop);
    let (_, code) = Api::Converse.error(&answer);
    assert!(["stopped", "budget_exceeded"].contains(&code.as_str()), "{answer:?}");
    let seen = here.house.seen("fra");
    assert!(seen.len() == 1 && seen[0].path.ends_with("count-tokens"), "nothing is sent: {seen:?}");
    here.resume("key:ci").await;
    let answer = ask().await;
    assert_eq!(answer.status, 200, "nothing stays reserved: {answer:?}");
    assert_eq!(here.house.executions("fra"), 1);
}
