//! `count-tokens`: the tokens of a Converse input, or of a native body in base64. Free of charge.

use base64::Engine as _;
use http::StatusCode;
use serde_json::{Value, json};

use super::{
    ask, cache, invoke,
    model::{Family, Model},
    parse,
    refusal::Refusal,
};
use crate::{
    anthropic::cache as claude_cache,
    exchange::{Exchange, Whole},
};

/// Answers the operation; the input must be as valid as that of the operation it is for.
pub(super) fn answer(exchange: &Exchange, model: Model, body: &Value) -> Result<Whole, Refusal> {
    let invalid = || Refusal::invalid("The input must set one of the following keys: invokeModel, converse.");
    let input = body.get("input").ok_or_else(invalid)?;
    let input_tokens = if let Some(converse) = input.get("converse") {
        ask::check(model, converse)?;
        cache::prompt_tokens(converse)
    } else {
        let native = input.pointer("/invokeModel/body").and_then(Value::as_str).ok_or_else(invalid)?;
        let native = base64::engine::general_purpose::STANDARD.decode(native).map_err(|_| invalid())?;
        native_tokens(exchange, model, &parse(&native)?)?
    };
    let answer = Whole::json(StatusCode::OK, &json!({"inputTokens": input_tokens}));
    Ok(answer.header("x-amzn-requestid", &exchange.request_id))
}

fn native_tokens(exchange: &Exchange, model: Model, native: &Value) -> Result<u64, Refusal> {
    if model.family == Family::Claude {
        invoke::check_claude(exchange.target.name(), model, native)?;
        return Ok(claude_cache::prompt_tokens(native));
    }
    ask::check(model, native)?;
    Ok(cache::prompt_tokens(native))
}
