//! The small tools: an echo, a slow one, a failing one, a sum, and one with an effect that can be counted.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use rmcp::{
    RoleServer,
    model::{CallToolResult, ContentBlock},
    service::RequestContext,
};
use serde_json::{Value, json};

use super::{
    call::{Call, Gone, Progress},
    spelling,
};
use crate::tokens;

/// Longest work of the tool `slow`.
pub(super) const SLOW_MS_MAX: u64 = 600_000;
/// Steps in which `slow` reports its progress.
const SLOW_STEPS: u64 = 10;

/// Gives the text back.
pub(super) fn echo(call: &Call, arguments: &Value) -> CallToolResult {
    let Some(text) = arguments["text"].as_str() else { return missing("text", "a string") };
    finish(call, "echo", arguments, CallToolResult::success(vec![ContentBlock::text(text)]))
}

/// Always an error result.
pub(super) fn fail(call: &Call, arguments: &Value) -> CallToolResult {
    let message = arguments["message"].as_str().unwrap_or("The tool failed, as asked.");
    finish(call, "fail", arguments, CallToolResult::error(vec![ContentBlock::text(message)]))
}

/// The sum of two numbers.
pub(super) fn add(call: &Call, arguments: &Value) -> CallToolResult {
    let (Some(a), Some(b)) = (arguments["a"].as_f64(), arguments["b"].as_f64()) else {
        return missing("a` and `b", "numbers");
    };
    finish(call, "add", arguments, CallToolResult::structured(json!({"sum": a + b})))
}

/// Appends a note: the effect is the count.
pub(super) fn write_note(call: &Call, arguments: &Value, notes: &AtomicU64) -> CallToolResult {
    if !arguments["text"].is_string() {
        return missing("text", "a string");
    }
    let executions = notes.fetch_add(1, Ordering::Relaxed) + 1;
    finish(call, "write_note", arguments, CallToolResult::structured(json!({"executions": executions})))
}

/// Works for a while and reports progress.
pub(super) async fn slow(
    call: &Call,
    arguments: &Value,
    context: &RequestContext<RoleServer>,
) -> Result<CallToolResult, Gone> {
    let Some(ms) = arguments["ms"].as_u64().filter(|ms| *ms <= SLOW_MS_MAX) else {
        return Ok(missing("ms", "an integer of milliseconds"));
    };
    let mut meter = call.meter("slow", "slow", tokens::of_prompt([arguments]));
    let mut progress = Progress::new(context, SLOW_STEPS);
    meter.streams(progress.is_wanted());
    let step = Duration::from_millis(ms) / SLOW_STEPS as u32;
    for number in 1..=SLOW_STEPS {
        progress.pause(Some(step)).await?;
        meter.made(1);
        progress.step(&format!("step {number} of {SLOW_STEPS}")).await?;
    }
    meter.complete();
    Ok(CallToolResult::success(vec![ContentBlock::text(format!("worked for {ms} ms"))]))
}

/// Records an execution that took no time.
fn finish(call: &Call, tool: &str, arguments: &Value, result: CallToolResult) -> CallToolResult {
    let mut meter = call.meter(tool, tool, tokens::of_prompt([arguments]));
    let texts = result.content.iter().filter_map(ContentBlock::as_text);
    meter.made(texts.map(|text| tokens::of_text(&text.text)).sum());
    meter.complete();
    result
}

fn missing(name: &str, what: &str) -> CallToolResult {
    spelling::tool_error("invalid_arguments", &format!("`{name}` must be {what}"))
}
