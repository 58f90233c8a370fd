//! Mistakes in the file are found before anything runs, each with its place and the way out.

use outcrop::config;

use crate::house::{House, Setup};

/// A file that is right.
const GOOD: &str = r#"
[listen]
data = "127.0.0.1:0"
admin = "127.0.0.1:0"
[auth]
mode = "open"
[[path]]
name = "oai"
kind = "openai"
url = "http://127.0.0.1:1/v1"
key = "k"
[[model]]
name = "mini"
targets = [{ path = "oai", id = "gpt-4o-mini" }]
"#;

/// Replaces `from` in the good file and holds that the problem is found at the place, with the words.
fn check(from: &str, to: &str, place: (usize, usize), words: &[&str]) {
    assert!(GOOD.contains(from), "{from}");
    let bad = GOOD.replacen(from, to, 1);
    let problems = config::parse("outcrop.toml", &bad).expect_err(to);
    let found = &problems.problems[0];
    assert_eq!((found.line, found.column), place, "{problems}");
    for word in words {
        assert!(problems.to_string().contains(word), "`{word}` is not in: {problems}");
    }
    assert!(
        problems.to_string().starts_with(&format!("outcrop.toml:{}:{}: ", place.0, place.1)),
        "{problems}"
    );
}

#[test]
fn a_mistake_is_told_with_line_column_and_the_way_out() {
    assert!(config::parse("outcrop.toml", GOOD).is_ok());
    check("url = ", "urll = ", (10, 1), &["urll", "did you mean `url`?"]);
    check("[[model]]", "[[modle]]", (12, 3), &["modle", "did you mean `model`?"]);
    check("mode = \"open\"", "mode = \"opne\"", (6, 8), &["opne", "did you mean `open`?"]);
    check("kind = \"openai\"", "kind = \"open-ai\"", (9, 8), &["open-ai"]);
    check("path = \"oai\"", "path = \"oaii\"", (14, 21), &["oaii", "did you mean `oai`?"]);
    check("data = \"127.0.0.1:0\"", "data = \"0.0.0.0:0\"", (6, 8), &["loopback"]);
    check("admin = \"127.0.0.1:0\"", "admin = \"0.0.0.0:0\"", (4, 9), &["loopback"]);
    check("http://127.0.0.1:1/v1", "ftp://127.0.0.1", (10, 7), &["http"]);
    check("http://127.0.0.1:1/v1", "http://user:pass@host/v1", (10, 7), &["key_env"]);
    check("key = \"k\"", "key = \"k\"\nregion = 3", (12, 10), &["string"]);
    check("key = \"k\"", "key = \"k\"\nendpoint = \"http://x\"", (12, 12), &["endpoint"]);
    check("name = \"mini\"", "name = \"mini\"\nname = \"mini\"", (14, 1), &["duplicate"]);
}

#[test]
fn every_problem_is_told_at_once() {
    let bad = GOOD
        .replace("path = \"oai\"", "path = \"x\"")
        .replace("[auth]", "[limits]\ninflight_max = 0\n[auth]");
    let problems = config::parse("outcrop.toml", &bad).unwrap_err();
    assert_eq!(problems.problems.len(), 2, "{problems}");
}

#[test]
fn keys_that_nothing_keeps_need_a_pepper_and_a_hash() {
    for (auth, word) in [
        ("mode = \"keys\"", "pepper"),
        ("mode = \"keys\"\npepper = \"short\"", "32"),
        ("mode = \"keys\"\npepper = \"0123456789abcdef0123456789abcdef\"", "key"),
    ] {
        let problems = config::parse(
            "outcrop.toml",
            &GOOD.replace("mode = \"open\"", &format!("{auth}\n[store]\nurl = \"memory:\"")),
        )
        .unwrap_err();
        assert!(problems.to_string().contains(word), "{problems}");
    }
}

#[tokio::test]
async fn secrets_do_not_show_when_a_configuration_is_printed() {
    let house = House::set_up(Setup {
        adjust: |checked| {
            let shown = format!("{checked:?}");
            assert!(!shown.contains("outcrop-lab-openai-key"), "{shown}");
            assert!(!shown.contains("outcrop-lab-secret-key"), "{shown}");
        },
        ..Setup::default()
    })
    .await;
    assert_eq!(house.admin("/healthz").await.status, 200);
}
