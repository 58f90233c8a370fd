//! One call of a tool, from its sending to its result.
//!
//! The limit is absolute: progress shows that a call is alive but never gives it more time, unless it
//! is the text that a caller is already reading. A call that is dropped before its result is cancelled at the server, by a task that outlives it.
//! Invariant: a call is sent at most once.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use outcrop_core::{Class, Failure, Reason};
use rmcp::RoleClient;
use rmcp::model::{
    CallToolRequest, CallToolRequestParams, CallToolResult, ClientRequest, JsonObject, ServerResult,
};
use rmcp::service::{PeerRequestOptions, RequestHandle, ServiceError};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::task::TaskTracker;

use super::board::{Feed, Sign};
use super::live::Live;
use super::outcome::{self, CallError};

/// Time to hand a request to the connection, which never waits unless it is stuck.
const CANCEL_TIME: Duration = Duration::from_secs(5);

/// One call of a tool.
#[derive(Debug)]
pub(super) struct Call {
    live: Arc<Live>,
    feed: Arc<Feed>,
    handle: Option<RequestHandle<RoleClient>>,
    answer: Option<Result<ServerResult, ServiceError>>,
    limit: Instant,
    tasks: TaskTracker,
}

/// What a call does next.
#[derive(Debug)]
pub(super) enum Step {
    /// It is alive.
    Life,
    /// A piece of the answer's text.
    Text(String),
    /// Its result.
    Done(CallToolResult),
}

impl Call {
    /// Sends the call; whatever follows must happen before `limit`.
    pub(super) async fn start(
        live: Arc<Live>,
        tool: &str,
        arguments: Option<JsonObject>,
        limit: Instant,
        tasks: &TaskTracker,
    ) -> Result<Self, Failure> {
        let mut params = CallToolRequestParams::new(Cow::Owned(tool.to_owned()));
        params.arguments = arguments;
        let request = ClientRequest::CallToolRequest(CallToolRequest::new(params));
        let options = PeerRequestOptions::no_options();
        let sending = live.peer().send_request_with_option(request, options);
        let handle = match timeout_at(limit, sending).await {
            Ok(Ok(handle)) => handle,
            Ok(Err(error)) => {
                return Err(Failure::network(Reason::Reset, Class::NotSent, error.to_string()));
            }
            Err(_) => {
                let detail = "the connection took no further request before the deadline";
                return Err(Failure::network(Reason::Timeout, Class::NotSent, detail));
            }
        };
        let feed = live.board().feed(&handle.progress_token);
        let tasks = tasks.clone();
        Ok(Self { live, feed, handle: Some(handle), answer: None, limit, tasks })
    }

    /// From here on, whatever follows must happen before `limit`.
    pub(super) fn limit_to(&mut self, limit: Instant) {
        self.limit = limit;
    }

    /// The connection it was sent on.
    pub(super) fn live(&self) -> &Arc<Live> {
        &self.live
    }

    /// The next step. Cancel safe. Not to be called after `Done` or a failure.
    pub(super) async fn next(&mut self) -> Result<Step, CallError> {
        loop {
            if let Some(sign) = self.feed.take() {
                return told(sign);
            }
            if let Some(answer) = self.answer.take() {
                return self.result(answer);
            }
            let Some(handle) = self.handle.as_mut() else {
                return Err(CallError::Failed(crate::outcome::late("the call is over")));
            };
            tokio::select! {
                biased;
                // Progress that came before the answer is already in the feed, so it is read first.
                answer = &mut handle.rx => {
                    self.answer = Some(answer.unwrap_or(Err(ServiceError::TransportClosed)));
                    self.disarm();
                }
                sign = self.feed.next() => return told(sign),
                () = tokio::time::sleep_until(self.limit) => {
                    let detail = "the tool did not answer within the limit of its call";
                    return Err(CallError::Failed(crate::outcome::late(detail)));
                }
            }
        }
    }

    fn result(&self, answer: Result<ServerResult, ServiceError>) -> Result<Step, CallError> {
        let closed = || self.live.board().ended().map_or(Reason::Reset, |(reason, _)| reason);
        let result = answer.map_err(|error| outcome::of_call(error, closed()))?;
        outcome::of_result(result).map(Step::Done).map_err(CallError::Failed)
    }

    fn disarm(&mut self) {
        if let Some(handle) = self.handle.take() {
            self.live.board().close_feed(&handle.progress_token);
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let Some(handle) = self.handle.take() else { return };
        self.live.board().close_feed(&handle.progress_token);
        let live = Arc::clone(&self.live);
        self.tasks.spawn(async move {
            let cancelled = handle.cancel(Some("the caller no longer waits".into()));
            if timeout(CANCEL_TIME, cancelled).await.is_err() {
                tracing::debug!(open = live.is_open(), "a cancellation could not be sent");
            }
        });
    }
}

fn told(sign: Sign) -> Result<Step, CallError> {
    match sign {
        Sign::Life => Ok(Step::Life),
        Sign::Text(text) => Ok(Step::Text(text)),
        Sign::Overflow => Err(CallError::Failed(Failure::network(
            Reason::Oversized,
            Class::Ambiguous,
            "progress came faster than the caller reads it",
        ))),
    }
}
