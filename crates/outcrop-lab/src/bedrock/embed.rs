//! Embeddings: deterministic unit vectors in the shapes of Titan and Cohere.
//!
//! A vector depends on its text and the number of dimensions alone, so equal texts are equal and others almost
//! orthogonal; nothing about meaning is simulated.

use serde_json::{Value, json};

use super::refusal::Refusal;
use crate::{dice::Dice, tokens};

/// Dimensions of Cohere's vectors.
const COHERE_DIMENSIONS: usize = 1_024;

/// Texts Cohere takes at once.
const COHERE_TEXTS_MAX: usize = 96;

/// An answer's body and the tokens of its prompt.
#[derive(Debug)]
pub(super) struct Embedded {
    pub(super) body: Value,
    pub(super) input_tokens: u64,
}

/// Answers a Titan V2 request.
pub(super) fn titan(body: &Value) -> Result<Embedded, Refusal> {
    let text = body["inputText"].as_str().ok_or_else(|| malformed("required key [inputText] not found"))?;
    let dimensions = match body.get("dimensions").map(Value::as_u64) {
        None => 1_024,
        Some(Some(size @ (256 | 512 | 1_024))) => size as usize,
        Some(_) => return Err(malformed("dimensions: must be one of 256, 512, 1024")),
    };
    let input_tokens = tokens::of_text(text).max(1);
    let vector = unit_vector(text, dimensions);
    let body = json!({
        "embedding": vector,
        "embeddingsByType": {"float": vector},
        "inputTextTokenCount": input_tokens,
    });
    Ok(Embedded { body, input_tokens })
}

/// Answers a Cohere V3 request.
pub(super) fn cohere(body: &Value, dice: &mut Dice) -> Result<Embedded, Refusal> {
    let texts: Vec<&str> = body["texts"]
        .as_array()
        .ok_or_else(|| malformed("required key [texts] not found"))?
        .iter()
        .filter_map(Value::as_str)
        .collect();
    if texts.is_empty() || texts.len() > COHERE_TEXTS_MAX {
        return Err(malformed("texts: expected minimum item count: 1, expected maximum item count: 96"));
    }
    if body["input_type"].as_str().is_none() {
        return Err(malformed("required key [input_type] not found"));
    }
    let vectors: Vec<Vec<f32>> = texts.iter().map(|text| unit_vector(text, COHERE_DIMENSIONS)).collect();
    let by_type = body.get("embedding_types").is_some();
    let (kind, embeddings) = if by_type {
        ("embeddings_by_type", json!({"float": vectors}))
    } else {
        ("embeddings_floats", json!(vectors))
    };
    Ok(Embedded {
        input_tokens: texts.iter().map(|text| tokens::of_text(text).max(1)).sum(),
        body: json!({"id": dice.uuid(), "texts": texts, "embeddings": embeddings, "response_type": kind}),
    })
}

fn malformed(what: &str) -> Refusal {
    Refusal::invalid(format!("Malformed input request: #: {what}, please reformat your input and try again."))
}

fn unit_vector(text: &str, dimensions: usize) -> Vec<f32> {
    let mut dice = Dice::new(0, [text.as_bytes()]);
    let raw: Vec<f64> = (0..dimensions).map(|_| dice.normal()).collect();
    let length = raw.iter().map(|x| x * x).sum::<f64>().sqrt();
    raw.iter().map(|x| (x / length) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::unit_vector;

    #[test]
    fn vectors_are_units_and_depend_on_the_text() {
        let vector = unit_vector("hello", 256);
        let length: f32 = vector.iter().map(|x| x * x).sum();
        assert!((length - 1.0).abs() < 1e-4);
        assert_eq!(vector, unit_vector("hello", 256));
        assert_ne!(vector, unit_vector("world", 256));
    }
}
