//! A call under an idempotency key: run at most once, and answered from what is kept afterwards.
//!
//! The key is written down before the call leaves and its end before the caller hears of it; that is the
//! price of a key, and only those who give one pay it. Invariant: a call that may have run keeps its key,
//! whatever became of its caller, of this process or of the store.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use outcrop_core::failure::{Class, Code, Failure};
use outcrop_store::keyed::{CallEnd, KeyedCall, Known};
use outcrop_store::{Store, StoreError};
use outcrop_upstream::Dispatch;
use outcrop_upstream::mcp::ToolCall;
use rmcp::model::CallToolResult;
use serde_json::Value;
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::task::TaskTracker;

use super::CALL_TIME_MAX;

/// What a call may take beyond its own time: for its place, its connection and its end.
const SLACK: Duration = Duration::from_mins(1);
/// Longest wait for one answer of the store.
const STORE_MAX: Duration = Duration::from_secs(5);
/// Tries of writing an end down, and the pause between two.
const END_TRIES: usize = 5;
const END_PAUSE: Duration = Duration::from_millis(200);
/// Pause before the end of a call that runs is looked for again: at first, and at most.
const RUNNING_PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// When to come again for a call that runs.
const RUNNING_RETRY: Duration = Duration::from_secs(1);

/// What is kept of a call.
pub(super) enum Kept {
    /// Its result.
    Result(Box<CallToolResult>),
    /// Nothing: it is to be run.
    Nothing(Running),
}

/// A call that runs under its key. Dropped, it was left: its key stays if it may have run.
pub(super) struct Running {
    store: Store,
    tasks: TaskTracker,
    // `None` once its end is written down.
    call: Option<KeyedCall>,
    sent: Arc<AtomicBool>,
}

/// A key that is to be taken.
pub(super) struct Begin<'a> {
    pub(super) store: &'a Store,
    /// Ends what callers leave.
    pub(super) tasks: &'a TaskTracker,
    /// Whose key it is.
    pub(super) caller: &'a Arc<str>,
    pub(super) key: Arc<str>,
}

impl Begin<'_> {
    /// Takes the key for a call, or says what is known under it. While the same call runs under it, by
    /// whatever replica, its end is waited for until `by`.
    pub(super) async fn wait(&self, call: (&str, &ToolCall<'_>), by: Instant) -> Result<Kept, Failure> {
        let fingerprint = fingerprint(call.0, call.1);
        let mut pause = RUNNING_PAUSES.0;
        loop {
            match self.once(call.0, Arc::clone(&fingerprint)).await? {
                (Known::Begun, Some(running)) => return Ok(Kept::Nothing(running)),
                // The other one may run in another process, so its end is looked for.
                (Known::Running, _) if Instant::now() + pause < by => sleep(pause).await,
                (known, _) => return answer(known),
            }
            pause = (pause * 2).min(RUNNING_PAUSES.1);
        }
    }

    async fn once(&self, name: &str, fingerprint: Arc<str>) -> Result<(Known, Option<Running>), Failure> {
        let ticket = uuid::Uuid::now_v7().to_string().into();
        let (caller, key) = (Arc::clone(self.caller), Arc::clone(&self.key));
        let call = KeyedCall { caller, key, tool: name.into(), fingerprint, ticket };
        // Whoever leaves in the meantime leaves a guard behind that lets the key go.
        let running = Running {
            store: self.store.clone(),
            tasks: self.tasks.clone(),
            call: Some(call.clone()),
            sent: Arc::new(AtomicBool::new(false)),
        };
        let known = timeout(STORE_MAX, self.store.begin_call(call, CALL_TIME_MAX + SLACK)).await;
        match known.unwrap_or_else(|_| Err(StoreError::Unavailable("no answer in time".to_owned()))) {
            Ok(Known::Begun) => Ok((Known::Begun, Some(running))),
            Ok(known) => {
                running.forget();
                Ok((known, None))
            }
            Err(error) => Err(unavailable(&error)),
        }
    }
}

impl Running {
    /// Notices that the call leaves.
    pub(super) fn dispatch(&self, dispatch: Dispatch) -> Dispatch {
        let sent = Arc::clone(&self.sent);
        dispatch.then(move || sent.store(true, Ordering::Release))
    }

    /// Writes down how the call ended, before its caller hears of it.
    pub(super) async fn end(mut self, called: &Result<CallToolResult, Failure>) {
        let end = match called {
            Ok(result) => result_end(result),
            Err(failure) if self.sent.load(Ordering::Acquire) && may_have_run(failure.class) => {
                CallEnd::Unknown
            }
            Err(_) => CallEnd::NotRun,
        };
        if let Some(call) = &self.call {
            write_down(&self.store, call, end).await;
        }
        self.call = None;
    }

    /// It is not this one that runs.
    fn forget(mut self) {
        self.call = None;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let Some(call) = self.call.take() else { return };
        // Without a runtime the process ends, and what was begun counts as unknown afterwards.
        if Handle::try_current().is_err() {
            return;
        }
        let end = if self.sent.load(Ordering::Acquire) { CallEnd::Unknown } else { CallEnd::NotRun };
        let store = self.store.clone();
        self.tasks.spawn(async move { write_down(&store, &call, end).await });
    }
}

/// A call whose end cannot be written down is unknown once its time is over.
async fn write_down(store: &Store, call: &KeyedCall, end: CallEnd) {
    for _ in 0..END_TRIES {
        match timeout(STORE_MAX, store.end_call(call.clone(), end.clone())).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => tell_failed(call, &error.to_string()),
            Err(_) => tell_failed(call, "no answer in time"),
        }
        sleep(END_PAUSE).await;
    }
}

fn tell_failed(call: &KeyedCall, error: &str) {
    tracing::warn!(tool = &*call.tool, error, "the end of a keyed call is not kept");
}

fn result_end(result: &CallToolResult) -> CallEnd {
    serde_json::to_string(result).map_or(CallEnd::Unknown, |text| CallEnd::Result(text.into()))
}

fn may_have_run(class: Class) -> bool {
    match class {
        Class::Ambiguous | Class::Partial | Class::CallerGone => true,
        Class::NotSent | Class::Refused | Class::Permanent | Class::NotHere | Class::Credential => false,
    }
}

fn answer(known: Known) -> Result<Kept, Failure> {
    let refusal = |code, text: &'static str| Err(Failure::refusal(code, text));
    match known {
        Known::Kept(text) => match serde_json::from_str(&text) {
            Ok(result) => Ok(Kept::Result(Box::new(result))),
            Err(error) => refusal(
                Code::OutcomeUnknown,
                "The tool has run with this key, but its result cannot be read.",
            )
            .map_err(|failure: Failure| failure.with_detail(error.to_string())),
        },
        Known::TooLarge => refusal(
            Code::OutcomeUnknown,
            "The tool has run with this key, but its result was larger than 1 MiB and is not kept; look at \
             what it did.",
        ),
        Known::Unknown => refusal(
            Code::OutcomeUnknown,
            "The tool may have run with this key, and nobody knows; look at what it did before you call it \
             with another key, or have the operator clear this one.",
        ),
        Known::Differs => refusal(
            Code::KeyReused,
            "This idempotency key belongs to a call with other arguments or of another tool; use a new one.",
        ),
        Known::Running | Known::Begun => {
            let text = "A call with this idempotency key is still running; ask again shortly.";
            refusal(Code::KeyInUse, text).map_err(|failure| after(failure, RUNNING_RETRY))
        }
        Known::Full => {
            let text = "As many results of keyed calls are kept as may be; old ones go after 24 hours.";
            refusal(Code::Overloaded, text).map_err(|failure| after(failure, Duration::from_mins(1)))
        }
    }
}

fn after(failure: Failure, wait: Duration) -> Failure {
    Failure { retry_after: Some(wait), ..failure }
}

fn unavailable(error: &StoreError) -> Failure {
    let text = "The key of this call cannot be written down, so the tool is not run; try again shortly.";
    let failure = Failure::refusal(Code::LedgerUnavailable, text).with_detail(error.to_string());
    after(failure, RUNNING_RETRY)
}

/// Names a tool with its arguments; the order of an object's members means nothing.
pub(super) fn fingerprint(name: &str, call: &ToolCall<'_>) -> Arc<str> {
    let arguments = Value::Object(call.arguments.clone().unwrap_or_default());
    let mut said = format!("{}\n{name}\n", name.len());
    write_sorted(&arguments, &mut said);
    format!("{:?}", digest(&SHA256, said.as_bytes())).into()
}

fn write_sorted(value: &Value, to: &mut String) {
    match value {
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by_key(|(name, _)| *name);
            to.push('{');
            for (name, member) in members {
                to.push_str(&Value::from(name.as_str()).to_string());
                to.push(':');
                write_sorted(member, to);
                to.push(',');
            }
            to.push('}');
        }
        Value::Array(items) => {
            to.push('[');
            for item in items {
                write_sorted(item, to);
                to.push(',');
            }
            to.push(']');
        }
        plain => to.push_str(&plain.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn named(name: &str, arguments: &Value) -> Arc<str> {
        let call = ToolCall { tool: name, arguments: arguments.as_object().cloned(), repeatable: false };
        fingerprint(name, &call)
    }

    #[test]
    fn a_fingerprint_tells_arguments_apart_and_not_their_order() {
        let one: Value = serde_json::from_str(r#"{"a": {"x": 1, "y": [1, 2]}, "b": "}"}"#).unwrap();
        let same: Value = serde_json::from_str(r#"{"b": "}", "a": {"y": [1, 2], "x": 1}}"#).unwrap();
        assert_eq!(named("t", &one), named("t", &same));
        let others = [
            json!({"a": {"x": 1, "y": [2, 1]}, "b": "}"}),
            json!({"a": {"x": 1.0, "y": [1, 2]}, "b": "}"}),
            json!({"a": {"x": 1, "y": [1, 2], "b": "}"}}),
            json!({}),
        ];
        for other in others {
            assert_ne!(named("t", &one), named("t", &other), "{other}");
        }
        assert_ne!(named("t", &one), named("u", &one));
    }
}
