//! Streamable HTTP, both eras.

use std::sync::atomic::Ordering;
use std::time::Duration;

use http::StatusCode;
use outcrop_core::path::Effect;
use outcrop_core::reply::ChatReply;
use outcrop_core::{Class, Reason, Usage};
use rmcp::transport::streamable_http_server::session::SessionManager;

use super::server::{Desk, Listing, start};
use super::{Fixture, PLENTY, text_of};
use crate::{AnswerBody, Dispatch, McpTransport, Progress};

fn older() -> Desk {
    Desk { older: Some(StatusCode::BAD_REQUEST), ..Desk::default() }
}

#[tokio::test]
async fn servers_of_both_eras_answer_and_are_asked_everything() {
    let refusals = [400, 404, 405, 500, 501].map(|s| StatusCode::from_u16(s).ok());
    for older in refusals.into_iter().chain([None]) {
        for json in [true, false] {
            let server = start(Desk { older, json, ..Desk::default() }).await;
            let fixture = Fixture::new(server.transport(), |_| {});
            let reply = fixture.whole("hello").await.unwrap();
            assert_eq!(text_of(&reply), "you said hello", "{older:?}");
            assert_eq!(reply.usage, Usage::of(3, 4));
            assert_eq!(fixture.whole("again").await.map(|r| text_of(&r)).unwrap(), "you said again");
            let arguments = server.desk.arguments.lock().clone();
            assert_eq!(arguments["model"], "sonnet");
            assert_eq!(arguments["messages"][0]["content"], "again");
            assert_eq!(server.desk.handshakes.load(Ordering::SeqCst), 1, "one connection is kept");
            fixture.close().await;
            assert!(server.sessions.sessions.read().await.is_empty(), "sessions are deleted");
        }
    }
}

#[tokio::test]
async fn many_first_calls_make_one_connection() {
    let server = start(older()).await;
    let fixture = Fixture::new(server.transport(), |_| {});
    let calls = (0..16).map(|_| fixture.whole("hello"));
    for answer in futures_util::future::join_all(calls).await {
        assert_eq!(text_of(&answer.unwrap()), "you said hello");
    }
    assert_eq!(server.desk.handshakes.load(Ordering::SeqCst), 1);
    fixture.close().await;
}

#[tokio::test]
async fn a_forgotten_session_is_made_anew_and_only_harmless_calls_are_repeated() {
    for (effect, answered) in [
        (Effect::ReadOnly, true),
        (Effect::Idempotent, true),
        (Effect::Keyed, false),
        (Effect::Unsafe, false),
    ] {
        let server = start(older()).await;
        let fixture = Fixture::new(server.transport(), |mcp| mcp.effect = effect);
        fixture.whole("first").await.unwrap();
        server.desk.forget.store(true, Ordering::SeqCst);
        let second = fixture.whole("second").await;
        assert_eq!(second.is_ok(), answered, "{effect:?}");
        if let Err(failure) = second {
            assert_eq!((failure.class, failure.reason), (Class::Ambiguous, Reason::Reset));
        }
        assert_eq!(server.desk.calls.load(Ordering::SeqCst), 1 + usize::from(answered));
        assert_eq!(text_of(&fixture.whole("third").await.unwrap()), "you said third");
        assert_eq!(server.desk.handshakes.load(Ordering::SeqCst), 2);
        fixture.close().await;
    }
}

#[tokio::test]
async fn a_server_that_says_its_tool_destroys_is_not_asked_again() {
    let server = start(Desk { list: Listing::Destroys, ..older() }).await;
    let fixture = Fixture::new(server.transport(), |mcp| mcp.effect = Effect::ReadOnly);
    fixture.whole("first").await.unwrap();
    server.desk.forget.store(true, Ordering::SeqCst);
    let failure = fixture.whole("second").await.unwrap_err();
    assert_eq!((failure.class, failure.reason), (Class::Ambiguous, Reason::Reset));
    assert_eq!(server.desk.calls.load(Ordering::SeqCst), 1);
    fixture.close().await;
}

#[tokio::test]
async fn a_server_that_loses_every_session_is_asked_twice_at_most() {
    let server = start(older()).await;
    let fixture = Fixture::new(server.transport(), |_| {});
    fixture.whole("first").await.unwrap();
    let sessions = std::sync::Arc::clone(&server.sessions);
    let forgetting = fixture.tasks.spawn(async move {
        loop {
            let ids: Vec<_> = sessions.sessions.read().await.keys().cloned().collect();
            for id in ids {
                sessions.close_session(&id).await.ok();
            }
            tokio::task::yield_now().await;
        }
    });
    let failure = fixture.whole("second").await.unwrap_err();
    assert!(matches!(failure.class, Class::Ambiguous | Class::NotSent), "{failure:?}");
    forgetting.abort();
    assert_eq!(server.desk.calls.load(Ordering::SeqCst), 1);
    fixture.close().await;
}

#[tokio::test]
async fn leaving_a_call_cancels_it_at_the_server() {
    for desk in [Desk::default(), Desk { json: true, ..Desk::default() }, older()] {
        let server = start(desk).await;
        let fixture = Fixture::new(server.transport(), |_| {});
        tokio::select! {
            answer = fixture.whole("hang") => panic!("a hanging tool answered: {answer:?}"),
            () = server.desk.reached.notified() => {}
        }
        tokio::time::timeout(PLENTY, server.desk.cancelled.notified()).await.unwrap();
        fixture.close().await;
    }
}

#[tokio::test]
async fn the_limit_of_a_call_holds_while_progress_arrives() {
    for desk in [Desk::default(), older()] {
        let server = start(desk).await;
        let fixture = Fixture::new(server.transport(), |mcp| {
            mcp.call_timeout_max = Duration::from_millis(400);
        });
        fixture.whole("hello").await.unwrap();
        let failure = fixture.whole("busy").await.unwrap_err();
        assert_eq!((failure.class, failure.reason), (Class::Ambiguous, Reason::Timeout));
        assert_eq!(text_of(&fixture.whole("still here").await.unwrap()), "you said still here");
        fixture.close().await;
    }
}

#[tokio::test]
async fn a_stream_that_speaks_outlives_its_attempts_deadline() {
    for desk in [Desk::default(), older()] {
        let server = start(desk).await;
        let fixture = Fixture::new(server.transport(), |mcp| mcp.progress = Progress::Text);
        fixture.whole("hello").await.unwrap();
        let share = Duration::from_secs(1);
        let AnswerBody::Stream(mut stream) = fixture.attempt("pause", true, share).await.unwrap() else {
            panic!("a stream was asked for")
        };
        tokio::time::sleep(share).await;
        server.desk.go_on.notify_one();
        let mut reply = ChatReply::default();
        while let Some(item) = stream.next().await.unwrap() {
            item.events.into_iter().for_each(|event| reply.absorb(event));
        }
        assert_eq!(text_of(&reply), "one two three");
        fixture.close().await;
    }
}

#[tokio::test]
async fn progress_is_text_only_where_the_operator_says_so() {
    for desk in [Desk::default(), older()] {
        let server = start(desk).await;
        for (progress, pieces_min) in [(Progress::Text, 3), (Progress::LifeSign, 1)] {
            let fixture = Fixture::new(server.transport(), |mcp| mcp.progress = progress);
            let (reply, pieces) = fixture.stream("speak").await.unwrap();
            assert_eq!((text_of(&reply).as_str(), pieces), ("one two three", pieces_min));
            assert_eq!(reply.usage, Usage::of(3, 4));
            assert_eq!(text_of(&fixture.whole("speak").await.unwrap()), "one two three");
            let lied = fixture.stream("lie").await;
            match progress {
                Progress::Text => assert_eq!(lied.unwrap_err().reason, Reason::Garbled),
                Progress::LifeSign => assert_eq!(text_of(&lied.unwrap().0), "four"),
            }
            fixture.close().await;
        }
    }
}

#[tokio::test]
async fn an_error_result_may_be_tried_elsewhere_unless_the_tool_has_effects() {
    let server = start(Desk::default()).await;
    for (effect, class) in [
        (Effect::ReadOnly, Class::Ambiguous),
        (Effect::Idempotent, Class::Ambiguous),
        (Effect::Keyed, Class::Permanent),
        (Effect::Unsafe, Class::Permanent),
    ] {
        let fixture = Fixture::new(server.transport(), |mcp| mcp.effect = effect);
        let failure = fixture.whole("fail").await.unwrap_err();
        assert_eq!((failure.class, failure.reason), (class, Reason::ToolError));
        assert_eq!(failure.message, "no such luck");
        fixture.close().await;
    }
}

#[tokio::test]
async fn an_oversized_answer_fails_its_own_call_only() {
    for json in [true, false] {
        let server = start(Desk { json, ..Desk::default() }).await;
        let fixture = Fixture::new(server.transport(), |_| {});
        let (huge, small) = tokio::join!(fixture.whole("huge"), fixture.whole("small"));
        let failure = huge.unwrap_err();
        assert_eq!((failure.class, failure.reason), (Class::Ambiguous, Reason::Oversized));
        assert_eq!(text_of(&small.unwrap()), "you said small");
        fixture.close().await;
    }
}

#[tokio::test]
async fn nothing_was_sent_where_nobody_listens_or_answers() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    let url = url::Url::parse(&format!("http://{address}/mcp")).unwrap();
    let transport = McpTransport::Http { url, bearer: None };
    // Bound but never accepted: the kernel completes the connection, and nothing answers.
    let fixture = Fixture::new(transport.clone(), |_| {});
    let failure = fixture.attempt("x", false, Duration::from_millis(200)).await.unwrap_err();
    assert_eq!((failure.class, failure.reason), (Class::NotSent, Reason::Timeout));
    drop(free);
    let fixture = Fixture::new(transport, |_| {});
    let failure = fixture.whole("x").await.unwrap_err();
    assert_eq!((failure.class, failure.reason), (Class::NotSent, Reason::Connect));
    fixture.close().await;
}

#[tokio::test]
async fn any_tool_is_called_once_and_its_result_passed_on_unchanged() {
    let server = start(Desk::default()).await;
    let fixture = Fixture::new(server.transport(), |_| {});
    let deadline = tokio::time::Instant::now() + PLENTY;
    let result = fixture.path().call_tool(call(None), &Dispatch::untold(), deadline).await.unwrap();
    assert_eq!(result.structured_content.unwrap()["content"], "you said ");
    let arguments = serde_json::json!({"messages": [{"content": "fail"}]});
    let arguments = arguments.as_object().cloned();
    let failed = fixture.path().call_tool(call(arguments), &Dispatch::untold(), deadline).await.unwrap();
    assert_eq!(failed.is_error, Some(true), "an error result is a result");
    fixture.close().await;
}

fn call(arguments: Option<rmcp::model::JsonObject>) -> crate::mcp::ToolCall<'static> {
    crate::mcp::ToolCall { tool: "anything", arguments, repeatable: false }
}
