//! The commit point: an answer whose first content is here. No other target is tried any more (I-3).

use std::sync::Arc;

use http::{HeaderName, HeaderValue};
use outcrop_core::Protocol;
use outcrop_core::failure::Failure;
use outcrop_core::path::AbortBilling;
use outcrop_policy::scope::Attribution;
use outcrop_policy::stops::Phase;
use outcrop_upstream::{AnswerStream, Whole};
use outcrop_wire::Item;

use crate::gate::Ear;
use crate::reserve::Reservation;
use crate::trial::Trial;

/// An answer whose first content is here: no other target will be tried.
pub(crate) struct Committed {
    pub(crate) path: Arc<str>,
    pub(crate) target: String,
    pub(crate) region: Option<Arc<str>>,
    pub(crate) protocol: Protocol,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) body: CommittedBody,
    pub(crate) reservation: Reservation,
    pub(crate) billing: AbortBilling,
    /// How its target's health sees it; lives until its last event.
    pub(crate) trial: Trial,
}

/// The answer itself.
pub(crate) enum CommittedBody {
    /// All of it.
    Whole(Box<Whole>),
    /// What was read up to the first content, and the rest.
    Stream { seen: Vec<Item>, rest: AnswerStream, cut: Box<Cut> },
}

/// What an emergency stop needs to know of a stream to cut it.
pub(crate) struct Cut {
    stop: Ear,
    whose: Attribution,
}

impl Cut {
    pub(crate) fn new(stop: Ear, whose: Attribution) -> Self {
        Self { stop, whose }
    }

    /// Ends when the stream is cut.
    pub(crate) async fn come(&mut self) -> Failure {
        self.stop.cut(&self.whose, Phase::Stream).await
    }
}
