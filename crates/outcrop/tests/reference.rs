//! `docs/configuration.md` is made from the documentation of the configuration's own types.
//!
//! `OUTCROP_WRITE_DOCS=1 cargo test -p outcrop --test reference` writes it anew.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests stop at the first surprise")]

use std::fmt::Write;
use std::path::Path;

use serde_json::Value;

const HEAD: &str = "# Configuration

One TOML file, `outcrop.toml` by default (`--config`, `OUTCROP_CONFIG`). It is read whole or refused with line, column and a hint (exit code 64); `outcrop
check` shows what a file puts in force, `outcrop check --schema` prints its JSON schema. SIGHUP or a change of the file reloads it: whole, or not at all, and
then the log says why. The `[listen]` table and the limits on connections and requests at once are taken at start only.

Any string can come from the environment (`\"${NAME}\"`) or from a file (`\"file:/run/secrets/x\"`, a final newline is cut). Unknown keys are errors. Secrets are
never shown in logs, records or error messages.

Keys are made while the gateway runs, or as rows of this file: [keys.md](keys.md).

This page is made from the code (`crates/outcrop/src/config/raw.rs`).
";

fn tables(schema: &Value) -> String {
    let mut page = HEAD.to_owned();
    let root = schema["properties"].as_object().unwrap();
    for (name, property) in root {
        let array = property["items"]["$ref"].as_str();
        let reference = array.or(property["$ref"].as_str()).or(property["allOf"][0]["$ref"].as_str());
        let title = if array.is_some() { format!("[[{name}]]") } else { format!("[{name}]") };
        let about = text(property);
        writeln!(page, "\n## `{title}`\n\n{about}\n").unwrap();
        table(&mut page, resolve(schema, reference.unwrap()));
        nested(&mut page, schema, resolve(schema, reference.unwrap()));
    }
    page
}

/// Tables inside a table.
fn nested(page: &mut String, schema: &Value, parent: &Value) {
    for (name, property) in parent["properties"].as_object().unwrap() {
        let reference = [&property["$ref"], &property["items"]["$ref"], &property["anyOf"][0]["$ref"]]
            .into_iter()
            .find_map(Value::as_str);
        let Some(inner) = reference.map(|r| resolve(schema, r)) else { continue };
        if inner["properties"].is_object() {
            writeln!(page, "\n`{name}`:\n").unwrap();
            table(page, inner);
        }
    }
}

fn table(page: &mut String, object: &Value) {
    writeln!(page, "| key | |\n|---|---|").unwrap();
    let required: Vec<&str> =
        object["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for (key, property) in object["properties"].as_object().unwrap() {
        let must = if required.contains(&key.as_str()) { " (required)" } else { "" };
        writeln!(page, "| `{key}`{must} | {} |", text(property)).unwrap();
    }
}

fn resolve<'a>(schema: &'a Value, reference: &str) -> &'a Value {
    schema.pointer(reference.trim_start_matches('#')).unwrap()
}

fn text(property: &Value) -> String {
    property["description"].as_str().unwrap_or_default().replace('\n', " ").replace('|', "\\|")
}

#[test]
fn the_configuration_page_says_what_the_code_says() {
    let page = tables(&outcrop::config::schema());
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md");
    #[allow(clippy::disallowed_methods, reason = "the switch of this test")]
    if std::env::var_os("OUTCROP_WRITE_DOCS").is_some() {
        std::fs::write(&file, &page).unwrap();
    }
    let written = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(written == page, "docs/configuration.md is out of date; see the head of this test");
}
