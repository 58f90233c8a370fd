//! Two gateways that share their limits, keys and stops over one PostgreSQL.

use http::Method;
use outcrop_lab::Lab;
use outcrop_store::keys::{Pepper, to_hex};
use serde_json::{Value, json};

use super::{
    load::{ask, count, rush},
    place::{Place, bill, hard, paced_lab},
    postgres::Server,
    process::Process,
};
use crate::{
    client,
    house::{Setup, eventually, within},
};

const PEPPER: &str = "0123456789abcdef0123456789abcdef";
const BOSS: &str = "oc_00d1_boss-secret";

/// Two gateways, each with a folder of its own.
struct Pair {
    lab: Lab,
    server: Server,
    places: [Place; 2],
}

impl Pair {
    async fn new(auth: &str, more: &str) -> Self {
        let (lab, server) = (paced_lab().await, Server::start().await);
        let places = [0, 1].map(|_| {
            // Under load a small machine may take longer than the usual 50 ms.
            let store = format!("url = \"{}\"\ngrant_wait_max = \"1s\"", server.address());
            let (auth, more) = (auth.to_owned(), more.to_owned());
            Place::new(&lab, Setup { auth, store, more, ..Setup::default() })
        });
        Self { lab, server, places }
    }

    async fn open(limit: i64) -> Self {
        Self::new("mode = \"open\"", &hard(&format!("{limit} requests"))).await
    }

    async fn start(&self) -> [Process; 2] {
        [self.places[0].start().await, self.places[1].start().await]
    }

    /// Ends both; what the database says then, against the lab's bill.
    async fn end(&self, gateways: [Process; 2]) {
        for gateway in gateways {
            assert_eq!(gateway.terminate().await, Some(0));
        }
        let (billed, at_last) = (bill(&self.lab).await, self.server.stands().await);
        eprintln!("{at_last:?}; {billed:?}");
        assert!(at_last.committed() <= at_last.limit, "{at_last:?}");
        assert!(at_last.posted <= billed.executed && billed.executed <= at_last.committed(), "{at_last:?}");
        assert_eq!((at_last.leased, at_last.pending), (0, 0), "{at_last:?}");
    }
}

/// Asks until one is answered.
async fn serves(gateway: &Process) {
    eventually("it serves", async || ask(gateway.data, 0, &[]).await.is_empty().then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_together_never_exceed_the_limit() {
    const LIMIT: i64 = 400;
    let pair = Pair::open(LIMIT).await;
    let gateways = pair.start().await;
    let told = rush(&[gateways[0].data, gateways[1].data], 1_000).await;
    let (passed, refused) = (count(&told, ""), count(&told, "budget_exceeded"));
    let late = count(&told, "ledger_unavailable");
    eprintln!("two replicas: {passed} passed, {refused} refused, {late} unavailable");
    assert_eq!(passed + refused + late, 1_000, "{told:?}");
    assert!(bill(&pair.lab).await.executed == passed && passed <= LIMIT, "{passed} of {LIMIT}");
    assert!(refused > 0);
    pair.end(gateways).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_replica_keeps_its_lease_and_spends_nothing_of_an_expired_one() {
    const LIMIT: i64 = 200;
    let pair = Pair::open(LIMIT).await;
    let gateways = pair.start().await;
    for gateway in &gateways {
        serves(gateway).await;
    }
    let leased = eventually("what is lent is known", async || {
        let stands = pair.server.stands().await;
        (stands.posted >= 2 && stands.pending == 0 && stands.leased > 0).then_some(stands.leased)
    })
    .await;
    gateways[0].signal("STOP");
    let before = bill(&pair.lab).await.executed;
    let waiting = gateways[0].data;
    let waiting = tokio::spawn(async move { rush(&[waiting], 20).await });
    let told = rush(&[gateways[1].data], 300).await;
    assert!(count(&told, "budget_exceeded") > 0, "{told:?}");
    let held = pair.server.stands().await;
    assert!(held.leased > 0 && held.committed() + held.leased <= LIMIT, "{held:?}");
    // Its leases are long past when it goes on.
    eventually("it is not heard any more", async || (pair.server.live().await == 1).then_some(())).await;
    let still = pair.server.stands().await;
    assert_eq!(still.leased, held.leased, "what it holds stays counted");
    let meanwhile = bill(&pair.lab).await.executed;
    assert!(meanwhile + still.leased <= LIMIT, "{meanwhile} executed, {still:?}");
    gateways[0].signal("CONT");
    let late = waiting.await.unwrap();
    let known = ["", "ledger_unavailable", "budget_exceeded"];
    assert!(late.iter().all(|told| known.contains(&told.as_str())), "{late:?}");
    let (other, late) = (meanwhile - before, count(&late, ""));
    eprintln!(
        "paused: {leased} lent at first, {held:?} while paused, {other} spent by the other, {late} late"
    );
    let told = rush(&[gateways[0].data, gateways[1].data], 300).await;
    assert!(count(&told, "budget_exceeded") > 0, "{told:?}");
    assert!(bill(&pair.lab).await.executed <= LIMIT);
    pair.end(gateways).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_database_nothing_is_spent_and_with_it_all_goes_on() {
    // The leases hold more than anybody could ask for: they run out by time alone.
    let mut pair = Pair::open(1_000_000).await;
    let gateways = pair.start().await;
    for gateway in &gateways {
        serves(gateway).await;
    }
    pair.server.crash();
    for gateway in &gateways {
        eventually("readiness turns", async || (gateway.admin("/readyz").await.status == 503).then_some(()))
            .await;
        eventually("the leases run out", async || {
            (ask(gateway.data, 0, &[]).await == "ledger_unavailable").then_some(())
        })
        .await;
    }
    let before = bill(&pair.lab).await.executed;
    let told = rush(&[gateways[0].data, gateways[1].data], 100).await;
    assert_eq!(count(&told, "ledger_unavailable"), 100, "{told:?}");
    assert_eq!(bill(&pair.lab).await.executed, before, "nothing left unrecorded");
    pair.server.resume().await;
    for gateway in &gateways {
        serves(gateway).await;
        eventually("readiness returns", async || {
            (gateway.admin("/readyz").await.status == 200).then_some(())
        })
        .await;
    }
    pair.end(gateways).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flag_turned_at_one_is_obeyed_at_the_other_and_outlives_both() {
    let pair = Pair::open(1_000).await;
    let [first, second] = pair.start().await;
    let headers = [("content-type", "application/json")];
    let turn = async |on: Value| {
        let order = json!({"flag": "model:on-fra", "on": on}).to_string();
        let answer = client::send(first.admin, Method::POST, "/admin/v1/flags", &headers, order);
        let answer = within("the order", answer).await.unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
    };
    // The 0th request is for `on-fra`.
    let becomes = async |gateway: &Process, code: &str| {
        eventually("it is obeyed", async || (ask(gateway.data, 0, &[]).await == code).then_some(())).await;
    };
    becomes(&second, "").await;
    turn(json!(false)).await;
    let turned = std::time::Instant::now();
    assert_eq!(ask(first.data, 0, &[]).await, "disabled", "at once where it was turned");
    becomes(&second, "disabled").await;
    eprintln!("a flag was obeyed by the other replica after {:?}", turned.elapsed());
    // Both know who turned it, when, and what it was.
    for gateway in [&first, &second] {
        let flags = gateway.admin("/admin/v1/flags").await.json();
        let row = flags.as_array().unwrap().iter().find(|row| row["flag"] == "model:on-fra").unwrap().clone();
        assert_eq!((&row["set"]["by"], &row["set"]["was"]), (&json!("anonymous"), &json!(true)), "{row}");
        assert!(
            row["set"]["at_ms"].as_i64().is_some_and(|at| at > 0) || row["set"]["at"].is_string(),
            "{row}"
        );
    }
    for gateway in [first, second] {
        assert_eq!(gateway.terminate().await, Some(0));
    }
    let [first, second] = pair.start().await;
    for gateway in [&first, &second] {
        assert_eq!(ask(gateway.data, 0, &[]).await, "disabled", "it outlives the processes");
    }
    let order = json!({"flag": "model:on-fra", "on": null}).to_string();
    let back = client::send(second.admin, Method::POST, "/admin/v1/flags", &headers, order);
    assert_eq!(within("the order", back).await.unwrap().status, 200);
    becomes(&first, "").await;
    pair.end([first, second]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_replica_held_that_never_comes_back_is_in_suspense_once_an_operator_says_so() {
    const LIMIT: i64 = 200;
    let pair = Pair::open(LIMIT).await;
    let [first, second] = pair.start().await;
    for gateway in [&first, &second] {
        serves(gateway).await;
    }
    eventually("it holds a lease", async || {
        let stands = pair.server.stands().await;
        (stands.posted >= 2 && stands.pending == 0 && stands.leased > 0).then_some(())
    })
    .await;
    first.kill().await;
    let command = |words: &[&str]| {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let place = &pair.places[1];
        async move { place.run(&words.iter().map(String::as_str).collect::<Vec<_>>()).await }
    };
    let silent = eventually("it is silent", async || {
        let list: Value = serde_json::from_str(&command(&["budget", "list", "--json"]).await).unwrap();
        list["silent"][0]["replica"].as_str().map(str::to_owned)
    })
    .await;
    let list = command(&["budget", "list"]).await;
    assert!(list.contains(&format!("reconcile --replica {silent}")), "the way out is shown: {list}");
    let before = pair.server.stands().await;
    command(&["budget", "reconcile", "--replica", &silent, "--reason", "its machine is gone"]).await;
    let after = pair.server.stands().await;
    let gone = before.leased - after.leased;
    assert!(gone > 0 && after.suspense == before.suspense + gone, "{before:?} {after:?}");
    assert!(after.committed() + after.leased <= LIMIT, "{after:?}");
    let list: Value = serde_json::from_str(&command(&["budget", "list", "--json"]).await).unwrap();
    assert_eq!(list["silent"], json!([]), "{list}");
    // The rest may be spent, and no more.
    let told = rush(&[second.data], 300).await;
    assert!(count(&told, "budget_exceeded") > 0, "{told:?}");
    assert!(bill(&pair.lab).await.executed + after.suspense <= LIMIT);
    assert_eq!(second.terminate().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_and_a_revocation_on_one_are_in_force_on_the_other() {
    let hash = to_hex(&Pepper::new(PEPPER.as_bytes()).hash(BOSS));
    let more = format!("[[key]]\nname = \"boss\"\nhash = \"oc_00d1:{hash}\"\nrole = \"admin\"\n");
    let pair = Pair::new(&format!("mode = \"keys\"\npepper = \"{PEPPER}\""), &more).await;
    let [first, second] = pair.start().await;
    let order = async |path: &str, order: Value| {
        let bearer = format!("Bearer {BOSS}");
        let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
        let path = format!("/admin/v1/{path}");
        let answer = client::send(first.admin, Method::POST, &path, &headers, order.to_string());
        let answer = within("the order", answer).await.unwrap();
        assert!(answer.status < 300, "{answer:?}");
        answer
    };
    let made = order("keys", json!({"name": "ci"})).await.json();
    let key = made["key"].as_str().unwrap();
    let becomes = async |code: &str| {
        eventually("the other has heard of it", async || {
            (ask(second.data, 0, &[("x-api-key", key)]).await == code).then_some(())
        })
        .await;
    };
    becomes("").await;
    order("stop", json!({"scope": "key:ci", "level": "drain", "reason": "drill"})).await;
    becomes("stopped").await;
    order("resume", json!({"scope": "key:ci"})).await;
    becomes("").await;
    pair.places[0].run(&["key", "revoke", "ci"]).await;
    becomes("unauthenticated").await;
    for gateway in [first, second] {
        assert_eq!(gateway.terminate().await, Some(0));
    }
}
