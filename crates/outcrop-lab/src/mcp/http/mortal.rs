//! The body of an answer by a server that may die: a stream that ends because the server went down ends in an error,
//! so that no caller takes it for complete.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio_util::sync::CancellationToken;

use crate::body::BodyError;

/// A body of the SDK's service.
pub(super) type Living = http_body_util::combinators::BoxBody<Bytes, std::convert::Infallible>;

/// A body that knows whether its server still lives.
pub(super) struct Mortal {
    inner: Living,
    death: CancellationToken,
}

impl Mortal {
    pub(super) fn new(inner: Living, death: CancellationToken) -> Self {
        Self { inner, death }
    }
}

impl Body for Mortal {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match ready!(Pin::new(&mut self.inner).poll_frame(cx)) {
            Some(Ok(frame)) => Poll::Ready(Some(Ok(frame))),
            Some(Err(never)) => match never {},
            None if self.death.is_cancelled() => Poll::Ready(Some(Err("the server went down".into()))),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
