//! The tool `converse`: a language model behind MCP.
//!
//! It takes and gives what an OpenAI chat does, within one tool call. Wrong arguments are an error result, because a
//! model should read them; they are no protocol error.

use rmcp::{
    RoleServer,
    model::{CallToolResult, ContentBlock},
    service::RequestContext,
};
use serde_json::{Value, json};

use super::{
    call::{Call, Gone, Meter, Progress},
    catalogue::CONVERSE,
    spelling,
};
use crate::{
    answer::{Block, Plan},
    clock,
    openai::{chat::Chat, completion},
    quota::Exhausted,
};

/// Output tokens reserved from the quota where the request sets no limit.
const OUTPUT_TOKENS_MAX: u64 = 8_192;

/// Answers one conversation.
pub(super) async fn converse(
    call: &mut Call,
    arguments: &Value,
    context: &RequestContext<RoleServer>,
) -> Result<CallToolResult, Gone> {
    let chat = match Chat::decode_loosely(call.target.name(), arguments) {
        Ok(chat) => chat,
        Err(refusal) => return Ok(spelling::tool_error("invalid_arguments", &refusal.message)),
    };
    let mut meter = call.meter(CONVERSE, &chat.model, chat.prompt_tokens);
    if let Some(tpm) = call.script.tpm {
        let wanted = chat.prompt_tokens + chat.prompt.max_tokens.unwrap_or(OUTPUT_TOKENS_MAX);
        match call.target.quota().reserve(&chat.model, tpm, wanted, 1, clock::now()) {
            Ok(reservation) => meter.reserve(Some(reservation)),
            Err(Exhausted { wait }) => {
                meter.refuse();
                return Ok(spelling::exhausted(wait.as_secs() + 1));
            }
        }
    }
    let plan = Plan::new(&chat.prompt, call.target.seed());
    speak(call, &plan, &mut meter, context).await?;
    meter.complete();
    Ok(result(&chat, &plan))
}

/// Makes the answer piece by piece at the scripted pace; the pieces of its text are its progress.
async fn speak(
    call: &mut Call,
    plan: &Plan,
    meter: &mut Meter,
    context: &RequestContext<RoleServer>,
) -> Result<(), Gone> {
    let is_text = |block: &&Block| matches!(block, Block::Text { .. });
    let steps: usize = plan.blocks.iter().filter(is_text).map(|block| block.pieces().len()).sum();
    let mut progress = Progress::new(context, steps as u64);
    meter.streams(progress.is_wanted());
    let mut spread = call.script.ttft_ms;
    for block in &plan.blocks {
        for piece in block.pieces() {
            let delay = call.draw(spread);
            progress.pause(delay).await?;
            spread = call.script.pace_ms;
            meter.made(1);
            if is_text(&block) {
                progress.step(piece).await?;
            }
        }
    }
    Ok(())
}

fn result(chat: &Chat, plan: &Plan) -> CallToolResult {
    let text = completion::text(plan);
    let output_tokens = plan.output_tokens();
    let finish_reason = match completion::finish_reason(&plan.stop) {
        // The tool's schema knows no filter.
        "content_filter" => "stop",
        reason => reason,
    };
    let mut result = CallToolResult::structured(json!({
        "model": chat.model,
        "role": "assistant",
        "content": text,
        "tool_calls": completion::tool_calls(plan),
        "finish_reason": finish_reason,
        "usage": {
            "prompt_tokens": chat.prompt_tokens,
            "completion_tokens": output_tokens,
            "total_tokens": chat.prompt_tokens + output_tokens,
        },
    }));
    result.content = vec![ContentBlock::text(text)];
    result
}
