//! Budgets hold, and block nobody without a reason: judged by what the lab bills, never by the gateway's own
//! counters alone.

use std::sync::Arc;

use futures_util::future::join_all;
use http::Method;
use http_body_util::BodyExt as _;
use outcrop_lab::{
    billing,
    dice::Dice,
    script::{Fault, FaultKind, OnAbort, Script, Spread},
};
use outcrop_policy::ledger::Totals;
use tokio::sync::Barrier;

use crate::{
    api::{APIS, Api},
    budgets_exact::entries_are_the_bill,
    client::{self, Answer},
    house::{House, PATHS, Setup, eventually, target, within},
};

/// Requests of the soak, unless `OUTCROP_SOAK_REQUESTS` says otherwise.
const SOAK_REQUESTS: u64 = 3_000;
/// Callers of the soak at once.
const SOAK_CALLERS: u64 = 32;
/// No budget of these tests is larger.
pub(crate) const PLENTY: &str = "[[budget]]\nscope = \"all\"\nlimit = \"1000000 USD\"\ncarve_out = \"0%\"\n";

pub(crate) async fn house_with(limit: &str, more: &str) -> House {
    House::set_up(Setup {
        limits: "inflight_max = 4000\ninflight_min = 4000".to_owned(),
        more: format!(
            "[[budget]]\nscope = \"all\"\nwindow = \"lifetime\"\nlimit = \"{limit}\"\ncarve_out = \"0%\"\n{more}"
        ),
        ..Setup::default()
    })
    .await
}

/// All that the lab bills.
fn billed(house: &House) -> billing::Totals {
    let mut all = billing::Totals::default();
    for (path, _) in PATHS {
        all.merge(&house.lab.target(target(path)).unwrap().billing().totals());
    }
    all
}

pub(crate) fn billed_nusd(house: &House) -> i64 {
    i64::try_from(billed(house).cost_nusd).unwrap()
}

/// The ledger and the bill once nothing is under way, here and at the lab.
pub(crate) async fn at_rest(house: &House) -> (Totals, i64) {
    let totals = eventually("nothing is pending", async || {
        Some(house.running.gateway.ledger().totals()).filter(|totals| totals.pending == 0)
    })
    .await;
    eventually("the lab is done", async || {
        let ended = PATHS
            .iter()
            .all(|(path, _)| house.lab.requests(target(path)).unwrap().iter().all(|seen| seen.ended));
        ended.then_some(())
    })
    .await;
    assert_eq!(totals.pending_nusd, 0, "{totals:?}");
    (totals, billed_nusd(house))
}

fn code(api: Api, answer: &Answer) -> String {
    api.hear(answer).errors.first().map(|(_, code)| code.clone()).unwrap_or_default()
}

/// One of many requests at a barrier.
async fn at_barrier(house: &House, barrier: Arc<Barrier>, mut dice: Dice) -> (Api, Answer) {
    let api = APIS[usize::try_from(dice.below(5)).unwrap()];
    let stream = dice.below(2) == 0;
    let (path, _) = PATHS[usize::try_from(dice.below(5)).unwrap()];
    let priority = ["high", "medium"][usize::try_from(dice.below(2)).unwrap()];
    barrier.wait().await;
    let headers = [("x-outcrop-priority", priority)];
    (api, api.ask(house, &format!("on-{path}"), "[[tokens=3]]", stream, &headers).await)
}

async fn a_thousand_on_a_hundred(seed: u64) {
    let house = house_with("100 requests", "").await;
    let barrier = Arc::new(Barrier::new(1000));
    let asked =
        join_all((0..1000_u64).map(|n| {
            at_barrier(&house, Arc::clone(&barrier), Dice::new(seed, [n.to_le_bytes().as_slice()]))
        }));
    let answers = asked.await;
    let refused: Vec<_> =
        answers.iter().filter(|(api, answer)| code(*api, answer) == "budget_exceeded").collect();
    assert_eq!((billed(&house).executed, refused.len()), (100, 900), "seed {seed}");
    for (api, answer) in refused {
        let text = answer.text();
        assert!(text.contains("(100 requests)") && text.contains(" left"), "{text}");
        if *api != Api::Mcp {
            assert_eq!((answer.status, answer.header("x-should-retry")), (402, "false"), "{answer:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_thousand_at_once_exactly_a_hundred_run() {
    for seed in 0..20 {
        a_thousand_on_a_hundred(seed).await;
    }
}

#[tokio::test]
async fn money_is_used_up_to_the_last_request_that_fits() {
    let house = house_with("0.2 USD", "").await;
    let api = Api::OpenAi;
    loop {
        let before = billed_nusd(&house);
        let answer = api.ask(&house, "on-fra", "[[tokens=900]]", false, &[]).await;
        let left = 200_000_000 - before;
        if answer.status == 200 {
            let cost = billed_nusd(&house) - before;
            assert_eq!(answer.header("x-outcrop-cost-nusd"), cost.to_string());
            assert_eq!(answer.header("x-outcrop-budget-remaining-nusd"), (left - cost).to_string());
            assert!(left - cost >= 0, "never overspent");
            continue;
        }
        assert_eq!((answer.status, answer.header("x-should-retry")), (402, "false"), "{answer:?}");
        let asked = dollars_before(&answer.text(), "may take up to ");
        assert!(asked > left, "refused although {left} n$ were left: {answer:?}");
        assert_eq!(dollars_before(&answer.text(), " has "), left, "{answer:?}");
        break;
    }
}

/// The dollars that follow some words in a refusal, in nano-dollars.
pub(crate) fn dollars_before(text: &str, words: &str) -> i64 {
    let (_, rest) = text.split_once(words).unwrap_or_else(|| panic!("no `{words}` in {text}"));
    let (whole, part) = rest.split_once(" USD").unwrap().0.split_once('.').unwrap();
    whole.parse::<i64>().unwrap() * 1_000_000_000 + format!("{part:0<9}").parse::<i64>().unwrap()
}

/// Asks for a stream and leaves after so many pieces; whole answers are left at once.
async fn leave(house: &House, api: Api, path: &str, stream: bool, pieces: u64) {
    let model = format!("on-{path}");
    let body = api.body(&model, "[[tokens=60]]", stream).to_string();
    let mut headers = vec![("content-type", "application/json")];
    headers.extend_from_slice(api.headers());
    let route = api.route(&model, stream);
    let opening = client::open(house.data(), Method::POST, &route, &headers, body);
    if pieces == 0 {
        // Polled until the call is on its way.
        let before = house.seen(path).len();
        tokio::select! {
            _ = opening => {}
            () = eventually("the call arrives", async || (house.seen(path).len() > before).then_some(())) => {}
        }
        return;
    }
    let mut answer = within("the head", opening).await.unwrap().into_body();
    for _ in 0..pieces {
        if !matches!(within("a piece", answer.frame()).await, Some(Ok(_))) {
            break;
        }
    }
}

async fn aborts(behaviour: &str, on_abort: OnAbort, seed: u64) -> (Totals, i64) {
    use outcrop_core::path::AbortBilling::{ContinuesAndBillsFull, StopsAndBillsSeen, Unknown};
    let adjust: fn(&mut outcrop::config::Checked) = match behaviour {
        "continues" => |c| c.routes.targets.iter_mut().for_each(|t| t.abort_billing = ContinuesAndBillsFull),
        "stops" => |c| c.routes.targets.iter_mut().for_each(|t| t.abort_billing = StopsAndBillsSeen),
        _ => |c| c.routes.targets.iter_mut().for_each(|t| t.abort_billing = Unknown),
    };
    let house = House::set_up(Setup { more: PLENTY.to_owned(), adjust, ..Setup::default() }).await;
    for path in ["fra", "oai", "ant"] {
        let script =
            Script { pace_ms: Some(Spread::Fixed(2.0)), on_abort: Some(on_abort), ..Script::default() };
        house.lab.script(target(path), script).await.unwrap();
    }
    let mut dice = Dice::new(seed, []);
    for path in ["fra", "oai", "ant"] {
        for api in APIS {
            for stream in [true, true, false] {
                leave(&house, api, path, stream, if stream { dice.below(40) } else { 0 }).await;
            }
        }
    }
    at_rest(&house).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_goes_on_without_its_caller_is_paid_to_the_nano_dollar() {
    for seed in 0..3 {
        let (ledger, billed) = aborts("continues", OnAbort::Continues, seed).await;
        assert_eq!((ledger.posted_nusd, ledger.suspense_nusd), (billed, 0), "seed {seed}: {ledger:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thirty_two_are_read_on_at_once_and_the_others_count_in_full() {
    use outcrop_core::path::AbortBilling::ContinuesAndBillsFull;
    let adjust: fn(&mut outcrop::config::Checked) =
        |c| c.routes.targets.iter_mut().for_each(|t| t.abort_billing = ContinuesAndBillsFull);
    let house = House::set_up(Setup { more: PLENTY.to_owned(), adjust, ..Setup::default() }).await;
    let script = Script {
        pace_ms: Some(Spread::Fixed(100.0)),
        on_abort: Some(OnAbort::Continues),
        ..Script::default()
    };
    house.lab.script(target("fra"), script).await.unwrap();
    let headers = [("content-type", "application/json")];
    let open = || {
        let body = Api::OpenAi.body("on-fra", "[[tokens=60]]", true).to_string();
        client::open(house.data(), Method::POST, "/v1/chat/completions", &headers, body)
    };
    let mut bodies: Vec<_> = join_all((0..40).map(|_| async {
        let mut body = within("the head", open()).await.unwrap().into_body();
        within("a piece", body.frame()).await.unwrap().unwrap();
        body
    }))
    .await;
    bodies.clear();
    let (ledger, billed) = at_rest(&house).await;
    assert_eq!((ledger.settled, ledger.suspense), (32, 8), "{ledger:?}");
    assert!(ledger.posted_nusd < billed && ledger.posted_nusd + ledger.suspense_nusd >= billed, "{ledger:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_stops_or_is_not_known_is_never_counted_too_low() {
    for (behaviour, on_abort) in
        [("stops", OnAbort::Stops), ("unknown", OnAbort::Stops), ("unknown", OnAbort::Continues)]
    {
        let (ledger, billed) = aborts(behaviour, on_abort, 7).await;
        let committed = ledger.posted_nusd + ledger.suspense_nusd;
        assert!(billed > 0 && committed >= billed, "{behaviour} {on_abort:?}: {billed} {ledger:?}");
    }
}

#[tokio::test]
async fn what_failed_before_it_ran_costs_nothing() {
    let house = House::with(PLENTY).await;
    for (path, refusal) in [
        ("fra", Some("ValidationException")),
        ("oai", Some("invalid_request_error")),
        ("ant", Some("invalid_request_error")),
        ("desk", None),
    ] {
        let refusal = refusal.map(|name| Fault::new(FaultKind::Error).spelled(400, name));
        for fault in refusal.into_iter().chain([Fault::new(FaultKind::Throttle)]) {
            house.break_path(path, fault).await;
            for api in APIS {
                for stream in [false, true] {
                    api.ask(&house, &format!("on-{path}"), "hi", stream, &[]).await;
                }
            }
        }
        house.take_down(path).await;
        Api::OpenAi.ask(&house, &format!("on-{path}"), "hi", false, &[]).await;
    }
    let (ledger, billed) = at_rest(&house).await;
    assert_eq!((ledger.posted_nusd, ledger.suspense_nusd, billed), (0, 0, 0), "{ledger:?}");
}

/// Sizes of the bodies that a path's target received.
fn sent_bytes(house: &House, path: &str) -> Vec<u64> {
    house.seen(path).iter().map(|seen| seen.body_bytes).collect()
}

#[tokio::test]
async fn a_limit_is_put_into_a_request_only_where_a_hard_budget_counts_it() {
    let body = serde_json::json!({"model": "on-oai", "messages": [{"role": "user", "content": "hi"}]});
    let mut sent = Vec::new();
    for more in [String::new(), PLENTY.replace("carve_out", "hard = false\ncarve_out"), PLENTY.to_owned()] {
        let house = House::with(&more).await;
        let answer = house.post("/v1/chat/completions", &[], &body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        sent.push(sent_bytes(&house, "oai")[0]);
    }
    assert_eq!(sent[0], sent[1], "a soft budget changes nothing");
    assert!(sent[2] > sent[0], "{sent:?}");
}

#[tokio::test]
async fn a_path_without_money_is_passed_over() {
    let budget = "[[budget]]\nscope = \"path:fra\"\nlimit = \"2 requests\"\ncarve_out = \"0%\"\n";
    let house = House::with(budget).await;
    for _ in 0..5 {
        let answer =
            Api::Converse.ask(&house, "any", "hi", true, &[("x-outcrop-operation", "fra-dub")]).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    assert_eq!((house.executions("fra"), house.executions("dub")), (2, 3));
}

#[tokio::test]
async fn a_soft_budget_refuses_nobody() {
    let house = House::with("[[budget]]\nscope = \"all\"\nlimit = \"1 requests\"\nhard = false\n").await;
    for api in APIS {
        assert_eq!(code(api, &api.ask(&house, "on-fra", "hi", false, &[]).await), "");
    }
    assert_eq!(house.executions("fra"), APIS.len());
}

#[tokio::test]
async fn users_and_runs_have_accounts_of_their_own() {
    // Without a user a request is counted with all others without one; without a run it is no run.
    for (scope, header, again) in [("user:*", "x-outcrop-user", 402), ("run:*", "x-outcrop-run", 200)] {
        let house = House::with(&format!(
            "[[budget]]\nscope = \"{scope}\"\nlimit = \"1 requests\"\ncarve_out = \"0%\"\n"
        ))
        .await;
        for (name, status) in [("anna", 200), ("bert", 200), ("anna", 402), ("", 200), ("", again)] {
            let headers: &[(&str, &str)] = if name.is_empty() { &[] } else { &[(header, name)] };
            let answer = Api::OpenAi.ask(&house, "on-oai", "hi", false, headers).await;
            assert_eq!(answer.status, status, "{scope} `{name}`: {answer:?}");
        }
        assert_eq!(house.executions("oai"), if again == 402 { 3 } else { 4 });
    }
}

#[tokio::test]
async fn the_last_of_a_budget_is_for_emergencies_and_low_pauses_first() {
    let more = "[[budget]]\nscope = \"all\"\nlimit = \"20 requests\"\n\
                [[operation]]\nname = \"fire\"\npriority = \"emergency\"\n\
                [[operation]]\nname = \"chore\"\npriority = \"low\"\n";
    let house = House::with(more).await;
    let ask = async |operation: &str, priority: &str| {
        let headers = [("x-outcrop-operation", operation), ("x-outcrop-priority", priority)];
        Api::OpenAi.ask(&house, "on-oai", "hi", false, &headers).await.status
    };
    for _ in 0..16 {
        assert_eq!(ask("infrastructure", "high").await, 200);
    }
    eventually("low pauses at 80 %", async || (ask("chore", "emergency").await == 402).then_some(())).await;
    while ask("infrastructure", "emergency").await == 200 {}
    assert_eq!(house.executions("oai"), 19, "a header does not widen what the operation may");
    assert_eq!((ask("fire", "emergency").await, ask("fire", "emergency").await), (200, 402));
    assert_eq!(house.executions("oai"), 20);
}

/// One caller of the soak: a third of its requests are left.
pub(crate) async fn caller(house: &House, number: u64, requests: u64) {
    let mut dice = Dice::new(11, [number.to_le_bytes().as_slice()]);
    for _ in 0..requests {
        let api = APIS[usize::try_from(dice.below(5)).unwrap()];
        let (first, _) = PATHS[usize::try_from(dice.below(5)).unwrap()];
        let (second, _) = PATHS[usize::try_from(dice.below(5)).unwrap()];
        let stream = dice.below(2) == 0;
        let operation = format!("{first}-{second}");
        let wishes = [("x-outcrop-deadline-ms", "4000"), ("x-outcrop-operation", operation.as_str())];
        let (model, wishes) = if first == second {
            (format!("on-{first}"), &wishes[..1])
        } else {
            ("any".to_owned(), &wishes[..])
        };
        let body = api.body(&model, "[[tokens=8]]", stream).to_string();
        let mut headers = vec![("content-type", "application/json")];
        headers.extend_from_slice(api.headers());
        headers.extend_from_slice(wishes);
        let route = api.route(&model, stream);
        let opening = client::open(house.data(), Method::POST, &route, &headers, body);
        let leaves = dice.below(100);
        if leaves < 10 {
            // Before the head, at a moment that the load decides.
            let _ = tokio::time::timeout(std::time::Duration::from_millis(dice.below(8)), opening).await;
            continue;
        }
        let mut answer = within("the head", opening).await.unwrap().into_body();
        let pieces = if leaves < 20 { dice.below(6) } else { u64::MAX };
        for _ in 0..pieces {
            if !matches!(within("a piece", answer.frame()).await, Some(Ok(_))) {
                break;
            }
        }
    }
}

pub(crate) fn troubles() -> Script {
    let faults = [
        Fault::new(FaultKind::Throttle).rate(0.03),
        Fault::new(FaultKind::Error).rate(0.03),
        Fault::new(FaultKind::ResetBefore).rate(0.02),
        Fault::new(FaultKind::ResetInside).rate(0.02),
        Fault::new(FaultKind::Cut).after(3).rate(0.03),
        Fault::new(FaultKind::Hang).rate(0.001),
    ];
    Script::faulty(faults)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[allow(clippy::print_stderr, reason = "the figures of a long run are wanted")]
async fn a_soak_of_troubles_is_never_counted_too_low() {
    let asked = std::env::var("OUTCROP_SOAK_REQUESTS").ok().and_then(|text| text.parse().ok());
    let requests: u64 = asked.unwrap_or(SOAK_REQUESTS);
    let house = House::with(PLENTY).await;
    for (path, _) in PATHS {
        house.lab.script(target(path), troubles()).await.unwrap();
    }
    join_all((0..SOAK_CALLERS).map(|n| caller(&house, n, requests.div_ceil(SOAK_CALLERS)))).await;
    let (ledger, billed) = at_rest(&house).await;
    let compared = entries_are_the_bill(&house).await;
    eprintln!("{requests} requests: billed {billed} n$; {compared:?}; {ledger:?}");
    let enough = usize::try_from(requests / 4).unwrap();
    assert!(compared.entries >= enough, "too few entries could be compared: {compared:?}");
    assert!(billed > 0 && ledger.posted_nusd + ledger.suspense_nusd >= billed, "{billed} {ledger:?}");
    assert_eq!(ledger.overshoots, 0, "{ledger:?}");
}
