//! Whole messages, split points, lies about the length, broken checksums.
#![allow(clippy::arithmetic_side_effects, reason = "tests stop at the first surprise")]

use proptest::prelude::*;

use super::*;

fn stream() -> Vec<u8> {
    let mut out = BytesMut::new();
    write("event", "messageStart", Bytes::from_static(b"{\"role\":\"assistant\"}"), &mut out);
    write("event", "contentBlockDelta", Bytes::from(vec![b'x'; 300]), &mut out);
    write("exception", "throttlingException", Bytes::from_static(b"{}"), &mut out);
    out.to_vec()
}

fn feed(chunks: &[&[u8]]) -> Result<(Vec<Message>, Vec<u8>, bool), StreamError> {
    let mut framer = Framer::default();
    let mut messages = Vec::new();
    let mut raws = Vec::new();
    for chunk in chunks {
        framer.push(Bytes::copy_from_slice(chunk));
        while let Some(raw) = framer.next_raw()? {
            raws.extend_from_slice(&raw);
            messages.push(read(&raw)?);
        }
    }
    Ok((messages, raws, framer.is_inside_frame()))
}

#[test]
fn messages_are_read_at_every_split_point() {
    let bytes = stream();
    let (whole, raw, inside) = feed(&[&bytes]).unwrap();
    assert_eq!(raw, bytes);
    assert!(!inside);
    assert_eq!(header(&whole[0], ":event-type"), Some("messageStart"));
    assert_eq!(header(&whole[0], ":message-type"), Some("event"));
    assert_eq!(header(&whole[0], ":content-type"), Some("application/json"));
    assert_eq!(header(&whole[2], ":exception-type"), Some("throttlingException"));
    assert_eq!(header(&whole[2], ":event-type"), None);
    for cut in 0..=bytes.len() {
        let (split, raw, _) = feed(&[&bytes[..cut], &bytes[cut..]]).unwrap();
        assert_eq!(split, whole, "cut at {cut}");
        assert_eq!(raw, bytes);
    }
    let each: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(feed(&each).unwrap().0, whole);
}

#[test]
fn a_cut_message_stays_unfinished() {
    let bytes = stream();
    let (messages, _, inside) = feed(&[&bytes[..bytes.len() - 1]]).unwrap();
    assert_eq!(messages.len(), 2);
    assert!(inside);
}

#[test]
fn a_declared_length_is_refused_before_anything_is_gathered() {
    let mut lie = stream();
    lie[..4].copy_from_slice(&u32::MAX.to_be_bytes());
    let refused = feed(&[&lie[..PRELUDE_BYTES]]).unwrap_err();
    let bytes = u32::MAX as usize;
    assert_eq!(refused, StreamError::Oversized { bytes, max: FRAME_BYTES_MAX });
    lie[..4].copy_from_slice(&15_u32.to_be_bytes());
    assert!(matches!(feed(&[&lie]), Err(StreamError::Garbled(_))));
}

#[test]
fn every_broken_bit_is_noticed() {
    let mut frame = BytesMut::new();
    write("event", "messageStop", Bytes::from_static(b"{\"stopReason\":\"end_turn\"}"), &mut frame);
    for bit in 0..frame.len() * 8 {
        let mut broken = frame.to_vec();
        broken[bit / 8] ^= 1 << (bit % 8);
        // A longer declared length leaves the frame unfinished, which ends as truncated.
        let noticed = match feed(&[&broken]) {
            Ok((messages, _, inside)) => messages.is_empty() && inside,
            Err(_) => true,
        };
        assert!(noticed, "bit {bit}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_survived(chunks in prop::collection::vec(any::<Vec<u8>>(), 0..6)) {
        let chunks: Vec<&[u8]> = chunks.iter().map(Vec::as_slice).collect();
        let _ = feed(&chunks);
    }

    #[test]
    fn changed_headers_are_survived(at in 12_usize..60, byte: u8) {
        let mut bytes = stream();
        bytes[at] = byte;
        let _ = feed(&[&bytes]);
    }
}
