//! Writing Claude's invoke stream: Anthropic's events, each in a `chunk` frame.
//!
//! The last one carries `amazon-bedrock-invocationMetrics`, as the service's own does.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use outcrop_core::{Event, Usage};
use serde_json::{Map, Value, json};

use crate::AnswerContext;
use crate::dialect::anthropic;
use crate::failure::{ErrorBody, exception_frame};
use crate::framing::event_stream;

/// Writes the chunks of one answer.
#[derive(Debug)]
pub(crate) struct Encoder {
    claude: anthropic::Encoder,
    usage: Usage,
    latency_ms: u64,
}

impl Encoder {
    /// A stream that has not begun.
    pub(crate) fn new(context: AnswerContext) -> Self {
        let latency_ms = context.latency_ms;
        Self { claude: anthropic::Encoder::new(context), usage: Usage::default(), latency_ms }
    }

    /// Writes what `event` is.
    pub(crate) fn encode(&mut self, event: &Event, out: &mut BytesMut) {
        if let Event::Usage(usage) = event {
            self.usage.merge(*usage);
        }
        let Self { claude, usage, latency_ms } = self;
        claude.each(event, &mut |kind, event| {
            if kind == "message_stop" {
                let last =
                    json!({"type": kind, "amazon-bedrock-invocationMetrics": metrics(usage, *latency_ms)});
                write_chunk(last.to_string().as_bytes(), out);
            } else {
                write_chunk(event, out);
            }
        });
    }

    /// Writes an exception frame.
    #[expect(clippy::unused_self, reason = "the encoders of all protocols are called alike")]
    pub(crate) fn fail(&mut self, error: &ErrorBody<'_>, out: &mut BytesMut) {
        exception_frame(error, true, out);
    }
}

fn metrics(usage: &Usage, latency_ms: u64) -> Value {
    let written = usage.cache_write.or(usage.cache_write_1h).map(|_| usage.cache_write_total());
    let known = [("cacheReadInputTokenCount", usage.cache_read), ("cacheWriteInputTokenCount", written)];
    let mut metrics = Map::new();
    metrics.insert("inputTokenCount".into(), usage.input.unwrap_or(0).into());
    metrics.insert("outputTokenCount".into(), usage.output_or_zero().into());
    metrics.insert("invocationLatency".into(), latency_ms.into());
    metrics.insert("firstByteLatency".into(), latency_ms.into());
    metrics.extend(known.into_iter().filter_map(|(name, count)| Some((name.to_owned(), count?.into()))));
    metrics.into()
}

fn write_chunk(event: &[u8], out: &mut BytesMut) {
    // Base64 letters need no escaping.
    let payload = format!("{{\"bytes\":\"{}\"}}", STANDARD.encode(event));
    event_stream::write("event", "chunk", Bytes::from(payload), out);
}
