//! Entry by entry against the bill, and what a budget makes of a request that does not fit.

use std::{collections::BTreeMap, sync::Arc};

use futures_util::future::join_all;
use outcrop_lab::script::{Fault, FaultKind, Script, Spread};
use outcrop_policy::ledger::{Entry, EntryState};
use outcrop_store::journal::{ANSWER_ROWS_MAX, EntryFilter};
use serde_json::json;
use tokio::sync::Barrier;

use crate::{
    api::{APIS, Api},
    budgets::{PLENTY, at_rest, billed_nusd, caller, dollars_before, house_with, troubles},
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
    let compared = entries_are_the_bill(&house).await;
    assert!(compared.entries > 300, "{compared:?}");
}

/// Entries that were held against the bill.
#[derive(Debug, Default)]
pub(crate) struct Compared {
    pub(crate) entries: usize,
    /// What they, and the bill, say.
    pub(crate) nusd: i64,
    /// Posted entries whose upstream gave no name, or no usage.
    pub(crate) others: usize,
}

/// Holds each posted entry that an upstream named against that upstream's bill: to the nano-dollar.
pub(crate) async fn entries_are_the_bill(house: &House) -> Compared {
    let mut bills = BTreeMap::new();
    for (path, _) in PATHS {
        for record in house.lab.target(target(path)).unwrap().billing().records() {
            bills.insert(record.request_id.clone(), i64::try_from(record.cost_nusd).unwrap());
        }
    }
    let mut compared = Compared::default();
    for entry in posted(house).await.values() {
        if entry.estimated || entry.upstream_request_id.is_empty() {
            compared.others += 1;
            continue;
        }
        // The simulated Anthropic puts a word before its id.
        let billed = bills.remove(entry.upstream_request_id.trim_start_matches("req_"));
        assert_eq!(billed, Some(entry.cost_nusd), "billed once and posted once: {entry:?}");
        compared.entries += 1;
        compared.nusd += entry.cost_nusd;
    }
    compared
}

/// All posted entries of the journal, by attempt: page by page, the latest first.
async fn posted(house: &House) -> BTreeMap<Arc<str>, Entry> {
    let (mut all, mut to_ms) = (BTreeMap::new(), None);
    loop {
        let filter = EntryFilter {
            state: Some(EntryState::Posted),
            limit: ANSWER_ROWS_MAX,
            to_ms,
            ..EntryFilter::default()
        };
        let page = house.running.store.entries(filter).await.unwrap();
        let before = all.len();
        // The last moment of a page may be cut: the next page begins with it.
        to_ms = page.last().map(|entry| entry.settled.entry.at_ms + 1);
        all.extend(page.into_iter().map(|entry| (entry.settled.attempt, entry.settled.entry)));
        if all.len() == before {
            return all;
        }
    }
}

/// What a budget is, in requests, for the soak of blocks without a reason, unless
/// `OUTCROP_PHANTOM_REQUESTS` says otherwise.
const PHANTOM_REQUESTS: usize = 120;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[allow(clippy::print_stderr, reason = "the figures of a long run are wanted")]
async fn nobody_is_refused_while_the_bill_says_that_there_is_room() {
    const AT_ONCE: usize = 6;
    let asked = std::env::var("OUTCROP_PHANTOM_REQUESTS").ok().and_then(|text| text.parse().ok());
    let limit: usize = asked.unwrap_or(PHANTOM_REQUESTS);
    let house = house_with(&format!("{limit} requests"), PLENTY).await;
    // What is refused before it runs costs nothing, so its room must come back each time.
    let paths = ["fra", "oai", "ant"];
    let faults = [Fault::new(FaultKind::Throttle).rate(0.4)];
    for path in paths {
        house.lab.script(target(path), Script::faulty(faults.clone())).await.unwrap();
    }
    let executed = || paths.map(|path| house.executions(path)).iter().sum::<usize>();
    let ask = async |n: usize| {
        let (api, path) = (APIS[n % APIS.len()], paths[n / APIS.len() % paths.len()]);
        let answer = api.ask(&house, &format!("on-{path}"), "[[tokens=3]]", n.is_multiple_of(2), &[]).await;
        answer.text().contains("budget_exceeded")
    };
    let (mut sent, mut refused) = (0, 0);
    loop {
        let before = executed();
        let told = join_all((sent..sent + AT_ONCE).map(&ask)).await;
        sent += AT_ONCE;
        let over = told.iter().filter(|over| **over).count();
        refused += over;
        assert!(over == 0 || before + AT_ONCE > limit, "refused with {before} of {limit} executed");
        // Several at once may stand in each other's way near the end; one alone may not.
        if over > 0 && ask(sent).await {
            break;
        }
    }
    eprintln!("{limit} requests: {sent} sent, {refused} refused, {} executed", executed());
    assert_eq!(executed(), limit);
}

/// So many at a barrier, each with the same bound; how many passed, and the largest bound and least rest
/// that refusals named.
async fn round(house: &House, count: usize) -> (usize, Option<(i64, i64)>) {
    let barrier = Barrier::new(count);
    let ask = async |n: usize| {
        barrier.wait().await;
        let body = json!({"model": "on-oai", "max_tokens": 500, "stream": n.is_multiple_of(2),
            "messages": [{"role": "user", "content": "[[tokens=500]]"}]});
        house.post("/v1/chat/completions", &[], &body).await
    };
    let answers = join_all((0..count).map(&ask)).await;
    let (passed, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status == 200);
    let numbers = refused.iter().map(|answer| {
        assert_eq!(answer.status, 402, "{answer:?}");
        let text = answer.text();
        (dollars_before(&text, "may take up to "), dollars_before(&text, " has "))
    });
    (passed.len(), numbers.reduce(|one, other| (one.0.max(other.0), one.1.min(other.1))))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_at_once_use_money_up_and_not_beyond() {
    const LIMIT: i64 = 10_000_000;
    let house = house_with("0.01 USD", "").await;
    // All of a round are under way at once: what keeps them within the limit is what they reserved.
    let slow = Script { latency_ms: Some(Spread::Fixed(300.0)), ..Script::default() };
    house.lab.script(target("oai"), slow).await.unwrap();
    let mut rounds = 0;
    loop {
        let before = billed_nusd(&house);
        let (passed, refused) = round(&house, 100).await;
        rounds += 1;
        at_rest(&house).await;
        let billed = billed_nusd(&house);
        assert!(billed <= LIMIT, "round {rounds}: {billed} billed");
        let Some((bound, _)) = refused else { continue };
        // At rest everything is at hand, so as many must pass as their bounds fit.
        let fitting = usize::try_from((LIMIT - before) / bound).unwrap();
        assert!(passed >= fitting.min(100), "round {rounds}: {passed} passed, {fitting} fitted");
        if passed == 0 {
            let (alone, Some((bound, left))) = round(&house, 1).await else { panic!("one passed alone") };
            assert_eq!((alone, left), (0, LIMIT - billed), "what is left is what was not billed");
            assert!(bound > left, "refused although it fits: {bound}, {left}");
            break;
        }
    }
    assert!(rounds > 3, "all of it was used up at once: {rounds}");
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
