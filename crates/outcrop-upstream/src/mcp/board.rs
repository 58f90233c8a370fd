//! What one connection knows of its running calls: progress in order, and answers nobody waits for.
//!
//! The SDK hands each notification to a task of its own, which loses their order; the board takes
//! progress off the transport before that. It holds no answers: those stay the SDK's business.
//! Invariant: a call's feed is bounded in bytes, whatever its server sends.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use outcrop_core::Reason;
use parking_lot::Mutex;
use rmcp::RoleClient;
use rmcp::model::{
    ClientNotification, ClientRequest, GetMeta, JsonRpcMessage, NumberOrString, ProgressNotificationParam,
    ProgressToken, RequestId, ServerNotification,
};
use rmcp::service::{RxJsonRpcMessage, TxJsonRpcMessage};
use rmcp::transport::Transport;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::spec::Progress;

/// Most bytes of progress text that wait for their reader.
const FEED_BYTES_MAX: usize = 1024 * 1024;

/// What one connection knows of its running calls.
#[derive(Debug, Default)]
pub(crate) struct Board {
    progress: Progress,
    calls: Mutex<Calls>,
    dropped: Arc<Dropped>,
    tools_changed: AtomicBool,
    end: Mutex<Option<(Reason, Instant)>>,
}

/// What a server sent in vain, over all connections of a path.
#[derive(Debug, Default)]
pub struct Dropped {
    late: AtomicU64,
    garbage: AtomicU64,
}

#[derive(Debug, Default)]
struct Calls {
    sent: HashMap<RequestId, Option<ProgressToken>>,
    feeds: HashMap<ProgressToken, Arc<Feed>>,
}

/// Progress of one call.
#[derive(Debug, Default)]
pub(crate) struct Feed {
    state: Mutex<FeedState>,
    moved: Notify,
}

#[derive(Debug, Default)]
struct FeedState {
    signs: u64,
    texts: VecDeque<String>,
    bytes: usize,
    overflow: bool,
}

/// One thing that a feed had to say.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Sign {
    /// The call is alive.
    Life,
    /// The next piece of the answer's text.
    Text(String),
    /// More text came than may wait.
    Overflow,
}

impl Dropped {
    /// Answers and progress that came when nobody waited for them any more.
    pub fn late(&self) -> u64 {
        self.late.load(Ordering::Relaxed)
    }

    /// Lines that were not JSON-RPC.
    pub fn garbage(&self) -> u64 {
        self.garbage.load(Ordering::Relaxed)
    }
}

impl Board {
    pub(crate) fn new(progress: Progress, dropped: &Arc<Dropped>) -> Self {
        Self { progress, dropped: Arc::clone(dropped), ..Self::default() }
    }

    /// The feed of a call; the same one whoever asks first, the caller or the transport.
    pub(crate) fn feed(&self, token: &ProgressToken) -> Arc<Feed> {
        Arc::clone(self.calls.lock().feeds.entry(token.clone()).or_default())
    }

    /// Forgets the feed of a call that ended.
    pub(crate) fn close_feed(&self, token: &ProgressToken) {
        self.calls.lock().feeds.remove(token);
    }

    /// Counts a line or message that is not JSON-RPC.
    pub(crate) fn garbage(&self) {
        self.dropped.garbage.fetch_add(1, Ordering::Relaxed);
    }

    /// Why the connection ended, where its transport knows; the first reason stays.
    pub(crate) fn end(&self, reason: Reason) {
        self.end.lock().get_or_insert_with(|| (reason, Instant::now()));
    }

    /// Why and when the connection ended, if it did.
    pub(crate) fn ended(&self) -> Option<(Reason, Instant)> {
        *self.end.lock()
    }

    /// Notes that the server's tools are no longer those that were listed.
    pub(crate) fn tools_changed(&self) {
        self.tools_changed.store(true, Ordering::Release);
    }

    /// Whether the tools changed since the last time this was asked.
    pub(crate) fn take_tools_changed(&self) -> bool {
        self.tools_changed.swap(false, Ordering::AcqRel)
    }

    fn sending(&self, message: &TxJsonRpcMessage<RoleClient>) {
        match message {
            JsonRpcMessage::Request(request) => {
                let token = match &request.request {
                    ClientRequest::CallToolRequest(_) => request.request.get_meta().get_progress_token(),
                    _ => None,
                };
                let mut calls = self.calls.lock();
                if let Some(token) = &token {
                    calls.feeds.entry(token.clone()).or_default();
                }
                calls.sent.insert(request.id.clone(), token);
            }
            JsonRpcMessage::Notification(notification) => {
                if let ClientNotification::CancelledNotification(cancelled) = &notification.notification
                    && let Some(id) = &cancelled.params.request_id
                {
                    let mut calls = self.calls.lock();
                    if let Some(Some(token)) = calls.sent.remove(id) {
                        calls.feeds.remove(&token);
                    }
                }
            }
            JsonRpcMessage::Response(_) | JsonRpcMessage::Error(_) => {}
        }
    }

    /// Takes progress off the wire and counts what nobody waits for; the rest goes on.
    fn received(&self, message: RxJsonRpcMessage<RoleClient>) -> Option<RxJsonRpcMessage<RoleClient>> {
        let answered = match &message {
            JsonRpcMessage::Notification(notification) => {
                if let ServerNotification::ProgressNotification(progress) = &notification.notification {
                    self.progressed(&progress.params);
                    return None;
                }
                None
            }
            JsonRpcMessage::Response(response) => Some(&response.id),
            JsonRpcMessage::Error(error) => error.id.as_ref(),
            JsonRpcMessage::Request(_) => None,
        };
        if let Some(id) = answered
            && self.calls.lock().sent.remove(&numeric(id)).is_none()
        {
            self.dropped.late.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        Some(message)
    }

    fn progressed(&self, params: &ProgressNotificationParam) {
        let token = ProgressToken(numeric(&params.progress_token.0));
        let feed = self.calls.lock().feeds.get(&token).cloned();
        match feed {
            Some(feed) => feed.push(params.message.as_deref().filter(|_| self.keeps_text())),
            None => {
                self.dropped.late.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn keeps_text(&self) -> bool {
        match self.progress {
            Progress::Text => true,
            Progress::LifeSign => false,
        }
    }
}

impl Feed {
    fn push(&self, text: Option<&str>) {
        let mut state = self.state.lock();
        state.signs += 1;
        if let Some(text) = text.filter(|text| !text.is_empty()) {
            state.bytes += text.len();
            if state.bytes > FEED_BYTES_MAX {
                state.overflow = true;
            } else {
                state.texts.push_back(text.to_owned());
            }
        }
        drop(state);
        self.moved.notify_one();
    }

    /// What is there without waiting.
    pub(crate) fn take(&self) -> Option<Sign> {
        let mut state = self.state.lock();
        if let Some(text) = state.texts.pop_front() {
            state.bytes -= text.len();
            return Some(Sign::Text(text));
        }
        if state.overflow {
            return Some(Sign::Overflow);
        }
        (std::mem::take(&mut state.signs) > 0).then_some(Sign::Life)
    }

    /// The next sign. Cancel safe.
    pub(crate) async fn next(&self) -> Sign {
        loop {
            if let Some(sign) = self.take() {
                return sign;
            }
            self.moved.notified().await;
        }
    }
}

/// Servers that turn a number into text and back are answered as if they had not.
fn numeric(id: &NumberOrString) -> NumberOrString {
    match id {
        NumberOrString::String(text) => text.parse().map_or_else(|_| id.clone(), NumberOrString::Number),
        NumberOrString::Number(_) => id.clone(),
    }
}

/// A transport whose traffic the board sees, in order.
pub(crate) struct Tap<T> {
    inner: T,
    board: Arc<Board>,
}

impl<T> Tap<T> {
    pub(crate) fn new(inner: T, board: Arc<Board>) -> Self {
        Self { inner, board }
    }
}

impl<T: Transport<RoleClient>> Transport<RoleClient> for Tap<T> {
    type Error = T::Error;

    fn send(
        &mut self,
        item: TxJsonRpcMessage<RoleClient>,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send + 'static {
        self.board.sending(&item);
        self.inner.send(item)
    }

    async fn receive(&mut self) -> Option<RxJsonRpcMessage<RoleClient>> {
        loop {
            let Some(message) = self.inner.receive().await else {
                self.board.end(Reason::Reset);
                return None;
            };
            if let Some(message) = self.board.received(message) {
                return Some(message);
            }
        }
    }

    async fn close(&mut self) -> Result<(), Self::Error> {
        self.inner.close().await
    }
}
