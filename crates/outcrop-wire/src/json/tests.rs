//! Limits, duplicates and spans.
#![allow(clippy::arithmetic_side_effects, reason = "tests stop at the first surprise")]

use super::*;

fn check(body: &str, limits: Limits) -> Result<Vec<(String, Shape, Option<String>)>, Rejection> {
    let members = scan(body.as_bytes(), &limits, &["model"])?;
    Ok(members
        .into_iter()
        .map(|m| (m.key.into_owned(), m.shape, m.raw.map(|r| r.get().to_owned())))
        .collect())
}

fn refused(body: &str) -> Rejection {
    check(body, Limits { depth_max: 8, nodes_max: 50 }).unwrap_err()
}

#[test]
fn members_come_with_shape_and_text() {
    let seen = check(r#"{ "model" : "a\u0062" , "messages":[1,2] ,"x":null}"#, Limits::default());
    let seen = seen.unwrap();
    assert_eq!(seen[0].0, "model");
    assert_eq!(seen[0].2.as_deref(), Some(r#""a\u0062""#));
    assert_eq!(seen[1].1, Shape { kind: Kind::Array, len: 2 });
    assert_eq!(seen[1].2, None);
    assert_eq!(seen[2].1.kind, Kind::Null);
}

#[test]
fn duplicate_keys_are_refused_at_every_level() {
    let top = refused(r#"{"a":1,"a":2}"#);
    assert_eq!(top.field, "a");
    assert!(top.message.contains("`a` is given twice"), "{top}");
    let escaped = refused(r#"{"a":1,"\u0061":2}"#);
    assert!(escaped.message.contains("`a` is given twice"), "{escaped}");
    let deep = refused(r#"{"x":[{"role":"a","role":"b"}]}"#);
    assert_eq!(deep.field, "x");
    let kept = refused(r#"{"model":{"m":1,"m":2}}"#);
    assert_eq!(kept.field, "model");
    let many: Vec<String> = (0..40).map(|n| format!("\"k{n}\":0")).collect();
    let many = refused(&format!("{{{},\"k39\":1}}", many.join(",")));
    assert!(many.message.contains("`k39` is given twice"), "{many}");
}

#[test]
fn depth_is_limited() {
    let at = |depth: usize| format!("{{\"x\":{}{}}}", "[".repeat(depth - 1), "]".repeat(depth - 1));
    assert!(check(&at(8), Limits { depth_max: 8, nodes_max: 50 }).is_ok());
    assert!(refused(&at(9)).message.contains("deeper than 8"));
    let bomb = format!("{{\"x\":{}", "[".repeat(1_000_000));
    assert!(check(&bomb, Limits::default()).is_err());
    let kept_bomb = format!("{{\"model\":{}", "[".repeat(1_000_000));
    assert!(check(&kept_bomb, Limits::default()).is_err());
}

#[test]
fn values_are_limited() {
    let of = |n: usize| format!("{{\"x\":[{}]}}", vec!["1"; n].join(","));
    assert!(check(&of(48), Limits { depth_max: 8, nodes_max: 50 }).is_ok());
    assert!(refused(&of(49)).message.contains("more than 50 values"));
}

#[test]
fn what_is_not_one_json_object_is_refused() {
    for body in ["", "  \n", "[]", "\"x\"", "{", "{}{}", "{} x", "{\"a\":01}", "nul", "\u{feff}{}"] {
        assert!(check(body, Limits::default()).is_err(), "{body:?}");
    }
    assert!(scan(b"{\"a\":\"\xff\"}", &Limits::default(), &[]).is_err());
    assert!(scan(b"{\"model\":\"\xff\"}", &Limits::default(), &["model"]).is_err());
}
