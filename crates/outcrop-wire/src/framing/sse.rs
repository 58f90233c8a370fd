//! Server-sent events: finding whole event blocks and reading them.
//!
//! Own code because the maintained crate (`sse-stream`) works on asynchronous bodies only and gives
//! no bytes back, and same-protocol streams are passed byte for byte; a differential test holds the
//! two together. All three line ends (LF, CRLF, CR) and a leading byte-order mark are understood.
//! Invariant: each byte is scanned once, and no line beyond the limit is gathered.

use bytes::Bytes;
use memchr::memchr2;

use super::Frame;
use super::pending::Pending;
use crate::StreamError;

/// Longest line.
pub(crate) const LINE_BYTES_MAX: usize = 1024 * 1024;

/// Largest event, all its lines together.
pub(crate) const EVENT_BYTES_MAX: usize = 4 * LINE_BYTES_MAX;

/// Finds whole event blocks, each with the blank line that ends it.
#[derive(Debug, Default)]
pub(crate) struct Framer {
    pending: Pending,
    /// Where the unfinished line begins.
    line_start: usize,
    /// How far the waiting bytes were scanned.
    scanned: usize,
    /// The scanned bytes end in CR; an LF that follows belongs to it.
    after_cr: bool,
    /// Whether the first block was handed out; a byte-order mark counts only before it.
    begun: bool,
    /// Joined data of an event with several data lines.
    joined: String,
}

impl Framer {
    /// Adds bytes as they came.
    pub(crate) fn push(&mut self, bytes: Bytes) {
        self.pending.push(bytes);
    }

    /// The bytes of the next whole block.
    pub(crate) fn next_raw(&mut self) -> Result<Option<Bytes>, StreamError> {
        let Some(end) = self.scan()? else { return Ok(None) };
        self.line_start = 0;
        self.scanned = 0;
        Ok(Some(self.pending.take(end)))
    }

    /// Whether a begun block is not whole yet.
    pub(crate) fn is_inside_frame(&self) -> bool {
        !self.pending.as_slice().is_empty()
    }

    /// Where the block at the front ends, if its blank line is there.
    fn scan(&mut self) -> Result<Option<usize>, StreamError> {
        let waiting = self.pending.as_slice();
        loop {
            if self.after_cr && self.scanned < waiting.len() {
                self.after_cr = false;
                if waiting.get(self.scanned) == Some(&b'\n') {
                    self.scanned = self.scanned.saturating_add(1);
                    if self.line_start == 0 {
                        // The rest of the blank line of the block before.
                        return Ok(Some(self.scanned));
                    }
                    self.line_start = self.scanned;
                }
            }
            let rest = waiting.get(self.scanned..).unwrap_or_default();
            let Some(at) = memchr2(b'\n', b'\r', rest) else {
                self.scanned = waiting.len();
                within_limits(self.scanned.saturating_sub(self.line_start), self.scanned)?;
                return Ok(None);
            };
            let line_end = self.scanned.saturating_add(at);
            within_limits(line_end.saturating_sub(self.line_start), line_end)?;
            self.after_cr = rest.get(at) == Some(&b'\r');
            let blank = line_end == self.line_start;
            self.scanned = line_end.saturating_add(1);
            self.line_start = self.scanned;
            if blank {
                if self.after_cr && waiting.get(self.scanned) == Some(&b'\n') {
                    self.after_cr = false;
                    self.scanned = self.scanned.saturating_add(1);
                }
                return Ok(Some(self.scanned));
            }
        }
    }

    /// Reads a block; `None` when it carries no data (comments, padding).
    pub(crate) fn read<'a>(&'a mut self, raw: &'a [u8]) -> Result<Option<Frame<'a>>, StreamError> {
        let mut text =
            std::str::from_utf8(raw).map_err(|_| StreamError::Garbled("an event is not UTF-8".to_owned()))?;
        if !std::mem::replace(&mut self.begun, true) {
            text = text.strip_prefix('\u{feff}').unwrap_or(text);
        }
        let mut event = "";
        let mut data: Option<&str> = None;
        let mut several = false;
        for line in text.split(['\n', '\r']).filter(|line| !line.is_empty()) {
            match field(line) {
                ("data", value) if data.is_none() => data = Some(value),
                ("data", value) => {
                    if !several {
                        several = true;
                        self.joined.clear();
                        self.joined.push_str(data.unwrap_or_default());
                    }
                    self.joined.push('\n');
                    self.joined.push_str(value);
                }
                ("event", value) => event = value,
                _ => {}
            }
        }
        let data = if several { Some(self.joined.as_str()) } else { data };
        Ok(data.map(|data| Frame::Sse { event, data }))
    }
}

/// Name and value of a line; comments have an empty name.
fn field(line: &str) -> (&str, &str) {
    match line.split_once(':') {
        Some((name, value)) => (name, value.strip_prefix(' ').unwrap_or(value)),
        None => (line, ""),
    }
}

fn within_limits(line: usize, event: usize) -> Result<(), StreamError> {
    if line > LINE_BYTES_MAX {
        return Err(StreamError::Oversized { bytes: line, max: LINE_BYTES_MAX });
    }
    if event > EVENT_BYTES_MAX {
        return Err(StreamError::Oversized { bytes: event, max: EVENT_BYTES_MAX });
    }
    Ok(())
}

/// Writes one event block.
pub(crate) fn write(event: Option<&str>, data: &[u8], out: &mut bytes::BytesMut) {
    if let Some(event) = event {
        out.extend_from_slice(b"event: ");
        out.extend_from_slice(event.as_bytes());
        out.extend_from_slice(b"\n");
    }
    out.extend_from_slice(b"data: ");
    out.extend_from_slice(data);
    out.extend_from_slice(b"\n\n");
}

#[cfg(test)]
mod tests;
