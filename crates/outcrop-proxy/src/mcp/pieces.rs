//! Text on its way from an exchange to the progress notifications of its caller.
//!
//! The exchange never waits for the caller: pieces that come while a notification is being sent are
//! joined into the next one. Invariant: the notifications in order add up to all text that was pushed.

use parking_lot::Mutex;
use rmcp::RoleServer;
use rmcp::model::{ProgressNotificationParam, ProgressToken};
use rmcp::service::Peer;
use tokio::sync::Notify;

/// Text that waits to be told.
#[derive(Default)]
pub(super) struct Pieces {
    waiting: Mutex<Waiting>,
    moved: Notify,
}

#[derive(Default)]
struct Waiting {
    text: String,
    ended: bool,
}

impl Pieces {
    /// Adds text.
    pub(super) fn push(&self, text: &str) {
        self.waiting.lock().text.push_str(text);
        self.moved.notify_one();
    }

    /// Says that no more text comes.
    pub(super) fn end(&self) {
        self.waiting.lock().ended = true;
        self.moved.notify_one();
    }

    /// Tells everything until the end; a caller that cannot be told any more is left alone.
    pub(super) async fn tell(&self, peer: &Peer<RoleServer>, token: &ProgressToken) {
        let mut told = 0_usize;
        while let Some(text) = self.next().await {
            told += text.len();
            let notice = ProgressNotificationParam::new(token.clone(), told as f64).with_message(text);
            if peer.notify_progress(notice).await.is_err() {
                return;
            }
        }
    }

    async fn next(&self) -> Option<String> {
        loop {
            {
                let mut waiting = self.waiting.lock();
                if !waiting.text.is_empty() {
                    return Some(std::mem::take(&mut waiting.text));
                }
                if waiting.ended {
                    return None;
                }
            }
            self.moved.notified().await;
        }
    }
}
