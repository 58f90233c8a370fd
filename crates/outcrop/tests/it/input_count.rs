//! Where the bytes of an input do not fit a budget, the target counts it, and what it bills fits.
//!
//! A token of the lab's models is four characters, so its bytes bound an input about four times too high.

use outcrop_lab::script::{Fault, FaultKind};

use crate::{
    api::{APIS, Api},
    client::Answer,
    house::House,
};

/// 60,000,000 n$ for 4,000 output tokens, and 6,000 n$ for each of the input (written to a cache for an hour).
const LIMIT: i64 = 200_000_000;
/// Characters of an input that fits as 20,000 tokens, and not as so many bytes.
const FITS: usize = 80_000;
/// Characters of one that is too large as 30,000 tokens.
const TOO_LARGE: usize = 120_000;

const EXACT: &str = "input_count = \"exact\"";
const ESTIMATED: &str = "input_count = \"estimated\"";

fn budget(scope: &str, more: &str) -> String {
    format!(
        "[[budget]]\nscope = \"{scope}\"\nwindow = \"lifetime\"\nlimit = \"0.2 USD\"\ncarve_out = \"0%\"\n{more}\n"
    )
}

async fn ask(house: &House, api: Api, path: &str, chars: usize, stream: bool) -> Answer {
    let text = format!("[[tokens=3]]{}", "word ".repeat(chars / 5));
    api.ask(house, &format!("on-{path}"), &text, stream, &[]).await
}

fn is_refused(answer: &Answer) -> bool {
    answer.text().contains("budget_exceeded")
}

/// The requests that reached a path's target, by the end of their address.
fn verbs(house: &House, path: &str) -> Vec<String> {
    let last = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
    house.seen(path).iter().map(|seen| last(&seen.path)).collect()
}

async fn served(path: &str, api: Api, stream: bool, how: &str) {
    let house = House::with(&budget("all", how)).await;
    let answer = ask(&house, api, path, FITS, stream).await;
    assert!(answer.status == 200 && !is_refused(&answer), "{path} {api:?} {stream}: {answer:?}");
    let bill = house.billed(path, 1).await.pop().unwrap();
    assert!(bill.executed && i64::try_from(bill.cost_nusd).unwrap() <= LIMIT, "{bill:?}");
    let decision = house.newest_decision(|decision| !decision["outcome"].is_null()).await;
    let counted = &decision["attempts"][0]["input_counted"];
    let billed = bill.input_tokens + bill.cache_read_tokens + bill.cache_write_tokens;
    let (tokens, estimated) = (counted["tokens"].as_u64().unwrap(), how == ESTIMATED);
    assert_eq!(counted["estimated"], estimated);
    assert!(if estimated { tokens > billed } else { tokens == billed }, "{api:?}: {tokens}, {billed} billed");
    assert_eq!(verbs(&house, path).len(), 2, "counted once, asked once");
}

#[tokio::test]
async fn what_fits_by_the_targets_own_count_is_served_within_the_limit() {
    for api in APIS {
        for stream in [false, true] {
            served("fra", api, stream, EXACT).await;
        }
    }
    for api in [Api::OpenAi, Api::Anthropic, Api::Converse] {
        served("ant", api, true, ESTIMATED).await;
    }
}

#[tokio::test]
async fn what_does_not_fit_by_its_count_is_refused() {
    for (path, how) in [("fra", EXACT), ("ant", ESTIMATED)] {
        let house = House::with(&budget("all", how)).await;
        for api in APIS {
            let answer = ask(&house, api, path, TOO_LARGE, false).await;
            assert!(is_refused(&answer), "{api:?}: {answer:?}");
        }
        assert_eq!(house.executions(path), 0);
        let counts = verbs(&house, path);
        let expected = if path == "fra" { "count-tokens" } else { "count_tokens" };
        assert_eq!(counts, vec![expected; APIS.len()]);
    }
}

#[tokio::test]
async fn nothing_is_counted_where_a_budget_does_not_allow_it_or_it_cannot_help() {
    let both = budget("all", EXACT) + &budget("model:*", "");
    // Neither the default nor one of two budgets is overruled, and an estimate is not exact.
    for (path, budgets) in [("fra", budget("all", "")), ("fra", both), ("ant", budget("all", EXACT))] {
        let house = House::with(&budgets).await;
        let answer = ask(&house, Api::OpenAi, path, FITS, false).await;
        assert!(is_refused(&answer), "{budgets}: {answer:?}");
        assert!(house.seen(path).is_empty(), "{budgets}");
    }
    let requests = "[[budget]]\nscope = \"all\"\nlimit = \"0 requests\"\n".to_owned();
    let output = budget("all", EXACT).replace("0.2 USD", "0.05 USD");
    for budgets in [requests + &budget("model:*", EXACT), output] {
        let house = House::with(&budgets).await;
        assert!(is_refused(&ask(&house, Api::OpenAi, "fra", FITS, false).await), "{budgets}");
        assert!(house.seen("fra").is_empty(), "a smaller input would not have helped: {budgets}");
    }
}

#[tokio::test]
async fn a_count_that_fails_changes_nothing() {
    let without = House::with(&budget("all", "")).await;
    let refused = ask(&without, Api::Converse, "fra", FITS, false).await;
    let message = |answer: &Answer| answer.json()["message"].clone();
    for fault in [
        Fault::new(FaultKind::Error).spelled(400, "ValidationException"),
        Fault::new(FaultKind::Throttle),
        Fault::new(FaultKind::Garbage),
        Fault::new(FaultKind::ResetBefore),
        // It is given up after a second, long before the request's own deadline.
        Fault::new(FaultKind::Hang),
    ] {
        let house = House::with(&budget("all", EXACT)).await;
        house.break_path("fra", fault.clone().times(1)).await;
        let answer = ask(&house, Api::Converse, "fra", FITS, false).await;
        assert_eq!((answer.status, message(&answer)), (402, message(&refused)), "{fault:?}");
        assert_eq!((house.executions("fra"), house.seen("fra").len()), (0, 1), "{fault:?}");
        // The target was not held to have failed, and nothing stays reserved.
        let again = ask(&house, Api::Converse, "fra", FITS, false).await;
        assert_eq!(again.status, 200, "{fault:?}: {again:?}");
    }
}

#[tokio::test]
async fn a_count_comes_before_the_output_is_made_smaller() {
    let house = House::with(&budget("all", "input_count = \"exact\"\nshortage = \"clamp\"")).await;
    let answer = ask(&house, Api::Converse, "fra", TOO_LARGE - 20_000, false).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let bill = house.billed("fra", 1).await.pop().unwrap();
    assert!(bill.executed && i64::try_from(bill.cost_nusd).unwrap() <= LIMIT, "{bill:?}");
}
