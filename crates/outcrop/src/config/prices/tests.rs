use outcrop_core::Usage;
use outcrop_core::money::{NanoUsd, Terms, Tier};

use super::super::parse;
use super::*;

const BEFORE: &str = r#"
[auth]
mode = "open"
[[path]]
name = "oai"
kind = "openai"
url = "http://127.0.0.1:1/v1"
[[path]]
name = "lab"
kind = "openai"
url = "http://127.0.0.1:2/v1"
[[path]]
name = "desk"
kind = "mcp"
url = "http://127.0.0.1:3/mcp"
[[model]]
name = "m"
targets = [
  { path = "oai", id = "gpt-4o-mini" },
  { path = "lab", id = "gpt-4o-mini" },
  { path = "desk", id = "echo", enabled = false },
]
"#;

/// Rows under the usual head; they begin at line 23.
fn file(rows: &str) -> String {
    format!("{BEFORE}{rows}\n")
}

/// The price of each target in order.
fn prices(rows: &str) -> Vec<Arc<Price>> {
    let checked = parse("outcrop.toml", &file(rows)).unwrap_or_else(|problems| panic!("{problems}"));
    checked.routes.targets.iter().filter_map(|spec| spec.price.clone()).collect()
}

const ECHO: &str = "[[price]]\nmodel = \"echo\"\nfree = true\n";

#[test]
fn a_target_without_a_price_is_a_problem_even_when_it_is_switched_off() {
    let problems = parse("outcrop.toml", BEFORE).unwrap_err();
    assert_eq!(problems.problems.len(), 1, "{problems}");
    let first = &problems.problems[0];
    assert_eq!((first.line, first.column), (21, 25), "{problems}");
    for word in ["`echo`", "`desk`", "[[price]]", "free = true"] {
        assert!(problems.to_string().contains(word), "`{word}` is not in: {problems}");
    }
}

#[test]
fn rows_win_over_the_catalogue_and_only_where_they_say() {
    let rows = format!(
        "{ECHO}[[price]]\nmodel = \"gpt-*\"\npath = \"lab\"\ninput = \"1 USD/Mtok\"\noutput = \"2 USD/Mtok\""
    );
    let found: Vec<_> =
        prices(&rows).iter().map(|p| (p.version.to_string(), p.standard.base().input.0, p.free)).collect();
    let catalogue = Catalogue::shipped().unwrap().find(outcrop_core::PathKind::OpenAi, "gpt-4o-mini", None);
    assert_eq!(
        found,
        [
            (catalogue.unwrap().version.to_string(), 150_000, false),
            (FILE.to_owned(), 1_000_000, false),
            (FILE.to_owned(), 0, true),
        ]
    );
}

#[test]
fn every_field_of_a_row_is_heard() {
    let rows = format!(
        r#"{ECHO}[[price]]
        model = "*"
        input = "1 USD/Mtok"
        output = "2 USD/Mtok"
        cache_read = "0.1 USD/Mtok"
        cache_write = "1.25 USD/Mtok"
        cache_write_1h = "2 USD/Mtok"
        reasoning = "3 USD/Mtok"
        request = "0.01 USD"
        above = {{ tokens = 100, input = "10 USD/Mtok", output = "20 USD/Mtok" }}
        priority = {{ input = "5 USD/Mtok", output = "6 USD/Mtok" }}
        flex = {{ input = "0.5 USD/Mtok", output = "1 USD/Mtok" }}
        valid_from = "2000-01-01"
        valid_until = "2999-12-31""#
    );
    let price = &prices(&rows)[0];
    let cost = |usage, tier| price.cost(&usage, &Terms { tier, requests: 0 });
    let usage = Usage {
        cache_read: Some(10),
        cache_write: Some(20),
        cache_write_1h: Some(10),
        reasoning: Some(1),
        ..Usage::of(10, 2)
    };
    let expected = 10 * 1_000 + 10 * 100 + 10 * 1_250 + 10 * 2_000 + 2_000 + 3_000;
    assert_eq!(cost(usage, Tier::Standard), Some(NanoUsd(expected)));
    assert_eq!(cost(Usage::of(101, 1), Tier::Standard), Some(NanoUsd(101 * 10_000 + 20_000)));
    assert_eq!(cost(Usage::of(1, 1), Tier::Priority), Some(NanoUsd(11_000)));
    assert_eq!(cost(Usage::of(1, 1), Tier::Flex), Some(NanoUsd(1_500)));
    assert_eq!(price.cost(&Usage::of(0, 0), &Terms::default()), Some(NanoUsd(10_000_000)));
    assert_eq!((price.valid_from, price.valid_until), (Some(946_684_800), Some(32_503_680_000)));
}

/// Expects one problem at that line and column.
fn check(rows: &str, line: usize, column: usize, says: &str) {
    let problems = parse("outcrop.toml", &file(&format!("{ECHO}{rows}"))).unwrap_err();
    let first = &problems.problems[0];
    assert!(problems.to_string().contains(says), "{problems}");
    assert_eq!((problems.problems.len(), first.line, first.column), (1, line, column), "{problems}");
}

#[test]
fn every_mistake_in_a_row_is_told_once() {
    let row = |rest: &str| format!("[[price]]\nmodel = \"echo\"\n{rest}");
    let io = "input = \"1 USD/Mtok\"\noutput = \"1 USD/Mtok\"\n";
    check(&row(""), 27, 9, "needs `input` and `output`");
    check(&row("input = \"1 USD/Mtok\""), 27, 9, "needs `input` and `output`");
    check(&row("free = true\ninput = \"1 USD/Mtok\""), 29, 9, "what is free has no prices");
    check(&row("free = true\nrequest = \"1 USD\""), 29, 11, "what is free has no prices");
    check(&row(&format!("{io}path = \"dask\"")), 30, 8, "did you mean `desk`?");
    check(&row(&format!("{io}request = \"1 EUR\"")), 30, 11, "not an amount");
    check(&row(&format!("{io}reasoning = \"much\"")), 30, 13, "not a price");
    check(&row(&format!("{io}valid_until = \"soon\"")), 30, 15, "not a day");
    check(&row(&format!("{io}valid_until = \"2020-01-31\"")), 30, 15, "has expired");
    let reversed = "valid_from = \"2999-01-02\"\nvalid_until = \"2999-01-01\"";
    check(&row(&format!("{io}{reversed}")), 31, 15, "before `valid_from`");
    let above = "above = { tokens = 5, input = \"1 USD/Mtok\" }";
    check(&row(&format!("{io}{above}")), 30, 9, "missing field `output`");
    check("[[price]]\nmodel = \"\"\nfree = true", 27, 9, "names a model");
}
