//! Values that satisfy a JSON schema: arguments of simulated tool calls and structured answers.
//!
//! Covers what tool schemas use (objects, arrays, enums, bounds, `$ref` into the same document, the first branch of
//! unions); it is a generator, not a validator, and ignores patterns.

use serde_json::{Map, Value, json};

use crate::dice::Dice;

/// Nesting at which a recursive schema is cut off.
const DEPTH_MAX: usize = 12;

/// A value that follows the schema.
pub fn from_schema(schema: &Value, dice: &mut Dice) -> Value {
    Sampler { root: schema, dice }.value(schema, "value", 0)
}

struct Sampler<'a> {
    root: &'a Value,
    dice: &'a mut Dice,
}

impl Sampler<'_> {
    fn value(&mut self, schema: &Value, name: &str, depth: usize) -> Value {
        if depth > DEPTH_MAX {
            return Value::Null;
        }
        if let Some(fixed) = fixed(schema) {
            return fixed;
        }
        if let Some(target) = schema.get("$ref").and_then(Value::as_str) {
            let target = target.trim_start_matches('#');
            let resolved = self.root.pointer(target).cloned().unwrap_or(Value::Null);
            return self.value(&resolved, name, depth + 1);
        }
        for union in ["anyOf", "oneOf", "allOf"] {
            if let Some(branch) = schema.pointer(&format!("/{union}/0")) {
                return self.value(&branch.clone(), name, depth + 1);
            }
        }
        match kind(schema) {
            "object" => self.object(schema, depth),
            "array" => self.array(schema, name, depth),
            "integer" => json!(self.number(schema).round() as i64),
            "number" => json!(self.number(schema)),
            "boolean" => json!(self.dice.below(2) == 1),
            "null" => Value::Null,
            _ => Value::String(text(schema, name)),
        }
    }

    /// The required properties, or all of them if none is required.
    fn object(&mut self, schema: &Value, depth: usize) -> Value {
        let mut object = Map::new();
        let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
            return Value::Object(object);
        };
        let required: Vec<&str> = schema
            .get("required")
            .and_then(Value::as_array)
            .map(|names| names.iter().filter_map(Value::as_str).collect())
            .unwrap_or_default();
        for (name, property) in properties {
            if required.is_empty() || required.contains(&name.as_str()) {
                object.insert(name.clone(), self.value(property, name, depth + 1));
            }
        }
        Value::Object(object)
    }

    fn array(&mut self, schema: &Value, name: &str, depth: usize) -> Value {
        let count = count(schema, "minItems").unwrap_or(1).clamp(1, 100);
        let any = json!({"type": "string"});
        let items = schema.get("items").unwrap_or(&any);
        (0..count).map(|_| self.value(items, name, depth + 1)).collect()
    }

    fn number(&mut self, schema: &Value) -> f64 {
        let above = bound(schema, "exclusiveMinimum").map(|low| low + 1.0);
        let below = bound(schema, "exclusiveMaximum").map(|high| high - 1.0);
        let low = bound(schema, "minimum").or(above);
        let high = bound(schema, "maximum").or(below);
        let (low, high) = match (low, high) {
            (Some(low), Some(high)) => (low, high.max(low)),
            (Some(low), None) => (low, low + 9.0),
            (None, Some(high)) => (high - 9.0, high),
            (None, None) => (1.0, 10.0),
        };
        low + (self.dice.fraction() * ((high - low).floor() + 1.0)).floor()
    }
}

/// A value the schema names itself.
fn fixed(schema: &Value) -> Option<Value> {
    let first_of = |list: &str| schema.pointer(&format!("/{list}/0")).cloned();
    schema
        .get("const")
        .cloned()
        .or_else(|| first_of("enum"))
        .or_else(|| schema.get("default").cloned())
        .or_else(|| first_of("examples"))
}

/// The schema's type, its first non-null one if there are several.
fn kind(schema: &Value) -> &str {
    match schema.get("type") {
        Some(Value::String(kind)) => kind,
        Some(Value::Array(kinds)) => {
            kinds.iter().filter_map(Value::as_str).find(|kind| *kind != "null").unwrap_or("null")
        }
        _ if schema.get("properties").is_some() => "object",
        _ if schema.get("items").is_some() => "array",
        _ => "string",
    }
}

fn bound(schema: &Value, name: &str) -> Option<f64> {
    schema.get(name).and_then(Value::as_f64)
}

fn count(schema: &Value, name: &str) -> Option<u64> {
    schema.get(name).and_then(Value::as_u64)
}

fn text(schema: &Value, name: &str) -> String {
    let format = schema.get("format").and_then(Value::as_str).unwrap_or_default();
    let mut text = match format {
        "date" => "2026-01-02".to_owned(),
        "time" => "03:04:05Z".to_owned(),
        "date-time" => "2026-01-02T03:04:05Z".to_owned(),
        "email" => "someone@example.com".to_owned(),
        "uri" | "url" => "https://example.com/".to_owned(),
        "uuid" => "00000000-0000-4000-8000-000000000001".to_owned(),
        _ => format!("sample {name}"),
    };
    let shortest = count(schema, "minLength").unwrap_or(0).min(10_000);
    while (text.chars().count() as u64) < shortest {
        text.push('x');
    }
    if let Some(longest) = count(schema, "maxLength") {
        text = text.chars().take(longest as usize).collect();
    }
    text
}
