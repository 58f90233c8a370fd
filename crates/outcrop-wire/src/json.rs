//! One pass over a JSON body with limits.
//!
//! Checks depth, number of values and duplicate keys at every level while the parser runs, and hands
//! out the members of the top-level object with their spans; builds no document. Duplicate keys are
//! refused because two readers of one body may pick different ones. Parsing itself is serde_json's.
#![warn(clippy::arithmetic_side_effects)]

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use smallvec::SmallVec;

use crate::{Limits, Rejection};

/// Keys of one object that are compared one by one before a hash set is made.
const FEW_KEYS: usize = 16;

/// What kind of value a member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Null,
    Bool,
    Number,
    String,
    Array,
    Object,
}

/// Kind of a value, and its length: entries of an array or object, bytes of a string.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) kind: Kind,
    pub(crate) len: usize,
}

/// A member of the top-level object.
#[derive(Debug)]
pub(crate) struct Member<'de> {
    /// Its key, unescaped.
    pub(crate) key: Cow<'de, str>,
    /// What it is.
    pub(crate) shape: Shape,
    /// Its text, for the keys that were asked for.
    pub(crate) raw: Option<&'de RawValue>,
}

/// The members of the top-level object.
pub(crate) type Members<'de> = SmallVec<[Member<'de>; 12]>;

/// Checks `body` against `limits` and lists its members, with the text of those named in `keep`.
pub(crate) fn scan<'de>(body: &'de [u8], limits: &Limits, keep: &[&str]) -> Result<Members<'de>, Rejection> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Err(Rejection {
            message: "The body is empty; send a JSON object.".to_owned(),
            field: String::new(),
        });
    }
    let mut pass = Pass { limits: *limits, nodes: 0 };
    let mut field = String::new();
    let top = Top { pass: &mut pass, keep, field: &mut field };
    let mut parser = serde_json::Deserializer::from_slice(body);
    let members = top.deserialize(&mut parser).and_then(|members| parser.end().map(|()| members));
    members
        .map_err(|error| Rejection { message: format!("The body cannot be read as JSON: {error}."), field })
}

/// Whether `body` begins as an object. A derived reader also takes an array for an object.
pub(crate) fn is_object(body: &[u8]) -> bool {
    body.trim_ascii_start().starts_with(b"{")
}

/// State of the pass.
struct Pass {
    limits: Limits,
    nodes: usize,
}

impl Pass {
    fn node<E: Error>(&mut self) -> Result<(), E> {
        self.nodes = self.nodes.saturating_add(1);
        if self.nodes > self.limits.nodes_max {
            let max = self.limits.nodes_max;
            return Err(E::custom(format_args!("more than {max} values, send fewer")));
        }
        Ok(())
    }

    fn below<E: Error>(&self, depth: usize) -> Result<usize, E> {
        if depth >= self.limits.depth_max {
            let max = self.limits.depth_max;
            return Err(E::custom(format_args!("nested deeper than {max} levels, flatten it")));
        }
        Ok(depth.saturating_add(1))
    }
}

/// Reads the top-level object.
struct Top<'a> {
    pass: &'a mut Pass,
    keep: &'a [&'a str],
    /// Set to the member at fault.
    field: &'a mut String,
}

impl<'de> DeserializeSeed<'de> for Top<'_> {
    type Value = Members<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Top<'_> {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let Self { pass, keep, field } = self;
        pass.node()?;
        let depth = pass.below(0)?;
        let mut keys = Keys::default();
        let mut members = Members::new();
        while let Some(Key(key)) = map.next_key()? {
            if let Err(error) = keys.insert(key.clone()) {
                *field = key.into_owned();
                return Err(error);
            }
            let kept = keep.contains(&key.as_ref());
            match member(&mut map, pass, depth, kept) {
                Ok((shape, raw)) => members.push(Member { key, shape, raw }),
                Err(error) => {
                    *field = key.into_owned();
                    return Err(error);
                }
            }
        }
        Ok(members)
    }
}

fn member<'de, A: MapAccess<'de>>(
    map: &mut A,
    pass: &mut Pass,
    depth: usize,
    kept: bool,
) -> Result<(Shape, Option<&'de RawValue>), A::Error> {
    if !kept {
        return Ok((map.next_value_seed(Checked { pass, depth })?, None));
    }
    let raw: &'de RawValue = map.next_value()?;
    let mut parser = serde_json::Deserializer::from_str(raw.get());
    let shape = Checked { pass, depth }.deserialize(&mut parser).map_err(A::Error::custom)?;
    Ok((shape, Some(raw)))
}

/// Reads any value and keeps nothing of it but its shape.
struct Checked<'a> {
    pass: &'a mut Pass,
    /// Containers around the value.
    depth: usize,
}

impl<'de> DeserializeSeed<'de> for Checked<'_> {
    type Value = Shape;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Shape, D::Error> {
        self.pass.node()?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Checked<'_> {
    type Value = Shape;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<Shape, E> {
        Ok(Shape { kind: Kind::Null, len: 0 })
    }

    fn visit_bool<E>(self, _: bool) -> Result<Shape, E> {
        Ok(Shape { kind: Kind::Bool, len: 0 })
    }

    fn visit_i64<E>(self, _: i64) -> Result<Shape, E> {
        Ok(Shape { kind: Kind::Number, len: 0 })
    }

    fn visit_u64<E>(self, _: u64) -> Result<Shape, E> {
        Ok(Shape { kind: Kind::Number, len: 0 })
    }

    fn visit_f64<E>(self, _: f64) -> Result<Shape, E> {
        Ok(Shape { kind: Kind::Number, len: 0 })
    }

    fn visit_str<E>(self, text: &str) -> Result<Shape, E> {
        Ok(Shape { kind: Kind::String, len: text.len() })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Shape, A::Error> {
        let Self { pass, depth } = self;
        let depth = pass.below(depth)?;
        let mut len = 0_usize;
        while seq.next_element_seed(Checked { pass, depth })?.is_some() {
            len = len.saturating_add(1);
        }
        Ok(Shape { kind: Kind::Array, len })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Shape, A::Error> {
        let Self { pass, depth } = self;
        let depth = pass.below(depth)?;
        let mut keys = Keys::default();
        let mut len = 0_usize;
        while let Some(Key(key)) = map.next_key()? {
            keys.insert(key)?;
            map.next_value_seed(Checked { pass, depth })?;
            len = len.saturating_add(1);
        }
        Ok(Shape { kind: Kind::Object, len })
    }
}

/// A key, borrowed where it has no escapes.
#[derive(serde::Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

/// The keys of one object so far.
#[derive(Default)]
struct Keys<'de> {
    few: SmallVec<[Cow<'de, str>; FEW_KEYS]>,
    many: HashSet<Cow<'de, str>>,
}

impl<'de> Keys<'de> {
    fn insert<E: Error>(&mut self, key: Cow<'de, str>) -> Result<(), E> {
        let seen = self.few.contains(&key) || (!self.many.is_empty() && self.many.contains(&key));
        if seen {
            return Err(E::custom(format_args!("the key `{key}` is given twice, keep one")));
        }
        if self.few.len() < FEW_KEYS {
            self.few.push(key);
        } else {
            self.many.insert(key);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
