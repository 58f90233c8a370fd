//! Keys as people see them: a table, and which of them a word means.

use comfy_table::{ContentArrangement, Table, presets};
use serde_json::Value;

/// The list of the operator's API as a table.
pub(super) fn table(keys: &Value) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(["name", "prefix", "state", "role", "org / team", "may use", "ends", "AWS pair"]);
    for key in keys.as_array().into_iter().flatten() {
        let text = |field: &str| key[field].as_str().unwrap_or_default().to_owned();
        let whose = [text("org"), text("team")].into_iter().filter(|part| !part.is_empty());
        table.add_row([
            text("name"),
            text("prefix"),
            text("state"),
            text("role"),
            whose.collect::<Vec<_>>().join(" / "),
            bounds(key),
            text("expires_at"),
            text("access_key_id"),
        ]);
    }
    table
}

/// What a key is bound to.
fn bounds(key: &Value) -> String {
    let list = |field: &str, what: &str| {
        let entries: Vec<&str> = key[field].as_array()?.iter().filter_map(Value::as_str).collect();
        (!entries.is_empty()).then(|| format!("{what}{}", entries.join(", ")))
    };
    let raw = (key["raw_models"] == true).then(|| "raw ids".to_owned());
    let residency = key["residency"].as_str().map(|place| format!("in the {}", place.to_uppercase()));
    let parts = [list("models", ""), list("operations", "for "), list("manages", "over "), raw, residency];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    if parts.is_empty() { "everything of its role".to_owned() } else { parts.join("; ") }
}

/// Prefixes of the keys that a word means and that are not revoked yet: one by prefix or access key id, or
/// all of a name.
pub(super) fn named<'a>(keys: &'a Value, which: &str) -> Vec<&'a str> {
    let keys = keys.as_array().into_iter().flatten().filter(|key| key["state"] != "revoked");
    let meant =
        keys.filter(|key| ["prefix", "access_key_id", "name"].iter().any(|field| key[field] == which));
    meant.filter_map(|key| key["prefix"].as_str()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_word_means_a_key_or_all_of_a_name() {
        let keys = json!([
            {"name": "ci", "prefix": "oc_1", "state": "active", "access_key_id": "AKIAOC1", "models": ["a", "b"]},
            {"name": "ci", "prefix": "oc_2", "state": "expired", "access_key_id": null},
            {"name": "ci", "prefix": "oc_3", "state": "revoked", "access_key_id": null},
        ]);
        for (which, expected) in [
            ("ci", vec!["oc_1", "oc_2"]),
            ("oc_1", vec!["oc_1"]),
            ("AKIAOC1", vec!["oc_1"]),
            ("oc_3", vec![]),
            ("c", vec![]),
        ] {
            assert_eq!(named(&keys, which), expected, "{which}");
        }
        let shown = table(&keys).to_string();
        assert!(shown.contains("a, b") && shown.contains("everything of its role"), "{shown}");
    }
}
