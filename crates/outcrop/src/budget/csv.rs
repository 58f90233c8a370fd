//! CSV (RFC 4180), safe to open: a text that a spreadsheet would take for a formula gets a quote in front.

use serde_json::Value;

const NUMBERS: [&str; 6] =
    ["attempts", "posted_nusd", "suspense_nusd", "estimated_nusd", "input_tokens", "output_tokens"];

/// The rows of an answer about spending.
pub(super) fn of(spent: &Value) -> String {
    let by: Vec<&str> = spent["by"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let header: Vec<String> = by.iter().chain(&NUMBERS).map(|name| cell(name)).collect();
    let mut text = header.join(",") + "\r\n";
    for row in spent["rows"].as_array().into_iter().flatten() {
        let words = by.iter().map(|name| cell(row[*name].as_str().unwrap_or_default()));
        let numbers = NUMBERS.iter().map(|name| row[*name].to_string());
        text.push_str(&words.chain(numbers).collect::<Vec<_>>().join(","));
        text.push_str("\r\n");
    }
    text
}

fn cell(text: &str) -> String {
    let guard = if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { "'" } else { "" };
    let text = format!("{guard}{text}");
    if text.contains(['"', ',', '\r', '\n']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_quoted_and_no_formula() {
        for (text, expected) in [
            ("ci", "ci"),
            ("", ""),
            ("a,b", "\"a,b\""),
            ("say \"hi\"", "\"say \"\"hi\"\"\""),
            ("a\nb", "\"a\nb\""),
            ("=1+1", "'=1+1"),
            ("+1", "'+1"),
            ("-1", "'-1"),
            ("@a,b", "\"'@a,b\""),
        ] {
            assert_eq!(cell(text), expected);
        }
    }
}
