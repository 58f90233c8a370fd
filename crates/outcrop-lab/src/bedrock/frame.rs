//! Event-stream frames (`application/vnd.amazon.eventstream`), encoded by the AWS crate.
//!
//! Every event carries the field `p`, whose length varies so that the size on the wire tells nothing; so does the real
//! service.

use aws_smithy_eventstream::frame::write_message_to;
use aws_smithy_types::{
    event_stream::{Header, HeaderValue, Message},
    str_bytes::StrBytes,
};
use bytes::{Bytes, BytesMut};
use serde_json::Value;

use crate::dice::Dice;

/// The media type of the streams.
pub(super) const MEDIA_TYPE: &str = "application/vnd.amazon.eventstream";

const PADDING: &str = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";

/// One event; the padding is added to its payload.
pub(super) fn event(event_type: &str, mut payload: Value, dice: &mut Dice) -> Bytes {
    let length = 1 + dice.below(PADDING.len() as u64) as usize;
    payload["p"] = Value::String(PADDING[..length].to_owned());
    encode("event", ":event-type", event_type, &payload)
}

/// An error inside a stream.
pub(super) fn exception(exception_type: &str, payload: &Value) -> Bytes {
    encode("exception", ":exception-type", exception_type, payload)
}

/// The frame with one bit of its checksum wrong.
pub(super) fn spoiled(frame: &Bytes) -> Bytes {
    let mut bytes = BytesMut::from(&frame[..]);
    if let Some(last) = bytes.last_mut() {
        *last ^= 1;
    }
    bytes.freeze()
}

fn encode(message_type: &str, type_header: &'static str, type_name: &str, payload: &Value) -> Bytes {
    let text = |text: &str| HeaderValue::String(StrBytes::from(text.to_owned()));
    let message = Message::new(payload.to_string())
        .add_header(Header::new(type_header, text(type_name)))
        .add_header(Header::new(":content-type", text("application/json")))
        .add_header(Header::new(":message-type", text(message_type)));
    let mut frame = Vec::new();
    write_message_to(&message, &mut frame)
        .expect("invariant: three short headers and a planned payload fit a frame");
    Bytes::from(frame)
}
