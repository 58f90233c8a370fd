//! One pass over a body that adds up what the model may see.
//!
//! Nothing is built. Depth and size are those the envelope's own pass admitted.

use std::fmt;

use outcrop_core::Protocol;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use super::place::{COMPACTION, DOCUMENT, PROVIDERS_TOOL, Place};
use super::text::{widest, widest_in_json};

/// Bytes of a number as JSON: the shortest form of a double has at most 24.
const NUMBER_BYTES: u64 = 24;

/// Bytes of a whole number beyond 64 bits: some servers keep all its digits, and a double holds 309.
const BIG_NUMBER_BYTES: u64 = 330;

/// Bytes of `true`, `false` and `null`.
const WORD_BYTES: u64 = 5;

/// Bytes that a member of an object adds beside its name and value: a colon and a comma with their
/// blanks, or as tokens the tags of a parameter in Claude's calls.
const MEMBER_BYTES: u64 = 12;

/// Bytes that an entry of a list adds.
const ENTRY_BYTES: u64 = 2;

/// What a body holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Tally {
    pub(super) text_bytes: u64,
    /// Tokens that are listed as such.
    pub(super) listed_tokens: u64,
    pub(super) messages: u64,
    pub(super) images: u64,
    pub(super) tools: u64,
    /// Tools that are defined by their type alone.
    pub(super) built_in_tools: u64,
    pub(super) calls: u64,
    pub(super) unbounded: Option<&'static str>,
}

/// Adds up `body`, which an envelope has checked.
pub(super) fn tally(protocol: Protocol, body: &[u8]) -> Tally {
    let mut tally = Tally::default();
    let mut parser = serde_json::Deserializer::from_slice(body);
    let walk = Walk { tally: &mut tally, place: Place::Body, protocol };
    if walk.deserialize(&mut parser).is_err() {
        tally.unbounded = Some("a body that cannot be read");
    }
    tally
}

impl Tally {
    fn text(&mut self, bytes: u64) {
        self.text_bytes = self.text_bytes.saturating_add(bytes);
    }

    fn alien(&mut self, what: &'static str) {
        self.unbounded.get_or_insert(what);
    }
}

fn one_more(count: &mut u64) {
    *count = count.saturating_add(1);
}

/// What a block needs to know of its members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    Other,
    /// The type of an image.
    ImageKind,
    /// A `source` with something inside.
    Source,
}

/// Reads the value at a place.
struct Walk<'a> {
    tally: &'a mut Tally,
    place: Place,
    protocol: Protocol,
}

impl Walk<'_> {
    fn scalar(self, bytes: u64) -> Seen {
        match self.place {
            Place::Inside | Place::Source | Place::Image => {}
            Place::Alien(what) => self.tally.alien(what),
            _ => self.tally.text(bytes),
        }
        Seen::Other
    }

    fn tool_kind(self, kind: &str) {
        const BUILT_IN: [&str; 4] = ["bash_", "text_editor_", "computer_", "memory_"];
        self.tally.text(widest_in_json(kind));
        if BUILT_IN.iter().any(|prefix| kind.starts_with(prefix)) {
            one_more(&mut self.tally.built_in_tools);
        } else if !matches!(kind, "function" | "custom") {
            self.tally.alien(PROVIDERS_TOOL);
        }
    }
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = Seen;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Seen, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = Seen;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<Seen, E> {
        if self.place.is_data() {
            self.tally.text(WORD_BYTES);
        }
        Ok(Seen::Other)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Seen, E> {
        match self.place {
            Place::Alien(_) if !value => Ok(Seen::Other),
            _ => Ok(self.scalar(WORD_BYTES)),
        }
    }

    fn visit_i64<E>(self, _: i64) -> Result<Seen, E> {
        Ok(self.scalar(NUMBER_BYTES))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Seen, E> {
        if self.place == Place::Embedded {
            one_more(&mut self.tally.listed_tokens);
            return Ok(Seen::Other);
        }
        Ok(self.scalar(NUMBER_BYTES))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Seen, E> {
        let is_big = number.abs() >= u64::MAX as f64;
        Ok(self.scalar(if is_big { BIG_NUMBER_BYTES } else { NUMBER_BYTES }))
    }

    fn visit_str<E>(self, text: &str) -> Result<Seen, E> {
        let tally = self.tally;
        match self.place {
            Place::Image => one_more(&mut tally.images),
            Place::Inside => {}
            Place::Alien(what) => tally.alien(what),
            Place::ToolKind => Walk { tally, ..self }.tool_kind(text),
            Place::BlockKind => {
                tally.text(widest(text));
                match text {
                    "image" => return Ok(Seen::ImageKind),
                    "tool_use" | "server_tool_use" | "mcp_tool_use" => one_more(&mut tally.calls),
                    _ => {}
                }
            }
            Place::Name => tally.text(widest_in_json(text).saturating_mul(2)),
            Place::Edits => {
                tally.text(widest_in_json(text));
                if text.starts_with("compact") {
                    tally.alien(COMPACTION);
                }
            }
            Place::Embedded => {
                one_more(&mut tally.messages);
                tally.text(widest(text));
            }
            Place::Text | Place::Content | Place::Source => tally.text(widest(text)),
            _ => tally.text(widest_in_json(text)),
        }
        Ok(Seen::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Seen, A::Error> {
        let Self { tally, place, protocol } = self;
        let entry = place.entry();
        let mut has_numbers = false;
        loop {
            let before = tally.listed_tokens;
            if seq.next_element_seed(Walk { tally: &mut *tally, place: entry, protocol })?.is_none() {
                break;
            }
            has_numbers |= place == Place::Embedded && tally.listed_tokens != before;
            match place {
                Place::Messages => one_more(&mut tally.messages),
                Place::Tools => one_more(&mut tally.tools),
                Place::Inside | Place::Source | Place::Image | Place::Alien(_) | Place::Embedded => {}
                _ => tally.text(ENTRY_BYTES),
            }
        }
        if has_numbers {
            one_more(&mut tally.messages);
        }
        Ok(if place == Place::Source { Seen::Source } else { Seen::Other })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Seen, A::Error> {
        let Self { tally, place, protocol } = self;
        match place {
            Place::Image => one_more(&mut tally.images),
            Place::Alien(what) => tally.alien(what),
            Place::Call => one_more(&mut tally.calls),
            _ => {}
        }
        let (mut is_image, mut has_source) = (false, false);
        while let Some(member) = map.next_key_seed(Key { tally: &mut *tally, place, protocol })? {
            match map.next_value_seed(Walk { tally: &mut *tally, place: member, protocol })? {
                Seen::Other => {}
                Seen::ImageKind => is_image = true,
                Seen::Source => has_source = true,
            }
        }
        match (is_image, has_source) {
            (true, _) => one_more(&mut tally.images),
            (false, true) => tally.alien(DOCUMENT),
            (false, false) => {}
        }
        Ok(if place == Place::Source { Seen::Source } else { Seen::Other })
    }
}

/// Reads a key: what it adds, and the place of its value.
struct Key<'a> {
    tally: &'a mut Tally,
    place: Place,
    protocol: Protocol,
}

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = Place;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Place, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = Place;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Place, E> {
        let member = self.place.member(key, self.protocol);
        match self.place {
            Place::Inside | Place::Source | Place::Image | Place::Alien(_) => {}
            place if place.is_data() => {
                self.tally.text(widest_in_json(key).saturating_add(MEMBER_BYTES));
            }
            _ => self.tally.text(widest(key)),
        }
        Ok(member)
    }
}
