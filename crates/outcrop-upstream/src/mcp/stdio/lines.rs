//! Lines of a child's standard output, bounded.
//!
//! Splits bytes at line feeds and nothing else: what a line means is the transport's business.
//! Invariant: never more than `MESSAGE_BYTES_MAX` and one read are buffered, and no byte is scanned
//! twice.

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::mcp::MESSAGE_BYTES_MAX;

/// Reads lines.
pub(crate) struct Lines<R> {
    from: R,
    buffer: BytesMut,
    scanned: usize,
}

/// One line, or why there is none.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// A line without its ending.
    Text(Bytes),
    /// A line longer than the limit.
    Oversized,
    /// The output is closed.
    End,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    pub(crate) fn new(from: R) -> Self {
        Self { from, buffer: BytesMut::new(), scanned: 0 }
    }

    /// The next line. Cancel safe: bytes that were read stay in the buffer.
    pub(crate) async fn next(&mut self) -> Line {
        loop {
            if let Some(line) = self.split() {
                return Line::Text(line);
            }
            if self.buffer.len() > MESSAGE_BYTES_MAX {
                return Line::Oversized;
            }
            match self.from.read_buf(&mut self.buffer).await {
                Ok(0) | Err(_) => return Line::End,
                Ok(_) => {}
            }
        }
    }

    fn split(&mut self) -> Option<Bytes> {
        let fresh = self.buffer.get(self.scanned..)?;
        let Some(at) = fresh.iter().position(|byte| *byte == b'\n') else {
            self.scanned = self.buffer.len();
            return None;
        };
        let mut line = self.buffer.split_to(self.scanned + at + 1);
        self.scanned = 0;
        line.truncate(line.len() - 1);
        if line.last() == Some(&b'\r') {
            line.truncate(line.len() - 1);
        }
        Some(line.freeze())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(input: &[u8], chunk: usize) -> Vec<Line> {
        let (mut writer, reader) = tokio::io::duplex(chunk);
        let input = input.to_vec();
        let write = async move {
            let _ = tokio::io::AsyncWriteExt::write_all(&mut writer, &input).await;
        };
        let gather = async {
            let mut lines = Lines::new(reader);
            let mut seen = Vec::new();
            loop {
                let line = lines.next().await;
                let last = line != Line::Text(Bytes::new()) && !matches!(line, Line::Text(_));
                seen.push(line);
                if last {
                    return seen;
                }
            }
        };
        tokio::join!(write, gather).1
    }

    fn text(line: &'static str) -> Line {
        Line::Text(Bytes::from_static(line.as_bytes()))
    }

    #[tokio::test]
    async fn lines_are_whole_however_they_arrive() {
        for chunk in 1..12 {
            let seen = read(b"one\r\ntwo\n\nthree\nrest", chunk).await;
            assert_eq!(seen, [text("one"), text("two"), text(""), text("three"), Line::End]);
        }
    }

    #[tokio::test]
    async fn a_line_without_end_is_cut_off_at_the_limit() {
        let endless = vec![b'x'; MESSAGE_BYTES_MAX + 100_000];
        assert_eq!(read(&endless, 64 * 1024).await, [Line::Oversized]);
    }
}
