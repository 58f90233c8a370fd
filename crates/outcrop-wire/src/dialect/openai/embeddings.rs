//! Embeddings: texts or tokens in, vectors as numbers or as base64 of little-endian `f32` out.
//!
//! Vectors come back in the order of the inputs, whatever order the upstream lists them in.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use outcrop_core::ask::EmbedInput;
use outcrop_core::{Embed, Reply, Usage};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value};

use crate::dialect::counted::Counted;
use crate::{AnswerContext, Garbled, Inexpressible, Rejection, TargetModel};

#[derive(Deserialize)]
struct Request {
    #[serde(default, rename = "model")]
    _model: serde::de::IgnoredAny,
    input: Input,
    #[serde(default)]
    dimensions: Option<u64>,
    #[serde(default)]
    encoding_format: Option<String>,
    #[serde(flatten)]
    extra: Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Input {
    Text(String),
    Texts(Vec<String>),
    Tokens(Vec<u64>),
    TokenLists(Vec<Vec<u64>>),
}

/// Reads a request.
pub(crate) fn decode_request(body: &[u8]) -> Result<Embed, Rejection> {
    let request: Request = serde_json::from_slice(body).map_err(|error| {
        let message = "`input` must be a string, a list of strings, a list of tokens or a list of \
                       such lists";
        Rejection::of("input", format!("{message}: {error}."))
    })?;
    let base64 = match request.encoding_format.as_deref() {
        None | Some("float") => false,
        Some("base64") => true,
        Some(_) => {
            let message = "`encoding_format` must be `float` or `base64`.";
            return Err(Rejection::of("encoding_format", message));
        }
    };
    let inputs = match request.input {
        Input::Text(text) => vec![EmbedInput::Text(text)],
        Input::Texts(texts) => texts.into_iter().map(EmbedInput::Text).collect(),
        Input::Tokens(tokens) => vec![EmbedInput::Tokens(tokens)],
        Input::TokenLists(lists) => lists.into_iter().map(EmbedInput::Tokens).collect(),
    };
    Ok(Embed { inputs, dimensions: request.dimensions, base64, extra: request.extra })
}

#[derive(Serialize)]
struct RequestOut<'a> {
    model: &'a str,
    input: Vec<InputOut<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dimensions: Option<u64>,
    encoding_format: &'static str,
}

#[derive(Serialize)]
#[serde(untagged)]
enum InputOut<'a> {
    Text(&'a str),
    Tokens(&'a [u64]),
}

/// Writes a request; the vectors come back as base64, which is a third of the bytes of numbers.
pub(crate) fn encode_request(embed: &Embed, target: &TargetModel<'_>) -> Result<Bytes, Inexpressible> {
    if let Some(field) = embed.extra.keys().next() {
        return Err(Inexpressible(format!("OpenAI embeddings cannot carry `{field}`.")));
    }
    let body = RequestOut {
        model: target.id,
        input: embed.inputs.iter().map(InputOut::from).collect(),
        dimensions: embed.dimensions,
        encoding_format: "base64",
    };
    Ok(Bytes::from(serde_json::to_vec(&body).expect("invariant: plain strings and numbers")))
}

impl<'a> From<&'a EmbedInput> for InputOut<'a> {
    fn from(input: &'a EmbedInput) -> Self {
        match input {
            EmbedInput::Text(text) => Self::Text(text),
            EmbedInput::Tokens(tokens) => Self::Tokens(tokens),
        }
    }
}

#[derive(Deserialize)]
struct Answer {
    data: Vec<Entry>,
    #[serde(default)]
    model: Option<String>,
    #[serde(default)]
    usage: Counted,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    index: Option<usize>,
    embedding: Vector,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Vector {
    Base64(String),
    Numbers(Vec<f32>),
}

/// Reads an answer.
pub(crate) fn decode_reply(body: &[u8]) -> Result<Reply, Garbled> {
    let answer: Answer = serde_json::from_slice(body)
        .map_err(|error| Garbled(format!("not a list of embeddings: {error}")))?;
    let mut entries: Vec<(usize, Vector)> = answer
        .data
        .into_iter()
        .enumerate()
        .map(|(at, entry)| (entry.index.unwrap_or(at), entry.embedding))
        .collect();
    entries.sort_by_key(|(index, _)| *index);
    let vectors = entries.into_iter().map(|(_, vector)| numbers(vector)).collect::<Result<_, _>>();
    Ok(Reply::Embeddings {
        vectors: vectors?,
        model: answer.model.unwrap_or_default(),
        usage: without_output(&answer.usage),
    })
}

/// Embeddings report no output, because they have none.
pub(crate) fn without_output(counted: &Counted) -> Usage {
    let usage = counted.usage();
    Usage { output: usage.output.or(usage.input.map(|_| 0)), ..usage }
}

fn numbers(vector: Vector) -> Result<Vec<f32>, Garbled> {
    match vector {
        Vector::Numbers(numbers) => Ok(numbers),
        Vector::Base64(text) => {
            let garbled = || Garbled("an embedding that is no base64 of f32".to_owned());
            let bytes = STANDARD.decode(text).map_err(|_| garbled())?;
            let (words, rest) = bytes.as_chunks::<4>();
            if !rest.is_empty() {
                return Err(garbled());
            }
            Ok(words.iter().map(|word| f32::from_le_bytes(*word)).collect())
        }
    }
}

#[derive(Serialize)]
struct AnswerOut<'a> {
    object: &'static str,
    data: Vec<EntryOut<'a>>,
    model: &'a str,
    usage: TokensOut,
}

#[derive(Serialize)]
struct EntryOut<'a> {
    object: &'static str,
    index: usize,
    embedding: VectorOut<'a>,
}

struct VectorOut<'a> {
    numbers: &'a [f32],
    base64: bool,
}

impl Serialize for VectorOut<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !self.base64 {
            return self.numbers.serialize(serializer);
        }
        let bytes: Vec<u8> = self.numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
        serializer.serialize_str(&STANDARD.encode(bytes))
    }
}

#[derive(Serialize)]
struct TokensOut {
    prompt_tokens: u64,
    total_tokens: u64,
}

/// Writes an answer.
pub(crate) fn encode_reply(context: &AnswerContext, vectors: &[Vec<f32>], usage: Usage) -> Bytes {
    let entry = |(index, numbers)| EntryOut {
        object: "embedding",
        index,
        embedding: VectorOut { numbers, base64: context.base64 },
    };
    let body = AnswerOut {
        object: "list",
        data: vectors.iter().map(Vec::as_slice).enumerate().map(entry).collect(),
        model: &context.model,
        usage: TokensOut { prompt_tokens: usage.input_total(), total_tokens: usage.total() },
    };
    Bytes::from(serde_json::to_vec(&body).expect("invariant: string keys, numbers become null"))
}
