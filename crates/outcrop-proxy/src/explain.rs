//! The decision for a described request, without sending anything: what `plan.rs` would write down.
//!
//! It judges as for a caller whose key admits the model; budgets, rate limits and emergency stops are not
//! asked. The same policy decides, on the same view of the targets.

use std::time::Duration;

use bytes::Bytes;
use outcrop_core::decision::{Basis, Decision, Standing};
use outcrop_core::failure::Failure;
use outcrop_core::operation::Operation;
use outcrop_core::{Code, Dialect, Priority, Protocol, RequestId, Usage};
use outcrop_policy::operations::DEFAULT_OPERATION;
use outcrop_policy::route::{Circumstances, Question, Routes, TargetSpec};
use outcrop_policy::{Health, Residency};
use outcrop_upstream::speaks;
use outcrop_wire::Envelope;
use outcrop_wire::envelope::Route;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::time::Instant;

use crate::plan::{OUTPUT_USUAL, no_legal_target, operation_of, switched_off, unknown_model};

/// Input tokens of a request of which nobody says how long it is.
const INPUT_USUAL: u64 = 1_000;

/// A request as somebody describes it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Described {
    /// Alias or raw id.
    pub model: String,
    /// Name of the operation; the default one if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    /// Required residency.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub residency: Option<Residency>,
    /// Lower priority than the operation's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<Priority>,
    /// Shorter deadline than the operation's, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_ms: Option<u64>,
    /// Kind or path name that goes first if it is legal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Whether a stream is asked for.
    #[serde(default)]
    pub stream: bool,
    /// Whether tools are offered.
    #[serde(default)]
    pub tools: bool,
    /// Whether it asks for embeddings instead of a conversation.
    #[serde(default)]
    pub embeddings: bool,
    /// Whether a budget of it is nearly used up.
    #[serde(default)]
    pub money_is_short: bool,
    /// Its input tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_tokens: Option<u64>,
    /// Its output tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<u64>,
    /// Randomness; the same gives the same decision.
    #[serde(default)]
    pub seed: u64,
}

/// What is decided, and what the caller would be told when nothing is sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explained {
    /// The record, without attempts.
    pub decision: Decision,
    /// Why it would be refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<Refusal>,
}

/// Why a request would be refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// Our stable code.
    pub code: Code,
    /// What the caller would read.
    pub message: String,
}

/// Where a described request would go.
#[derive(Clone, Copy)]
pub struct World<'a> {
    /// The routes.
    pub routes: &'a Routes,
    /// Version of the snapshot they are from; 0 for a file that is in force nowhere.
    pub snapshot: u64,
    /// What is known of the targets; `None` where nobody has asked any.
    pub health: Option<&'a Health>,
    /// Time since the Unix epoch.
    pub unix: Duration,
}

/// Decides for a described request; sends nothing and counts nothing. `Err` is a description that makes no
/// sense.
pub fn explain(world: World<'_>, described: &Described) -> Result<Explained, Failure> {
    let started = Instant::now();
    let now_ms = u64::try_from(world.unix.as_millis()).unwrap_or(u64::MAX);
    let mut decision = Decision::opened(RequestId::new("explained"), now_ms, Dialect::OpenAi);
    decision.model.clone_from(&described.model);
    decision.stream = described.stream;
    decision.snapshot = world.snapshot;
    let refused = match decide(world, described, &mut decision) {
        Ok(()) => None,
        Err(failure) if failure.code == Code::InvalidRequest && decision.basis.is_none() => {
            return Err(failure);
        }
        Err(failure) => Some(Refusal { code: failure.code, message: failure.message.into() }),
    };
    decision.decided_in_ns = u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX);
    Ok(Explained { decision, refused })
}

fn decide(world: World<'_>, described: &Described, decision: &mut Decision) -> Result<(), Failure> {
    let routes = world.routes;
    let name = described.operation.as_deref().unwrap_or(DEFAULT_OPERATION);
    name.clone_into(&mut decision.operation);
    let operation = operation_of(routes, name)?;
    if routes.off.models.contains(described.model.as_str()) {
        return Err(switched_off("model", &described.model));
    }
    let circumstances = circumstances(operation, routes, described);
    decision.priority = circumstances.priority;
    decision.deadline_ms = u64::try_from(circumstances.remaining.as_millis()).unwrap_or(u64::MAX);
    let envelope = envelope(described)?;
    let shape = crate::plan::shape(described.stream);
    let now = Instant::now().into_std();
    let standing = |name: &str, spec: &TargetSpec| match world.health {
        Some(health) => health.standing(name, shape, spec.quota, now),
        None => Standing::default(),
    };
    let can_carry = |spec: &TargetSpec, id: &str| speaks(spec.kind, &envelope, id).is_some();
    let basis = basis(described, &circumstances);
    let plan = routes.plan(&Question {
        model: &described.model,
        operation,
        residency: described.residency,
        hint: described.path.as_deref(),
        allowed: true,
        unix: world.unix.as_secs(),
        can_carry: &can_carry,
        standing: &standing,
        usage: basis.usage,
        circumstances,
    });
    let plan = plan.ok_or_else(|| unknown_model(&described.model))?;
    decision.basis = Some(Basis { mode: plan.mode, ..basis });
    decision.candidates = plan.candidates;
    if plan.choices.is_empty() {
        return Err(no_legal_target(&decision.candidates, &described.model));
    }
    Ok(())
}

fn circumstances(operation: &Operation, routes: &Routes, described: &Described) -> Circumstances {
    let asked = described.deadline_ms.map(Duration::from_millis);
    Circumstances {
        remaining: asked.map_or(operation.deadline, |asked| asked.min(operation.deadline)),
        priority: described.priority.map_or(operation.priority, |asked| asked.min(operation.priority)),
        may_probe: !described.tools,
        money_is_short: described.money_is_short,
        learns: routes.switches.intelligent_routing,
        seed: described.seed,
        ..Circumstances::of(operation)
    }
}

fn basis(described: &Described, circumstances: &Circumstances) -> Basis {
    Basis {
        strategy: circumstances.strategy,
        mode: outcrop_policy::route::Mode::default(),
        remaining_us: u64::try_from(circumstances.remaining.as_micros()).unwrap_or(u64::MAX),
        asked_deadline_ms: described.deadline_ms,
        asked_priority: described.priority,
        stick: None,
        may_probe: circumstances.may_probe,
        money_is_short: circumstances.money_is_short,
        seed: circumstances.seed,
        residency: described.residency.map(|residency| residency.label().into()),
        hint: described.path.clone(),
        allowed: true,
        usage: Usage::of(
            described.input_tokens.unwrap_or(INPUT_USUAL),
            described.output_tokens.unwrap_or(OUTPUT_USUAL),
        ),
    }
}

/// A request of the described kind, for what paths can carry.
fn envelope(described: &Described) -> Result<Envelope, Failure> {
    let (protocol, body) = if described.embeddings {
        (Protocol::OpenAiEmbeddings, json!({"model": described.model, "input": "x"}))
    } else {
        let messages = json!([{"role": "user", "content": "x"}]);
        let mut body = json!({"model": described.model, "stream": described.stream, "messages": messages});
        if described.tools {
            let function = json!({"name": "x", "parameters": {"type": "object", "properties": {}}});
            body["tools"] = json!([{"type": "function", "function": function}]);
        }
        (Protocol::OpenAiChat, body)
    };
    let route = Route { protocol, model: None, stream: None };
    let bytes = Bytes::from(body.to_string());
    Envelope::open(&route, bytes, &outcrop_wire::Limits::default())
        .map_err(|rejection| Failure::refusal(Code::InvalidRequest, rejection.message))
}
