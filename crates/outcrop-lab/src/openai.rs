//! A simulated OpenAI: chat completions, embeddings and models, refusals and headers as the service sends them.
//!
//! Contents only; faults, time and billing belong to the framework. A caller that leaves ends the generation. It
//! knows the models the lab documents and no others, and it offers no `/v1/responses`.

pub(crate) mod chat;
pub(crate) mod completion;
mod embedding;
pub(crate) mod refusal;

use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use self::{chat::Chat, completion::Envelope, embedding::Embed, refusal::Refusal};
use crate::{
    answer::Plan,
    clock,
    exchange::{
        Answering, Bill, Exchange, Frame, Injected, Received, Reply, Service, Streamed, Subject, Whole,
    },
    quota::Reservation,
};

/// The key the simulator accepts as a bearer.
pub const API_KEY: &str = "outcrop-lab-openai-key";

const CHAT: &str = "/v1/chat/completions";
const EMBEDDINGS: &str = "/v1/embeddings";
const MODELS: &str = "/v1/models";
const CHAT_MODEL: &str = "gpt-4o-mini";
const EMBEDDING_MODEL: &str = "text-embedding-3-small";
/// Output tokens reserved from the quota where the request sets no limit; the documented maximum of the chat model.
const OUTPUT_TOKENS_MAX: u64 = 16_384;
/// What the rate-limit headers say while no script limits the tokens.
const TPM_DEFAULT: u64 = 2_000_000;
const RPM: u64 = 10_000;
const CREATED_S: u64 = 1_721_172_741;

/// The simulated service.
#[derive(Debug, Clone, Copy, Default)]
pub struct OpenAi;

impl OpenAi {
    /// The service; it has no state.
    pub fn new() -> Self {
        Self
    }
}

impl Service for OpenAi {
    fn subject(&self, received: &Received) -> Subject {
        let body: Value = serde_json::from_slice(&received.body).unwrap_or_default();
        let chat = received.path == CHAT;
        Subject {
            model: body["model"].as_str().unwrap_or_default().to_owned(),
            operation: received.path.trim_start_matches("/v1/").replace('/', "."),
            stream: chat && body["stream"] == true,
            runs_model: received.method == Method::POST && (chat || received.path == EMBEDDINGS),
        }
    }

    fn authenticate(&self, exchange: &Exchange) -> Result<(), Whole> {
        let presented =
            exchange.received.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
        match presented {
            Some(API_KEY) if !exchange.script.credential_expired => Ok(()),
            other => Err(refuse(exchange, &Refusal::key(other))),
        }
    }

    fn answer<'a>(&'a self, exchange: &'a Exchange) -> Answering<'a> {
        let reply = route(exchange).unwrap_or_else(|refusal| Reply::Whole(refuse(exchange, &refusal)));
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
        sse(&scripted(injected).body())
    }

    fn stops_with_caller(&self) -> bool {
        true
    }
}

fn scripted(injected: &Injected) -> Refusal {
    let status = injected.status.map(|status| status.as_u16());
    Refusal::scripted(injected.error_type.as_deref(), status, CHAT_MODEL)
}

fn route(exchange: &Exchange) -> Result<Reply, Refusal> {
    let Received { method, path, .. } = &exchange.received;
    match (path.as_str(), method) {
        (CHAT, &Method::POST) => complete(exchange),
        (EMBEDDINGS, &Method::POST) => embed(exchange),
        (MODELS, &Method::GET) => {
            let data = [model_object(CHAT_MODEL), model_object(EMBEDDING_MODEL)];
            Ok(Reply::Whole(whole(exchange, &json!({"object": "list", "data": data}))))
        }
        (CHAT | EMBEDDINGS | MODELS, _) => Err(Refusal::method(method, path)),
        (path, &Method::GET) => {
            let id = path.strip_prefix("/v1/models/").ok_or_else(|| Refusal::path(method, path))?;
            let known = [CHAT_MODEL, EMBEDDING_MODEL].contains(&id);
            let object = known.then(|| model_object(id)).ok_or_else(|| Refusal::model(id))?;
            Ok(Reply::Whole(whole(exchange, &object)))
        }
        (path, method) => Err(Refusal::path(method, path)),
    }
}

fn complete(exchange: &Exchange) -> Result<Reply, Refusal> {
    let chat = Chat::decode(exchange.target.name(), &body(exchange)?)?;
    known(&chat.model, CHAT_MODEL)?;
    let limit = chat.prompt.max_tokens.unwrap_or(OUTPUT_TOKENS_MAX);
    let reservation = reserve(exchange, &chat.model, chat.prompt_tokens + limit * chat.n)?;
    let plans: Vec<Plan> =
        (0..chat.n).map(|choice| Plan::new(&chat.prompt, exchange.seed().wrapping_add(choice))).collect();
    let envelope = Envelope {
        id: format!("chatcmpl-{}", exchange.dice().letters(29)),
        created_s: exchange.at_ms / 1_000,
        model: chat.model.clone(),
    };
    let bill = Bill {
        model: chat.model,
        operation: "chat.completions".to_owned(),
        input_tokens: chat.prompt_tokens,
        output_tokens: plans.iter().map(Plan::output_tokens).sum(),
        reservation,
        ..Bill::default()
    };
    if !chat.stream {
        let object = completion::whole(&envelope, &plans, chat.prompt_tokens);
        return Ok(Reply::Whole(whole(exchange, &object).billed(bill)));
    }
    let chunks = completion::chunks(&envelope, &plans, chat.prompt_tokens, chat.include_usage);
    let mut frames: Vec<Frame> =
        chunks.into_iter().map(|chunk| Frame::costing(sse(&chunk.object), chunk.tokens)).collect();
    frames.push(Frame::free("data: [DONE]\n\n"));
    let headers =
        dressed(exchange, Whole::new(StatusCode::OK, "text/event-stream; charset=utf-8", "")).headers;
    Ok(Reply::Stream(Streamed { headers, frames, bill }))
}

fn embed(exchange: &Exchange) -> Result<Reply, Refusal> {
    let ask = Embed::decode(&body(exchange)?)?;
    known(&ask.model, EMBEDDING_MODEL)?;
    let reservation = reserve(exchange, &ask.model, ask.tokens())?;
    let bill = Bill {
        model: ask.model.clone(),
        operation: "embeddings".to_owned(),
        input_tokens: ask.tokens(),
        reservation,
        ..Bill::default()
    };
    Ok(Reply::Whole(whole(exchange, &ask.answer(exchange.seed())).billed(bill)))
}

fn body(exchange: &Exchange) -> Result<Value, Refusal> {
    serde_json::from_slice(&exchange.received.body).map_err(|_| Refusal::not_json())
}

/// The dated snapshots of a model answer under their own names.
fn known(model: &str, family: &str) -> Result<(), Refusal> {
    if model.starts_with(family) { Ok(()) } else { Err(Refusal::model(model)) }
}

fn reserve(exchange: &Exchange, model: &str, tokens: u64) -> Result<Option<Reservation>, Refusal> {
    let Some(tpm) = exchange.script.tpm else { return Ok(None) };
    let taken = exchange.target.quota().reserve(model, tpm, tokens, 1, clock::now());
    taken.map(Some).map_err(|exhausted| Refusal::rate_limit(model, exhausted.wait.as_secs() + 1))
}

fn model_object(id: &str) -> Value {
    json!({"id": id, "object": "model", "created": CREATED_S, "owned_by": "system"})
}

fn whole(exchange: &Exchange, object: &Value) -> Whole {
    dressed(exchange, Whole::json(StatusCode::OK, object))
}

fn refuse(exchange: &Exchange, refusal: &Refusal) -> Whole {
    let answer = dressed(exchange, Whole::json(refusal.status, &refusal.body()));
    match refusal.retry_after_s {
        Some(seconds) => answer.header("retry-after", &seconds.to_string()),
        None => answer,
    }
}

/// The headers every answer of the service carries.
fn dressed(exchange: &Exchange, answer: Whole) -> Whole {
    let limit = exchange.script.tpm.unwrap_or(TPM_DEFAULT).to_string();
    let elapsed_ms = clock::now_ms().saturating_sub(exchange.at_ms).to_string();
    answer
        .header("x-request-id", &exchange.request_id)
        .header("openai-organization", "org-lab")
        .header("openai-version", "2020-10-01")
        .header("openai-processing-ms", &elapsed_ms)
        .header("x-ratelimit-limit-requests", &RPM.to_string())
        .header("x-ratelimit-remaining-requests", &(RPM - 1).to_string())
        .header("x-ratelimit-reset-requests", "6ms")
        .header("x-ratelimit-limit-tokens", &limit)
        .header("x-ratelimit-remaining-tokens", &limit)
        .header("x-ratelimit-reset-tokens", "0s")
}

fn sse(object: &Value) -> Bytes {
    format!("data: {object}\n\n").into()
}
