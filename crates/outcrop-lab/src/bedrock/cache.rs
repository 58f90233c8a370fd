//! Prompt caching with `cachePoint` blocks.
//!
//! Tools, system and messages are one list of blocks; a prefix ends at a cache point. The longest prefix seen before is
//! read, the rest up to the last cache point is written. No minimum length and no expiry, unlike the real service.

use std::collections::HashSet;

use parking_lot::Mutex;
use serde_json::Value;

use crate::{requests::sha256_hex, tokens};

/// Prefixes remembered; the set starts over when it is full.
const PREFIXES_MAX: usize = 4_096;

/// Prompt tokens, divided by what the cache did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Split {
    pub(super) fresh: u64,
    pub(super) read: u64,
    pub(super) written: u64,
}

/// The prefixes one target has seen.
#[derive(Debug, Default)]
pub(super) struct Cache {
    prefixes: Mutex<HashSet<String>>,
}

impl Cache {
    /// Divides the prompt's tokens and remembers its prefixes.
    pub(super) fn split(&self, model: &str, body: &Value) -> Split {
        let total = prompt_tokens(body);
        let mut text = model.to_owned();
        let mut counted: Vec<&Value> = Vec::new();
        let mut split = Split::default();
        let mut covered = 0;
        let mut seen = self.prefixes.lock();
        for block in blocks(body) {
            if block.get("cachePoint").is_none() {
                text.push_str(&block.to_string());
                counted.push(block);
                continue;
            }
            let digest = sha256_hex(text.as_bytes());
            covered = tokens::of_prompt(counted.iter().copied());
            if seen.contains(&digest) {
                split.read = covered;
            } else {
                if seen.len() >= PREFIXES_MAX {
                    seen.clear();
                }
                seen.insert(digest);
            }
        }
        split.written = covered - split.read;
        split.fresh = total.saturating_sub(covered);
        split
    }

    /// Forgets everything.
    pub(super) fn clear(&self) {
        self.prefixes.lock().clear();
    }
}

/// All tokens of a Converse prompt.
pub(super) fn prompt_tokens(body: &Value) -> u64 {
    tokens::of_prompt(["toolConfig", "system", "messages"].iter().filter_map(|name| body.get(*name)))
}

fn blocks(body: &Value) -> impl Iterator<Item = &Value> {
    fn items(value: Option<&Value>) -> impl Iterator<Item = &Value> {
        value.and_then(Value::as_array).into_iter().flatten()
    }
    let messages = items(body.get("messages")).flat_map(|message| items(message.get("content")));
    items(body.pointer("/toolConfig/tools")).chain(items(body.get("system"))).chain(messages)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::Cache;

    #[test]
    fn a_prefix_is_written_once_and_then_read() {
        let body = |question: &str| {
            json!({
                "system": [{"text": "x".repeat(400)}, {"cachePoint": {"type": "default"}}],
                "messages": [{"role": "user", "content": [{"text": question}]}],
            })
        };
        let cache = Cache::default();
        let first = cache.split("m", &body("abcd"));
        assert_eq!((first.read, first.written), (0, 100));
        let second = cache.split("m", &body("efgh"));
        assert_eq!((second.read, second.written), (100, 0));
        assert_eq!(cache.split("other", &body("efgh")).read, 0);
    }
}
