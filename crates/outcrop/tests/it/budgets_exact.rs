//! Entry by entry against the bill, and what a budget makes of a request that does not fit.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use outcrop_lab::script::{Fault, FaultKind, Script};
use outcrop_policy::ledger::EntryState;
use outcrop_store::journal::EntryFilter;
use serde_json::json;

use crate::{
    api::{APIS, Api},
    budgets::{PLENTY, at_rest, caller, troubles},
    house::{House, PATHS, target},
};

/// Requests under troubles, by callers at once.
const REQUESTS: (u64, u64) = (1_200, 24);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_posted_entry_is_what_the_upstream_billed_to_the_nano_dollar() {
    let house = House::with(PLENTY).await;
    for (path, _) in PATHS {
        house.lab.script(target(path), troubles()).await.unwrap();
    }
    let (requests, callers) = REQUESTS;
    join_all((0..callers).map(|n| caller(&house, n, requests / callers))).await;
    at_rest(&house).await;
    let mut bills = BTreeMap::new();
    for (path, _) in PATHS {
        for record in house.lab.target(target(path)).unwrap().billing().records() {
            bills.insert(record.request_id.clone(), i64::try_from(record.cost_nusd).unwrap());
        }
    }
    let filter = EntryFilter { state: Some(EntryState::Posted), limit: 10_000, ..EntryFilter::default() };
    let entries = house.running.store.entries(filter).await.unwrap();
    let mut compared = 0;
    for entry in entries.iter().map(|entry| &entry.settled.entry) {
        if entry.estimated || entry.upstream_request_id.is_empty() {
            continue;
        }
        // The simulated Anthropic puts a word before its id.
        let billed = bills.get(entry.upstream_request_id.trim_start_matches("req_"));
        assert_eq!(billed, Some(&entry.cost_nusd), "{entry:?}");
        compared += 1;
    }
    assert!(compared > 300, "only {compared} of {} entries could be compared", entries.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_refused_while_the_bill_says_that_there_is_room() {
    const LIMIT: usize = 60;
    let more = format!("[[budget]]\nscope = \"all\"\nlimit = \"{LIMIT} requests\"\ncarve_out = \"0%\"\n");
    let house = House::with(&more).await;
    // What is refused before it runs costs nothing, so its room must come back each time.
    let faults = [Fault::new(FaultKind::Throttle).rate(0.4)];
    house.lab.script(target("oai"), Script::faulty(faults)).await.unwrap();
    let ask = async || Api::OpenAi.ask(&house, "on-oai", "hi", false, &[]).await.status;
    for _ in 0..200 {
        let statuses = join_all((0..6).map(|_| ask())).await;
        let refused = statuses.contains(&402);
        // Several at once may stand in each other's way near the end; one alone may not.
        if refused && ask().await == 402 {
            break;
        }
    }
    assert_eq!(house.executions("oai"), LIMIT);
}

/// A budget of so many nano-dollars, and what it does about a shortage.
fn tight(nusd: u64, more: &str) -> String {
    let (whole, part) = (nusd / 1_000_000_000, nusd % 1_000_000_000);
    format!("[[budget]]\nscope = \"all\"\nlimit = \"{whole}.{part:09} USD\"\ncarve_out = \"0%\"\n{more}\n")
}

async fn ask_at_most(house: &House, model: &str, max_tokens: u64) -> u16 {
    let body = json!({"model": model, "max_tokens": max_tokens,
        "messages": [{"role": "user", "content": "[[tokens=5000]]"}]});
    house.post("/v1/chat/completions", &[], &body).await.status
}

#[tokio::test]
async fn clamping_lowers_the_output_to_what_fits_and_not_below_the_floor() {
    // gpt-4o-mini at the lab: 600 n$ for a thousand output tokens and less for the input.
    let house = House::with(&tight(400_000, "shortage = \"clamp\"\nfloor = 100")).await;
    assert_eq!(ask_at_most(&house, "on-oai", 4_000).await, 200);
    let bill = &house.billed("oai", 1).await[0];
    assert!(bill.output_tokens >= 100 && bill.output_tokens < 4_000, "{bill:?}");
    assert!(bill.cost_nusd <= 400_000, "{bill:?}");
    let house = House::with(&tight(60_000, "shortage = \"clamp\"\nfloor = 3000")).await;
    assert_eq!(ask_at_most(&house, "on-oai", 4_000).await, 402);
    let house = House::with(&tight(400_000, "")).await;
    assert_eq!(ask_at_most(&house, "on-oai", 4_000).await, 402, "refusing is the default");
}

#[tokio::test]
async fn a_cheaper_target_is_taken_where_the_budget_says_so() {
    let model = "[[model]]\nname = \"two\"\ntargets = [{ path = \"ant\", id = \"claude-sonnet-4-5\" }, \
        { path = \"oai\", id = \"gpt-4o-mini\" }]\n[[operation]]\nname = \"standard\"\norder = [\"ant\", \"oai\"]\n";
    for (shortage, expected) in [("shortage = \"cheaper\"", (200, 1)), ("", (402, 0))] {
        let house = House::with(&format!("{}{model}", tight(3_000_000, shortage))).await;
        let status = ask_at_most(&house, "two", 1_000).await;
        assert_eq!((status, house.seen("oai").len()), expected, "{shortage}");
        assert_eq!(house.seen("ant").len(), 0, "{shortage}");
    }
}

#[tokio::test]
async fn what_no_formula_bounds_is_refused_under_a_hard_budget_only() {
    let body = json!({"max_tokens": 10, "messages": [{"role": "user", "content": [
        {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}},
        {"type": "text", "text": "what is it?"}]}], "model": "on-ant"});
    let headers = Api::Anthropic.headers();
    for (more, refused) in [(PLENTY.to_owned(), true), (String::new(), false)] {
        let house = House::with(&more).await;
        let answer = house.post("/v1/messages", headers, &body).await;
        assert_eq!(answer.status == 422, refused, "{answer:?}");
        assert_eq!(house.seen("ant").is_empty(), refused);
    }
}

#[tokio::test]
async fn a_stream_that_does_not_fit_is_refused_before_it_begins() {
    let house = House::with(&tight(1, "")).await;
    for api in APIS {
        for stream in [false, true] {
            let answer = api.ask(&house, "on-ant", "hi", stream, &[]).await;
            let refused = answer.status == 402 || api == Api::Mcp;
            assert!(refused && answer.text().contains("budget_exceeded"), "{api:?} {stream}: {answer:?}");
        }
    }
    assert!(house.seen("ant").is_empty());
}
