use super::super::parse;

const GOOD: &str = r#"
[auth]
mode = "open"

[[path]]
name = "fra"
kind = "bedrock"
region = "eu-central-1"

[[path]]
name = "desk"
kind = "mcp"
url = "http://127.0.0.1:9102/mcp"

[[model]]
name = "sonnet"
targets = [{ path = "fra", id = "anthropic.claude-3" }, { path = "desk", id = "sonnet" }]

[[price]]
model = "*"
input = "3 USD/Mtok"
output = "15 USD/Mtok"
"#;

#[test]
fn the_smallest_useful_file_is_good() {
    let checked = parse("outcrop.toml", GOOD).unwrap();
    assert!(checked.open);
    assert_eq!(checked.paths.len(), 2);
    assert_eq!(checked.routes.models["sonnet"].len(), 2);
}

/// Puts `to` in the place of `from` and expects one problem at that line and column.
fn check(from: &str, to: &str, line: usize, column: usize, says: &str) {
    let text = GOOD.replacen(from, to, 1);
    assert_ne!(text, GOOD, "`{from}` is not in the file");
    let problems = parse("outcrop.toml", &text).unwrap_err();
    let first = &problems.problems[0];
    let shown = problems.to_string();
    assert!(shown.contains(says), "{shown}");
    assert_eq!((first.line, first.column), (line, column), "{shown}");
}

#[test]
fn every_mistake_is_named_with_its_place_and_the_way_out() {
    check("region =", "regoin =", 8, 1, "did you mean `region`?");
    check("kind = \"bedrock\"", "kind = \"bedrok\"", 7, 8, "did you mean `bedrock`?");
    check("path = \"fra\"", "path = \"fraa\"", 17, 21, "did you mean `fra`?");
    check("region = \"eu-central-1\"", "", 7, 8, "needs `region`");
    check("region = \"eu-central-1\"", "region = \"EU\"", 8, 10, "not an AWS region");
    check("url = \"http", "url = \"ftp", 13, 7, "not a http:// or https:// URL");
    check("url = \"http://127.0.0.1:9102/mcp\"", "command = [\"server\"]", 13, 11, "absolute path");
    check("name = \"desk\"", "name = \"fra\"", 11, 8, "two paths `fra`");
    check("name = \"desk\"", "name = \"Desk\"", 11, 8, "lower-case");
    check("mode = \"open\"", "mode = \"keys\"\n[store]\nurl = \"memory:\"", 3, 8, "pepper");
    check("[auth]", "[listen]\ndata = \"0.0.0.0:80\"\n[auth]", 5, 8, "loopback listeners only");
    check("[auth]", "[listen]\nadmin = \"0.0.0.0:80\"\n[auth]", 3, 9, "must be on loopback");
    check("[auth]", "[limits]\ndrain_max = \"soon\"\n[auth]", 3, 13, "not a duration");
    check("[auth]", "[limits]\ninflight_max = 0\n[auth]", 3, 16, "at least 1");
    check(
        "[[model]]",
        "[[operation]]\nname = \"x\"\norder = [\"dirct\"]\n[[model]]",
        17,
        9,
        "did you mean `direct`?",
    );
    check(
        "[[model]]",
        "[[price]]\nmodel = \"x\"\ninput = \"3 EUR\"\noutput = \"1 USD/Mtok\"\n[[model]]",
        17,
        9,
        "not a price",
    );
    check(
        "region = \"eu-central-1\"",
        "region = \"eu-central-1\"\nurl = \"http://x\"",
        9,
        7,
        "means nothing",
    );
    check(
        "region = \"eu-central-1\"",
        "region = \"${OUTCROP_TEST_UNSET}\"",
        8,
        10,
        "OUTCROP_TEST_UNSET is not set",
    );
    check("[auth]\n", "[auth\n", 2, 6, "outcrop.toml:2:6");
}

#[test]
fn mistakes_in_the_impact_are_named() {
    let keys = ["latency_percent", "cpu_percent", "memory_percent", "descriptors_percent", "runtime_percent"];
    for key in keys {
        for wrong in ["0", "101", "300", "-5"] {
            let text = format!("[impact]\n{key} = {wrong}\n[auth]");
            check("[auth]", &text, 3, key.len() + 4, "must be a percentage from 1 to 100");
        }
    }
    for (line, column, says) in [
        ("cpu_percent = \"80%\"", 15, "invalid type: string"),
        ("cpu_procent = 80", 1, "did you mean `cpu_percent`?"),
        ("shed = [\"hedgin\"]", 9, "did you mean `hedging`?"),
        ("shed = [\"requests\"]", 9, "unknown variant `requests`"),
        ("every = \"10ms\"", 9, "must be between 100ms and 1m"),
        ("every = \"2m\"", 9, "must be between 100ms and 1m"),
    ] {
        check("[auth]", &format!("[impact]\n{line}\n[auth]"), 3, column, says);
    }
    let good =
        parse("outcrop.toml", &GOOD.replacen("[auth]", "[impact]\nshed = []\ncpu_percent = 100\n[auth]", 1));
    let impact = good.unwrap().impact;
    assert_eq!((impact.shed, impact.thresholds.0), (vec![], [5, 100, 80, 80, 80]));
}

#[test]
fn mistakes_in_rate_limits_are_named() {
    let row =
        |scope: &str, limit: &str| format!("[[rate]]\nscope = \"{scope}\"\nlimit = \"{limit}\"\n[auth]");
    let few = "6 requests/min";
    for (scope, limit, line, column, says) in [
        ("ci", few, 3, 9, "is not a scope"),
        ("model:sonet", few, 3, 9, "there is no model `sonet`\n  hint: did you mean `sonnet`?"),
        ("operation:standart", few, 3, 9, "did you mean `standard`?"),
        ("path:fra", few, 3, 9, "cannot look at paths"),
        ("path:fr", few, 3, 9, "did you mean `fra`?"),
        ("key:*", "six a minute", 4, 9, "is not a rate"),
        ("key:*", "900 Mtok/min", 4, 9, "at most 10,000,000 per second"),
        ("key:*", "6 requests/min\"\nburst = 0 #\"", 5, 9, "between 1 and"),
        ("key:*", "6 requests/min\"\nper = 0 #\"", 5, 1, "known here"),
    ] {
        check("[auth]", &row(scope, limit), line, column, says);
    }
    let twice = row("key:x", few).replace("[auth]", &row("key:x", few));
    check("[auth]", &twice, 6, 9, "twice");
    let good =
        ["all", "key:nobody+model:*", "model:eu.amazon.nova-lite-v1:0", "operation:standard", "tool:a__b"];
    for scope in good {
        let checked = parse("outcrop.toml", &GOOD.replacen("[auth]", &row(scope, few), 1)).unwrap();
        assert_eq!((checked.rates.len(), checked.rates[0].scope.to_string().as_str()), (1, scope));
    }
}

#[test]
fn all_problems_are_reported_at_once() {
    let text = GOOD.replace("eu-central-1", "EU").replace("path = \"desk\"", "path = \"dusk\"");
    assert_eq!(parse("outcrop.toml", &text).unwrap_err().problems.len(), 2);
}

#[test]
fn secrets_never_show() {
    let text = GOOD.replace("url = ", "key = \"hunter2\"\nurl = ");
    let checked = parse("outcrop.toml", &text).unwrap();
    assert!(!format!("{checked:?}").contains("hunter2"));
}

#[test]
fn the_schema_knows_every_table() {
    let schema = super::super::schema().to_string();
    for key in
        ["listen", "auth", "limits", "path", "model", "price", "operation", "rate", "key", "call_timeout_max"]
    {
        assert!(schema.contains(&format!("\"{key}\"")), "{key}");
    }
}
