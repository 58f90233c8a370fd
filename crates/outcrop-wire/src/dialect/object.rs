//! A JSON object being read field by field, with the path that a rejection names.
//!
//! Fields are taken out; what is left at the end is what the codec does not know. `null` counts as
//! absent everywhere. Knows no protocol.

use serde_json::{Map, Value};

use crate::Rejection;

/// An object and where it stands in the body.
#[derive(Debug)]
pub(crate) struct Object {
    map: Map<String, Value>,
    at: String,
}

impl Object {
    /// The whole body.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, Rejection> {
        let value = serde_json::from_slice(body)
            .map_err(|error| Rejection::of("", format!("The body is not valid JSON: {error}.")))?;
        Self::of(value, String::new())
    }

    /// The object at `at`.
    pub(crate) fn of(value: Value, at: String) -> Result<Self, Rejection> {
        match value {
            Value::Object(map) => Ok(Self { map, at }),
            _ => Err(wrong(at, "an object")),
        }
    }

    /// The path of a field.
    pub(crate) fn path(&self, name: &str) -> String {
        if self.at.is_empty() { name.to_owned() } else { format!("{}.{name}", self.at) }
    }

    /// Takes a field of any kind.
    pub(crate) fn take(&mut self, name: &str) -> Option<Value> {
        self.map.shift_remove(name).filter(|value| !value.is_null())
    }

    /// Takes a text.
    pub(crate) fn text(&mut self, name: &str) -> Result<Option<String>, Rejection> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(wrong(self.path(name), "a string")),
        }
    }

    /// Takes a text that must be there.
    pub(crate) fn required_text(&mut self, name: &str) -> Result<String, Rejection> {
        self.text(name)?.ok_or_else(|| self.missing(name))
    }

    /// Takes a number without sign or fraction.
    pub(crate) fn count(&mut self, name: &str) -> Result<Option<u64>, Rejection> {
        let value = self.take(name);
        value.map(|v| v.as_u64().ok_or_else(|| wrong(self.path(name), "a whole number"))).transpose()
    }

    /// Takes a number.
    pub(crate) fn number(&mut self, name: &str) -> Result<Option<f64>, Rejection> {
        let value = self.take(name);
        value.map(|v| v.as_f64().ok_or_else(|| wrong(self.path(name), "a number"))).transpose()
    }

    /// Takes a boolean.
    pub(crate) fn flag(&mut self, name: &str) -> Result<Option<bool>, Rejection> {
        let value = self.take(name);
        value.map(|v| v.as_bool().ok_or_else(|| wrong(self.path(name), "a boolean"))).transpose()
    }

    /// Takes a list with the path of each element; absent is empty.
    pub(crate) fn list(&mut self, name: &str) -> Result<Vec<(String, Value)>, Rejection> {
        let path = self.path(name);
        match self.take(name) {
            None => Ok(Vec::new()),
            Some(value) => elements(value, &path),
        }
    }

    /// Takes a list of texts; absent is empty.
    pub(crate) fn texts(&mut self, name: &str) -> Result<Vec<String>, Rejection> {
        let elements = self.list(name)?.into_iter();
        elements
            .map(|(at, value)| match value {
                Value::String(text) => Ok(text),
                _ => Err(wrong(at, "a string")),
            })
            .collect()
    }

    /// Takes an object.
    pub(crate) fn object(&mut self, name: &str) -> Result<Option<Object>, Rejection> {
        let path = self.path(name);
        self.take(name).map(|value| Object::of(value, path)).transpose()
    }

    /// Takes an object that must be there.
    pub(crate) fn required_object(&mut self, name: &str) -> Result<Object, Rejection> {
        self.object(name)?.ok_or_else(|| self.missing(name))
    }

    /// A rejection that says which field is missing.
    pub(crate) fn missing(&self, name: &str) -> Rejection {
        let path = self.path(name);
        Rejection::of(path.clone(), format!("`{path}` is missing; add it."))
    }

    /// Whether nothing is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.map.values().all(Value::is_null)
    }

    /// What is left, without nulls.
    pub(crate) fn rest(mut self) -> Map<String, Value> {
        self.map.retain(|_, value| !value.is_null());
        self.map
    }
}

/// The elements of a list, each with its path.
pub(crate) fn elements(value: Value, at: &str) -> Result<Vec<(String, Value)>, Rejection> {
    match value {
        Value::Array(items) => {
            let numbered = items.into_iter().enumerate();
            Ok(numbered.map(|(number, item)| (format!("{at}[{number}]"), item)).collect())
        }
        _ => Err(wrong(at.to_owned(), "a list")),
    }
}

/// A rejection that says what a field must be.
pub(crate) fn wrong(at: String, kind: &str) -> Rejection {
    let name = if at.is_empty() { "The body".to_owned() } else { format!("`{at}`") };
    Rejection::of(at, format!("{name} must be {kind}."))
}
