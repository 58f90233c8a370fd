//! Fronts that break a good gateway on purpose, so that the judge can be judged: each must fail the right suite.
//!
//! A front is a plain reverse proxy on a free port of loopback, with one fault. It is part of no certification.

use std::{io, net::Ipv4Addr, pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited, combinators::UnsyncBoxBody};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
};
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// When a request that is only made to be left is left: on its way, and before the upstream's answer.
const LEFT_AFTER: Duration = Duration::from_millis(15);

/// Longest body that is asked for again, in bytes: far above any of a mix.
const BODY_MAX: usize = 1 << 20;

/// How a gateway is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Front {
    /// Every request waits so long before it is passed on, as with a slow decision.
    Slow(Duration),
    /// Of every body in several pieces one of so many is lost, the first one never.
    Lossy(usize),
    /// Every request is refused with 503 at once.
    Refusing,
    /// What is asked for over the MCP server is asked for twice more, and left as soon as it is on its way: as with a
    /// gateway that forgets to give reserves back, there is less money than the bill says.
    Leaking,
}

/// A front in place; dropping it takes it down.
#[derive(Debug)]
pub(super) struct Standing {
    /// Base address.
    pub(super) url: String,
    stop: CancellationToken,
}

type Body = UnsyncBoxBody<Bytes, hyper::Error>;
type Behind = Client<HttpConnector, Body>;

impl Drop for Standing {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Front {
    /// Puts the front before a base address.
    pub(super) async fn stand(self, behind: &str) -> io::Result<Standing> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        let (stopped, behind) = (stop.clone(), Arc::<str>::from(behind));
        tasks.clone().spawn(stopped.clone().run_until_cancelled_owned(async move {
            let mut connector = HttpConnector::new();
            connector.set_nodelay(true);
            let client: Behind = Client::builder(TokioExecutor::new()).build(connector);
            while let Ok((socket, _)) = listener.accept().await {
                // Without it answers only get slower.
                let _ = socket.set_nodelay(true);
                let (client, behind) = (client.clone(), Arc::clone(&behind));
                let service =
                    service_fn(move |request| self.pass(client.clone(), Arc::clone(&behind), request));
                let serving = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(socket), service);
                tasks.spawn(stopped.clone().run_until_cancelled_owned(async move {
                    // A connection that breaks concerns its caller only.
                    let _ = serving.await;
                }));
            }
        }));
        Ok(Standing { url, stop })
    }

    fn pass(
        self,
        client: Behind,
        behind: Arc<str>,
        mut request: Request<Incoming>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Body>, io::Error>> + Send>> {
        Box::pin(async move {
            match self {
                Self::Refusing => return refusal(),
                Self::Slow(wait) => tokio::time::sleep(wait).await,
                Self::Lossy(_) | Self::Leaking => {}
            }
            let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
            let uri: Uri = format!("{behind}{path}").parse().map_err(io::Error::other)?;
            request.headers_mut().remove(http::header::HOST);
            *request.uri_mut() = uri;
            let response = if self == Self::Leaking {
                leaking(&client, request).await?
            } else {
                client.request(request.map(http_body_util::BodyExt::boxed_unsync)).await
            };
            let response = response.map_err(io::Error::other)?;
            Ok(match self {
                Self::Lossy(every) => response.map(|body| lossy(body, every)),
                _ => response.map(http_body_util::BodyExt::boxed_unsync),
            })
        })
    }
}

/// Asks as it was asked, and twice without its number, so that it is on no caller's bill; over MCP nobody says what
/// a call costs that was left.
#[allow(clippy::disallowed_methods, reason = "collected under a limit")]
async fn leaking(
    client: &Behind,
    request: Request<Incoming>,
) -> Result<Result<Response<Incoming>, hyper_util::client::legacy::Error>, io::Error> {
    let (head, body) = request.into_parts();
    let body = Limited::new(body, BODY_MAX).collect().await.map_err(io::Error::other)?.to_bytes();
    let unnumbered = String::from_utf8_lossy(&body).replace("[[id=", "[[no=");
    let leaks = head.headers.get("x-outcrop-path").is_some_and(|path| path == "mcp");
    let left = || async {
        if leaks {
            let request = Request::from_parts(head.clone(), whole(Bytes::from(unnumbered.clone())));
            // Nobody waits for what comes of it.
            let _ = tokio::time::timeout(LEFT_AFTER, client.request(request)).await;
        }
    };
    let asked = client.request(Request::from_parts(head.clone(), whole(body)));
    Ok(tokio::join!(asked, left(), left()).0)
}

fn whole(body: Bytes) -> Body {
    Full::new(body).map_err(|never: std::convert::Infallible| match never {}).boxed_unsync()
}

fn refusal() -> Result<Response<Body>, io::Error> {
    let body = whole(Bytes::from_static(b"{}"));
    Response::builder().status(StatusCode::SERVICE_UNAVAILABLE).body(body).map_err(io::Error::other)
}

/// Empties one of `every` pieces; a piece is one or more events as the transport brought them.
fn lossy(body: Incoming, every: usize) -> Body {
    let mut piece = 0;
    body.map_frame(move |frame| {
        piece += 1;
        if piece > 1 && piece % every == 0 { hyper::body::Frame::data(Bytes::new()) } else { frame }
    })
    .boxed_unsync()
}
