//! Embeddings: decodes the request and makes vectors of unit length that depend only on the input.
//!
//! The vectors mean nothing; equal inputs give equal vectors, so a mixed-up order shows.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::refusal::Refusal;
use crate::{dice::Dice, tokens};

const DIMENSIONS_DEFAULT: u64 = 1_536;
const INPUTS_MAX: usize = 2_048;

/// What an embeddings request asks for.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Embed {
    /// The model as the client named it.
    pub(super) model: String,
    inputs: Vec<Input>,
    dimensions: u64,
    base64: bool,
}

/// One input: bytes that decide the vector, and its tokens.
#[derive(Debug, Clone, PartialEq)]
struct Input {
    bytes: Vec<u8>,
    tokens: u64,
}

impl Embed {
    /// Reads the request of `/v1/embeddings`.
    pub(super) fn decode(body: &Value) -> Result<Self, Refusal> {
        let model = body
            .get("model")
            .and_then(Value::as_str)
            .ok_or_else(|| Refusal::invalid("model", None, "you must provide a model parameter"))?;
        let dimensions = match body.get("dimensions").filter(|value| !value.is_null()) {
            None => DIMENSIONS_DEFAULT,
            Some(value) => {
                value.as_u64().filter(|count| (1..=DIMENSIONS_DEFAULT).contains(count)).ok_or_else(|| {
                    let text = format!(
                        "Invalid value for 'dimensions': must be between 1 and {DIMENSIONS_DEFAULT}."
                    );
                    Refusal::invalid("dimensions", None, text)
                })?
            }
        };
        let base64 = match body.get("encoding_format").and_then(Value::as_str) {
            None | Some("float") => false,
            Some("base64") => true,
            Some(other) => {
                let text = format!("Invalid value: '{other}'. Supported values are: 'float' and 'base64'.");
                return Err(Refusal::invalid("encoding_format", Some("invalid_value"), text));
            }
        };
        Ok(Self { model: model.to_owned(), inputs: inputs(body)?, dimensions, base64 })
    }

    /// Tokens of all inputs.
    pub(super) fn tokens(&self) -> u64 {
        self.inputs.iter().map(|input| input.tokens).sum()
    }

    /// The answer.
    pub(super) fn answer(&self, seed: u64) -> Value {
        let data: Vec<Value> = self
            .inputs
            .iter()
            .enumerate()
            .map(|(index, input)| {
                let vector = vector(&input.bytes, self.dimensions, seed);
                let embedding = if self.base64 { json!(packed(&vector)) } else { json!(vector) };
                json!({"object": "embedding", "index": index, "embedding": embedding})
            })
            .collect();
        json!({
            "object": "list",
            "data": data,
            "model": self.model,
            "usage": {"prompt_tokens": self.tokens(), "total_tokens": self.tokens()},
        })
    }
}

/// A string, strings, one list of tokens, or lists of tokens.
fn inputs(body: &Value) -> Result<Vec<Input>, Refusal> {
    let wrong = || {
        Refusal::invalid(
            "input",
            Some("invalid_type"),
            "Invalid type for 'input': expected a string or an array.",
        )
    };
    let missing = || {
        Refusal::invalid(
            "input",
            None,
            "'$.input' is invalid. Please check the API reference: https://platform.openai.com/docs/api-reference.",
        )
    };
    let inputs = match body.get("input") {
        Some(Value::String(text)) => vec![text_input(text).ok_or_else(missing)?],
        Some(Value::Array(list)) if !list.is_empty() && list.iter().all(Value::is_u64) => {
            vec![token_input(list)]
        }
        Some(Value::Array(list)) => list
            .iter()
            .map(|item| match item {
                Value::String(text) => text_input(text).ok_or_else(missing),
                Value::Array(ids) if !ids.is_empty() && ids.iter().all(Value::is_u64) => Ok(token_input(ids)),
                _ => Err(wrong()),
            })
            .collect::<Result<_, _>>()?,
        _ => return Err(missing()),
    };
    if inputs.is_empty() || inputs.len() > INPUTS_MAX {
        let text = format!("Invalid 'input': expected an array with 1 to {INPUTS_MAX} items.");
        return Err(Refusal::invalid("input", None, text));
    }
    Ok(inputs)
}

fn text_input(text: &str) -> Option<Input> {
    let input = Input { bytes: text.as_bytes().to_vec(), tokens: tokens::of_text(text) };
    (!text.is_empty()).then_some(input)
}

fn token_input(ids: &[Value]) -> Input {
    let bytes = ids.iter().filter_map(Value::as_u64).flat_map(u64::to_le_bytes).collect();
    Input { bytes, tokens: ids.len() as u64 }
}

fn vector(input: &[u8], dimensions: u64, seed: u64) -> Vec<f32> {
    let mut dice = Dice::new(seed, [input]);
    let raw: Vec<f64> = (0..dimensions).map(|_| dice.normal()).collect();
    let length = raw.iter().map(|x| x * x).sum::<f64>().sqrt();
    raw.iter().map(|x| (x / length) as f32).collect()
}

/// Little-endian floats in base64, the form most clients ask for.
fn packed(vector: &[f32]) -> String {
    STANDARD.encode(vector.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn check(input: &Value, count: usize, tokens: u64) {
        let embed = Embed::decode(&json!({"model": "m", "input": input, "dimensions": 8})).unwrap();
        let answer = embed.answer(1);
        assert_eq!(answer["data"].as_array().unwrap().len(), count);
        assert_eq!(answer["usage"]["total_tokens"], tokens);
        assert_eq!(answer["data"][0]["embedding"].as_array().unwrap().len(), 8);
    }

    #[test]
    fn all_four_forms_of_input_are_taken() {
        check(&json!("abcdefgh"), 1, 2);
        check(&json!(["abcd", "efgh"]), 2, 2);
        check(&json!([1, 2, 3]), 1, 3);
        check(&json!([[1, 2, 3], [4]]), 2, 4);
    }

    #[test]
    fn base64_carries_the_same_numbers() {
        let ask = |encoding: &str| {
            let body = json!({"model": "m", "input": "x", "dimensions": 3, "encoding_format": encoding});
            Embed::decode(&body).unwrap().answer(7)["data"][0]["embedding"].clone()
        };
        let bytes = STANDARD.decode(ask("base64").as_str().unwrap()).unwrap();
        let floats: Vec<f32> =
            bytes.chunks_exact(4).map(|four| f32::from_le_bytes(four.try_into().unwrap())).collect();
        assert_eq!(json!(floats), ask("float"));
    }

    #[test]
    fn senseless_inputs_are_refused() {
        for body in [
            json!({"model": "m"}),
            json!({"model": "m", "input": ""}),
            json!({"model": "m", "input": [{}]}),
            json!({"model": "m", "input": "x", "dimensions": 0}),
            json!({"model": "m", "input": "x", "encoding_format": "hex"}),
        ] {
            assert_eq!(Embed::decode(&body).unwrap_err().status, 400, "{body}");
        }
    }
}
