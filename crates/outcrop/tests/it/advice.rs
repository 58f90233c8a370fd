//! What a gateway recommends of its machine and its limits, each from what it has measured itself.

use outcrop::config::Checked;
use outcrop_lab::script::{Script, Spread};
use outcrop_policy::impact::{Part, Reading};
use serde_json::Value;

use crate::{
    api::Api,
    house::{House, Setup, eventually},
    impact::run,
};

/// Requests at once.
const AT_ONCE: u64 = 40;

/// A machine that has nothing else to do.
fn idle(reading: Reading) -> Reading {
    let memory = Part { used: 1, max: 100 };
    Reading { cpu: reading.at.mul_f64(0.01), busy: reading.at.mul_f64(0.01), memory, ..reading }
}

/// One whose cores and workers are at nine tenths.
fn busy(reading: Reading) -> Reading {
    let of = |all: f64| reading.at.mul_f64(all * 0.9);
    Reading { cpu: of(reading.cores), busy: of(reading.workers as f64), ..reading }
}

/// The one recommendation of a gateway with these limits and tables, whose callers ask until it has one.
async fn recommended(limits: &str, more: &str, adjust: fn(&mut Checked)) -> (Value, String) {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("outcrop.sock");
    let mut setup = Setup { limits: limits.to_owned(), ..Setup::default() };
    setup.listen = format!("operator = \"{}\"", socket.display());
    setup.more = format!("[impact]\nevery = \"100ms\"\n{more}");
    setup.adjust = adjust;
    let house = House::set_up(setup).await;
    let script = Script { latency_ms: Some(Spread::Fixed(20.0)), ..Script::default() };
    house.lab.script("fra", script).await.unwrap();
    let mut asked = 0;
    let found = eventually("a recommendation", async || {
        let users: Vec<String> = (asked..asked + AT_ONCE).map(|user| format!("u{user}")).collect();
        asked += AT_ONCE;
        let body = Api::OpenAi.body("on-fra", "hi", false);
        let headers: Vec<_> = users.iter().map(|user| [("x-outcrop-user", user.as_str())]).collect();
        let route = Api::OpenAi.route("on-fra", false);
        let asking = headers.iter().map(|headers| house.post(&route, headers, &body));
        futures_util::future::join_all(asking).await;
        let found = house.admin("/admin/v1/recommendations").await.json();
        found.as_array().unwrap().first().cloned()
    })
    .await;
    assert!(found["evidence"]["answered"].as_f64() >= Some(200.0), "{found:#}");
    assert!(found["expected_gain_percent"].as_f64() > Some(0.0), "{found:#}");
    let shown = run(&socket, &["recommendations"]).await;
    assert!(shown.contains("answered"), "{shown}");
    house.running.stop().await;
    (found, shown)
}

#[tokio::test]
async fn more_slots_where_requests_are_turned_away_from_an_idle_machine() {
    let limits = "inflight_max = 20\ninflight_min = 20\nqueue_max = 0";
    let (found, shown) = recommended(limits, "", |checked| checked.impact.adjust = idle).await;
    assert_eq!(found["kind"], "raise_inflight_max", "{found:#}");
    assert!(found["evidence"]["turned_away"].as_f64() >= Some(2.0), "{found:#}");
    assert!(found["change"].as_str().unwrap().contains("from 20 to 40"), "{found:#}");
    for said in ["raise_inflight_max", "served instead of turned", "turned_away"] {
        assert!(shown.contains(said), "{said}: {shown}");
    }
}

#[tokio::test]
async fn larger_leases_where_requests_wait_for_them() {
    // Each user is an account of its own, so each first request waits for a lease.
    let budget = "[[budget]]\nscope = \"user:*\"\nlimit = \"2 requests\"\ncarve_out = \"0%\"\n";
    let (found, shown) = recommended("", budget, |checked| checked.impact.adjust = idle).await;
    assert_eq!(found["kind"], "enlarge_lease", "{found:#}");
    assert!(shown.contains("enlarge_lease"), "{shown}");
    let evidence = found["evidence"].as_object().unwrap();
    assert!(evidence.values().all(|value| value.as_f64() > Some(0.0)), "{found:#}");
}

#[tokio::test]
async fn a_replica_where_the_cores_are_busy() {
    let (found, shown) = recommended("", "", |checked| checked.impact.adjust = busy).await;
    assert_eq!(found["kind"], "add_replica", "{found:#}");
    assert!(found["evidence"]["cpu_percent"].as_f64() > Some(85.0), "{found:#}");
    assert!(found["evidence"]["saturates_at_per_s"].as_f64() > Some(0.0), "{found:#}");
    assert!(shown.contains("add_replica") && shown.contains("cpu_percent"), "{shown}");
}
