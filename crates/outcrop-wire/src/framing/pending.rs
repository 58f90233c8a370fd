//! Bytes that came but are not handed out yet.
//!
//! The common case, one chunk that holds whole frames, is kept without copying; only a frame that
//! spans chunks is gathered. Growing is amortised, so many small chunks stay linear.

use bytes::{Buf, Bytes, BytesMut};

/// Bytes waiting to become frames.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    /// The latest chunk as it came; empty while bytes are being gathered.
    chunk: Bytes,
    /// Gathered bytes of a frame that spans chunks; takes precedence while not empty.
    gathered: BytesMut,
}

impl Pending {
    /// Adds a chunk behind what is there.
    pub(crate) fn push(&mut self, bytes: Bytes) {
        if self.gathered.is_empty() && self.chunk.is_empty() {
            self.chunk = bytes;
            return;
        }
        if !self.chunk.is_empty() {
            self.gathered.extend_from_slice(&self.chunk);
            self.chunk = Bytes::new();
        }
        self.gathered.extend_from_slice(&bytes);
    }

    /// All waiting bytes.
    pub(crate) fn as_slice(&self) -> &[u8] {
        if self.gathered.is_empty() { &self.chunk } else { &self.gathered }
    }

    /// Hands out the first `count` bytes, which must be there.
    pub(crate) fn take(&mut self, count: usize) -> Bytes {
        if self.gathered.is_empty() {
            self.chunk.copy_to_bytes(count)
        } else {
            self.gathered.split_to(count).freeze()
        }
    }
}
