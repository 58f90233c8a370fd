//! Each fault does what it says, seen from the socket.

use std::io::ErrorKind;

use aws_smithy_eventstream::frame::{DecodedFrame, MessageFrameDecoder};
use outcrop_lab::script::{Fault, FaultKind, Only, Part, Script};

use crate::{
    caller::{SONNET, begin, converse, http2_stream, records, says, start, stream},
    wire::{End, event_types, header},
};

#[tokio::test]
async fn reset_before_sends_not_one_byte() {
    let (lab, address) = start().await;
    lab.script("fra", Script::faulty([Fault::new(FaultKind::ResetBefore).times(1)])).await.unwrap();
    let heard = converse(address, "hi").await;
    assert_eq!((heard.bytes.len(), heard.end), (0, End::Reset));
    assert_eq!(converse(address, "hi").await.status(), 200);
    assert!(!lab.requests("fra").unwrap()[0].aborted_by_peer);
}

#[tokio::test]
async fn reset_inside_tears_head_or_body() {
    let (lab, address) = start().await;
    let torn = |at| Script::faulty([Fault { at, ..Fault::new(FaultKind::ResetInside).after(2) }]);
    lab.script("fra", torn(Part::Body)).await.unwrap();
    let heard = stream(address, "hi").await;
    assert_eq!(heard.end, End::Reset);
    assert_eq!(event_types(&heard.frames().0), ["messageStart", "contentBlockDelta"]);
    lab.script("fra", torn(Part::Head)).await.unwrap();
    let heard = converse(address, "hi").await;
    assert_eq!((heard.bytes.len(), heard.end), (20, End::Reset));
    lab.script("fra", Script::faulty([Fault::new(FaultKind::ResetInside)])).await.unwrap();
    let heard = converse(address, "hi").await;
    let (body, complete) = heard.body();
    assert!(!body.is_empty() && !complete && heard.end == End::Reset);
}

#[tokio::test]
async fn reset_after_spares_the_answer() {
    let (lab, address) = start().await;
    lab.script("fra", Script::faulty([Fault::new(FaultKind::ResetAfter)])).await.unwrap();
    let heard = converse(address, "hi").await;
    assert_eq!(heard.end, End::Reset);
    assert!(heard.body().1);
    let heard = stream(address, "hi").await;
    assert_eq!(heard.end, End::Reset);
    assert!(heard.body().1);
    assert_eq!(event_types(&heard.frames().0).last().unwrap(), "metadata");
}

#[tokio::test]
async fn cut_ends_the_connection_or_only_the_body() {
    let (lab, address) = start().await;
    for (http_end, complete) in [(false, false), (true, true)] {
        let fault = Fault { http_end, ..Fault::new(FaultKind::Cut).after(3) };
        lab.script("fra", Script::faulty([fault])).await.unwrap();
        let heard = stream(address, "hi").await;
        assert_eq!((heard.frames().0.len(), heard.frames().1.clone()), (3, Ok(0)));
        assert_eq!((heard.end, heard.body().1), (End::Fin, complete));
    }
}

#[tokio::test]
async fn cut_mid_frame_leaves_half_a_frame() {
    let (lab, address) = start().await;
    lab.script("fra", Script::faulty([Fault::new(FaultKind::CutMidFrame).after(2)])).await.unwrap();
    let heard = stream(address, "hi").await;
    let (frames, rest) = heard.frames();
    assert_eq!((frames.len(), heard.end, heard.body().1), (2, End::Fin, false));
    assert!(rest.unwrap() > 12);
}

#[tokio::test]
async fn bad_crc_spoils_one_frame() {
    let (lab, address) = start().await;
    lab.script("fra", Script::faulty([Fault::new(FaultKind::BadCrc).after(2)])).await.unwrap();
    let heard = stream(address, "hi").await;
    let (frames, rest) = heard.frames();
    assert_eq!(frames.len(), 2);
    assert!(rest.unwrap_err().contains("checksum"));
    assert!(heard.body().1);
}

#[tokio::test]
async fn garbage_replaces_the_body_only() {
    let (lab, address) = start().await;
    lab.script("fra", Script::faulty([Fault::new(FaultKind::Garbage)])).await.unwrap();
    let heard = converse(address, "hi").await;
    assert_eq!((heard.status(), heard.body().1), (200, true));
    assert!(serde_json::from_slice::<serde_json::Value>(&heard.body().0).is_err());
    let heard = stream(address, "hi").await;
    assert_eq!((heard.status(), heard.frames().0.len()), (200, 0));
}

#[tokio::test]
async fn slow_headers_arrive_whole_in_the_end() {
    let (lab, address) = start().await;
    let fault = Fault { interval_ms: Some(1), ..Fault::new(FaultKind::SlowHeaders) };
    lab.script("fra", Script::faulty([fault])).await.unwrap();
    let heard = converse(address, "hi").await;
    assert_eq!((heard.status(), heard.body().1), (200, true));
}

#[tokio::test]
async fn a_stream_exception_comes_after_the_events() {
    let (lab, address) = start().await;
    let fault = Fault::new(FaultKind::StreamException).after(2).spelled(424, "modelStreamErrorException");
    lab.script("fra", Script::faulty([fault])).await.unwrap();
    let heard = stream(address, "hi").await;
    let (frames, rest) = heard.frames();
    assert_eq!((heard.status(), frames.len(), rest, heard.body().1), (200, 3, Ok(0), true));
    assert_eq!(header(&frames[2], ":message-type"), "exception");
    assert_eq!(header(&frames[2], ":exception-type"), "modelStreamErrorException");
    assert_eq!(converse(address, "hi").await.status(), 200);
}

#[tokio::test]
async fn hang_answers_nothing_while_others_are_answered() {
    let (lab, address) = start().await;
    lab.script("fra", Script::faulty([Fault::new(FaultKind::Hang).times(1)])).await.unwrap();
    let path = format!("/model/{SONNET}/converse");
    let body = says("hi").to_string();
    let headers = crate::caller::signed(address, &path, &body, "eu-central-1");
    let first = crate::wire::Talk::begin(address, &path, &headers, &body).await.unwrap();
    // The fault is used up as soon as one of the two has met it; the other is answered.
    while lab.requests("fra").unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(converse(address, "hi").await.status(), 200);
    let hung = &lab.requests("fra").unwrap()[0];
    assert_eq!((hung.status, hung.events_sent, hung.ended), (0, 0, false));
    drop(first);
    let records = records(&lab, 2).await;
    assert!(lab.requests("fra").unwrap()[0].aborted_by_peer);
    assert_eq!(records.iter().filter(|record| record.executed).count(), 1);
}

#[tokio::test]
async fn hang_stream_stops_after_its_events() {
    let (lab, address) = start().await;
    lab.script("fra", Script::faulty([Fault::new(FaultKind::HangStream).after(2)])).await.unwrap();
    let mut talk = begin(address, SONNET, "converse-stream", &says("hi")).await;
    assert_eq!(event_types(&talk.frames(2).await), ["messageStart", "contentBlockDelta"]);
    lab.heal("fra").await.unwrap();
    assert_eq!(converse(address, "hi").await.status(), 200);
    let hung = &lab.requests("fra").unwrap()[0];
    assert_eq!((hung.events_sent, hung.ended), (2, false));
    drop(talk);
    assert!(records(&lab, 2).await.iter().all(|record| record.executed && record.completed));
    assert!(lab.requests("fra").unwrap()[0].aborted_by_peer);
}

#[tokio::test]
async fn a_region_goes_down_and_returns_on_its_port() {
    let (lab, address) = start().await;
    lab.script("fra", Script::faulty([Fault::new(FaultKind::HangStream)])).await.unwrap();
    let mut open = begin(address, SONNET, "converse-stream", &says("hi")).await;
    open.frames(1).await;
    lab.script("fra", Script::down()).await.unwrap();
    assert_eq!(open.finish().await.end, End::Reset);
    assert!(!lab.requests("fra").unwrap()[0].aborted_by_peer);
    let refused = tokio::net::TcpStream::connect(address).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    lab.heal("fra").await.unwrap();
    assert_eq!(converse(address, "hi").await.status(), 200);
}

#[tokio::test]
async fn http2_streams_break_with_their_connection_or_end_early() {
    let (lab, address) = start().await;
    for (http_end, whole) in [(false, false), (true, true)] {
        let fault = Fault { http_end, ..Fault::new(FaultKind::Cut).after(2) };
        lab.script("fra", Script::faulty([fault])).await.unwrap();
        let (bytes, ended) = http2_stream(address, "hi").await;
        let mut rest = &bytes[..];
        let mut frames = 0;
        while let Ok(DecodedFrame::Complete(_)) = MessageFrameDecoder::new().decode_frame(&mut rest) {
            frames += 1;
        }
        assert_eq!((frames, rest.len(), ended), (2, 0, whole));
    }
}

#[tokio::test]
async fn a_fault_keeps_to_its_sort_of_answer() {
    let (lab, address) = start().await;
    let fault = Fault::new(FaultKind::Error).spelled(503, "serviceUnavailableException").only(Only::Stream);
    lab.script("fra", Script::faulty([fault])).await.unwrap();
    assert_eq!(converse(address, "hi").await.status(), 200);
    assert_eq!(stream(address, "hi").await.status(), 503);
}
