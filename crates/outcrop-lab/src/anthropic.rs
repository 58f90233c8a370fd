//! A simulated Anthropic: messages, token counts and models, refusals and headers as the service sends them.
//!
//! Contents only; faults, time and billing belong to the framework. A caller that leaves ends the generation. Unknown
//! members of a body pass, except those that belong to other services; unknown `anthropic-beta` values pass.

pub(crate) mod ask;
pub(crate) mod cache;
pub(crate) mod message;
pub(crate) mod refusal;

use std::borrow::Cow;

use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use self::{
    ask::Ask,
    cache::{Cache, Split},
    message::Envelope,
    refusal::Refusal,
};
use crate::{
    answer::Plan,
    clock,
    exchange::{
        Answering, Bill, Exchange, Frame, Injected, Received, Reply, Service, Streamed, Subject, Whole,
    },
    quota::Reservation,
};

/// The key the simulator accepts in `x-api-key`, or as a bearer, which is how the SDKs of 2026 send it.
pub const API_KEY: &str = "outcrop-lab-anthropic-key";

const MODEL: &str = "claude-sonnet-4-5";
const MESSAGES: &str = "/v1/messages";
const COUNT: &str = "/v1/messages/count_tokens";
/// What the rate-limit headers say while no script limits the tokens.
const TPM_DEFAULT: u64 = 2_000_000;
const RPM: u64 = 4_000;
const FIRST_VERSION_WITH_SYSTEM_TURNS: &str = "2026";
/// Body size above which the service answers 413.
const BODY_BYTES_MAX: usize = 32 * 1024 * 1024;

/// The simulated service, with its prompt cache.
#[derive(Debug, Default)]
pub struct Anthropic {
    cache: Cache,
}

impl Service for Anthropic {
    fn subject(&self, received: &Received) -> Subject {
        let body: Value = serde_json::from_slice(&received.body).unwrap_or_default();
        let runs_model = received.path == MESSAGES && received.method == Method::POST;
        Subject {
            model: body["model"].as_str().unwrap_or_default().to_owned(),
            operation: received.path.trim_start_matches("/v1/").replace('/', "."),
            stream: runs_model && body["stream"] == true,
            runs_model,
        }
    }

    fn authenticate(&self, exchange: &Exchange) -> Result<(), Whole> {
        let bearer =
            exchange.received.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
        match exchange.received.header("x-api-key").or(bearer) {
            Some(API_KEY) if !exchange.script.credential_expired => Ok(()),
            other => Err(refuse(exchange, &Refusal::key(other))),
        }
    }

    fn answer<'a>(&'a self, exchange: &'a Exchange) -> Answering<'a> {
        let reply = self.route(exchange).unwrap_or_else(|refusal| Reply::Whole(refuse(exchange, &refusal)));
        Box::pin(std::future::ready(reply))
    }

    fn failure(&self, exchange: &Exchange, injected: &Injected) -> Whole {
        let answer = refuse(exchange, &scripted(injected));
        match injected.retry_after_s {
            Some(seconds) => answer.header("retry-after", &seconds.to_string()),
            None => answer,
        }
    }

    fn failure_event(&self, _exchange: &Exchange, injected: &Injected) -> Bytes {
        sse(&scripted(injected).event())
    }

    fn stops_with_caller(&self) -> bool {
        true
    }

    fn reset(&self) {
        self.cache.clear();
    }
}

impl Anthropic {
    /// The service with an empty prompt cache.
    pub fn new() -> Self {
        Self::default()
    }

    fn route(&self, exchange: &Exchange) -> Result<Reply, Refusal> {
        let Received { method, path, .. } = &exchange.received;
        if exchange.received.header("anthropic-version").is_none() {
            return Err(Refusal::invalid("anthropic-version: header is required"));
        }
        match (path.as_str(), method) {
            (MESSAGES, &Method::POST) => self.message(exchange),
            (COUNT, &Method::POST) => {
                let body = body(exchange)?;
                let ask = Ask::decode_unlimited(exchange.target.name(), &steering(exchange, &body))?;
                known(&ask.model)?;
                let count = json!({"input_tokens": cache::prompt_tokens(&body)});
                Ok(Reply::Whole(dressed(exchange, Whole::json(StatusCode::OK, &count))))
            }
            ("/v1/models", &Method::GET) => {
                let list =
                    json!({"data": [model_object()], "has_more": false, "first_id": MODEL, "last_id": MODEL});
                Ok(Reply::Whole(dressed(exchange, Whole::json(StatusCode::OK, &list))))
            }
            (MESSAGES | COUNT | "/v1/models", _) => Err(Refusal::method()),
            _ => Err(Refusal::path()),
        }
    }

    fn message(&self, exchange: &Exchange) -> Result<Reply, Refusal> {
        let body = body(exchange)?;
        let ask = Ask::decode(exchange.target.name(), &steering(exchange, &body))?;
        known(&ask.model)?;
        let limit = ask.prompt.max_tokens.unwrap_or_default();
        let reservation = reserve(exchange, &ask.model, cache::prompt_tokens(&body) + limit)?;
        let plan = Plan::new(&ask.prompt, exchange.seed());
        let input = self.cache.split(&body);
        let envelope = Envelope {
            id: format!("msg_01{}", exchange.dice().letters(22)),
            model: ask.model.clone(),
            input,
        };
        let bill = bill(ask.model, input, plan.output_tokens(), reservation);
        if !ask.stream {
            let answer = dressed(exchange, Whole::json(StatusCode::OK, &message::whole(&envelope, &plan)));
            return Ok(Reply::Whole(answer.billed(bill)));
        }
        let events = message::events(&envelope, &plan).into_iter();
        let frames = events.map(|event| Frame::costing(sse(&event.payload), event.tokens)).collect();
        let head = dressed(exchange, Whole::new(StatusCode::OK, "text/event-stream; charset=utf-8", ""));
        Ok(Reply::Stream(Streamed { headers: head.headers, frames, bill }))
    }
}

fn bill(model: String, input: Split, output_tokens: u64, reservation: Option<Reservation>) -> Bill {
    Bill {
        model,
        operation: "messages".to_owned(),
        input_tokens: input.fresh,
        output_tokens,
        cache_read_tokens: input.read,
        cache_write_tokens: input.written_5m + input.written_1h,
        reservation,
    }
}

fn scripted(injected: &Injected) -> Refusal {
    Refusal::scripted(injected.error_type.as_deref(), injected.status.map(|status| status.as_u16()))
}

fn body(exchange: &Exchange) -> Result<Value, Refusal> {
    if exchange.received.body.len() > BODY_BYTES_MAX {
        return Err(Refusal::scripted(Some("request_too_large"), None));
    }
    serde_json::from_slice(&exchange.received.body)
        .map_err(|_| Refusal::invalid("The request body is not valid JSON"))
}

/// Versions of the API from 2026 on allow system turns between the messages; older ones refuse the role.
fn steering<'a>(exchange: &Exchange, body: &'a Value) -> Cow<'a, Value> {
    let version = exchange.received.header("anthropic-version").unwrap_or_default();
    if version < FIRST_VERSION_WITH_SYSTEM_TURNS {
        return Cow::Borrowed(body);
    }
    let mut body = body.clone();
    if let Some(messages) = body["messages"].as_array_mut() {
        messages.retain(|message| message["role"] != "system");
    }
    Cow::Owned(body)
}

/// The dated snapshots of a model answer under their own names.
fn known(model: &str) -> Result<(), Refusal> {
    if model.starts_with(MODEL) { Ok(()) } else { Err(Refusal::model(model)) }
}

fn reserve(exchange: &Exchange, model: &str, tokens: u64) -> Result<Option<Reservation>, Refusal> {
    let Some(tpm) = exchange.script.tpm else { return Ok(None) };
    let taken = exchange.target.quota().reserve(model, tpm, tokens, 1, clock::now());
    taken.map(Some).map_err(|exhausted| Refusal::rate_limit(exhausted.wait.as_secs() + 1))
}

fn model_object() -> Value {
    json!({
        "type": "model",
        "id": MODEL,
        "display_name": "Claude Sonnet 4.5",
        "created_at": "2025-09-29T00:00:00Z",
        "lifecycle": "active",
    })
}

fn refuse(exchange: &Exchange, refusal: &Refusal) -> Whole {
    let answer = dressed(exchange, Whole::json(refusal.status, &refusal.body(&request_id(exchange))));
    match refusal.retry_after_s {
        Some(seconds) => answer.header("retry-after", &seconds.to_string()),
        None => answer,
    }
}

fn request_id(exchange: &Exchange) -> String {
    format!("req_{}", exchange.request_id)
}

/// The headers every answer of the service carries.
fn dressed(exchange: &Exchange, answer: Whole) -> Whole {
    let limit = exchange.script.tpm.unwrap_or(TPM_DEFAULT).to_string();
    let reset =
        jiff::Timestamp::from_millisecond(exchange.at_ms.cast_signed()).unwrap_or_default().to_string();
    answer
        .header("request-id", &request_id(exchange))
        .header("anthropic-organization-id", "org-lab")
        .header("anthropic-ratelimit-requests-limit", &RPM.to_string())
        .header("anthropic-ratelimit-requests-remaining", &(RPM - 1).to_string())
        .header("anthropic-ratelimit-requests-reset", &reset)
        .header("anthropic-ratelimit-tokens-limit", &limit)
        .header("anthropic-ratelimit-tokens-remaining", &limit)
        .header("anthropic-ratelimit-tokens-reset", &reset)
}

/// A named event; the name repeats the payload's `type`.
fn sse(payload: &Value) -> Bytes {
    let name = payload["type"].as_str().unwrap_or_default();
    format!("event: {name}\ndata: {payload}\n\n").into()
}
