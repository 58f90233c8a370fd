//! The moment at which an attempt leaves: told once, right before its first byte.
//!
//! Up to here an attempt has cost nothing, whatever happens; from here on it may have. Whoever is told
//! can still hold it back.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use outcrop_core::Failure;

type Told = dyn Fn() -> Result<(), Failure> + Send + Sync;

/// Whom to tell that an attempt leaves. May be told again by the same attempt.
#[derive(Clone, Default)]
pub struct Dispatch(Option<Arc<Told>>);

impl Dispatch {
    /// `told` says whether the attempt may leave; it must return at once.
    pub fn new(told: impl Fn() -> Result<(), Failure> + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(told)))
    }

    /// Nobody needs to know.
    pub fn untold() -> Self {
        Self(None)
    }

    /// Tells a further one, once this one has let the attempt go.
    #[must_use]
    pub fn then(self, told: impl Fn() + Send + Sync + 'static) -> Self {
        Self::new(move || {
            self.leave()?;
            told();
            Ok(())
        })
    }

    /// The attempt is about to leave.
    pub(crate) fn leave(&self) -> Result<(), Failure> {
        self.0.as_ref().map_or(Ok(()), |told| told())
    }
}

impl std::fmt::Debug for Dispatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Dispatch").field(&self.0.is_some()).finish()
    }
}

/// A body whose first reading is the moment at which its request leaves: hyper asks for it when there
/// is a connection, and writes nothing to the socket before it has it.
pub(crate) struct Parting {
    body: Full<Bytes>,
    dispatch: Option<Dispatch>,
    withheld: Withheld,
}

/// Why a request was held back: HTTP/2 does not give the body's error back.
pub(crate) type Withheld = Arc<OnceLock<Failure>>;

impl Parting {
    pub(crate) fn new(body: Full<Bytes>, dispatch: Dispatch, withheld: &Withheld) -> Self {
        Self { body, dispatch: Some(dispatch), withheld: Arc::clone(withheld) }
    }
}

impl Body for Parting {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        if let Some(dispatch) = self.dispatch.take()
            && let Err(withheld) = dispatch.leave()
        {
            let why = self.withheld.get_or_init(|| withheld).clone();
            return Poll::Ready(Some(Err(why)));
        }
        let frame = Pin::new(&mut self.body).poll_frame(context);
        frame.map(|frame| frame.map(|frame| frame.map_err(|never| match never {})))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
