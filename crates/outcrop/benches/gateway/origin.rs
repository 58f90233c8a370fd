//! The upstream process: recorded answers at once, or a recorded stream at a fixed pace.
//!
//! It checks no signature and parses no body, so that it is never the bottleneck; what it reads it discards.
//! Both proxies of a comparison use the same one.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Either, Full};
use hyper::body::{Body, Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::TcpListener;
use tokio::time::Sleep;

use crate::args::OriginArgs;
use crate::recorded;
use crate::role;

/// The recorded answers, encoded once.
struct Answers {
    openai_whole: Bytes,
    converse_whole: Bytes,
    openai_stream: Arc<[Bytes]>,
    converse_stream: Arc<[Bytes]>,
    pace: Option<Duration>,
}

type AnswerBody = Either<Full<Bytes>, Paced>;

/// Serves until the process ends.
pub(crate) async fn serve(args: &OriginArgs) -> std::io::Result<()> {
    let answers = Arc::new(Answers {
        openai_whole: recorded::openai_whole(),
        converse_whole: recorded::converse_whole(),
        openai_stream: recorded::openai_stream(args.events).into(),
        converse_stream: recorded::converse_stream(args.events).into(),
        pace: args.pace_ms.map(Duration::from_millis),
    });
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
    role::announce(listener.local_addr()?);
    loop {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        let answers = Arc::clone(&answers);
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(Arc::clone(&answers), request));
            // A client that leaves is its own business: the load counts what it misses.
            let _gone = auto::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(socket), service)
                .await;
        });
    }
}

async fn answer(
    answers: Arc<Answers>,
    request: Request<Incoming>,
) -> Result<Response<AnswerBody>, Infallible> {
    let (head, mut body) = request.into_parts();
    while let Some(frame) = body.frame().await {
        if frame.is_err() {
            return Ok(whole(StatusCode::BAD_REQUEST, Bytes::new()));
        }
    }
    let path = head.uri.path();
    Ok(if path.ends_with("/converse") {
        whole(StatusCode::OK, answers.converse_whole.clone())
    } else if path.ends_with("/converse-stream") {
        let pace = answers.pace.unwrap_or_default();
        stream(&answers.converse_stream, pace, "application/vnd.amazon.eventstream")
    } else if path.ends_with("/chat/completions") {
        match answers.pace {
            Some(pace) => stream(&answers.openai_stream, pace, "text/event-stream; charset=utf-8"),
            None => whole(StatusCode::OK, answers.openai_whole.clone()),
        }
    } else {
        whole(StatusCode::NOT_FOUND, Bytes::from_static(b"{\"message\":\"not recorded\"}"))
    })
}

fn whole(status: StatusCode, body: Bytes) -> Response<AnswerBody> {
    let mut response = Response::new(Either::Left(Full::new(body)));
    *response.status_mut() = status;
    mark(&mut response, "application/json");
    response
}

fn stream(events: &Arc<[Bytes]>, pace: Duration, content_type: &'static str) -> Response<AnswerBody> {
    let body = Paced {
        events: Arc::clone(events),
        next: 0,
        pace,
        pause: Box::pin(tokio::time::sleep(Duration::ZERO)),
    };
    let mut response = Response::new(Either::Right(body));
    mark(&mut response, content_type);
    response
}

fn mark(response: &mut Response<AnswerBody>, content_type: &'static str) {
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert("x-amzn-requestid", HeaderValue::from_static("00000000-0000-4000-8000-000000000001"));
}

/// A body that gives one event per pace, against absolute times, so that a late event does not delay the rest.
struct Paced {
    events: Arc<[Bytes]>,
    next: usize,
    pace: Duration,
    pause: Pin<Box<Sleep>>,
}

impl Body for Paced {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some(event) = self.events.get(self.next).cloned() else {
            return Poll::Ready(None);
        };
        if !self.pace.is_zero() {
            ready!(self.pause.as_mut().poll(context));
            let due = self.pause.deadline() + self.pace;
            self.pause.as_mut().reset(due);
        }
        self.next += 1;
        Poll::Ready(Some(Ok(Frame::data(event))))
    }
}
