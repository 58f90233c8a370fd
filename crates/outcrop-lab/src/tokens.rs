//! How the simulators count tokens: simple, documented, the same everywhere.
//!
//! Input: a quarter of the characters of all strings in the prompt, rounded up, at least 1; a string of media
//! (image, document) counts a flat [`MEDIA_TOKENS`]. Output: one token per streamed piece (see [`crate::answer`]).
//! It is no tokenizer of any real model and does not try to be one.

use serde_json::Value;

/// Tokens of one image or document, whatever its size.
pub const MEDIA_TOKENS: u64 = 1_000;

/// Tokens of a text.
pub fn of_text(text: &str) -> u64 {
    (text.chars().count() as u64).div_ceil(4)
}

/// Tokens of the parts of a prompt, given as the JSON values that make it up (messages, system, tools).
pub fn of_prompt<'a>(parts: impl IntoIterator<Item = &'a Value>) -> u64 {
    let mut tally = Tally::default();
    for part in parts {
        tally.add(part);
    }
    tally.tokens().max(1)
}

#[derive(Default)]
struct Tally {
    chars: u64,
    media: u64,
}

impl Tally {
    fn add(&mut self, value: &Value) {
        match value {
            Value::String(text) => self.chars += text.chars().count() as u64,
            Value::Array(items) => items.iter().for_each(|item| self.add(item)),
            Value::Object(fields) => {
                for (name, field) in fields {
                    if is_media(name, field) {
                        self.media += 1;
                    } else {
                        self.add(field);
                    }
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn tokens(&self) -> u64 {
        self.chars.div_ceil(4) + self.media * MEDIA_TOKENS
    }
}

/// Media arrive as base64 under `bytes` or `data`, or as an address under `url`.
fn is_media(name: &str, field: &Value) -> bool {
    matches!(name, "bytes" | "data" | "url") && field.is_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{MEDIA_TOKENS, of_prompt, of_text};

    #[test]
    fn a_quarter_of_the_characters_rounded_up() {
        assert_eq!(of_text("abcd"), 1);
        assert_eq!(of_text("abcde"), 2);
        assert_eq!(of_text(""), 0);
        assert_eq!(of_prompt(&[json!([{"text": "abcd"}, {"text": "efgh"}])]), 2);
        assert_eq!(of_prompt(&[json!([])]), 1);
    }

    #[test]
    fn media_count_flat() {
        let image = json!({"image": {"source": {"bytes": "AAAA".repeat(4000)}}});
        assert_eq!(of_prompt(&[image]), MEDIA_TOKENS);
    }
}
