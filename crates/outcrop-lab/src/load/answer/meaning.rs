//! What an event or a body says, per API, as far as completeness needs it.

use base64::Engine as _;
use serde_json::Value;

use super::Flaw;
use super::framing::Item;
use crate::load::call::Api;

/// What one event contributes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// Text of the answer.
    Text(String),
    /// Content that is shown before the text that counts, such as progress.
    Sign,
    /// Why the answer ends.
    Reason,
    /// The protocol's last event.
    Last,
}

type Meanings = Result<Vec<Meaning>, Flaw>;

/// What an event of a stream says.
pub(super) fn of_item(api: Api, item: &Item) -> Meanings {
    match (api, item) {
        (Api::OpenAi, Item::Data(data)) if data == "[DONE]" => Ok(vec![Meaning::Last]),
        (Api::OpenAi, Item::Data(data)) => openai_chunk(&json(data.as_bytes())?),
        (Api::Anthropic, Item::Data(data)) => anthropic_event(&json(data.as_bytes())?),
        (Api::Mcp, Item::Data(data)) => mcp_message(&json(data.as_bytes())?),
        (Api::Bedrock | Api::Invoke, Item::Frame { kind, exception: true, payload }) => {
            Err(Flaw::Failed(format!("{kind} {}", excerpt(payload))))
        }
        (Api::Bedrock, Item::Frame { kind, payload, .. }) => Ok(converse_event(kind, &json(payload)?)),
        (Api::Invoke, Item::Frame { payload, .. }) => {
            let wrapped = json(payload)?;
            let inner = base64::engine::general_purpose::STANDARD
                .decode(wrapped["bytes"].as_str().unwrap_or_default())
                .map_err(|_| Flaw::Garbled("a chunk that is no base64"))?;
            anthropic_event(&json(&inner)?)
        }
        _ => Err(Flaw::Garbled("the stream has another framing")),
    }
}

/// What a whole body says.
pub(super) fn of_body(api: Api, body: &Value) -> Meanings {
    if api == Api::Mcp {
        return mcp_message(body);
    }
    if let Some(error) = body.get("error").filter(|error| !error.is_null()) {
        return Err(Flaw::Failed(excerpt(error.to_string().as_bytes())));
    }
    let (text, reason) = match api {
        Api::OpenAi => {
            let choice = &body["choices"][0];
            (text_of(&choice["message"]["content"]), &choice["finish_reason"])
        }
        Api::Bedrock => (text_of(&body["output"]["message"]["content"]), &body["stopReason"]),
        // Other model families than Anthropic's name the reason elsewhere; a body is then judged by being one.
        Api::Invoke if body.get("stop_reason").is_none() => (String::new(), body),
        Api::Anthropic | Api::Invoke | Api::Mcp => (text_of(&body["content"]), &body["stop_reason"]),
    };
    if reason.is_null() {
        return Err(Flaw::Garbled("a body without the reason of its end"));
    }
    Ok(vec![Meaning::Sign, Meaning::Text(text), Meaning::Reason, Meaning::Last])
}

fn openai_chunk(chunk: &Value) -> Meanings {
    if let Some(error) = chunk.get("error").filter(|error| !error.is_null()) {
        return Err(Flaw::Failed(excerpt(error.to_string().as_bytes())));
    }
    let choice = &chunk["choices"][0];
    let mut meanings = text(&choice["delta"]["content"]);
    if choice["delta"].get("tool_calls").is_some() {
        meanings.push(Meaning::Sign);
    }
    if choice["finish_reason"].is_string() {
        meanings.push(Meaning::Reason);
    }
    Ok(meanings)
}

fn anthropic_event(event: &Value) -> Meanings {
    match event["type"].as_str().unwrap_or_default() {
        "error" => Err(Flaw::Failed(excerpt(event["error"].to_string().as_bytes()))),
        "content_block_delta" if event["delta"]["text"].is_string() => Ok(text(&event["delta"]["text"])),
        "content_block_delta" => Ok(vec![Meaning::Sign]),
        "message_delta" if event["delta"]["stop_reason"].is_string() => Ok(vec![Meaning::Reason]),
        "message_stop" => Ok(vec![Meaning::Last]),
        _ => Ok(Vec::new()),
    }
}

fn converse_event(kind: &str, event: &Value) -> Vec<Meaning> {
    match kind {
        "contentBlockDelta" if event["delta"]["text"].is_string() => text(&event["delta"]["text"]),
        "contentBlockDelta" => vec![Meaning::Sign],
        "messageStop" => vec![Meaning::Reason],
        "metadata" => vec![Meaning::Last],
        _ => Vec::new(),
    }
}

fn mcp_message(message: &Value) -> Meanings {
    if let Some(error) = message.get("error") {
        return Err(Flaw::Failed(excerpt(error.to_string().as_bytes())));
    }
    let Some(result) = message.get("result") else {
        let progress = message["method"] == "notifications/progress";
        return Ok(if progress { vec![Meaning::Sign] } else { Vec::new() });
    };
    let said = match &result["structuredContent"]["content"] {
        Value::String(text) => text.clone(),
        _ => text_of(&result["content"]),
    };
    if result["isError"] == true {
        return Err(Flaw::Failed(excerpt(said.as_bytes())));
    }
    Ok(vec![Meaning::Sign, Meaning::Text(said), Meaning::Reason, Meaning::Last])
}

fn text(value: &Value) -> Vec<Meaning> {
    value.as_str().map(|text| Meaning::Text(text.to_owned())).into_iter().collect()
}

/// The text of a string, or of the text blocks of a list.
fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(blocks) => blocks.iter().filter_map(|block| block["text"].as_str()).collect(),
        _ => String::new(),
    }
}

fn json(bytes: &[u8]) -> Result<Value, Flaw> {
    serde_json::from_slice(bytes).map_err(|_| Flaw::Garbled("an event that is no JSON"))
}

/// The beginning of a message, printable.
fn excerpt(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().filter(|character| !character.is_control()).take(160).collect()
}
