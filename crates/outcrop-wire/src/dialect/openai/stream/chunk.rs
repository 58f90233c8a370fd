//! Chunks as they are read: in full for translation, or only peeked at when they pass unchanged.
//!
//! Strings are borrowed from the frame where they have no escapes. A peek builds nothing at all: it
//! folds the choices into the two facts the gateway needs.

use std::borrow::Cow;
use std::fmt;

use outcrop_core::event::StopReason;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::super::stop_reason;
use crate::dialect::counted::Counted;

/// A chunk, read in full or peeked at, by the kind of `C`.
#[derive(Deserialize)]
pub(super) struct Chunk<'a, C> {
    #[serde(default, borrow)]
    pub(super) id: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    pub(super) model: Option<Cow<'a, str>>,
    #[serde(default = "Option::default")]
    pub(super) choices: Option<C>,
    #[serde(default)]
    pub(super) usage: Option<Counted>,
    #[serde(default)]
    pub(super) error: Option<IgnoredAny>,
}

/// A choice, read in full.
#[derive(Deserialize)]
pub(super) struct Choice {
    #[serde(default)]
    pub(super) index: u32,
    #[serde(default)]
    pub(super) delta: Option<Delta>,
    #[serde(default)]
    pub(super) finish_reason: Option<String>,
}

/// What a chunk adds.
#[derive(Deserialize)]
pub(super) struct Delta {
    #[serde(default)]
    pub(super) content: Option<String>,
    #[serde(default)]
    pub(super) refusal: Option<String>,
    #[serde(default, alias = "reasoning")]
    pub(super) reasoning_content: Option<String>,
    #[serde(default)]
    pub(super) thinking_blocks: Option<Vec<Value>>,
    #[serde(default)]
    pub(super) tool_calls: Option<Vec<ToolDelta>>,
}

/// A piece of a call of a tool.
#[derive(Deserialize)]
pub(super) struct ToolDelta {
    #[serde(default)]
    pub(super) index: Option<u32>,
    #[serde(default)]
    pub(super) id: Option<String>,
    #[serde(default)]
    pub(super) function: Option<FunctionDelta>,
}

/// A piece of a call's name and arguments.
#[derive(Deserialize, Default)]
pub(super) struct FunctionDelta {
    #[serde(default)]
    pub(super) name: Option<String>,
    #[serde(default)]
    pub(super) arguments: Option<String>,
}

/// The facts of all choices of a chunk.
#[derive(Default)]
pub(super) struct Peek {
    /// Whether any delta carries something.
    pub(super) content: bool,
    /// Why a choice ended.
    pub(super) finish: Option<StopReason>,
    /// Whether there were choices at all.
    pub(super) any: bool,
}

impl<'de> Deserialize<'de> for Peek {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fold;
        impl<'de> Visitor<'de> for Fold {
            type Value = Peek;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of choices")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Peek, A::Error> {
                let mut peek = Peek::default();
                while let Some(choice) = seq.next_element::<ChoicePeek<'de>>()? {
                    peek.any = true;
                    peek.content |= choice.delta.is_some_and(|delta| delta.0);
                    let finish = choice.finish_reason.map(|finish| stop_reason(&finish));
                    peek.finish = peek.finish.or(finish);
                }
                Ok(peek)
            }
        }
        deserializer.deserialize_seq(Fold)
    }
}

#[derive(Deserialize)]
struct ChoicePeek<'a> {
    #[serde(default)]
    delta: Option<DeltaPeek>,
    #[serde(default, borrow)]
    finish_reason: Option<Cow<'a, str>>,
}

/// Whether a delta carries anything but the role.
struct DeltaPeek(bool);

impl<'de> Deserialize<'de> for DeltaPeek {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fold;
        impl<'de> Visitor<'de> for Fold {
            type Value = DeltaPeek;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a delta")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<DeltaPeek, A::Error> {
                let mut carries = false;
                while let Some(key) = map.next_key::<KeyPeek<'de>>()? {
                    let Filled(filled) = map.next_value()?;
                    carries |= filled && key.0 != "role";
                }
                Ok(DeltaPeek(carries))
            }
        }
        deserializer.deserialize_map(Fold)
    }
}

#[derive(Deserialize)]
struct KeyPeek<'a>(#[serde(borrow)] Cow<'a, str>);

/// Whether a value is more than null or empty.
struct Filled(bool);

impl<'de> Deserialize<'de> for Filled {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Look;
        impl<'de> Visitor<'de> for Look {
            type Value = Filled;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("any value")
            }

            fn visit_unit<E>(self) -> Result<Filled, E> {
                Ok(Filled(false))
            }

            fn visit_bool<E>(self, _: bool) -> Result<Filled, E> {
                Ok(Filled(true))
            }

            fn visit_i64<E>(self, _: i64) -> Result<Filled, E> {
                Ok(Filled(true))
            }

            fn visit_u64<E>(self, _: u64) -> Result<Filled, E> {
                Ok(Filled(true))
            }

            fn visit_f64<E>(self, _: f64) -> Result<Filled, E> {
                Ok(Filled(true))
            }

            fn visit_str<E>(self, text: &str) -> Result<Filled, E> {
                Ok(Filled(!text.is_empty()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Filled, A::Error> {
                let mut filled = false;
                while seq.next_element::<IgnoredAny>()?.is_some() {
                    filled = true;
                }
                Ok(Filled(filled))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Filled, A::Error> {
                let mut filled = false;
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {
                    filled = true;
                }
                Ok(Filled(filled))
            }
        }
        deserializer.deserialize_any(Look)
    }
}
