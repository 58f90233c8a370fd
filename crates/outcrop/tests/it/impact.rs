//! What the gateway itself takes: by step, of its machine, and what is given up when that is too much.

use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use outcrop::config::Checked;
use outcrop_policy::impact::{Part, Reading};
use outcrop_proxy::Work;
use outcrop_proxy::optional::SHEDDABLE;
use serde_json::{Value, json};

use crate::{
    api::Api,
    house::{House, Setup, eventually},
};

/// The steps that every answered exchange passes once.
const STEPS: [&str; 9] =
    ["authenticate", "admit", "receive", "intake", "plan", "reserve", "relay", "settle", "total"];

async fn report(house: &House) -> Value {
    house.admin("/admin/v1/impact").await.json()
}

fn resource<'a>(report: &'a Value, name: &str) -> &'a Value {
    report["resources"].as_array().unwrap().iter().find(|one| one["resource"] == name).unwrap()
}

/// What a command says that asks the gateway behind this socket.
pub(crate) async fn run(socket: &Path, arguments: &'static [&'static str]) -> String {
    let socket = socket.to_owned();
    let output = tokio::task::spawn_blocking(move || {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_outcrop"));
        command.args(arguments).arg("--socket").arg(socket).output().unwrap()
    });
    let output = output.await.unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn each_step_of_an_exchange_is_timed_once() {
    let house = House::start().await;
    for stream in [false, true] {
        let answer = Api::OpenAi.ask(&house, "on-oai", "hi", stream, &[]).await;
        assert_eq!(answer.status, 200);
        house.decision(&answer).await;
    }
    let report = eventually("the last step", async || {
        Some(report(&house).await).filter(|report| report["stages"]["settle"]["count"] == 2)
    })
    .await;
    for step in STEPS {
        let times = &report["stages"][step];
        assert_eq!(times["count"], 2, "{step}: {report}");
        assert!(times["sum_us"].as_f64().is_some_and(|us| us > 0.0), "{step}: {times}");
    }
    let us = |step: &str, field: &str| report["stages"][step][field].as_f64().unwrap();
    let parts: f64 = STEPS[..6].iter().map(|step| us(step, "sum_us")).sum();
    // The whole is kept in whole microseconds.
    assert!(parts <= us("total", "sum_us") + 2.0, "the steps are parts of the whole: {report}");
    assert!(us("plan", "p50_us") <= us("plan", "p99_us"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_load_each_resource_is_told_and_the_rate_at_which_it_saturates() {
    let house = House::with("[impact]\nevery = \"100ms\"\n").await;
    assert_eq!(report(&house).await["forecast"]["state"], "too_little");
    let told = eventually("a forecast", async || {
        // Some 60 requests a window of half a second, or the machine is too slow for any of this.
        let asked = (0..20).map(|_| Api::OpenAi.ask(&house, "on-oai", "hi", false, &[]));
        futures_util::future::join_all(asked).await;
        Some(report(&house).await).filter(|report| report["forecast"]["state"] == "known")
    })
    .await;
    for name in ["latency", "cpu", "memory", "descriptors", "runtime"] {
        let percent = resource(&told, name)["percent"].as_f64();
        assert!(percent.is_some_and(|percent| percent > 0.0), "{name}: {told}");
    }
    let forecast = &told["forecast"];
    assert!(forecast["requests_per_s"].as_f64().unwrap() > 0.0, "{forecast}");
    assert!(["low", "medium", "high"].contains(&forecast["confidence"].as_str().unwrap()), "{forecast}");
    assert_eq!(forecast["at_least"], forecast["ceilings"][0]["high"].is_null(), "{forecast}");
    let ceilings = forecast["ceilings"].as_array().unwrap();
    let named: Vec<&str> = ceilings.iter().map(|one| one["resource"].as_str().unwrap()).collect();
    assert_eq!(named[0], forecast["limited_by"], "the lowest limits");
    for name in ["cpu", "slots", "descriptors"] {
        assert!(named.contains(&name), "{name}: {forecast}");
    }
    let metrics = house.admin("/metrics").await.text();
    for name in ["latency", "cpu", "memory", "descriptors", "runtime"] {
        let line = format!("outcrop_impact_percent{{resource=\"{name}\"}} ");
        assert!(metrics.contains(&line), "{name}");
    }
    assert!(told["sampling"]["readings"].as_u64().unwrap() > 5, "{told}");
}

#[tokio::test]
async fn an_alarm_stops_optional_work_and_says_so() {
    // Some of its memory any process has in use.
    let more = "[impact]\nevery = \"100ms\"\nmemory_percent = 1\nshed = [\"hedging\", \"export\"]\n";
    let limits = "memory_max = 1".to_owned() + &"0".repeat(9) + "\nmemory_marks = [97, 98, 99]";
    let house = House::set_up(Setup { more: more.to_owned(), limits, ..Setup::default() }).await;
    let alarmed = eventually("the alarm", async || {
        Some(report(&house).await).filter(|report| report["alarmed"] == true)
    })
    .await;
    assert_eq!(resource(&alarmed, "memory")["alarmed"], true, "{alarmed}");
    let work = &alarmed["optional_work"];
    assert_eq!(work["hedging"], json!({"on": false, "off_because": "impact"}), "{alarmed}");
    assert_eq!(work["export"]["on"], false, "{alarmed}");
    assert_eq!(work["probes"], json!({"on": true, "off_because": null}), "{alarmed}");
    let metrics = house.admin("/metrics").await.text();
    assert!(metrics.contains("outcrop_impact_alarm{resource=\"memory\"} 1"), "{metrics}");
}

/// Files in use of a hundred, where nothing else is.
static FILES: AtomicU64 = AtomicU64::new(10);

fn with_files(reading: Reading) -> Reading {
    let files = FILES.load(Ordering::Relaxed);
    let part = |used| Part { used, max: 100 };
    let zero = Duration::ZERO;
    Reading { cpu: zero, busy: zero, own: zero, memory: part(1), descriptors: part(files), ..reading }
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn says(&self, what: &str) -> usize {
        String::from_utf8_lossy(&self.0.lock().unwrap()).matches(what).count()
    }
}

#[tokio::test]
async fn an_alarm_is_an_alert_until_it_is_cleared_and_each_change_is_logged_once() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("outcrop.sock");
    let (log, listen) = (Log::default(), format!("operator = {socket:?}"));
    let writer = log.clone();
    let heard = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    let _guard = tracing::subscriber::set_default(heard);
    let more = "[impact]\nevery = \"100ms\"\n".to_owned();
    let adjust: fn(&mut Checked) = |checked| checked.impact.adjust = with_files;
    let house = House::set_up(Setup { listen, more, adjust, ..Setup::default() }).await;
    let alerts = async || house.admin("/admin/v1/alerts").await.json()["impact"].clone();
    let firing = async |count: u8| {
        let line = format!("outcrop_alerts_firing {count}\n");
        house.admin("/metrics").await.text().contains(&line)
    };
    assert_eq!(alerts().await, json!([]));

    FILES.store(90, Ordering::Relaxed);
    let told = eventually("the alert", async || Some(alerts().await).filter(|told| *told != json!([]))).await;
    assert_eq!(told.as_array().unwrap().len(), 1, "{told}");
    assert_eq!((&told[0]["resource"], &told[0]["alarm_percent"]), (&json!("descriptors"), &json!(80)));
    assert_eq!(told[0]["stopped"], json!(["hedging", "probes", "optimizer"]), "{told}");
    assert!(told[0]["since"].as_str().is_some_and(|since| since.ends_with('Z')), "{told}");
    assert!(run(&socket, &["budget", "alerts"]).await.contains("descriptors"));
    assert!(run(&socket, &["impact"]).await.contains("Stopped: hedging, because of impact."));
    eventually("the metric", async || firing(1).await.then_some(())).await;

    FILES.store(10, Ordering::Relaxed);
    eventually("the end of it", async || (alerts().await == json!([])).then_some(())).await;
    eventually("the metric", async || firing(0).await.then_some(())).await;
    let report = report(&house).await;
    assert_eq!(
        (&report["alarmed"], &report["optional_work"]["hedging"]["on"]),
        (&json!(false), &json!(true))
    );
    assert_eq!((log.says("the gateway takes too much"), log.says("the impact is well again")), (1, 1));
    house.running.stop().await;
}

#[tokio::test]
async fn without_too_much_of_anything_nothing_is_stopped() {
    let house = House::with("[impact]\nevery = \"100ms\"\nruntime_percent = 100\ncpu_percent = 100\n").await;
    let report = eventually("ten readings", async || {
        let report = report(&house).await;
        report["sampling"]["readings"].as_u64().is_some_and(|n| n >= 10).then_some(report)
    })
    .await;
    for work in SHEDDABLE {
        assert_eq!(report["optional_work"][work.label()]["on"], true, "{report}");
    }
}

#[tokio::test]
async fn a_target_is_not_probed_while_probes_are_stopped() {
    let house = House::set_up(Setup { breakers: true, ..Setup::default() }).await;
    house.running.gateway.shed(&[Work::Probes]);
    house.take_down("oai").await;
    for _ in 0..6 {
        Api::OpenAi.ask(&house, "on-oai", "hi", false, &[]).await;
    }
    house.heal("oai").await;
    let gateway = &house.running.gateway;
    let waits = || {
        let waiting = gateway.health.waiting(tokio::time::Instant::now().into_std());
        waiting.iter().map(|(_, since)| *since).max()
    };
    // It waits for twice as long as a probe would have let it.
    eventually("the target to wait", async || waits().filter(|since| *since >= Duration::from_secs(4))).await;
    gateway.shed(&[]);
    eventually("the probe", async || waits().is_none().then_some(())).await;
}

#[tokio::test]
async fn records_are_kept_but_not_exported_while_the_export_is_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("decisions.jsonl");
    let house = House::with(&format!("[decisions]\nexport = {file:?}\n")).await;
    let gateway = &house.running.gateway;
    let ask = async || {
        let answer = Api::OpenAi.ask(&house, "on-oai", "hi", false, &[]).await;
        house.decision(&answer).await["request_id"].as_str().unwrap().to_owned()
    };
    gateway.shed(&[Work::Export]);
    let dropped = ask().await;
    gateway.shed(&[]);
    let kept = ask().await;
    let text = eventually("the export", async || {
        std::fs::read_to_string(&file).ok().filter(|text| text.contains(&kept))
    })
    .await;
    assert!(!text.contains(&dropped), "{text}");
    assert_eq!(gateway.metrics.decisions_dropped.get(), 1);
}

#[tokio::test]
async fn the_command_shows_it_as_tables_and_as_json() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("outcrop.sock");
    let listen = format!("operator = {socket:?}");
    let house = House::set_up(Setup { listen, ..Setup::default() }).await;
    let tables = run(&socket, &["impact"]).await;
    for said in
        ["too few answers to tell", "descriptors", "authenticate", "not enough traffic to tell", "threads"]
    {
        assert!(tables.contains(said), "{said}: {tables}");
    }
    let json: Value = serde_json::from_str(&run(&socket, &["impact", "--json"]).await).unwrap();
    assert!(json["process"]["threads"].as_u64() >= json["process"]["workers"].as_u64(), "{json}");
    assert!(json["lag"]["longest_us"].as_f64() >= json["lag"]["newest_us"].as_f64(), "{json}");
    assert_eq!(json["forecast"]["state"], "too_little");
    drop(house);
}
