//! Line ends, marks, limits, split points, and a comparison with the crate `sse-stream`.
#![allow(clippy::arithmetic_side_effects, reason = "tests stop at the first surprise")]

use bytes::BytesMut;
use futures_util::{FutureExt, StreamExt, stream};
use proptest::prelude::*;

use super::*;

type Seen = Vec<(String, String)>;

/// Feeds `chunks` and gathers the events, the raw bytes, and whether a block is unfinished.
fn feed(chunks: &[&[u8]]) -> Result<(Seen, Vec<u8>, bool), StreamError> {
    let mut framer = Framer::default();
    let mut seen = Seen::new();
    let mut raws = Vec::new();
    for chunk in chunks {
        framer.push(Bytes::copy_from_slice(chunk));
        while let Some(raw) = framer.next_raw()? {
            raws.extend_from_slice(&raw);
            if let Some(Frame::Sse { event, data }) = framer.read(&raw)? {
                seen.push((event.to_owned(), data.to_owned()));
            }
        }
    }
    Ok((seen, raws, framer.is_inside_frame()))
}

fn check(input: &str, expected: &[(&str, &str)]) {
    let (seen, _, _) = feed(&[input.as_bytes()]).unwrap();
    let seen: Vec<(&str, &str)> = seen.iter().map(|(e, d)| (e.as_str(), d.as_str())).collect();
    assert_eq!(seen, expected, "{input:?}");
}

#[test]
fn fields_are_read_as_the_standard_says() {
    check("data: a\n\n", &[("", "a")]);
    check("data:a\ndata:  b\ndata\n\n", &[("", "a\n b\n")]);
    check("event: x\nid: 7\nretry: 9\ndata: a\n\n", &[("x", "a")]);
    check("event: x\nevent: y\ndata: a\n\n", &[("y", "a")]);
    check(": comment\n\n:\n\ndata: a\n\n", &[("", "a")]);
    check("event: x\n\ndata: a\n\n", &[("", "a")]);
    check("data: a: b\n\n", &[("", "a: b")]);
    check("DATA: a\ndatax: b\ndata : c\n\n", &[]);
    check("data: a\n", &[]);
}

#[test]
fn all_line_ends_and_the_byte_order_mark_are_understood() {
    check("data: a\r\n\r\ndata: b\r\n\r\n", &[("", "a"), ("", "b")]);
    check("data: a\r\rdata: b\r\r", &[("", "a"), ("", "b")]);
    check("data: a\r\n\ndata: b\n\r\n", &[("", "a"), ("", "b")]);
    check("\u{feff}data: a\n\n\u{feff}data: b\n\n", &[("", "a")]);
}

#[test]
fn a_lone_line_feed_that_completes_the_end_is_no_unfinished_block() {
    let (seen, raw, inside) = feed(&[b"data: a\r\n\r", b"\n"]).unwrap();
    assert_eq!(seen.len(), 1);
    assert_eq!(raw, b"data: a\r\n\r\n");
    assert!(!inside);
    assert!(feed(&[b"data: a\n\n", b"d"]).unwrap().2);
}

#[test]
fn lines_and_events_have_a_limit() {
    let longest = vec![b'a'; LINE_BYTES_MAX];
    let at_limit = feed(&[&longest, b"\n\n"]).unwrap();
    assert_eq!(at_limit.1.len(), LINE_BYTES_MAX + 2);
    let without_newline = feed(&[&longest, b"a"]).unwrap_err();
    assert!(matches!(without_newline, StreamError::Oversized { max: LINE_BYTES_MAX, .. }));
    let with_newline = feed(&[&[&longest[..], b"a\n\n"].concat()]).unwrap_err();
    assert!(matches!(with_newline, StreamError::Oversized { max: LINE_BYTES_MAX, .. }));
    let line = [&longest[..LINE_BYTES_MAX / 2], b"\n"].concat();
    let lines: Vec<&[u8]> = vec![&line; 9];
    let event = feed(&lines).unwrap_err();
    assert!(matches!(event, StreamError::Oversized { max: EVENT_BYTES_MAX, .. }));
}

#[test]
fn bytes_that_are_no_text_are_garbled() {
    assert!(matches!(feed(&[b"data: \xff\n\n"]), Err(StreamError::Garbled(_))));
}

#[test]
fn written_events_are_read_back() {
    let mut out = BytesMut::new();
    write(Some("x"), b"{}", &mut out);
    write(None, b"[DONE]", &mut out);
    let (seen, _, _) = feed(&[&out]).unwrap();
    assert_eq!(seen, [("x".into(), "{}".into()), (String::new(), "[DONE]".into())]);
}

fn reference(input: &[u8], cut: usize) -> Seen {
    let chunks = [input[..cut].to_vec(), input[cut..].to_vec()];
    let chunks = chunks.map(|chunk| Ok::<_, std::io::Error>(Bytes::from(chunk)));
    let events: Vec<_> =
        sse_stream::SseByteStream::new(stream::iter(chunks)).collect().now_or_never().unwrap();
    events
        .into_iter()
        .map(Result::unwrap)
        .filter_map(|sse| sse.data.map(|data| (sse.event.unwrap_or_default(), data)))
        .collect()
}

/// Streams made of the pieces that matter, in any order.
fn streams() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("\n"),
        Just("\r"),
        Just("\r\n"),
        Just("\n\n"),
        Just("\r\r"),
        Just("data:"),
        Just("data: "),
        Just("data"),
        Just("event: "),
        Just("event:e"),
        Just(":"),
        Just(" "),
        Just("x"),
        Just("ü"),
        Just("id: 1"),
        Just("retry: 1"),
        Just("\u{feff}"),
    ];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn agrees_with_the_reference_crate(input in streams(), cut in any::<prop::sample::Index>()) {
        let input = input.as_bytes();
        let cut = cut.index(input.len() + 1);
        let expected = reference(input, cut);
        let (seen, _, _) = feed(&[&input[..cut], &input[cut..]]).unwrap();
        prop_assert_eq!(seen, expected);
    }

    #[test]
    fn split_points_change_nothing(input in streams(), size in 1_usize..6) {
        let input = input.as_bytes();
        let whole = feed(&[input]).unwrap();
        let chunks: Vec<&[u8]> = input.chunks(size).collect();
        let split = feed(&chunks).unwrap();
        prop_assert_eq!(&whole.0, &split.0);
        prop_assert_eq!(whole.2, split.2);
        prop_assert!(input.starts_with(&split.1));
        prop_assert!(input.starts_with(&whole.1));
    }

    #[test]
    fn any_bytes_are_survived(chunks in prop::collection::vec(any::<Vec<u8>>(), 0..8)) {
        let chunks: Vec<&[u8]> = chunks.iter().map(Vec::as_slice).collect();
        let _ = feed(&chunks);
    }
}
