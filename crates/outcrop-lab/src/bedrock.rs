//! A simulated Bedrock runtime of one region: all five operations, signatures verified.
//!
//! Contents only; faults, time and billing belong to the framework. The model goes on when its caller has left, and is
//! billed to the end. Guardrails, prompt management and asynchronous invocation are not simulated.

mod ask;
mod cache;
mod call;
mod converse;
mod count;
mod embed;
mod frame;
mod invoke;
mod model;
mod refusal;
mod sigv4;

use bytes::Bytes;
use http::StatusCode;
use serde_json::{Value, json};

pub use self::sigv4::{ACCESS_KEY_ID, BEARER, SECRET_ACCESS_KEY};
use self::{
    cache::{Cache, Split},
    call::{Call, Operation},
    model::{Family, Model},
    refusal::Refusal,
};
use crate::{
    answer::Plan,
    anthropic::{cache as claude_cache, message},
    clock,
    dice::Dice,
    exchange::{
        Answering, Bill, Exchange, Frame, Injected, Received, Reply, Service, Streamed, Subject, Whole,
    },
    quota::Reservation,
};

/// Body size above which the service answers 413.
const BODY_BYTES_MAX: usize = 25_000_000;

/// The simulated runtime of one region, with its prompt caches.
#[derive(Debug)]
pub struct Bedrock {
    region: &'static str,
    cache: Cache,
    /// Native Anthropic bodies mark their prefixes in their own way.
    claude_cache: claude_cache::Cache,
}

/// A valid request to a model, planned and dressed, before it becomes a reply.
struct Answer {
    dressed: Dressed,
    split: Split,
    output_tokens: u64,
    latency_ms: u64,
}

enum Dressed {
    Whole(Value),
    Frames(Vec<Frame>),
}

impl Bedrock {
    /// The runtime of this region.
    pub fn new(region: &'static str) -> Self {
        Self { region, cache: Cache::default(), claude_cache: claude_cache::Cache::default() }
    }

    fn route(&self, exchange: &Exchange) -> Result<Reply, Refusal> {
        let call = Call::read(&exchange.received)?;
        if exchange.received.body.len() > BODY_BYTES_MAX {
            return Err(Refusal::usual("RequestEntityTooLargeException"));
        }
        let model = Model::find(&call.identifier)?;
        let body: Value = parse(&exchange.received.body)?;
        match call.operation {
            Operation::CountTokens => count::answer(exchange, model, &body).map(Reply::Whole),
            Operation::Converse | Operation::ConverseStream => self.converse(exchange, &call, model, &body),
            Operation::Invoke | Operation::InvokeStream => match model.family {
                Family::Claude => self.invoke_claude(exchange, &call, model, &body),
                Family::Nova => self.converse(exchange, &call, model, &body),
                Family::Titan | Family::Cohere => embed(exchange, &call, model, &body),
            },
        }
    }

    /// Converse, and Nova's native schema, which is the same shape in another envelope.
    fn converse(
        &self,
        exchange: &Exchange,
        call: &Call,
        model: Model,
        body: &Value,
    ) -> Result<Reply, Refusal> {
        let prompt = ask::decode(exchange.target.name(), model, body)?;
        let limit = prompt.max_tokens.unwrap_or(model.output_tokens_max);
        let reservation = reserve(exchange, call, model, cache::prompt_tokens(body) + limit)?;
        let plan = Plan::new(&prompt, exchange.seed());
        let mut dice = exchange.dice();
        let envelope =
            converse::Envelope { input: self.cache.split(model.id, body), latency_ms: latency_ms(&mut dice) };
        let dressed = match (call.operation.is_native(), call.operation.streams()) {
            (false, false) => Dressed::Whole(converse::whole(&plan, envelope)),
            (false, true) => Dressed::Frames(converse::frames(&plan, envelope, &mut dice)),
            (true, false) => Dressed::Whole(invoke::nova_whole(&plan, envelope)),
            (true, true) => Dressed::Frames(invoke::nova_chunks(&plan, envelope, &mut dice)),
        };
        let answer = Answer {
            dressed,
            split: envelope.input,
            output_tokens: plan.output_tokens(),
            latency_ms: envelope.latency_ms,
        };
        Ok(answer.reply(exchange, call, reservation))
    }

    fn invoke_claude(
        &self,
        exchange: &Exchange,
        call: &Call,
        model: Model,
        body: &Value,
    ) -> Result<Reply, Refusal> {
        let prompt = invoke::decode_claude(exchange.target.name(), model, body)?;
        let limit = prompt.max_tokens.unwrap_or(model.output_tokens_max);
        let reservation = reserve(exchange, call, model, claude_cache::prompt_tokens(body) + limit)?;
        let plan = Plan::new(&prompt, exchange.seed());
        let mut dice = exchange.dice();
        let latency_ms = latency_ms(&mut dice);
        let envelope = message::Envelope {
            id: format!("msg_bdrk_01{}", dice.letters(22)),
            model: invoke::claude_name(model).to_owned(),
            input: self.claude_cache.split(body),
        };
        let dressed = if call.operation.streams() {
            Dressed::Frames(invoke::claude_chunks(&plan, &envelope, latency_ms, &mut dice))
        } else {
            Dressed::Whole(message::whole(&envelope, &plan))
        };
        let split = Split {
            fresh: envelope.input.fresh,
            read: envelope.input.read,
            written: envelope.input.written_5m + envelope.input.written_1h,
        };
        let answer = Answer { dressed, split, output_tokens: plan.output_tokens(), latency_ms };
        Ok(answer.reply(exchange, call, reservation))
    }
}

impl Service for Bedrock {
    fn subject(&self, received: &Received) -> Subject {
        Call::read(received).map_or_else(
            |_| Subject::default(),
            |call| Subject {
                stream: call.operation.streams(),
                runs_model: call.operation.runs_model(),
                operation: call.operation.segment().to_owned(),
                model: call.identifier,
            },
        )
    }

    fn authenticate(&self, exchange: &Exchange) -> Result<(), Whole> {
        let now = clock::skewed(exchange.script.clock_skew_s);
        sigv4::verify(&exchange.received, self.region, now)
            .and_then(|()| {
                if exchange.script.credential_expired {
                    Err(Refusal::usual("ExpiredTokenException"))
                } else {
                    Ok(())
                }
            })
            .map_err(|refusal| refusal.answer(&exchange.request_id))
    }

    fn answer<'a>(&'a self, exchange: &'a Exchange) -> Answering<'a> {
        let reply =
            self.route(exchange).unwrap_or_else(|refusal| Reply::Whole(refusal.answer(&exchange.request_id)));
        Box::pin(std::future::ready(reply))
    }

    fn failure(&self, exchange: &Exchange, injected: &Injected) -> Whole {
        Refusal::scripted(injected).answer(&exchange.request_id)
    }

    fn failure_event(&self, _exchange: &Exchange, injected: &Injected) -> Bytes {
        let refusal = Refusal::scripted(injected);
        frame::exception(&refusal.name_in_stream(), &json!({"message": refusal.message}))
    }

    fn spoiled(&self, frame: &Bytes) -> Bytes {
        frame::spoiled(frame)
    }

    fn stops_with_caller(&self) -> bool {
        false
    }

    fn reset(&self) {
        self.cache.clear();
        self.claude_cache.clear();
    }
}

impl Answer {
    fn reply(self, exchange: &Exchange, call: &Call, reservation: Option<Reservation>) -> Reply {
        let bill = Bill {
            model: call.identifier.clone(),
            operation: call.operation.segment().to_owned(),
            input_tokens: self.split.fresh,
            output_tokens: self.output_tokens,
            cache_read_tokens: self.split.read,
            cache_write_tokens: self.split.written,
            reservation,
        };
        match self.dressed {
            Dressed::Frames(frames) => {
                let head = Whole::new(StatusCode::OK, frame::MEDIA_TYPE, "")
                    .header("x-amzn-requestid", &exchange.request_id);
                let head = if call.operation == Operation::InvokeStream {
                    head.header("x-amzn-bedrock-content-type", "application/json")
                } else {
                    head
                };
                Reply::Stream(Streamed { headers: head.headers, frames, bill })
            }
            Dressed::Whole(body) => {
                let head =
                    Whole::json(StatusCode::OK, &body).header("x-amzn-requestid", &exchange.request_id);
                let head = if call.operation == Operation::Invoke {
                    counted(head, &bill, self.latency_ms)
                } else {
                    head
                };
                Reply::Whole(head.billed(bill))
            }
        }
    }
}

/// The counts that `invoke` reports in headers, for its body belongs to the model.
fn counted(answer: Whole, bill: &Bill, latency_ms: u64) -> Whole {
    let answer = answer
        .header("x-amzn-bedrock-invocation-latency", &latency_ms.to_string())
        .header("x-amzn-bedrock-input-token-count", &bill.input_tokens.to_string())
        .header("x-amzn-bedrock-output-token-count", &bill.output_tokens.to_string());
    if bill.cache_read_tokens + bill.cache_write_tokens == 0 {
        return answer;
    }
    answer
        .header("x-amzn-bedrock-cache-read-input-token-count", &bill.cache_read_tokens.to_string())
        .header("x-amzn-bedrock-cache-write-input-token-count", &bill.cache_write_tokens.to_string())
}

fn parse(body: &[u8]) -> Result<Value, Refusal> {
    match serde_json::from_slice(body) {
        Ok(value @ Value::Object(_)) => Ok(value),
        Ok(_) => Err(Refusal::named(
            "SerializationException",
            "Start of structure or map found where not expected.",
        )),
        Err(_) => Err(Refusal::usual("SerializationException")),
    }
}

/// Takes the request's tokens from the minute's quota, if the script sets one.
fn reserve(
    exchange: &Exchange,
    call: &Call,
    model: Model,
    tokens: u64,
) -> Result<Option<Reservation>, Refusal> {
    let Some(tpm) = exchange.script.tpm else { return Ok(None) };
    let quota = exchange.target.quota();
    quota.reserve(&call.identifier, tpm, tokens, model.burn_down(), clock::now()).map(Some).map_err(|_| {
        Refusal::named("ThrottlingException", "Too many tokens, please wait before trying again.")
    })
}

fn embed(exchange: &Exchange, call: &Call, model: Model, body: &Value) -> Result<Reply, Refusal> {
    if call.operation.streams() {
        return Err(Refusal::invalid("The model is unsupported for streaming."));
    }
    let mut dice = exchange.dice();
    let embedded = match model.family {
        Family::Cohere => embed::cohere(body, &mut dice)?,
        _ => embed::titan(body)?,
    };
    let reservation = reserve(exchange, call, model, embedded.input_tokens)?;
    let answer = Answer {
        split: Split { fresh: embedded.input_tokens, ..Split::default() },
        dressed: Dressed::Whole(embedded.body),
        output_tokens: 0,
        latency_ms: latency_ms(&mut dice),
    };
    Ok(answer.reply(exchange, call, reservation))
}

/// The latency the service claims; the real one is the script's.
fn latency_ms(dice: &mut Dice) -> u64 {
    200 + dice.below(800)
}
