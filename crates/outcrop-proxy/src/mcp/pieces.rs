//! Text on its way from an exchange to the progress notifications of its caller.
//!
//! The exchange never waits for the caller: pieces that come while a notification is being sent are
//! joined into the next one. A caller that falls too far behind is told no more; the result says it all.
//! Invariant: the notifications in order add up to the text that was pushed, or to a beginning of it.

use parking_lot::Mutex;
use rmcp::RoleServer;
use rmcp::model::{ProgressNotificationParam, ProgressToken};
use rmcp::service::Peer;
use tokio::sync::Notify;

/// Most bytes of text that wait.
const WAITING_BYTES_MAX: usize = 32 * 1024 * 1024;

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
        let mut waiting = self.waiting.lock();
        if waiting.ended {
            return;
        }
        if waiting.text.len() + text.len() > WAITING_BYTES_MAX {
            waiting.ended = true;
        } else {
            waiting.text.push_str(text);
        }
        drop(waiting);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_caller_that_falls_behind_is_told_a_beginning() {
        let pieces = Pieces::default();
        let most = "x".repeat(WAITING_BYTES_MAX);
        pieces.push(&most);
        pieces.push("y");
        pieces.push("z");
        assert!(pieces.next().await.is_some_and(|text| text == most));
        pieces.push("z");
        assert_eq!(pieces.next().await, None, "nothing may follow a gap");
    }
}
