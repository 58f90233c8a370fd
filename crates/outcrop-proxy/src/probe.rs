//! Whether a tripped target has healed, where no request of a caller finds out.
//!
//! Real requests come first: a target is probed from here only when it has waited for one. A probe is
//! one exchange like any other, of the operation `probe`: reserved, settled, recorded; so a budget of
//! `operation:probe` bounds what probes may spend. It asks for one token.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use outcrop_core::failure::{Class, Failure, Reason};
use outcrop_core::operation::{Operation, Strategy};
use outcrop_core::{Dialect, Priority, Protocol, TargetId};
use outcrop_policy::health::{Shape, Terms};
use outcrop_policy::route::{Choice, TargetSpec, target_name};
use outcrop_policy::walk::Walk;
use outcrop_wire::Route;
use serde_json::json;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::admit::{Seeker, admit};
use crate::authenticate::Caller;
use crate::clock::unix_now;
use crate::gateway::{Gateway, Snapshot};
use crate::intake::open;
use crate::leg::{Exchange, Leg, NotBegun, Start};
use crate::optional::Work;
use crate::payer::Payer;
use crate::relay::{Delivery, gather};
use crate::settle::{Ending, Record};

/// Name of the operation and, in records, of the caller.
pub const PROBE: &str = "probe";

/// How often it is looked for targets that wait.
const LOOKS_EVERY: Duration = Duration::from_millis(500);

/// A target waits so long for a real request.
const WAITS_FOR_CALLERS: Duration = Duration::from_secs(2);

/// Most probes begun at one look.
const AT_ONCE: usize = 4;

/// After a probe that taught nothing (the model takes no chats, the budget is used up).
const REST: Duration = Duration::from_secs(30);

/// Longest time of a probe, unless the target's healthy times say more.
const PROBE_MAX: Duration = Duration::from_secs(5);

/// Probes targets that nobody asks, until the gateway ends.
pub async fn watch(gateway: Arc<Gateway>, end: CancellationToken) {
    let mut ticks = interval(LOOKS_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut running = FuturesUnordered::new();
    let mut resting: HashMap<Box<str>, Instant> = HashMap::new();
    loop {
        tokio::select! {
            () = end.cancelled() => return,
            Some((name, until)) = running.next() => { resting.insert(name, until); }
            _ = ticks.tick() => {
                let now = Instant::now();
                resting.retain(|_, until| *until > now);
                for name in due(&gateway, now) {
                    if running.len() < AT_ONCE && !resting.contains_key(&name) {
                        // Until it has ended.
                        resting.insert(name.clone(), now + REST);
                        running.push(one(&gateway, name));
                    }
                }
            }
        }
    }
}

/// The targets that have waited long enough for a real request.
fn due(gateway: &Gateway, now: Instant) -> impl Iterator<Item = Box<str>> {
    // A request of a caller finds out as well.
    let probes = gateway.does(Work::Probes);
    let waiting = gateway.health.waiting(now.into_std()).into_iter();
    waiting.filter(move |(_, since)| probes && *since >= WAITS_FOR_CALLERS).map(|(name, _)| name)
}

/// Probes one target; until then it must not be probed again from here.
async fn one(gateway: &Arc<Gateway>, name: Box<str>) -> (Box<str>, Instant) {
    let taught = match probe(gateway, &name).await {
        None => false,
        Some(Ok(())) => true,
        Some(Err(failure)) => match failure.class {
            Class::Refused | Class::Ambiguous | Class::Partial => true,
            Class::NotSent => failure.reason != Reason::Policy,
            Class::Permanent | Class::NotHere | Class::Credential | Class::CallerGone => false,
        },
    };
    // What it taught decides when the next one is due; what taught nothing is not tried for a while.
    (name, if taught { Instant::now() } else { Instant::now() + REST })
}

/// `None` where the target cannot be probed: it is gone, switched off, has effects or no price.
async fn probe(gateway: &Arc<Gateway>, name: &str) -> Option<Result<(), Failure>> {
    let snapshot = gateway.snapshot();
    let (id, spec) = find(&snapshot, name)?;
    let price = snapshot.routes.price_of(spec, &spec.model_id, unix_now().as_secs())?;
    let choice = Choice { target: id, model_id: Arc::clone(&spec.model_id), price };
    let route = Route { protocol: Protocol::OpenAiChat, model: None, stream: None };
    let call = Arc::new(open(&route, question(&spec.model_id), &snapshot.limits).ok()?);
    snapshot.upstreams.path(&spec.path)?.speaks(&call.envelope, &spec.model_id)?;
    let operation = operation(gateway, spec, name);
    let mut record = Record::open(gateway, Dialect::OpenAi, Instant::now(), unix_now());
    record.caller(PROBE, snapshot.version);
    record.promised(&operation, operation.priority, operation.deadline);
    record.asked(&call);
    let caller = Caller::named(PROBE);
    let payer = Arc::new(Payer::of(&call, &caller, &operation, operation.priority));
    record.attributed(&payer.whose);
    let exchange = Exchange { gateway, snapshot: &snapshot, call: &call, payer: &payer };
    let asked = ask(exchange, (&choice, spec), (&caller, &operation), &mut record).await;
    Some(match asked {
        Ok(delivery) => gather(gateway, delivery, record, &mut |_| {}).await.map(|_| ()),
        Err(failure) => {
            record.settle(&Ending::Failed(&failure));
            Err(failure)
        }
    })
}

/// The steps of an exchange that has one target.
async fn ask(
    exchange: Exchange<'_>,
    (choice, spec): (&Choice, &TargetSpec),
    (caller, operation): (&Caller, &Operation),
    record: &mut Record,
) -> Result<Delivery, Failure> {
    let (priority, deadline) = (operation.priority, record.deadline());
    let seeker = Seeker { caller, operation, priority, deadline, body_bytes: 0 };
    let admission = admit(exchange.gateway, seeker).await?;
    let start = Start { choice, spec, terms: Terms::First, number: 1, by: deadline, walk: &Walk::default() };
    let mut leg = Leg::begin(exchange, start, record).await.map_err(NotBegun::into_failure)?;
    let opened = leg.first_content().await;
    let committed = leg.conclude(opened, record)?;
    Ok(Delivery { committed, admission, snapshot: Arc::clone(exchange.snapshot), resume: None })
}

fn find<'a>(snapshot: &'a Snapshot, name: &str) -> Option<(TargetId, &'a TargetSpec)> {
    let mut targets = (0u32..).map(TargetId).zip(&snapshot.routes.targets);
    let found = targets.find(|(_, spec)| target_name(&spec.path, &spec.model_id) == name);
    found.filter(|(_, spec)| spec.enabled && spec.effect.may_repeat())
}

fn question(model: &str) -> Bytes {
    let question = json!({
        "model": model, "max_tokens": 1, "messages": [{"role": "user", "content": "ping"}],
    });
    question.to_string().into()
}

fn operation(gateway: &Gateway, spec: &TargetSpec, name: &str) -> Operation {
    let now = Instant::now().into_std();
    let usual = gateway.health.standing(name, Shape::Whole, spec.quota, now).p95_us;
    let deadline = usual.map_or(PROBE_MAX, |us| Duration::from_micros(us * 2).max(PROBE_MAX));
    Operation {
        name: PROBE.into(),
        priority: Priority::Low,
        deadline,
        order: Vec::new(),
        strategy: Strategy::default(),
    }
}
