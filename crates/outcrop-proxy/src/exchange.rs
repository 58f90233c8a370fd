//! The whole story of one request, as one function of named steps.
//!
//! Each step takes what the former made, so the compiler checks the order; any of them can end the
//! story with a `Failure`, and there is one exit for those. Every surface comes through here (I-11):
//! HTTP calls through `exchange`, tools of the MCP endpoint through `converse`.

use std::sync::Arc;

use http::header::ALLOW;
use http::{HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;
use outcrop_core::failure::Failure;
use outcrop_core::operation::Operation;
use outcrop_core::reply::ChatReply;
use outcrop_core::{Dialect, RequestId};
use outcrop_policy::Attribution;
use tokio::time::Instant;

use crate::admit::{Admission, Seeker, admit};
use crate::authenticate::{Caller, authenticate};
use crate::body::Body;
use crate::clock::unix_now;
use crate::failover::failover;
use crate::gateway::Gateway;
use crate::headers::Wishes;
use crate::intake::{Asked, Call, intake};
use crate::leg::Exchange;
use crate::models;
use crate::payer::Payer;
use crate::plan::{Planning, plan, promise};
use crate::rates::{foresee, rate};
use crate::refuse::refuse;
use crate::relay::{Delivery, gather, relay};
use crate::resume::Resume;
use crate::settle::{Ending, Record};
use crate::stages::Stage;
use crate::surface::{Surface, dialect_of, method_of};

/// Answers one HTTP request.
pub async fn exchange(gateway: Arc<Gateway>, request: Request<Incoming>) -> Response<Body> {
    let (dialect, method) = (dialect_of(request.uri().path()), method_of(request.uri().path()));
    let version = request.version();
    let mut record = Record::open(&gateway, dialect, Instant::now(), unix_now());
    // Boxed: hyper keeps room for this function's future as long as the connection lives.
    match Box::pin(answer(&gateway, request, &mut record)).await {
        Ok(Answered::ByModel(delivery, call)) => relay(&gateway, *delivery, &call.envelope, record, version),
        Ok(Answered::Here(response)) => {
            record.forget();
            response
        }
        Err(failure) => {
            let mut response = refuse(record, dialect, &failure);
            if response.status() == StatusCode::METHOD_NOT_ALLOWED {
                response.headers_mut().insert(ALLOW, HeaderValue::from_static(method));
            }
            response
        }
    }
}

/// What a request came to.
enum Answered {
    /// A model answers.
    ByModel(Box<Delivery>, Arc<Call>),
    /// The gateway answers by itself.
    Here(Response<Body>),
}

/// From the request to the first content of its answer.
async fn answer(
    gateway: &Arc<Gateway>,
    request: Request<Incoming>,
    record: &mut Record,
) -> Result<Answered, Failure> {
    let snapshot = gateway.snapshot();
    let (head, body) = request.into_parts();
    let surface = Surface::find(&head.method, head.uri.path())?;
    let (caller, proof) = authenticate(&snapshot.auth, &head, unix_now())?;
    record.caller(proof.vouches_for(&caller), snapshot.version);
    let route = match surface {
        Surface::Call(route) => route,
        Surface::Models(one) => {
            proof.without_body()?;
            return models::models(&snapshot, &caller, one.as_deref()).map(Answered::Here);
        }
    };
    let wishes = Wishes::read(&head.headers, unix_now())?;
    let operation = promise(&snapshot, &wishes, record)?;
    foresee(gateway, head_of(&caller, &wishes, operation), record)?;
    record.passed(Stage::Authenticate);
    let admission = admit(gateway, seeker(&caller, operation, record)).await?;
    record.passed(Stage::Admit);
    let asked = Asked { head: &head, route: &route, wishes, proof };
    let (call, received) = intake(gateway, &snapshot.limits, asked, body, record.deadline()).await?;
    record.passed_by(Stage::Receive, received);
    record.passed(Stage::Intake);
    let call = Arc::new(call);
    record.caller(&caller.name, snapshot.version);
    let payer = Arc::new(Payer::of(&call, &caller, operation, record.priority()));
    let exchange = Exchange { gateway, snapshot: &snapshot, call: &call, payer: &payer };
    let delivery = ask(exchange, &caller, operation, admission, record).await?;
    Ok(Answered::ByModel(Box::new(delivery), call))
}

/// Who asks for a slot, before the body is read.
fn seeker<'a>(caller: &'a Caller, operation: &'a Operation, record: &Record) -> Seeker<'a> {
    Seeker { caller, operation, priority: record.priority(), deadline: record.deadline(), body_bytes: 0 }
}

/// Whose a request is and what it asks, as far as its head says.
fn head_of(caller: &Caller, wishes: &Wishes, operation: &Operation) -> Attribution {
    Attribution { operation: Arc::from(&*operation.name), ..caller.attribution(wishes) }
}

/// Plans, tries the plan, and packs what the answer needs on its way.
async fn ask(
    exchange: Exchange<'_>,
    caller: &Caller,
    operation: &Operation,
    admission: Admission,
    record: &mut Record,
) -> Result<Delivery, Failure> {
    let Exchange { gateway, snapshot, call, payer } = exchange;
    record.refuse_with(caller.budget_refusal_status);
    record.attributed(&payer.whose);
    rate(gateway, payer.whose.clone(), record)?;
    let pressure = gateway.ledger().level(&payer.whose);
    let plan =
        plan(Planning { snapshot, caller, call, operation, pressure, health: &gateway.health }, record)?;
    gateway.stops.may_start(&payer.whose, record.id().as_str(), unix_now)?;
    record.passed(Stage::Plan);
    let committed = failover(exchange, &plan, record).await?;
    let resume = Resume::offered(exchange, caller, operation);
    Ok(Delivery { committed, admission, snapshot: Arc::clone(exchange.snapshot), resume })
}

/// Answers one call of the MCP endpoint's `converse` tool. `on_text` hears of text as it comes.
/// Dropping the future ends the exchange as any caller's leaving does.
pub async fn converse(
    gateway: &Arc<Gateway>,
    caller: &Caller,
    call: Call,
    on_text: &mut (dyn FnMut(&str) + Send),
) -> Result<Conversed, Failure> {
    let mut record = Record::open(gateway, Dialect::Mcp, Instant::now(), unix_now());
    let request_id = record.id().clone();
    match answer_tool(gateway, caller, call, &mut record).await {
        Ok(delivery) => {
            let path = Arc::clone(&delivery.committed.path);
            let reply = gather(gateway, delivery, record, on_text).await?;
            Ok(Conversed { reply, request_id, path })
        }
        Err(failure) => {
            record.settle(&Ending::Failed(&failure));
            Err(failure)
        }
    }
}

/// The steps of `answer` that are left when the call is already read.
async fn answer_tool(
    gateway: &Arc<Gateway>,
    caller: &Caller,
    call: Call,
    record: &mut Record,
) -> Result<Delivery, Failure> {
    let snapshot = gateway.snapshot();
    record.caller(&caller.name, snapshot.version);
    let operation = promise(&snapshot, &call.wishes, record)?;
    let body_bytes = call.envelope.body.len();
    record.passed(Stage::Authenticate);
    let admission = admit(gateway, Seeker { body_bytes, ..seeker(caller, operation, record) }).await?;
    record.passed(Stage::Admit);
    let call = Arc::new(call);
    let payer = Arc::new(Payer::of(&call, caller, operation, record.priority()));
    let exchange = Exchange { gateway, snapshot: &snapshot, call: &call, payer: &payer };
    ask(exchange, caller, operation, admission, record).await
}

/// What the MCP endpoint gets for a call.
#[derive(Debug)]
pub struct Conversed {
    /// The answer.
    pub reply: ChatReply,
    /// Id of the exchange.
    pub request_id: RequestId,
    /// Name of the path that answered.
    pub path: Arc<str>,
}
