//! How large is its input really? Asked of the target itself, where the bytes do not fit a budget.
//!
//! A token covers at least one byte, so the bytes bound the tokens, but about four times too high. Where
//! every budget allows it the target counts them once, free of charge, before anything is sent to the
//! model. Invariant: only a count that makes the bound smaller is used, and one that fails changes
//! nothing: the request is judged by its bytes, as it would have been without.

use std::sync::Arc;
use std::time::Duration;

use outcrop_core::decision::InputCounted;
use outcrop_policy::ledger::{Exceeded, InputCount, Why};
use outcrop_policy::route::TargetSpec;
use outcrop_upstream::{Attempt, Dispatch, Path};
use outcrop_wire::TargetModel;
use tokio::time::{Instant, timeout_at};

use crate::clock::unix_now;
use crate::gateway::Snapshot;
use crate::intake::Call;
use crate::payer::{Asking, Quote};

/// Longest time of a count: who asks is about to be refused and should hear it soon.
const COUNT_TIME_MAX: Duration = Duration::from_secs(1);

/// What a count that its maker calls an estimate has in addition: a tenth, and so many tokens.
const ESTIMATE_MARGIN_TOKENS: u64 = 64;

/// Counts the input of one attempt.
#[derive(Clone, Copy)]
pub(crate) struct Counter<'a> {
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) call: &'a Call,
    pub(crate) spec: &'a TargetSpec,
}

impl Counter<'_> {
    /// The attempt with its input as the target counts it; `None` where that is not allowed, could not help
    /// or did not succeed.
    pub(crate) async fn counted(self, asking: Asking<'_>, quote: &Quote, no: &Exceeded) -> Option<Quote> {
        let allowed = asking.gateway.ledger().input_count(&quote.whose);
        if allowed == InputCount::Bytes || no.why != Why::Full || quote.price.free {
            return None;
        }
        let least = quote.with_input(InputCounted { tokens: 1, estimated: false })?;
        if least.amounts.of(no.terms.dimension) > no.left {
            return None;
        }
        let path = self.snapshot.upstreams.path(&self.spec.path)?;
        let exact = path.counts_exactly()?;
        if !exact && allowed != InputCount::Estimated {
            return None;
        }
        let counted = reckoned(self.ask(path, asking, quote).await?, exact);
        quote.with_input(counted).filter(|_| counted.tokens < quote.bounds.input_tokens)
    }

    async fn ask(self, path: &Path, asking: Asking<'_>, quote: &Quote) -> Option<u64> {
        let Self { call, spec, .. } = self;
        let deadline = asking.by.min(Instant::now() + COUNT_TIME_MAX);
        let dispatch = permit(asking, quote);
        let attempt = Attempt {
            tier: None,
            id: asking.id,
            envelope: &call.envelope,
            model: TargetModel {
                id: &quote.model_id,
                max_tokens_default: spec.max_tokens_default,
                max_tokens_cap: quote.cap,
            },
            deadline,
            slow_at: deadline,
            headers: &call.travelling,
            dispatch: &dispatch,
        };
        match timeout_at(deadline, path.count_input(attempt)).await {
            Ok(Ok(found)) => Some(found),
            Ok(Err(failure)) => {
                let (request_id, path) = (asking.id.request.as_str(), &*spec.path);
                tracing::debug!(request_id, path, detail = failure.detail, "an input could not be counted");
                None
            }
            Err(_) => None,
        }
    }
}

/// Nothing is reserved for a count, for it costs nothing; but no stop is passed by.
fn permit(asking: Asking<'_>, quote: &Quote) -> Dispatch {
    let gateway = Arc::clone(asking.gateway);
    let (whose, request) = (quote.whose.clone(), asking.id.request.clone());
    Dispatch::new(move || gateway.stops.may_start(&whose, request.as_str(), unix_now))
}

/// What is reserved for a count: an estimate gets a margin.
fn reckoned(tokens: u64, exact: bool) -> InputCounted {
    let margin = if exact { 0 } else { (tokens / 10).saturating_add(ESTIMATE_MARGIN_TOKENS) };
    InputCounted { tokens: tokens.saturating_add(margin).max(1), estimated: !exact }
}
