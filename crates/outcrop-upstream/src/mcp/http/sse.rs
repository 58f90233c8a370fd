//! Server-sent events of an MCP server, bounded.
//!
//! Parsing is the `sse-stream` crate's; here is only the cap on one event, applied to the raw bytes
//! before they are parsed. An event over the cap ends its call with a precise error instead of a
//! stream that merely stops.

use bytes::Bytes;
use futures_util::{Stream, StreamExt, future, stream};
use rmcp::model::{ErrorCode, ErrorData, RequestId, ServerJsonRpcMessage};
use rmcp::transport::common::client_side_sse::BoxedSseResponse;
use rmcp::transport::streamable_http_client::SseError;
use rmcp_sse_stream::Sse;
use sse_stream::SseByteStream;

/// JSON-RPC code of an answer that was larger than the limit; made here, never sent by a server.
pub(crate) const OVERSIZED: ErrorCode = ErrorCode(-32098);

/// The events in `bytes`; an oversized one is turned into the failure of the call `id`.
pub(super) fn events<S, E>(bytes: S, bytes_max: usize, id: Option<RequestId>) -> BoxedSseResponse
where
    S: Stream<Item = Result<Bytes, E>> + Send + Unpin + 'static,
    E: std::error::Error + Send + Sync + 'static,
{
    let mut limit = Limit::new(bytes_max);
    let bounded = bytes.map(move |chunk| match chunk {
        Ok(chunk) if limit.admits(&chunk) => Ok(chunk),
        Ok(_) => Err(Broken::Oversized(bytes_max)),
        Err(error) => Err(Broken::Body(Box::new(error))),
    });
    SseByteStream::new(bounded)
        .map(move |event| translate(event, id.as_ref()))
        .scan(false, |ended, event| {
            let last = event.is_err() || matches!(&event, Ok((_, true)));
            let pass = !std::mem::replace(ended, last);
            future::ready(pass.then_some(event))
        })
        .flat_map(|event| stream::iter([event.map(|(event, _)| event)]))
        .boxed()
}

/// Why the bytes end.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error("an event exceeds the limit of {0} bytes")]
    Oversized(usize),
    #[error("{0}")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// The event in the SDK's own type, and whether it is the last.
fn translate(
    event: Result<sse_stream::Sse, sse_stream::Error>,
    id: Option<&RequestId>,
) -> Result<(Sse, bool), SseError> {
    match event {
        Ok(sse_stream::Sse { event, data, id, retry, .. }) => Ok((Sse { event, data, id, retry }, false)),
        Err(sse_stream::Error::Body(error)) => match (error.downcast_ref::<Broken>(), id) {
            (Some(Broken::Oversized(max)), Some(id)) => Ok((oversized(*max, id), true)),
            _ => Err(SseError::Body(error)),
        },
        Err(other) => Err(SseError::Body(Box::new(other))),
    }
}

fn oversized(bytes_max: usize, id: &RequestId) -> Sse {
    let text = format!("an answer exceeds the limit of {bytes_max} bytes");
    let error = ErrorData::new(OVERSIZED, text, None);
    let message = ServerJsonRpcMessage::error(error, Some(id.clone()));
    Sse { data: serde_json::to_string(&message).ok(), ..Sse::default() }
}

/// Counts the bytes of the event being received. Comments do not count: they are never kept.
struct Limit {
    bytes_max: usize,
    event_bytes: usize,
    line_bytes: usize,
    comment: bool,
    after_cr: bool,
}

impl Limit {
    fn new(bytes_max: usize) -> Self {
        Self { bytes_max, event_bytes: 0, line_bytes: 0, comment: false, after_cr: false }
    }

    fn admits(&mut self, chunk: &[u8]) -> bool {
        chunk.iter().all(|byte| self.admits_byte(*byte))
    }

    fn admits_byte(&mut self, byte: u8) -> bool {
        let second_of_crlf = std::mem::replace(&mut self.after_cr, byte == b'\r') && byte == b'\n';
        match byte {
            _ if second_of_crlf => {}
            b'\r' | b'\n' => self.end_line(),
            _ => {
                if self.line_bytes == 0 {
                    self.comment = byte == b':';
                }
                self.line_bytes += 1;
            }
        }
        self.event_bytes + self.line_bytes <= self.bytes_max
    }

    fn end_line(&mut self) {
        if self.line_bytes == 0 {
            self.event_bytes = 0;
        } else if !self.comment {
            self.event_bytes += self.line_bytes + 1;
        }
        self.line_bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn data_of(chunks: &[&'static str], bytes_max: usize) -> Vec<Option<String>> {
        let bytes: Vec<Result<Bytes, std::io::Error>> =
            chunks.iter().map(|chunk| Ok(Bytes::from_static(chunk.as_bytes()))).collect();
        let events = events(stream::iter(bytes), bytes_max, Some(RequestId::Number(7)));
        events.map(|event| event.unwrap().data).collect().await
    }

    #[tokio::test]
    async fn events_pass_in_every_line_ending_and_unknown_fields_are_ignored() {
        let seen = data_of(&["data: a\r", "\ndata: b\n\r\nx-y: z\ndata", ": c\n\n"], 64).await;
        assert_eq!(seen, [Some("a\nb".into()), Some("c".into())]);
    }

    #[tokio::test]
    async fn comments_never_add_up() {
        let seen = data_of(&[":ping\n"; 100], 16).await;
        assert_eq!(seen, Vec::<Option<String>>::new());
        let seen = data_of(&[":ping\n\ndata: x\n\n"; 3], 16).await;
        assert_eq!(seen.len(), 3);
    }

    #[tokio::test]
    async fn an_oversized_event_fails_its_own_call_and_ends_the_stream() {
        let seen = data_of(&["data: ok\n\n", "data: 0123456789", "abcdef", "\n\ndata: x\n\n"], 16);
        let seen = seen.await;
        assert_eq!(seen[0], Some("ok".into()));
        let failure = seen[1].as_deref().unwrap();
        assert!(failure.contains("\"id\":7") && failure.contains("-32098"), "{failure}");
        assert_eq!(seen.len(), 2);
    }
}
