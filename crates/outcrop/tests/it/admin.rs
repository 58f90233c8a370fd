//! What the operator sees: health, metrics, decision records, paths and targets.

use std::collections::{BTreeMap, BTreeSet};

use outcrop_lab::script::{Fault, FaultKind};
use serde_json::{Value, json};

use http::Method;

use crate::{
    api::{APIS, Api},
    client,
    house::{House, Setup, within},
};

#[tokio::test]
async fn the_operators_socket_answers_and_goes_with_the_gateway() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("outcrop.sock");
    let listen = format!("operator = {socket:?}");
    let house = House::set_up(Setup { listen, ..Setup::default() }).await;
    let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&socket).unwrap());
    assert_eq!(mode & 0o777, 0o600, "it is the operator's alone");
    let headers = [("host", "elsewhere.example")];
    let answer = client::send_unix(&socket, Method::GET, "/admin/v1/paths", &headers, "").await.unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.json(), house.admin("/admin/v1/paths").await.json());
    let at = socket.clone();
    let asking = move || outcrop::operator::call(&at, Method::GET, "/admin/v1/nothing", None);
    let asked = within("the client", tokio::task::spawn_blocking(asking)).await.unwrap();
    assert_eq!(asked.unwrap_err().exit_code(), 64, "the client of the commands understands it");
    let House { lab, running, .. } = house;
    assert!(within("the drain", running.stop()).await);
    assert!(!socket.exists(), "no file is left");
    drop(lab);
}

#[tokio::test]
async fn a_gateway_is_alive_and_ready() {
    let house = House::start().await;
    assert_eq!(house.admin("/healthz").await.status, 200);
    let ready = house.admin("/readyz").await;
    assert_eq!((ready.status, &ready.json()["ready"]), (200, &json!(true)));
    assert_eq!(house.admin("/").await.status, 200);
    assert_eq!(house.admin("/nothing").await.status, 404);
}

#[tokio::test]
async fn a_gateway_without_a_serving_target_is_not_ready() {
    let house = House::set_up(Setup { breakers: true, ..Setup::default() }).await;
    for (path, _) in crate::house::PATHS {
        house.take_down(path).await;
        for _ in 0..10 {
            Api::OpenAi.ask(&house, &format!("on-{path}"), "hi", false, &[]).await;
        }
    }
    // The embedding models were not asked, so their targets still count as serving.
    let embed = json!({"model": "vectors", "input": "x"});
    let titan = json!({"model": "titan", "input": "x"});
    for _ in 0..10 {
        house.post("/v1/embeddings", &[], &embed).await;
        house.post("/v1/embeddings", &[], &titan).await;
    }
    let ready = house.admin("/readyz").await;
    assert_eq!(ready.status, 503, "{ready:?}");
    assert!(!ready.json()["reasons"].as_array().unwrap().is_empty());
    assert_eq!(house.admin("/healthz").await.status, 200, "alive all the same");
}

/// A sample: name, labels, value.
type Sample = (String, BTreeMap<String, String>, f64);

/// Reads Prometheus text strictly: types before samples, families together, every value a number.
fn parse(text: &str) -> (BTreeMap<String, String>, Vec<Sample>) {
    assert!(text.ends_with('\n'), "the last line ends");
    let (mut types, mut samples) = (BTreeMap::new(), Vec::new());
    for line in text.lines().filter(|line| !line.is_empty()) {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert!(types.insert(name.to_owned(), kind.to_owned()).is_none(), "twice: {line}");
        } else if let Some(rest) = line.strip_prefix("# HELP ") {
            assert!(rest.contains(' '), "{line}");
        } else {
            assert!(!line.starts_with('#'), "not Prometheus text: {line}");
            samples.push(sample(line));
        }
    }
    for (name, _, _) in &samples {
        let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
        let known = |name: &str| types.contains_key(name);
        assert!(known(name) || family.is_some_and(known), "{name} has no type");
    }
    (types, samples)
}

fn sample(line: &str) -> Sample {
    let (series, value) = line.rsplit_once(' ').unwrap();
    let (name, labels) =
        series.split_once('{').map_or((series, ""), |(name, rest)| (name, rest.strip_suffix('}').unwrap()));
    assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'), "{line}");
    let labels = labels.split_terminator("\",").map(|pair| {
        let (label, text) = pair.split_once("=\"").unwrap();
        (label.to_owned(), text.trim_end_matches('"').to_owned())
    });
    (name.to_owned(), labels.collect(), value.parse().unwrap_or_else(|_| panic!("{line}")))
}

/// The samples of one name.
fn named<'a>(samples: &'a [Sample], name: &'a str) -> impl Iterator<Item = &'a Sample> {
    samples.iter().filter(move |sample| sample.0 == name)
}

#[tokio::test]
async fn metrics_have_their_names_and_count_what_happened() {
    let house = House::start().await;
    house.break_path("fra", Fault::new(FaultKind::Throttle)).await;
    let headers = [("x-outcrop-operation", "fra-dub")];
    for stream in [false, true] {
        let answer = Api::Converse.ask(&house, "any", "[[tokens=7]]", stream, &headers).await;
        house.decision(&answer).await;
    }
    let (types, samples) = parse(&house.admin("/metrics").await.text());
    for (name, kind) in [
        ("requests_total", "counter"),
        ("request_seconds", "histogram"),
        ("time_to_first_content_seconds", "histogram"),
        ("overhead_seconds", "histogram"),
        ("decision_seconds", "histogram"),
        ("attempts_total", "counter"),
        ("failovers_total", "counter"),
        ("tokens_total", "counter"),
        ("cost_nusd_total", "counter"),
        ("path_health", "gauge"),
        ("inflight", "gauge"),
    ] {
        assert_eq!(types.get(&format!("outcrop_{name}")).map(String::as_str), Some(kind), "{name}");
    }
    let requests: Vec<&Sample> = named(&samples, "outcrop_requests_total").collect();
    assert_eq!(requests.len(), 1, "{requests:?}");
    let labels: BTreeSet<&str> = requests[0].1.keys().map(String::as_str).collect();
    assert_eq!(labels, BTreeSet::from(["api", "operation", "outcome", "path"]));
    assert_eq!((requests[0].2 as u64, requests[0].1["path"].as_str()), (2, "dub"));
    let attempts: f64 = named(&samples, "outcrop_attempts_total").map(|sample| sample.2).sum();
    assert_eq!(attempts as u64, 4);
    let out =
        named(&samples, "outcrop_tokens_total").find(|sample| sample.1["direction"] == "output").unwrap();
    let billed: u64 = house.billed("dub", 2).await.iter().map(|record| record.output_tokens).sum();
    assert_eq!(out.2 as u64, billed);
    let cost = named(&samples, "outcrop_cost_nusd_total").next().unwrap().2 as u64;
    assert_eq!(cost, house.lab.totals().cost_nusd);
    assert_eq!(named(&samples, "outcrop_inflight").next().unwrap().2 as u64, 0);
}

#[tokio::test]
async fn every_exchange_leaves_one_record_whatever_its_end() {
    let house = House::start().await;
    for api in APIS.into_iter().filter(|api| *api != Api::Mcp) {
        for (model, label) in [("on-fra", "ok"), ("nobody", "failed")] {
            let answer = api.ask(&house, model, "hi", false, &[]).await;
            let decision = house.decision(&answer).await;
            assert_eq!(decision["outcome"]["label"], label, "{api:?}: {decision}");
            assert_eq!(decision["model"], model);
        }
    }
    assert_eq!(house.admin("/admin/v1/decisions?limit=100").await.json().as_array().unwrap().len(), 8);
    assert_eq!(house.admin("/admin/v1/decisions/unheard-of").await.status, 404);
}

#[tokio::test]
async fn a_record_says_what_was_decided_and_holds_no_content() {
    let house = House::start().await;
    let secret = "a text that nobody else may read";
    let headers = [("x-outcrop-operation", "infrastructure"), ("x-outcrop-residency", "eu")];
    let answer = Api::OpenAi.ask(&house, "any", secret, false, &headers).await;
    let decision = house.decision(&answer).await;
    assert_eq!(
        (&decision["operation"], &decision["priority"]),
        (&json!("infrastructure"), &json!("critical"))
    );
    assert_eq!(decision["api"], "openai");
    assert_eq!(decision["deadline_ms"], 10_000);
    let excluded = |path: &str| {
        let candidates = decision["candidates"].as_array().unwrap();
        let found =
            candidates.iter().find(|c| c["target"].as_str().unwrap().starts_with(&format!("{path}/")));
        found.unwrap()["excluded"].clone()
    };
    assert_eq!((excluded("fra"), excluded("oai")), (Value::Null, json!("residency")));
    let billed = &house.billed("fra", 1).await[0];
    assert_eq!(decision["outcome"]["cost_nusd"], billed.cost_nusd);
    assert_eq!(decision["outcome"]["usage"]["input"], billed.input_tokens);
    assert_eq!(decision["attempts"][0]["upstream_request_id"], billed.request_id.as_str());
    let whole = decision.to_string();
    assert!(!whole.contains(secret) && !whole.contains("Simulated answer"), "{whole}");
}

#[tokio::test]
async fn paths_and_targets_are_listed_with_their_health() {
    let house = House::start().await;
    let paths = house.admin("/admin/v1/paths").await.json();
    let names: Vec<&str> = paths.as_array().unwrap().iter().filter_map(|p| p["name"].as_str()).collect();
    assert_eq!(
        names.iter().copied().collect::<BTreeSet<_>>(),
        BTreeSet::from(["ant", "desk", "dub", "fra", "oai"])
    );
    let targets = house.admin("/admin/v1/targets").await.json();
    assert!(
        targets.as_array().unwrap().iter().all(|t| t["serving"] == true && t["enabled"] == true),
        "{targets}"
    );
    let balance = house.admin("/admin/v1/balance").await;
    assert_eq!(balance.status, 200);
}
