//! Fronts that break a good gateway on purpose, so that the judge can be judged: each must fail the right suite.
//!
//! A front is a plain reverse proxy on a free port of loopback, with one fault. It is part of no certification.

use std::{io, net::Ipv4Addr, pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, combinators::UnsyncBoxBody};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
};
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// How a gateway is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Front {
    /// Every request waits so long before it is passed on, as with a slow decision.
    Slow(Duration),
    /// Of every body in several pieces one of so many is lost, the first one never.
    Lossy(usize),
    /// Every request is refused with 503 at once.
    Refusing,
}

/// A front in place; dropping it takes it down.
#[derive(Debug)]
pub(super) struct Standing {
    /// Base address.
    pub(super) url: String,
    stop: CancellationToken,
}

type Body = UnsyncBoxBody<Bytes, hyper::Error>;
type Behind = Client<HttpConnector, Incoming>;

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
                Self::Lossy(_) => {}
            }
            let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
            let uri: Uri = format!("{behind}{path}").parse().map_err(io::Error::other)?;
            request.headers_mut().remove(http::header::HOST);
            *request.uri_mut() = uri;
            let response = client.request(request).await.map_err(io::Error::other)?;
            Ok(match self {
                Self::Lossy(every) => response.map(|body| lossy(body, every)),
                _ => response.map(http_body_util::BodyExt::boxed_unsync),
            })
        })
    }
}

fn refusal() -> Result<Response<Body>, io::Error> {
    let never = |never: std::convert::Infallible| match never {};
    let body = Full::new(Bytes::from_static(b"{}")).map_err(never).boxed_unsync();
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
