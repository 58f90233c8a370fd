//! The native bodies behind `invoke`: Anthropic's messages and Nova's `messages-v1`, whole and in chunks.
//!
//! A chunk wraps one native event in base64; the last one also carries `amazon-bedrock-invocationMetrics`. Anthropic's
//! schema is the one of the simulated Anthropic, less what Bedrock forbids and plus what it demands.

use base64::Engine as _;
use serde_json::{Value, json};

use super::{converse, frame, model::Model, refusal::Refusal};
use crate::{
    answer::{Plan, Prompt},
    anthropic::{
        ask::Ask,
        message::{self, Envelope},
    },
    dice::Dice,
    exchange::Frame,
};

/// The one version of the native schema.
const ANTHROPIC_VERSION: &str = "bedrock-2023-05-31";

/// Decodes a native Anthropic body.
pub(super) fn decode_claude(target: &str, model: Model, body: &Value) -> Result<Prompt, Refusal> {
    if body.get("max_tokens").is_none() {
        return Err(Refusal::invalid("max_tokens: Field required"));
    }
    Ask::decode(target, &claude_body(model, body)?)
        .map(|ask| ask.prompt)
        .map_err(|refusal| Refusal::invalid(refusal.message))
}

/// Checks a native Anthropic body whose tokens are only counted.
pub(super) fn check_claude(target: &str, model: Model, body: &Value) -> Result<(), Refusal> {
    let checked = Ask::decode_unlimited(target, &claude_body(model, body)?);
    checked.map(|_| ()).map_err(|refusal| Refusal::invalid(refusal.message))
}

/// The body as Anthropic's own service would have received it.
fn claude_body(model: Model, body: &Value) -> Result<Value, Refusal> {
    match body.get("anthropic_version") {
        None => return Err(Refusal::invalid("anthropic_version: Field required")),
        Some(version) if version != ANTHROPIC_VERSION => {
            return Err(Refusal::invalid(format!(
                "anthropic_version: Input should be '{ANTHROPIC_VERSION}'"
            )));
        }
        Some(_) => {}
    }
    if let Some(name) = ["model", "stream"].iter().find(|name| body.get(**name).is_some()) {
        return Err(Refusal::invalid(format!(
            "Malformed input request: #: extraneous key [{name}] is not permitted, please reformat your input and try again."
        )));
    }
    let mut body = body.clone();
    if let Some(members) = body.as_object_mut() {
        members.shift_remove("anthropic_version");
        members.shift_remove("anthropic_beta");
    }
    body["model"] = json!(claude_name(model));
    Ok(body)
}

/// The name under which Anthropic's messages speak of the model.
pub(super) fn claude_name(model: Model) -> &'static str {
    let name = model.id.strip_prefix("anthropic.").unwrap_or(model.id);
    name.strip_suffix("-v1:0").unwrap_or(name)
}

/// The events of an Anthropic stream as chunks; Bedrock sends no `ping`.
pub(super) fn claude_chunks(
    plan: &Plan,
    envelope: &Envelope,
    latency_ms: u64,
    dice: &mut Dice,
) -> Vec<Frame> {
    let events = message::events(envelope, plan).into_iter().filter(|event| event.payload["type"] != "ping");
    let events: Vec<(Value, u64)> = events.map(|event| (event.payload, event.tokens)).collect();
    let input =
        [envelope.input.fresh, envelope.input.read, envelope.input.written_5m + envelope.input.written_1h];
    chunks(events, &metrics(input, plan, latency_ms), dice)
}

/// Nova's answer in one piece.
pub(super) fn nova_whole(plan: &Plan, envelope: converse::Envelope) -> Value {
    let mut whole = converse::whole(plan, envelope);
    if let Some(members) = whole.as_object_mut() {
        members.shift_remove("metrics");
    }
    whole["usage"] = nova_usage(&whole["usage"], envelope);
    whole
}

/// Nova's events as chunks.
pub(super) fn nova_chunks(plan: &Plan, envelope: converse::Envelope, dice: &mut Dice) -> Vec<Frame> {
    let events = converse::events(plan, envelope).into_iter().map(|event| {
        let mut payload = event.payload;
        if event.name == "metadata" {
            payload = json!({"usage": nova_usage(&payload["usage"], envelope), "metrics": {}, "trace": {}});
        }
        (json!({event.name: payload}), event.tokens)
    });
    let events: Vec<(Value, u64)> = events.collect();
    let input = [envelope.input.fresh, envelope.input.read, envelope.input.written];
    chunks(events, &metrics(input, plan, envelope.latency_ms), dice)
}

/// Nova's usage names the cache's tokens in its own way.
fn nova_usage(usage: &Value, envelope: converse::Envelope) -> Value {
    json!({
        "inputTokens": usage["inputTokens"],
        "outputTokens": usage["outputTokens"],
        "totalTokens": usage["totalTokens"],
        "cacheReadInputTokenCount": envelope.input.read,
        "cacheWriteInputTokenCount": envelope.input.written,
    })
}

fn metrics([fresh, read, written]: [u64; 3], plan: &Plan, latency_ms: u64) -> Value {
    let mut metrics = json!({
        "inputTokenCount": fresh,
        "outputTokenCount": plan.output_tokens(),
        "invocationLatency": latency_ms,
        "firstByteLatency": latency_ms / 2,
    });
    if read + written > 0 {
        metrics["cacheReadInputTokenCount"] = json!(read);
        metrics["cacheWriteInputTokenCount"] = json!(written);
    }
    metrics
}

fn chunks(events: Vec<(Value, u64)>, metrics: &Value, dice: &mut Dice) -> Vec<Frame> {
    let last = events.len().saturating_sub(1);
    let chunk = |(place, (mut native, tokens)): (usize, (Value, u64))| {
        if place == last {
            native["amazon-bedrock-invocationMetrics"] = metrics.clone();
        }
        let bytes = base64::engine::general_purpose::STANDARD.encode(native.to_string());
        Frame::costing(frame::event("chunk", json!({"bytes": bytes}), dice), tokens)
    };
    events.into_iter().enumerate().map(chunk).collect()
}
