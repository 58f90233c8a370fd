//! The prompt cache: which part of a prompt is read from it, which is written to it.
//!
//! A prefix ends at a block with `cache_control`; the service sees tools, system and messages in this order. A prefix
//! that was seen before counts as read, the rest up to the last mark as written. Entries do not expire (the lab's
//! runs are shorter than five minutes) but their number is bounded.

use std::collections::HashSet;

use parking_lot::Mutex;
use serde_json::Value;

use crate::tokens;

/// Prefixes remembered; the set starts over when it is full.
const PREFIXES_MAX: usize = 4_096;

/// Prompt tokens, divided by what the cache did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Split {
    /// Neither read nor written.
    pub(crate) fresh: u64,
    /// Read from the cache.
    pub(crate) read: u64,
    /// Written for five minutes.
    pub(crate) written_5m: u64,
    /// Written for an hour.
    pub(crate) written_1h: u64,
}

/// The prefixes a target has seen.
#[derive(Debug, Default)]
pub(crate) struct Cache {
    prefixes: Mutex<HashSet<String>>,
}

/// A marked end of a prefix.
struct Mark {
    /// The model and all blocks up to here, without their marks.
    prefix: String,
    tokens: u64,
    hour: bool,
}

impl Cache {
    /// Divides the prompt's tokens and remembers its prefixes.
    pub(crate) fn split(&self, body: &Value) -> Split {
        let total = prompt_tokens(body);
        let marks = marks(body);
        let mut seen = self.prefixes.lock();
        let read = marks.iter().rposition(|mark| seen.contains(&mark.prefix));
        let mut split = Split { read: read.map_or(0, |place| marks[place].tokens), ..Split::default() };
        let mut covered = split.read;
        for mark in marks.into_iter().skip(read.map_or(0, |place| place + 1)) {
            let written = mark.tokens.saturating_sub(covered);
            covered = mark.tokens;
            *(if mark.hour { &mut split.written_1h } else { &mut split.written_5m }) += written;
            if seen.len() >= PREFIXES_MAX {
                seen.clear();
            }
            seen.insert(mark.prefix);
        }
        split.fresh = total.saturating_sub(covered);
        split
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) {
        self.prefixes.lock().clear();
    }
}

/// All tokens of the prompt.
pub(crate) fn prompt_tokens(body: &Value) -> u64 {
    tokens::of_prompt(["tools", "system", "messages"].iter().filter_map(|name| body.get(*name)))
}

fn marks(body: &Value) -> Vec<Mark> {
    let mut marks = Vec::new();
    let mut prefix = body["model"].to_string();
    let mut blocks: Vec<&Value> = Vec::new();
    let listed = |value: &'_ Value| value.as_array().map_or(0, Vec::len);
    for name in ["tools", "system"] {
        let count = listed(&body[name]);
        blocks.extend((0..count).map(|place| &body[name][place]));
    }
    for message in body["messages"].as_array().into_iter().flatten() {
        match &message["content"] {
            Value::Array(content) => blocks.extend(content),
            whole => blocks.push(whole),
        }
    }
    let mut counted: Vec<&Value> = Vec::new();
    for block in blocks {
        let mark = block.get("cache_control").filter(|mark| !mark.is_null());
        let mut bare = block.clone();
        if let Some(members) = bare.as_object_mut() {
            members.shift_remove("cache_control");
        }
        prefix.push_str(&bare.to_string());
        counted.push(block);
        if let Some(mark) = mark {
            let hour = mark["ttl"] == "1h";
            let digest = crate::requests::sha256_hex(prefix.as_bytes());
            marks.push(Mark { prefix: digest, tokens: tokens::of_prompt(counted.iter().copied()), hour });
        }
    }
    marks
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn body(question: &str, ttl: Option<&str>) -> Value {
        let control =
            ttl.map_or(json!({"type": "ephemeral"}), |ttl| json!({"type": "ephemeral", "ttl": ttl}));
        json!({"model": "m", "system": [{"type": "text", "text": "x".repeat(4_000), "cache_control": control}],
            "messages": [{"role": "user", "content": question}]})
    }

    #[test]
    fn a_marked_prefix_is_written_once_and_read_afterwards() {
        let cache = Cache::default();
        let first = cache.split(&body("one", None));
        assert!(first.written_5m >= 1_000 && first.read == 0, "{first:?}");
        let second = cache.split(&body("two", None));
        assert_eq!((second.read, second.written_5m), (first.written_5m, 0));
        assert_eq!(second.read + second.fresh, prompt_tokens(&body("two", None)));
        cache.clear();
        assert_eq!(cache.split(&body("two", None)).read, 0);
    }

    #[test]
    fn the_hour_has_its_own_count_and_no_mark_means_no_cache() {
        let cache = Cache::default();
        assert!(cache.split(&body("one", Some("1h"))).written_1h >= 1_000);
        let plain = json!({"model": "m", "messages": [{"role": "user", "content": "abcdefgh"}]});
        assert_eq!(cache.split(&plain), Split { fresh: prompt_tokens(&plain), ..Split::default() });
    }
}
