//! Same-protocol requests: the caller's bytes with only the changed values replaced.
//!
//! Unknown fields, order, spacing and number formats survive, because no document is built. Only the
//! two forms of Claude's own body (Anthropic's and Bedrock invoke's) are put together anew, member by
//! member, and there too every value keeps its bytes.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::ops::Range;

use bytes::{Bytes, BytesMut};
use outcrop_core::Protocol;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::family::{Place, place};
use super::{Inexpressible, TargetModel};
use crate::Envelope;
use crate::dialect::count_tokens;

/// What Bedrock's form of Claude's body says in place of the header `anthropic-version`.
const BEDROCK_VERSION: &str = "bedrock-2023-05-31";

/// Where Converse and Nova have the limit.
const INFERENCE: [&str; 2] = ["inferenceConfig", "maxTokens"];

/// Where Titan has the limit.
const TEXT_GENERATION: [&str; 2] = ["textGenerationConfig", "maxTokenCount"];

/// The limit in a body whose tokens are only counted: the model's body must have one.
const COUNTED_MAX_TOKENS: u64 = 1;

/// The body for `target` where `protocol` can carry the caller's bytes; `None` where the request
/// must be translated. Fails where the body has no known place for a limit that must hold.
pub(super) fn request(
    protocol: Protocol,
    envelope: &Envelope,
    target: &TargetModel<'_>,
) -> Result<Option<Bytes>, Inexpressible> {
    use Protocol as P;
    let mut edits = Edits::default();
    match (envelope.protocol, protocol) {
        (P::OpenAiChat, P::OpenAiChat) => {
            edits.model(envelope, target);
            edits.cap(envelope, target);
            edits.limit(envelope, target, "max_completion_tokens");
            edits.stream_usage(envelope);
        }
        (P::OpenAiEmbeddings, P::OpenAiEmbeddings) | (P::AnthropicCountTokens, P::AnthropicCountTokens) => {
            edits.model(envelope, target);
        }
        (P::AnthropicMessages, P::AnthropicMessages) => {
            edits.model(envelope, target);
            edits.cap(envelope, target);
        }
        (P::BedrockConverse, P::BedrockConverse) => {
            edits.cap(envelope, target);
            if let (None, Some(limit)) = (envelope.max_tokens, target.limit(None)) {
                edits.within(envelope, envelope.spans.inference.as_ref(), INFERENCE, limit);
            }
        }
        (P::BedrockInvoke, P::BedrockInvoke) => {
            edits.cap(envelope, target);
            edits.native_limit(envelope, target)?;
        }
        (P::BedrockCountTokens, P::BedrockCountTokens) => {}
        (P::AnthropicMessages, P::BedrockInvoke) => {
            return Ok(claude_invoke(envelope, None, target.max_tokens_cap));
        }
        (P::AnthropicCountTokens, P::BedrockCountTokens) if is_claude(target.id) => {
            let body = claude_invoke(envelope, Some(COUNTED_MAX_TOKENS), None);
            return Ok(body.map(|body| count_tokens::around_invoke(&body)));
        }
        _ => return Ok(None),
    }
    Ok(Some(edits.apply(envelope)))
}

/// An Anthropic body as the model-native body of Claude on Bedrock, with an output limit where that
/// body has none, and none above `cap`.
fn claude_invoke(envelope: &Envelope, max_tokens: Option<u64>, cap: Option<u64>) -> Option<Bytes> {
    let Members(members) = serde_json::from_slice(&envelope.body).ok()?;
    let mut out = Vec::with_capacity(envelope.body.len() + 64);
    out.extend_from_slice(b"{\"anthropic_version\":\"");
    out.extend_from_slice(BEDROCK_VERSION.as_bytes());
    out.push(b'"');
    if !envelope.betas.is_empty() {
        out.extend_from_slice(b",\"anthropic_beta\":");
        serde_json::to_writer(&mut out, &envelope.betas).ok()?;
    }
    if let Some(limit) = max_tokens.filter(|_| !members.iter().any(|(key, _)| key == "max_tokens")) {
        out.extend_from_slice(b",\"max_tokens\":");
        serde_json::to_writer(&mut out, &limit).ok()?;
    }
    for (key, value) in members {
        let replaced = key == "anthropic_beta" && !envelope.betas.is_empty();
        if replaced || matches!(&*key, "model" | "stream" | "anthropic_version") {
            continue;
        }
        out.push(b',');
        serde_json::to_writer(&mut out, &key).ok()?;
        out.push(b':');
        match cap.filter(|cap| key == "max_tokens" && envelope.max_tokens > Some(*cap)) {
            Some(cap) => serde_json::to_writer(&mut out, &cap).ok()?,
            None => out.extend_from_slice(value.get().as_bytes()),
        }
    }
    out.push(b'}');
    Some(Bytes::from(out))
}

/// Whether a model id names Claude; a profile whose ARN hides the model counts as another model.
fn is_claude(model: &str) -> bool {
    model.contains("anthropic.") || model.contains("claude")
}

/// Replacements in a body and members put in front of it.
#[derive(Debug, Default)]
struct Edits {
    /// Not overlapping, in no order.
    replaced: Vec<(Range<usize>, String)>,
    /// Members, each followed by a comma.
    inserted: String,
}

impl Edits {
    fn model(&mut self, envelope: &Envelope, target: &TargetModel<'_>) {
        if envelope.model != target.id {
            self.put(envelope.spans.model.as_ref(), "model", &json!(target.id));
        }
    }

    /// Brings every limit that the caller set below the cap.
    fn cap(&mut self, envelope: &Envelope, target: &TargetModel<'_>) {
        let Some(cap) = target.max_tokens_cap else { return };
        let above = envelope.spans.limits.iter().filter(|limit| limit.value > Some(cap));
        self.replaced.extend(above.map(|limit| (limit.span.clone(), cap.to_string())));
    }

    /// Sets a limit as a member of the body where the caller set none.
    fn limit(&mut self, envelope: &Envelope, target: &TargetModel<'_>, key: &str) {
        if let (None, Some(limit)) = (envelope.max_tokens, target.limit(None)) {
            self.put(envelope.spans.limits.first().map(|limit| &limit.span), key, &json!(limit));
        }
    }

    /// Sets a limit that must hold in a model's own body where the caller set none.
    fn native_limit(&mut self, envelope: &Envelope, target: &TargetModel<'_>) -> Result<(), Inexpressible> {
        let (None, Some(_), Some(limit)) = (envelope.max_tokens, target.max_tokens_cap, target.limit(None))
        else {
            return Ok(());
        };
        let spans = &envelope.spans;
        match place(target.id) {
            Place::Member(key) => {
                let null = spans.limits.iter().find(|limit| limit.key == key);
                self.put(null.map(|limit| &limit.span), key, &json!(limit));
            }
            Place::Inference => {
                self.within(envelope, spans.inference.as_ref(), INFERENCE, limit);
            }
            Place::TextGeneration => {
                self.within(envelope, spans.text_generation.as_ref(), TEXT_GENERATION, limit);
            }
            Place::Nowhere => {}
            Place::Unknown => {
                return Err(Inexpressible(format!(
                    "The output of `{}` must be limited here, and its body has no known field for that; \
                     set the model's own limit of output tokens in the body.",
                    target.id
                )));
            }
        }
        Ok(())
    }

    fn stream_usage(&mut self, envelope: &Envelope) {
        if envelope.stream && !envelope.stream_usage {
            let span = envelope.spans.stream_options.as_ref();
            let mut options = object_at(envelope, span);
            options.insert("include_usage".to_owned(), Value::Bool(true));
            self.put(span, "stream_options", &Value::Object(options));
        }
    }

    /// Sets a member of the object that is at `span`.
    fn within(
        &mut self,
        envelope: &Envelope,
        span: Option<&Range<usize>>,
        [key, member]: [&str; 2],
        limit: u64,
    ) {
        let mut object = object_at(envelope, span);
        object.insert(member.to_owned(), json!(limit));
        self.put(span, key, &Value::Object(object));
    }

    fn put(&mut self, span: Option<&Range<usize>>, key: &str, value: &Value) {
        match span {
            Some(span) => self.replaced.push((span.clone(), value.to_string())),
            // Writing into a String cannot fail.
            None => drop(write!(self.inserted, "\"{key}\":{value},")),
        }
    }

    fn apply(mut self, envelope: &Envelope) -> Bytes {
        if self.replaced.is_empty() && self.inserted.is_empty() {
            return envelope.body.clone();
        }
        let body = &envelope.body;
        let open = envelope.spans.open;
        let behind = body.get(open..).unwrap_or_default().trim_ascii_start();
        if behind.starts_with(b"}") {
            self.inserted.pop();
        }
        self.replaced.push((open..open, self.inserted));
        self.replaced.sort_by_key(|(span, _)| span.start);
        let grown: usize = self.replaced.iter().map(|(_, text)| text.len()).sum();
        let mut out = BytesMut::with_capacity(body.len() + grown);
        let mut at = 0;
        for (span, text) in &self.replaced {
            out.extend_from_slice(body.get(at..span.start).unwrap_or_default());
            out.extend_from_slice(text.as_bytes());
            at = span.end;
        }
        out.extend_from_slice(body.get(at..).unwrap_or_default());
        out.freeze()
    }
}

/// The object at `span`, empty where it is absent or null.
fn object_at(envelope: &Envelope, span: Option<&Range<usize>>) -> Map<String, Value> {
    span.and_then(|span| envelope.body.get(span.clone()))
        .and_then(|text| serde_json::from_slice(text).ok())
        .unwrap_or_default()
}

/// The members of an object in order, with the text of their values.
struct Members<'de>(Vec<(Cow<'de, str>, &'de RawValue)>);

impl<'de> serde::Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

#[cfg(test)]
mod tests;
