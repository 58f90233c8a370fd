//! Whether an answer is one: complete by its protocol's own terminal event, and without a gap.
//!
//! Bytes are taken as they come and not kept: memory per answer is one unfinished event ([`EVENT_BYTES_MAX`]) or one
//! whole body. It shares no decoder with any gateway.

mod framing;
mod meaning;
mod words;

use bytes::BytesMut;
use http::HeaderMap;

use self::framing::{Framing, Item};
use self::words::Words;
use super::call::{Api, Call};

/// Largest event of a stream, or whole body, in bytes.
pub const EVENT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Why an answer with a good status is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// It ended without its terminal event.
    #[error("truncated: no terminal event")]
    Truncated,
    /// An error event, or an error in a body with a good status.
    #[error("error in the answer: {0}")]
    Failed(String),
    /// Not the protocol that was asked for.
    #[error("not the protocol: {0}")]
    Garbled(&'static str),
    /// The numbered words have a gap, an excess or another order.
    #[error("{due} numbered words were due, the first {held} came in order")]
    Words {
        /// Words asked for.
        due: u64,
        /// Words that came in order from the first.
        held: u64,
    },
    /// Beyond the generator's limit.
    #[error("an event or body over {EVENT_BYTES_MAX} bytes")]
    TooLarge,
}

/// An answer while it is heard.
#[derive(Debug)]
pub struct Hearing {
    api: Api,
    framing: Framing,
    pending: BytesMut,
    words: Words,
    words_due: Option<u64>,
    progress: Progress,
    flaw: Option<Flaw>,
}

/// How far an answer has come.
#[derive(Debug, Default, Clone, Copy)]
struct Progress {
    /// Content has come.
    content: bool,
    /// The reason of the end has come.
    reason: bool,
    /// The last event of the protocol has come.
    last: bool,
}

impl Hearing {
    /// An answer with a good status to this call.
    pub fn of(call: &Call, headers: &HeaderMap) -> Self {
        let media = headers.get(http::header::CONTENT_TYPE).and_then(|media| media.to_str().ok());
        Self {
            api: call.api,
            framing: Framing::of(media.unwrap_or_default()),
            pending: BytesMut::new(),
            words: Words::default(),
            words_due: call.words_due(),
            progress: Progress::default(),
            flaw: None,
        }
    }

    /// Takes the next bytes of the body.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.flaw.is_some() {
            return;
        }
        if self.pending.len() + bytes.len() > EVENT_BYTES_MAX {
            self.flaw = Some(Flaw::TooLarge);
            return;
        }
        self.pending.extend_from_slice(bytes);
        loop {
            match self.framing.next(&mut self.pending) {
                Ok(Some(item)) => self.take(&item),
                Ok(None) => return,
                Err(flaw) => {
                    self.flaw = Some(flaw);
                    return;
                }
            }
        }
    }

    /// Whether content has come.
    pub fn has_content(&self) -> bool {
        self.progress.content
    }

    /// Judges the answer after the last byte.
    pub fn finish(mut self) -> Result<(), Flaw> {
        if self.flaw.is_none() && self.framing == Framing::Whole {
            let body = self.pending.split();
            match serde_json::from_slice(&body) {
                Ok(body) => self.whole(&body),
                Err(_) => return Err(Flaw::Garbled("a body that is no JSON")),
            }
        }
        if let Some(flaw) = self.flaw {
            return Err(flaw);
        }
        if !(self.progress.last && self.progress.reason) {
            return Err(Flaw::Truncated);
        }
        match self.words_due {
            Some(due) if !self.words.are(due) => Err(Flaw::Words { due, held: self.words.held() }),
            _ => Ok(()),
        }
    }

    fn take(&mut self, item: &Item) {
        match meaning::of_item(self.api, item) {
            Ok(meanings) => meanings.into_iter().for_each(|meaning| self.mean(meaning)),
            Err(flaw) => self.flaw = Some(flaw),
        }
    }

    fn whole(&mut self, body: &serde_json::Value) {
        match meaning::of_body(self.api, body) {
            Ok(meanings) => meanings.into_iter().for_each(|meaning| self.mean(meaning)),
            Err(flaw) => self.flaw = Some(flaw),
        }
    }

    fn mean(&mut self, meaning: meaning::Meaning) {
        use meaning::Meaning;
        match meaning {
            Meaning::Text(text) => {
                self.progress.content |= !text.is_empty();
                self.words.push(&text);
            }
            Meaning::Sign => self.progress.content = true,
            Meaning::Reason => self.progress.reason = true,
            Meaning::Last => self.progress.last = true,
        }
    }
}

#[cfg(test)]
mod tests;
