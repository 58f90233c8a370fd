//! Decision records: exported, found, explained, and made again with another configuration.

use std::{collections::BTreeSet, fs, path::Path};

use assert_cmd::Command;
use http::Method;
use outcrop_core::decision::Decision;
use outcrop_lab::script::{Fault, FaultKind};
use serde_json::{Value, json};

use crate::{
    api::{APIS, Api},
    house::{House, Setup, eventually, text, within},
};

const HEADERS: [(&str, &str); 1] = [("x-outcrop-operation", "fra-dub")];

/// The binary with these arguments; its code, its output and its complaint.
pub(crate) async fn shell(arguments: &[&str]) -> (i32, String, String) {
    let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
    let running = tokio::task::spawn_blocking(move || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_outcrop"));
        let output = command.env_clear().env("NO_COLOR", "1").env("COLUMNS", "300").args(arguments).output();
        output.unwrap()
    });
    let output = within("the command", running).await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

/// A house whose commands reach it at this socket.
pub(crate) async fn with_socket(folder: &Path, setup: Setup) -> (House, String) {
    let socket = folder.join("outcrop.sock");
    let listen = format!("operator = \"{}\"", socket.display());
    let house = House::set_up(Setup { listen, ..setup }).await;
    (house, socket.to_str().unwrap().to_owned())
}

/// Every record of a file.
fn records(file: &Path) -> Vec<Decision> {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
}

#[tokio::test]
async fn every_record_is_exported_whole_and_none_is_lost_at_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("decisions.jsonl");
    let more = format!("[decisions]\nexport = {file:?}\n");
    let house = House::with(&more).await;
    house.break_path("fra", Fault::new(FaultKind::Throttle)).await;
    let mut ids = BTreeSet::new();
    for api in APIS {
        for stream in [false, true] {
            let answer = api.ask(&house, "any", "hi", stream, &HEADERS).await;
            assert_eq!(answer.status, 200, "{answer:?}");
            ids.insert(answer.header("x-outcrop-request-id").to_owned());
        }
    }
    // The MCP endpoint has no header for it.
    let by_tool = house.running.gateway.decisions.recent(&outcrop_policy::Wanted::default(), 100);
    ids.extend(
        by_tool.iter().filter(|d| d.api == outcrop_core::Dialect::Mcp).map(|d| d.request_id.to_string()),
    );
    ids.remove("");
    let refused = Api::OpenAi.ask(&house, "nothing", "hi", false, &[]).await;
    ids.insert(refused.header("x-outcrop-request-id").to_owned());
    let House { lab, running, .. } = house;
    let gateway = std::sync::Arc::clone(&running.gateway);
    assert!(within("the drain", running.stop()).await);
    let exported = records(&file);
    let found: BTreeSet<String> = exported.iter().map(|d| d.request_id.to_string()).collect();
    assert_eq!(found, ids);
    for decision in exported {
        let kept = gateway.decisions.get(decision.request_id.as_str()).unwrap();
        assert_eq!(decision, *kept, "what is read is what was decided");
        assert_eq!(decision.basis.is_some(), decision.model == "any");
    }
    assert_eq!(gateway.metrics.decisions_dropped.get(), 0);
    let permission = std::os::unix::fs::MetadataExt::mode(&fs::metadata(&file).unwrap());
    assert_eq!(permission & 0o777, 0o600, "it names callers");
    drop(lab);
}

#[tokio::test]
async fn an_export_that_cannot_be_written_holds_no_request_up() {
    let more = "[decisions]\nexport = \"/dev/full\"\n";
    let house = House::with(more).await;
    for _ in 0..20 {
        assert_eq!(Api::OpenAi.ask(&house, "any", "hi", false, &HEADERS).await.status, 200);
    }
    eventually("the losses are counted", async || {
        (house.running.gateway.metrics.decisions_dropped.get() == 20).then_some(())
    })
    .await;
    let metrics = house.admin("/metrics").await;
    assert!(String::from_utf8_lossy(&metrics.body).contains("outcrop_decisions_dropped_total 20"));
}

#[tokio::test]
async fn records_are_found_by_what_is_known_of_them() {
    let house = House::start().await;
    let before = eventually("a record", async || {
        Api::OpenAi.ask(&house, "on-oai", "hi", false, &[]).await;
        let all = house.admin("/admin/v1/decisions").await.json();
        all[0]["accepted_at_ms"].as_u64()
    })
    .await;
    Api::OpenAi.ask(&house, "any", "hi", false, &HEADERS).await;
    Api::OpenAi.ask(&house, "any", "hi", false, &[("x-outcrop-operation", "desk-fra")]).await;
    Api::OpenAi.ask(&house, "nothing", "hi", false, &[]).await;
    house.newest_decision(|decision| decision["model"] == "nothing").await;
    for (query, expected) in [
        ("operation=fra-dub", vec!["fra-dub"]),
        ("path=desk&model=any", vec!["desk-fra"]),
        ("outcome=unknown_model", vec!["standard"]),
        ("model=any&limit=1", vec!["desk-fra"]),
        ("model=any&outcome=ok", vec!["desk-fra", "fra-dub"]),
        ("caller=nobody", vec![]),
        ("since=2999-01-01T00:00:00Z", vec![]),
    ] {
        let found = house.admin(&format!("/admin/v1/decisions?{query}")).await.json();
        let found: Vec<&str> =
            found.as_array().unwrap().iter().map(|d| d["operation"].as_str().unwrap()).collect();
        assert_eq!(found, expected, "{query}");
    }
    let since = house.admin(&format!("/admin/v1/decisions?since={before}")).await.json();
    assert!(since.as_array().unwrap().len() >= 4);
    for bad in ["since=yesterday", "limit=x", "owner=me"] {
        assert_eq!(house.admin(&format!("/admin/v1/decisions?{bad}")).await.status, 400, "{bad}");
    }
}

#[tokio::test]
async fn a_request_is_explained_by_its_id() {
    let folder = tempfile::tempdir().unwrap();
    let (house, socket) = with_socket(folder.path(), Setup::default()).await;
    house.break_path("fra", Fault::new(FaultKind::Throttle)).await;
    let answer = Api::OpenAi.ask(&house, "any", "hi", false, &HEADERS).await;
    let record = house.decision(&answer).await;
    let id = answer.header("x-outcrop-request-id");
    let (code, shown, complaint) = shell(&["explain", "--socket", &socket, "--request-id", id]).await;
    assert_eq!(code, 0, "{complaint}");
    for word in
        ["fra-dub", "fra/eu.anthropic", "throttled (refused)", "dub/eu.anthropic", "order", "ended ok"]
    {
        assert!(shown.contains(word), "{word} is missing: {shown}");
    }
    let (code, shown, _) = shell(&["explain", "--socket", &socket, "--request-id", id, "--json"]).await;
    assert_eq!((code, serde_json::from_str::<Value>(&shown).unwrap()), (0, record));
    let (code, _, complaint) = shell(&["explain", "--socket", &socket, "--request-id", "x-1"]).await;
    assert!(code == 64 && complaint.contains("No record"), "{code} {complaint}");
    assert_eq!(shell(&["explain", "--socket", &socket, "--request-id", "../keys"]).await.0, 64);
    assert_eq!(shell(&["explain", "--socket", &socket]).await.0, 64, "nothing is asked");
}

/// The first choice for a described request, or its refusal.
async fn explained(house: &House, described: &Value) -> String {
    let answer = house.admin_as("", Method::POST, "/admin/v1/explain", &described.to_string()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let explained = answer.json();
    if let Some(code) = explained["refused"]["code"].as_str() {
        return code.to_owned();
    }
    let candidates = explained["decision"]["candidates"].as_array().unwrap().clone();
    let first = candidates.iter().find(|c| c["rank"] == 0).unwrap();
    first["target"].as_str().unwrap().split('/').next().unwrap().to_owned()
}

#[tokio::test]
async fn a_described_request_is_decided_and_not_sent() {
    let house = House::set_up(Setup { breakers: true, ..Setup::default() }).await;
    for (described, expected) in [
        (json!({"model": "any", "operation": "fra-dub"}), "fra"),
        (json!({"model": "any", "operation": "desk-fra", "tools": true}), "desk"),
        (json!({"model": "any", "operation": "desk-fra", "path": "fra"}), "fra"),
        (json!({"model": "any", "operation": "oai-fra", "residency": "eu"}), "fra"),
        (json!({"model": "on-oai", "residency": "eu"}), "no_legal_target"),
        (json!({"model": "on-desk", "embeddings": true}), "invalid_request"),
        (json!({"model": "nothing"}), "unknown_model"),
        (json!({"model": "on-desk", "operation": "emergency"}), "no_legal_target"),
    ] {
        assert_eq!(explained(&house, &described).await, expected, "{described}");
    }
    for bad in [json!({}), json!({"model": "any", "operation": "x"}), json!({"model": "any", "what": 1})] {
        let answer = house.admin_as("", Method::POST, "/admin/v1/explain", &bad.to_string()).await;
        assert_eq!(answer.status, 400, "{answer:?}");
    }
    // With what is known of the targets at this moment.
    let now = tokio::time::Instant::now().into_std();
    let tripped = Some(outcrop_policy::health::Forced::Tripped);
    house.running.gateway.health.force(&format!("fra/{}", crate::house::SONNET), tripped, now);
    assert_eq!(explained(&house, &json!({"model": "any", "operation": "fra-dub"})).await, "dub");
    for (path, _) in crate::house::PATHS {
        assert!(house.seen(path).is_empty(), "nothing was sent to {path}");
    }
    assert!(house.admin("/admin/v1/decisions").await.json().as_array().unwrap().is_empty(), "nor recorded");
}

#[tokio::test]
async fn the_command_explains_with_a_gateway_and_without() {
    let folder = tempfile::tempdir().unwrap();
    let (house, socket) = with_socket(folder.path(), Setup::default()).await;
    let file = folder.path().join("new.toml");
    fs::write(&file, text(&house.lab, &Setup::default())).unwrap();
    let file = file.to_str().unwrap();
    for place in [vec!["--socket", socket.as_str()], vec!["--offline", "--config", file]] {
        let described = [
            "--model",
            "any",
            "--operation",
            "fra-dub",
            "--residency",
            "eu",
            "--stream",
            "--input-tokens",
            "9",
        ];
        let arguments = [&["explain"], &place[..], &described[..]].concat();
        let (code, shown, complaint) = shell(&arguments).await;
        assert_eq!(code, 0, "{complaint}");
        assert!(shown.contains("must stay in the EU") && shown.contains("dub/eu."), "{shown}");
        let (code, shown, _) = shell(&[&arguments[..], &["--json"]].concat()).await;
        let explained: Value = serde_json::from_str(&shown).unwrap();
        assert_eq!((code, &explained["decision"]["basis"]["usage"]["input"]), (0, &json!(9)));
        let (code, _, complaint) =
            shell(&[&["explain"], &place[..], &["--model", "any", "--operation", "x"]].concat()).await;
        assert!(code == 64 && complaint.contains("known: "), "{code} {complaint}");
    }
}

/// What `outcrop replay` says of these records and this file.
async fn replayed(decisions: &Path, file: &Path) -> Value {
    let arguments =
        ["replay", "--decisions", decisions.to_str().unwrap(), "--config", file.to_str().unwrap(), "--json"];
    let (code, shown, complaint) = shell(&arguments).await;
    assert_eq!(code, 0, "{complaint}");
    assert_eq!(shell(&arguments).await.1, shown, "the same input gives the same answer");
    serde_json::from_str(&shown).unwrap()
}

#[tokio::test]
async fn decisions_are_made_again_with_another_file() {
    let folder = tempfile::tempdir().unwrap();
    let (decisions, same, other) =
        (folder.path().join("d.jsonl"), folder.path().join("same.toml"), folder.path().join("other.toml"));
    let house = House::with(&format!("[decisions]\nexport = {decisions:?}\n")).await;
    let mut sent = 0;
    for operation in ["fra-dub", "desk-fra", "standard", "emergency"] {
        for stream in [false, true, false] {
            let headers = [("x-outcrop-operation", operation)];
            assert_eq!(Api::OpenAi.ask(&house, "any", "hi", stream, &headers).await.status, 200);
            sent += 1;
        }
    }
    Api::OpenAi.ask(&house, "nothing", "hi", false, &[]).await;
    fs::write(&same, text(&house.lab, &Setup::default())).unwrap();
    let more = "[[operation]]\nname = \"desk-fra\"\norder = [\"fra\"]\n".to_owned();
    let without_fra = text(&house.lab, &Setup { more, ..Setup::default() });
    let dearer = without_fra.replacen("name = \"dub\"", "name = \"dub\"\nenabled = false", 1);
    fs::write(
        &other,
        dearer.replacen(
            "name = \"fra\"\n        kind",
            "name = \"fra\"\n        enabled = false\n        kind",
            1,
        ),
    )
    .unwrap();
    assert!(within("the drain", house.running.stop()).await);

    let nothing = replayed(&decisions, &same).await;
    assert_eq!(nothing["summary"]["replayed"], json!(sent), "{nothing:#}");
    assert_eq!(nothing["summary"]["undecided"], json!(1));
    assert_eq!((&nothing["summary"]["changed"], &nothing["changed"]), (&json!(0), &json!([])), "{nothing:#}");

    let changed = replayed(&decisions, &other).await;
    let summary = &changed["summary"];
    assert_eq!(
        (&summary["replayed"], &summary["after"]["refused"]),
        (&json!(sent), &json!(6)),
        "{changed:#}"
    );
    assert!(
        changed["changed"]
            .as_array()
            .unwrap()
            .iter()
            .any(|one| { one["operation"] == "fra-dub" && one["after"]["refused"] == "no_legal_target" })
    );

    let (decisions, other) = (decisions.to_str().unwrap(), other.to_str().unwrap());
    let (code, shown, _) = shell(&["replay", "--decisions", decisions, "--config", other]).await;
    assert!(code == 0 && shown.contains("refused") && shown.contains("expected cost"), "{shown}");
    for (file, config) in [("/nowhere", same.to_str().unwrap()), (same.to_str().unwrap(), "/nowhere")] {
        assert_eq!(shell(&["replay", "--decisions", file, "--config", config]).await.0, 64);
    }
}

#[tokio::test]
async fn the_list_of_the_operators_api_can_be_replayed_too() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::start().await;
    let answer = Api::OpenAi.ask(&house, "any", "hi", false, &HEADERS).await;
    house.decision(&answer).await;
    let (list, file) = (folder.path().join("list.json"), folder.path().join("same.toml"));
    fs::write(&list, &house.admin("/admin/v1/decisions").await.body).unwrap();
    fs::write(&file, text(&house.lab, &Setup::default())).unwrap();
    let report = replayed(&list, &file).await;
    assert_eq!((&report["summary"]["replayed"], &report["unreadable"]), (&json!(1), &json!(0)), "{report:#}");
}
