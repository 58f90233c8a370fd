//! Embeddings by `InvokeModel`: Titan takes one text a call, Cohere up to 96.
//!
//! What a family cannot say (token ids, other lengths of vectors) is refused by name.

use bytes::Bytes;
use outcrop_core::ask::EmbedInput;
use outcrop_core::{Embed, Reply, Usage};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::dialect::counted::Tokens;
use crate::{Garbled, Inexpressible, TargetModel};

/// Most texts that one call of Cohere's models takes.
const COHERE_TEXTS_MAX: usize = 96;

/// Writes the bodies that embed every input, in order.
pub(crate) fn encode_embeddings(
    embed: &Embed,
    target: &TargetModel<'_>,
) -> Result<Vec<Bytes>, Inexpressible> {
    let texts = texts(embed)?;
    if target.id.contains("amazon.titan-embed-image") {
        let config = embed.dimensions.map(|length| json!({"outputEmbeddingLength": length}));
        refuse_extra(embed, &[])?;
        Ok(texts.iter().map(|text| titan(text, "embeddingConfig", config.as_ref())).collect())
    } else if target.id.contains("amazon.titan-embed-text-v2") {
        let length = embed.dimensions.map(Value::from);
        refuse_extra(embed, &[])?;
        Ok(texts.iter().map(|text| titan(text, "dimensions", length.as_ref())).collect())
    } else if target.id.contains("amazon.titan-embed") {
        refuse_length(embed, &[1536])?;
        refuse_extra(embed, &[])?;
        Ok(texts.iter().map(|text| titan(text, "", None)).collect())
    } else if target.id.contains("cohere.embed") {
        cohere(embed, &texts, target)
    } else {
        Err(Inexpressible(format!(
            "`{}` is not a known embedding model on Bedrock; use a Titan or Cohere model.",
            target.id
        )))
    }
}

fn texts(embed: &Embed) -> Result<Vec<&str>, Inexpressible> {
    let each = embed.inputs.iter().map(|input| match input {
        EmbedInput::Text(text) => Ok(text.as_str()),
        EmbedInput::Tokens(_) => Err(Inexpressible(
            "Token ids belong to one model's vocabulary; send texts to a Bedrock model.".to_owned(),
        )),
    });
    each.collect()
}

fn titan(text: &str, option: &str, value: Option<&Value>) -> Bytes {
    let mut body = Map::from_iter([("inputText".to_owned(), json!(text))]);
    if let Some(value) = value {
        body.insert(option.to_owned(), value.clone());
    }
    Bytes::from(Value::Object(body).to_string())
}

fn cohere(embed: &Embed, texts: &[&str], target: &TargetModel<'_>) -> Result<Vec<Bytes>, Inexpressible> {
    refuse_extra(embed, &["input_type", "truncate"])?;
    let mut options = Map::new();
    let kind = embed.extra.get("input_type").cloned();
    options.insert("input_type".to_owned(), kind.unwrap_or_else(|| json!("search_document")));
    if let Some(truncate) = embed.extra.get("truncate") {
        options.insert("truncate".to_owned(), truncate.clone());
    }
    if target.id.contains("cohere.embed-v4") {
        options.insert("embedding_types".to_owned(), json!(["float"]));
        if let Some(length) = embed.dimensions {
            options.insert("output_dimension".to_owned(), json!(length));
        }
    } else {
        refuse_length(embed, &[1024])?;
    }
    let bodies = texts.chunks(COHERE_TEXTS_MAX).map(|texts| {
        let mut body = Map::from_iter([("texts".to_owned(), json!(texts))]);
        body.extend(options.clone());
        Bytes::from(Value::Object(body).to_string())
    });
    Ok(bodies.collect())
}

fn refuse_length(embed: &Embed, fixed: &[u64]) -> Result<(), Inexpressible> {
    match embed.dimensions {
        Some(length) if !fixed.contains(&length) => {
            Err(Inexpressible(format!("`dimensions` {length} cannot be had from this model; leave it out.")))
        }
        _ => Ok(()),
    }
}

/// Fields that OpenAI's endpoint knows and that do not change a vector.
const HARMLESS: [&str; 2] = ["user", "model"];

fn refuse_extra(embed: &Embed, known: &[&str]) -> Result<(), Inexpressible> {
    let mut fields = embed.extra.iter();
    let unknown = fields.find(|(name, value)| {
        let name = name.as_str();
        !value.is_null() && !known.contains(&name) && !HARMLESS.contains(&name)
    });
    unknown.map_or(Ok(()), |(name, _)| {
        Err(Inexpressible(format!("`{name}` cannot be said to this embedding model; remove it.")))
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Titan {
    embedding: Vec<f32>,
    #[serde(default)]
    input_text_token_count: Tokens,
}

#[derive(Deserialize)]
struct Cohere {
    embeddings: Vectors,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Vectors {
    Plain(Vec<Vec<f32>>),
    ByType { float: Vec<Vec<f32>> },
}

/// Reads the vectors of one answer. Cohere counts its tokens in a header only, so its usage is unknown
/// here.
pub(super) fn decode_reply(body: &[u8]) -> Result<Reply, Garbled> {
    let (vectors, input) = if let Ok(Cohere { embeddings }) = serde_json::from_slice(body) {
        match embeddings {
            Vectors::Plain(vectors) | Vectors::ByType { float: vectors } => (vectors, None),
        }
    } else {
        let titan: Titan = serde_json::from_slice(body)
            .map_err(|error| Garbled(format!("neither a message nor vectors: {error}")))?;
        (vec![titan.embedding], titan.input_text_token_count.0)
    };
    let usage = Usage { input, output: input.map(|_| 0), ..Usage::default() };
    Ok(Reply::Embeddings { vectors, model: String::new(), usage })
}
