//! One leg of an exchange: a try at one target, with everything that ends with it.
//!
//! A leg is begun (its health, stops and budgets say yes), waited for, and concluded: committed, or
//! failed and settled as its failure's class says. Dropped instead, it was left by its caller: what is
//! then owed is the opening's and the reservation's to tell (I-1).

use std::sync::Arc;
use std::time::Duration;

use outcrop_core::AttemptId;
use outcrop_core::decision::{Exclusion, InputCounted};
use outcrop_core::failure::{Class, Failure, Reason};
use outcrop_policy::health::{Denied, Errand, Terms};
use outcrop_policy::route::{Choice, TargetSpec, target_name};
use outcrop_policy::scope::Attribution;
use outcrop_policy::stops::Phase;
use outcrop_policy::walk::Walk;
use outcrop_upstream::AnswerBody;
use tokio::time::Instant;

use crate::clock::unix_now;
use crate::committed::{Committed, CommittedBody, Cut};
use crate::count::Counter;
use crate::drain::Opened;
use crate::gate::Ear;
use crate::gateway::{Gateway, Snapshot};
use crate::intake::Call;
use crate::opening::{Opening, Try, out_of_time};
use crate::payer::{Asking, Payer};
use crate::plan::shape_of;
use crate::reserve::{Reservation, reserve};
use crate::settle::{Attempted, Record};
use crate::stages::Stage;
use crate::trial::{self, Trial};

/// What every attempt of one exchange shares.
#[derive(Clone, Copy)]
pub(crate) struct Exchange<'a> {
    pub(crate) gateway: &'a Arc<Gateway>,
    pub(crate) snapshot: &'a Arc<Snapshot>,
    pub(crate) call: &'a Arc<Call>,
    pub(crate) payer: &'a Arc<Payer>,
}

/// A try at one target that has not come to its first content.
pub(crate) struct Leg<'a> {
    spec: &'a TargetSpec,
    phase: Phase<'static>,
    target: String,
    whose: Attribution,
    stop: Ear,
    started: Instant,
    by: Instant,
    slow_at: Option<Instant>,
    is_late: bool,
    opening: Opening,
    trial: Trial,
    input_counted: Option<InputCounted>,
}

/// What a leg is begun with.
#[derive(Clone, Copy)]
pub(crate) struct Start<'a, 'w> {
    pub(crate) choice: &'a Choice,
    pub(crate) spec: &'a TargetSpec,
    pub(crate) terms: Terms,
    /// Which attempt of the exchange it is, from 1.
    pub(crate) number: usize,
    /// Until then there must be content.
    pub(crate) by: Instant,
    /// How far its plan was walked: a try is slow only where something else could be tried.
    pub(crate) walk: &'w Walk,
}

/// Why a leg could not begin.
#[derive(Debug)]
pub(crate) enum NotBegun {
    /// The health of its target is in the way, for now.
    Denied(Denied),
    /// Something else is.
    Refused(Failure),
}

impl From<Failure> for NotBegun {
    fn from(failure: Failure) -> Self {
        Self::Refused(failure)
    }
}

impl NotBegun {
    /// What a caller is told who has nowhere else to go.
    pub(crate) fn into_failure(self) -> Failure {
        match self {
            Self::Denied(denied) => trial::refusal(denied),
            Self::Refused(failure) => failure,
        }
    }
}

impl<'a> Leg<'a> {
    /// Asks health, stops and budgets, in this order; sends nothing.
    pub(crate) async fn begin(
        exchange: Exchange<'a>,
        start: Start<'a, '_>,
        record: &mut Record,
    ) -> Result<Self, NotBegun> {
        let Exchange { gateway, snapshot, call, payer } = exchange;
        let Start { choice, spec, terms, number, by, walk } = start;
        let began = Instant::now();
        let target = target_name(&spec.path, &choice.model_id);
        let number = u8::try_from(number).unwrap_or(u8::MAX);
        let id = AttemptId { request: record.id().clone(), number };
        let quote = payer.quote(gateway, snapshot, &call.envelope, (choice, spec))?;
        let tokens = quote.bounds.input_tokens.saturating_add(quote.bounds.output_total());
        let errand = Errand { shape: shape_of(call), tokens, quota: spec.quota, terms };
        let trial = Trial::begin(gateway, &target, errand).map_err(NotBegun::Denied)?;
        let whose = quote.whose.clone();
        let stop = gateway.stops.listen();
        gateway.stops.may_start(&whose, id.request.as_str(), unix_now)?;
        let asking = Asking { gateway, payer, id: &id, by };
        let counter = Counter { snapshot, call, spec };
        let reservation = match reserve(asking, quote, Some(counter)).await {
            Ok(reservation) => reservation,
            Err(failure) => {
                record.excluded(&target, Exclusion::Budget);
                return Err(failure.into());
            }
        };
        let input_counted = reservation.input_counted();
        let started = Instant::now();
        record.spent(Stage::Reserve, started.saturating_duration_since(began));
        let may_be_given_up = spec.effect.may_repeat();
        let slow_after = walk.slow_after(by.saturating_duration_since(started), trial.patience());
        let slow_at = slow_after.filter(|_| may_be_given_up).map(|after| started + after);
        let one = Try {
            id,
            snapshot: Arc::clone(snapshot),
            call: Arc::clone(call),
            choice: choice.clone(),
            by,
            slow_at: slow_at.unwrap_or(by),
        };
        let opening = Opening::new(gateway, spec, one, reservation);
        let phase = phase_of(call);
        Ok(Self {
            spec,
            phase,
            target,
            whose,
            stop,
            started,
            by,
            slow_at,
            is_late: false,
            opening,
            trial,
            input_counted,
        })
    }

    /// Waits for its first content, its time, or a stop. Cancel safe.
    pub(crate) async fn first_content(&mut self) -> Result<Opened, Failure> {
        let Self { stop, whose, opening, phase, by, .. } = self;
        tokio::select! {
            biased;
            failure = stop.cut(whose, *phase) => Err(failure),
            opened = opening.first_content(*by) => opened,
        }
    }

    /// Where it is tried.
    pub(crate) fn spec(&self) -> &'a TargetSpec {
        self.spec
    }

    /// Its name.
    pub(crate) fn target(&self) -> &str {
        &self.target
    }

    /// For how long it has been waited for.
    pub(crate) fn waited(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.started)
    }

    /// From when on another target is asked in its stead, if one may be.
    pub(crate) fn slow_at(&self) -> Option<Instant> {
        self.slow_at
    }

    /// Another target is asked in its stead. Its answer is welcome all the same, until that one answers.
    pub(crate) fn turn_late(&mut self) {
        self.is_late = true;
        self.trial.turn_late();
    }

    /// When another leg may be started beside it.
    pub(crate) fn hedges_at(&self) -> Option<Instant> {
        self.trial.hedges_after().map(|after| self.started + after)
    }

    /// Writes down what came of it, and settles it unless it is committed.
    pub(crate) fn conclude(
        mut self,
        opened: Result<Opened, Failure>,
        record: &mut Record,
    ) -> Result<Committed, Failure> {
        let mut reservation = self.opening.end();
        if let Err(failure) = &opened
            && is_unsent_for_our_sake(failure)
        {
            if failure.reason == Reason::Inexpressible {
                record.excluded(&self.target, Exclusion::Capability);
            }
            reservation.void();
            return Err(failure.clone());
        }
        let upstream_request_id = match &opened {
            Ok((answer, _)) => answer.upstream_request_id.as_str(),
            Err(failure) => failure.upstream.as_ref().map_or("", |u| u.request_id.as_str()),
        };
        record.attempt(&Attempted {
            path: &self.spec.path,
            target: &self.target,
            started: self.started,
            failure: opened.as_ref().err(),
            upstream_request_id,
            input_counted: self.input_counted,
        });
        reservation.answered(upstream_request_id);
        match opened {
            Ok(opened) => {
                self.trial.answered();
                let cut = Box::new(Cut::new(self.stop, self.whose));
                Ok(commit(opened, self.spec, self.target, (reservation, self.trial), cut))
            }
            Err(failure) => {
                self.trial.failed(&failure);
                reservation.fail(failure.class);
                Err(failure)
            }
        }
    }

    /// It is waited for no longer, and says so.
    pub(crate) fn give_up(self, record: &mut Record) -> Failure {
        self.conclude(Err(out_of_time()), record).err().unwrap_or_else(out_of_time)
    }

    /// Another leg was quicker: a late one is given up, any other left as a caller leaves.
    pub(crate) fn lose(self, record: &mut Record) {
        if self.is_late {
            self.give_up(record);
            return;
        }
        let lost = Failure::network(Reason::Outrun, Class::CallerGone, "the other leg answered first");
        record.attempt(&Attempted {
            path: &self.spec.path,
            target: &self.target,
            started: self.started,
            failure: Some(&lost),
            upstream_request_id: "",
            input_counted: self.input_counted,
        });
    }
}

/// Whether the gateway itself did not send it: the path cannot say it, its health, a stop or a budget of
/// that target is in the way, or the ledger could not record it. It is no attempt, and says nothing of the
/// target.
pub(crate) fn is_unsent_for_our_sake(failure: &Failure) -> bool {
    failure.reason == Reason::Inexpressible
        || (failure.reason == Reason::Policy && failure.class == Class::NotSent)
}

/// How an emergency stop looks at an attempt that waits.
fn phase_of(call: &Call) -> Phase<'static> {
    if call.envelope.stream { Phase::Stream } else { Phase::Whole }
}

fn commit(
    (answer, seen): Opened,
    spec: &TargetSpec,
    target: String,
    (reservation, trial): (Reservation, Trial),
    cut: Box<Cut>,
) -> Committed {
    Committed {
        path: Arc::clone(&spec.path),
        target,
        region: spec.region.clone(),
        protocol: answer.protocol,
        headers: answer.headers,
        body: match answer.body {
            AnswerBody::Whole(whole) => CommittedBody::Whole(Box::new(whole)),
            AnswerBody::Stream(rest) => CommittedBody::Stream { seen, rest, cut },
        },
        reservation,
        billing: spec.abort_billing,
        trial,
    }
}
