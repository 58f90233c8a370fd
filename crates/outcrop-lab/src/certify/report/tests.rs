//! Golden files of every form, and what must hold of each of them.
//!
//! `OUTCROP_WRITE_GOLDEN=1` writes the files anew; look at the difference before you keep it.

use std::fs;
use std::path::PathBuf;

use super::{Document, DocumentError, Provenance, Standing, html, junit, markdown, sample, signature};
use crate::certify::outcome::{Bar, Outcome};

fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/report").join(name)
}

fn check(name: &str, text: &str) {
    let path = golden(name);
    #[allow(clippy::disallowed_methods, reason = "a switch of the test itself")]
    if std::env::var_os("OUTCROP_WRITE_GOLDEN").is_some() {
        fs::write(&path, text).unwrap();
    }
    let kept = fs::read_to_string(&path).unwrap();
    assert!(kept == text, "{name} differs; see the header of this file");
}

fn provenance(json: &[u8]) -> Provenance {
    Provenance { sha256: signature::sha256_hex(json), key_id: Some(format!("sha256:{}", "ab".repeat(32))) }
}

fn page(outcome: &Outcome) -> String {
    html::render(outcome, &Provenance::default()).unwrap()
}

#[test]
fn every_form_is_as_it_was() {
    let document = Document::new(sample::outcome());
    let json = document.to_json().unwrap();
    let provenance = provenance(&json);
    check("sample.json", std::str::from_utf8(&json).unwrap());
    check("sample.html", &html::render(&document.outcome, &provenance).unwrap());
    check("sample.md", &markdown::render(&document.outcome, &provenance));
    check("sample.junit.xml", &junit::render(&document.outcome).unwrap());
    check("schema.json", &format!("{:#}\n", super::document::schema()));
}

#[test]
fn a_document_is_read_as_it_was_written() {
    let document = Document::new(sample::outcome());
    let json = document.to_json().unwrap();
    let read = Document::from_json(&json).unwrap();
    assert_eq!(read, document);
    assert_eq!(read.to_json().unwrap(), json, "the same outcome, the same bytes");
}

#[test]
fn a_document_that_contradicts_itself_is_refused() {
    let text = String::from_utf8(Document::new(sample::outcome()).to_json().unwrap()).unwrap();
    let refused = |from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        Document::from_json(text.replacen(from, to, 1).as_bytes()).unwrap_err()
    };
    let lies = refused("\"standing\": \"failed\"", "\"standing\": \"passed\"");
    assert!(matches!(lies, DocumentError::Contradiction(_)), "{lies}");
    let lies = refused("\"measured\": 31.2", "\"measured\": 131.2");
    assert!(lies.to_string().contains("load/baseline"), "{lies}");
    let other = refused("report/1", "report/2");
    assert!(matches!(other, DocumentError::Format(_)), "{other}");
    let unknown = refused("\"standing\":", "\"stranding\":");
    assert!(matches!(unknown, DocumentError::Json(_)), "{unknown}");
}

#[test]
fn the_page_asks_nobody_and_runs_nothing() {
    let page = page(&sample::outcome());
    for forbidden in ["<script", "javascript:", "src=", "@import", "url(", " style=", " onload", "https://"] {
        assert!(!page.contains(forbidden), "{forbidden}");
    }
    let hash = page.split("style-src '").nth(1).unwrap().split('\'').next().unwrap();
    assert!(page.contains("default-src 'none'") && hash.starts_with("sha256-"));
    assert!(page.contains("&#60;script&#62;alert"), "hostile text is shown as text");
    assert!(!page.contains("<b>&amp; hostile"), "in plots too");
}

#[test]
fn what_is_wrong_is_seen_first() {
    let text = page(&sample::outcome());
    let place = |what: &str| text.find(what).unwrap_or_else(|| panic!("{what} is missing"));
    assert!(place("2 of 19 promises were not kept") < place("Promises that were not kept"));
    assert!(place("Promises that were not kept") < place("Scenarios that count for nothing"));
    assert!(place("Scenarios that count for nothing") < place("At a glance"));
    assert!(text.contains("Not certified, because nothing was played: security."));
}

#[test]
fn a_partial_run_says_so_at_the_top_of_every_form() {
    let outcome = Outcome { partial: true, ..sample::passed() };
    assert_eq!(Standing::of(&outcome), Standing::Partial);
    let text = page(&outcome);
    assert!(text.find("This report is partial").unwrap() < text.find("<main").unwrap());
    let summary = markdown::render(&outcome, &Provenance::default());
    assert!(summary.find("This report is partial").unwrap() < summary.find("## ").unwrap());
    assert!(junit::render(&outcome).unwrap().contains(r#"<error type="partial""#));
    assert!(!page(&sample::passed()).contains("This report is partial"));
}

#[test]
fn every_anchor_has_its_place_and_every_id_is_its_own() {
    let mut outcome = sample::outcome();
    let twin = outcome.suites[0].clone();
    outcome.suites.push(twin);
    let page = page(&outcome);
    let ids: Vec<&str> = page.split(" id=\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
    let unique: std::collections::BTreeSet<_> = ids.iter().collect();
    assert_eq!(ids.len(), unique.len(), "an id is used twice");
    for target in page.split("href=\"#").skip(1).map(|rest| rest.split('"').next().unwrap()) {
        assert!(unique.contains(&target), "nothing is called {target}");
    }
    for named in page.split("aria-labelledby=\"").skip(1).map(|rest| rest.split('"').next().unwrap()) {
        assert!(named.split(' ').all(|id| unique.contains(&id)), "nothing is called {named}");
    }
}

#[test]
fn no_place_on_a_plot_is_no_number() {
    let mut outcome = sample::outcome();
    for scenario in outcome.suites.iter_mut().flat_map(|suite| &mut suite.scenarios) {
        for verdict in &mut scenario.verdicts {
            verdict.bar = Bar::AtMost(f64::MAX);
            verdict.margin = Some(f64::MAX);
        }
        for series in &mut scenario.series {
            if let crate::certify::outcome::Series::Time { points, .. }
            | crate::certify::outcome::Series::Percentiles { points, .. } = series
            {
                points.truncate(1);
            }
        }
    }
    for text in [page(&outcome), page(&Outcome::default())] {
        assert!(!text.contains("NaN") && !text.contains("\"inf"), "a place that is no number");
    }
}

#[test]
fn junit_is_well_formed_and_counts_right() {
    let mut outcome = sample::outcome();
    outcome.suites[0].scenarios[0].title = "\u{1}".to_owned();
    outcome.suites[0].scenarios[0].verdicts[0].promise = "a\u{0} \"<&>'\u{1b}[0m ]]>".to_owned();
    let text = junit::render(&outcome).unwrap();
    let mut reader = quick_xml::Reader::from_str(&text);
    reader.config_mut().check_end_names = true;
    let mut seen = [0; 4];
    loop {
        let name = match reader.read_event().unwrap() {
            quick_xml::events::Event::Eof => break,
            quick_xml::events::Event::Start(e) | quick_xml::events::Event::Empty(e) => {
                assert!(e.attributes().all(|a| a.is_ok()));
                e.name().as_ref().to_owned()
            }
            _ => continue,
        };
        for (at, kind) in ["testcase", "failure", "error", "skipped"].iter().enumerate() {
            seen[at] += usize::from(name == *kind);
        }
    }
    assert_eq!(seen, [21, 2, 1, 1]);
    let [tests, failures, errors, skipped] = seen;
    let said = format!(r#"tests="{tests}" failures="{failures}" errors="{errors}" skipped="{skipped}""#);
    assert!(text.lines().nth(1).unwrap().contains(&said), "{text}");
    assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "a letter that XML cannot hold");
}

#[test]
fn markdown_keeps_its_tables_whatever_a_run_says() {
    let mut outcome = sample::outcome();
    outcome.suites[0].scenarios[0].verdicts[0].promise = "a | b\n| [x](javascript:1) `c` <b>".to_owned();
    let text = markdown::render(&outcome, &Provenance::default());
    let row = text.lines().find(|line| line.contains("javascript")).unwrap();
    assert_eq!(row.replace("\\|", "").matches('|').count(), 7, "{row}");
    assert!(row.contains("\\[x\\]") && row.contains("\\<b\\>"), "{row}");
}
